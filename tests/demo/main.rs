//! `make demo`: the service at work, in a few seconds and without leaving a trace.
//!
//! A real slapd with sample people, a stand-in for Vaultwarden's admin API (or the Vaultwarden that `VAULTWARDEN_URL`
//! and `ADMIN_TOKEN` name), and the built program between them. Directory and stand-in are those of the tests.

#[path = "../it/support/mod.rs"]
#[allow(
    unreachable_pub,
    unused_imports,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "written for the tests, which take more of it and end with the first surprise"
)]
mod support;

mod screen;
mod story;
mod vault;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use screen::Screen;

#[tokio::main]
async fn main() -> ExitCode {
    let screen = Screen::new();
    // Whatever ends the story first, dropping it ends every process and removes every file.
    let told = tokio::select! {
        biased; // the signals are heard before the first process starts
        () = interrupted() => {
            screen.say("\nInterrupted; everything is cleaned up.");
            return ExitCode::from(130);
        }
        told = story::tell(&screen) => told,
    };
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen.fail(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Ctrl-C, `kill`, or a terminal that is closed.
async fn interrupted() {
    let wait = |kind| async move {
        match signal(kind) {
            Ok(mut stream) => drop(stream.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::hangup()) => {}
    }
}
