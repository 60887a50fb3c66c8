//! Why a notification was not delivered, each with its remedy. No text contains a secret.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::retry::Retry;
use crate::store::StoreError;
use crate::tls::TlsError;

/// The wait before a notification is sent again.
const RETRY: Retry = Retry {
    first: Duration::from_secs(1),
    ceiling: Duration::from_secs(300),
    floor: Duration::from_millis(500),
};

/// Why a notification was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// A URL cannot be used.
    #[error("the {what} in [notify] cannot be used; write it as http:// or https:// with a host")]
    Url {
        /// What it is the URL of: "URL", or "proxy".
        what: &'static str,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The HTTP client cannot be set up.
    #[error("the HTTP client for {to} cannot be set up: {cause}")]
    Setup {
        /// The server.
        to: String,
        /// The library's message.
        cause: String,
    },
    /// There is no connection or no answer.
    #[error(
        "{to} is out of reach: {cause}; check the URL in [notify], and the proxies and firewalls in between"
    )]
    Unreachable {
        /// The server.
        to: String,
        /// The innermost cause.
        cause: String,
    },
    /// The TLS handshake failed.
    #[error("{to} is not trusted: {cause}")]
    Untrusted {
        /// The server.
        to: String,
        /// The message of rustls, and the remedy for common failures.
        cause: String,
    },
    /// The server is not able to accept it now.
    #[error("{to} does not accept it now (status {status}){said}; see the log of that server")]
    Unavailable {
        /// The server.
        to: String,
        /// The HTTP status.
        status: u16,
        /// ": " and its answer, or empty.
        said: String,
        /// `Retry-After`.
        wait: Option<Duration>,
    },
    /// The server refuses it.
    #[error(
        "{to} refuses it (status {status}){said}; check the URL in [notify], and what that server expects (redirects are not followed)"
    )]
    Refused {
        /// The server.
        to: String,
        /// The HTTP status.
        status: u16,
        /// ": " and its answer, or empty.
        said: String,
    },
    /// The command cannot be run.
    #[error("{} cannot be run: {cause}; check `command` in [notify], and the permissions of that file", program.display())]
    NotStarted {
        /// The program.
        program: PathBuf,
        /// The message of the operating system.
        cause: String,
    },
    /// The command ended with another status than 0.
    #[error("{} ended with {status}{said}; it must end with exit status 0 when it has the event", program.display())]
    Exited {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// ": " and the beginning of its standard error, or empty.
        said: String,
    },
    /// The command did not end.
    #[error(
        "{} did not end within {}s and was killed; let it hand longer work over to another process",
        program.display(), deadline.as_secs_f32()
    )]
    Endless {
        /// The program.
        program: PathBuf,
        /// Its deadline.
        deadline: Duration,
    },
    /// The journal cannot be read, or the cursor cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NotifyError {
    /// The wait before the next attempt after this many consecutive failures. `jitter` is a random number from `0.0..1.0`.
    pub(super) fn wait(&self, failures: u32, jitter: f64) -> Duration {
        match self {
            // Somebody has to change something; trying often does not help.
            Self::Refused { .. } => RETRY.ceiling,
            Self::Unavailable { wait: Some(wait), .. } => RETRY.wait(failures, jitter).max(*wait),
            _ => RETRY.wait(failures, jitter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_waits_for_the_longest_time_and_a_server_may_ask_for_more() {
        let (to, said) = ("https://hooks.example.org".to_owned(), String::new());
        let refused = NotifyError::Refused {
            to: to.clone(),
            status: 410,
            said: said.clone(),
        };
        assert_eq!(refused.wait(1, 0.0), RETRY.ceiling);
        let unavailable = |wait| NotifyError::Unavailable {
            to: to.clone(),
            status: 503,
            said: said.clone(),
            wait,
        };
        let hour = Duration::from_secs(3600);
        assert_eq!(unavailable(Some(hour)).wait(1, 0.5), hour);
        assert_eq!(
            unavailable(Some(Duration::ZERO)).wait(3, 0.5),
            Duration::from_secs(2)
        );
        assert!(unavailable(None).wait(100, 0.999) <= RETRY.ceiling);
    }
}
