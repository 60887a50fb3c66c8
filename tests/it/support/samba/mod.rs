//! A real Active Directory domain controller for each test: Samba, in a temporary directory and on a
//! loopback address of its own (its ports cannot be chosen), killed on drop.
//!
//! The domain is `lab.test`, with `ou=people` (the search base of the tests), `ou=former` (outside of it), `ou=groups`,
//! and a reader without special rights. It starts in a second, from an archive that the first test of a machine makes.

mod provision;

use std::collections::HashSet;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use ldap3::{Ldap, LdapConnAsync};
use tempfile::TempDir;

use super::certificates;
use super::site::{Dialect, Folk, Lock, Site};
use super::slapd::reads_root_dse;

const BINARY: &str = "/usr/sbin/samba";
const PACKAGES: &str = "samba-ad-dc samba-ad-provision winbind samba-dsdb-modules samba-vfs-modules";

const REALM: &str = "LAB.TEST";
const DOMAIN: &str = "LAB";
const CONTROLLER: &str = "dc1";
const SUFFIX: &str = "DC=lab,DC=test";
const ADMIN: (&str, &str) = ("Administrator@lab.test", "Passw0rd!x");
const READER: (&str, &str) = ("reader@lab.test", "reader-secret");

/// How long Samba may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running (or stopped) domain controller.
#[derive(Debug)]
pub struct Samba {
    process: Option<Child>,
    address: Ipv4Addr,
    options: Builder,
    dir: TempDir,
}

/// What kind of domain controller to start.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    people: usize,
    standard: bool,
    strong_auth: bool,
    kerberos: bool,
    names: Vec<String>,
}

impl Builder {
    /// With `person1` to `personN` in `ou=people`.
    pub fn people(mut self, count: usize) -> Self {
        self.people = count;
        self
    }

    /// With a process for each connection, as in the packages, which notifies of changes within five seconds. Otherwise
    /// one process serves all connections and notifies at once.
    pub fn standard(mut self) -> Self {
        self.standard = true;
        self
    }

    /// Refuses passwords over connections without TLS, after a restart.
    pub fn strong_auth(mut self) -> Self {
        self.strong_auth = true;
        self
    }

    /// With a key distribution centre.
    pub fn kerberos(mut self) -> Self {
        self.kerberos = true;
        self
    }

    /// With a further name in its certificate.
    pub fn named(mut self, name: &str) -> Self {
        self.names.push(name.into());
        self
    }

    /// Starts it. Returns when it answers.
    ///
    /// # Panics
    /// If Samba is missing or does not start, with what to install or with its message.
    pub async fn start(self) -> Samba {
        self.try_start().await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn try_start(self) -> Result<Samba, String> {
        if !Path::new(BINARY).exists() {
            return Err(format!("{BINARY} is missing; run: apt-get install {PACKAGES}"));
        }
        // Paths of sockets must be short, and some of its paths are those of sockets.
        let dir = tempfile::Builder::new()
            .prefix("dc-")
            .tempdir_in("/tmp")
            .map_err(|error| error.to_string())?;
        let address = free_address()?;
        provision::unpack(dir.path())?;
        let names = [
            format!("{CONTROLLER}.lab.test"),
            "localhost".to_owned(),
            address.to_string(),
        ];
        certificates::write(dir.path(), names.into_iter().chain(self.names.iter().cloned()));
        let mut samba = Samba {
            process: None,
            address,
            options: Builder {
                strong_auth: false,
                ..self.clone()
            },
            dir,
        };
        samba.launch().await?;
        samba.seed().await;
        samba.options.strong_auth = self.strong_auth;
        if self.strong_auth {
            samba.restart().await;
        }
        Ok(samba)
    }
}

impl Samba {
    /// What kind of domain controller to start.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it listens, with the ports 389, 636, 3268 and 3269.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// `ldap://127.x.y.z:389`
    pub fn url(&self) -> String {
        format!("ldap://{}:389", self.address)
    }

    /// `ldaps://127.x.y.z:636`
    pub fn ldaps_url(&self) -> String {
        format!("ldaps://{}:636", self.address)
    }

    /// Exports the key of the reader into a keytab, and names the service to which they get tickets, which a controller that
    /// runs all its services does by itself.
    pub fn keytab(&self, path: &Path) {
        let run = |words: &[&str], last: &Path| {
            let mut command = Command::new("/usr/bin/samba-tool");
            command.args(words).arg("-s").arg(self.file("smb.conf")).arg(last);
            provision::run(&mut command).unwrap_or_else(|error| panic!("{error}"));
        };
        run(&["spn", "add", "ldap/dc1.lab.test"], Path::new("DC1$"));
        run(&["domain", "exportkeytab", "--principal=reader@LAB.TEST"], path);
    }

    /// The CA that signed the server's certificate, in PEM.
    pub fn ca_file(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// Changes the directory as the administrator.
    pub fn folk(&self) -> Folk {
        (self as &dyn Site).folk()
    }

    /// A `[[directory]]` table that follows its people, with further keys.
    pub fn table(&self, keys: &str) -> String {
        (self as &dyn Site).table(self.dialect().people, keys)
    }

    /// The log of Samba so far.
    pub fn log(&self) -> String {
        fs::read(self.file("samba.log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Stops it as an administrator does (SIGTERM). Returns when the process is gone.
    pub async fn stop(&mut self) {
        self.end("TERM").await;
    }

    /// Kills it, as a crash does (SIGKILL).
    pub async fn kill9(&mut self) {
        self.end("KILL").await;
    }

    /// Starts it again on the same data and address, after ending it if it still runs. Returns when it answers.
    pub async fn restart(&mut self) {
        if self.process.is_some() {
            self.stop().await;
        }
        self.launch().await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Backs up the databases. Samba is stopped for this.
    pub async fn back_up(&mut self) {
        self.stop().await;
        self.copy("private", "backup");
        self.restart().await;
    }

    /// Restores the backup of the databases. Samba is stopped for this.
    pub async fn restore(&mut self) {
        self.stop().await;
        self.copy("backup", "private");
        self.restart().await;
    }

    /// Gives the database a new identity, as if the controller had been promoted again. Samba is stopped for this.
    pub async fn be_another(&mut self) {
        self.stop().await;
        let script = "import sys, ldb, uuid\n\
            db = ldb.Ldb(sys.argv[1])\n\
            for found in db.search(expression='(invocationId=*)', attrs=['invocationId']):\n\
            \x20   change = ldb.Message(found.dn)\n\
            \x20   new = uuid.uuid4().bytes\n\
            \x20   change['invocationId'] = ldb.MessageElement(new, ldb.FLAG_MOD_REPLACE, 'invocationId')\n\
            \x20   db.modify(change)\n";
        let configuration = self.file("private/sam.ldb.d/CN=CONFIGURATION,DC=LAB,DC=TEST.ldb");
        provision::run(
            Command::new("/usr/bin/python3")
                .args(["-c", script])
                .arg(configuration),
        )
        .unwrap_or_else(|error| panic!("{error}"));
        self.restart().await;
    }

    fn copy(&self, from: &str, to: &str) {
        let _ = fs::remove_dir_all(self.file(to));
        provision::run(
            Command::new("cp")
                .args(["--recursive", "--sparse=always", "--no-target-directory"])
                .args([self.file(from), self.file(to)]),
        )
        .unwrap_or_else(|error| panic!("{error}"));
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The part of smb.conf that every command needs.
    fn paths(dir: &Path) -> String {
        let dir = dir.display();
        format!(
            "[global]
netbios name = {CONTROLLER}
workgroup = {DOMAIN}
realm = {REALM}
server role = active directory domain controller
private dir = {dir}/private
state directory = {dir}/state
cache directory = {dir}/cache
lock directory = {dir}/lock
pid directory = {dir}/pid
ncalrpc dir = {dir}/ncalrpc
binddns dir = {dir}/bind-dns
log file = {dir}/log.%m
"
        )
    }

    fn write_conf(&self) {
        let dir = self.dir.path();
        for folder in ["cache", "lock", "pid", "ncalrpc", "bind-dns", "state/sysvol"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        let conf = format!(
            "{paths}server services = {services}
dcerpc endpoint servers =
interfaces = {address}/8
bind interfaces only = yes
disable netbios = yes
load printers = no
ldap server require strong auth = {strong}
tls enabled = yes
tls keyfile = {dir}/server.key
tls certfile = {dir}/server.pem
tls cafile = {dir}/ca.pem
[sysvol]
path = {dir}/state/sysvol
[netlogon]
path = {dir}/state/sysvol
",
            paths = Self::paths(dir),
            services = if self.options.kerberos {
                "ldap, kdc"
            } else {
                "ldap"
            },
            address = self.address,
            strong = if self.options.strong_auth { "yes" } else { "no" },
            dir = dir.display(),
        );
        fs::write(self.file("smb.conf"), conf).unwrap();
    }

    /// Runs the process and waits until it answers; the error is the end of its log.
    async fn launch(&mut self) -> Result<(), String> {
        self.write_conf();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.file("samba.log"))
            .map_err(|error| error.to_string())?;
        let model = if self.options.standard {
            "standard"
        } else {
            "single"
        };
        // Interactive, it ends when its standard input does, and so with this process.
        let child = Command::new(BINARY)
            .args(["-i", "--no-process-group", "-d", "1", "-M", model, "-s"])
            .arg(self.file("smb.conf"))
            .stdin(Stdio::piped())
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{BINARY}: {error}"))?;
        let child = self.process.insert(child);
        let deadline = Instant::now() + PATIENCE;
        let url = format!("ldap://{}:389", self.address);
        while reads_root_dse(&url).await.is_err() {
            let ended = child.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || Instant::now() > deadline {
                let how = ended.map_or("does not answer".into(), |status| format!("ended with {status}"));
                return Err(format!("Samba {how}; its log ends:\n{}", self.log_tail()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Signals the first process, and waits until that and all its children are gone.
    async fn end(&mut self, signal: &str) {
        let mut child = self.process.take().expect("Samba runs");
        let command = format!("kill -{signal} {}", child.id());
        let status = Command::new("sh").args(["-c", &command]).status();
        assert!(status.unwrap().success(), "{command} failed");
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() || TcpStream::connect((self.address, 389)).is_ok() {
            assert!(
                Instant::now() < deadline,
                "Samba does not end; its log ends:\n{}",
                self.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn seed(&self) {
        let mut ldap = self.connect().await;
        for unit in ["people", "former", "groups"] {
            let dn = format!("OU={unit},{SUFFIX}");
            add(&mut ldap, &dn, &[("objectClass", "organizationalUnit")]).await;
        }
        let reader = format!("CN=reader,CN=Users,{SUFFIX}");
        let (name, password) = READER;
        let attributes = [
            ("objectClass", "user"),
            ("sAMAccountName", "reader"),
            ("userPrincipalName", name),
        ];
        add(&mut ldap, &reader, &attributes).await;
        self.set_password(&reader, password).await;
        // Enabled, and its password never expires.
        self.replace(&reader, "userAccountControl", b"66048").await;
        if self.options.people > 0 {
            self.folk().add_many("person", self.options.people).await;
        }
    }

    /// Gives an account a password.
    pub async fn set_password(&self, dn: &str, password: &str) {
        let quoted = format!("\"{password}\"");
        let utf16: Vec<u8> = quoted.encode_utf16().flat_map(u16::to_le_bytes).collect();
        self.replace(dn, "unicodePwd", &utf16).await;
    }

    /// Replaces an attribute's values by one.
    pub async fn replace(&self, dn: &str, attribute: &str, value: &[u8]) {
        let mut ldap = self.connect().await;
        let change = ldap3::Mod::Replace(attribute.as_bytes(), HashSet::from([value]));
        ldap.modify(dn, vec![change]).await.unwrap().success().unwrap();
    }

    /// The connection lives until the handle is dropped.
    async fn connect(&self) -> Ldap {
        let (connection, mut ldap) = LdapConnAsync::new(&self.url()).await.unwrap();
        tokio::task::spawn(connection.drive());
        ldap.simple_bind(ADMIN.0, ADMIN.1)
            .await
            .unwrap()
            .success()
            .unwrap();
        ldap
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

async fn add(ldap: &mut Ldap, dn: &str, attributes: &[(&str, &str)]) {
    let attributes = attributes
        .iter()
        .map(|&(name, value)| (name, HashSet::from([value])));
    ldap.add(dn, attributes.collect())
        .await
        .unwrap()
        .success()
        .unwrap();
}

/// A loopback address on which nobody listens for LDAP; there are millions, so that no two tests choose the same.
fn free_address() -> Result<Ipv4Addr, String> {
    loop {
        let [a, b, c, _] = rand::random::<u32>().to_be_bytes();
        let address = Ipv4Addr::new(127, 16 + a % 224, b, 2 + c % 250);
        match TcpListener::bind((address, 389)) {
            Ok(_) => return Ok(address),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => {
                return Err(format!(
                    "nobody may listen on {address}:389 here ({error}); run the tests of Active Directory as root"
                ));
            }
        }
    }
}

impl Site for Samba {
    fn url(&self) -> String {
        Samba::url(self)
    }

    fn admin(&self) -> (String, String) {
        (ADMIN.0.into(), ADMIN.1.into())
    }

    fn reader(&self) -> (String, String) {
        (READER.0.into(), READER.1.into())
    }

    fn suffix(&self) -> String {
        SUFFIX.into()
    }

    fn dialect(&self) -> Dialect {
        Dialect {
            person: &["user"],
            naming: "cn",
            people: "(&(objectCategory=person)(objectClass=user))",
            trait_attribute: "departmentNumber",
            group: &["group"],
            never_empty: false,
            member_of: true,
            nests: false,
            lock: Some(Lock::ActiveDirectory),
        }
    }

    fn stop(&mut self) -> BoxFuture<'_, ()> {
        Samba::stop(self).boxed()
    }

    fn kill9(&mut self) -> BoxFuture<'_, ()> {
        Samba::kill9(self).boxed()
    }

    fn start(&mut self) -> BoxFuture<'_, ()> {
        self.restart().boxed()
    }
}

impl Drop for Samba {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                eprintln!("the log of Samba at {} ends:\n{}", self.url(), self.log_tail());
            }
        }
    }
}
