//! What is sent: an event in the form of CloudEvents 1.0, structured mode. No I/O.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::json;

use crate::clock::Timestamp;
use crate::model::{Event, JournalLine};

/// The content type of [`Notification::body`].
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// One event as receivers get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notification {
    /// The JSON object. It is the same at each attempt.
    pub(super) body: String,
}

#[derive(Serialize)]
struct CloudEvent<T> {
    specversion: &'static str,
    id: String,
    source: String,
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    time: String,
    datacontenttype: &'static str,
    data: T,
}

impl<T: Serialize> CloudEvent<T> {
    /// An event of this kind. `source` is the part of the program that it comes from.
    fn new(id: String, source: &str, kind: &str, at: Timestamp, data: T) -> Self {
        Self {
            specversion: "1.0",
            id,
            source: format!("/ldap-usher{source}"),
            r#type: format!("org.ldap-usher.{kind}"),
            subject: None,
            time: at.to_string(),
            datacontenttype: "application/json",
            data,
        }
    }

    fn notification(&self) -> Notification {
        // Only maps without text as keys cannot be written as JSON.
        let body = serde_json::to_string(self).unwrap_or_default();
        Notification { body }
    }
}

impl Notification {
    /// The event with this number in the journal of `instance`.
    ///
    /// Its id contains the time as well, because a state that was restored from a backup uses numbers again.
    pub(super) fn of(instance: &str, number: i64, event: &Event) -> Self {
        let id = format!("{instance}-{number}-{}", event.at.0);
        let directory = utf8_percent_encode(&event.directory, NON_ALPHANUMERIC);
        let source = format!("/{directory}");
        let line = JournalLine::of(event);
        let mut cloud_event = CloudEvent::new(id, &source, event.what.name(), event.at, line);
        let dn = || (!event.dn.is_empty()).then(|| event.dn.clone());
        cloud_event.subject = event.address.as_ref().map(ToString::to_string).or_else(dn);
        cloud_event.notification()
    }

    /// An event of the kind `test`.
    pub(super) fn test(id: &str, at: Timestamp) -> Self {
        let data = json!({ "at": at.to_string(), "event": "test" });
        CloudEvent::new(format!("test-{id}"), "", "test", at, data).notification()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EmailAddress, EntryId, Source, What};

    #[test]
    fn an_event_is_sent_with_everything_that_the_journal_has_of_it() {
        let event = Event {
            at: Timestamp(1_764_240_000_123),
            directory: "main office".into(),
            person: EntryId::from_slice(&[7; 16]),
            dn: "uid=ann,dc=example,dc=org".into(),
            address: EmailAddress::parse(b"ann@example.org").ok(),
            source: Source::Stream,
            what: What::Invited { after_ms: 12 },
        };
        insta::assert_snapshot!(Notification::of("c0ffee", 42, &event).body, @r#"{"specversion":"1.0","id":"c0ffee-42-1764240000123","source":"/ldap-usher/main%20office","type":"org.ldap-usher.invited","subject":"ann@example.org","time":"2025-11-27T10:40:00Z","datacontenttype":"application/json","data":{"at":"2025-11-27T10:40:00Z","directory":"main office","entry":"07070707-0707-0707-0707-070707070707","dn":"uid=ann,dc=example,dc=org","address":"ann@example.org","source":"stream","event":"invited","after_ms":12}}"#);
        let nobody = Event {
            person: None,
            dn: String::new(),
            address: None,
            ..event
        };
        let body: serde_json::Value =
            serde_json::from_str(&Notification::of("c0ffee", 42, &nobody).body).unwrap();
        assert_eq!(body.get("subject"), None);
    }

    #[test]
    fn a_test_event_says_that_it_is_one() {
        insta::assert_snapshot!(Notification::test("1", Timestamp(0)).body, @r#"{"specversion":"1.0","id":"test-1","source":"/ldap-usher","type":"org.ldap-usher.test","time":"1970-01-01T00:00:00Z","datacontenttype":"application/json","data":{"at":"1970-01-01T00:00:00Z","event":"test"}}"#);
    }
}
