//! The certificate that a server presents.
#![no_main]

use ldap_usher::tls::describe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = describe(Some(bytes));
});
