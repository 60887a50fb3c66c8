//! `ldap-usher` invites people into Vaultwarden the moment they appear in an LDAP directory.
//!
//! # The journey of one change
//!
//! ```text
//! directory --> listener --> rules (pure) --> store --> worker --> Vaultwarden
//!                                               |
//!                                               +--> journal --> log, metrics, notify, plan, explain
//! ```
//!
//! 1. [`directory`] keeps a search open and turns what a server reports into [`model::Change`]s. If a server reports only
//!    that an object or a group has changed, the people concerned are read again with the configured filter. Its folders:
//!    `ldap` is the protocol, `people` selects and reads people, `streams` are the ways to learn of changes.
//! 2. [`listener`] joins sessions into one endless stream: it resumes, lists again, and waits after failures. It takes
//!    changes in batches. [`rules`] decide what each change means and who gets an invitation, on a [`rules::Book`] of
//!    everything that the store knows of these people.
//! 3. [`store`] fills the book, and saves its changes, their events and the cursor in one transaction. It has a trait for
//!    each of its users ([`store::interface`]), and two faces: an SQLite file for one instance, and a PostgreSQL database that
//!    several share. No rule is written in them.
//! 4. [`worker`] claims the actions that are due, calls [`vaultwarden`], and settles each attempt with its outcome. The
//!    listener hands work to it only through the store; a `Notify` merely wakes it early.
//! 5. [`telemetry`] turns events into log lines and metrics, tracks health, and serves `/livez`, `/readyz`, `/healthz` and
//!    `/metrics`. `traces` are the spans that all of them begin, for a collector of OpenTelemetry.
//! 6. [`notify`] reads the journal at its own pace, and sends the events to a webhook and a command. Nothing waits for it.
//! 7. [`page`] shows the store, the health and the journal in a browser, and takes orders of those who are signed in.
//!
//! A listing is a set. The store collects what the directory lists, and compares it with the members when the listing has
//! ended. The number of new people decides whether they are invited or held, before the first of them is stored. Then the
//! differences are applied page by page, each page in one transaction like a batch of changes. The stream goes on in
//! between; what it reports is newer than what was listed.
//!
//! # The journey of a leaver
//!
//! A change that makes somebody a leaver goes the same way. The rules open an action for each of their accounts that is in
//! our care, or hold it if a limit is exceeded. The worker looks the person up in [`directory`] by identity, at once and
//! after the grace period, each time on a new connection and together with other members. Only if the person is gone both
//! times, it calls Vaultwarden. Whoever comes back cancels the action, or is owed the opposite.
//! [`worker::Accounts`] compares the accounts in our care with those that Vaultwarden has.
//!
//! [`app`] builds and runs all components, [`cli`] parses and prints the commands, [`config`] reads the configuration.
//!
//! Some commands change nothing: `plan` runs `sync` on a copy of the store, with a client that changes nothing in Vaultwarden,
//! and prints the journal of that run ([`app::plan()`]). `explain` and `journal` read the journal of the service. `check`
//! performs each step of the service separately ([`app::check()`]). `watch` prints what [`directory`] reports.
//!
//! # Several instances
//!
//! What one instance does at a time is a [`store::Duty`]: to listen to a directory, to compare accounts, to notify. An instance has a
//! lease for each of its duties, which the heartbeat of the store keeps. [`app`] runs a loop only while its lease is held, and gives
//! up the lease of a directory that it cannot reach. Every
//! transaction of a duty checks the epoch of its lease, so that one that has ended elsewhere commits nothing. The worker has no
//! lease: the store gives each action to one worker, and takes back what a dead one has claimed.
//!
//! # Invariants
//!
//! - A cursor is stored in the same transaction as the changes before it, or after them: a crash repeats work and never
//!   loses it.
//! - The listener waits for the directory and the store, never for Vaultwarden.
//! - A person who was not listed counts as having left only if the server reported the listing as complete, and a look-up
//!   by identity, on the server of the session, does not find the person either.
//! - An account is touched only if it was invited or adopted, its person was looked up and is gone, their grace has passed,
//!   and no limit holds it. An account is identified by Vaultwarden's id, as soon as that is known.
//! - A person is identified by the UUID of the entry, or by the configured attribute, never by DN or address.
//! - The schema allows one invitation per address. An attempt with unknown outcome is looked up for minutes before it is
//!   repeated.
//! - The cursor of a receiver of notifications moves after the receiver has accepted the event: a crash repeats an event and
//!   never loses it.
//! - A held invitation stays held until an administrator approves it, unless the comparison with Vaultwarden's accounts
//!   shows that the limit is not exceeded.
//! - After a failure the storage is opened again. A transaction is done as a whole or not at all.
//! - A listener whose lease has passed to another instance commits nothing.
//! - An attempt is settled by the worker that has claimed the action; what another one says of it later is ignored, unless it is
//!   that the action was carried out.
//! - Whoever is not signed in sees no person on the status page. An order is in the journal, with the address from which it came,
//!   before it is carried out.
//! - Waits within the process use monotonic time. Stored times are moved when the clock is set.
//! - Memory does not grow with the directory, because members are in the store. The exceptions are one bit per member
//!   during a listing, the members of groups that are followed, and the identities of one listing with `id_attribute`.
//!
//! # Who may import whom
//!
//! `cli -> app -> {listener, notify, page, worker} -> {config, telemetry} -> {directory, store, vaultwarden} -> {http_client, rules} ->
//! {model, tls}`.
//! `directory`, `store` and `vaultwarden` never import each other. `rules` import only `model`, `clock` and `retry`, and do
//! no input or output. All others may import `ber`, `clock`, `foreign`, `panics`, `retry`, `text`, `timing` and `traces`, which import
//! nothing of this crate. Each outside crate has one home. No two files import each other, except a `mod.rs` and its children outside of
//! `directory`. A test reads the sources and checks these rules.

pub mod app;
mod ber;
pub mod cli;
pub mod clock;
pub mod config;
pub mod directory;
mod foreign;
mod http_client;
pub mod listener;
pub mod model;
pub mod notify;
pub mod page;
pub mod panics;
pub mod retry;
pub mod rules;
pub mod store;
pub mod telemetry;
mod text;
mod timing;
pub mod tls;
mod traces;
pub mod vaultwarden;
pub mod worker;
