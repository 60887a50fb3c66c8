//! The domain controllers that are trusted outside of their domain.

use super::super::problem::{KeyPath, Problems};
use super::super::schema::DirectoryTable;
use crate::directory::{HostPattern, Server};

/// Says to each domain which controllers are trusted beside its own.
pub(super) fn told(
    table: &DirectoryTable,
    mut servers: Option<Vec<Server>>,
    at: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<Vec<Server>> {
    let mut patterns = Vec::new();
    for text in &table.controllers {
        match HostPattern::parse(text) {
            Ok(pattern) => patterns.push(pattern),
            Err(problem) => problems.error(at, problem),
        }
    }
    let mut is_of_use = table.controllers.is_empty();
    for server in servers.iter_mut().flatten() {
        if let Server::Domain { others, .. } = server {
            others.clone_from(&patterns);
            is_of_use = true;
        }
    }
    if !is_of_use && servers.is_some() {
        problems.error(
            at,
            "is for `url = \"ad:DOMAIN\"`, whose controllers DNS names; leave it out",
        );
    }
    servers
}
