//! The options of a 389 Directory Server, and the files that are generated from them: dse.ldif and the first entries.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

pub(super) const SUFFIX: &str = "dc=example,dc=org";
pub(super) const ADMIN: (&str, &str) = ("cn=Directory Manager", "admin-secret");
pub(super) const READER: (&str, &str) = ("cn=reader,ou=system,dc=example,dc=org", "reader-secret");

const TEMPLATE: &str = "/usr/share/dirsrv/data/template-dse.ldif";

/// What kind of server to start; by default persistent search (which is always there), content synchronisation and
/// the memberOf plugin, and a reader without limits, as `config/examples/389-ds.md` asks for.
#[derive(Debug, Clone)]
pub struct Builder {
    member_of: bool,
    content_sync: bool,
    target_unique_id: bool,
    reader_limits: bool,
    reader_rights: &'static str,
    rights_below_people: bool,
    lines: Vec<(&'static str, String)>,
    people: usize,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            member_of: true,
            content_sync: true,
            target_unique_id: true,
            reader_limits: false,
            reader_rights: "objectClass || uid || cn || mail || departmentNumber || nsUniqueId || nsAccountLock || memberOf || member || uniqueMember || memberUid || memberURL",
            rights_below_people: false,
            lines: Vec::new(),
            people: 0,
        }
    }
}

impl Builder {
    /// Disables the memberOf plugin.
    pub fn no_member_of(mut self) -> Self {
        self.member_of = false;
        self
    }

    /// Disables content synchronisation and the retro changelog.
    pub fn no_content_sync(mut self) -> Self {
        self.content_sync = false;
        self
    }

    /// Leaves `targetUniqueId` out of the retro changelog, which is the default of the server.
    pub fn no_target_unique_id(mut self) -> Self {
        self.target_unique_id = false;
        self
    }

    /// Applies the server's limits to the reader.
    pub fn reader_limits(mut self) -> Self {
        self.reader_limits = true;
        self
    }

    /// What the reader may read, as a `targetattr` of an ACI.
    pub fn reader_rights(mut self, attributes: &'static str) -> Self {
        self.reader_rights = attributes;
        self
    }

    /// Lets the reader see `ou=people` and the entries below it only.
    pub fn rights_below_people(mut self) -> Self {
        self.rights_below_people = true;
        self
    }

    /// `attribute: value` for `cn=config`.
    pub fn config(mut self, line: &str) -> Self {
        self.lines.push(("cn=config", line.into()));
        self
    }

    /// `attribute: value` for all databases.
    pub fn database(mut self, line: &str) -> Self {
        self.lines.push((DATABASES, line.into()));
        self
    }

    /// `attribute: value` for the retro changelog.
    pub fn changelog(mut self, line: &str) -> Self {
        self.lines.push((CHANGELOG, line.into()));
        self
    }

    /// The number of initial people: `person1` (`person1@example.org`) and so on. Default: none.
    pub fn people(mut self, count: usize) -> Self {
        self.people = count;
        self
    }

    pub(super) fn keeps_member_of(&self) -> bool {
        self.member_of
    }
}

const DATABASES: &str = "cn=config,cn=ldbm database,cn=plugins,cn=config";
const CHANGELOG: &str = "cn=Retro Changelog Plugin,cn=plugins,cn=config";
const MEMBER_OF: &str = "cn=MemberOf Plugin,cn=plugins,cn=config";
const SYNC: &str = "cn=Content Synchronization,cn=plugins,cn=config";

/// The server's configuration, from the template of the package.
pub(super) fn dse(dir: &Path, port: u16, options: &Builder) -> Result<String, String> {
    let template = fs::read_to_string(TEMPLATE).map_err(|error| format!("{TEMPLATE}: {error}"))?;
    let dir = dir.display();
    let user = Command::new("id")
        .arg("-un")
        .output()
        .map_err(|error| error.to_string())?;
    let user = String::from_utf8_lossy(&user.stdout).trim().to_owned();
    let mut text = template;
    for (key, value) in [
        ("schema_dir", format!("{dir}/config/schema")),
        ("lock_dir", format!("{dir}/lock")),
        ("tmp_dir", format!("{dir}/tmp")),
        ("cert_dir", format!("{dir}/config")),
        ("ldif_dir", format!("{dir}/ldif")),
        ("bak_dir", format!("{dir}/bak")),
        ("run_dir", format!("{dir}/run")),
        ("inst_dir", format!("{dir}/inst")),
        ("log_dir", format!("{dir}/log")),
        ("config_dir", format!("{dir}/config")),
        ("db_dir", format!("{dir}/db")),
        ("db_home_dir", format!("{dir}/db")),
        ("db_lib", "bdb".into()),
        ("fqdn", "localhost".into()),
        ("ds_port", port.to_string()),
        ("ds_user", user),
        ("rootdn", ADMIN.0.into()),
        ("ds_passwd", format!("{{CLEAR}}{}", ADMIN.1)),
        ("ldapi_enabled", "on".into()),
        ("ldapi", format!("{dir}/ldapi")),
        ("ldapi_autobind", "off".into()),
        ("ds_suffix", SUFFIX.into()),
        ("instance_name", "test".into()),
    ] {
        text = text.replace(&format!("%{key}%"), &value);
    }
    let on = |on| if on { "on" } else { "off" };
    let mut lines = vec![
        ("cn=config", "nsslapd-listenhost: 127.0.0.1".to_owned()),
        ("cn=config", "nsslapd-accesslog-logbuffering: off".to_owned()),
        (
            MEMBER_OF,
            format!("nsslapd-pluginEnabled: {}", on(options.member_of)),
        ),
        (
            SYNC,
            format!("nsslapd-pluginEnabled: {}", on(options.content_sync)),
        ),
        (
            CHANGELOG,
            format!("nsslapd-pluginEnabled: {}", on(options.content_sync)),
        ),
        // Without these, each instance uses a hundred megabytes and waits for the disk.
        (DATABASES, "nsslapd-cache-autosize: 0".to_owned()),
        (DATABASES, "nsslapd-dbcachesize: 16777216".to_owned()),
        (DATABASES, "nsslapd-db-durable-transaction: off".to_owned()),
    ];
    if options.target_unique_id {
        lines.push((
            CHANGELOG,
            "nsslapd-attribute: nsuniqueid:targetUniqueId".to_owned(),
        ));
    }
    lines.extend(options.lines.iter().cloned());
    let mut records: Vec<String> = text
        .split("\n\n")
        .map(|record| record.trim().to_owned())
        .filter(|record| !record.is_empty())
        .collect();
    for (dn, line) in lines {
        let record = records
            .iter_mut()
            .find(|record| {
                record
                    .lines()
                    .next()
                    .is_some_and(|first| first.eq_ignore_ascii_case(&format!("dn: {dn}")))
            })
            .ok_or_else(|| format!("{TEMPLATE} has no {dn}"))?;
        set(record, &line);
    }
    let escaped = SUFFIX.replace('=', "\\3D").replace(',', "\\2C");
    records.push(format!(
        "dn: cn=userRoot,cn=ldbm database,cn=plugins,cn=config\nobjectClass: top\nobjectClass: extensibleObject\nobjectClass: nsBackendInstance\ncn: userRoot\nnsslapd-suffix: {SUFFIX}\nnsslapd-cachesize: -1\nnsslapd-cachememsize: 67108864\nnsslapd-directory: {dir}/db/userRoot"
    ));
    records.push(format!(
        "dn: cn={escaped},cn=mapping tree,cn=config\nobjectClass: top\nobjectClass: extensibleObject\nobjectClass: nsMappingTree\ncn: {SUFFIX}\nnsslapd-state: backend\nnsslapd-backend: userRoot"
    ));
    Ok(records.join("\n\n") + "\n")
}

/// Replaces the values of the attribute in the record by `attribute: value`.
fn set(record: &mut String, line: &str) {
    let attribute = line.split(':').next().unwrap();
    let keep = |old: &&str| !old.split(':').next().unwrap().eq_ignore_ascii_case(attribute);
    *record = record.lines().filter(keep).collect::<Vec<_>>().join("\n");
    write!(record, "\n{line}").unwrap();
}

pub(super) fn seed(options: &Builder) -> String {
    let (reader, password) = READER;
    let rights = options.reader_rights;
    let aci = format!(
        "aci: (targetattr = \"{rights}\")(version 3.0; acl \"ldap-usher reads people and groups\"; allow (read, search, compare) userdn = \"ldap:///{reader}\";)\n"
    );
    let (everywhere, below_people) = if options.rights_below_people {
        ("", aci.as_str())
    } else {
        (aci.as_str(), "")
    };
    let mut ldif = format!("dn: {SUFFIX}\nobjectClass: domain\ndc: example\n{everywhere}\n");
    for ou in ["people", "former", "groups", "system"] {
        let aci = if ou == "people" { below_people } else { "" };
        writeln!(
            ldif,
            "dn: ou={ou},{SUFFIX}\nobjectClass: organizationalUnit\nou: {ou}\n{aci}"
        )
        .unwrap();
    }
    writeln!(
        ldif,
        "dn: {reader}\nobjectClass: applicationProcess\nobjectClass: simpleSecurityObject\ncn: reader\nuserPassword: {password}"
    )
    .unwrap();
    if !options.reader_limits {
        ldif += "nsSizeLimit: -1\nnsLookThroughLimit: -1\nnsIdleTimeout: -1\n";
    }
    ldif += "\n";
    for n in 1..=options.people {
        writeln!(
            ldif,
            "dn: uid=person{n},ou=people,{SUFFIX}\nobjectClass: inetOrgPerson\nuid: person{n}\ncn: person{n}\nsn: person{n}\nmail: person{n}@example.org\n"
        )
        .unwrap();
    }
    ldif
}
