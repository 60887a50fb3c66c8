//! Numbers and how they are shown.

use std::collections::HashMap;
use std::time::{Duration, Instant};

pub fn heading() {
    println!(
        "{:<58} {:>11} {:>11} {:>7}  target",
        "", "measured", "reference", "ratio"
    );
}

/// One row of two durations.
pub fn ratio(what: &str, measured: Duration, reference: Duration, target: f64) {
    let ratio = measured.as_secs_f64() / reference.as_secs_f64();
    let verdict = if ratio <= target { "met" } else { "MISSED" };
    println!(
        "{what:<58} {:>11} {:>11} {ratio:>7.2}  <= {target}: {verdict}",
        shown(measured),
        shown(reference)
    );
}

/// One row that stands alone.
pub fn figure(what: &str, measured: f64, unit: &str, target: f64) {
    let verdict = if measured <= target { "met" } else { "MISSED" };
    println!(
        "{what:<58} {:>11} {:>11} {:>7}  <= {target} {unit}: {verdict}",
        format!("{measured:.2} {unit}"),
        "",
        ""
    );
}

/// The head of a table: what its rows are about, and what their columns are.
pub fn table(what: &str, columns: &[&str]) {
    println!("\n{what:<58}{}", aligned(columns));
}

/// One row of a table.
pub fn row(what: &str, values: &[Duration]) {
    let values: Vec<String> = values.iter().map(|value| shown(*value)).collect();
    println!("{what:<58}{}", aligned(&values));
}

fn aligned(cells: &[impl AsRef<str>]) -> String {
    cells
        .iter()
        .map(|cell| format!(" {:>11}", cell.as_ref()))
        .collect()
}

fn shown(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}

/// The smallest of these values that this share of them does not exceed.
pub fn percentile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of values in a slice"
    )]
    let number = (values.len() as f64 * share).ceil() as usize;
    values[number - 1]
}

/// How long it took from the one to the other, for everyone who is in both.
pub fn delays(from: &HashMap<String, Instant>, to: &HashMap<String, Instant>) -> Vec<Duration> {
    from.iter()
        .filter_map(|(who, at)| Some(to.get(who)?.saturating_duration_since(*at)))
        .collect()
}

/// A field of `/proc/PID/status` in MiB, such as `VmHWM`, the peak of resident memory.
pub fn memory(pid: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// The processor time that a process has used.
pub fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // Linux counts in hundredths of a second (`getconf CLK_TCK`).
    Duration::from_millis(ticks * 10)
}

/// The number behind `name=` in a log line.
pub fn number(line: &str, name: &str) -> u64 {
    let (_, rest) = line.split_once(&format!("{name}=")).unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}
