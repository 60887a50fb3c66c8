//! `status --stale`: everyone who was invited and has not registered, who was invited first at the top.

use std::path::Path;

use serde_json::{Value, json};

use crate::app::{Link, Links};
use crate::cli::exit::Exit;
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::foreign::printable;
use crate::store::{self, Unregistered};

/// The number of people that are read at a time.
const PAGE: u32 = 1000;

/// Prints them, whether or not the service runs.
pub(in crate::cli) async fn stale(config: Option<&Path>, as_json: bool) -> anyhow::Result<Exit> {
    let store = store::open_read_only(&config::state(config)?).await?;
    // `status` does without the secrets; then nobody can ask Vaultwarden.
    let links = match crate::cli::load(config) {
        Ok(config) => Links::ask(&config, store.clone()).await,
        Err(_) => Links::Unknown,
    };
    let now = Clock::system().now();
    let mut after = (Timestamp(0), 0);
    let mut count: u64 = 0;
    loop {
        let page = store.unregistered(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = (last.account.since, last.row);
        let mut text = String::new();
        for person in &page {
            if as_json {
                let separator = if count == 0 { "[\n" } else { ",\n" };
                text.push_str(separator);
                text.push_str(&json(person, links, now).to_string());
            } else {
                text.push_str(&line(person, links, now));
            }
            count += 1;
        }
        crate::cli::print(&text)?;
    }
    crate::cli::print(&match (as_json, count) {
        (true, 0) => "[]\n".into(),
        (true, _) => "\n]\n".into(),
        (false, 0) => "everyone who was invited has registered, as far as is known\n".into(),
        (false, _) => format!("{count} invited and not registered yet, as far as is known\n"),
    })?;
    Ok(Exit::Done)
}

fn line(person: &Unregistered, links: Links, now: Timestamp) -> String {
    let Unregistered {
        address,
        dn,
        directory,
        account,
        ..
    } = person;
    let reminders = match account.reminders {
        0 => String::new(),
        1 => ", reminded once".into(),
        count => format!(", reminded {count} times"),
    };
    let link = match links.of(account, now) {
        Link::None => ", mail is off".into(),
        Link::Works(end) => format!(", the link works until {end}"),
        Link::Expired(end) => format!(", the link expired at {end}"),
        Link::Unknown => ", unknown whether the link works".into(),
    };
    format!(
        "{}  {address}  {}  ({directory}{reminders}{link})\n",
        account.since,
        printable(dn)
    )
}

/// The JSON object of one person.
fn json(person: &Unregistered, links: Links, now: Timestamp) -> Value {
    let (link, end) = match links.of(&person.account, now) {
        Link::None => ("none", None),
        Link::Works(end) => ("works", Some(end)),
        Link::Expired(end) => ("expired", Some(end)),
        Link::Unknown => ("unknown", None),
    };
    json!({
        "address": person.address.to_string(),
        "dn": person.dn,
        "directory": person.directory,
        "invited": person.account.since.to_string(),
        "reminders": person.account.reminders,
        "reminded": person.account.reminded.map(|at| at.to_string()),
        "link": link,
        "link_ends": end.map(|end| end.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{EmailAddress, ManagedAccount};

    const INVITED: Timestamp = Timestamp(1_800_000_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn person(reminded: Option<Timestamp>) -> Unregistered {
        Unregistered {
            row: 1,
            address: EmailAddress::parse(b"ann@example.org").unwrap(),
            dn: "uid=ann,dc=example,dc=org".into(),
            directory: "main".into(),
            account: ManagedAccount {
                reminders: u32::from(reminded.is_some()),
                reminded,
                ..ManagedAccount::invited(None, INVITED)
            },
        }
    }

    #[test]
    fn a_line_says_since_when_and_whether_the_link_still_works() {
        let now = INVITED + 6 * DAY;
        insta::assert_snapshot!(line(&person(None), Links::Work(5 * DAY), now), @"2027-01-15T08:00:00Z  ann@example.org  uid=ann,dc=example,dc=org  (main, the link expired at 2027-01-20T08:00:00Z)");
        insta::assert_snapshot!(line(&person(Some(INVITED + 4 * DAY)), Links::Work(5 * DAY), now), @"2027-01-15T08:00:00Z  ann@example.org  uid=ann,dc=example,dc=org  (main, reminded once, the link works until 2027-01-24T08:00:00Z)");
        assert!(line(&person(None), Links::None, now).ends_with("(main, mail is off)\n"));
    }

    #[test]
    fn the_json_has_the_same() {
        let shown = json(&person(None), Links::Unknown, INVITED);
        assert_eq!(
            (&shown["link"], &shown["link_ends"]),
            (&json!("unknown"), &Value::Null)
        );
        assert_eq!(
            json(&person(None), Links::Work(DAY), INVITED + DAY)["link"],
            "expired"
        );
    }
}
