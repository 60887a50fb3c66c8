//! Checks one server of a directory: connection, bind, rights, and the people that the filter matches.

use std::collections::{HashMap, HashSet};

use futures::StreamExt;

use super::certificates;
use super::people::{self, ENTRY_CSN, People, count};
use super::{Finding, Severity, Steps};
use crate::config;
use crate::directory::{Directory, DirectorySettings, LdapDirectory, Opened, Server, StreamKind, diagnose};
use crate::model::{Entry, EntryId};
use crate::rules::membership::Policy;

pub(super) async fn check(
    config: &config::Directory,
    server: &Server,
    access: &diagnose::SharedAccess,
    policy: &Policy,
    say: &mut dyn FnMut(Finding),
) {
    let mut settings = DirectorySettings {
        servers: vec![server.clone()],
        ..config.settings.clone()
    };
    let mut steps = Steps::new(format!("directory {}, {server}", settings.name), say);
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
            match server {
                Server::Unix { .. } => {
                    "check the path in `url`, that the server listens there, and that this user may use it"
                }
                _ => "check host and port in `url`, that the server listens there, and the firewalls in between",
            },
            diagnose::reach(server),
        )
        .await;
    steps.ok("connection", found);
    let refused = match check_tls(&mut steps, server, &settings, access).await {
        true => "see the server's log; it may require a client certificate (`client_cert_file`)",
        false => "see the server's log; if this port is one for TLS, as 636 is, write ldaps://",
    };
    let bound = steps
        .step("bind", refused, diagnose::bind(server, &settings, access))
        .await;
    let who = bound.as_ref().map(|_| format!("as {}", settings.bind.who()));
    steps.ok("bind", who);
    let mut identity = String::new();
    let mut groups_have_members = false;
    if let Some(mut bound) = bound {
        let can = steps
            .step(
                "capabilities",
                "let the bind account read the root DSE",
                bound.capabilities(&settings),
            )
            .await;
        let (text, attribute) = can.unzip();
        identity = attribute.unwrap_or_default();
        steps.ok("capabilities", text);
        if identity == "objectGUID" {
            remark_on_active_directory(&mut steps, server, &settings);
        }
        let base = steps.step("base", "", bound.base(&settings)).await;
        steps.ok("base", base);
        let groups = steps.step("groups", "", bound.groups(&settings, access)).await;
        if let Some((text, any)) = groups.flatten() {
            groups_have_members = any;
            let (level, remedy) = if any {
                (Severity::Ok, "")
            } else {
                (
                    Severity::Warn,
                    "if they should have any, let the bind account read `member`, `uniqueMember` and `memberUid` of groups",
                )
            };
            steps.say(level, "groups", text, remedy);
        }
        // Active Directory has no alias entries. A server that cannot search for them is not a problem.
        if steps.failed.is_none()
            && identity != "objectGUID"
            && let Ok(Some(aliases)) = bound.aliases(&settings).await
        {
            steps.say(
                Severity::Warn,
                "aliases",
                aliases,
                "aliases are not followed: set `base_dn` to the entry that holds the people, or add a [[directory]] for it",
            );
        }
    } else {
        steps.skip("capabilities");
        steps.skip("base");
    }
    let members_of_groups = groups_have_members && config.settings.groups.is_empty();
    // Every entry of OpenLDAP has an entryCSN: if it is missing, the account may not read it.
    settings.attributes.push(ENTRY_CSN.into());
    let directory = access.directory(settings);
    check_people(
        &mut steps,
        config,
        &directory,
        policy,
        &identity,
        members_of_groups,
    )
    .await;
}

/// Findings that apply to every domain controller.
fn remark_on_active_directory(steps: &mut Steps<'_>, server: &Server, settings: &DirectorySettings) {
    steps.say(
        Severity::Ok,
        "groups",
        "people whose primary group this is (usually Domain Users) are not among its `member`, and their `memberOf` does not name it",
        "",
    );
    if matches!(server, Server::Tcp { tls: false, .. }) && !settings.starttls {
        steps.say(
            Severity::Warn,
            "signing",
            "the password is sent without TLS, which a controller that requires signing refuses",
            "use ldaps://, or set `starttls = true`",
        );
    }
}

/// Whether TLS is used.
async fn check_tls(
    steps: &mut Steps<'_>,
    server: &Server,
    settings: &DirectorySettings,
    access: &diagnose::SharedAccess,
) -> bool {
    let presented = steps
        .step(
            "TLS",
            "check that this is a port for TLS",
            diagnose::presented(server, settings),
        )
        .await;
    let Some(certificate) = presented.flatten() else {
        if steps.failed.is_none() {
            steps.say(Severity::Ok, "TLS", "not used", "");
        }
        return false;
    };
    certificates::judge(steps, &certificate);
    let trusted = steps
        .step("TLS", "", diagnose::trusted(server, settings, access))
        .await;
    steps.ok(
        "TLS",
        trusted.map(|()| "the certificate is trusted as configured"),
    );
    true
}

/// Checks the stream, and counts everyone whom the filter matches.
async fn check_people(
    steps: &mut Steps<'_>,
    config: &config::Directory,
    directory: &LdapDirectory,
    policy: &Policy,
    identity: &str,
    groups_have_members: bool,
) {
    let opened = steps.step("stream", "", directory.open(None)).await;
    if let Some(opened) = &opened {
        report_stream(steps, opened, config.settings.stream.is_none());
    }
    let stream = opened.as_ref().map(|opened| opened.stream);
    // A stream without a cursor begins with a full listing.
    let named = async {
        let changes = opened.map_or_else(|| futures::stream::empty().boxed(), |opened| opened.changes);
        let mut ids = HashSet::new();
        let people = count(config, policy, changes, &mut |entry| {
            ids.insert(entry.id);
        })
        .await?;
        Ok::<_, String>((people, ids))
    };
    let (named, ids) = steps.step("people", "", named).await.unzip();
    let pushed = stream.is_some_and(|stream| stream != StreamKind::Poll);
    let audit = async {
        if !pushed {
            return Ok(None);
        }
        let mut unnamed = Unnamed::default();
        let ids = ids.unwrap_or_default();
        let changes = directory.list().await.map_err(|error| error.to_string())?;
        let people = count(config, policy, changes, &mut |entry| unnamed.see(&ids, entry)).await?;
        Ok::<_, String>(Some((people, unnamed)))
    };
    let listed = steps.step("listing", "", audit).await;
    let complete = listed.is_some();
    let (listed, unnamed) = listed.flatten().unzip();
    let people = match (named, listed) {
        (Some(named), Some(listed)) if listed.entries > named.entries => Some(listed),
        (named, _) => named,
    };
    if let Some(people) = &people {
        people::report(steps, config, policy, people, groups_have_members);
    }
    let unnamed = unnamed.unwrap_or_default();
    let unnamed = if unnamed.count > 0 && stream == Some(StreamKind::Syncrepl) {
        unnamed.still(config, policy, directory).await
    } else {
        Unnamed::default()
    };
    if let Some(first) = unnamed.some.values().next() {
        steps.say(
            Severity::Fail,
            "listing",
            format!(
                "the stream and the listing contradict each other: the sync search does not return {} of the people in the listing, such as {first}, and will not report changes of people like them",
                unnamed.count
            ),
            "if OpenLDAP glues databases together (`subordinate`), write `overlay glue` before `overlay syncprov` in the superior one (slapd.conf(5)), or set `stream = \"poll\"`",
        );
    } else if complete {
        let detail = if pushed {
            "neither the stream nor the listing hit a size limit"
        } else {
            "the listing hit no size limit"
        };
        steps.say(Severity::Ok, "listing", detail, "");
    }
    for remark in directory.warnings() {
        let subject = steps.subject("listing");
        (steps.say)(Finding::of_error(Severity::Warn, subject, &remark, ""));
    }
    if let (Some(people), Some(stream)) = (people, stream) {
        report_rights(steps, &people, stream, identity);
    }
}

/// People in a listing whom the stream did not return.
#[derive(Default)]
struct Unnamed {
    count: u64,
    /// Some of them, with their DNs.
    some: HashMap<EntryId, String>,
}

impl Unnamed {
    /// The largest size of `some`.
    const SOME: usize = 1000;

    fn see(&mut self, named: &HashSet<EntryId>, entry: &Entry) {
        if named.contains(&entry.id) {
            return;
        }
        self.count += 1;
        if self.some.len() < Self::SOME {
            self.some.insert(entry.id, entry.dn.clone());
        }
    }

    /// Keeps the people whom a new stream does not return either. The others joined between the stream and the listing.
    async fn still(mut self, config: &config::Directory, policy: &Policy, directory: &LdapDirectory) -> Self {
        let again = async {
            let changes = directory.open(None).await.ok()?.changes;
            let mut named = |entry: &Entry| {
                if self.some.remove(&entry.id).is_some() {
                    self.count -= 1;
                }
            };
            count(config, policy, changes, &mut named).await.ok()
        };
        match again.await {
            Some(_) => self,
            None => Self::default(),
        }
    }
}

/// Reports the kind of stream, and why better kinds could not be used.
fn report_stream(steps: &mut Steps<'_>, opened: &Opened, automatic: bool) {
    let Opened {
        stream, why, refused, ..
    } = opened;
    for error in refused {
        let subject = steps.subject("stream");
        let detail = format!("{stream}, because of {error}");
        (steps.say)(Finding::of_error(Severity::Warn, subject, &detail, ""));
    }
    let detail = format!("{stream}, because {why}");
    match refused.as_slice() {
        [] if automatic && *stream == StreamKind::Poll => steps.say(
            Severity::Warn,
            "stream",
            detail,
            "to get changes at once, enable a stream on the server (OpenLDAP: `overlay syncprov` on the database that holds `base_dn`); if it has none, set `stream = \"poll\"`",
        ),
        [] => steps.say(Severity::Ok, "stream", detail, ""),
        _ => {}
    }
}

/// Reports whether the account can read what is needed to resume a stream.
fn report_rights(steps: &mut Steps<'_>, people: &People, stream: StreamKind, identity: &str) {
    if people.entries == 0 {
        let detail = "not known, because there are no people to read";
        steps.say(Severity::Skip, "rights", detail, "");
    } else if stream != StreamKind::Syncrepl || identity != "entryUUID" {
        let detail = format!("{identity} can be read, which is all that {stream} needs here");
        steps.say(Severity::Ok, "rights", detail, "");
    } else if people.with_csn == 0 {
        steps.say(
            Severity::Fail,
            "rights",
            "entryCSN cannot be read: after an interruption the server would report changed people as gone, and no new people",
            "let the bind account read entryCSN and entryUUID (OpenLDAP: `access to attrs=entryCSN,entryUUID by dn.exact=\"<bind DN>\" read by * break`)",
        );
    } else {
        let detail = "entryUUID and entryCSN can be read, so a stream can be resumed";
        steps.say(Severity::Ok, "rights", detail, "");
    }
}
