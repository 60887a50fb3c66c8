//! The options of a slapd, and the files that are generated from them: slapd.conf, the first entries, certificates.

use std::fmt::Write as _;
use std::path::Path;

pub(super) const SUFFIX: &str = "dc=example,dc=org";
pub(super) const ADMIN: (&str, &str) = ("cn=admin,dc=example,dc=org", "admin-secret");
pub(super) const READER: (&str, &str) = ("cn=reader,ou=system,dc=example,dc=org", "reader-secret");

/// The options of a slapd. The defaults are those of a well-configured production server.
#[derive(Debug, Clone)]
pub struct Builder {
    syncprov: bool,
    session_log: Option<u32>,
    checkpoint: bool,
    pub(super) tls: bool,
    size_limit: Option<u32>,
    time_limit: Option<u32>,
    member_of: MemberOf,
    pub(super) ppolicy: bool,
    refint: bool,
    least_rights: bool,
    pub(super) glued: bool,
    glue_first: bool,
    denied: Vec<String>,
    global: String,
    database: String,
    pub(super) people: usize,
}

/// Which overlay provides `memberOf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MemberOf {
    Absent,
    Overlay,
    Dynlist,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            syncprov: true,
            session_log: Some(1000),
            checkpoint: true,
            tls: false,
            size_limit: None,
            time_limit: None,
            member_of: MemberOf::Absent,
            ppolicy: false,
            refint: false,
            least_rights: false,
            glued: false,
            glue_first: false,
            denied: Vec::new(),
            global: String::new(),
            database: String::new(),
            people: 0,
        }
    }
}

impl Builder {
    /// The length of syncprov's session log; with `None`, sessions resume with a present phase only. Default: 1000.
    pub fn session_log(mut self, length: Option<u32>) -> Self {
        self.session_log = length;
        self
    }

    /// Whether the contextCSN is stored with every write (`syncprov-checkpoint 1 1`). Default: yes. Without it
    /// (slapd's own default) a `kill -9` loses it.
    pub fn checkpoint(mut self, on: bool) -> Self {
        self.checkpoint = on;
        self
    }

    /// Also listens on ldaps:// and offers StartTLS, with a certificate by a CA of its own. Default: no.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Ends each search of anyone except the admin after this many entries (slapd's own default is 500).
    /// Default: the reader has no limit.
    pub fn size_limit(mut self, entries: Option<u32>) -> Self {
        self.size_limit = entries;
        self
    }

    /// Keeps `memberOf` up to date with the `memberof` overlay. Default: no.
    pub fn memberof(mut self) -> Self {
        self.member_of = MemberOf::Overlay;
        self
    }

    /// Answers for `memberOf` with the `dynlist` overlay, which computes it. Default: no.
    pub fn dynlist(mut self) -> Self {
        self.member_of = MemberOf::Dynlist;
        self
    }

    /// Lets the administrator lock accounts, with the `ppolicy` overlay. Default: no.
    pub fn ppolicy(mut self) -> Self {
        self.ppolicy = true;
        self
    }

    /// Updates groups when people are renamed or deleted, with the `refint` overlay. Default: no.
    pub fn refint(mut self) -> Self {
        self.refint = true;
        self
    }

    pub(super) fn nests(&self) -> bool {
        self.member_of == MemberOf::Dynlist
    }

    pub(super) fn keeps_member_of(&self) -> bool {
        self.member_of != MemberOf::Absent
    }

    /// Loads no syncprov: a server that can only be polled. Default: it is loaded.
    pub fn no_syncprov(mut self) -> Self {
        self.syncprov = false;
        self
    }

    /// Gives the reader no more rights than `config/examples/openldap.md` asks for. Default: it may read everything.
    pub fn least_rights(mut self) -> Self {
        self.least_rights = true;
        self
    }

    /// Puts `ou=branch` into a separate database, which is glued to the other one (`subordinate`). By default slapd puts
    /// the overlay `glue` below `syncprov`, which then reports one database only; `first` puts it above. Default: one
    /// database.
    pub fn glued(mut self, first: bool) -> Self {
        self.glued = true;
        self.glue_first = first;
        self
    }

    /// Denies the reader an attribute, such as `entryCSN`.
    pub fn hide_from_reader(self, attribute: &str) -> Self {
        self.deny(&format!("attrs={attribute}"))
    }

    /// Denies everyone but the administrator a part of the tree, as `access to` in slapd.conf has it.
    pub fn deny(mut self, what: &str) -> Self {
        self.denied.push(what.into());
        self
    }

    /// Takes back all that [`Builder::deny`] denied.
    pub fn deny_nothing(mut self) -> Self {
        self.denied.clear();
        self
    }

    /// Ends each search of the reader after so many seconds. Default: no limit.
    pub fn time_limit(mut self, seconds: Option<u32>) -> Self {
        self.time_limit = seconds;
        self
    }

    /// A line for the global part of slapd.conf, such as `idletimeout 1`.
    pub fn global_line(mut self, line: &str) -> Self {
        writeln!(self.global, "{line}").unwrap();
        self
    }

    /// A line for the database's part of slapd.conf, before its overlays.
    pub fn database_line(mut self, line: &str) -> Self {
        writeln!(self.database, "{line}").unwrap();
        self
    }

    /// The number of initial people: `person1` (`person1@example.org`) and so on. Default: none.
    pub fn people(mut self, count: usize) -> Self {
        self.people = count;
        self
    }
}

pub(super) fn conf(dir: &Path, options: &Builder) -> String {
    let dir = dir.display();
    let (admin, admin_pw) = ADMIN;
    let (reader, _) = READER;
    let mut conf = String::new();
    for schema in ["core", "cosine", "inetorgperson", "nis", "dyngroup"] {
        writeln!(conf, "include /etc/ldap/schema/{schema}.schema").unwrap();
    }
    conf += "modulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload memberof\nmoduleload dynlist\nmoduleload ppolicy\nmoduleload refint\n";
    if options.syncprov {
        conf += "moduleload syncprov\n";
    }
    if options.tls {
        conf += &format!(
            "TLSCACertificateFile {dir}/ca.pem\nTLSCertificateFile {dir}/server.pem\nTLSCertificateKeyFile {dir}/server.key\n"
        );
    }
    if let Some(entries) = options.size_limit {
        writeln!(conf, "sizelimit {entries}").unwrap();
    }
    // The log goes to our file (-d), not to the machine's syslog.
    write!(
        conf,
        r#"loglevel 0
pidfile {dir}/slapd.pid
argsfile {dir}/slapd.args
authz-regexp "gidNumber=[0-9]+\\+uidNumber=[0-9]+,cn=peercred,cn=external,cn=auth" "{reader}"
authz-regexp "^cn=usher,o=example$" "{reader}"
{global}
{branch}database mdb
suffix "{SUFFIX}"
rootdn "{admin}"
rootpw {admin_pw}
directory {dir}/db
maxsize 4294967296
dbnosync
index objectClass,uid,mail,entryCSN,entryUUID eq
access to attrs=userPassword by anonymous auth by * none
"#,
        global = options.global,
        branch = branch(&dir, options),
    )
    .unwrap();
    for what in &options.denied {
        writeln!(conf, "access to {what} by * none").unwrap();
    }
    if options.least_rights {
        let mut of_people = "objectClass,uid,gidNumber,mail,entryUUID,entryCSN".to_owned();
        of_people += match options.member_of {
            MemberOf::Absent => "",
            MemberOf::Overlay => ",memberOf",
            MemberOf::Dynlist => ",memberOf,entryDN",
        };
        if options.ppolicy {
            of_people += ",pwdAccountLockedTime";
        }
        for (branch, attributes) in [
            ("", "entry"),
            ("ou=people,", &of_people),
            (
                "ou=groups,",
                "objectClass,member,uniqueMember,memberUid,gidNumber,entryUUID,entryCSN",
            ),
        ] {
            writeln!(
                conf,
                "access to dn.subtree=\"{branch}{SUFFIX}\" attrs={attributes} by dn.exact=\"{reader}\" read by * break"
            )
            .unwrap();
        }
        conf += "access to * by * none\n";
    } else {
        writeln!(conf, "access to * by dn.exact=\"{reader}\" read by * none").unwrap();
    }
    if options.size_limit.is_none() {
        let time = options
            .time_limit
            .map_or("unlimited".into(), |seconds| seconds.to_string());
        writeln!(conf, "limits dn.exact=\"{reader}\" size=unlimited time={time}").unwrap();
    }
    conf += &options.database;
    match options.member_of {
        MemberOf::Absent => {}
        MemberOf::Overlay => conf += "overlay memberof\nmemberof-refint true\n",
        MemberOf::Dynlist => {
            conf += "overlay dynlist\ndynlist-attrset groupOfURLs memberURL member+memberOf@groupOfNames*\n";
        }
    }
    if options.refint {
        conf += "overlay refint\nrefint_attributes member\n";
    }
    if options.ppolicy {
        conf += "overlay ppolicy\n";
    }
    if options.glue_first {
        conf += "overlay glue\n";
    }
    if options.syncprov {
        conf += "overlay syncprov\n";
        if options.checkpoint {
            conf += "syncprov-checkpoint 1 1\n";
        }
        if let Some(length) = options.session_log {
            writeln!(conf, "syncprov-sessionlog {length}").unwrap();
        }
    }
    conf
}

/// The database of `ou=branch`.
fn branch(dir: &impl std::fmt::Display, options: &Builder) -> String {
    let (admin, _) = ADMIN;
    let (reader, _) = READER;
    if !options.glued {
        return String::new();
    }
    format!(
        r#"database mdb
suffix "ou=branch,{SUFFIX}"
subordinate
rootdn "{admin}"
directory {dir}/branch
dbnosync
access to * by dn.exact="{reader}" read by * none
limits dn.exact="{reader}" size=unlimited time=unlimited
"#
    )
}

/// The first entry of the database of `ou=branch`.
pub(super) fn seed_of_branch() -> String {
    format!("dn: ou=branch,{SUFFIX}\nobjectClass: organizationalUnit\nou: branch\n\n")
}

pub(super) fn seed(people: usize) -> String {
    let mut ldif = format!(
        "dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n\n"
    );
    for ou in ["people", "former", "groups", "system"] {
        writeln!(
            ldif,
            "dn: ou={ou},{SUFFIX}\nobjectClass: organizationalUnit\nou: {ou}\n"
        )
        .unwrap();
    }
    let (reader, password) = READER;
    writeln!(
        ldif,
        "dn: {reader}\nobjectClass: applicationProcess\nobjectClass: simpleSecurityObject\ncn: reader\nuserPassword: {password}\n"
    )
    .unwrap();
    for n in 1..=people {
        ldif += &person_ldif(&format!("person{n}"));
    }
    ldif
}

/// The LDIF of a person with the address `UID@example.org`, ending in an empty line.
pub fn person_ldif(uid: &str) -> String {
    format!(
        "dn: uid={uid},ou=people,{SUFFIX}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid}\nsn: {uid}\nmail: {uid}@example.org\n\n"
    )
}
