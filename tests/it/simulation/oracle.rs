//! What must hold, told from what happened.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::script::Server;
use crate::support::journal::{address, id};
use ldap_usher::model::{Cursor, Member, Standing};

/// What a person is at some moment: nobody, or a member with or without an address.
type Fate = Option<Option<u8>>;

/// Everything that ever happened in the directory, in order, as its journal has it.
#[derive(Default)]
pub struct Oracle {
    history: Mutex<Vec<(u8, Fate)>>,
    wrong: Mutex<Vec<String>>,
}

impl Oracle {
    /// A person came to this.
    pub fn changed(&self, person: u8, to: Fate) {
        self.history.lock().unwrap().push((person, to));
    }

    /// A cursor was stored: each person must be stored as they were then, or at any time since.
    pub fn committed(&self, members: &[Member], cursor: &Cursor) {
        let covers: usize = std::str::from_utf8(&cursor.0).unwrap().parse().unwrap();
        let history = self.history.lock().unwrap();
        let (past, since) = history.split_at(covers);
        let people: BTreeSet<u8> = history.iter().map(|(person, _)| *person).collect();
        for person in people {
            let of_them = |entry: &&(u8, Fate)| entry.0 == person;
            let then = past.iter().rev().find(of_them).and_then(|(_, fate)| *fate);
            let stored = stored(members, person);
            let later = since.iter().filter(of_them).any(|(_, fate)| same(*fate, &stored));
            if !same(then, &stored) && !later {
                let wrong = format!("the cursor {covers} is ahead of {person}: {stored:?}, not {then:?}");
                self.wrong.lock().unwrap().push(wrong);
            }
        }
    }

    /// Whether every member has an account under one of the addresses that they ever had.
    ///
    /// # Errors
    /// Who has not.
    pub fn everyone_is_invited(&self, server: &Server) -> Result<(), String> {
        let history = self.history.lock().unwrap();
        let people: BTreeSet<u8> = history.iter().map(|(person, _)| *person).collect();
        for person in people {
            let fates: Vec<Fate> = history
                .iter()
                .filter(|entry| entry.0 == person)
                .map(|(_, fate)| *fate)
                .collect();
            let Some(Some(Some(mail))) = fates.last() else {
                continue;
            };
            let mut ever = fates.iter().flatten().flatten();
            if !Server::refuses(*mail) && !ever.any(|&mail| server.has_account(mail)) {
                return Err(format!("{person} is not invited: {fates:?}"));
            }
        }
        Ok(())
    }

    /// Nobody is invited who must not be, and no cursor was ever ahead.
    pub fn verdict(&self, server: &Server) {
        let history = self.history.lock().unwrap();
        let ever: BTreeSet<String> = history
            .iter()
            .filter_map(|(_, fate)| fate.flatten())
            .map(address)
            .collect();
        let accounts = server.accounts.lock().unwrap();
        let strangers: Vec<&String> = accounts.difference(&ever).collect();
        assert!(strangers.is_empty(), "{strangers:?} never were members");
        // Whoever left is invited again when they come back.
        let left: BTreeSet<u8> = history
            .iter()
            .filter(|(_, fate)| fate.is_none())
            .map(|(person, _)| *person)
            .collect();
        let may_be_repeated: BTreeSet<String> = history
            .iter()
            .filter(|(person, _)| left.contains(person))
            .filter_map(|(_, fate)| fate.flatten())
            .map(address)
            .collect();
        let repeated = server.repeated.lock().unwrap();
        let twice: Vec<&String> = repeated.difference(&may_be_repeated).collect();
        assert!(twice.is_empty(), "{twice:?} were invited again");
        assert_eq!(*self.wrong.lock().unwrap(), [""; 0]);
    }
}

/// What the store says that a person is.
fn stored(members: &[Member], person: u8) -> Option<Option<String>> {
    let member = members.iter().find(|member| member.id == id(person))?;
    match &member.standing {
        Standing::Member => Some(member.address.as_ref().map(ToString::to_string)),
        Standing::WithoutAddress(_) => Some(None),
        Standing::Left => None,
    }
}

fn same(fate: Fate, stored: &Option<Option<String>>) -> bool {
    fate.map(|mail| mail.map(address)) == *stored
}
