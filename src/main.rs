//! Parses the arguments and runs the command.

use std::io;

use clap::Parser;
use ldap_usher::cli::{self, exit::Exit};
use ldap_usher::tls;
use tokio::runtime::Builder;

/// The number of tasks that run before the runtime polls the network and the timers. Small, so that a server that sends
/// without a pause does not delay others.
const EVENT_INTERVAL: u32 = 4;

fn main() -> io::Result<Exit> {
    let args = cli::Args::parse();
    tls::install();
    // One thread, beside that of SQLite: each hand-over between more threads would delay invitations.
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build()?;
    let exit = runtime.block_on(cli::main(args));
    // A call of the system that waits for a silent server, such as a look-up of its address or of a Kerberos ticket, has no end to
    // wait for.
    runtime.shutdown_background();
    Ok(exit)
}
