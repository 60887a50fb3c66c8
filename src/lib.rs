//! `ldap-usher` invites people into Vaultwarden the moment they appear in an LDAP directory.
//!
//! # The journey of one change
//!
//! ```text
//! directory --> listener --> rules (pure) --> store --> worker --> Vaultwarden
//!                                               |
//!                                               +--> journal --> log, metrics, plan, explain
//! ```
//!
//! 1. [`directory`] keeps a search open and turns what one server says into [`model::Change`]s. Where a server only
//!    hints (a group changed, an object changed), the people it may concern are read again with the configured filter. Its
//!    rooms: `ldap` is the protocol, `people` reads who is meant, `streams` are the ways to learn of changes.
//! 2. [`listener`] glues sessions into one endless stream: resume, list again, back off. It takes changes in batches; what
//!    each means, and who is owed an invitation because of it, [`rules`] decide on a [`rules::Book`] of all that the
//!    store knows of these people.
//! 3. [`store`] fills the book and saves what the rules changed, together with the events that this makes happen and the
//!    cursor, in ONE transaction. It is the only thing that joins the two loops. A `Notify` is a hint, the table is the
//!    truth.
//! 4. [`worker`] claims what is due, calls [`vaultwarden`], and settles each attempt with its outcome.
//! 5. [`telemetry`] makes log lines and metrics of the events, keeps the state of health, and answers `/livez`, `/readyz`
//!    and `/metrics`.
//!
//! [`app`] wires it all together; [`cli`] is how a person starts it; [`config`] is what they told it.
//!
//! Some commands look without acting: `plan` is `sync` itself on a copy of the store and with a Vaultwarden to which
//! nothing is sent, told from the journal of that run ([`app::plan()`]); `explain` and `journal` read the journal of the
//! service; `check` goes the way of the service one step at a time ([`app::check()`]);
//! `watch` prints what [`directory`] says.
//!
//! # Invariants
//!
//! - Nothing is acknowledged to a directory (no cursor is stored) before what came before it is committed: a crash
//!   repeats work and never loses it.
//! - The listener waits for nothing but the directory and the store, never for Vaultwarden.
//! - Only a listing that the server itself called complete can make anyone a leaver, and each leaver is looked up
//!   once more by identity first, on the server of the session.
//! - Identity is the entry's UUID, or what the configuration names in its place, never its DN or its address.
//! - One address has one invitation, by the schema; an attempt whose outcome is unknown is looked up for minutes before
//!   it is repeated.
//! - What is held stays held until somebody approves it.
//! - Storage that failed is opened anew: a transaction is done as a whole, or not at all, and the next one starts afresh.
//! - Waits of this process are measured in monotonic time; stored times move when the clock is set.
//! - Memory does not grow with the directory: what is known of a member lives in the store. (Groups that are followed
//!   are held in memory, and so are the identities of one listing under `id_attribute`.)
//!
//! # Who may import whom
//!
//! `cli -> app -> {listener, worker} -> {config, telemetry} -> {directory, store, vaultwarden} -> rules -> model`.
//! `directory`, `store` and `vaultwarden` never import each other; `rules` import only `model` and time as a value;
//! `ber`, `clock`, `foreign`, `panics`, `retry`, `text` and `timing` know nobody, and `tls` only `ber`, `foreign` and `text`. Each
//! outside crate has one home. No two files import each other (except a `mod.rs` and its children outside of `directory`). A
//! test reads the sources and checks these rules.

pub mod app;
mod ber;
pub mod cli;
pub mod clock;
pub mod config;
pub mod directory;
mod foreign;
pub mod listener;
pub mod model;
pub mod panics;
pub mod retry;
pub mod rules;
pub mod store;
pub mod telemetry;
mod text;
mod timing;
pub mod tls;
pub mod vaultwarden;
pub mod worker;
