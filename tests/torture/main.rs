//! `make torture`: the built program between slapd and the stand-in, while all three are killed (SIGKILL) at random
//! and people come, go and come back. First one instance on a file, then two and three on one PostgreSQL, which are also paused for
//! longer than their leases and cut off from the database. At the end the oracle: every member is invited and enabled,
//! everyone who left is disabled, nobody else was ever invited, none twice, and no instance wrote while another one
//! listened.
//!
//! `SECONDS` (default 60) says for how long each; `INSTANCES` (default `1,2,3`) with how many; `SEED` repeats the deeds of
//! an earlier run (not their timing).
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "it speaks in names, reads the clock and uses a part of the test support"
)]

#[path = "../it/support/certificates.rs"]
mod certificates;
#[path = "../it/support/daemon.rs"]
mod daemon;
#[path = "../it/support/instances.rs"]
mod instances;
#[path = "../it/support/people.rs"]
mod people;
#[path = "../it/support/postgres/mod.rs"]
mod postgres;
#[path = "../it/support/proxy.rs"]
mod proxy;
#[path = "../it/support/service.rs"]
mod service;
#[path = "../it/support/site.rs"]
mod site;
#[path = "../it/support/slapd/mod.rs"]
mod slapd;
mod stage;
#[path = "../it/support/stand_in/mod.rs"]
mod stand_in;
#[path = "../it/support/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use stage::Stage;
use stand_in::{Fault, Moment, On};
use tokio::time::sleep;

/// When everything must be at rest after the last kill: an attempt that was under way is looked up for minutes before it
/// is repeated.
const REST: Duration = Duration::from_secs(420);

/// How long everything must stay right at the end: longer than the grace and what it leads to.
const CALM: Duration = Duration::from_secs(5);

const LEAVE: &str = r#"[leave]
action = "disable"
grace = "1s"
[limits]
leavers_per_listing = "unlimited"
leavers_percent = "unlimited"
leavers_per_hour = "unlimited"
"#;

#[tokio::main]
async fn main() -> ExitCode {
    let seconds = variable("SECONDS").unwrap_or(60);
    let seed = variable("SEED").unwrap_or_else(|| rand::random::<u32>().into());
    let counts = std::env::var("INSTANCES").unwrap_or_else(|_| "1,2,3".into());
    for count in counts.split(',') {
        let count = count.parse().expect("INSTANCES is a list of numbers");
        if !tortured(count, seed, seconds).await {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Tortures so many instances. Returns whether all is well.
async fn tortured(instances: usize, seed: u64, seconds: u64) -> bool {
    println!("instances {instances}, seed {seed}, {seconds} s");
    let mut torture = Torture::begin(instances, seed).await;
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        let deed = torture.deed().await;
        *torture.counts.entry(deed).or_default() += 1;
        torture.pause(300).await;
    }
    for (deed, count) in &torture.counts {
        println!("{count:6} {deed}");
    }
    match torture.verdict().await {
        Ok(invited) => {
            println!("verdict: good, {invited} invited");
            true
        }
        Err(wrong) => {
            println!("{}", torture.stage.output);
            println!("verdict: {wrong} (seed {seed})");
            false
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

struct Torture {
    stage: Stage,
    jitter: StdRng,
    /// Who ever came, by number, and who is still there.
    ever: u32,
    members: BTreeSet<u32>,
    /// Who left for good, and who is away.
    gone: BTreeSet<u32>,
    away: BTreeSet<u32>,
    counts: BTreeMap<&'static str, u32>,
}

impl Torture {
    async fn begin(instances: usize, seed: u64) -> Self {
        Self {
            stage: Stage::with(instances, LEAVE).await,
            jitter: StdRng::seed_from_u64(seed),
            ever: 0,
            members: BTreeSet::new(),
            gone: BTreeSet::new(),
            away: BTreeSet::new(),
            counts: BTreeMap::new(),
        }
    }

    async fn pause(&mut self, at_most: u64) {
        sleep(Duration::from_millis(self.jitter.gen_range(0..at_most))).await;
    }

    /// Does one thing, and says which.
    async fn deed(&mut self) -> &'static str {
        match self.jitter.gen_range(0..16) {
            0..=5 => {
                self.ever += 1;
                self.members.insert(self.ever);
                self.stage.people().add_person(&uid(self.ever)).await;
                "people came"
            }
            6 => {
                if let Some(person) = self.members.pop_first() {
                    self.gone.insert(person);
                    self.stage.people().delete(&uid(person)).await;
                }
                "people left"
            }
            12 | 13 => {
                if let Some(person) = self.members.pop_last() {
                    self.away.insert(person);
                    self.stage.people().move_to(&uid(person), "former").await;
                }
                "people went away"
            }
            14 => {
                if let Some(person) = self.away.pop_first() {
                    self.members.insert(person);
                    let people = self.stage.people();
                    people.move_between(&uid(person), "former", "people").await;
                }
                "people came back"
            }
            15 => {
                let moments = [Moment::Arrived, Moment::Saved];
                let drop = Fault::Drop(moments[self.jitter.gen_range(0..moments.len())]);
                let change = ["disable", "enable"][self.jitter.gen_range(0..2)];
                self.stage.vault().fail(On::Change(change), None, 1, drop);
                "broken changes of accounts"
            }
            7..=8 => self.stage.hurt(&mut self.jitter).await,
            9 => {
                self.stage.server().kill9().await;
                self.pause(1000).await;
                self.stage.server().restart().await;
                "kills of slapd"
            }
            10 => {
                self.stage.vault_mut().down();
                self.pause(1000).await;
                self.stage.vault_mut().up();
                "kills of Vaultwarden"
            }
            _ => {
                let moments = [Moment::Arrived, Moment::Mailed, Moment::Saved];
                let moment = moments[self.jitter.gen_range(0..moments.len())];
                self.stage.vault().fail(On::Invite, None, 1, Fault::Drop(moment));
                "broken invitations"
            }
        }
    }

    /// An account that is not as it should be at rest.
    fn wrong(&self) -> Option<String> {
        let vault = self.stage.vault();
        let mut members = self.members.iter().map(|person| address(*person));
        if let Some(address) = members.find(|address| vault.enabled(address) != Some(true)) {
            let state = vault.enabled(&address).map_or("invited", |_| "enabled");
            return Some(format!("{address} is not {state}"));
        }
        let left = self.gone.iter().chain(&self.away);
        let mut left = left.map(|person| address(*person));
        let enabled = left.find(|address| vault.enabled(address) == Some(true))?;
        Some(format!("{enabled} left and is not disabled"))
    }

    /// How many people were invited.
    ///
    /// # Errors
    /// What is wrong.
    async fn verdict(&mut self) -> Result<usize, String> {
        self.stage.heal().await;
        let began = Instant::now();
        let mut right_since = None;
        let wrong = loop {
            // So many may have left that they are held.
            self.stage.approve_all().await;
            let wrong = self.wrong();
            match &wrong {
                Some(_) if began.elapsed() > REST => break wrong,
                Some(_) => right_since = None,
                // Whatever is still to come would be a mistake.
                None if right_since.get_or_insert_with(Instant::now).elapsed() > CALM => break None,
                None => {}
            }
            sleep(Duration::from_millis(500)).await;
        };
        self.stage.keep_output();
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        if let Some(stale) = self.stage.stale_writer().await {
            return Err(format!("{stale} wrote while another instance listened"));
        }
        let invited = self.stage.vault().invited();
        let distinct: BTreeSet<&String> = invited.iter().collect();
        let ever: BTreeSet<String> = (1..=self.ever).map(address).collect();
        if distinct.len() < invited.len() {
            return Err("someone was invited twice".into());
        }
        if let Some(stranger) = distinct.into_iter().find(|invited| !ever.contains(*invited)) {
            return Err(format!("{stranger} never was a member"));
        }
        if self.stage.output.contains("panicked") {
            return Err("the service panicked".into());
        }
        Ok(invited.len())
    }
}

fn uid(person: u32) -> String {
    format!("person{person}")
}

fn address(person: u32) -> String {
    format!("person{person}@example.org")
}
