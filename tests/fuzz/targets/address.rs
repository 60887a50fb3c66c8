//! The value of a mail attribute: whatever is accepted is accepted as it is printed.
#![no_main]

use ldap_usher::model::EmailAddress;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(address) = EmailAddress::parse(bytes) {
        assert_eq!(EmailAddress::parse(address.as_str().as_bytes()), Ok(address));
    }
});
