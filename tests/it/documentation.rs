//! The documentation: its links lead somewhere, and it quotes what the program prints.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::service::Config;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder whose name ends so, by their path from the top.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for file in fs::read_dir(root().join(&folder)).unwrap() {
            let file = file.unwrap();
            let path = folder.join(file.file_name());
            if file.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found
}

/// All pages and their text.
fn pages() -> BTreeMap<PathBuf, String> {
    let paths = ["README.md", "CHANGELOG.md"].map(PathBuf::from);
    let paths = paths.into_iter().chain(files("config", ".md"));
    paths
        .map(|path| (path.clone(), fs::read_to_string(root().join(path)).unwrap()))
        .collect()
}

/// The lines of a page that are not in a block of code, with their numbers.
fn prose(page: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    page.lines().zip(1..).filter_map(move |(line, number)| {
        let fence = line.starts_with("```");
        is_code ^= fence;
        (!is_code && !fence && !line.starts_with("    ")).then_some((number, line))
    })
}

/// What the links of a line lead to.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target)
}

/// The anchors of the headings of a page, as GitHub forms them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = prose(page).filter_map(|(_, line)| {
        line.trim_start_matches('#')
            .strip_prefix(' ')
            .filter(|_| line.starts_with('#'))
    });
    headings
        .map(|heading| {
            let kept = heading.to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// The page that a link of another one names, without `..`.
fn resolve(page: &Path, target: &str) -> PathBuf {
    let mut path = page.parent().unwrap().to_owned();
    for part in Path::new(target).components() {
        match part {
            std::path::Component::ParentDir => assert!(path.pop(), "{target} is above the project"),
            part => path.push(part),
        }
    }
    path
}

#[test]
fn every_link_of_the_documentation_leads_somewhere_and_every_page_is_reached_from_the_readme() {
    let pages = pages();
    let (mut broken, mut linked) = (Vec::new(), BTreeSet::new());
    for (page, text) in &pages {
        for (number, line) in prose(text) {
            for link in links(line) {
                if link.starts_with("https://") {
                    continue;
                }
                let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
                let target = if target.is_empty() {
                    page.clone()
                } else {
                    resolve(page, target)
                };
                let has_anchor = || {
                    pages
                        .get(&target)
                        .is_some_and(|text| anchors(text).contains(anchor))
                };
                if !root().join(&target).exists() || !(anchor.is_empty() || has_anchor()) {
                    broken.push(format!("{}:{number}: {link}", page.display()));
                }
                linked.insert((page.clone(), target));
            }
        }
    }
    assert_eq!(broken, [""; 0]);
    let mut reached = BTreeSet::from([PathBuf::from("README.md")]);
    loop {
        let more = linked
            .iter()
            .filter(|(from, _)| reached.contains(from))
            .map(|(_, to)| to.clone());
        let more: BTreeSet<_> = more.filter(|to| !reached.contains(to)).collect();
        if more.is_empty() {
            break;
        }
        reached.extend(more);
    }
    let mut unreached = pages.keys().filter(|page| !reached.contains(*page));
    assert_eq!(unreached.next(), None);
}

/// The texts in the program's sources, without those of its unit tests. What is inserted into them is `{}`.
fn texts() -> Vec<String> {
    let mut texts = Vec::new();
    for path in files("src", ".rs") {
        let source = fs::read_to_string(root().join(path)).unwrap();
        let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        let source = lines
            .collect::<Vec<_>>()
            .join("\n")
            .replace("\\\"", "\u{1}")
            .replace("'\"'", "");
        // Every second piece is within quotation marks.
        for text in source.split('"').skip(1).step_by(2) {
            let mut pieces = text.split("\\\n");
            let mut joined = pieces.next().unwrap().to_owned();
            pieces.for_each(|piece| joined += piece.trim_start());
            texts.push(joined.replace('\u{1}', "\""));
        }
    }
    texts
}

#[test]
fn every_message_in_the_troubleshooting_is_one_that_the_program_has() {
    let (texts, pages) = (texts(), pages());
    let page = &pages[Path::new("config/guide/troubleshooting.md")];
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let (mut messages, mut unknown) = (0, Vec::new());
    for row in rows {
        let (symptom, _) = row.split_once(" | ").unwrap();
        // Messages and what is between them take turns.
        for message in symptom
            .split('`')
            .step_by(2)
            .filter(|message| message.contains(' '))
        {
            messages += 1;
            let pieces = message
                .split("...")
                .map(str::trim)
                .filter(|piece| piece.len() > 3);
            for piece in pieces {
                let is_known = texts.iter().any(|text| text.contains(piece));
                if !is_known {
                    unknown.push(format!("{piece} (in {message})"));
                }
            }
        }
    }
    assert_eq!(unknown, [""; 0]);
    assert!(messages > 40, "only {messages} messages were found");
}

/// Every example of a configuration is one, once what it leaves out is added.
#[tokio::test]
async fn every_configuration_in_the_documentation_is_accepted() {
    let mut examples = 0;
    for (page, text) in pages() {
        for block in text.split("```toml\n").skip(1) {
            let (block, _) = block.split_once("```").unwrap();
            examples += 1;
            let folder = tempfile::tempdir().unwrap();
            let secret = folder.path().join("secret");
            fs::write(&secret, "https://secret.example.org/0123456789abcdef\n").unwrap();
            let has = |key: &str| block.lines().any(|line| line.trim() == key);
            let mut toml: String = block
                .lines()
                .map(|line| match line.split_once("_file = \"") {
                    Some((key, _)) => format!("{key}_file = \"{}\"\n", secret.display()),
                    None => format!("{line}\n"),
                })
                .collect();
            if !has("[vaultwarden]") {
                toml += "[vaultwarden]\nurl = \"https://vault.example.org\"\nadmin_token = \"token\"\n";
            }
            if !has("[[directory]]") {
                toml += "[[directory]]\nurl = \"ldaps://ldap.example.org\"\nbase_dn = \"dc=example,dc=org\"\nfilter = \"(mail=*)\"\n";
            }
            let output = Config::new(&toml).ask(&["config", "show"]).await;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let expected = if has("[traces]") && !cfg!(feature = "otel") {
                assert!(said.contains("without OpenTelemetry"), "{said}");
                2
            } else {
                0
            };
            assert_eq!(
                output.status.code(),
                Some(expected),
                "{}:\n{toml}\n{said}",
                page.display()
            );
        }
    }
    assert!(examples >= 3, "only {examples} examples were found");
}
