//! Support for the tests: real servers, stand-ins, a proxy, and the built program.
#![allow(dead_code, reason = "each test takes what it needs")]

pub mod apacheds;
pub mod browser;
pub mod certificates;
pub mod controller;
pub mod daemon;
pub mod dns;
pub mod ds389;
pub mod file_system;
pub mod front;
pub mod instances;
pub mod journal;
pub mod ldap;
pub mod leaving;
pub mod listening;
pub mod offering;
pub mod people;
pub mod postgres;
pub mod proxy;
pub mod queue;
pub mod receiver;
pub mod samba;
pub mod scripted;
pub mod service;
pub mod site;
pub mod slapd;
pub mod stand_in;
pub mod unruly;
pub mod world;
