//! The style and the script of the page, under names that change with their content.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ring::digest;

use super::Page;
use super::session::hex;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The names of the style and the script.
pub(super) struct Assets {
    pub(super) style: String,
    pub(super) script: String,
}

impl Assets {
    pub(super) fn new() -> Self {
        let name = |content: &str, kind| {
            let digest = digest::digest(&digest::SHA256, content.as_bytes());
            format!("page-{}.{kind}", hex(&digest.as_ref()[..8]))
        };
        Self {
            style: name(STYLE, "css"),
            script: name(SCRIPT, "js"),
        }
    }
}

/// The style or the script. A browser asks once for each version.
pub(super) async fn asset(State(page): State<Page>, Path(name): Path<String>) -> Response {
    let (kind, content) = match &page.0.assets {
        assets if assets.style == name => ("text/css; charset=utf-8", STYLE),
        assets if assets.script == name => ("text/javascript; charset=utf-8", SCRIPT),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, content).into_response()
}
