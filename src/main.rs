//! Parses the arguments and does what they ask for.

use std::io;

use clap::Parser;
use ldap_usher::cli::{self, exit::Exit};
use ldap_usher::tls;
use tokio::runtime::Builder;

/// So many steps of the work that is ready are done before the network and the clock are looked at: few, so that a
/// server that sends without a pause makes nobody else wait.
const STEPS: u32 = 4;

fn main() -> io::Result<Exit> {
    let args = cli::Args::parse();
    tls::install();
    // One thread: SQLite has one of its own beside it, and every hand-over between more of them costs a newcomer time.
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(STEPS)
        .build()?;
    Ok(runtime.block_on(cli::main(args)))
}
