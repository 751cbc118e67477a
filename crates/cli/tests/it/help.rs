//! Manual pages and completions say what `--help` says, and the programs that read them can.

use crate::reference::pages;
use regex::Regex;
use stave_testkit::{Bench, needs};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The options that a help text lists, as they are typed.
fn options(help: &str) -> BTreeSet<String> {
    let listed = Regex::new(r"(?m)^ {2,6}(?:(-\w), )?(--[a-z][a-z0-9-]*|-\w\b)").expect("a pattern");
    let found = listed.captures_iter(help).flat_map(|found| [found.get(1), found.get(2)]);
    found.flatten().map(|option| option.as_str().to_owned()).collect()
}

/// Each command's words, and what its `--help` prints.
fn helps(bench: &Bench) -> Vec<(Vec<String>, String)> {
    let all = pages(bench).into_iter().map(|(words, _)| {
        let help = bench.run(words.iter().map(String::as_str).chain(["--help"])).success().out();
        (words, help)
    });
    all.collect()
}

fn file(words: &[String]) -> String {
    let words: Vec<&str> = std::iter::once("stave").chain(words.iter().map(String::as_str)).collect();
    format!("{}.1", words.join("-"))
}

/// What the program `name` says about a file, which it has to accept.
fn accepts(name: &str, args: &[&str], path: &Path) {
    let Some(program) = needs::program(name) else { return };
    let output = Command::new(program).args(args).arg(path).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{name} says of {}:\n{said}", path.display());
}

#[test]
fn every_command_has_a_manual_page_with_all_that_its_help_says() {
    let bench = Bench::new();
    let said = bench.run(["man", "pages/man1"]).success().line();
    let helps = helps(&bench);
    assert_eq!(said, format!("{} pages", helps.len()));
    for (words, help) in helps {
        let path = bench.work().join("pages/man1").join(file(&words));
        let page = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{words:?} has no page: {error}"));
        let plain =
            page.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\fI", "").replace("\\&", "");
        let options = options(&help);
        assert!(options.contains("--help"), "{help}");
        for option in options {
            assert!(plain.contains(&option), "{}: {option} is missing", path.display());
        }
        for example in help.lines().filter(|line| line.starts_with("  stave ")) {
            let example = example.trim().replace('\\', "\\e");
            let shown = plain.replace("\\*(Aq", "'").replace("\\(aq", "'").replace("\\\\", "\\e");
            assert!(shown.contains(&example), "{}: `{example}` is missing", path.display());
        }
        accepts("mandoc", &["-T", "lint", "-W", "error"], &path);
    }
}

#[test]
fn completions_know_every_option_and_the_shells_read_them() {
    let bench = Bench::new();
    let helps = helps(&bench);
    for (shell, file) in [("bash", "stave.bash"), ("zsh", "_stave"), ("fish", "stave.fish")] {
        let script = bench.run(["completions", shell]).success().out();
        bench.file(file, &script);
        for option in helps.iter().flat_map(|(_, help)| options(help)) {
            let written = match shell {
                // fish has the names without dashes: `-l no-cache`, `-s q`.
                "fish" => option
                    .strip_prefix("--")
                    .map_or_else(|| format!("-s {}", option.trim_start_matches('-')), |long| format!("-l {long}")),
                _ => option.clone(),
            };
            assert!(script.contains(&written), "{shell}: {option} is missing");
        }
        accepts(shell, &["-n"], &bench.work().join(file));
    }
    let bash = "source stave.bash; COMP_WORDS=(stave build --no-c); COMP_CWORD=2; \
                _stave stave --no-c build; printf '%s\\n' \"${COMPREPLY[@]}\"";
    completes(&bench, "bash", bash);
    completes(&bench, "fish", "source stave.fish; complete --do-complete 'stave build --no-c'");
}

/// The options that a shell offers for `stave build --no-c`.
fn completes(bench: &Bench, shell: &str, script: &str) {
    let Some(program) = needs::program(shell) else { return };
    let mut command = bench.other(&program);
    command.args(["-c", script]);
    let said = bench.finish(command).out();
    let offered: Vec<&str> = said.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(offered, ["--no-cache", "--no-cache-filter", "--no-color"], "{shell}: {said}");
}
