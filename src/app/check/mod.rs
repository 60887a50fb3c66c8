//! What works, what does not, and what to do about it: the way of the service, one step at a time.

mod directory;
mod state;
mod vaultwarden;

use std::fmt;

use serde::Serialize;

use super::run::{directory_settings, policy};
use crate::clock::Clock;
use crate::config::Config;
use crate::directory::{Settings, diagnose};

/// One line of the diagnosis. It stands alone when it is pasted elsewhere, and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it stands.
    pub level: Level,
    /// What was looked at.
    pub subject: String,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty where there is nothing to do.
    pub remedy: String,
}

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It works.
    Ok,
    /// It works, but deserves a look.
    Warn,
    /// It does not work.
    Fail,
    /// It was not tried, because it depends on something that failed.
    Skip,
}

impl fmt::Display for Level {
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
    /// A finding.
    pub fn new(level: Level, subject: impl Into<String>, detail: impl Into<String>, remedy: &str) -> Self {
        Self {
            level,
            subject: subject.into(),
            detail: detail.into(),
            remedy: remedy.into(),
        }
    }

    /// What an error says, whose text is "cause; remedy" wherever a remedy is known.
    pub fn of_error(level: Level, subject: impl Into<String>, error: &str, otherwise: &str) -> Self {
        let (detail, remedy) = error.split_once("; ").unwrap_or((error, otherwise));
        Self::new(level, subject, detail, remedy)
    }
}

/// Looks at everything that the service needs, and says each finding as soon as there is one. Nothing is changed but the
/// session with Vaultwarden, which is kept, so that the service does not need another login.
pub async fn check(config: &Config, say: &mut dyn FnMut(Finding)) {
    let (finding, sessions, known) = state::check(config).await;
    say(finding);
    for directory in &config.directories {
        match directory_settings(directory) {
            Err(error) => say(Finding::of_error(
                Level::Fail,
                format!("directory {}", directory.name),
                &format!("{error:#}"),
                "",
            )),
            Ok(settings) => {
                let mut servers = Vec::new();
                for server in &settings.servers {
                    match diagnose::servers(server, &settings).await {
                        Ok(found) => servers.extend(found),
                        Err(error) => say(Finding::of_error(
                            Level::Fail,
                            format!("directory {}, {server}, name", directory.name),
                            &error.to_string(),
                            "",
                        )),
                    }
                }
                let policy = policy(config, directory, Clock::system().now());
                let credentials = diagnose::Credentials::new(&settings);
                for server in &servers {
                    let only = Settings {
                        servers: vec![server.clone()],
                        ..settings.clone()
                    };
                    directory::check(directory, server, only, &credentials, &policy, say).await;
                }
            }
        }
    }
    vaultwarden::check(config, sessions, &known, say).await;
}

/// Steps of which each depends on those before it.
struct Steps<'a> {
    prefix: String,
    say: &'a mut dyn FnMut(Finding),
    /// The step that failed.
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

    fn say(&mut self, level: Level, step: &str, detail: impl Into<String>, remedy: &str) {
        let subject = self.subject(step);
        (self.say)(Finding::new(level, subject, detail, remedy));
    }

    /// Takes a step, unless one before it failed. `otherwise` is the remedy where the error names none.
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
                let finding = Finding::of_error(Level::Fail, subject, &error.to_string(), otherwise);
                (self.say)(finding);
                None
            }
        }
    }

    /// Says of a step that it was not taken, because one before it failed.
    fn skip(&mut self, step: &str) {
        let failed = self.failed.unwrap_or("what it needs");
        self.say(
            Level::Skip,
            step,
            format!("not tried, because {failed} failed"),
            "",
        );
    }

    fn ok(&mut self, step: &str, detail: Option<impl Into<String>>) {
        if let Some(detail) = detail {
            self.say(Level::Ok, step, detail, "");
        }
    }
}
