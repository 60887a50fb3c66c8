//! The bodies of answers.

use axum::body::Body;
use axum::http::{Response, header};
use serde_json::{Value, json};

fn respond(status: u16, kind: &str, body: String) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .body(body.into())
        .unwrap()
}

pub(super) fn json_answer(status: u16, body: &Value) -> Response<Body> {
    respond(status, "application/json", body.to_string())
}

pub(super) fn plain(status: u16, body: &str) -> Response<Body> {
    respond(status, "text/plain; charset=utf-8", body.into())
}

pub(super) fn page(status: u16, title: &str) -> Response<Body> {
    let body = format!("<!DOCTYPE html>\n<html><head><title>{title}</title></head></html>");
    respond(status, "text/html; charset=utf-8", body)
}

pub(super) fn redirect(to: &str) -> Response<Body> {
    let mut response = plain(303, "");
    response
        .headers_mut()
        .insert(header::LOCATION, to.parse().unwrap());
    response
}

/// An error in the form of this version.
pub(super) fn error(version: (u32, u32), status: u16, message: &str) -> Response<Body> {
    let body = if version >= (1, 31) {
        json!({
            "message": message,
            "validationErrors": {"": [message]},
            "errorModel": {"message": message, "object": "error"},
            "object": "error",
        })
    } else {
        json!({
            "Message": if version <= (1, 20) { "" } else { message },
            "ValidationErrors": {"": [message]},
            "ErrorModel": {"Message": message, "Object": "error"},
            "Object": "error",
        })
    };
    json_answer(status, &body)
}

/// An error of the web framework: unknown route, or malformed body.
pub(super) fn rocket_error(status: u16, as_json: bool) -> Response<Body> {
    if as_json {
        json_answer(
            status,
            &json!({"error": {"code": status, "reason": "..", "description": ".."}}),
        )
    } else {
        page(status, &format!("{status}"))
    }
}

/// The first half of an answer.
pub(super) async fn truncate(response: Response<Body>) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let half = body.slice(..body.len() / 2);
    let pieces = futures::stream::iter([Ok(half), Err(std::io::Error::other("the connection breaks"))]);
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// The spelling of keys before 1.31.
pub(super) fn pascal_case(object: Value) -> Value {
    let Value::Object(object) = object else {
        return object;
    };
    let spell = |key: String| {
        let at = key.find(|c: char| c != '_').unwrap_or(0);
        format!("{}{}{}", &key[..at], key[at..=at].to_uppercase(), &key[at + 1..])
    };
    object
        .into_iter()
        .map(|(key, value)| (spell(key), value))
        .collect()
}

/// Undoes percent-encoding.
pub(super) fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).filter(|_| *first == b'%');
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = if byte.is_some() { &tail[2..] } else { tail };
        bytes.push(byte.unwrap_or(*first));
    }
    String::from_utf8_lossy(&bytes).into()
}

/// RFC 4648, 5, without padding.
pub(super) fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    text
}
