//! The ledger: what each promise of its trait means on a real SQLite file.

mod agreement;
mod file;
mod invitations;
mod members;
mod tasks;

use std::time::Duration;

use ldap_usher::clock::Timestamp;
use ldap_usher::ledger::{Batch, Committed, Ledger, ListingOutcome, MemberWrite, Origin, Sqlite, TaskWrite};
use ldap_usher::model::{EmailAddress, EntryId, Listing, Member, Settlement, Standing, Task};

const LEASE: Duration = Duration::from_secs(60);

fn at(second: i64) -> Timestamp {
    Timestamp(second * 1000)
}

fn id(n: u8) -> EntryId {
    EntryId::from_slice(&[n; 16]).unwrap()
}

fn email(name: &str) -> EmailAddress {
    EmailAddress::parse(format!("{name}@example.org").as_bytes()).unwrap()
}

fn dn(n: u8) -> String {
    format!("uid={n},dc=example,dc=org")
}

fn present(n: u8, name: &str) -> MemberWrite {
    MemberWrite {
        id: id(n),
        dn: dn(n),
        address: Some(email(name)),
        standing: Standing::Member,
    }
}

fn left(n: u8, name: &str) -> MemberWrite {
    MemberWrite {
        standing: Standing::Left,
        ..present(n, name)
    }
}

fn open(n: u8, name: &str) -> TaskWrite {
    TaskWrite::Open {
        id: id(n),
        address: email(name),
        again: false,
    }
}

fn reopen(n: u8, name: &str) -> TaskWrite {
    TaskWrite::Open {
        id: id(n),
        address: email(name),
        again: true,
    }
}

fn cancel(n: u8, name: &str) -> TaskWrite {
    TaskWrite::Cancel {
        id: id(n),
        address: email(name),
    }
}

fn readdress(n: u8, from: &str, to: &str, invite: bool) -> TaskWrite {
    TaskWrite::Readdress {
        id: id(n),
        from: email(from),
        to: email(to),
        invite,
    }
}

fn retry(second: i64, in_doubt: bool) -> Settlement {
    Settlement::RetryAt {
        at: at(second),
        failed: true,
        in_doubt,
        error: "no route to host".into(),
    }
}

/// A ledger with one directory, and a clock that the tests set.
struct Book {
    ledger: Sqlite,
    directory: i64,
}

impl Book {
    async fn new() -> Self {
        Self::on(Sqlite::in_memory().await.unwrap()).await
    }

    async fn on(ledger: Sqlite) -> Self {
        let directory = ledger.enroll("main", "settings").await.unwrap().id;
        Self { ledger, directory }
    }

    fn batch(&self, origin: Origin, members: Vec<MemberWrite>, tasks: Vec<TaskWrite>) -> Batch {
        Batch {
            directory: self.directory,
            origin,
            arrived: at(1),
            members,
            seen: Vec::new(),
            tasks,
            cursor: None,
        }
    }

    async fn live(&self, members: Vec<MemberWrite>, tasks: Vec<TaskWrite>) -> Committed {
        let batch = self.batch(Origin::Live, members, tasks);
        self.ledger.commit(&batch, at(1)).await.unwrap()
    }

    /// One single change: someone new.
    async fn joins(&self, n: u8, name: &str) -> Committed {
        self.live(vec![present(n, name)], vec![open(n, name)]).await
    }

    /// One single change: someone leaves.
    async fn leaves(&self, n: u8, name: &str) {
        self.live(vec![left(n, name)], vec![cancel(n, name)]).await;
    }

    /// One single change: someone's address changes.
    async fn moves(&self, n: u8, from: &str, to: &str, invite: bool) {
        self.live(vec![present(n, to)], vec![readdress(n, from, to, invite)])
            .await;
    }

    /// A complete listing that finds just these, all of them new.
    async fn lists(&self, people: &[(u8, &str)], hold_above: Option<u32>) -> ListingOutcome {
        self.ledger.begin_listing(self.directory).await.unwrap();
        let members = people.iter().map(|&(n, name)| present(n, name)).collect();
        let tasks = people.iter().map(|&(n, name)| open(n, name)).collect();
        let batch = self.batch(Origin::Listing, members, tasks);
        self.ledger.commit(&batch, at(1)).await.unwrap();
        self.ends(&Listing::Complete, hold_above).await
    }

    async fn ends(&self, how: &Listing, hold_above: Option<u32>) -> ListingOutcome {
        self.ledger
            .end_listing(self.directory, how, hold_above, at(2))
            .await
            .unwrap()
    }

    async fn claims(&self, second: i64) -> Vec<Task> {
        self.ledger.claim(100, LEASE, at(second)).await.unwrap()
    }

    /// Claims everything due and settles it alike.
    async fn settles(&self, second: i64, how: Settlement) {
        let settled: Vec<_> = self
            .claims(second)
            .await
            .into_iter()
            .map(|task| (task.id, how.clone()))
            .collect();
        self.settle(second, &settled).await;
    }

    async fn settle(&self, second: i64, settled: &[(i64, Settlement)]) {
        self.ledger.settle(settled, at(second)).await.unwrap();
    }

    async fn known(&self, n: u8) -> Member {
        let mut known = self.ledger.known(self.directory, &[id(n)]).await.unwrap();
        known.pop().unwrap()
    }

    /// How many tasks are in each state that has any, such as `done 1, queued 2`.
    async fn tasks(&self) -> String {
        let report = self.ledger.report().await.unwrap();
        let counts = report.tasks.iter().filter(|(_, count)| *count > 0);
        counts
            .map(|(state, count)| format!("{state} {count}"))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

fn addresses(tasks: &[Task]) -> Vec<&str> {
    tasks.iter().map(|task| task.address.as_str()).collect()
}
