//! Binds by Kerberos to a real domain controller, which is its key distribution centre as well. Only in builds with the feature
//! `kerberos`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpListener, UdpSocket};
use tokio::process::Command;
use tokio::time::Instant;

use crate::support::dns::{Dns, Zone};
use crate::support::samba::Samba;
use crate::support::service::{Config, Service};
use crate::support::stand_in::StandIn;
use crate::support::world::PATIENCE;

/// A domain, its DNS, and what a member of it has: a configuration of Kerberos, and a keytab.
struct Domain {
    samba: Samba,
    dns: Dns,
    vault: StandIn,
    folder: TempDir,
}

impl Domain {
    async fn new() -> Self {
        let samba = Samba::builder().people(1).kerberos().start().await;
        let dns = Zone::default()
            .controller("lab.test", 0, "dc1.lab.test")
            .host("dc1.lab.test", samba.address())
            .serve()
            .await;
        let folder = TempDir::new().unwrap();
        let krb5 = format!(
            "[libdefaults]\ndefault_realm = LAB.TEST\ndns_lookup_kdc = false\ndns_lookup_realm = false\nrdns = false\n\
             dns_canonicalize_hostname = false\n[realms]\nLAB.TEST = {{\n kdc = {}\n}}\n[domain_realm]\n.lab.test = LAB.TEST\n",
            samba.address(),
        );
        fs::write(folder.path().join("krb5.conf"), krb5).unwrap();
        samba.keytab(&folder.path().join("keytab"));
        Self {
            samba,
            dns,
            vault: StandIn::start(),
            folder,
        }
    }

    fn config(&self) -> Config {
        Config::new(&format!(
            "state = \"state.db\"\n[vaultwarden]\nurl = \"{}\"\nadmin_token = \"sesame\"\n[http]\nlisten = \"off\"\n\
             [[directory]]\nurl = \"ad://{}/lab.test\"\nca_file = {:?}\nsasl = \"gssapi\"\nbase_dn = \"OU=people,DC=lab,DC=test\"\n\
             filter = \"(&(objectCategory=person)(objectClass=user))\"\n",
            self.vault.url(),
            self.dns.address(),
            self.samba.ca_file(),
        ))
    }

    fn start(&self, keytab: &Path) -> Service {
        let config = self.config();
        let mut run = config.command();
        run.arg("run").envs(self.environment(keytab));
        Service::start_by(run, config)
    }

    fn environment(&self, keytab: &Path) -> [(&'static str, String); 3] {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        [
            ("KRB5_CONFIG", file("krb5.conf")),
            ("KRB5CCNAME", file("cache")),
            ("KRB5_CLIENT_KTNAME", keytab.display().to_string()),
        ]
    }
}

#[tokio::test]
async fn a_keytab_binds_over_tls_and_gets_another_ticket_when_the_one_in_the_cache_has_expired() {
    let domain = Domain::new().await;
    let keytab = domain.folder.path().join("keytab");
    let mut service = domain.start(&keytab);
    let invited = async |name: &str, service: &Service| {
        let address = format!("{name}@example.org");
        assert!(
            domain.vault.wait_for_invite(&address, PATIENCE).await,
            "{}",
            service.output()
        );
    };
    invited("person1", &service).await;
    domain.samba.folk().add("ann").await;
    invited("ann", &service).await;
    service.term().await;
    assert!(service.wait().await.success());

    let mut kinit = Command::new("kinit");
    kinit
        .args(["-k", "-l", "2s", "-t"])
        .arg(&keytab)
        .arg("reader@LAB.TEST");
    let got = kinit.envs(domain.environment(&keytab)).output().await;
    let got = got.expect("kinit is missing; run `make packages-kerberos`");
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let service = domain.start(&keytab);
    domain.samba.folk().add("bob").await;
    invited("bob", &service).await;
}

#[tokio::test]
async fn without_a_ticket_the_message_says_where_one_comes_from() {
    let domain = Domain::new().await;
    let config = domain.config();
    let mut check = config.command();
    check.arg("check").envs(domain.environment(Path::new("/nowhere")));
    let output = check.output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("the bind as Kerberos was refused") && text.contains("KRB5_CLIENT_KTNAME"),
        "{text}"
    );
}

#[tokio::test]
async fn a_key_distribution_centre_that_is_silent_does_not_delay_the_stop() {
    let domain = Domain::new().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let datagrams = UdpSocket::bind(address).await.unwrap();
    let file = domain.folder.path().join("krb5.conf");
    let right = fs::read_to_string(&file).unwrap();
    let wrong = right.replace(
        &format!("kdc = {}\n", domain.samba.address()),
        &format!("kdc = {address}\n"),
    );
    assert_ne!(right, wrong);
    fs::write(&file, wrong).unwrap();
    let mut service = domain.start(&domain.folder.path().join("keytab"));
    datagrams.readable().await.unwrap();
    let began = Instant::now();
    service.term().await;
    assert!(service.wait().await.success());
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}
