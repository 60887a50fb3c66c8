//! The rules of `src/lib.rs` about who may import whom, held by reading the sources.

mod circles;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A module may import what stands in a lower layer than itself, and nothing else.
const LAYERS: [&[&str]; 8] = [
    &[
        "ber", "clock", "foreign", "panics", "retry", "text", "timing", "traces",
    ],
    &["model", "tls"],
    &["http_client", "rules"],
    &["directory", "store", "vaultwarden"],
    &["config", "telemetry"],
    &["listener", "notify", "page", "worker"],
    &["app"],
    &["cli"],
];

/// Modules that decide and do nothing: beside words, time as a value, and the arithmetic of waits, they know no one.
const PURE: [&str; 1] = ["rules/"];

/// The one home of each outside crate (its paths begin with one of these).
const HOMES: [(&str, &[&str]); 37] = [
    ("anyhow", &["cli/", "main.rs", "app/"]),
    ("axum", &["page/", "telemetry/"]),
    ("backoff", &["retry.rs"]),
    ("clap", &["cli/", "main.rs"]),
    ("clap_complete", &["cli/"]),
    ("clap_mangen", &["cli/"]),
    ("cross_krb5", &["directory/"]),
    ("deadpool_postgres", &["store/"]),
    ("email_address", &["model/"]),
    ("hickory_resolver", &["directory/"]),
    ("hyper", &["telemetry/"]),
    ("hyper_util", &["telemetry/"]),
    ("icu_normalizer", &["model/"]),
    ("ldap3", &["directory/"]),
    ("libc", &["store/", "app/"]),
    ("maud", &["page/"]),
    ("opentelemetry", &["traces.rs", "telemetry/traces/"]),
    ("opentelemetry_http", &["telemetry/traces/"]),
    ("opentelemetry_otlp", &["telemetry/traces/"]),
    ("opentelemetry_sdk", &["telemetry/traces/"]),
    ("prometheus_client", &["telemetry/"]),
    (
        "reqwest",
        &["http_client.rs", "notify/", "telemetry/traces/", "vaultwarden/"],
    ),
    ("ring", &["notify/", "page/", "tls/", "vaultwarden/"]),
    ("rustix", &["notify/", "store/"]),
    ("rustls_native_certs", &["tls/"]),
    ("rusqlite", &["store/"]),
    ("sd_notify", &["app/"]),
    ("serde_ignored", &["config/"]),
    ("serde_path_to_error", &["config/"]),
    ("socket2", &["directory/"]),
    ("strsim", &["config/"]),
    ("tokio_postgres", &["store/"]),
    ("tokio_postgres_rustls", &["store/"]),
    ("tokio_rustls", &["directory/"]),
    ("toml", &["config/"]),
    ("tracing_subscriber", &["telemetry/"]),
    ("webpki", &["tls/"]),
];

const LONGEST: usize = 450;

/// One file of `src/`.
struct Source {
    /// Its path below `src/`.
    path: String,
    text: String,
}

impl Source {
    /// The top-level module that the file belongs to; empty for `lib.rs` and `main.rs`.
    fn module(&self) -> &str {
        let module = self.path.split('/').next().unwrap().trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            ""
        } else {
            module
        }
    }

    /// What is compiled into the program: no comments, and no tests, which stand at the end of a file.
    fn code(&self) -> String {
        let code = self.text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The top-level modules of this crate that the code names.
    fn imports(&self) -> BTreeSet<String> {
        let code = self.code();
        // From a top-level module `super` is the root of the crate, one level deeper it is `super::super`.
        let depth = self.path.matches('/').count() + usize::from(!self.path.ends_with("mod.rs"));
        let up = "super::".repeat(depth);
        let roots = code.match_indices("crate::").chain(code.match_indices(&up));
        let mut names = BTreeSet::new();
        for (at, root) in roots {
            let whole = !code[..at].ends_with(|c: char| c == ':' || c == '_' || c.is_alphanumeric());
            if whole {
                names.extend(first_names(&code[at + root.len()..]));
            }
        }
        names.remove("super");
        names.remove(self.module());
        names
    }

    /// Whether the code names an outside crate.
    fn uses(&self, krate: &str) -> bool {
        let code = self.code();
        code.match_indices(krate).any(|(at, _)| {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            let after = &code[at + krate.len()..];
            let begins = !before.is_alphanumeric() && !matches!(before, '_' | ':' | '"');
            begins && (after.starts_with("::") || (code[..at].ends_with("use ") && !after.starts_with('_')))
        })
    }
}

/// The first name of the path that follows, or of each path in the braces that follow.
fn first_names(rest: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![name(rest)];
    };
    let (mut depth, mut names, mut item) = (0_u32, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => names.push(std::mem::take(&mut item)),
            _ => {
                depth = depth + u32::from(c == '{') - u32::from(c == '}');
                item.push(c);
            }
        }
    }
    names.push(item);
    names
        .iter()
        .map(|item| name(item))
        .filter(|name| !name.is_empty())
        .collect()
}

fn sources() -> Vec<Source> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<Source>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push(Source { path, text });
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &root, &mut found);
    assert!(found.len() > 20, "the sources were not found");
    found
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Fails with every violation at once.
fn none(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn every_module_imports_only_from_the_layers_below_it() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !source.module().is_empty()) {
        let Some(own) = layer(source.module()) else {
            wrong.push(format!(
                "src/{} belongs to no layer: give its module one, here and in lib.rs",
                source.path
            ));
            continue;
        };
        for import in source.imports() {
            if layer(&import).is_none_or(|layer| layer >= own) {
                wrong.push(format!("src/{} may not import crate::{import}", source.path));
            }
        }
    }
    none(&wrong);
}

#[test]
fn what_decides_knows_only_words_and_time() {
    let mut wrong = Vec::new();
    for source in sources() {
        if !PURE.iter().any(|pure| source.path.starts_with(pure)) {
            continue;
        }
        for import in source.imports() {
            if !["model", "clock", "retry"].contains(&import.as_str()) {
                wrong.push(format!(
                    "src/{} is pure and may not import crate::{import}",
                    source.path
                ));
            }
        }
        for krate in ["tokio", "futures", "tracing", "rand"] {
            if source.uses(krate) {
                wrong.push(format!("src/{} is pure and may not use {krate}", source.path));
            }
        }
        if source.code().contains("async ") {
            wrong.push(format!("src/{} is pure and may not be async", source.path));
        }
    }
    none(&wrong);
}

#[test]
fn every_outside_crate_has_one_home() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (krate, homes) in HOMES {
            if source.uses(krate) && !homes.iter().any(|home| source.path.starts_with(home)) {
                wrong.push(format!(
                    "src/{} may not use {krate}, whose home is {homes:?}",
                    source.path
                ));
            }
        }
    }
    none(&wrong);
}

#[test]
fn only_the_store_knows_what_kind_of_database_it_is() {
    let outside = sources().into_iter().filter(|source| source.module() != "store");
    let knowing: Vec<String> = outside
        .filter(|source| source.code().contains("Sqlite"))
        .map(|source| format!("{} names `Sqlite`; it uses `store::open`", source.path))
        .collect();
    none(&knowing);
}

#[test]
fn every_file_says_what_it_is_for_and_stays_short() {
    let mut wrong = Vec::new();
    for source in sources() {
        if !source.text.starts_with("//! ") {
            wrong.push(format!("src/{} does not begin with `//!`", source.path));
        }
        let lines = source.text.lines().count();
        if lines > LONGEST {
            wrong.push(format!(
                "src/{} has {lines} lines, more than {LONGEST}: split it",
                source.path
            ));
        }
    }
    none(&wrong);
}

#[test]
fn the_reader_of_sources_sees_imports_of_every_form() {
    let source = |path: &str, text: &str| Source {
        path: path.into(),
        text: text.into(),
    };
    let text = "use crate::{model::{Action, x::Y}, clock,\n    store};\n// crate::cli\nlet a = crate::tls::b();\n\
                use super::super::config;\nuse other_crate::telemetry;\n#[cfg(test)]\nmod tests {\nuse crate::app;";
    let seen: Vec<String> = source("worker/queue.rs", text).imports().into_iter().collect();
    assert_eq!(seen, ["clock", "config", "model", "store", "tls"]);
    let seen: Vec<String> = source("retry.rs", "use super::clock;")
        .imports()
        .into_iter()
        .collect();
    assert_eq!(seen, ["clock"]);

    assert!(source("a.rs", "let x = ldap3::y();").uses("ldap3"));
    assert!(source("a.rs", "use ldap3 as l;").uses("ldap3"));
    assert!(!source("a.rs", "use tokio_rustls::x; my_ldap3::y; \"ldap3=off\"").uses("ldap3"));
    assert!(!source("a.rs", "use toml_edit::x; crate::toml::y").uses("toml"));
}

/// The rooms of `directory/`, from the lowest: a file imports from its own room and lower ones, and from what stands beside
/// them.
const ROOMS: [&str; 3] = ["ldap", "people", "streams"];

#[test]
fn in_the_directory_the_protocol_knows_no_people_and_people_know_no_streams() {
    let all = sources();
    let mut wrong = Vec::new();
    for source in &all {
        let Some(room) = source.path.strip_prefix("directory/").and_then(|path| {
            ROOMS
                .iter()
                .position(|room| path.starts_with(&format!("{room}/")))
        }) else {
            continue;
        };
        let code = source.code();
        for higher in ROOMS[room + 1..].iter().chain(&["client", "diagnose"]) {
            for way in [
                format!("directory::{higher}::"),
                format!("super::super::{higher}::"),
            ] {
                if code.contains(&way) {
                    wrong.push(format!("src/{} imports {higher}", source.path));
                }
            }
        }
    }
    none(&wrong);
    let found = |room: &str| {
        all.iter()
            .any(|source| source.path.starts_with(&format!("directory/{room}/")))
    };
    assert!(ROOMS.iter().all(|room| found(room)), "a room is empty");
}

#[test]
fn filters_are_written_as_trees_only() {
    // Text that is put together, or a term that is escaped, outside of the one folder that prints filters.
    const SIGNS: [&str; 5] = ["\"(&", "\"(|", "\"(!", "\"({", "ldap_escape"];
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|source| {
            source.path.starts_with("directory/") && !source.path.starts_with("directory/ldap/filter/")
        })
        .flat_map(|source| {
            let code = source.code();
            let lines: Vec<String> = code
                .lines()
                .filter(|line| SIGNS.iter().any(|sign| line.contains(sign)))
                .map(|line| format!("src/{} writes a filter: {}", source.path, line.trim()))
                .collect();
            lines
        })
        .collect();
    none(&wrong);
}
