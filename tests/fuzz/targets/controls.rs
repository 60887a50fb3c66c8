//! The values of LDAP controls and of Sync Info Messages.
#![no_main]

use ldap_usher::directory::fuzzing::values;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| values(bytes));
