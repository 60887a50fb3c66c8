//! The processes of a server that has several, by proc(5).

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::super::daemon::PATIENCE;

/// The processes whose parent this is.
pub(super) fn children(parent: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|&pid| state(pid).is_some_and(|(_, other)| other == parent))
        .collect()
}

/// Sends this signal to each of them that still runs.
pub(super) fn signal(signal: &str, pids: &[u32]) {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    if !pids.is_empty() {
        let command = format!("kill -{signal} {} 2>/dev/null", pids.join(" "));
        // One of them may have ended meanwhile.
        let _ = Command::new("sh").args(["-c", &command]).status().unwrap();
    }
}

/// Waits until all of them have ended.
pub(super) async fn gone(pids: &[u32]) {
    let deadline = Instant::now() + PATIENCE;
    // An ended process stays a zombie for as long as its new parent does not look.
    while pids
        .iter()
        .any(|&pid| state(pid).is_some_and(|(state, _)| state != 'Z'))
    {
        assert!(Instant::now() < deadline, "a process does not end");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until all of them are stopped or have ended.
pub(super) fn frozen(pids: &[u32]) {
    while pids
        .iter()
        .any(|&pid| state(pid).is_some_and(|(state, _)| !matches!(state, 'T' | 'Z')))
    {
        std::thread::yield_now();
    }
}

/// The state of a process and its parent.
fn state(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
