//! Counts the people of a listing, and reports who of them cannot be invited.

use futures::StreamExt;

use super::{Severity, Steps};
use crate::config;
use crate::directory::Changes;
use crate::model::{Change, Entry, Listing};
use crate::rules::membership::{Accept, Policy};
use crate::telemetry::ListingProgress;

/// The attribute that shows whether the account may read operational attributes of OpenLDAP's entries.
pub(super) const ENTRY_CSN: &str = "entryCSN";

/// The number of people without a usable address that are named.
const EXAMPLES: usize = 5;

/// The people whom the filter matches.
#[derive(Default)]
pub(super) struct People {
    pub(super) entries: u64,
    usable: u64,
    pub(super) with_csn: u64,
    disabled: u64,
    /// Some disabled people, with the reasons.
    disabled_examples: Vec<String>,
    /// Some people without a usable address, with the reasons.
    examples: Vec<String>,
}

/// Counts everyone up to the end of the listing, and calls `each` with every entry.
///
/// # Errors
/// The listing is not complete.
pub(super) async fn count(
    config: &config::Directory,
    policy: &Policy,
    mut listing: Changes,
    each: &mut (dyn FnMut(&Entry) + Send),
) -> Result<People, String> {
    let mut progress = ListingProgress::begin();
    let mut people = People::default();
    while let Some(change) = listing.next().await {
        match change.map_err(|error| error.to_string())? {
            Change::Upsert(entry) => {
                progress.advance(&config.settings.name, 1);
                each(&entry);
                people.entries += 1;
                people.with_csn += u64::from(entry.values(ENTRY_CSN).next().is_some());
                let (why, examples) = match (policy.disabled(&entry), policy.address(&entry, None)) {
                    (Some(why), _) => {
                        people.disabled += 1;
                        (why, &mut people.disabled_examples)
                    }
                    (None, Err(why)) => (why, &mut people.examples),
                    (None, Ok(_)) => {
                        people.usable += 1;
                        continue;
                    }
                };
                if examples.len() < EXAMPLES {
                    examples.push(format!("{} ({why})", entry.dn));
                }
            }
            Change::ListingEnd(Listing::Complete) => return Ok(people),
            Change::ListingEnd(Listing::Partial(why)) => {
                return Err(format!("after {} entries: {why}", people.entries));
            }
            _ => {}
        }
    }
    Err("the listing ended without a result".into())
}

pub(super) fn report(
    steps: &mut Steps<'_>,
    config: &config::Directory,
    policy: &Policy,
    people: &People,
    groups_have_members: bool,
) {
    let People {
        entries,
        usable,
        examples,
        disabled,
        disabled_examples,
        ..
    } = people;
    let below = match config.settings.base.as_str() {
        "" => "the empty base",
        base => base,
    };
    let filter = match config.settings.groups.as_slice() {
        [] => config.settings.filter.to_string(),
        _ => format!("{} and are in `groups`", config.settings.filter),
    };
    if *entries == 0 && groups_have_members {
        steps.say(
            Severity::Warn,
            "people",
            format!("nobody below {below} matches {filter}, although the groups have members"),
            "does the server maintain `memberOf` (OpenLDAP: overlay `memberof` or `dynlist`; 389-DS: the memberOf plugin), may the bind account read it (with `dynlist` also `entryDN`), and are the members below `base_dn`? Groups that are named in `groups` need no `memberOf`",
        );
    } else if *entries == 0 {
        steps.say(
            Severity::Warn,
            "people",
            format!("nobody below {below} matches {filter}"),
            "check `filter` and `base_dn`, and that the bind account may read the attributes in the filter",
        );
    } else {
        let detail = format!("{entries} below {below} match {filter}");
        steps.say(Severity::Ok, "people", detail, "");
    }
    if *disabled > 0 {
        let detail = format!(
            "{disabled} of {entries} are disabled and not members (disabled_accounts): {}",
            disabled_examples.join(", ")
        );
        steps.say(Severity::Ok, "accounts", detail, "");
    }
    let attributes = config.mail_attributes.join(", ");
    let enabled = entries - disabled;
    if *usable < enabled {
        let accept = if policy.accept == Accept::default() {
            ""
        } else {
            " and [accept]"
        };
        steps.say(
            if *usable == 0 {
                Severity::Fail
            } else {
                Severity::Warn
            },
            "addresses",
            format!(
                "{usable} of {enabled} have a usable address; without: {}",
                examples.join(", ")
            ),
            &format!(
                "check `mail_attributes` ({attributes}){accept}, and that the bind account may read them"
            ),
        );
    } else if enabled > 0 {
        steps.say(
            Severity::Ok,
            "addresses",
            format!("all {enabled} have a usable address in {attributes}"),
            "",
        );
    }
}
