//! `controllers`: domain controllers whose names are outside their domain.

use super::super::problem::{KeyPath, Problems};
use super::super::schema::DirectoryTable;
use crate::directory::{HostPattern, Server};

/// Adds the configured controllers to each server that is a domain.
pub(super) fn add_to_domains(
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
    let mut is_used = table.controllers.is_empty();
    for server in servers.iter_mut().flatten() {
        if let Server::Domain { others, .. } = server {
            others.clone_from(&patterns);
            is_used = true;
        }
    }
    if !is_used && servers.is_some() {
        problems.error(
            at,
            "is for `url = \"ad:DOMAIN\"` only, where DNS names the controllers; leave it out",
        );
    }
    servers
}
