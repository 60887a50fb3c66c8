//! What Vaultwarden answers; a list reads the same however it is cut.
#![no_main]

use ldap_usher::vaultwarden::fuzzing::{body, list};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    body(bytes);
    assert_eq!(list(bytes, bytes.len()), list(bytes, 1));
});
