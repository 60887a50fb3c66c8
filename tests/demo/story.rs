//! What the demo does, in order.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use crate::screen::Screen;
use crate::support::service::{Config, Service};
use crate::support::slapd::Slapd;
use crate::vault::Vault;

/// Those who are in the directory before the service starts, and the one who comes later.
const THERE: [&str; 4] = ["ada", "barbara", "donald", "edsger"];
const NEW: &str = "grace";

/// How long an invitation may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The whole story. Every process and every file of it ends with it, however it ends.
pub(crate) async fn tell(screen: &Screen) -> anyhow::Result<()> {
    let vault = Vault::from_environment()?;
    let folder = tempfile::Builder::new().prefix("ldap-usher-demo-").tempdir()?;
    let slapd = Slapd::builder().try_start().await.map_err(anyhow::Error::msg)?;
    let cast = Cast::new(&vault);
    for uid in &cast.there {
        slapd.people().add_person(uid).await;
    }
    let toml = configuration(&folder, &slapd, &vault)?;
    introduce(screen, &slapd, &vault, &cast, &toml);

    screen.heading("1. The service starts and invites everyone who is there.");
    let started = Instant::now();
    let mut service = Service::start_with(Config::new(&toml));
    invited(&service, &cast.there).await?;
    let took = started.elapsed().as_millis();
    cast.there.iter().for_each(|uid| show_invited(screen, uid));
    screen.say(&format!(
        "  All {} within {took} ms of its start.",
        cast.there.len()
    ));

    screen.heading("2. Somebody joins: an entry is added to the directory.");
    slapd.people().add_person(&cast.new).await;
    let added = Instant::now().into_std();
    invited(&service, std::slice::from_ref(&cast.new)).await?;
    let (what, when) = match vault.received(&address(&cast.new)) {
        Some(when) => ("The invitation reached the stand-in", when),
        None => ("Vaultwarden had answered it", Instant::now().into_std()),
    };
    // The directory tells its listeners while it answers the one who wrote.
    let took = match when.checked_duration_since(added) {
        Some(took) => format!("{:.1} ms after", took.as_secs_f64() * 1000.0),
        None => "before".into(),
    };
    show_invited(screen, &cast.new);
    screen.say(&format!(
        "  {what} {} the directory had confirmed the new entry.",
        screen.bold(&took)
    ));

    screen.heading("3. How it stands: `ldap-usher status`");
    let status = service.ask(&["status"]).await;
    if !status.status.success() {
        bail!("`ldap-usher status`: {}", String::from_utf8_lossy(&status.stderr));
    }
    screen.quote(&String::from_utf8_lossy(&status.stdout));

    service.term().await;
    service.wait().await;
    drop((service, slapd, folder));
    epilogue(screen, &vault, &cast);
    Ok(())
}

fn introduce(screen: &Screen, slapd: &Slapd, vault: &Vault, cast: &Cast, toml: &str) {
    screen.say(&screen.bold("ldap-usher: a change in the directory becomes an invitation in Vaultwarden"));
    let people = cast.there.len();
    screen.say(&format!(
        "\n  directory    {}, a real slapd with {people} sample people",
        slapd.url()
    ));
    let whose = match vault {
        Vault::StandIn(_) => "a stand-in that speaks its admin API".into(),
        Vault::Real { .. } => format!("yours, which gets {} test accounts", people + 1),
    };
    screen.say(&format!("  Vaultwarden  {}, {whose}", vault.url()));
    screen.say("  ldap-usher   the program just built, with this configuration:\n");
    screen.quote(toml);
}

fn show_invited(screen: &Screen, uid: &str) {
    screen.say(&format!("  {}  {}", screen.good("invited"), address(uid)));
}

/// Who takes part, by uid.
struct Cast {
    there: Vec<String>,
    new: String,
}

impl Cast {
    /// A real Vaultwarden keeps its accounts, so each demo brings people whom it does not know.
    fn new(vault: &Vault) -> Self {
        let prefix = match vault {
            Vault::StandIn(_) => String::new(),
            Vault::Real { .. } => format!("demo-{:06x}-", rand::random::<u32>() & 0xff_ffff),
        };
        Self {
            there: THERE.map(|name| format!("{prefix}{name}")).to_vec(),
            new: format!("{prefix}{NEW}"),
        }
    }
}

fn address(uid: &str) -> String {
    format!("{uid}@example.org")
}

/// The configuration, as an administrator would write it. Secrets are in files of their own, so that it can be shown.
fn configuration(folder: &TempDir, slapd: &Slapd, vault: &Vault) -> anyhow::Result<String> {
    let path = |name: &str| folder.path().join(name);
    write_secret(&path("admin_token"), vault.token())?;
    write_secret(&path("bind_password"), slapd.reader_pw())?;
    Ok(format!(
        "state = {state:?}\n\
         \n\
         [vaultwarden]\n\
         url = {vaultwarden:?}\n\
         admin_token_file = {admin_token:?}\n\
         \n\
         [[directory]]\n\
         url = {directory:?}\n\
         bind_dn = {bind_dn:?}\n\
         bind_password_file = {bind_password:?}\n\
         base_dn = {base_dn:?}\n\
         \n\
         [http]\n\
         listen = \"off\"\n",
        state = path("state.db"),
        vaultwarden = vault.url(),
        admin_token = path("admin_token"),
        directory = slapd.url(),
        bind_dn = slapd.reader_dn(),
        bind_password = path("bind_password"),
        base_dn = slapd.people_base(),
    ))
}

fn write_secret(path: &Path, secret: &str) -> anyhow::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(secret.as_bytes()))
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// Waits until the service says that it has invited all of these people.
///
/// # Errors
/// The line by which the service says why it cannot.
async fn invited(service: &Service, uids: &[String]) -> anyhow::Result<()> {
    let wanted: Vec<String> = uids
        .iter()
        .map(|uid| format!(" invited address={} ", address(uid)))
        .collect();
    let all = |lines: &Vec<String>| {
        wanted
            .iter()
            .all(|words| lines.iter().any(|line| line.contains(words)))
    };
    let trouble = |lines: &Vec<String>| lines.iter().find(|line| is_trouble(line)).cloned();
    let mut lines = service.lines();
    let waited = timeout(
        PATIENCE,
        lines.wait_for(|lines| all(lines) || trouble(lines).is_some()),
    );
    match waited.await {
        Ok(Ok(lines)) if all(&lines) => Ok(()),
        Ok(Ok(lines)) => bail!("the service says:\n{}", trouble(&lines).unwrap_or_default()),
        Ok(Err(_)) => bail!("the service ended; it said:\n{}", service.output()),
        Err(_) => bail!(
            "the invitations did not arrive within {} s; the service said:\n{}",
            PATIENCE.as_secs(),
            service.output()
        ),
    }
}

/// Whether the service complains of something that keeps it from inviting people.
fn is_trouble(line: &str) -> bool {
    line.starts_with("error: ")
        || line.contains(" WARN ") && (line.contains(" error=") || line.contains(" reason="))
}

fn epilogue(screen: &Screen, vault: &Vault, cast: &Cast) {
    screen.heading("That is all. The servers are stopped and their files removed.");
    if let Vault::Real { url, .. } = vault {
        let url = url.trim_end_matches('/');
        screen.say(&format!(
            "These test accounts are left in your Vaultwarden; delete them at {url}/admin/users/overview:"
        ));
        for uid in cast.there.iter().chain([&cast.new]) {
            screen.say(&format!("  {}", address(uid)));
        }
    }
    screen.say(
        "With your own servers, after a look at what README.md says of them:\n\
         \n\
        \x20 make build                                      # target/release/ldap-usher\n\
        \x20 cp config/examples/openldap.toml config.toml    # fill in your directory and your Vaultwarden\n\
        \x20 target/release/ldap-usher check                 # what works, and what to do where it does not\n\
        \x20 target/release/ldap-usher plan                  # who would be invited\n\
        \x20 target/release/ldap-usher run                   # invites people, until Ctrl-C",
    );
    if let Vault::StandIn(_) = vault {
        screen.say(
            "\nThe same demo with your Vaultwarden, which gets a few test accounts:\n\
             \n\
            \x20 VAULTWARDEN_URL=https://vault.example.org ADMIN_TOKEN=... make demo",
        );
    }
}
