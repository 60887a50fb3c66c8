//! Flow control of one connection: the requests under way, and the answers that wait in `ldap3`.
//!
//! `ldap3` forwards the results of each search through an unbounded channel. So the relay counts what it forwards, the
//! session counts what it takes, and while too much waits in between the relay reads nothing more from the server. The answer
//! of another search may be behind what waits: [`Traffic::is_stuck`] tells that search so, instead of a time-out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::ber::{self, Malformed, Reader};
use crate::foreign;

pub(crate) const BIND_REQUEST: u8 = 0x60;
pub(crate) const SEARCH_REQUEST: u8 = 0x63;
/// In place of the tag of a request: its result was relayed.
const FINISHED: u8 = 0;

/// The largest memory of all waiting messages, in bytes. A single message may need more.
const ROOM: usize = 8 * 1024 * 1024;
/// The memory that `ldap3` needs for each element besides its bytes.
const ELEMENT: usize = 80;
/// The largest number of answers without a request. A few are normal: they answer requests that have ended.
const MAX_STRAY: u32 = 1000;

/// The flow control of one connection, shared by its relay and its session.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    state: Mutex<State>,
    /// Notified when messages were taken.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    requests: HashMap<i64, Outstanding>,
    /// Searches that were given up before their requests were sent.
    given_up: HashSet<i64>,
    /// The memory of all waiting messages, in bytes.
    waiting: usize,
    /// Whether the relay waits for room.
    full: bool,
    stray: u32,
    skipped: Option<Skipped>,
}

#[derive(Debug)]
struct Outstanding {
    /// The tag of the request.
    operation: u8,
    /// The memory of each message that was relayed and not taken yet.
    waiting: VecDeque<usize>,
    /// Whether the search was given up.
    given_up: bool,
}

/// The request that a message answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// The request with this tag.
    Request(u8),
    /// A search that was given up.
    Abandoned,
}

/// Entries that were ignored because their DN is too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Skipped {
    /// The number of them.
    pub count: u64,
    /// The beginning of the first DN.
    pub first: String,
}

impl Traffic {
    /// The memory that a message needs, in bytes.
    pub(crate) fn weight(bytes: usize, elements: usize) -> usize {
        bytes.saturating_add(elements.saturating_mul(ELEMENT))
    }

    // -- used by the relay --------------------------------------------------------------------------------------

    /// Records a request that is sent.
    pub(crate) fn sent(&self, request: &[u8]) -> Result<(), Malformed> {
        let mut outer = Reader::new(request);
        let mut parts = Reader::new(outer.expect(ber::SEQUENCE, "is not an LDAP message")?);
        let id = ber::integer(parts.expect(ber::INTEGER, "has no message id")?)?;
        if let Some(operation @ (BIND_REQUEST | SEARCH_REQUEST)) = parts.peek() {
            let mut state = self.lock();
            let given_up = state.given_up.remove(&id);
            let asked = Outstanding {
                operation,
                waiting: VecDeque::new(),
                given_up,
            };
            state.requests.insert(id, asked);
        }
        Ok(())
    }

    /// The request that a message with this id answers; `None` if there is none.
    ///
    /// # Errors
    /// There were too many answers without a request.
    pub(crate) fn answers(&self, id: i64) -> Result<Option<Answers>, TooManyStray> {
        let mut state = self.lock();
        match state.requests.get(&id) {
            Some(Outstanding { given_up: true, .. }) => return Ok(Some(Answers::Abandoned)),
            Some(asked) if asked.operation != FINISHED => return Ok(Some(Answers::Request(asked.operation))),
            _ => {}
        }
        state.stray += 1;
        if state.stray > MAX_STRAY {
            Err(TooManyStray)
        } else {
            Ok(None)
        }
    }

    /// Forgets a search that was given up, when its result arrives.
    pub(crate) fn finished(&self, id: i64) {
        self.lock().requests.remove(&id);
    }

    /// Waits until a message of this weight may be relayed.
    ///
    /// # Cancellation
    /// Safe.
    pub(crate) async fn room_for(&self, weight: usize) {
        while !self.has_room_for(weight) {
            self.room.notified().await;
        }
    }

    /// Whether a message of this weight may be relayed.
    pub(crate) fn has_room_for(&self, weight: usize) -> bool {
        let mut state = self.lock();
        let room = state.waiting == 0 || state.waiting.saturating_add(weight) <= ROOM;
        state.full = !room;
        room
    }

    /// Records a message that is relayed; `last` is the last one of its request.
    pub(crate) fn passed(&self, id: i64, weight: usize, last: bool) {
        let mut state = self.lock();
        let Some(asked) = state.requests.get_mut(&id) else {
            return;
        };
        // The answer to a bind is taken without a call of `taken`.
        let counts = asked.operation == SEARCH_REQUEST && !asked.given_up;
        if counts {
            asked.waiting.push_back(weight);
        }
        if last {
            asked.operation = FINISHED;
        }
        if last && !counts {
            state.requests.remove(&id);
        } else if counts {
            state.waiting += weight;
        }
    }

    /// Records an entry that is ignored because of its DN.
    pub(crate) fn skipped(&self, name: &[u8]) {
        let mut state = self.lock();
        let first = || Skipped {
            count: 0,
            first: foreign::shown_bytes(name),
        };
        state.skipped.get_or_insert_with(first).count += 1;
    }

    // -- used by the session ------------------------------------------------------------------------------------

    /// Records that a message of this search was taken. Returns its weight.
    pub(crate) fn taken(&self, id: i64) -> usize {
        let mut state = self.lock();
        let Some(asked) = state.requests.get_mut(&id) else {
            return 0;
        };
        let weight = asked.waiting.pop_front().unwrap_or_default();
        if asked.operation == FINISHED && asked.waiting.is_empty() {
            state.requests.remove(&id);
        }
        state.waiting = state.waiting.saturating_sub(weight);
        self.room.notify_one();
        weight
    }

    /// Gives up a search: its answers are ignored from now on.
    pub(crate) fn give_up(&self, id: i64) {
        let mut state = self.lock();
        let freed = match state.requests.get_mut(&id) {
            Some(asked) => {
                asked.given_up = true;
                std::mem::take(&mut asked.waiting).into_iter().sum()
            }
            None => 0,
        };
        match state.requests.get(&id).map(|asked| asked.operation) {
            Some(FINISHED) => drop(state.requests.remove(&id)),
            Some(_) => {}
            None => drop(state.given_up.insert(id)),
        }
        state.waiting = state.waiting.saturating_sub(freed);
        self.room.notify_one();
    }

    /// Whether the relay waits for room and no message of these searches waits: their answers can come only after messages of
    /// other searches were taken.
    pub(crate) fn is_stuck(&self, searches: &[i64]) -> bool {
        let state = self.lock();
        state.full
            && searches.iter().all(|id| {
                let asked = state.requests.get(id);
                asked.is_none_or(|asked| asked.waiting.is_empty())
            })
    }

    /// The entries that were ignored since the last call.
    pub(crate) fn take_skipped(&self) -> Option<Skipped> {
        self.lock().skipped.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Traffic::answers`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooManyStray;

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const STREAM: i64 = 2;
    const PROBE: i64 = 3;

    fn traffic() -> Traffic {
        let traffic = Traffic::default();
        for id in [STREAM, PROBE] {
            let id = u8::try_from(id).unwrap();
            traffic
                .sent(&[0x30, 0x05, 0x02, 0x01, id, SEARCH_REQUEST, 0x00])
                .unwrap();
        }
        traffic
    }

    #[test]
    fn what_waits_is_bounded_and_one_message_alone_may_be_larger() {
        let traffic = traffic();
        assert!(traffic.has_room_for(2 * ROOM));
        traffic.passed(STREAM, 2 * ROOM, false);
        assert!(traffic.room_for(1).now_or_never().is_none());
        assert_eq!(traffic.taken(STREAM), 2 * ROOM);
        assert!(traffic.room_for(1).now_or_never().is_some());
    }

    #[test]
    fn who_waits_behind_a_flood_is_stuck_and_the_flood_itself_is_not() {
        let traffic = traffic();
        traffic.passed(STREAM, ROOM, false);
        assert!(!traffic.is_stuck(&[PROBE]), "there is room");
        assert!(!traffic.has_room_for(1));
        assert!(traffic.is_stuck(&[PROBE]));
        assert!(!traffic.is_stuck(&[STREAM]) && !traffic.is_stuck(&[PROBE, STREAM]));
        traffic.taken(STREAM);
        assert!(traffic.has_room_for(1) && !traffic.is_stuck(&[PROBE]));
    }

    #[test]
    fn a_search_that_is_given_up_takes_no_room_and_its_answers_are_ignored() {
        let traffic = traffic();
        traffic.passed(STREAM, ROOM, false);
        traffic.give_up(STREAM);
        assert!(traffic.has_room_for(ROOM));
        assert_eq!(traffic.answers(STREAM), Ok(Some(Answers::Abandoned)));
        // Given up before the request was seen.
        traffic.give_up(4);
        traffic
            .sent(&[0x30, 0x05, 0x02, 0x01, 4, SEARCH_REQUEST, 0x00])
            .unwrap();
        assert_eq!(traffic.answers(4), Ok(Some(Answers::Abandoned)));
    }

    #[test]
    fn after_its_result_a_request_is_over_and_what_waits_is_taken_all_the_same() {
        let traffic = traffic();
        traffic.passed(PROBE, 7, false);
        traffic.passed(PROBE, 8, true);
        assert_eq!((traffic.taken(PROBE), traffic.taken(PROBE)), (7, 8));
        assert_eq!(traffic.answers(PROBE), Ok(None));
        for _ in 1..MAX_STRAY {
            assert_eq!(traffic.answers(99), Ok(None));
        }
        assert_eq!(traffic.answers(99), Err(TooManyStray));
    }
}
