//! What the tests stand on.
#![allow(dead_code, reason = "each test takes what it needs")]

pub mod people;
pub mod service;
pub mod slapd;
pub mod stand_in;
pub mod world;
