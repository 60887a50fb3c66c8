//! The names of a server's attribute types: from its subschema (RFC 4512, 4.2), or from the table in [`description`] if it
//! publishes none. Pure.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::model::description;

/// The largest number of attribute types that are read from a subschema; Active Directory has about 1,500.
const MOST_TYPES: usize = 20_000;

/// The names of attribute types.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Schema {
    /// The key of each name and OID that the server publishes, in lower case.
    keys: HashMap<Box<str>, Box<str>>,
}

impl Schema {
    /// Reads the values of `attributeTypes`. Malformed ones are left out.
    pub(crate) fn read<'a>(definitions: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let definitions = definitions.into_iter().take(MOST_TYPES);
        let (standard, others): (Vec<_>, Vec<_>) = definitions
            .filter_map(|definition| Type::read(std::str::from_utf8(definition).ok()?))
            .partition(|attribute| description::known_key(&attribute.oid).is_some());
        let mut keys: HashMap<Box<str>, Box<str>> = HashMap::new();
        let mut taken: Vec<&str> = Vec::new();
        for attribute in &standard {
            if let Some(key) = description::known_key(&attribute.oid) {
                attribute.add_to(&mut keys, key);
                taken.push(key);
            }
        }
        for attribute in &others {
            // The server defines a type of the table under another OID, unless it also has the one of the table.
            let known = attribute
                .names
                .iter()
                .find_map(|name| description::known_key(name));
            let shortest = attribute
                .names
                .iter()
                .map(String::as_str)
                .min_by_key(|name| name.len());
            let key = known.or(shortest).filter(|key| !taken.contains(key));
            let key = key.or(shortest.filter(|key| !taken.contains(key)));
            attribute.add_to(&mut keys, key.unwrap_or(&attribute.oid));
        }
        Self { keys }
    }

    /// The number of names and OIDs that the server publishes.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The key of a type: the same for all its names and its OID, in any case.
    pub(crate) fn key<'a>(&'a self, name: &'a str) -> Cow<'a, str> {
        if self.keys.is_empty() {
            return description::key(name);
        }
        match self.keys.get(name.to_ascii_lowercase().as_str()) {
            Some(key) => Cow::Borrowed(key),
            None => description::key(name),
        }
    }

    /// Whether the values of the attribute are the groups of an entry.
    pub(crate) fn names_groups(&self, attribute: &str) -> bool {
        description::names_groups(&self.key(description::split(attribute).0))
    }
}

/// An attribute type as a server defines it.
#[derive(Debug, PartialEq, Eq)]
struct Type {
    oid: String,
    names: Vec<String>,
}

impl Type {
    /// Reads the OID and the names in an AttributeTypeDescription (RFC 4512, 4.1.2), in lower case.
    fn read(text: &str) -> Option<Self> {
        let mut tokens = Tokens(text.trim_start().strip_prefix('(')?);
        let oid = tokens.next().filter(|oid| !oid.starts_with(['(', ')', '\'']))?;
        let mut names = Vec::new();
        while let Some(token) = tokens.next() {
            if token != "NAME" {
                continue;
            }
            match tokens.next() {
                Some("(") => names.extend(tokens.by_ref().take_while(|token| *token != ")")),
                name => names.extend(name),
            }
            break;
        }
        let name = |text: &str| text.trim_matches('\'').to_ascii_lowercase();
        Some(Self {
            oid: name(oid),
            names: names
                .into_iter()
                .map(name)
                .filter(|name| !name.is_empty())
                .collect(),
        })
    }

    fn add_to(&self, keys: &mut HashMap<Box<str>, Box<str>>, key: &str) {
        for name in self.names.iter().chain([&self.oid]) {
            keys.insert(name.as_str().into(), key.into());
        }
    }
}

/// The words, quoted texts and parentheses of a definition.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0.trim_start();
        let length = match rest.chars().next()? {
            '(' | ')' => 1,
            '\'' => rest[1..].find('\'').map_or(rest.len(), |end| end + 2),
            _ => rest
                .find(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '\''))
                .unwrap_or(rest.len()),
        };
        let (token, rest) = rest.split_at(length);
        self.0 = rest;
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAIL: &str = "( 0.9.2342.19200300.100.1.3 NAME ( 'mail' 'rfc822Mailbox' 'postfach' ) DESC 'NAME ( ''x'' )' EQUALITY caseIgnoreIA5Match SYNTAX 1.3.6.1.4.1.1466.115.121.1.26{256} )";

    fn schema(definitions: &[&str]) -> Schema {
        Schema::read(definitions.iter().map(|text| text.as_bytes()))
    }

    #[test]
    fn the_server_says_what_its_types_are_called() {
        let own = schema(&[
            MAIL,
            "( workMail-oid NAME ( 'workMail' 'dienstMail' ) )",
            "(1.2.3 NAME'single')",
            "( 1.2.4 )",
            "( 1.3.6.1.4.1.99999.1.1 NAME 'isMemberOf' )",
        ]);
        for (one, other) in [
            ("mail", "Postfach"),
            ("dienstmail", "workMail"),
            ("workMail-OID", "dienstMail"),
            ("1.2.3", "SINGLE"),
            // What the server does not publish stands in the table.
            ("userid", "uid"),
        ] {
            assert_eq!(own.key(one), own.key(other), "{one}");
        }
        assert_eq!(own.key("1.2.4"), "1.2.4");
        assert_ne!(own.key("workMail"), own.key("mail"));
        assert!(own.names_groups("1.3.6.1.4.1.99999.1.1") && own.names_groups("memberOf;x-y"));
    }

    #[test]
    fn a_type_that_the_server_tells_from_one_of_the_table_is_another() {
        for private in ["rfc822Mailbox", "mail"] {
            let standard = if private == "mail" {
                "rfc822Mailbox"
            } else {
                "mail"
            };
            let definitions = [
                format!("( 1.9.9 NAME '{private}' )"),
                format!("( 0.9.2342.19200300.100.1.3 NAME '{standard}' )"),
            ];
            let own = schema(&definitions.each_ref().map(String::as_str));
            assert_ne!(own.key("mail"), own.key("rfc822Mailbox"));
            assert_eq!(own.key("1.9.9"), own.key(private));
        }
    }

    proptest! {
        #[test]
        fn any_definition_is_read_without_a_panic(text in "\\PC*", some in "[(') NAMEa1.]*") {
            let _ = Schema::read([text.as_bytes(), some.as_bytes(), format!("({some}").as_bytes()]);
        }
    }
}
