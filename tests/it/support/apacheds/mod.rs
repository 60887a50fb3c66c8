//! A real ApacheDS (Debian's 2.0.0~M26) for each test: temporary directory, free loopback port, killed on drop.
//!
//! Debian's package needs three fixes, which are made here: jars that are missing in its class path, Java packages that it
//! needs to generate a certificate, and a listen address that is not public.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use futures::FutureExt;
use futures::future::BoxFuture;
use ldap3::{LdapConnAsync, LdapError};
use tempfile::TempDir;

use super::daemon::Daemon;
use super::site::{Dialect, Site};
use super::slapd::free_port;

const SUFFIX: &str = "dc=example,dc=com";
const ADMIN: (&str, &str) = ("uid=admin,ou=system", "secret");
const READER: (&str, &str) = ("cn=reader,ou=readers,dc=example,dc=com", "reader-secret");

const LIBRARIES: &str = "/usr/share/apacheds/lib";
const JARS: &str = "/usr/share/java";
/// The jars that are missing in Debian's class path, and the packages that contain them.
const MISSING: [(&str, &str); 5] = [
    ("caffeine", "libcaffeine-java"),
    ("commons-lang3", "libcommons-lang3-java"),
    ("commons-pool2", "libcommons-pool2-java"),
    ("commons-text", "libcommons-text-java"),
    ("commons-collections4", "libcommons-collections4-java"),
];

/// A running (or stopped) ApacheDS.
#[derive(Debug)]
pub struct ApacheDs {
    daemon: Daemon,
    port: u16,
    dir: TempDir,
}

impl ApacheDs {
    /// Starts it; returns once it answers and has its units and its reader.
    ///
    /// # Panics
    /// If the server does not start or is missing, with its message or with what to install.
    pub async fn start() -> Self {
        let server = Self::try_start().await.unwrap_or_else(|error| panic!("{error}"));
        server.seed().await.unwrap();
        server
    }

    async fn try_start() -> Result<Self, String> {
        if !Path::new(LIBRARIES).exists() {
            return Err(format!("{LIBRARIES} is missing; run: apt-get install apacheds"));
        }
        for (jar, package) in MISSING {
            let path = format!("{JARS}/{jar}.jar");
            if !Path::new(&path).exists() {
                return Err(format!("{path} is missing; run: apt-get install {package}"));
            }
        }
        // Another process may take the port before the server binds it.
        for _ in 0..20 {
            let mut server = Self::configured().map_err(|error| error.to_string())?;
            match server.launch().await {
                Err(log) if log.contains("BindException") => {}
                outcome => return outcome.map(|()| server),
            }
        }
        Err("ApacheDS found no free port in twenty attempts".into())
    }

    fn configured() -> std::io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("apacheds-").tempdir()?;
        for folder in ["conf", "log", "run", "cache", "partitions"] {
            fs::create_dir(dir.path().join(folder))?;
        }
        let port = free_port();
        let config = fs::read_to_string("/etc/apacheds/config.ldif")?
            .replace("ads-transportaddress: 0.0.0.0", "ads-transportaddress: 127.0.0.1")
            // The server's own limit holds for a paged listing as a whole.
            .replace("ads-maxSizeLimit: 1000", "ads-maxSizeLimit: 100000")
            .replace("ads-systemport: 10389\n", &format!("ads-systemport: {port}\n"))
            .replace(
                "ads-systemport: 10636\n",
                &format!("ads-systemport: {}\n", free_port()),
            );
        fs::write(dir.path().join("conf/config.ldif"), config)?;
        fs::copy(
            "/etc/apacheds/log4j.properties",
            dir.path().join("conf/log4j.properties"),
        )?;
        Ok(Self {
            daemon: Daemon::new("ApacheDS", dir.path().join("log/out")),
            port,
            dir,
        })
    }

    async fn launch(&mut self) -> Result<(), String> {
        let dir = self.dir.path().display();
        let jars: Vec<String> = MISSING
            .iter()
            .map(|(jar, _)| format!("{JARS}/{jar}.jar"))
            .collect();
        let mut command = Command::new("java");
        for package in ["x509", "util", "pkcs"] {
            command.arg(format!(
                "--add-exports=java.base/sun.security.{package}=ALL-UNNAMED"
            ));
        }
        // Compiling as little as possible starts it soonest.
        command.args(["-Djava.awt.headless=true", "-Xmx256m", "-XX:TieredStopAtLevel=1"]);
        for (property, list) in [
            ("controls", "ADS_CONTROLS"),
            ("extendedOperations", "ADS_EXTENDED_OPERATIONS"),
        ] {
            command.arg(format!("-Dapacheds.{property}={}", default(list)?));
        }
        command.arg(format!("-Dlog4j.configuration=file:{dir}/conf/log4j.properties"));
        command.arg(format!("-Dapacheds.log.dir={dir}/log"));
        command.args(["-cp", &format!("{LIBRARIES}/*:{}", jars.join(":"))]);
        command.args(["org.apache.directory.server.UberjarMain", &format!("{dir}/")]);
        let url = self.url();
        self.daemon.launch(&mut command, &url).await
    }

    async fn seed(&self) -> Result<(), LdapError> {
        let (connection, mut ldap) = LdapConnAsync::new(&self.url()).await?;
        let driver = tokio::task::spawn(connection.drive());
        ldap.simple_bind(ADMIN.0, ADMIN.1).await?.success()?;
        for ou in ["people", "former", "groups", "readers"] {
            let unit = vec![
                ("objectClass", HashSet::from(["organizationalUnit"])),
                ("ou", HashSet::from([ou])),
            ];
            ldap.add(&format!("ou={ou},{SUFFIX}"), unit).await?.success()?;
        }
        let reader = vec![
            (
                "objectClass",
                HashSet::from(["applicationProcess", "simpleSecurityObject"]),
            ),
            ("cn", HashSet::from(["reader"])),
            ("userPassword", HashSet::from([READER.1])),
        ];
        ldap.add(READER.0, reader).await?.success()?;
        driver.abort();
        Ok(())
    }
}

/// A list that Debian keeps in `/etc/default/apacheds`, in shell.
fn default(list: &str) -> Result<String, String> {
    let script = format!(". /etc/default/apacheds && echo \"${list}\"");
    let output = Command::new("sh").args(["-c", &script]).output();
    let output = output.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Site for ApacheDs {
    fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
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
            person: &["inetOrgPerson"],
            naming: "uid",
            people: "(objectClass=inetOrgPerson)",
            trait_attribute: "departmentNumber",
            group: &["groupOfNames"],
            never_empty: true,
            member_of: false,
            nests: false,
            lock: None,
        }
    }

    fn stop(&mut self) -> BoxFuture<'_, ()> {
        self.daemon.end("TERM").boxed()
    }

    fn kill9(&mut self) -> BoxFuture<'_, ()> {
        self.daemon.end("KILL").boxed()
    }

    fn start(&mut self) -> BoxFuture<'_, ()> {
        async { self.launch().await.unwrap_or_else(|error| panic!("{error}")) }.boxed()
    }
}
