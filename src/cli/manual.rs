//! `completions` and `man`: what the command line says of itself, in the form of shells and of `man`.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::args::Args;
use super::exit::Exit;

const NAME: &str = "ldap-usher";

/// Prints the completions for a shell.
pub(super) fn completions(shell: Shell) -> anyhow::Result<Exit> {
    super::print(&script(shell)?)?;
    Ok(Exit::Done)
}

fn script(shell: Shell) -> anyhow::Result<String> {
    // The library's script for Bash does not find the commands of a program with a hyphen in its name.
    let name = match shell {
        Shell::Bash => "ldap_usher",
        _ => NAME,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), name, &mut script);
    let script = String::from_utf8(script)?;
    Ok(match shell {
        Shell::Bash => script.replace(" ldap_usher\n", " ldap-usher\n"),
        _ => script,
    })
}

/// Prints the manual page of the program, or writes a page for it and for each command into a folder.
pub(super) fn man(folder: Option<&Path>) -> anyhow::Result<Exit> {
    let command = Args::command().disable_help_flag(true);
    let Some(folder) = folder else {
        super::print(&page(command)?)?;
        return Ok(Exit::Done);
    };
    let mut command = command;
    command.build();
    write(folder, NAME, command)?;
    Ok(Exit::Done)
}

/// Writes the page of a command, and of each command within it.
fn write(folder: &Path, name: &str, command: clap::Command) -> anyhow::Result<()> {
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        let name = format!("{name}-{}", inner.get_name());
        // clap wants names that live as long as the program.
        let inner = inner
            .clone()
            .display_name(&name)
            .bin_name(name.replacen('-', " ", 2));
        write(folder, &name, inner)?;
    }
    let path = folder.join(format!("{name}.1"));
    fs::write(&path, page(command)?).with_context(|| format!("{} cannot be written", path.display()))
}

fn page(command: clap::Command) -> io::Result<String> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    String::from_utf8(page).map_err(io::Error::other)
}
