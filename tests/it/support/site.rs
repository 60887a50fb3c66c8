//! A common interface to the directory servers on which behaviour is tested, and to the people and groups in them.
//!
//! Every site has `ou=people` (where the service looks), `ou=former` (outside of it) and `ou=groups` below its suffix,
//! an administrator who may do everything, and a reader with no more rights than the documentation asks for.

use std::collections::HashSet;

use futures::future::BoxFuture;
use ldap3::{Ldap, LdapConnAsync, Mod, Scope, SearchEntry};

/// A directory server for one test, running or stopped. It is killed on drop.
pub trait Site: Send + Sync {
    /// `ldap://127.0.0.x:PORT`
    fn url(&self) -> String;
    /// The name and the password of the administrator, who has all rights.
    fn admin(&self) -> (String, String);
    /// The name and the password that the service binds as.
    fn reader(&self) -> (String, String);
    /// The suffix, below which the units are.
    fn suffix(&self) -> String;
    /// The schema that this server uses for people and groups.
    fn dialect(&self) -> Dialect;
    /// Stops it as an administrator does (SIGTERM). Returns when the process is gone.
    fn stop(&mut self) -> BoxFuture<'_, ()>;
    /// Kills it, as a crash does (SIGKILL).
    fn kill9(&mut self) -> BoxFuture<'_, ()>;
    /// Starts it again on the same data and port. Returns when it answers.
    fn start(&mut self) -> BoxFuture<'_, ()>;
}

/// The schema of a server for people and groups.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    /// The object classes of a person.
    pub person: &'static [&'static str],
    /// The attribute that names a person within their unit: `uid` or `cn`.
    pub naming: &'static str,
    /// The filter that finds people, as the documentation of this server has it.
    pub people: &'static str,
    /// An attribute that every person may have and that tests use in filters: `departmentNumber`.
    pub trait_attribute: &'static str,
    /// The object classes of a group of DNs.
    pub group: &'static [&'static str],
    /// Whether a group of DNs must have at least one member (RFC 4519 `groupOfNames`).
    pub never_empty: bool,
    /// Whether the server maintains `memberOf`.
    pub member_of: bool,
    /// Whether its `memberOf` includes the groups that a person belongs to through another group.
    pub nests: bool,
    /// How an administrator disables an account; `None` if the server cannot disable accounts.
    pub lock: Option<Lock>,
}

/// How an administrator disables an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// OpenLDAP's ppolicy: `pwdAccountLockedTime: 000001010000Z`
    OpenLdap,
    /// 389-DS: `nsAccountLock: true`
    Ds389,
    /// Active Directory: the second bit of `userAccountControl`
    ActiveDirectory,
}

impl dyn Site + '_ {
    /// Where people are.
    pub fn people_base(&self) -> String {
        format!("ou=people,{}", self.suffix())
    }

    /// Changes people and groups as the administrator.
    pub fn folk(&self) -> Folk {
        Folk {
            url: self.url(),
            admin: self.admin(),
            suffix: self.suffix(),
            dialect: self.dialect(),
        }
    }

    /// A `[[directory]]` table that follows the people who match `filter`, with further keys.
    pub fn table(&self, filter: &str, keys: &str) -> String {
        let (dn, password) = self.reader();
        format!(
            r#"[[directory]]
url = "{url}"
bind_dn = '{dn}'
bind_password = "{password}"
base_dn = "{base}"
filter = "{filter}"
{keys}
"#,
            url = self.url(),
            base = self.people_base(),
        )
    }
}

/// People and groups, changed by the administrator. Each change opens a new connection, so that it works after any failure
/// of the server.
#[derive(Debug, Clone)]
pub struct Folk {
    url: String,
    admin: (String, String),
    suffix: String,
    dialect: Dialect,
}

impl Folk {
    /// The DN of a person in `ou=people`.
    pub fn dn(&self, uid: &str) -> String {
        self.dn_in("people", uid)
    }

    /// The DN of a person in another unit.
    pub fn dn_in(&self, ou: &str, uid: &str) -> String {
        format!("{}={uid},ou={ou},{}", self.dialect.naming, self.suffix)
    }

    /// The DN of a group.
    pub fn group(&self, name: &str) -> String {
        format!("cn={name},ou=groups,{}", self.suffix)
    }

    /// Adds a person with the address `UID@example.org` to `ou=people`.
    pub async fn add(&self, uid: &str) {
        self.add_in("people", uid, Some(&format!("{uid}@example.org")))
            .await;
    }

    /// Adds a person with this address, or without any, to a unit.
    pub async fn add_in(&self, ou: &str, uid: &str, mail: Option<&str>) {
        let mut ldap = self.connect().await;
        self.add_to(&mut ldap, ou, uid, mail).await;
    }

    /// Adds `PREFIX1` to `PREFIXcount` over one connection; returns their DNs.
    pub async fn add_many(&self, prefix: &str, count: usize) -> Vec<String> {
        let mut ldap = self.connect().await;
        let mut dns = Vec::new();
        for n in 1..=count {
            let uid = format!("{prefix}{n}");
            let mail = format!("{uid}@example.org");
            self.add_to(&mut ldap, "people", &uid, Some(&mail)).await;
            dns.push(self.dn(&uid));
        }
        dns
    }

    async fn add_to(&self, ldap: &mut Ldap, ou: &str, uid: &str, mail: Option<&str>) {
        let mut attributes = vec![
            ("objectClass", self.dialect.person.iter().copied().collect()),
            ("cn", HashSet::from([uid])),
        ];
        if self.dialect.lock == Some(Lock::ActiveDirectory) {
            // Created enabled in one step, as provisioning tools do over LDAP.
            attributes.push(("sAMAccountName", HashSet::from([uid])));
            attributes.push(("userAccountControl", HashSet::from(["544"])));
        } else {
            attributes.push(("uid", HashSet::from([uid])));
            attributes.push(("sn", HashSet::from([uid])));
        }
        attributes.extend(mail.map(|mail| ("mail", HashSet::from([mail]))));
        ldap.add(&self.dn_in(ou, uid), attributes)
            .await
            .unwrap()
            .success()
            .unwrap();
    }

    /// Adds a person to `ou=people` with these attributes besides the class and the name, with names and values as given.
    pub async fn add_written(&self, uid: &str, attributes: &[(&str, &str)]) {
        let mut all = vec![
            ("objectClass", self.dialect.person.iter().copied().collect()),
            (self.dialect.naming, HashSet::from([uid])),
        ];
        all.extend(
            attributes
                .iter()
                .map(|&(name, value)| (name, HashSet::from([value]))),
        );
        let mut ldap = self.connect().await;
        ldap.add(&self.dn(uid), all).await.unwrap().success().unwrap();
    }

    /// Replaces an attribute of a person in `ou=people`; no value removes it.
    pub async fn set(&self, uid: &str, attribute: &str, value: Option<&str>) {
        self.modify(
            &self.dn(uid),
            Mod::Replace(attribute, value.into_iter().collect()),
        )
        .await;
    }

    /// Disables or enables the account of a person in `ou=people`.
    pub async fn lock(&self, uid: &str, locked: bool) {
        let (attribute, value) = match self.dialect.lock.expect("this server locks accounts") {
            Lock::OpenLdap => ("pwdAccountLockedTime", locked.then_some("000001010000Z")),
            Lock::Ds389 => ("nsAccountLock", locked.then_some("true")),
            Lock::ActiveDirectory => ("userAccountControl", Some(if locked { "546" } else { "544" })),
        };
        self.set(uid, attribute, value).await;
    }

    /// Moves a person from one unit to another.
    pub async fn move_between(&self, uid: &str, from: &str, to: &str) {
        let rdn = format!("{}={uid}", self.dialect.naming);
        let parent = format!("ou={to},{}", self.suffix);
        self.rename_entry(&self.dn_in(from, uid), &rdn, Some(&parent))
            .await;
    }

    /// Renames a person within `ou=people`; the address stays.
    pub async fn rename(&self, uid: &str, new_uid: &str) {
        let rdn = format!("{}={new_uid}", self.dialect.naming);
        self.rename_entry(&self.dn(uid), &rdn, None).await;
    }

    /// Renames a group.
    pub async fn rename_group(&self, name: &str, new_name: &str) {
        self.rename_entry(&self.group(name), &format!("cn={new_name}"), None)
            .await;
    }

    /// Renames a unit, with everything in it.
    pub async fn rename_unit(&self, dn: &str, rdn: &str) {
        self.rename_entry(dn, rdn, None).await;
    }

    async fn rename_entry(&self, dn: &str, rdn: &str, parent: Option<&str>) {
        let mut ldap = self.connect().await;
        ldap.modifydn(dn, rdn, true, parent)
            .await
            .unwrap()
            .success()
            .unwrap();
    }

    /// Deletes an entry.
    pub async fn delete(&self, dn: &str) {
        self.connect().await.delete(dn).await.unwrap().success().unwrap();
    }

    /// Adds a group with these members, people or groups.
    pub async fn add_group(&self, name: &str, members: &[String]) {
        let mut members: HashSet<&str> = members.iter().map(String::as_str).collect();
        let (admin, _) = &self.admin;
        if members.is_empty() && self.dialect.never_empty {
            members.insert(admin);
        }
        let mut attributes = vec![
            ("objectClass", self.dialect.group.iter().copied().collect()),
            ("cn", HashSet::from([name])),
        ];
        if self.dialect.lock == Some(Lock::ActiveDirectory) {
            attributes.push(("sAMAccountName", HashSet::from([name])));
        }
        if !members.is_empty() {
            attributes.push(("member", members));
        }
        let mut ldap = self.connect().await;
        ldap.add(&self.group(name), attributes)
            .await
            .unwrap()
            .success()
            .unwrap();
    }

    /// Adds a person or a group, given by DN, to a group.
    pub async fn join(&self, group: &str, dn: &str) {
        self.modify(&self.group(group), Mod::Add("member", HashSet::from([dn])))
            .await;
    }

    /// Removes a person or a group, given by DN, from a group.
    pub async fn leave(&self, group: &str, dn: &str) {
        self.modify(&self.group(group), Mod::Delete("member", HashSet::from([dn])))
            .await;
    }

    /// Changes an entry.
    pub async fn modify(&self, dn: &str, change: Mod<&str>) {
        self.modify_all(dn, vec![change]).await;
    }

    /// Changes an entry in several ways at once.
    pub async fn modify_all(&self, dn: &str, changes: Vec<Mod<&str>>) {
        let mut ldap = self.connect().await;
        ldap.modify(dn, changes).await.unwrap().success().unwrap();
    }

    /// The DNs below the suffix that match a filter.
    pub async fn find(&self, filter: &str) -> Vec<String> {
        let mut ldap = self.connect().await;
        let found = ldap.search(&self.suffix, Scope::Subtree, filter, ["1.1"]).await;
        let (entries, _) = found.unwrap().success().unwrap();
        let entries = entries.into_iter().filter(|entry| !entry.is_ref());
        entries.map(|entry| SearchEntry::construct(entry).dn).collect()
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
