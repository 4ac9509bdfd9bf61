//! The documentation: its links lead somewhere, and what it names and tabulates is what the program has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use atto_work_server::config::ServeArgs;
use clap::Args;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::support::work_server;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Where absolute links into this repository lead.
const ON_GITHUB: &str = "https://github.com/attocash/atto-work-server/blob/main/";

/// What a newcomer reads in one go.
const README_LINES: usize = 150;

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages = pages();
    assert!(pages.len() > 15, "{:?}", pages.keys());
    let broken: Vec<_> = pages
        .iter()
        .flat_map(|(path, page)| page.links.iter().map(move |link| (path, link)))
        .filter_map(|(path, link)| {
            Some(format!(
                "{}: {link}: {}",
                path.display(),
                broken(&pages, path, link)?
            ))
        })
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn a_broken_link_is_found() {
    let text = "# The `a_b` page\n\n## Twice\n\n## Twice\n\n[a](#twice-1) `[b](code.md)` ![c](c.png)\n\n    [d](code.md)\n";
    let page = Page::read(text);
    assert_eq!(page.links, ["#twice-1", "c.png"]);
    let anchors: Vec<_> = page.anchors.iter().map(String::as_str).collect();
    assert_eq!(anchors, ["the-a_b-page", "twice", "twice-1"]);
    let pages = BTreeMap::from([(PathBuf::from("docs/api.md"), page)]);
    let broken = |link| broken(&pages, Path::new("docs/api.md"), link);
    for works in [
        "#twice",
        "api.md#twice-1",
        "../README.md",
        "../k8s",
        "https://example.org/x",
    ] {
        assert_eq!(broken(works), None, "{works}");
    }
    for fails in [
        "#once",
        "api.md#once",
        "gone.md",
        "../../etc",
        "../LICENSE#mit",
        &format!("{ON_GITHUB}gone.md"),
    ] {
        assert!(broken(fails).is_some(), "{fails}");
    }
}

#[test]
fn every_page_that_a_text_names_is_there() {
    let mut named = 0;
    for (path, text) in texts(&[
        "md", "rs", "py", "yaml", "yml", "sh", "js", "mjs", "wgsl", "toml", "",
    ]) {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_./-".contains(c)));
        for word in words.filter(|word| word.starts_with("docs/") && word.contains(".md")) {
            named += 1;
            let page = word.trim_end_matches('.');
            assert!(
                Path::new(ROOT).join(page).is_file(),
                "{}: {page}",
                path.display()
            );
        }
    }
    assert!(named > 10, "{named}");
}

#[test]
fn the_readme_is_short_and_links_every_page() {
    let text = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    assert!(text.lines().count() <= README_LINES);
    let links = Page::read(&text).links;
    for path in pages().keys().filter(|path| path.starts_with("docs")) {
        let path = path.to_str().unwrap();
        assert!(links.iter().any(|link| link == path), "{path}");
    }
}

#[test]
fn the_tables_of_variables_have_the_defaults_and_ranges_of_help() {
    let command = ServeArgs::augment_args(clap::Command::new("serve"));
    let settings: BTreeMap<_, _> = command
        .get_arguments()
        .filter_map(|argument| {
            let variable = argument.get_env()?.to_str().unwrap().to_owned();
            let defaults = argument.get_default_values().iter();
            let default = defaults
                .map(|value| value.to_str().unwrap())
                .collect::<Vec<_>>()
                .join(",");
            let help = argument
                .get_long_help()
                .or(argument.get_help())
                .unwrap()
                .to_string();
            let range = help
                .split_once("[range: ")
                .and_then(|(_, rest)| rest.split_once(']'));
            let range = range.map(|(range, _)| range.to_owned()).unwrap_or_default();
            Some((variable, (default, range)))
        })
        .collect();

    let whole = rows("docs/configuration.md", "| `ATTO_WORK_");
    let variables: BTreeSet<_> = whole.iter().map(|row| row[0].clone()).collect();
    assert_eq!(variables, settings.keys().cloned().collect());
    for row in &whole {
        let [variable, meaning, default, range] = &row[..] else {
            panic!("{row:?}");
        };
        assert!(!meaning.is_empty() && !default.is_empty(), "{row:?}");
        let setting = &settings[variable];
        assert_eq!(range, &setting.1, "{variable}");
        // What follows is the default somewhere else.
        let everywhere = default.split("; ").next().unwrap();
        assert!(
            setting.0.is_empty() || everywhere == setting.0,
            "{variable}: {default}"
        );
    }

    let few = rows("README.md", "| `ATTO_WORK_");
    assert!(few.len() >= 10, "{few:?}");
    for row in few {
        let full = whole.iter().find(|full| full[0] == row[0]).unwrap();
        assert_eq!(row[2], full[2], "{}", row[0]);
    }
}

#[test]
fn every_command_has_a_row() {
    let help = work_server(&["--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let commands: BTreeSet<_> = commands
        .lines()
        // What is further in continues a description.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|&command| command != "help")
        .map(str::to_owned)
        .collect();
    assert!(commands.len() > 5, "{help}");
    let described: BTreeSet<_> = rows("docs/commands.md", "| `work-server")
        .iter()
        .flat_map(|row| {
            row[0]
                .split("work-server ")
                .skip(1)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter_map(|usage| usage.split([' ', '`']).next().map(str::to_owned))
        .filter(|command| !command.starts_with('-'))
        .collect();
    assert_eq!(described, commands);
}

#[test]
fn the_table_of_counts_has_the_numbers_that_were_counted() {
    let counted =
        fs::read_to_string(Path::new(ROOT).join("tools/instruction-counts.toml")).unwrap();
    let table = rows("docs/performance.md", "| `");
    let mut compared = 0;
    // NVIDIA's column, the fourth, was counted by hand.
    let columns = [
        (1, "VEGA10"),
        (2, "NAVI21"),
        (3, "NAVI31"),
        (5, "dg2"),
        (6, "tgl"),
        (7, "bmg"),
    ];
    for (column, chip) in columns {
        let line = counted
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{chip} = {{")))
            .unwrap();
        for entry in line.trim_end_matches('}').split(',') {
            let (kernel, count) = entry.split_once('=').unwrap();
            let row = table
                .iter()
                .find(|row| row.len() == 8 && row[0] == kernel.trim())
                .unwrap();
            assert_eq!(
                row[column].trim_matches('*'),
                count.trim(),
                "{kernel} on {chip}"
            );
            compared += 1;
        }
    }
    assert!(compared >= 42, "{compared}");
}

#[test]
fn every_name_in_the_documentation_is_one_of_the_program() {
    // Rules record series of their own names.
    let sources: String = texts(&["rs", "yaml"])
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    let sources: BTreeSet<_> = words(&sources).collect();
    let is_known = |name: &str| {
        let base = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        sources.contains(name) || base.is_some_and(|base| sources.contains(base))
    };
    let mut names = 0;
    for (path, text) in texts(&["md"]) {
        // It also names what is no more.
        if path == Path::new("CHANGELOG.md") {
            continue;
        }
        // Of `atto_work_connections*` and the like only the beginning is a name.
        let stems = |name: &&str| !name.ends_with('_');
        let ours = |name: &&str| name.starts_with("ATTO_WORK_") || name.starts_with("atto_work_");
        for name in words(&text).filter(ours).filter(stems) {
            names += 1;
            assert!(is_known(name), "{}: {name}", path.display());
        }
    }
    assert!(names > 100, "{names}");
}

/// A Markdown file, as far as links go.
struct Page {
    links: Vec<String>,
    anchors: BTreeSet<String>,
}

impl Page {
    fn read(text: &str) -> Self {
        let mut page = Self {
            links: Vec::new(),
            anchors: BTreeSet::new(),
        };
        let mut heading = None::<String>;
        for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = anchor(&heading.take().unwrap_or_default());
                    let mut repeated = (1..).map(|number| format!("{anchor}-{number}"));
                    let anchor = if page.anchors.contains(&anchor) {
                        repeated
                            .find(|anchor| !page.anchors.contains(anchor))
                            .unwrap()
                    } else {
                        anchor
                    };
                    page.anchors.insert(anchor);
                }
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                _ => {}
            }
        }
        page
    }
}

/// The anchor that GitHub gives a heading: lower case, hyphens for spaces, and no other punctuation.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// What is wrong with a link of this page, if anything is. Other sites are not asked.
fn broken(pages: &BTreeMap<PathBuf, Page>, page: &Path, link: &str) -> Option<String> {
    let (from, link) = match link.strip_prefix(ON_GITHUB) {
        Some(link) => (Path::new(""), link),
        None if link.contains("://") || link.starts_with("mailto:") => return None,
        None => (page.parent().unwrap(), link),
    };
    let (path, anchor) = match link.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (link, None),
    };
    let target = if path.is_empty() {
        page.to_owned()
    } else {
        let mut target = from.to_owned();
        for component in Path::new(path).components() {
            match component {
                Component::ParentDir if !target.pop() => {
                    return Some("it leaves the repository".to_owned());
                }
                Component::Normal(name) => target.push(name),
                _ => {}
            }
        }
        target
    };
    if !Path::new(ROOT).join(&target).exists() {
        return Some(format!("{} is not there", target.display()));
    }
    let anchor = anchor?;
    match pages.get(&target) {
        None => Some("only a page has anchors".to_owned()),
        Some(page) if !page.anchors.contains(anchor) => Some(format!("no heading #{anchor}")),
        Some(_) => None,
    }
}

/// Every Markdown file of the repository, by its path from the root.
fn pages() -> BTreeMap<PathBuf, Page> {
    let texts = texts(&["md"]).into_iter();
    texts
        .map(|(path, text)| (path, Page::read(&text)))
        .collect()
}

/// The text files of the repository with these extensions, by their paths from the root.
fn texts(extensions: &[&str]) -> Vec<(PathBuf, String)> {
    let mut texts = Vec::new();
    let mut folders = vec![PathBuf::from(ROOT)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_foreign = matches!(name, "target" | "node_modules" | "corpus")
                || name.starts_with('.') && name != ".github";
            if is_foreign {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let extension = path
                .extension()
                .map(|extension| extension.to_str().unwrap())
                .unwrap_or_default();
            if extensions.contains(&extension)
                && let Ok(text) = fs::read_to_string(&path)
            {
                texts.push((path.strip_prefix(ROOT).unwrap().to_owned(), text));
            }
        }
    }
    texts
}

/// The cells of the rows of a page that begin with this, without the quotes of code.
fn rows(page: &str, beginning: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(Path::new(ROOT).join(page)).unwrap();
    let rows = text.lines().filter(|line| line.starts_with(beginning));
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        cells
            .map(|cell| cell.trim().trim_matches('`').to_owned())
            .collect()
    })
    .collect()
}

/// The identifiers of a text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
}
