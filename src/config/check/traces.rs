//! Checks `[traces]`.

use url::Url;

use super::super::Traces;
use super::super::problem::{KeyPath, Problems};
use super::super::schema::TracesTable;
use super::super::secret::Secrets;
use super::{TlsKeys, check_headers, is_loopback, pins_need_tls, tls};

/// The collector; `None` if there is none.
pub(super) fn traces(
    table: &mut TracesTable,
    at: &KeyPath,
    secrets: &Secrets,
    problems: &mut Problems<'_>,
) -> Option<Traces> {
    let headers = secrets.resolve(
        at,
        "headers",
        (&mut table.headers, &mut table.headers_file),
        &["traces_headers"],
        problems,
    );
    check_headers(headers.as_ref(), problems);
    let tls = tls(
        &TlsKeys::of_server(&table.ca_file, table.tls_verify, &table.tls_pin),
        at,
        problems,
    );
    let (table_at, at) = (at, at.key("url"));
    let url = table.url.as_deref()?;
    if !cfg!(feature = "otel") {
        problems.error(
            &at,
            "this program was built without OpenTelemetry; build it with `--features otel`, or leave the key out",
        );
        return None;
    }
    let url = match Url::parse(url) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.username().is_empty() => url,
        _ => {
            problems.error(
                &at,
                "is not the URL of a collector; write it as http://127.0.0.1:4318/v1/traces, and credentials into `headers`",
            );
            return None;
        }
    };
    if url.scheme() == "http" && headers.is_some() && !url.host().is_some_and(|host| is_loopback(&host)) {
        problems.warning(&at, "sends `headers` in clear text to another host; use https://");
    }
    pins_need_tls(&table.tls_pin, [url.as_str()], table_at, problems);
    Some(Traces {
        url,
        headers: headers.map(|headers| headers.value),
        tls,
    })
}
