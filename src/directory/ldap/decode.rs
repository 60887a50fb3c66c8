//! Decodes bytes of the server. Never panics, whatever the bytes are.

use ldap3::ResultEntry;
use ldap3::asn1::{PL, StructureTag};
use ldap3::controls::{Control, RawControl};

use crate::ber::{self, Malformed, Reader};
use crate::model::{Attribute, Entry, EntryId};

pub(crate) const SYNC_STATE: &str = "1.3.6.1.4.1.4203.1.9.1.2";
const SYNC_INFO: &str = "1.3.6.1.4.1.4203.1.9.1.4";
pub(crate) const PAGED_RESULTS: &str = "1.2.840.113556.1.4.319";
pub(crate) const ENTRY_CHANGE: &str = "2.16.840.1.113730.3.4.7";

/// A search result entry (RFC 4511, 4.5.2).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RawEntry {
    pub dn: String,
    pub attributes: Vec<Attribute>,
}

impl RawEntry {
    /// The values of an attribute.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        Attribute::values_of(&self.attributes, name)
    }

    /// Converts the entry to a person. Drops values beyond the largest size of a person.
    pub(crate) fn into_entry(self, id: EntryId) -> Entry {
        let mut attributes = self.attributes;
        let mut left = LARGEST_PERSON;
        for attribute in &mut attributes {
            let of_name = attribute.name.len();
            attribute.values.retain(|value| {
                let size = of_name + value.len() + size_of::<Attribute>();
                let fits = size <= left;
                left -= if fits { size } else { 0 };
                fits
            });
            attribute.values.shrink_to_fit();
        }
        attributes.retain(|attribute| !attribute.values.is_empty());
        attributes.shrink_to_fit();
        Entry {
            id,
            dn: self.dn,
            attributes,
        }
    }
}

/// The largest size of a value in bytes: no address and no name is longer.
const LONGEST_VALUE: usize = 8192;
/// The number of bytes that are kept of a longer value, so that people recognise it.
const BEGINNING: usize = 200;
/// The largest memory of the attributes of a person, in bytes. Values beyond it are dropped.
const LARGEST_PERSON: usize = 256 * 1024;

/// Decodes an entry.
pub(crate) fn entry(message: ResultEntry) -> Result<RawEntry, Malformed> {
    const SHAPE: &str = "is no search result entry";
    let mut parts = constructed(message.0, SHAPE)?.into_iter();
    let dn = text(parts.next(), "has no DN, or one that is not UTF-8")?;
    let list = constructed(parts.next().ok_or(Malformed(SHAPE))?, SHAPE)?;
    let attributes = list
        .into_iter()
        .map(|attribute| {
            let mut parts = constructed(attribute, "has a malformed attribute")?.into_iter();
            let name = text(parts.next(), "has an attribute without a name")?;
            let values = constructed(
                parts.next().ok_or(Malformed("has an attribute without values"))?,
                "has a malformed attribute",
            )?
            .into_iter()
            .map(|value| primitive(value, "has a malformed value").map(no_longer))
            .collect::<Result<_, _>>()?;
            Ok(Attribute { name, values })
        })
        .collect::<Result<_, _>>()?;
    Ok(RawEntry { dn, attributes })
}

/// The first URL of a search result reference (RFC 4511, 4.5.3).
pub(crate) fn reference(message: ResultEntry) -> String {
    let urls = match message.0.payload {
        PL::C(urls) => urls,
        PL::P(_) => Vec::new(),
    };
    text(urls.into_iter().next(), "").unwrap_or_else(|_| "a place that cannot be read".to_owned())
}

fn constructed(tag: StructureTag, or: &'static str) -> Result<Vec<StructureTag>, Malformed> {
    match tag.payload {
        PL::C(parts) => Ok(parts),
        PL::P(_) => Err(Malformed(or)),
    }
}

fn primitive(tag: StructureTag, or: &'static str) -> Result<Vec<u8>, Malformed> {
    match tag.payload {
        PL::P(bytes) => Ok(bytes),
        PL::C(_) => Err(Malformed(or)),
    }
}

/// Cuts a value that is too long, and appends a remark that no address and no name ends with.
fn no_longer(mut value: Vec<u8>) -> Vec<u8> {
    if value.len() > LONGEST_VALUE {
        let words = format!("... (cut, {} bytes)", value.len());
        value.truncate(BEGINNING);
        value.extend(words.into_bytes());
        value.shrink_to_fit();
    }
    value
}

fn text(tag: Option<StructureTag>, or: &'static str) -> Result<String, Malformed> {
    let bytes = primitive(tag.ok_or(Malformed(or))?, or)?;
    String::from_utf8(bytes).map_err(|_| Malformed(or))
}

/// The value of a control, if it is among `controls`.
pub(crate) fn control<'a>(controls: &'a [Control], oid: &str) -> Option<&'a [u8]> {
    controls
        .iter()
        .map(|Control(_, raw)| raw)
        .find(|raw| raw.ctype == oid)
        .map(|raw| raw.val.as_deref().unwrap_or_default())
}

/// The state of an entry in a content synchronisation (RFC 4533, 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryState {
    Present,
    Add,
    Modify,
    Delete,
}

/// The Sync State Control (RFC 4533, 2.2).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyncState {
    pub state: EntryState,
    pub id: EntryId,
    pub cookie: Option<Vec<u8>>,
}

pub(crate) fn sync_state(value: &[u8]) -> Result<SyncState, Malformed> {
    let mut parts = Reader::new(Reader::new(value).expect(ber::SEQUENCE, "is no sequence")?);
    let state = match ber::integer(parts.expect(ber::ENUMERATED, "has no state")?)? {
        0 => EntryState::Present,
        1 => EntryState::Add,
        2 => EntryState::Modify,
        3 => EntryState::Delete,
        _ => return Err(Malformed("has a state that RFC 4533 does not know")),
    };
    let id = uuid(parts.expect(ber::OCTET_STRING, "has no entryUUID")?)?;
    let cookie = parts.optional(ber::OCTET_STRING)?.map(<[u8]>::to_vec);
    Ok(SyncState { state, id, cookie })
}

fn uuid(bytes: &[u8]) -> Result<EntryId, Malformed> {
    EntryId::from_slice(bytes).ok_or(Malformed("has an entryUUID that is not 16 bytes"))
}

/// The Sync Info Message (RFC 4533, 2.5).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SyncInfo {
    NewCookie(Vec<u8>),
    RefreshDelete { cookie: Option<Vec<u8>>, done: bool },
    RefreshPresent { cookie: Option<Vec<u8>>, done: bool },
    IdSet { deletes: bool, ids: Vec<EntryId> },
}

/// Decodes an intermediate response; `None` if it is not a Sync Info Message.
pub(crate) fn sync_info(message: ResultEntry) -> Result<Option<SyncInfo>, Malformed> {
    let mut name = None;
    let mut value = Vec::new();
    for part in constructed(message.0, "is no intermediate response")? {
        match part.id {
            0 => name = Some(primitive(part, "has a malformed name")?),
            1 => value = primitive(part, "has a malformed value")?,
            _ => {}
        }
    }
    if name.as_deref() != Some(SYNC_INFO.as_bytes()) {
        return Ok(None);
    }
    sync_info_value(&value).map(Some)
}

pub(crate) fn sync_info_value(value: &[u8]) -> Result<SyncInfo, Malformed> {
    let (tag, contents) = Reader::new(value).next()?.ok_or(Malformed("is empty"))?;
    let mut parts = Reader::new(contents);
    match tag {
        0x80 => Ok(SyncInfo::NewCookie(contents.to_vec())),
        0xa1 | 0xa2 => {
            let cookie = parts.optional(ber::OCTET_STRING)?.map(<[u8]>::to_vec);
            let done = parts
                .optional(ber::BOOLEAN)?
                .map(ber::boolean)
                .transpose()?
                .unwrap_or(true);
            Ok(if tag == 0xa1 {
                SyncInfo::RefreshDelete { cookie, done }
            } else {
                SyncInfo::RefreshPresent { cookie, done }
            })
        }
        0xa3 => {
            // The cookie of a set is not a resume point: it covers changes that are sent later.
            parts.optional(ber::OCTET_STRING)?;
            let deletes = parts
                .optional(ber::BOOLEAN)?
                .map(ber::boolean)
                .transpose()?
                .unwrap_or(false);
            let mut set = Reader::new(parts.expect(ber::SET, "has no set of entryUUIDs")?);
            let mut ids = Vec::new();
            while !set.is_empty() {
                ids.push(uuid(set.expect(ber::OCTET_STRING, "has a malformed entryUUID")?)?);
            }
            Ok(SyncInfo::IdSet { deletes, ids })
        }
        _ => Err(Malformed("is of a kind that RFC 4533 does not know")),
    }
}

/// The cookie of a paged results response (RFC 2696); empty on the last page.
pub(crate) fn page_cookie(value: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut parts = Reader::new(Reader::new(value).expect(ber::SEQUENCE, "is no sequence")?);
    parts.expect(ber::INTEGER, "has no size")?;
    Ok(parts.expect(ber::OCTET_STRING, "has no cookie")?.to_vec())
}

/// What happened to an entry (draft-ietf-ldapext-psearch-03, 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryChange {
    Added,
    Deleted,
    Modified,
    Renamed,
}

/// Decodes the Entry Change Notification control. The former DN and the change number, which are optional, are only checked
/// for their form.
pub(crate) fn entry_change(value: &[u8]) -> Result<EntryChange, Malformed> {
    let mut parts = Reader::new(Reader::new(value).expect(ber::SEQUENCE, "is no sequence")?);
    let change = match ber::integer(parts.expect(ber::ENUMERATED, "has no change type")?)? {
        1 => EntryChange::Added,
        2 => EntryChange::Deleted,
        4 => EntryChange::Modified,
        8 => EntryChange::Renamed,
        _ => return Err(Malformed("has a change type that no draft knows")),
    };
    parts.optional(ber::OCTET_STRING)?;
    parts.optional(ber::INTEGER)?.map(ber::integer).transpose()?;
    Ok(change)
}

/// Makes a request control critical.
pub(crate) fn critical(control: impl Into<RawControl>) -> RawControl {
    RawControl {
        crit: true,
        ..control.into()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::directory::ldap::requested_attributes::{self, RequestedAttributes};
    use ldap3::asn1::TagClass;
    use proptest::prelude::*;

    fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag, u8::try_from(contents.len()).unwrap()];
        bytes.extend(contents);
        bytes
    }

    #[test]
    fn a_sync_state_is_read_with_and_without_cookie() {
        let mut contents = tlv(ber::ENUMERATED, &[2]);
        contents.extend(tlv(ber::OCTET_STRING, &[7; 16]));
        let id = EntryId::from_slice(&[7; 16]).unwrap();
        let state = sync_state(&tlv(ber::SEQUENCE, &contents)).unwrap();
        assert_eq!(
            state,
            SyncState {
                state: EntryState::Modify,
                id,
                cookie: None
            }
        );
        contents.extend(tlv(ber::OCTET_STRING, b"rid=000"));
        let state = sync_state(&tlv(ber::SEQUENCE, &contents)).unwrap();
        assert_eq!(state.cookie.as_deref(), Some(&b"rid=000"[..]));
    }

    #[test]
    fn sync_info_messages_take_their_defaults_from_the_rfc() {
        assert_eq!(
            sync_info_value(&tlv(0xa1, &[])),
            Ok(SyncInfo::RefreshDelete {
                cookie: None,
                done: true
            })
        );
        assert_eq!(
            sync_info_value(&tlv(0xa2, &tlv(ber::BOOLEAN, &[0]))),
            Ok(SyncInfo::RefreshPresent {
                cookie: None,
                done: false
            })
        );
        let ids = [tlv(ber::OCTET_STRING, &[1; 16]), tlv(ber::OCTET_STRING, &[2; 16])].concat();
        let Ok(SyncInfo::IdSet { deletes: false, ids }) = sync_info_value(&tlv(0xa3, &tlv(ber::SET, &ids)))
        else {
            panic!("no set of ids")
        };
        assert_eq!(ids.len(), 2);
        assert_eq!(
            sync_info_value(&tlv(0x80, b"csn")),
            Ok(SyncInfo::NewCookie(b"csn".to_vec()))
        );
    }

    #[test]
    fn an_entry_change_is_read_with_and_without_what_is_optional() {
        let mut contents = tlv(ber::ENUMERATED, &[8]);
        assert_eq!(
            entry_change(&tlv(ber::SEQUENCE, &contents)),
            Ok(EntryChange::Renamed)
        );
        contents.extend(tlv(ber::OCTET_STRING, b"uid=ann"));
        contents.extend(tlv(ber::INTEGER, &[1, 0]));
        assert_eq!(
            entry_change(&tlv(ber::SEQUENCE, &contents)),
            Ok(EntryChange::Renamed)
        );
    }

    #[test]
    fn malformed_values_are_errors_in_words() {
        assert!(entry_change(&tlv(ber::SEQUENCE, &tlv(ber::ENUMERATED, &[3]))).is_err());
        assert!(entry_change(&tlv(ber::SEQUENCE, &[])).is_err());
        assert!(sync_state(b"").is_err());
        assert!(sync_state(&tlv(ber::SEQUENCE, &tlv(ber::ENUMERATED, &[4]))).is_err());
        assert!(sync_info_value(&tlv(0xa3, &tlv(ber::SET, &tlv(ber::OCTET_STRING, &[1; 15])))).is_err());
        assert!(page_cookie(&tlv(ber::SEQUENCE, &[])).is_err());
    }

    fn any_tag() -> impl Strategy<Value = StructureTag> {
        let leaf =
            (0u64..32, proptest::collection::vec(any::<u8>(), 0..20)).prop_map(|(id, bytes)| StructureTag {
                class: TagClass::Universal,
                id,
                payload: PL::P(bytes),
            });
        leaf.prop_recursive(4, 32, 4, |inner| {
            (0u64..32, proptest::collection::vec(inner, 0..4)).prop_map(|(id, parts)| StructureTag {
                class: TagClass::Universal,
                id,
                payload: PL::C(parts),
            })
        })
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (sync_state(&bytes), sync_info_value(&bytes), page_cookie(&bytes), entry_change(&bytes));
            let wrapped = tlv(ber::SEQUENCE, &bytes);
            let _ = (sync_state(&wrapped), page_cookie(&wrapped), entry_change(&wrapped));
            let _ = sync_info_value(&tlv(0xa3, &bytes));
        }

        #[test]
        fn arbitrary_trees_never_panic(tag in any_tag()) {
            let message = |tag: &StructureTag| { let mut m = ResultEntry::new(tag.clone()); m.1.clear(); m };
            let _ = (entry(message(&tag)), sync_info(message(&tag)), reference(message(&tag)));
            let mut named = message(&tag);
            requested_attributes::rename_as_requested(&mut named, &mut RequestedAttributes::new(Arc::default(), &["mail".to_owned()]));
            let _ = entry(named);
        }
    }
}
