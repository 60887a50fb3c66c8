//! What the tests stand on.

pub mod service;
pub mod slapd;
pub mod stand_in;
