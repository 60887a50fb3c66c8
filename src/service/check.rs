//! What works, what does not, and what to do about it: the way of the service, one step at a time.

use std::fmt;
use std::sync::Arc;

use futures::StreamExt;

use super::finding::{Finding, Level};
use super::run::{LedgerNote, directory_settings, policy, vaultwarden_settings};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::directory::{
    Directory, DirectoryError, LdapDirectory, Opened, Server, Settings, StreamKind, diagnose,
};
use crate::ledger::Sqlite;
use crate::membership::Policy;
use crate::model::{Change, Disposition, EmailAddress, Listing};
use crate::observe::Progress;
use crate::vaultwarden::{Admin, InMemory, SessionStore, Vaultwarden, VaultwardenError};

/// How many people without a usable address are named.
const EXAMPLES: usize = 5;

/// Looks at everything that the service needs. Nothing is changed but the session with Vaultwarden, which is kept in
/// the state file, if there is one, so that the service does not need another login.
pub async fn check(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for directory in &config.directories {
        match directory_settings(directory) {
            Err(error) => findings.push(Finding::of_error(
                Level::Fail,
                format!("directory {}", directory.name),
                &format!("{error:#}"),
                "",
            )),
            Ok(settings) => {
                let policy = policy(config, directory);
                let mut servers = Vec::new();
                for server in &settings.servers {
                    match diagnose::servers(server, &settings).await {
                        Ok(found) => servers.extend(found),
                        Err(error) => findings.push(Finding::of_error(
                            Level::Fail,
                            format!("directory {}, {server}, name", directory.name),
                            &error.to_string(),
                            "",
                        )),
                    }
                }
                for server in &servers {
                    let only = Settings {
                        servers: vec![server.clone()],
                        ..settings.clone()
                    };
                    findings.extend(check_server(directory, server, only, &policy).await);
                }
            }
        }
    }
    findings.extend(check_vaultwarden(config).await);
    findings
}

/// Steps of which each depends on those before it.
struct Steps {
    prefix: String,
    findings: Vec<Finding>,
    /// The step that failed.
    failed: Option<&'static str>,
}

impl Steps {
    fn new(prefix: String) -> Self {
        Self {
            prefix,
            findings: Vec::new(),
            failed: None,
        }
    }

    fn subject(&self, step: &str) -> String {
        format!("{}, {step}", self.prefix)
    }

    fn say(&mut self, level: Level, step: &str, detail: impl Into<String>, remedy: &str) {
        self.findings
            .push(Finding::new(level, self.subject(step), detail, remedy));
    }

    /// Takes a step, unless one before it failed. `otherwise` is the remedy where the error names none.
    async fn step<T, E: fmt::Display>(
        &mut self,
        step: &'static str,
        otherwise: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Option<T> {
        if let Some(failed) = self.failed {
            self.say(
                Level::Skip,
                step,
                format!("not tried, because {failed} failed"),
                "",
            );
            return None;
        }
        match work.await {
            Ok(value) => Some(value),
            Err(error) => {
                self.failed = Some(step);
                let subject = self.subject(step);
                let finding = Finding::of_error(Level::Fail, subject, &error.to_string(), otherwise);
                self.findings.push(finding);
                None
            }
        }
    }

    fn ok(&mut self, step: &str, detail: Option<impl Into<String>>) {
        if let Some(detail) = detail {
            self.say(Level::Ok, step, detail, "");
        }
    }
}

async fn check_server(
    config: &config::Directory,
    server: &Server,
    settings: Settings,
    policy: &Policy,
) -> Vec<Finding> {
    let mut steps = Steps::new(format!("directory {}, {server}", config.name));
    let found = steps
        .step(
            "name",
            "check the host in `url`, and this machine's DNS",
            diagnose::resolve(server),
        )
        .await;
    steps.ok("name", found);
    let found = steps
        .step(
            "connection",
            "check host and port in `url`, that the server listens there, and the firewalls in between",
            diagnose::reach(server),
        )
        .await;
    steps.ok("connection", found);
    check_tls(&mut steps, server, &settings).await;
    let guest = steps
        .step("bind", "see the server's log", diagnose::bind(server, &settings))
        .await;
    let who = guest.as_ref().map(|_| format!("as {}", settings.bind.who()));
    steps.ok("bind", who);
    let mut identity = "";
    if let Some(mut guest) = guest {
        let can = steps
            .step(
                "capabilities",
                "let the bind account read the root DSE",
                guest.capabilities(),
            )
            .await;
        identity = can.as_ref().map_or("", |(_, identity)| identity);
        steps.ok("capabilities", can.map(|(text, _)| text));
        if identity == "objectGUID" {
            remark_on_active_directory(&mut steps, server, &settings);
        }
        let base = steps.step("base", "", guest.base()).await;
        steps.ok("base", base.map(|()| format!("{} is there", settings.base)));
    }
    check_people(&mut steps, config, settings, policy, identity).await;
    steps.findings
}

/// What holds on every domain controller.
fn remark_on_active_directory(steps: &mut Steps, server: &Server, settings: &Settings) {
    steps.say(
        Level::Ok,
        "groups",
        "whoever has a group as primary group (mostly Domain Users) is in nobody's memberOf and in no member of it",
        "",
    );
    if matches!(server, Server::Tcp { tls: false, .. }) && !settings.starttls {
        steps.say(
            Level::Warn,
            "signing",
            "the password is sent without TLS, which a controller that demands signing refuses",
            "use ldaps://, or set `starttls = true`",
        );
    }
}

async fn check_tls(steps: &mut Steps, server: &Server, settings: &Settings) {
    let presented = steps
        .step(
            "TLS",
            "check that this port speaks TLS",
            diagnose::presented(server, settings),
        )
        .await;
    match presented {
        None => {}
        Some(None) => steps.say(Level::Ok, "TLS", "not used", ""),
        Some(Some(certificate)) => {
            steps.say(
                Level::Ok,
                "certificate",
                format!("the server presents {certificate}"),
                "",
            );
            let trusted = steps.step("TLS", "", diagnose::trusted(server, settings)).await;
            steps.ok(
                "TLS",
                trusted.map(|()| "the certificate is trusted as configured"),
            );
        }
    }
}

/// The stream, and everyone whom the filter finds.
async fn check_people(
    steps: &mut Steps,
    config: &config::Directory,
    settings: Settings,
    policy: &Policy,
    identity: &str,
) {
    let directory = LdapDirectory::new(settings.clone());
    let opened = steps.step("stream", "", directory.open(None)).await;
    let stream = opened.as_ref().map(|Opened { stream, .. }| *stream);
    steps.ok(
        "stream",
        opened.map(|Opened { stream, why, .. }| format!("{stream}, because {why}")),
    );
    // What only a right can hide is asked for as well.
    let mut curious = settings;
    curious.attributes.push(ENTRY_CSN.into());
    let Some(people) = steps
        .step("people", "", count(config, policy, LdapDirectory::new(curious)))
        .await
    else {
        return;
    };
    report_people(steps, config, &people);
    if stream == Some(StreamKind::Syncrepl) && identity == "entryUUID" && people.entries > 0 {
        if people.with_csn == 0 {
            steps.say(
                Level::Fail,
                "rights",
                "entryCSN cannot be read: after an interruption the server would call changed people gone, and name no new ones",
                "let the bind account read entryCSN and entryUUID (OpenLDAP: `access to attrs=entryCSN,entryUUID by dn.exact=\"<bind DN>\" read by * break`)",
            );
        } else {
            let detail = "entryUUID and entryCSN can be read, so a stream can be resumed";
            steps.say(Level::Ok, "rights", detail, "");
        }
    }
}

const ENTRY_CSN: &str = "entryCSN";

/// Whom the filter finds.
#[derive(Default)]
struct People {
    entries: u64,
    usable: u64,
    with_csn: u64,
    /// Some of those without a usable address, and why.
    examples: Vec<String>,
    /// Why these are not all.
    incomplete: Option<String>,
}

async fn count(
    config: &config::Directory,
    policy: &Policy,
    directory: LdapDirectory,
) -> Result<People, DirectoryError> {
    let mut progress = Progress::begin();
    let mut people = People::default();
    let mut listing = directory.list().await?;
    while let Some(change) = listing.next().await {
        match change? {
            Change::Upsert(entry) => {
                progress.advance(&config.name, 1);
                people.entries += 1;
                people.with_csn += u64::from(entry.values(ENTRY_CSN).next().is_some());
                match policy.address(&entry) {
                    Ok(_) => people.usable += 1,
                    Err(why) if people.examples.len() < EXAMPLES => {
                        people.examples.push(format!("{} ({why})", entry.dn));
                    }
                    Err(_) => {}
                }
            }
            Change::ListingEnd(Listing::Partial(why)) => people.incomplete = Some(why),
            _ => {}
        }
    }
    Ok(people)
}

fn report_people(steps: &mut Steps, config: &config::Directory, people: &People) {
    let People {
        entries,
        usable,
        examples,
        incomplete,
        ..
    } = people;
    let filter = &config.filter;
    match incomplete {
        Some(why) => {
            let subject = steps.subject("people");
            let why = format!("after {entries} entries: {why}");
            steps
                .findings
                .push(Finding::of_error(Level::Fail, subject, &why, ""));
        }
        None if *entries == 0 => steps.say(
            Level::Warn,
            "people",
            format!("nobody below {} matches {filter}", config.base_dn),
            "check `filter` and `base_dn`, and that the bind account may read the attributes in the filter",
        ),
        None => steps.say(Level::Ok, "people", format!("{entries} match {filter}"), ""),
    }
    let attributes = config.mail_attributes.join(", ");
    if usable < entries {
        steps.say(
            if *usable == 0 { Level::Fail } else { Level::Warn },
            "addresses",
            format!(
                "{usable} of {entries} have a usable address; without: {}",
                examples.join(", ")
            ),
            &format!("check `mail_attributes` ({attributes}), and that the bind account may read them"),
        );
    } else if *entries > 0 {
        steps.say(
            Level::Ok,
            "addresses",
            format!("all {entries} have a usable address in {attributes}"),
            "",
        );
    }
}

async fn check_vaultwarden(config: &Config) -> Vec<Finding> {
    let mut steps = Steps::new(format!("vaultwarden, {}", config.vaultwarden.url));
    let sessions: Arc<dyn SessionStore> = match Sqlite::open_shared(&config.state).await {
        Ok(ledger) => Arc::new(LedgerNote(Arc::new(ledger))),
        // Before the first start there is none.
        Err(_) => Arc::new(InMemory::default()),
    };
    let client = Vaultwarden::new(&vaultwarden_settings(config), sessions, Clock::system());
    let Some(vaultwarden) = steps.step("settings", "", async { client }).await else {
        return steps.findings;
    };
    let alive = steps
        .step(
            "connection",
            "check `url`, that Vaultwarden runs, and the proxies and firewalls in between",
            vaultwarden.alive(),
        )
        .await;
    steps.ok(
        "connection",
        alive.map(|()| "Vaultwarden and its database answer"),
    );
    let version = steps.step("version", "", vaultwarden.version()).await;
    match version {
        Some(None) => steps.say(
            Level::Warn,
            "version",
            "not told: older than 1.25, a build of one's own, or no Vaultwarden",
            "update Vaultwarden if it is old",
        ),
        Some(Some(version)) => steps.say(Level::Ok, "version", version, ""),
        None => {}
    }
    match steps.step("admin", "", log_in(&vaultwarden)).await {
        Some(None) => steps.say(Level::Ok, "admin", "the admin API answers to the admin token", ""),
        Some(Some(limited)) => steps.say(
            Level::Warn,
            "admin",
            limited.to_string(),
            "try again then; once the service has run, its session is used and no login is needed",
        ),
        None => {}
    }
    steps.findings
}

/// Uses the admin API in a way that changes nothing; only where the session at hand is not accepted, it logs in. Returns
/// what keeps it from being tried now, where that is nobody's mistake.
async fn log_in(vaultwarden: &Vaultwarden) -> Result<Option<VaultwardenError>, VaultwardenError> {
    let Ok(nobody) = EmailAddress::parse(b"nobody@ldap-usher.invalid") else {
        return Ok(None);
    };
    match vaultwarden.account(&nobody).await {
        Ok(_) => Ok(None),
        Err(error) if matches!(error.disposition(), Disposition::RetryAfter(_)) => Ok(Some(error)),
        Err(error) => Err(error),
    }
}
