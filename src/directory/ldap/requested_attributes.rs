//! Maps the attributes in an answer to those in the request: servers answer with their preferred name, or with the name in
//! the stored entry, and may add options (RFC 4512, 2.5).
//!
//! Each attribute of an answer gets the description in the request as soon as the answer arrives, so that readers of entries
//! need no other names.

use std::borrow::Cow;
use std::sync::Arc;

use ldap3::ResultEntry;
use ldap3::asn1::PL;

use crate::directory::ldap::schema::Schema;
use crate::model::description;

/// The largest number of descriptions in the answers to one search that are remembered. Others are looked up each time.
const MAX_REMEMBERED: usize = 64;

/// The attributes of one search.
#[derive(Debug)]
pub(crate) struct RequestedAttributes {
    schema: Arc<Schema>,
    /// Whether all attributes are requested.
    everything: bool,
    requested: Vec<Requested>,
    /// The meaning of descriptions in answers; servers repeat the same few in each entry.
    remembered: Vec<(Vec<u8>, Vec<Named>)>,
}

/// A requested attribute.
#[derive(Debug)]
struct Requested {
    description: String,
    key: String,
    options: Vec<String>,
}

/// The requested attribute to which an attribute of an answer belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// The description in the request.
    pub(crate) description: String,
    /// Whether it has more options than requested: values without them come first.
    pub(crate) is_variant: bool,
}

impl RequestedAttributes {
    /// The attributes of a search request (RFC 4511, 4.5.1.8).
    pub(crate) fn new(schema: Arc<Schema>, attributes: &[String]) -> Self {
        let mut requested: Vec<Requested> = Vec::new();
        for description in attributes {
            if requested
                .iter()
                .any(|wish| wish.description.eq_ignore_ascii_case(description))
            {
                continue;
            }
            let (name, options) = description::split(description);
            requested.push(Requested {
                key: schema.key(name).into_owned(),
                options: listed(options),
                description: description.clone(),
            });
        }
        let all = |name: &String| name == "*" || name == "+";
        Self {
            everything: attributes.is_empty() || attributes.iter().any(all),
            schema,
            requested,
            remembered: Vec::new(),
        }
    }

    /// The meanings of a description in an answer; none if it was not requested.
    pub(crate) fn meaning(&mut self, answered: &[u8]) -> Cow<'_, [Named]> {
        match self.remembered.iter().position(|(known, _)| known == answered) {
            Some(at) => Cow::Borrowed(&self.remembered[at].1),
            None => {
                let meaning = self.look_up(answered);
                if self.remembered.len() < MAX_REMEMBERED {
                    self.remembered.push((answered.to_vec(), meaning.clone()));
                }
                Cow::Owned(meaning)
            }
        }
    }

    fn look_up(&self, answered: &[u8]) -> Vec<Named> {
        let Ok(answered) = std::str::from_utf8(answered) else {
            return Vec::new();
        };
        let (name, options) = description::split(answered);
        let (key, options) = (self.schema.key(name), listed(options));
        // A range (MS-ADTS 3.1.1.3.1.3.3) shows which part of the values this is, so it stays in the description.
        let range = description::range(answered);
        let matching = self.requested.iter().filter(|wish| {
            let fits = |wished: &String| options.iter().any(|option| is_within(option, wished));
            wish.key == key && wish.options.iter().all(fits)
        });
        let mut named: Vec<Named> = matching
            .map(|wish| Named {
                description: match range {
                    Some(range) => format!("{};{range}", description::without_range(&wish.description)),
                    None => wish.description.clone(),
                },
                is_variant: wish.options.len() < options.len(),
            })
            .collect();
        if named.is_empty() && self.everything {
            named.push(Named {
                description: answered.to_owned(),
                is_variant: false,
            });
        }
        named
    }
}

/// The options, except ranges and `binary`, which concern only the transfer of values.
fn listed(options: &str) -> Vec<String> {
    let options = options.split(';').map(str::to_ascii_lowercase);
    options
        .filter(|option| !option.is_empty() && option != "binary" && !option.starts_with("range="))
        .collect()
}

/// Whether an option is the requested one, or within a requested range of languages (RFC 3866, 3: `lang-en-`).
fn is_within(option: &str, wished: &str) -> bool {
    option == wished
        || wished
            .strip_suffix('-')
            .is_some_and(|language| option == language || option.starts_with(wished))
}

/// Gives each attribute of an entry the description in the request, once for each if there are several, and drops attributes
/// that were not requested. Values with additional options follow those without. Other messages stay unchanged.
pub(crate) fn rename_as_requested(message: &mut ResultEntry, asked: &mut RequestedAttributes) {
    let PL::C(parts) = &mut message.0.payload else {
        return;
    };
    let Some(PL::C(list)) = parts.get_mut(1).map(|list| &mut list.payload) else {
        return;
    };
    let mut copies = Vec::new();
    let mut variants = Vec::new();
    list.retain_mut(|attribute| {
        let PL::C(parts) = &mut attribute.payload else {
            return true;
        };
        let Some(PL::P(name)) = parts.first_mut().map(|name| &mut name.payload) else {
            return true;
        };
        // `decode::entry` reports a description that is not UTF-8.
        if std::str::from_utf8(name).is_err() {
            return true;
        }
        let meaning = asked.meaning(name);
        if let [
            Named {
                description,
                is_variant: false,
            },
        ] = &*meaning
        {
            if name != description.as_bytes() {
                description.as_bytes().clone_into(name);
            }
            return true;
        }
        for Named {
            description,
            is_variant,
        } in &*meaning
        {
            let mut copy = attribute.clone();
            if let PL::C(parts) = &mut copy.payload
                && let Some(name) = parts.first_mut()
            {
                name.payload = PL::P(description.clone().into_bytes());
            }
            if *is_variant { &mut variants } else { &mut copies }.push(copy);
        }
        false
    });
    list.append(&mut copies);
    list.append(&mut variants);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::ldap::decode::entry;
    use ldap3::asn1::{StructureTag, TagClass};

    fn named(asked: &[&str], answered: &str) -> Vec<String> {
        let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
        let mut asked = RequestedAttributes::new(Arc::default(), &asked);
        let meaning = asked.meaning(answered.as_bytes()).into_owned();
        assert_eq!(*asked.meaning(answered.as_bytes()), meaning);
        meaning.into_iter().map(|named| named.description).collect()
    }

    #[test]
    fn an_answer_bears_the_name_by_which_it_was_asked_for() {
        for (asked, answered, names) in [
            ("mail", "Mail", &["mail"][..]),
            ("mail", "rfc822mailbox", &["mail"]),
            ("rfc822Mailbox", "mail", &["rfc822Mailbox"]),
            (
                "0.9.2342.19200300.100.1.3",
                "mail;lang-de",
                &["0.9.2342.19200300.100.1.3"],
            ),
            ("mail", "mail;binary", &["mail"]),
            ("mail;binary", "mail", &["mail;binary"]),
            ("mail;lang-de", "MAIL;x-work;LANG-DE", &["mail;lang-de"]),
            ("mail;lang-en-", "mail;lang-en-gb", &["mail;lang-en-"]),
            ("mail;lang-de", "mail", &[]),
            ("mail;lang-de", "mail;lang-de-at", &[]),
            ("mail", "mailAlternateAddress", &[]),
            ("member", "member;range=0-1499", &["member;range=0-1499"]),
            (
                "member;range=1500-*",
                "2.5.4.31;range=1500-*",
                &["member;range=1500-*"],
            ),
            ("1.1", "mail", &[]),
            ("*", "Mail;x-y", &["Mail;x-y"]),
            ("mail", "\u{fffd}", &[]),
        ] {
            assert_eq!(named(&[asked], answered), names, "{asked}: {answered}");
        }
        assert_eq!(
            named(&["mail", "MAIL", "rfc822Mailbox"], "mail"),
            ["mail", "rfc822Mailbox"]
        );
    }

    #[test]
    fn values_without_options_come_first() {
        let asked = ["mail", "cn;lang-de"].map(str::to_owned);
        let mut asked = RequestedAttributes::new(Arc::default(), &asked);
        for (answered, is_variant) in [
            ("mail", false),
            ("rfc822Mailbox", false),
            ("mail;lang-de", true),
            ("cn;lang-de", false),
            ("cn;lang-de;x-y", true),
        ] {
            assert_eq!(
                asked.meaning(answered.as_bytes())[0].is_variant,
                is_variant,
                "{answered}"
            );
        }
    }

    #[test]
    fn however_many_names_a_server_answers_with_few_are_remembered() {
        let mut asked = RequestedAttributes::new(Arc::default(), &["mail".to_owned()]);
        for n in 0..10_000 {
            assert_eq!(asked.meaning(format!("mail;x-{n}").as_bytes()).len(), 1);
        }
        assert_eq!(asked.remembered.len(), MAX_REMEMBERED);
    }

    fn tag(payload: PL) -> StructureTag {
        let (class, id) = (TagClass::Universal, 4);
        StructureTag { class, id, payload }
    }

    /// The names of the attributes of an answer, each with its value, once they are named as asked.
    fn renamed(asked: &[&str], answered: &[&str]) -> Vec<(String, String)> {
        let text = |text: &str| tag(PL::P(text.into()));
        let attribute = |name: &&str| tag(PL::C(vec![text(name), tag(PL::C(vec![text(name)]))]));
        let list = tag(PL::C(answered.iter().map(attribute).collect()));
        let mut message = ResultEntry::new(tag(PL::C(vec![text("uid=ann"), list])));
        let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
        rename_as_requested(
            &mut message,
            &mut RequestedAttributes::new(Arc::default(), &asked),
        );
        let attributes = entry(message).unwrap().attributes.into_iter();
        attributes
            .map(|attribute| {
                (
                    attribute.name,
                    String::from_utf8(attribute.values.concat()).unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn attributes_are_named_as_asked_and_those_with_options_come_last() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect()
        };
        assert_eq!(
            renamed(
                &["entryUUID", "mail"],
                &["mail;lang-de", "ENTRYUUID", "userPassword", "rfc822Mailbox"]
            ),
            pairs(&[
                ("entryUUID", "ENTRYUUID"),
                ("mail", "rfc822Mailbox"),
                ("mail", "mail;lang-de")
            ])
        );
        assert_eq!(
            renamed(&["mail", "mail;lang-de"], &["mail;lang-de", "mail"]),
            pairs(&[
                ("mail", "mail"),
                ("mail;lang-de", "mail;lang-de"),
                ("mail", "mail;lang-de")
            ])
        );
        assert_eq!(
            renamed(&["member", "objectClass"], &["member", "member;range=0-1499"]),
            pairs(&[
                ("member", "member"),
                ("member;range=0-1499", "member;range=0-1499")
            ])
        );
        assert_eq!(renamed(&["1.1"], &["mail"]), []);
    }
}
