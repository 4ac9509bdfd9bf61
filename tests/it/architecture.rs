//! Which module may use which, as the crate's documentation states it, read from the source text.
//!
//! Every path that begins with `crate`, `super` or `self` is read, in a `use` with its groups and anywhere else, and
//! followed through the names that a module re-exports. Tests are left out: they may use what they like.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The names of the modules around something, from the crate's root on.
type ModulePath = Vec<String>;

/// The top modules, each of which may use those above it only.
const ORDER: [&str; 15] = [
    "build_info",
    "milliseconds",
    "work",
    "device",
    "telemetry",
    "scheduler",
    "problem",
    "access",
    "lifecycle",
    "connections",
    "http",
    "management",
    "service",
    "config",
    "cli",
];

/// What the order would allow and the invariants do not.
const FORBIDDEN: [(&str, &str); 1] = [("management", "http")];

/// Crates that only some modules know.
const CRATES: [(&[&str], &[&str]); 2] = [
    (&["wgpu", "naga"], &["device/gpu"]),
    (
        &["tokio", "warp", "hyper"],
        &[
            "access",
            "cli",
            "connections",
            "http",
            "lifecycle",
            "management",
            "problem",
            "scheduler",
            "service",
            "telemetry",
        ],
    ),
];

#[test]
fn modules_depend_downwards_only() {
    let sources = Sources::read();
    let place = |name: &str| {
        let place = ORDER.iter().position(|other| *other == name);
        place.unwrap_or_else(|| panic!("{name} has no place in the order"))
    };
    for (user, used) in sources.uses_between(&[]) {
        assert!(
            place(&used) < place(&user) && !FORBIDDEN.contains(&(&user, &used)),
            "{user} uses {used}: {:#?}",
            sources.evidence(&[], &user, &used)
        );
    }
}

#[test]
fn the_files_of_a_module_do_not_use_each_other_in_a_circle() {
    let sources = Sources::read();
    for parent in sources.modules.keys() {
        let edges = sources.uses_between(parent);
        if let Some(circle) = circle(&edges) {
            let steps = circle
                .iter()
                .zip(circle.iter().cycle().skip(1))
                .flat_map(|(user, used)| sources.evidence(parent, user, used));
            panic!(
                "a circle in {parent:?}: {circle:?}: {:#?}",
                steps.collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn libraries_stay_where_they_belong() {
    let sources = Sources::read();
    for (module, source) in &sources.modules {
        let module = module.join("/");
        for (crates, places) in CRATES {
            if places.iter().any(|place| module.starts_with(place)) {
                continue;
            }
            for name in &source.foreign {
                assert!(!crates.contains(&name.as_str()), "{module} uses {name}");
            }
        }
    }
}

#[test]
fn paths_are_read_wherever_they_stand() {
    let text = r##"
        //! crate::comment
        use crate::{http::{self, Request as R}, device};
        pub(crate) use self::inner::Thing;
        /* crate::block /* nested */ still */
        fn f<'a>(x: &'a str) -> crate::service::Settings {
            let _ = ("crate::text", r#"crate::raw "text""#, '"', 'x');
            super::super::config::read::<wgpu::Device>()
        }
        #[cfg(test)]
        mod tests { use crate::cli; mod deeper { use crate::cli; } }
        #[cfg(test)]
        use crate::cli;
        use naga::front;
    "##;
    let source = Source::parse(&["a".to_owned(), "b".to_owned()], text);
    let found: BTreeSet<_> = source.paths.iter().map(|path| path.join("::")).collect();
    let expected = [
        "http",
        "http::Request",
        "device",
        "a::b::inner::Thing",
        "service::Settings",
        "config::read",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
    assert_eq!(
        source.names["R"].join("::"),
        "http::Request",
        "{:?}",
        source.names
    );
    assert_eq!(
        source.foreign,
        ["naga", "wgpu"].map(str::to_owned).into(),
        "crates"
    );
}

#[test]
fn circles_are_found() {
    let edges = |pairs: &[(&str, &str)]| -> BTreeSet<_> {
        let owned = |&(user, used): &(&str, &str)| (user.to_owned(), used.to_owned());
        pairs.iter().map(owned).collect()
    };
    assert_eq!(
        circle(&edges(&[("a", "b"), ("a", "c"), ("b", "c"), ("c", "d")])),
        None
    );
    let found = circle(&edges(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b")]));
    assert_eq!(found.unwrap(), ["b", "c", "d"]);
}

/// What the files below `src` say, without their tests.
struct Sources {
    modules: BTreeMap<ModulePath, Source>,
}

/// What one file says.
#[derive(Default)]
struct Source {
    /// What it uses of the crate, from the root on.
    paths: Vec<ModulePath>,
    /// What its `use` items name.
    names: BTreeMap<String, ModulePath>,
    /// The other crates that it uses.
    foreign: BTreeSet<String>,
    /// Its modules that are there for tests only.
    test_modules: BTreeSet<String>,
}

impl Sources {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut modules = BTreeMap::new();
        let mut folders = vec![(root, Vec::new())];
        while let Some((folder, module)) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
                let is_code = path.extension().is_some_and(|extension| extension == "rs");
                let inner = [&module[..], std::slice::from_ref(&name)].concat();
                if path.is_dir() {
                    folders.push((path, inner));
                } else if is_code && name != "main" {
                    let is_root = ["mod", "lib"].contains(&name.as_str());
                    let module = if is_root { module.clone() } else { inner };
                    let text = fs::read_to_string(&path).unwrap();
                    let source = Source::parse(&module, &text);
                    modules.insert(module, source);
                }
            }
        }
        let is_for_tests = |module: &ModulePath| {
            (1..=module.len()).any(|end| {
                let parent = modules.get(&module[..end - 1]);
                parent.is_some_and(|parent: &Source| parent.test_modules.contains(&module[end - 1]))
            })
        };
        let for_tests: Vec<_> = modules
            .keys()
            .filter(|module| is_for_tests(module))
            .cloned()
            .collect();
        for module in for_tests {
            modules.remove(&module);
        }
        assert!(modules.len() > 40, "{:?}", modules.keys());
        Self { modules }
    }

    /// The module in which `path` ends, through what modules re-export.
    fn resolve(&self, path: &[String]) -> ModulePath {
        let mut path = path.to_vec();
        // A glob or a re-export of itself would not end.
        for _ in 0..8 {
            let end = (0..=path.len())
                .rev()
                .find(|&end| self.modules.contains_key(&path[..end]))
                .expect("the root is there");
            let module = &self.modules[&path[..end]];
            let renamed = path.get(end).and_then(|name| module.names.get(name));
            match renamed {
                Some(target) if *target != path => {
                    path = [target, &path[end + 1..]].concat();
                }
                _ => {
                    path.truncate(end);
                    return path;
                }
            }
        }
        panic!("{path:?} leads nowhere");
    }

    /// Which child of `parent` uses which other: all pairs of a user and what it uses.
    fn uses_between(&self, parent: &[String]) -> BTreeSet<(String, String)> {
        let uses = self.uses_below(parent).map(|(user, used, _)| (user, used));
        uses.collect()
    }

    /// The paths for which one child of `parent` is said to use another.
    fn evidence(&self, parent: &[String], user: &str, used: &str) -> Vec<String> {
        self.uses_below(parent)
            .filter(|(by, of, _)| by == user && of == used)
            .map(|(_, _, text)| text)
            .collect()
    }

    fn uses_below(&self, parent: &[String]) -> impl Iterator<Item = (String, String, String)> {
        let child = |path: &[String]| {
            let is_below = path.len() > parent.len() && path.starts_with(parent);
            is_below.then(|| path[parent.len()].clone())
        };
        let users = self
            .modules
            .iter()
            .filter_map(move |(module, source)| Some((child(module)?, module, source)));
        users.flat_map(move |(user, module, source)| {
            source.paths.iter().filter_map(move |path| {
                let used = child(&self.resolve(path))?;
                let text = format!("{} uses {}", module.join("::"), path.join("::"));
                (used != user).then(|| (user.clone(), used, text))
            })
        })
    }
}

impl Source {
    fn parse(module: &[String], text: &str) -> Self {
        let mut tokens = tokens(text);
        let mut source = Self {
            test_modules: cut_tests_out(&mut tokens),
            ..Self::default()
        };
        let mut rest = &tokens[..];
        while let Some((first, after)) = rest.split_first() {
            let is_use = first == "use";
            let start = if is_use { after } else { rest };
            let base = match start.first().map(String::as_str) {
                Some("crate") => Some((Vec::new(), 1)),
                Some("self") => Some((module.to_vec(), 1)),
                Some("super") => {
                    let steps = start.iter().step_by(2);
                    let ups = steps.take_while(|token| *token == "super").count();
                    let parent = module.len().saturating_sub(ups);
                    Some((module[..parent].to_vec(), 2 * ups - 1))
                }
                _ => None,
            };
            match base {
                Some((base, length)) if start.get(length).is_some_and(|token| token == "::") => {
                    rest = source.tree(base, &start[length + 1..], is_use);
                }
                _ => {
                    if is_word(first) && after.first().is_some_and(|token| token == "::") {
                        source.foreign.insert(first.clone());
                    }
                    rest = after;
                }
            }
        }
        let prelude = |name: &String| name.starts_with(char::is_uppercase);
        source.foreign.retain(|name| !prelude(name));
        source
    }

    /// Reads a path, or a group of paths, that follows `base`; what comes behind it.
    fn tree<'a>(&mut self, base: ModulePath, tokens: &'a [String], is_use: bool) -> &'a [String] {
        if tokens.first().is_some_and(|token| token == "{") {
            let mut rest = &tokens[1..];
            while let Some(token) = rest.first() {
                match token.as_str() {
                    "}" => return &rest[1..],
                    "," => rest = &rest[1..],
                    _ => rest = self.tree(base.clone(), rest, is_use),
                }
            }
            return rest;
        }
        let Some((name, rest)) = tokens.split_first().filter(|(name, _)| is_word(name)) else {
            // A glob, or the `<` of generic arguments.
            self.paths.push(base);
            return &tokens[1.min(tokens.len())..];
        };
        let mut path = base;
        if name != "self" {
            path.push(name.clone());
        }
        match rest {
            [separator, next, ..] if separator == "::" && (is_word(next) || next == "{") => {
                self.tree(path, &rest[1..], is_use)
            }
            [separator, next, ..] if separator == "::" && next == "*" => {
                self.paths.push(path);
                &rest[2..]
            }
            _ => {
                let (alias, rest) = match rest {
                    [keyword, alias, rest @ ..] if is_use && keyword == "as" => {
                        (alias.clone(), rest)
                    }
                    _ => (path.last().cloned().unwrap_or_default(), rest),
                };
                if is_use {
                    self.names.insert(alias, path.clone());
                }
                self.paths.push(path);
                rest
            }
        }
    }
}

/// Takes every item under `#[cfg(test)]` out; the names of the modules among them.
fn cut_tests_out(tokens: &mut Vec<String>) -> BTreeSet<String> {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut modules = BTreeSet::new();
    let mut kept = Vec::new();
    let mut rest = &tokens[..];
    while let Some((first, after)) = rest.split_first() {
        if !ATTRIBUTE.iter().eq(rest.iter().take(ATTRIBUTE.len())) {
            kept.push(first.clone());
            rest = after;
            continue;
        }
        let item = &rest[ATTRIBUTE.len()..];
        if let Some(place) = item.iter().take(6).position(|token| token == "mod") {
            modules.insert(item[place + 1].clone());
        }
        let mut depth = 0;
        let is_use = item.iter().take(6).any(|token| token == "use");
        let end = item.iter().position(|token| {
            match token.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            depth == 0 && (token == ";" || token == "}" && !is_use)
        });
        rest = &item[end.map_or(item.len(), |end| end + 1)..];
    }
    *tokens = kept;
    modules
}

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// The words and signs of a Rust text, without its comments and with nothing in place of its literals.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment(rest)
        } else if let Some(length) = string(rest) {
            length
        } else if first.is_alphanumeric() || first == '_' {
            let is_part = |part: char| part.is_alphanumeric() || part == '_';
            let end = rest.find(|part| !is_part(part)).unwrap_or(rest.len());
            tokens.push(rest[..end].to_owned());
            end
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of the comment with which a text begins; one can stand in another.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let (step, change) = match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (2, 1),
            [b'*', b'/', ..] => (2, -1),
            _ => (1, 0),
        };
        at += step;
        depth += change;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of the string or character with which a text begins, if it does.
fn string(text: &str) -> Option<usize> {
    let body = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - body.len();
    if let Some(raw) = body.strip_prefix('r').filter(|_| prefix < 2) {
        let content = raw.trim_start_matches('#');
        if let Some(content) = content.strip_prefix('"') {
            let end = format!("\"{}", "#".repeat(raw.len() - content.len() - 1));
            let start = text.len() - content.len();
            return Some(start + content.find(&end)? + end.len());
        }
    }
    let quote = body
        .chars()
        .next()
        .filter(|quote| prefix < 2 && ['"', '\''].contains(quote))?;
    let mut characters = body.char_indices().skip(1);
    let mut passed = 0;
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => {
                characters.next();
            }
            // `'a` is a lifetime, unless a quote follows at once.
            _ if character == quote => return Some(prefix + at + 1),
            _ if quote == '\'' && passed == 1 => return None,
            _ => {}
        }
        passed += 1;
    }
    None
}

/// A circle among pairs of a user and what it uses, if there is one.
fn circle(edges: &BTreeSet<(String, String)>) -> Option<Vec<String>> {
    let mut left = edges.clone();
    // What uses nothing that is left, or is used by nothing, is in no circle.
    loop {
        let users: BTreeSet<_> = left.iter().map(|(user, _)| user.clone()).collect();
        let used: BTreeSet<_> = left.iter().map(|(_, used)| used.clone()).collect();
        let before = left.len();
        left.retain(|(by, of)| users.contains(of) && used.contains(by));
        if left.len() == before {
            break;
        }
    }
    let mut way = vec![left.first()?.0.clone()];
    loop {
        let last = way.last().expect("it has a first");
        let (_, next) = left.iter().find(|(user, _)| user == last)?;
        if let Some(start) = way.iter().position(|name| name == next) {
            return Some(way.split_off(start));
        }
        way.push(next.clone());
    }
}
