//! The integration tests: one binary, a file per capability, real servers.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests speak in names"
)]

mod support;

mod architecture;
mod configuration;
mod http;
mod ledger;
mod vaultwarden;
