//! A plain in-memory ledger that follows the documentation of `Ledger` word by word; the property test in
//! `ledger/agreement.rs` holds the real one against it.

use std::time::Duration;

use ldap_usher::clock::Timestamp;
use ldap_usher::ledger::{
    Batch, Committed, Duplicate, ListingOutcome, MemberWrite, Origin, TaskReport, TaskWrite, Unchecked,
};
use ldap_usher::model::{EmailAddress, EntryId, Listing, Member, Settlement, Standing, Task, TaskState};

/// A row of the table of members; its number is its place, counted from one.
struct Person {
    directory: i64,
    member: Member,
    seen: u32,
}

impl Person {
    fn holds(&self, address: &EmailAddress) -> bool {
        self.member.standing == Standing::Member && self.member.address.as_ref() == Some(address)
    }
}

/// A task; its number is its place, counted from one.
struct Job {
    address: EmailAddress,
    person: usize,
    state: TaskState,
    due: Timestamp,
    lease: Option<Timestamp>,
    in_doubt: bool,
    checked: bool,
    attempts: u32,
    arrived: Timestamp,
    since: Timestamp,
    reason: String,
}

impl Job {
    /// The invitation was sent, or may have been.
    fn sent(&self) -> bool {
        self.state == TaskState::Done || self.lease.is_some() || self.in_doubt
    }

    fn waits(&self) -> bool {
        matches!(self.state, TaskState::Queued | TaskState::Held)
    }

    fn come_to(&mut self, state: TaskState, now: Timestamp) {
        self.state = state;
        self.since = now;
        self.lease = None;
        self.in_doubt = false;
    }
}

/// The model. Directories are numbered from one and named by their number.
#[derive(Default)]
pub struct Model {
    people: Vec<Person>,
    jobs: Vec<Job>,
    generations: [u32; 3],
}

impl Model {
    pub fn member(&self, directory: i64, id: EntryId) -> Option<&Member> {
        self.person(directory, id)
            .map(|person| &self.people[person].member)
    }

    fn person(&self, directory: i64, id: EntryId) -> Option<usize> {
        self.people
            .iter()
            .position(|person| person.directory == directory && person.member.id == id)
    }

    fn other_holder(&self, address: &EmailAddress, person: usize) -> Option<usize> {
        (0..self.people.len()).find(|&other| other != person && self.people[other].holds(address))
    }

    fn job(&self, address: &EmailAddress) -> Option<usize> {
        self.jobs.iter().position(|job| job.address == *address)
    }

    pub fn begin_listing(&mut self, directory: i64) {
        self.generations[usize::try_from(directory).unwrap()] += 1;
    }

    pub fn commit(&mut self, batch: &Batch, now: Timestamp) -> Committed {
        for write in &batch.members {
            self.write(batch.directory, write);
        }
        let generation = self.generations[usize::try_from(batch.directory).unwrap()];
        for &row in &batch.seen {
            self.people[usize::try_from(row).unwrap() - 1].seen = generation;
        }
        let mut committed = Committed::default();
        let mut pairs = Vec::new();
        let opened = match batch.origin {
            Origin::Live => TaskState::Queued,
            Origin::Listing => TaskState::Staged,
        };
        for write in &batch.tasks {
            let (TaskWrite::Open { id, .. } | TaskWrite::Cancel { id, .. } | TaskWrite::Readdress { id, .. }) =
                write;
            let Some(person) = self.person(batch.directory, *id) else {
                continue;
            };
            let (address, state, again) = match write {
                TaskWrite::Open { address, again, .. } => (address, opened, *again),
                TaskWrite::Cancel { address, .. } => {
                    if let Some(job) = self.job(address).filter(|&job| self.jobs[job].person == person) {
                        self.release(job, now);
                    }
                    continue;
                }
                TaskWrite::Readdress { from, to, invite, .. } => {
                    let before = self.job(from).filter(|&job| {
                        let job = &self.jobs[job];
                        job.person == person && job.state != TaskState::Cancelled && !job.sent()
                    });
                    let invited = self.jobs.iter().any(|job| job.person == person && job.sent());
                    if let Some(job) = before {
                        let state = self.jobs[job].state;
                        self.release(job, now);
                        let kept = matches!(state, TaskState::Held | TaskState::Staged);
                        (to, if kept { state } else { opened }, false)
                    } else if *invite || !invited {
                        (to, opened, false)
                    } else {
                        continue;
                    }
                }
            };
            if self.open(person, address, state, again, batch.arrived, now) && state == TaskState::Queued {
                committed.queued += 1;
            }
            if let Some(holder) = self.other_holder(address, person) {
                let pair = (person.min(holder), person.max(holder));
                if !pairs.contains(&pair) {
                    pairs.push(pair);
                    committed.duplicates.push(Duplicate {
                        address: address.clone(),
                        dn: self.people[person].member.dn.clone(),
                        holder_dn: self.people[holder].member.dn.clone(),
                    });
                }
            }
        }
        committed
    }

    fn write(&mut self, directory: i64, write: &MemberWrite) {
        let person = self.person(directory, write.id).unwrap_or(self.people.len());
        let row = Person {
            directory,
            member: Member {
                row: i64::try_from(person).unwrap() + 1,
                id: write.id,
                dn: write.dn.clone(),
                address: write.address.clone(),
                standing: write.standing.clone(),
            },
            seen: self.generations[usize::try_from(directory).unwrap()],
        };
        if person == self.people.len() {
            self.people.push(row);
        } else {
            self.people[person] = row;
        }
    }

    fn open(
        &mut self,
        person: usize,
        address: &EmailAddress,
        state: TaskState,
        again: bool,
        arrived: Timestamp,
        now: Timestamp,
    ) -> bool {
        let fresh = Job {
            address: address.clone(),
            person,
            state,
            due: arrived,
            lease: None,
            in_doubt: false,
            checked: false,
            attempts: 0,
            arrived,
            since: now,
            reason: String::new(),
        };
        let Some(job) = self.job(address) else {
            self.jobs.push(fresh);
            return true;
        };
        let owner = self.jobs[job].person;
        let theirs = owner != person && self.people[owner].holds(address);
        let opens = match self.jobs[job].state {
            TaskState::Cancelled => true,
            TaskState::Done | TaskState::Quarantined => again && !theirs,
            _ => false,
        };
        if opens {
            self.jobs[job] = fresh;
        }
        opens
    }

    fn release(&mut self, job: usize, now: Timestamp) {
        let heir = self.other_holder(&self.jobs[job].address, self.jobs[job].person);
        let job = &mut self.jobs[job];
        if job.state == TaskState::Cancelled {
            return;
        }
        match heir {
            Some(heir) => job.person = heir,
            None if !job.sent() => job.come_to(TaskState::Cancelled, now),
            None => {}
        }
    }

    pub fn unseen(&self, directory: i64, after: i64, limit: usize) -> Vec<Member> {
        let generation = self.generations[usize::try_from(directory).unwrap()];
        let unseen = self.people.iter().filter(|person| {
            person.directory == directory
                && person.seen != generation
                && person.member.standing != Standing::Left
                && person.member.row > after
        });
        unseen.take(limit).map(|person| person.member.clone()).collect()
    }

    pub fn end_listing(
        &mut self,
        directory: i64,
        end: &Listing,
        hold_above: Option<u32>,
        now: Timestamp,
    ) -> ListingOutcome {
        let mut outcome = ListingOutcome::default();
        let mut leavers = Vec::new();
        let generation = self.generations[usize::try_from(directory).unwrap()];
        for (row, person) in self.people.iter_mut().enumerate() {
            let unseen = person.directory == directory && person.seen != generation;
            if *end == Listing::Complete && unseen && person.member.standing != Standing::Left {
                person.member.standing = Standing::Left;
                outcome.left_dns.push(person.member.dn.clone());
                outcome.left += 1;
                leavers.push(row);
            }
        }
        for job in 0..self.jobs.len() {
            if leavers.contains(&self.jobs[job].person) {
                self.release(job, now);
            }
        }
        let staged: Vec<usize> = (0..self.jobs.len())
            .filter(|&job| self.jobs[job].state == TaskState::Staged && self.directory(job) == directory)
            .collect();
        let count = staged.len() as u64;
        let hold = hold_above.is_some_and(|limit| count > u64::from(limit));
        for job in staged {
            let state = if hold { TaskState::Held } else { TaskState::Queued };
            self.jobs[job].come_to(state, now);
        }
        (outcome.held, outcome.queued) = if hold { (count, 0) } else { (0, count) };
        outcome
    }

    fn directory(&self, job: usize) -> i64 {
        self.people[self.jobs[job].person].directory
    }

    pub fn claim(&mut self, max: usize, lease: Duration, now: Timestamp) -> Vec<Task> {
        let mut due: Vec<usize> = (0..self.jobs.len())
            .filter(|&job| {
                let job = &self.jobs[job];
                job.state == TaskState::Queued && job.due <= now && job.lease.is_none_or(|end| end <= now)
            })
            .collect();
        due.sort_by_key(|&job| self.jobs[job].due);
        due.truncate(max);
        due.into_iter()
            .map(|number| {
                let directory = self.directory(number).to_string();
                let job = &mut self.jobs[number];
                job.in_doubt |= job.lease.is_some();
                job.lease = Some(now + lease);
                Task {
                    id: i64::try_from(number).unwrap() + 1,
                    address: job.address.clone(),
                    dn: self.people[job.person].member.dn.clone(),
                    directory,
                    attempts: job.attempts,
                    in_doubt: job.in_doubt,
                    arrived: job.arrived,
                }
            })
            .collect()
    }

    pub fn settle(&mut self, id: i64, how: &Settlement, now: Timestamp) {
        let number = usize::try_from(id).unwrap() - 1;
        let Some(job) = self.jobs.get_mut(number) else {
            return;
        };
        let claimed = job.lease.is_some();
        match how {
            Settlement::Done(_) if job.state != TaskState::Done => {
                job.come_to(TaskState::Done, now);
                job.reason.clear();
            }
            Settlement::RetryAt {
                at,
                failed,
                in_doubt,
                error,
            } if claimed => {
                job.due = *at;
                job.attempts += u32::from(*failed);
                job.in_doubt = *in_doubt;
                job.lease = None;
                job.reason.clone_from(error);
            }
            Settlement::Quarantine(reason) if claimed => {
                job.come_to(TaskState::Quarantined, now);
                job.attempts += 1;
                job.reason.clone_from(reason);
            }
            _ => return,
        }
        let job = &self.jobs[number];
        let (person, arrived) = (job.person, job.arrived);
        if job.sent() || self.people[person].holds(&job.address) {
            return;
        }
        self.release(number, now);
        let member = &self.people[person].member;
        if member.standing == Standing::Member {
            let address = member.address.clone().unwrap();
            self.open(person, &address, TaskState::Queued, false, arrived, now);
        }
    }

    /// The numbers of the claimed tasks.
    pub fn claimed(&self) -> Vec<i64> {
        let jobs = (1..).zip(&self.jobs);
        jobs.filter(|(_, job)| job.lease.is_some())
            .map(|(id, _)| id)
            .collect()
    }

    pub fn had_account(&mut self, account: &EmailAddress, now: Timestamp) -> u64 {
        let Some(job) = self.job(account).map(|job| &mut self.jobs[job]) else {
            return 0;
        };
        let free = job.waits() && job.lease.is_none_or(|end| end <= now);
        if free {
            job.come_to(TaskState::Done, now);
            job.reason.clear();
        }
        u64::from(free)
    }

    pub fn checked(
        &mut self,
        begun: Timestamp,
        hold_above: Option<u32>,
        now: Timestamp,
    ) -> Vec<(String, u64)> {
        let mut stay = Vec::new();
        for directory in 1..3 {
            let held = |model: &Self, job: usize| {
                model.jobs[job].state == TaskState::Held && model.directory(job) == directory
            };
            let all: Vec<usize> = (0..self.jobs.len()).filter(|&job| held(self, job)).collect();
            let compared =
                |model: &Self, job: usize| !model.jobs[job].checked && model.jobs[job].since <= begun;
            let new: Vec<usize> = all.iter().copied().filter(|&job| compared(self, job)).collect();
            if hold_above.is_some_and(|limit| new.len() > limit as usize) {
                stay.push((directory.to_string(), all.len() as u64));
            } else {
                for job in new {
                    self.jobs[job].come_to(TaskState::Queued, now);
                    self.jobs[job].checked = true;
                }
            }
        }
        for job in self
            .jobs
            .iter_mut()
            .filter(|job| job.waits() && job.since <= begun)
        {
            job.checked = true;
        }
        stay
    }

    pub fn approve(&mut self, address: Option<&EmailAddress>, now: Timestamp) -> Vec<String> {
        let mut approved = Vec::new();
        for job in &mut self.jobs {
            if job.state == TaskState::Held && address.is_none_or(|address| job.address == *address) {
                job.come_to(TaskState::Queued, now);
                approved.push(job.address.to_string());
            }
        }
        approved
    }

    pub fn retry(&mut self, address: Option<&EmailAddress>, now: Timestamp) -> Vec<String> {
        let mut released = Vec::new();
        for job in &mut self.jobs {
            if job.state == TaskState::Quarantined && address.is_none_or(|address| job.address == *address) {
                job.come_to(TaskState::Queued, now);
                (job.due, job.attempts) = (now, 0);
                job.reason.clear();
                released.push(job.address.to_string());
            }
        }
        released
    }

    pub fn unchecked(&self) -> Unchecked {
        let count = |state| {
            self.jobs
                .iter()
                .filter(|job| job.state == state && !job.checked)
                .count() as u64
        };
        Unchecked {
            queued: count(TaskState::Queued),
            held: count(TaskState::Held),
        }
    }

    pub fn next_due(&self) -> Option<Timestamp> {
        let queued = self.jobs.iter().filter(|job| job.state == TaskState::Queued);
        queued.map(|job| job.lease.unwrap_or(job.due)).min()
    }

    pub fn count(&self, state: TaskState) -> u64 {
        self.jobs.iter().filter(|job| job.state == state).count() as u64
    }

    /// How many members of a directory are present, with and without a usable address.
    pub fn present(&self, directory: i64) -> (u64, u64) {
        let people = self.people.iter().filter(|person| person.directory == directory);
        people.fold((0, 0), |(with, without), person| match person.member.standing {
            Standing::Member => (with + 1, without),
            Standing::WithoutAddress(_) => (with, without + 1),
            Standing::Left => (with, without),
        })
    }

    /// The held tasks in their order of arrival.
    pub fn held(&self) -> Vec<TaskReport> {
        self.list(|job| (job.state == TaskState::Held).then_some(job.arrived))
    }

    /// The quarantined tasks in the order in which they arrived.
    pub fn in_quarantine(&self) -> Vec<TaskReport> {
        self.list(|job| (job.state == TaskState::Quarantined).then_some(job.arrived))
    }

    /// The quarantined tasks, newest first.
    pub fn quarantined(&self) -> Vec<TaskReport> {
        let mut list = self.list(|job| (job.state == TaskState::Quarantined).then_some(job.since));
        list.reverse();
        list
    }

    /// The queued tasks whose last attempt failed, newest first.
    pub fn failing(&self) -> Vec<TaskReport> {
        let mut list = self
            .list(|job| (job.state == TaskState::Queued && !job.reason.is_empty()).then_some(job.arrived));
        list.reverse();
        list
    }

    fn list(&self, order: impl Fn(&Job) -> Option<Timestamp>) -> Vec<TaskReport> {
        let mut jobs: Vec<(Timestamp, usize)> = (0..self.jobs.len())
            .filter_map(|job| Some((order(&self.jobs[job])?, job)))
            .collect();
        jobs.sort();
        jobs.into_iter()
            .map(|(_, number)| {
                let job = &self.jobs[number];
                TaskReport {
                    address: job.address.to_string(),
                    dn: self.people[job.person].member.dn.clone(),
                    directory: self.directory(number).to_string(),
                    reason: job.reason.clone(),
                    attempts: job.attempts,
                    arrived: job.arrived,
                }
            })
            .collect()
    }
}
