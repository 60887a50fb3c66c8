//! Charts of the last day and the last month, drawn here, each with its numbers as a table.

use std::time::Duration;

use maud::{Markup, html};

use super::{section, table};
use crate::page::snapshot::Stored;
use crate::store::Hour;

/// The size of a chart, in units that are about a pixel on a phone.
const WIDTH: f64 = 360.0;
const LEFT: f64 = 4.0;
/// The line on which nobody is, and the room above and below it.
const BASE: f64 = 82.0;
const ABOVE: f64 = 68.0;
const BELOW: f64 = 30.0;
/// The bars of the delays stand here.
const DELAY_BASE: f64 = 168.0;
const DELAY_HEIGHT: f64 = 32.0;

/// Both charts.
pub(super) fn charts(stored: &Stored) -> Markup {
    let content = html! {
        @if !stored.counted {
            p .dim { "The journal is being counted; earlier days follow." }
        }
        div .charts {
            (chart("day", "Last 24 hours", &stored.day, &|hour| hour.began.to_string()[11..16].to_owned()))
            (chart("month", "Last 30 days", &stored.month, &|day| day.began.to_string()[5..10].to_owned()))
        }
    };
    section("history", "History", &content)
}

fn chart(id: &str, heading: &str, hours: &[Hour], name: &dyn Fn(&Hour) -> String) -> Markup {
    let sum = |of: fn(&Hour) -> u64| hours.iter().map(of).sum::<u64>();
    let (joined, left, invited) = (sum(|h| h.joined), sum(|h| h.left), sum(|h| h.invited));
    let delay = average(sum(|h| h.delays_ms), invited);
    let longest = hours.iter().map(|hour| hour.longest_ms).max().unwrap_or_default();
    let delays = if invited == 0 {
        "nobody was invited".to_owned()
    } else {
        format!(
            "{invited} invited, on average {} later, at most {}",
            words(delay),
            words(longest)
        )
    };
    let label = format!("{heading}: {joined} joined, {left} left, {delays}");
    html! {
        figure {
            figcaption {
                h3 { (heading) }
                p .legend {
                    span .key.joined { (joined) " joined" } " " span .key.left { (left) " left" } " "
                    span .key.delay { (delays) }
                }
            }
            (drawing(id, &label, hours, name))
            details id={ "numbers-" (id) } {
                summary { "Numbers of the " (heading.to_lowercase()) }
                (numbers(heading, hours, name))
            }
        }
    }
}

fn drawing(id: &str, label: &str, hours: &[Hour], name: &dyn Fn(&Hour) -> String) -> Markup {
    let most = |of: fn(&Hour) -> u64| hours.iter().map(of).max().unwrap_or_default();
    let (joined, left) = (most(|h| h.joined).max(1), most(|h| h.left).max(1));
    let scale = (ABOVE / joined as f64).min(BELOW / left as f64);
    let slowest = most(|hour| average(hour.delays_ms, hour.invited));
    let step = (WIDTH - 2.0 * LEFT) / hours.len() as f64;
    let x = |at: usize| LEFT + step * at as f64 + step * 0.15;
    let wide = step * 0.7;
    let bar = |class: &str, at: usize, y: f64, height: f64| {
        // Few are still seen.
        let height = if height > 0.0 { height.max(1.5) } else { 0.0 };
        html! {
            @if height > 0.0 {
                rect class=(class) x=(short(x(at))) y=(short(y)) width=(short(wide)) height=(short(height)) rx="1.2" {}
            }
        }
    };
    let shown = [0, hours.len() / 2, hours.len().saturating_sub(1)];
    html! {
        svg .chart viewBox="0 0 360 196" role="img" aria-labelledby={ "chart-" (id) } {
            title id={ "chart-" (id) } { (label) }
            @for (at, hour) in hours.iter().enumerate() {
                @let up = (hour.joined as f64 * scale).min(ABOVE);
                (bar("joined", at, BASE - up.max(if hour.joined > 0 { 1.5 } else { 0.0 }), up))
                (bar("left", at, BASE, (hour.left as f64 * scale).min(BELOW)))
                @let delay = average(hour.delays_ms, hour.invited);
                @let tall = delay as f64 / slowest.max(1) as f64 * DELAY_HEIGHT;
                (bar("delay", at, DELAY_BASE - tall.max(if hour.invited > 0 { 1.5 } else { 0.0 }), tall))
            }
            line .axis x1="0" x2="360" y1=(BASE) y2=(BASE) {}
            line .axis x1="0" x2="360" y1=(DELAY_BASE) y2=(DELAY_BASE) {}
            text x="0" y="10" { "people, up to " (most(|h| h.joined.max(h.left))) }
            text x="0" y=(DELAY_BASE - DELAY_HEIGHT - 6.0) { "average delay, up to " (words(slowest)) }
            @for (place, at) in shown.into_iter().enumerate() {
                @if let Some(hour) = hours.get(at) {
                    @let (x, anchor) = [(0.0, "start"), (WIDTH / 2.0, "middle"), (WIDTH, "end")][place];
                    text x=(x) y="188" text-anchor=(anchor) { (name(hour)) }
                }
            }
        }
    }
}

fn numbers(heading: &str, hours: &[Hour], name: &dyn Fn(&Hour) -> String) -> Markup {
    let rows: Vec<_> = hours
        .iter()
        .rev()
        .map(|hour| {
            let delay = average(hour.delays_ms, hour.invited);
            vec![
                html! { (name(hour)) },
                html! { (hour.joined) },
                html! { (hour.left) },
                html! { (hour.invited) },
                html! { @if hour.invited > 0 { (words(delay)) } @else { "–" } },
            ]
        })
        .collect();
    table(heading, &["From", "Joined", "Left", "Invited", "Delay"], &rows)
}

fn average(total: u64, count: u64) -> u64 {
    total.checked_div(count).unwrap_or_default()
}

/// A time in words.
fn words(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        _ => humantime::format_duration(Duration::from_secs(ms / 1000)).to_string(),
    }
}

/// A coordinate.
fn short(number: f64) -> String {
    format!("{number:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        assert_eq!(
            [0, 12, 1234, 61_000].map(words),
            ["0 ms", "12 ms", "1.2 s", "1m 1s"]
        );
        assert_eq!(average(10, 0), 0);
    }
}
