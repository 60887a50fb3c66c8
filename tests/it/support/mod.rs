//! What the tests stand on.
#![allow(dead_code, reason = "each test takes what it needs")]

pub mod in_memory;
pub mod journal;
pub mod ldap;
pub mod model;
pub mod people;
pub mod proxy;
pub mod scripted;
pub mod service;
pub mod site;
pub mod slapd;
pub mod stand_in;
pub mod world;
