//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use super::exit;
use crate::telemetry::log;

/// Invites people into Vaultwarden the moment they appear in your LDAP directory.
#[derive(Debug, clap::Parser)]
#[command(name = "ldap-usher", version, after_help = exit::help(), disable_help_subcommand = true)]
pub struct Args {
    /// The configuration file; default: $CONFIG_PATH, ./config.toml or /etc/ldap-usher/config.toml
    #[arg(long, value_name = "PATH", global = true)]
    pub(super) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Run the service: follow changes and invite people, until SIGTERM
    Run(Logging),
    /// List every directory once, deliver what is due, and exit; for cron
    Sync {
        /// Do everything for one person only, and tell each step, whether or not the service runs
        #[arg(long, value_name = "ADDRESS|DN|UUID")]
        person: Option<String>,
        #[command(flatten)]
        logging: Logging,
    },
    /// Show what `sync` would do and why; change nothing
    Plan {
        /// Print a JSON array of {action, email, dn, directory, reason, at}
        #[arg(long)]
        json: bool,
    },
    /// Print each change as it arrives, without acting, until Ctrl-C
    Watch {
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
        /// Also print everyone in the first listing
        #[arg(long)]
        all: bool,
    },
    /// Show what works, what does not, and what to do about it
    Check {
        /// Print a JSON array of {level, subject, detail, remedy}
        #[arg(long)]
        json: bool,
    },
    /// Show members, invitations and directories, whether or not the service runs
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// List everyone who was invited and has not registered
        #[arg(long)]
        stale: bool,
    },
    /// Ask the running service how it is; exit code 0 if it is well, otherwise 1; for containers
    Healthcheck {
        /// Ask whether it is ready: whether directories, Vaultwarden and the state work
        #[arg(long)]
        ready: bool,
        /// How long to wait for the answer
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "5s")]
        timeout: Duration,
        /// Print a JSON object {healthy, asked, detail}
        #[arg(long)]
        json: bool,
    },
    /// Show one person: what happened, the current state, and what happens next
    Explain {
        /// Their address, the DN of their entry, or its UUID
        #[arg(value_name = "ADDRESS|DN|UUID")]
        who: String,
        /// Print a JSON array of people
        #[arg(long)]
        json: bool,
    },
    /// Print what happened to people, oldest first
    Journal {
        /// Only events of this long ago at most, such as 24h or 7d
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        since: Option<Duration>,
        /// Only what concerns this person: address, DN or UUID
        #[arg(long, value_name = "ADDRESS|DN|UUID")]
        person: Option<String>,
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Send a test event to each receiver of notifications
    Notify {
        /// Print what each of them answers; the only thing that this command does
        #[arg(long, required = true)]
        test: bool,
    },
    /// Show or migrate the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Back up the state, or move it between an SQLite file and PostgreSQL
    State {
        #[command(subcommand)]
        command: StateCommand,
    },
    /// Show what a limit holds back, invitations and accounts of leavers, and let it be done
    Approve(Held),
    /// Show what a limit holds back, and drop it
    Discard(Held),
    /// Invite one person now, whatever held the invitation back or ended it
    Invite {
        /// The address of a member, or of an entry that matches the filter of a directory
        #[arg(value_name = "ADDRESS")]
        address: String,
    },
    /// Take existing accounts of members into care, so that they can be disabled when people leave; mails nobody
    Adopt {
        /// Only show whom it concerns
        #[arg(long)]
        plan: bool,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
        /// Print a JSON array of {address, dn, directory}; needs --plan or --yes
        #[arg(long)]
        json: bool,
    },
    /// Forget what is known of a person, or make the people of a removed directory leavers
    Forget(Forget),
    /// Show what is in quarantine, because Vaultwarden rejected it permanently, and try it again
    Retry(People),
    /// Print a script that completes this command line in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command into a folder
    Man {
        /// The folder, which must exist
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// What `run` and `sync` log. Overrides the configuration and $RUST_LOG.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Logging {
    /// error, warn, info, debug, trace, or directives such as info,ldap_usher::listener=debug
    #[arg(long, value_name = "LEVEL", value_parser = log::parse_level)]
    pub(super) log_level: Option<String>,
    /// Text for people, or a JSON object per line
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub(super) log_format: Option<LogFormat>,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the effective configuration as TOML, without secrets
    Show,
    /// Print a configuration of vaultwarden_ldap in the native format, without secrets
    Migrate,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum StateCommand {
    /// Write the state file into a new file, whether or not the service runs
    Backup {
        /// The new file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Print a JSON object {state, file, bytes}
        #[arg(long)]
        json: bool,
    },
    /// Copy the state into an empty one and compare both; the service must be stopped
    #[command(group = clap::ArgGroup::new("places").required(true).multiple(true).args(["from", "to"]))]
    Migrate {
        /// The state to copy; default: the configured one
        #[arg(long, value_name = "PATH|URL")]
        from: Option<String>,
        /// Where to copy it; default: the configured one
        #[arg(long, value_name = "PATH|URL")]
        to: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["address", "directory"]))]
pub(super) struct Forget {
    /// The person with this address
    #[arg(value_name = "ADDRESS")]
    pub(super) address: Option<String>,
    /// Everyone in this directory, which is no longer in the configuration, counts as having left
    #[arg(long, value_name = "NAME")]
    pub(super) directory: Option<String>,
    /// Do not ask for confirmation
    #[arg(long)]
    pub(super) yes: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Held {
    #[command(flatten)]
    pub(super) people: People,
    /// Those who are in this group now
    #[arg(long, value_name = "DN", group = "whom")]
    pub(super) group: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whom").required(true).args(["all", "addresses"]))]
pub(super) struct People {
    /// All of them
    #[arg(long)]
    pub(super) all: bool,
    /// Those with these addresses
    #[arg(value_name = "ADDRESS")]
    pub(super) addresses: Vec<String>,
    /// Do not ask for confirmation
    #[arg(long)]
    pub(super) yes: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
