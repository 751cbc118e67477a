//! `docs/reference` is what `--help` says. With `BLESS=1` the pages are written anew.

use stave_testkit::Bench;
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference")
}

/// Words of a command, and the name of its page.
pub(crate) fn pages(bench: &Bench) -> Vec<(Vec<String>, String)> {
    let mut pages = vec![(Vec::new(), "stave.md".to_owned())];
    for command in commands(&bench.run(["--help"]).success().out()) {
        let page = format!("{command}.md");
        for inner in commands(&bench.run([command.as_str(), "--help"]).success().out()) {
            let page = format!("{command}-{inner}.md");
            pages.push((vec![command.clone(), inner], page));
        }
        pages.push((vec![command], page));
    }
    pages
}

/// The names below `Commands:` in a help text.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    listed.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn the_reference_pages_are_what_help_says() {
    let bench = Bench::new();
    let bless = std::env::var_os("BLESS").is_some();
    let pages = pages(&bench);
    assert!(pages.len() > 20, "{pages:?}");
    for (words, page) in &pages {
        let mut args: Vec<&str> = words.iter().map(String::as_str).collect();
        args.push("--help");
        let help = bench.run(&args).success().out();
        let title: Vec<&str> = std::iter::once("stave").chain(words.iter().map(String::as_str)).collect();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        let content = format!(
            "<!-- Made from --help: BLESS=1 cargo test -p stave-cli reference -->\n# {}\n\n```text\n{}\n```\n",
            title.join(" "),
            lines.join("\n").trim_end()
        );
        let path = folder().join(page);
        if bless {
            fs::create_dir_all(folder()).expect("a writable repository");
            fs::write(&path, &content).expect("a writable repository");
        }
        let known = fs::read_to_string(&path).unwrap_or_default();
        assert!(known == content, "`{}` is out of date: run this test with BLESS=1", path.display());
    }
}

#[test]
fn the_reference_has_no_page_of_a_command_that_is_gone() {
    let bench = Bench::new();
    let known: Vec<String> = pages(&bench).into_iter().map(|(_, page)| page).collect();
    for entry in fs::read_dir(folder()).expect("the pages are there") {
        let name = entry.expect("an entry").file_name().display().to_string();
        let by_hand = ["README.md", "progress.md", "templates.md"];
        assert!(known.contains(&name) || by_hand.contains(&name.as_str()), "`{name}` is of no command");
    }
}
