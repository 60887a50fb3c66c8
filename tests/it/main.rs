//! The integration tests: one binary, a file per capability, real servers.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests speak in names and are nobody's library"
)]

mod support;

mod accept;
mod accidents;
mod account_changes;
mod active_directory;
mod apacheds;
mod architecture;
mod audit;
mod behaviour;
mod brake;
mod certificates;
mod chaos;
mod command_line;
mod commands;
mod configuration;
mod convergence;
mod crash;
mod diagnosis;
mod directory;
mod disk;
mod documentation;
mod ds389;
mod environment;
mod flood;
mod foreign;
mod groups;
mod healthcheck;
mod hostile;
mod http;
mod id_attribute;
mod image;
mod instances;
mod journal;
#[cfg(feature = "kerberos")]
mod kerberos;
mod leave_commands;
mod leavers;
mod legacy;
mod lifecycle;
mod metrics;
mod migrate;
mod names;
mod notify;
mod old_tls;
mod onboarding;
mod one_time_code;
mod outage;
mod packages;
mod packaging;
mod page;
mod password;
mod peculiarities;
mod persistent_search;
mod pins;
mod plan;
mod poll;
mod postgres;
mod reminders;
mod resume;
mod returning;
mod secrets;
mod servers;
mod shared_session;
mod simulation;
mod sites;
mod slapd;
mod store;
mod tls;
#[cfg(feature = "otel")]
mod traces;
mod unruly;
mod vaultwarden;
mod worker;
