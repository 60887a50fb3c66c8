//! Entries of a directory.

use std::fmt;

/// The identity of an entry: its `entryUUID` (RFC 4530), `nsUniqueId` or `objectGUID`, as 16 bytes in the order of the
/// server's text form, or a short text such as a `uidNumber`. It does not change when the entry is renamed or moved, or
/// when its address changes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId([u8; 16]);

impl EntryId {
    /// From 16 bytes, as in a Sync State control or in the store. `None` for any other length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// From 32 hexadecimal digits with dashes anywhere (the form of RFC 9562, and 389-DS's `nsUniqueId`).
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; 16];
        let mut digits = text.iter().filter(|&&b| b != b'-');
        for byte in &mut bytes {
            let high = char::from(*digits.next()?).to_digit(16)?;
            let low = char::from(*digits.next()?).to_digit(16)?;
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        digits.next().is_none().then_some(Self(bytes))
    }

    /// From a text of 1 to 15 printable ASCII characters, which is stored as it is and padded with zeros. It equals no
    /// UUID of RFC 9562, because in those the first bit of the ninth byte is set.
    pub fn from_text(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; 16];
        bytes[..15].get_mut(..text.len())?.copy_from_slice(text);
        let id = Self(bytes);
        (id.text()?.len() == text.len()).then_some(id)
    }

    /// The text from which it was made; `None` for a UUID.
    pub fn text(&self) -> Option<&str> {
        let end = self.0.iter().position(|&byte| byte == 0)?;
        let (text, zeros) = self.0.split_at(end);
        let printable = text.iter().all(|byte| matches!(byte, b' '..=b'~'));
        (end > 0 && printable && zeros.iter().all(|&byte| byte == 0))
            .then(|| str::from_utf8(text).ok())
            .flatten()
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One attribute and its values, as the server sent them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The attribute description that was requested, even if the server answers with another name of it or with options.
    /// If the server returned only some of the values, a range (MS-ADTS 3.1.1.3.1.3.3) follows, as in
    /// `member;range=0-1499`.
    pub name: String,
    /// The values, in the server's order.
    pub values: Vec<Vec<u8>>,
}

impl Attribute {
    /// The values of the attribute that was requested as `name`, case-insensitive (RFC 4512, 2.5). Values without further
    /// options come first.
    pub fn values_of<'a>(attributes: &'a [Self], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        attributes
            .iter()
            .filter(move |attribute| attribute.is_named(name))
            .flat_map(|attribute| attribute.values.iter().map(Vec::as_slice))
    }

    fn is_named(&self, name: &str) -> bool {
        match self.name.split_at_checked(name.len()) {
            Some((own, "")) => own.eq_ignore_ascii_case(name),
            Some((own, range)) => range.starts_with(";range=") && own.eq_ignore_ascii_case(name),
            None => false,
        }
    }
}

/// An entry that matches the configured filter, with the requested attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The identity.
    pub id: EntryId,
    /// The current DN; for display, never for identity.
    pub dn: String,
    /// The requested attributes that the entry has and the account may read.
    pub attributes: Vec<Attribute>,
}

impl Entry {
    /// The values of an attribute.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        Attribute::values_of(&self.attributes, name)
    }

    /// The approximate size in memory, in bytes.
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter();
        let values = attributes.map(|attribute| {
            let values = attribute.values.iter();
            attribute.name.len()
                + values
                    .map(|value| value.len() + size_of::<Attribute>())
                    .sum::<usize>()
        });
        self.dn.len() + size_of::<Self>() + values.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_found_by_its_name_in_any_case_and_in_ranges() {
        let attributes = ["Mail", "mail;range=0-1", "mailbox", "mail;x-y"].map(|name| Attribute {
            name: name.into(),
            values: vec![name.into()],
        });
        let found: Vec<&[u8]> = Attribute::values_of(&attributes, "mAIL").collect();
        assert_eq!(found, [&b"Mail"[..], b"mail;range=0-1"]);
    }

    #[test]
    fn an_entry_id_reads_both_uuid_and_nsuniqueid_text_and_prints_the_uuid() {
        let uuid = EntryId::parse(b"0b3a1f2e-91f1-4c5a-8d2e-00112233ff55").unwrap();
        let ns = EntryId::parse(b"0b3a1f2e-91f14c5a-8d2e0011-2233ff55").unwrap();
        assert_eq!(uuid, ns);
        assert_eq!(uuid.to_string(), "0b3a1f2e-91f1-4c5a-8d2e-00112233ff55");
    }

    #[test]
    fn an_entry_id_of_another_length_is_none() {
        assert_eq!(EntryId::parse(b"0b3a"), None);
        assert_eq!(EntryId::parse(b"0b3a1f2e-91f1-4c5a-8d2e-00112233ff5500"), None);
        assert_eq!(EntryId::parse(b"zb3a1f2e-91f1-4c5a-8d2e-00112233ff55"), None);
        assert_eq!(EntryId::from_slice(&[0; 15]), None);
    }

    #[test]
    fn a_short_text_is_kept_as_it_is() {
        for text in ["0", "5001", "a*b (c)\\", "123456789012345"] {
            let id = EntryId::from_text(text.as_bytes()).unwrap();
            assert_eq!(id.text(), Some(text));
            assert_eq!(EntryId::from_slice(id.as_bytes()), Some(id));
        }
        for text in ["", "1234567890123456", "j\u{fc}rgen", "a\0", "\0a", "a\nb"] {
            assert_eq!(EntryId::from_text(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_uuid_is_not_a_text() {
        for uuid in [
            "00000000-0000-0000-0000-000000000000",
            "31323334-3536-4738-b900-000000000000",
            "31323334-3536-4738-8900-112233445566",
        ] {
            assert_eq!(EntryId::parse(uuid.as_bytes()).unwrap().text(), None, "{uuid}");
        }
    }
}
