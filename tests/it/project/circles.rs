//! No two files of a crate need each other, except a parent and its child modules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Result, ensure};

use super::rooms::{code, files};

const CRATES: &[&str] = &[
    "src",
    "crates/hydrant-binlog/src",
    "crates/hydrant-sim/src",
    "crates/testkit/src",
    "bench/workloads/src",
];

/// A module's or an item's names below the crate's root.
type Names = Vec<String>;

/// One crate's files, and what each names.
#[derive(Default)]
struct Crate {
    /// The modules that are files, with what they name.
    modules: BTreeMap<Names, BTreeSet<Names>>,
    /// Where the names come from that a module has by `use`.
    imported: BTreeMap<(Names, String), Names>,
}

impl Crate {
    fn read(root: &str) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
        let mut texts = BTreeMap::new();
        for path in files(&[root])? {
            let relative = path.strip_prefix(&folder)?.with_extension("");
            let mut module: Names = relative
                .iter()
                .map(|name| name.to_string_lossy().into_owned())
                .collect();
            let last = module.last().map(String::as_str).unwrap_or_default();
            if last == "main" || module.iter().any(|name| name.ends_with("tests")) {
                continue;
            }
            if last == "mod" || last == "lib" {
                module.pop();
            }
            texts.insert(module, code(&path)?);
        }
        let mut read = Self {
            modules: texts
                .keys()
                .map(|module| (module.clone(), BTreeSet::new()))
                .collect(),
            imported: BTreeMap::new(),
        };
        for (module, text) in &texts {
            read.take(module, text);
        }
        Ok(read)
    }

    fn take(&mut self, module: &Names, text: &str) {
        let mut rest = String::new();
        for statement in text.split_inclusive(';') {
            let Some((before, tree)) = statement.split_once("use ") else {
                rest.push_str(statement);
                continue;
            };
            let is_use = before.rsplit('\n').next().is_some_and(|indent| {
                let indent = indent.trim();
                indent.is_empty() || indent.starts_with("pub")
            });
            if !is_use {
                rest.push_str(statement);
                continue;
            }
            rest.push_str(before);
            for path in leaves(tree.trim_end_matches(';')) {
                let (path, name) = match path.split_once(" as ") {
                    Some((path, name)) => (path.trim().to_owned(), Some(name.trim().to_owned())),
                    None => (path, None),
                };
                let Some(names) = self.absolute(module, &path) else {
                    continue;
                };
                let name = name.or_else(|| names.last().cloned()).unwrap_or_default();
                self.imported.insert((module.clone(), name), names.clone());
                self.named(module, names);
            }
        }
        let is_of_path = |character: char| character.is_alphanumeric() || "_:".contains(character);
        for path in rest.split(|character| !is_of_path(character)) {
            let path = path.trim_matches(':');
            if let Some((_, after)) = path.split_once("::") {
                let first = path.split("::").next().unwrap_or_default();
                let imported = self.imported.get(&(module.clone(), first.to_owned()));
                let names = match imported {
                    Some(names) => Some(
                        names
                            .iter()
                            .cloned()
                            .chain(after.split("::").map(str::to_owned))
                            .collect(),
                    ),
                    None => self.absolute(module, path),
                };
                if let Some(names) = names {
                    self.named(module, names);
                }
            }
        }
    }

    fn named(&mut self, module: &Names, names: Names) {
        self.modules
            .entry(module.clone())
            .or_default()
            .insert(names);
    }

    /// `None` if it is not of this crate.
    fn absolute(&self, module: &Names, path: &str) -> Option<Names> {
        let mut names: Vec<String> = path.split("::").map(str::to_owned).collect();
        let mut start = module.clone();
        match names.first()?.as_str() {
            "crate" => start.clear(),
            "self" => {}
            "super" => {
                while names.first()? == "super" {
                    start.pop();
                    names.remove(0);
                }
                start.extend(names);
                return Some(start);
            }
            first => {
                start.push(first.to_owned());
                self.modules.contains_key(&start).then_some(())?;
                start.pop();
                start.extend(names);
                return Some(start);
            }
        }
        start.extend(names.split_off(1));
        Some(start)
    }

    /// The file that has what is named; `None` if only a module is named.
    fn file_of(&self, names: &Names, depth: usize) -> Option<Names> {
        let len = (0..=names.len())
            .rev()
            .find(|&len| self.modules.contains_key(&names[..len]))?;
        let (module, item) = names.split_at(len);
        let first = item.first()?;
        let from = self.imported.get(&(module.to_vec(), first.clone()));
        match from.filter(|_| depth < 8) {
            Some(from) => {
                let names = from.iter().chain(&item[1..]).cloned().collect();
                self.file_of(&names, depth + 1)
            }
            None => Some(module.to_vec()),
        }
    }

    fn arrows(&self) -> BTreeMap<Names, BTreeSet<Names>> {
        let is_family = |a: &Names, b: &Names| a.starts_with(b) || b.starts_with(a);
        let arrows = self.modules.iter().map(|(module, named)| {
            let to = named.iter().filter_map(|names| self.file_of(names, 0));
            (
                module.clone(),
                to.filter(|to| !is_family(module, to)).collect(),
            )
        });
        arrows.collect()
    }
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn leaves(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, inner)) = tree.split_once('{') else {
        return vec![tree.to_owned()];
    };
    let inner = inner.trim_end().trim_end_matches('}');
    let mut depth = 0;
    let parts = inner.split(|character| {
        depth += i32::from(character == '{') - i32::from(character == '}');
        character == ',' && depth == 0
    });
    let parts = parts.filter(|part| !part.trim().is_empty());
    parts
        .flat_map(leaves)
        .map(|leaf| format!("{before}{}", leaf.trim_end_matches("::self")))
        .map(|path| path.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// What is left when files that need nothing are taken away, again and again, and those that nothing needs.
fn circle(mut arrows: BTreeMap<Names, BTreeSet<Names>>) -> BTreeMap<Names, BTreeSet<Names>> {
    loop {
        let needed: BTreeSet<Names> = arrows.values().flatten().cloned().collect();
        let before = arrows.len();
        arrows.retain(|module, to| !to.is_empty() && needed.contains(module));
        if arrows.len() == before {
            return arrows;
        }
        let left: BTreeSet<Names> = arrows.keys().cloned().collect();
        for to in arrows.values_mut() {
            to.retain(|module| left.contains(module));
        }
    }
}

#[test]
fn no_two_files_need_each_other() -> Result<()> {
    for root in CRATES {
        let found = circle(Crate::read(root)?.arrows());
        let found: Vec<String> = found
            .iter()
            .map(|(from, to)| {
                let to: Vec<String> = to.iter().map(|to| to.join("/")).collect();
                format!("{} needs {}", from.join("/"), to.join(", "))
            })
            .collect();
        ensure!(
            found.is_empty(),
            "a circle in {root}:\n{}",
            found.join("\n")
        );
    }
    Ok(())
}

#[test]
fn a_circle_is_found() {
    let mut read = Crate::default();
    let names = |text: &str| -> Names { text.split("::").map(str::to_owned).collect() };
    for module in ["a", "a::b", "c"] {
        read.modules.insert(names(module), BTreeSet::new());
    }
    read.take(
        &names("a"),
        "mod b;\npub use b::{\n    Thing,\n    Other as Else,\n};\n",
    );
    read.take(&names("c"), "use crate::a::Else;\nfn f() {}\n");
    let arrows = read.arrows();
    assert_eq!(arrows[&names("c")], BTreeSet::from([names("a::b")]));
    assert!(circle(arrows).is_empty());
    read.take(&names("a::b"), "fn f() -> crate::c::Result { 1 }\n");
    assert_eq!(circle(read.arrows()).len(), 2);
}
