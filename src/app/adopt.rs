//! `adopt`: takes accounts of members into care that this program did not create.

use std::mem;
use std::sync::Arc;

use anyhow::Context;
use futures::StreamExt;

use super::policies::{leave, limits};
use super::servers::vaultwarden_settings;
use super::sessions::Sessions;
use crate::clock::Clock;
use crate::config::Config;
use crate::model::{Event, ListedAccount, Source, What};
use crate::rules::{Book, DecisionContext};
use crate::store::{self, Decisions, Scope, Step};
use crate::vaultwarden::{Account, Admin, Vaultwarden, VaultwardenError};

/// The number of accounts that are decided on in one transaction.
const PAGE: usize = 200;

/// Reads Vaultwarden's list of accounts once, and takes those of present members into care that are not yet, unless
/// `only_plan` is set. Passes an event of each to `say`. Works whether or not the service runs. Mails nobody.
///
/// # Errors
/// The state cannot be used, or the list cannot be read to its end. What was said before has been done.
pub async fn adopt(
    config: &Config,
    only_plan: bool,
    say: &mut (dyn FnMut(&Event) -> anyhow::Result<()> + Send),
) -> anyhow::Result<()> {
    let store = store::open_shared(&config.state).await?;
    let sessions = Sessions::of_service(store.clone(), config.sessions.clone());
    let clock = Clock::system();
    let vaultwarden = Vaultwarden::new(&vaultwarden_settings(config), Arc::new(sessions), clock.clone())?;
    let (limits, leave) = (limits(config), Arc::new(leave(config)));
    let mut accounts = vaultwarden.accounts().chunks(PAGE);
    while let Some(page) = accounts.next().await {
        let page: Result<Vec<_>, VaultwardenError> = page.into_iter().collect();
        let page = page.context("Vaultwarden's accounts cannot be listed")?;
        let listed: Vec<ListedAccount> = page.into_iter().filter_map(Account::listed).collect();
        let scope = Scope {
            addresses: listed.iter().map(|account| account.address.clone()).collect(),
            ..Scope::default()
        };
        let (leave, now) = (leave.clone(), clock.now());
        let events = store
            .decide(scope, move |book| {
                let context = DecisionContext::single(Source::Administrator, now, now, &limits, &leave);
                for account in &listed {
                    book.adopt(account, &context);
                }
                let events: Vec<Event> = book.events.iter().map(|noted| noted.event.clone()).collect();
                if only_plan {
                    drop(mem::take::<Book>(book));
                }
                Step::Done(events)
            })
            .await?;
        for event in events.iter().filter(|event| event.what == What::Adopted) {
            say(event)?;
        }
    }
    Ok(())
}
