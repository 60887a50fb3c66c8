//! What an LDAP server says to a search, through the relay and the LDAP library to the decoders.
#![no_main]

use ldap_usher::directory::fuzzing::conversation;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
}

fuzz_target!(|bytes: &[u8]| RUNTIME.with(|runtime| runtime.block_on(conversation(bytes)).unwrap()));
