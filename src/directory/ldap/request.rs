//! Searches: the request, the search under way, and its messages.

use std::sync::Arc;

use ldap3::controls::RawControl;
use ldap3::{LdapResult, ResultEntry, Scope, SearchStream};

use crate::directory::ldap::references::References;
use crate::directory::ldap::requested_attributes::RequestedAttributes;
use crate::directory::ldap::traffic::Traffic;

/// What to search for.
pub(crate) struct Request<'a> {
    pub base: &'a str,
    pub scope: Scope,
    pub filter: &'a str,
    pub attributes: Vec<String>,
    pub controls: Vec<RawControl>,
}

/// A search under way. Dropping it gives it up: later answers need no memory.
pub(crate) struct Search {
    pub(crate) stream: SearchStream<'static, String, Vec<String>>,
    /// Its message id.
    pub(crate) id: i64,
    pub(crate) traffic: Arc<Traffic>,
    /// The memory of the last message, in bytes.
    pub(crate) weight: usize,
    pub(crate) done: bool,
    pub(crate) references: References,
    pub(crate) asked: RequestedAttributes,
}

impl Search {
    /// The references so far. None is followed.
    pub(crate) fn references(&self) -> &References {
        &self.references
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        if !self.done {
            self.traffic.give_up(self.id);
        }
    }
}

/// Whether searches end by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// They report changes until the connection ends.
    Never,
    /// One of them does. The log shows if it takes long.
    Some,
}

/// One message of a search.
pub(crate) enum Item {
    /// An entry or an intermediate response.
    Message(ResultEntry),
    /// The result; nothing follows.
    Done(LdapResult),
}
