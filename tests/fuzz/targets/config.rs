//! A configuration file, and the texts in it that have a grammar of their own.
#![no_main]

use ldap_usher::{config, directory};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    config::fuzz(text);
    let _ = directory::Server::parse(text);
    let _ = text.parse::<directory::Filter>();
});
