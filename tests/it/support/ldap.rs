//! Encodes LDAP messages, valid or not, for simulated servers.

/// A BER element; lengths above 64 KiB take four bytes, all others two.
pub fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut bytes = match u16::try_from(contents.len()) {
        Ok(length) => [&[tag, 0x82], &length.to_be_bytes()[..]].concat(),
        Err(_) => {
            let length = u32::try_from(contents.len()).unwrap();
            [&[tag, 0x84], &length.to_be_bytes()[..]].concat()
        }
    };
    bytes.extend(contents);
    bytes
}

/// An OCTET STRING.
pub fn octets(contents: impl AsRef<[u8]>) -> Vec<u8> {
    tlv(0x04, contents.as_ref())
}

/// An LDAPMessage (RFC 4511, 4.1.1), with the bytes of its controls, if any.
pub fn message(id: u8, operation: &[u8], controls: &[u8]) -> Vec<u8> {
    let controls = if controls.is_empty() {
        Vec::new()
    } else {
        tlv(0xa0, controls)
    };
    tlv(0x30, &[&tlv(0x02, &[id]), operation, &controls].concat())
}

/// The same for a message id of any size.
pub fn message_to(id: u32, operation: &[u8], controls: &[u8]) -> Vec<u8> {
    match u8::try_from(id) {
        Ok(id @ ..=0x7f) => message(id, operation, controls),
        _ => {
            let short = message(0, operation, controls);
            // The part after a message id of one byte.
            let rest = &short[short.len() - operation.len() - controls_length(controls)..];
            tlv(0x30, &[&tlv(0x02, &id.to_be_bytes()), rest].concat())
        }
    }
}

fn controls_length(controls: &[u8]) -> usize {
    if controls.is_empty() {
        0
    } else {
        tlv(0xa0, controls).len()
    }
}

/// A response that is an LDAPResult, with an empty text.
pub fn result(tag: u8, code: u8) -> Vec<u8> {
    tlv(tag, &[tlv(0x0a, &[code]), octets(""), octets("")].concat())
}

/// A SearchResultEntry with one attribute.
pub fn entry(dn: impl AsRef<[u8]>, attribute: impl AsRef<[u8]>, values: &[impl AsRef<[u8]>]) -> Vec<u8> {
    entry_of(dn, &self::attribute(attribute, values))
}

/// A SearchResultEntry with these attributes, one after the other.
pub fn entry_of(dn: impl AsRef<[u8]>, attributes: &[u8]) -> Vec<u8> {
    tlv(0x64, &[octets(dn), tlv(0x30, attributes)].concat())
}

/// A PartialAttribute.
pub fn attribute(name: impl AsRef<[u8]>, values: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(octets).collect();
    tlv(0x30, &[octets(name), tlv(0x31, &values)].concat())
}

/// An Entry Change Notification control (draft-ietf-ldapext-psearch-03, 5) with these contents, right or wrong.
pub fn entry_change(contents: &[u8]) -> Vec<u8> {
    control("2.16.840.1.113730.3.4.7", &tlv(0x30, contents))
}

/// A control that is not critical.
pub fn control(oid: &str, value: &[u8]) -> Vec<u8> {
    tlv(0x30, &[octets(oid), octets(value)].concat())
}

/// A Sync State Control (RFC 4533, 2.2) with these contents, right or wrong.
pub fn sync_state(contents: &[u8]) -> Vec<u8> {
    control("1.3.6.1.4.1.4203.1.9.1.2", contents)
}

/// The Sync State Control of an entry that is added, for the person of this number.
pub fn added(person: u32) -> Vec<u8> {
    let uuid = [&person.to_be_bytes()[..], &[7; 12]].concat();
    sync_state(&tlv(0x30, &[tlv(0x0a, &[1]), octets(uuid)].concat()))
}

/// A Sync Info Message (RFC 4533, 2.5) with this value, right or wrong.
pub fn sync_info(value: &[u8]) -> Vec<u8> {
    let oid = tlv(0x80, b"1.3.6.1.4.1.4203.1.9.1.4");
    tlv(0x79, &[oid, tlv(0x81, value)].concat())
}

/// The Sync Info Message that ends a refresh, with a cookie.
pub fn refresh_done() -> Vec<u8> {
    sync_info(&tlv(0xa1, &octets("cookie")))
}

/// A SearchResultEntry with several attributes.
pub fn entry_with(dn: &str, attributes: &[(&str, Vec<Vec<u8>>)]) -> Vec<u8> {
    let list: Vec<u8> = attributes
        .iter()
        .flat_map(|(name, values)| {
            let values: Vec<u8> = values.iter().flat_map(octets).collect();
            tlv(0x30, &[octets(name), tlv(0x31, &values)].concat())
        })
        .collect();
    tlv(0x64, &[octets(dn), tlv(0x30, &list)].concat())
}
