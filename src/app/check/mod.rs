//! `check`: performs each step of the service separately, and reports what works, what does not, and what to do about it.

mod accounts;
mod certificates;
mod directory;
mod leave;
mod mail;
mod notify;
mod people;
mod state;
mod vaultwarden;

use std::fmt;

use serde::Serialize;

use super::certificates::{NOTIFICATIONS, POSTGRESQL, TRACES, peers};
use super::servers::traces_settings;
use super::wiring::policy;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::directory::diagnose;
use crate::telemetry::traces;

/// The result of one check. It is complete on its own and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether it works.
    pub level: Severity,
    /// What was checked.
    pub subject: String,
    /// What was found.
    pub detail: String,
    /// What to do about it, or empty.
    pub remedy: String,
}

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It works.
    Ok,
    /// It works, but needs attention.
    Warn,
    /// It does not work.
    Fail,
    /// It was not tried, because it depends on something that failed.
    Skip,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        })
    }
}

impl Finding {
    /// Creates a finding.
    pub fn new(level: Severity, subject: impl Into<String>, detail: impl Into<String>, remedy: &str) -> Self {
        Self {
            level,
            subject: subject.into(),
            detail: detail.into(),
            remedy: remedy.into(),
        }
    }

    /// Creates a finding from an error "cause; remedy". `otherwise` is the remedy of an error that names none.
    pub fn of_error(level: Severity, subject: impl Into<String>, error: &str, otherwise: &str) -> Self {
        let (detail, remedy) = error.split_once("; ").unwrap_or((error, otherwise));
        Self::new(level, subject, detail, remedy)
    }
}

/// Checks everything that the service needs, and passes each finding to `say` as soon as it is made. Changes nothing, except that it
/// stores the session with Vaultwarden, so that the service needs no other login.
pub async fn check(config: &Config, say: &mut dyn FnMut(Finding)) {
    let (finding, sessions, known, store) = state::check(config).await;
    say(finding);
    leave::check(config).into_iter().for_each(&mut *say);
    for directory in &config.directories {
        check_directory(config, directory, say).await;
    }
    vaultwarden::check(config, sessions, (&known, store), say).await;
    notify::check(config, say).await;
    if let Some(settings) = traces_settings(config) {
        say(match traces::check(&settings).await {
            Ok(detail) => Finding::new(Severity::Ok, "traces", detail, ""),
            Err(error) => Finding::of_error(Severity::Fail, "traces", &error.to_string(), ""),
        });
    }
    // The others are judged among the steps.
    for (peer, tls) in peers(config) {
        let presented = tls.seen.presented();
        if let Some(certificate) =
            presented.filter(|_| [NOTIFICATIONS, POSTGRESQL, TRACES].contains(&peer.as_str()))
        {
            certificates::judge(&mut Steps::new(peer, say), &certificate);
        }
    }
}

/// Checks each server of a directory.
async fn check_directory(config: &Config, directory: &config::Directory, say: &mut dyn FnMut(Finding)) {
    let settings = &directory.settings;
    let access = match diagnose::SharedAccess::new(settings) {
        Ok(access) => access,
        Err(error) => {
            let subject = format!("directory {}", settings.name);
            say(Finding::of_error(Severity::Fail, subject, &error.to_string(), ""));
            return;
        }
    };
    let mut servers = Vec::new();
    for server in &settings.servers {
        match diagnose::servers(server, settings).await {
            Ok(found) => servers.extend(found),
            Err(error) => say(Finding::of_error(
                Severity::Fail,
                format!("directory {}, {server}, name", settings.name),
                &error.to_string(),
                "",
            )),
        }
    }
    let policy = policy(config, directory, Clock::system().now());
    for server in &servers {
        directory::check(directory, server, &access, &policy, say).await;
    }
}

/// A sequence of steps, each of which depends on those before it.
struct Steps<'a> {
    prefix: String,
    say: &'a mut dyn FnMut(Finding),
    /// The step that failed, if any.
    failed: Option<&'static str>,
}

impl<'a> Steps<'a> {
    fn new(prefix: String, say: &'a mut dyn FnMut(Finding)) -> Self {
        Self {
            prefix,
            say,
            failed: None,
        }
    }

    fn subject(&self, step: &str) -> String {
        format!("{}, {step}", self.prefix)
    }

    fn say(&mut self, level: Severity, step: &str, detail: impl Into<String>, remedy: &str) {
        let subject = self.subject(step);
        (self.say)(Finding::new(level, subject, detail, remedy));
    }

    /// Performs a step, unless an earlier one failed. `otherwise` is the remedy of an error that names none.
    async fn step<T, E: fmt::Display>(
        &mut self,
        step: &'static str,
        otherwise: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Option<T> {
        if self.failed.is_some() {
            self.skip(step);
            return None;
        }
        match work.await {
            Ok(value) => Some(value),
            Err(error) => {
                self.failed = Some(step);
                let subject = self.subject(step);
                let finding = Finding::of_error(Severity::Fail, subject, &error.to_string(), otherwise);
                (self.say)(finding);
                None
            }
        }
    }

    /// Reports that a step was skipped because an earlier one failed.
    fn skip(&mut self, step: &str) {
        let failed = self.failed.unwrap_or("an earlier step");
        self.say(
            Severity::Skip,
            step,
            format!("not tried, because {failed} failed"),
            "",
        );
    }

    fn ok(&mut self, step: &str, detail: Option<impl Into<String>>) {
        if let Some(detail) = detail {
            self.say(Severity::Ok, step, detail, "");
        }
    }
}
