//! No two files import each other, neither directly nor through others. A name that a `mod.rs` re-exports counts as an import
//! of the file that defines it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, none, sources};

/// Outside of these folders a `mod.rs` may define what its children use, such as the helpers of all commands.
const STRICT: &str = "directory/";

type Path = Vec<String>;

/// The modules of the crate.
struct Modules<'a> {
    /// The file of each.
    files: BTreeMap<Path, &'a str>,
    /// What each module re-exports by which name.
    exports: BTreeMap<(Path, String), Path>,
}

/// The module that a file defines.
fn module_of(file: &str) -> Path {
    let mut parts: Path = file
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    parts.pop_if(|last| matches!(last.as_str(), "mod" | "lib"));
    parts
}

/// A path in the code of a module.
struct Import {
    path: Path,
    /// Whether it is re-exported.
    export: bool,
}

impl<'a> Modules<'a> {
    fn new(sources: &'a [Source]) -> Self {
        let files = sources
            .iter()
            .map(|source| (module_of(&source.path), source.path.as_str()));
        let mut modules = Self {
            files: files.collect(),
            exports: BTreeMap::new(),
        };
        for source in sources {
            let module = module_of(&source.path);
            for Import { path, export } in modules.imports(&module, &source.code()) {
                if let Some(name) = path.last().filter(|_| export) {
                    modules.exports.insert((module.clone(), name.clone()), path);
                }
            }
        }
        modules
    }

    /// The file that defines what the path names.
    fn file_of(&self, path: &[String]) -> Option<&'a str> {
        let depth = (0..=path.len())
            .rev()
            .find(|&depth| self.files.contains_key(&path[..depth]))?;
        let (module, rest) = path.split_at(depth);
        let export = rest
            .first()
            .and_then(|name| self.exports.get(&(module.to_vec(), name.clone())));
        match export {
            Some(path) => self.file_of(&[path, &rest[1..]].concat()),
            None => self.files.get(module).copied(),
        }
    }

    /// All paths in the code that begin in this crate.
    fn imports(&self, module: &[String], code: &str) -> Vec<Import> {
        let mut imports = Vec::new();
        let starts = code.char_indices().filter(|&(at, c)| {
            let before = code[..at].chars().next_back();
            is_name(c) && !before.is_some_and(|before| is_name(before) || before == ':')
        });
        for (at, _) in starts {
            let statement = code[..at].rsplit([';', '}']).next().unwrap().trim();
            let export = statement.starts_with("pub") && statement.ends_with("use");
            for path in expanded(&code[at..]).into_iter().filter(|path| path.len() > 1) {
                let path = self.absolute(module, &path);
                imports.extend(path.map(|path| Import { path, export }));
            }
        }
        imports
    }

    /// The path from the root of the crate; `None` for a path into another crate or a type.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Path> {
        let supers = path.iter().take_while(|part| *part == "super").count();
        let (parent, rest) = match path[0].as_str() {
            "crate" => (&[][..], &path[1..]),
            "self" => (module, &path[1..]),
            "super" => (&module[..module.len().checked_sub(supers)?], &path[supers..]),
            child => {
                let child = [module, &[child.to_owned()]].concat();
                self.files.contains_key(&child).then_some((module, path))?
            }
        };
        Some([parent, rest].concat())
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The path at the beginning of the text; several if it ends in braces.
fn expanded(text: &str) -> Vec<Path> {
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let name = text[..end].to_owned();
    let Some(rest) = text[end..].strip_prefix("::") else {
        return vec![vec![name]];
    };
    let rest: Vec<Path> = match rest.strip_prefix('{') {
        None => expanded(rest),
        Some(group) => items(group).into_iter().flat_map(expanded).collect(),
    };
    rest.into_iter()
        .map(|rest| match rest.as_slice() {
            [own] if own == "self" || own.is_empty() => vec![name.clone()],
            rest => [std::slice::from_ref(&name), rest].concat(),
        })
        .collect()
}

/// The items up to the brace that closes the group.
fn items(group: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut items) = (0_u32, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '}' if depth == 0 => {
                items.push(group[begin..at].trim());
                break;
            }
            ',' if depth == 0 => {
                items.push(group[begin..at].trim());
                begin = at + 1;
            }
            _ => depth = depth + u32::from(c == '{') - u32::from(c == '}'),
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

/// Whether one of the files is the `mod.rs` of the other's folder, in a folder in which both may use each other.
fn is_own_face(one: &str, other: &str) -> bool {
    let has_face = |file: &str, face: &str| {
        let folder = face.strip_suffix("mod.rs");
        folder.is_some_and(|folder| !folder.starts_with(STRICT) && file.starts_with(folder))
    };
    has_face(one, other) || has_face(other, one)
}

/// What each file imports.
fn imports(sources: &[Source]) -> BTreeMap<&str, BTreeSet<&str>> {
    let modules = Modules::new(sources);
    let of = |source: &Source| {
        let found = modules.imports(&module_of(&source.path), &source.code());
        let files = found
            .iter()
            .filter(|import| !import.export)
            .filter_map(|import| modules.file_of(&import.path));
        files
            .filter(|file| *file != source.path && !is_own_face(file, &source.path))
            .collect()
    };
    sources
        .iter()
        .map(|source| (source.path.as_str(), of(source)))
        .collect()
}

/// All files that a file imports directly or through others.
fn reached<'a>(from: &str, imports: &BTreeMap<&str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = imports[from].iter().copied().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(&imports[file]);
        }
    }
    reached
}

/// The files that import themselves through others, each with those others.
fn circles(sources: &[Source]) -> Vec<String> {
    let imports = imports(sources);
    let reached: BTreeMap<_, _> = imports
        .keys()
        .map(|file| (*file, reached(file, &imports)))
        .collect();
    let of = |file: &&str| {
        let others = reached[*file]
            .iter()
            .filter(|other| reached[*other].contains(*file));
        let others: Vec<_> = others.copied().filter(|other| other != file).collect();
        (!others.is_empty()).then(|| format!("src/{file} is in a circle with {}", others.join(", ")))
    };
    reached.keys().filter_map(of).collect()
}

#[test]
fn no_two_files_import_each_other() {
    none(&circles(&sources()));
}

#[test]
fn the_reader_of_imports_finds_circles_of_every_form() {
    let sources = |files: &[(&str, &str)]| -> Vec<Source> {
        files
            .iter()
            .map(|(path, text)| Source {
                path: (*path).into(),
                text: (*text).into(),
            })
            .collect()
    };
    let circle = |a: &str, b: &str| {
        let face = "mod a;\nmod b;\nmod c;\npub use a::A;\npub(crate) use self::b::{B, x::{Y}};\nuse c::C;";
        let files = [
            ("lib.rs", "mod directory;"),
            ("directory/mod.rs", face),
            ("directory/a.rs", a),
            ("directory/b.rs", b),
            ("directory/c.rs", ""),
        ];
        !circles(&sources(&files)).is_empty()
    };
    // Through a re-export, by a path from the root or from the parent, in braces, and inline.
    assert!(circle("use crate::directory::B;", "use super::a::{self, A};"));
    assert!(circle(
        "use crate::{x, directory::{b::{C, D}}};",
        "fn f() -> super::A {}"
    ));
    assert!(circle("use super::b;\nfn f() { b::g() }", "use super::A;"));
    assert!(!circle("use crate::directory::B;", "use super::c::C;\nuse a::A;"));
    assert!(!circle("use crate::directory::B;", "// use super::a::A;"));
    // A child with what the face itself defines and imports.
    assert!(!circle("use super::Directory;", "use super::Directory;"));
    let files = [
        ("directory/mod.rs", "mod a;\nuse a::A;\nstruct B;"),
        ("directory/a.rs", "use super::B;"),
        ("cli/mod.rs", "mod a;\nuse a::A;\nstruct B;"),
        ("cli/a.rs", "use super::B;"),
    ];
    let found = circles(&sources(&files));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("directory/a.rs"), "{found:?}");
}
