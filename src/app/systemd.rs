//! Notifies the service manager: sd_notify(3), for units with `Type=notify`.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::model::ActionState;
use crate::store::{BaseStore, Report};
use crate::telemetry::Observer;
use crate::telemetry::http::Public;

/// How often the status line is updated, and the watchdog told, unless it wants to be told more often.
const INTERVAL: Duration = Duration::from_secs(10);

/// Whether a service manager expects notifications.
pub(super) fn is_expected() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Reports that the service is ready, keeps the line that `systemctl status` shows up to date, and reports after `stop`
/// that the service is stopping.
///
/// If the unit has a watchdog (`WatchdogSec=`), it is told that the service lives each time that the storage has answered, even
/// by an error, and the loops of the service proceed. A directory or a Vaultwarden that fails does not matter: a restart
/// would not help.
///
/// # Errors
/// The service manager cannot be notified.
///
/// # Cancellation
/// Safe.
pub(super) async fn notify(
    observer: &Observer,
    store: &dyn BaseStore,
    public: &Public,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    send(&NotifyState::Ready)?;
    let watchdog = sd_notify::watchdog_enabled();
    let interval = watchdog.map_or(INTERVAL, |watchdog| INTERVAL.min(watchdog / 3));
    let mut sent = String::new();
    while !stop.is_cancelled() {
        // All users of the machine can see the status line, so it names no people.
        let redacted = |reasons: Vec<String>| reasons.iter().map(|reason| public.redacted(reason)).collect();
        let report = store.report().await;
        if watchdog.is_some() && observer.alive().is_ok() {
            send(&NotifyState::Watchdog)?;
        }
        if let Ok(report) = report {
            let line = status_line(&report, observer.ready().map_err(redacted));
            if line != sent {
                send(&NotifyState::Status(&line))?;
                sent = line;
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(interval) => {}
        }
    }
    Ok(send(&NotifyState::Stopping)?)
}

/// Reports that the service reloads its configuration, and that it has done so when the value is dropped, for units with
/// `Type=notify-reload`.
pub(super) struct Reloading(());

impl Reloading {
    /// Reports the beginning.
    pub(super) fn begin() -> Self {
        if is_expected() {
            let began = NotifyState::monotonic_usec_now()
                .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now]));
            if let Err(error) = began {
                tracing::debug!(%error, "the service manager cannot be notified");
            }
        }
        Self(())
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        if is_expected()
            && let Err(error) = send(&NotifyState::Ready)
        {
            tracing::debug!(%error, "the service manager cannot be notified");
        }
    }
}

fn send(state: &NotifyState<'_>) -> io::Result<()> {
    sd_notify::notify(std::slice::from_ref(state))
}

/// The number of members, the open invitations and the failures, in one line.
///
/// Replaces control characters by spaces: each line of a notification is an assignment, and a failure may quote a server.
fn status_line(report: &Report, ready: Result<(), Vec<String>>) -> String {
    let open = [ActionState::Queued, ActionState::Held, ActionState::Quarantined].map(ActionState::as_str);
    let mut line = format!("{} members", report.members);
    for (state, count) in &report.tasks {
        if open.contains(state) && *count > 0 {
            line += &format!(", {count} {state}");
        }
    }
    for reason in ready.err().into_iter().flatten() {
        line += &format!("; {reason}");
    }
    line.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(tasks: &[(ActionState, u64)]) -> Report {
        Report {
            vaultwarden_trouble: None,
            members: 1203,
            without_address: 0,
            tasks: tasks
                .iter()
                .map(|(state, count)| (state.as_str(), *count))
                .collect(),
            leavers: Vec::new(),
            unregistered: 0,
            directories: Vec::new(),
            quarantined: Vec::new(),
            held: Vec::new(),
            failing: Vec::new(),
            instances: Vec::new(),
        }
    }

    #[test]
    fn the_status_line_names_what_is_open_and_what_is_wrong() {
        let quiet = report(&[(ActionState::Queued, 0), (ActionState::Done, 1203)]);
        assert_eq!(status_line(&quiet, Ok(())), "1203 members");
        let busy = report(&[(ActionState::Queued, 4), (ActionState::Quarantined, 1)]);
        assert_eq!(
            status_line(&busy, Err(vec!["a is down".into(), "b is down".into()])),
            "1203 members, 4 queued, 1 quarantined; a is down; b is down"
        );
    }

    #[test]
    fn text_from_a_server_cannot_add_assignments_to_the_notification() {
        let line = status_line(&report(&[]), Err(vec!["it said: no\r\nMAINPID=1\n".into()]));
        assert_eq!(line, "1203 members; it said: no  MAINPID=1 ");
    }
}
