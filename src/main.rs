//! Parses the arguments and does what they ask for.

use clap::Parser;
use ldap_usher::cli::{self, exit::Exit};

#[tokio::main]
async fn main() -> Exit {
    let args = cli::Args::parse();
    cli::main(args).await
}
