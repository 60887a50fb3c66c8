//! Parses the arguments and does what they ask for.

use clap::Parser;
use ldap_usher::cli::{self, exit::Exit};
use ldap_usher::tls;

// One thread: SQLite has one of its own beside it, and every hand-over between more of them costs a newcomer time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Exit {
    let args = cli::Args::parse();
    tls::install();
    cli::main(args).await
}
