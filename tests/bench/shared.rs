//! The same with the state in PostgreSQL, on this machine and with a disk that is synchronised: push, and a large listing.

use std::time::Duration;

use super::listing::{ANOTHER_FILTER, first_listing, ldapsearch, stop, took_ms};
use super::measure::{figure, ratio};
use super::postgres::Postgres;
use super::{Slapd, push, start};

const PATIENCE: Duration = Duration::from_secs(900);

pub async fn measure(people: usize) {
    let mut server = Postgres::builder();
    for line in [
        "fsync = on",
        "full_page_writes = on",
        "synchronous_commit = on",
        "shared_buffers = 128MB",
        "max_wal_size = 1GB",
        "autovacuum = on",
    ] {
        server = server.line(line);
    }
    let postgres = server.start().await;
    push::measure("push into PostgreSQL", 1000, &postgres.url(), 8.0).await;

    let state = postgres.create_database("listing").await;
    let slapd = Slapd::builder().people(people).start().await;
    let reference = ldapsearch(&slapd).await;
    let first = first_listing(&slapd, &state).await;
    ratio(
        &format!("listing into PostgreSQL: {people} people into an empty store (ldapsearch)"),
        first.took,
        reference,
        20.0,
    );
    figure("listing into PostgreSQL: peak memory", first.peak, "MiB", 64.0);
    let mut service = start(&slapd, &first.stand_in, &state, ANOTHER_FILTER, "");
    let again = service.wait_for_line("listing ended", PATIENCE).await;
    ratio(
        &format!("listing into PostgreSQL: the same {people} again (ldapsearch)"),
        took_ms(&again),
        reference,
        6.0,
    );
    stop(&mut service).await;
}
