//! Writes to the test directory as its administrator: adds, changes and deletes people.
//!
//! Each operation opens a new connection, so that it works after any failure of the server.

use std::collections::HashSet;
use std::time::Duration;

use ldap_usher::model::EntryId;
use ldap3::{Ldap, LdapConnAsync, Mod, Scope, SearchEntry};

/// The people of one directory. Operations that take a uid concern `ou=people`.
#[derive(Debug, Clone)]
pub struct People {
    url: String,
    base: String,
    admin: (String, String),
}

impl People {
    /// The people under `ou=people,BASE` of the server at `url`.
    pub fn new(url: &str, base: &str, admin_dn: &str, admin_pw: &str) -> Self {
        Self {
            url: url.into(),
            base: base.into(),
            admin: (admin_dn.into(), admin_pw.into()),
        }
    }

    /// The DN of a person in `ou=people`.
    pub fn dn(&self, uid: &str) -> String {
        self.dn_in("people", uid)
    }

    /// The DN of a person in another unit.
    pub fn dn_in(&self, ou: &str, uid: &str) -> String {
        format!("uid={uid},ou={ou},{}", self.base)
    }

    /// Adds a person with the address `UID@example.org`.
    pub async fn add_person(&self, uid: &str) {
        self.add_person_with(uid, Some(&format!("{uid}@example.org")))
            .await;
    }

    /// Adds a person with this address, or without any.
    pub async fn add_person_with(&self, uid: &str, mail: Option<&str>) {
        add(&mut self.connect().await, &self.dn(uid), uid, mail).await;
    }

    /// Adds `PREFIX1` to `PREFIXcount` over one connection.
    pub async fn add_many(&self, prefix: &str, count: usize) {
        self.add_each(prefix, count, Duration::ZERO, |_| {}).await;
    }

    /// As [`People::add_many`], with a pause after each; calls `adding` with each uid before it is sent to the server.
    pub async fn add_each(
        &self,
        prefix: &str,
        count: usize,
        pause: Duration,
        mut adding: impl FnMut(String),
    ) {
        let mut ldap = self.connect().await;
        for n in 1..=count {
            let uid = format!("{prefix}{n}");
            let mail = format!("{uid}@example.org");
            adding(uid.clone());
            add(&mut ldap, &self.dn(&uid), &uid, Some(&mail)).await;
            tokio::time::sleep(pause).await;
        }
    }

    /// Replaces the address.
    pub async fn set_mail(&self, uid: &str, mail: &str) {
        self.replace(uid, "mail", HashSet::from([mail])).await;
    }

    /// Adds an address.
    pub async fn add_mail(&self, uid: &str, mail: &str) {
        let add = Mod::Add("mail", HashSet::from([mail]));
        let outcome = self.connect().await.modify(&self.dn(uid), vec![add]).await;
        outcome.unwrap().success().unwrap();
    }

    /// Moves an address to the end of the values.
    pub async fn put_mail_last(&self, uid: &str, mail: &str) {
        let again = vec![
            Mod::Delete("mail", HashSet::from([mail])),
            Mod::Add("mail", HashSet::from([mail])),
        ];
        let outcome = self.connect().await.modify(&self.dn(uid), again).await;
        outcome.unwrap().success().unwrap();
    }

    /// Removes every address.
    pub async fn remove_mail(&self, uid: &str) {
        self.replace(uid, "mail", HashSet::new()).await;
    }

    /// Sets the password of any entry.
    pub async fn set_password(&self, dn: &str, password: &str) {
        let change = vec![Mod::Replace("userPassword", HashSet::from([password]))];
        let outcome = self.connect().await.modify(dn, change).await;
        outcome.unwrap().success().unwrap();
    }

    /// Replaces an attribute that invitations do not depend on.
    pub async fn set_description(&self, uid: &str, text: &str) {
        self.replace(uid, "description", HashSet::from([text])).await;
    }

    /// Renames the entry within its unit; the address stays.
    pub async fn rename(&self, uid: &str, new_uid: &str) {
        let mut ldap = self.connect().await;
        let outcome = ldap
            .modifydn(&self.dn(uid), &format!("uid={new_uid}"), true, None)
            .await;
        outcome.unwrap().success().unwrap();
    }

    /// Moves the entry from `ou=people` to another unit, such as `former`, which is outside of the search base.
    pub async fn move_to(&self, uid: &str, ou: &str) {
        self.move_between(uid, "people", ou).await;
    }

    /// Moves the entry from one unit to another.
    pub async fn move_between(&self, uid: &str, from: &str, to: &str) {
        let mut ldap = self.connect().await;
        let parent = format!("ou={to},{}", self.base);
        let outcome = ldap
            .modifydn(&self.dn_in(from, uid), &format!("uid={uid}"), true, Some(&parent))
            .await;
        outcome.unwrap().success().unwrap();
    }

    /// Deletes the entry.
    pub async fn delete(&self, uid: &str) {
        let mut ldap = self.connect().await;
        ldap.delete(&self.dn(uid)).await.unwrap().success().unwrap();
    }

    /// The identity of a person in `ou=people`.
    pub async fn entry_uuid(&self, uid: &str) -> EntryId {
        let mut ldap = self.connect().await;
        let found = ldap
            .search(&self.dn(uid), Scope::Base, "(objectClass=*)", ["entryUUID"])
            .await;
        let (entries, _) = found.unwrap().success().unwrap();
        let entry = SearchEntry::construct(entries.into_iter().next().unwrap());
        EntryId::parse(entry.attrs["entryUUID"][0].as_bytes()).unwrap()
    }

    async fn replace(&self, uid: &str, attribute: &str, values: HashSet<&str>) {
        let mut ldap = self.connect().await;
        let change = vec![Mod::Replace(attribute, values)];
        ldap.modify(&self.dn(uid), change)
            .await
            .unwrap()
            .success()
            .unwrap();
    }

    /// The connection lives until the handle is dropped.
    async fn connect(&self) -> Ldap {
        let (connection, mut ldap) = LdapConnAsync::new(&self.url).await.unwrap();
        tokio::task::spawn(connection.drive());
        let (dn, password) = &self.admin;
        ldap.simple_bind(dn, password).await.unwrap().success().unwrap();
        ldap
    }
}

async fn add(ldap: &mut Ldap, dn: &str, uid: &str, mail: Option<&str>) {
    let mut attributes = vec![
        ("objectClass", HashSet::from(["inetOrgPerson"])),
        ("uid", HashSet::from([uid])),
        ("cn", HashSet::from([uid])),
        ("sn", HashSet::from([uid])),
    ];
    attributes.extend(mail.map(|mail| ("mail", HashSet::from([mail]))));
    ldap.add(dn, attributes).await.unwrap().success().unwrap();
}
