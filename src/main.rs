//! Parses the arguments and does what they ask for.

use clap::Parser;
use ldap_usher::cli::{self, exit::Exit};
use ldap_usher::tls;

#[tokio::main]
async fn main() -> Exit {
    let args = cli::Args::parse();
    tls::install();
    cli::main(args).await
}
