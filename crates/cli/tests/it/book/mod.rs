//! The book: every example in it is run or read.
//!
//! A page is a scene of its own: its files are written and its commands are run in the order in which they stand there, and
//! what a command shows is compared with what is printed below it. `...` stands for anything; digests, times and sizes
//! may differ. With `BLESS=1` what is shown is written anew. Comments in front of an example say what it is:
//!
//! | comment | meaning |
//! | --- | --- |
//! | `<!-- file: PATH -->` | the next example is this file of the scene |
//! | `<!-- is: PATH -->` | the next example is this file of the repository, to the byte; it is a file of the scene, too |
//! | `<!-- hidden file: PATH`, lines, `-->` | a file of the scene that readers need not see |
//! | `<!-- hidden: COMMAND -->` | a command that readers need not see |
//! | `<!-- exit: CODE -->` | the last command of the next example ends so; all others end with 0 |
//! | `<!-- terminal -->` | the only command of the next example has a terminal; what follows a prompt `[...] DIR # ` is typed there |
//! | `<!-- new scene -->` | what follows begins with nothing |

mod page;
mod scene;
mod shown;

use page::{Block, Part, page};
use regex::Regex;
use scene::Scene;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Folders whose pages other tests make: `errors`, `checks`, `reference` here, and `cargo xtask generate`.
const MADE: [&str; 3] = ["errors", "checks", "reference"];

macro_rules! pages {
    ($($name:ident => $path:literal),* $(,)?) => {
        /// Every page with something to run.
        const PAGES: &[&str] = &[$($path),*];
        $(
            #[test]
            fn $name() {
                run($path);
            }
        )*
    };
}

pages! {
    scripts_of_dockers_run_as_the_page_says => "from-docker.md",
    builds_of_buildahs_run_as_the_page_says => "from-buildah.md",
    the_command_of_kanikos_runs_as_the_page_says => "from-kaniko.md",
    the_first_build_takes_what_its_page_says => "first-build.md",
    the_recipes_are_the_files_that_are_tested => "ci.md",
    the_examples_about_life_without_root_are_true => "rootless.md",
    every_cause_is_told_as_the_book_says => "explain.md",
    the_history_is_as_the_book_says => "history.md",
    advice_is_given_as_the_book_says => "advice.md",
    the_examples_about_attestations_are_true => "attestations.md",
    the_examples_about_caching_are_true => "caching.md",
    the_examples_about_the_language_are_read => "dockerfile.md",
    the_examples_about_outputs_are_true => "outputs.md",
    the_examples_about_platforms_are_true => "platforms.md",
    the_examples_about_registries_are_true => "registries.md",
    the_examples_about_the_report_are_true => "report.md",
    the_examples_about_reproducible_builds_are_true => "reproducible.md",
    a_build_has_a_trace_as_the_book_says => "traces.md",
    a_failed_build_can_be_entered_as_the_book_says => "workbench.md",
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// Plays one page.
fn run(path: &str) {
    let file = docs().join(path);
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
    let parts = page(&text).unwrap_or_else(|why| panic!("{path}: {why}"));
    let Some(mut scene) = Scene::new() else { return };
    let mut blessed = BTreeMap::new();
    let mut wrong = Vec::new();
    for part in parts {
        match part {
            Part::NewScene => scene = Scene::new().expect("there was one before"),
            Part::HiddenFile { path, content } => scene.write(&path, &content),
            Part::Hidden { command, line } => {
                let (code, said) = scene.command(&command);
                assert!(code == 0, "{path}:{line}: `{command}` ended with {code}:\n{said}");
            }
            Part::Block(block) => match play(&mut scene, &block) {
                Ok(lines) => drop(lines.map(|lines| blessed.insert(block.line, lines))),
                Err(why) => wrong.push(format!("docs/{path}:{}: {why}", block.line)),
            },
        }
    }
    if !blessed.is_empty() && wrong.is_empty() {
        fs::write(&file, shown::with_blocks(&text, &blessed)).expect("a writable repository");
    }
    assert!(wrong.is_empty(), "the book is wrong (BLESS=1 writes what is shown anew):\n{}", wrong.join("\n\n"));
}

/// Runs or reads one example. Returns its new lines where it has to be blessed.
fn play(scene: &mut Scene, block: &Block) -> Result<Option<Vec<String>>, String> {
    if let Some(path) = &block.is {
        let file = docs().join("..").join(path);
        let known = fs::read_to_string(&file).map_err(|error| format!("{path}: {error}"))?;
        let lines: Vec<String> = known.lines().map(str::to_owned).collect();
        if known != block.text() {
            let is_blessed = std::env::var_os("BLESS").is_some();
            return if is_blessed { Ok(Some(lines)) } else { Err(format!("this is not what {path} says")) };
        }
        scene.write(Path::new(path).file_name().map_or(path, |name| name.to_str().unwrap_or(path)), &known);
    }
    if let Some(path) = &block.file {
        scene.write(path, &block.text());
    }
    match block.language.as_str() {
        "console" => shown::session(scene, block),
        "dockerfile" if block.file.is_none() && block.is.is_none() => {
            scene.read_dockerfile(&block.text()).map(|()| None)
        }
        "yaml" => parsed(serde_saphyr::from_str::<serde_json::Value>(&block.text())),
        "json" => parsed(serde_json::from_str::<serde_json::Value>(&block.text())),
        "toml" => parsed(block.text().parse::<toml::Table>()),
        _ => Ok(None),
    }
}

fn parsed<T, E: std::fmt::Display>(outcome: Result<T, E>) -> Result<Option<Vec<String>>, String> {
    outcome.map(|_| None).map_err(|error| error.to_string())
}

/// All pages by their paths below `docs`.
fn all() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![docs()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("docs is there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let name = path.strip_prefix(docs()).expect("below docs").display().to_string();
                found.insert(name, fs::read_to_string(&path).expect("a page is text"));
            }
        }
    }
    found
}

/// What becomes of each example is counted and told.
#[test]
fn every_example_of_the_book_is_run_or_read() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (path, text) in all() {
        let parts = page(&text).unwrap_or_else(|why| panic!("docs/{path}: {why}"));
        let is_made = MADE.iter().any(|dir| path.starts_with(&format!("{dir}/")));
        for block in parts.iter().filter_map(Part::block) {
            let what = match block.language.as_str() {
                _ if is_made => "made by the tests of its folder",
                "console" => "run",
                "text" => "a picture or a form, nothing to run",
                _ if block.file.is_some() || block.is.is_some() => "a file of what is run",
                "dockerfile" | "yaml" | "json" | "toml" => "read by stave or its parser",
                other => {
                    wrong.push(format!("docs/{path}:{}: nothing runs an example in `{other}`", block.line));
                    "unknown"
                }
            };
            *counts.entry(what).or_default() += 1;
            if !is_made && !["text"].contains(&block.language.as_str()) && !PAGES.contains(&path.as_str()) {
                wrong.push(format!("docs/{path}:{}: this page is in no test of `book`", block.line));
            }
        }
    }
    for (what, count) in counts {
        println!("{count} examples: {what}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The first page of the repository. Its examples name repositories and registries of nobody's, so they are not run.
fn readme() -> String {
    let text = fs::read_to_string(docs().join("../README.md")).expect("it is there");
    let typed = text.lines().map(|line| match line.strip_prefix("$ ") {
        Some(command) => format!("`{}`\n", command.split(" #").next().unwrap_or(command)),
        None => format!("{line}\n"),
    });
    typed.collect()
}

/// What stands within a line is not run; that its commands and options exist is checked.
#[test]
fn the_commands_of_the_repository_that_the_book_names_exist() {
    let main = fs::read_to_string(docs().join("../xtask/src/main.rs")).expect("it is there");
    let pattern = Regex::new(r"`cargo xtask ([a-z-]+)").expect("a pattern");
    let texts = all();
    let names: BTreeSet<&str> =
        texts.values().flat_map(|text| pattern.captures_iter(text)).map(|found| found.extract::<1>().1[0]).collect();
    let missing: Vec<&str> = names.iter().copied().filter(|name| !main.contains(&format!("\"{name}\""))).collect();
    assert!(names.contains("build") && missing.is_empty(), "no such commands: {missing:?}");
}

#[test]
fn the_commands_and_options_that_the_book_names_exist() {
    let Some(scene) = Scene::new() else { return };
    let named = Regex::new(r"`stave ([a-z]+)([^`\n]*)`").expect("a pattern");
    let option = Regex::new(r"(?:^| )(--[a-z][a-z0-9-]*)").expect("a pattern");
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    let mut wrong = Vec::new();
    // What is decided stays as it was said.
    let mut texts: BTreeMap<String, String> =
        all().into_iter().filter(|(path, _)| !path.starts_with("decisions/")).collect();
    texts.insert("../README.md".to_owned(), readme());
    for (path, text) in texts {
        for found in named.captures_iter(&text) {
            let (command, rest) = (&found[1], &found[2]);
            let inner = rest.trim_start().split([' ', '|', '`']).next().unwrap_or_default();
            let help = helps.entry(format!("{command} {inner}")).or_insert_with(|| {
                let whole = |words: &str| scene.command(&format!("stave {words} --help"));
                let (code, text) = if inner.starts_with(|first: char| first.is_ascii_lowercase()) {
                    whole(&format!("{command} {inner}"))
                } else {
                    whole(command)
                };
                if code == 0 { text } else { String::new() }
            });
            if help.is_empty() {
                wrong.push(format!("docs/{path}: `{}`: no such command", &found[0]));
            }
            for option in option.captures_iter(rest).map(|found| found[1].to_owned()) {
                if !help.contains(&option) {
                    wrong.push(format!("docs/{path}: {}: no option `{option}`", &found[0]));
                }
            }
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
