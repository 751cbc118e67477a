//! A session of a terminal, as a page shows it, beside what really happens.

use super::page::Block;
use super::scene::Scene;
use regex::Regex;
use std::collections::BTreeMap;

/// A command and what is shown below it.
#[derive(Default)]
struct Typed {
    /// As they stand on the page.
    lines: Vec<String>,
    shown: Vec<String>,
}

impl Typed {
    fn command(&self) -> String {
        let words = self.lines.iter().map(|line| line.get(2..).unwrap_or_default());
        words.flat_map(|line| [line, "\n"]).collect()
    }
}

/// Plays an example. Returns its new lines if it shows something else and is to be blessed.
pub(super) fn session(scene: &Scene, block: &Block) -> Result<Option<Vec<String>>, String> {
    let typed = typed(&block.lines)?;
    let last = typed.len().saturating_sub(1);
    let bless = std::env::var_os("BLESS").is_some();
    let mut lines = Vec::new();
    let mut changed = false;
    for (number, one) in typed.iter().enumerate() {
        let command = one.command();
        let (code, said) =
            if block.on_terminal { scene.terminal(&command, &dialogue(&one.shown)) } else { scene.command(&command) };
        let expected = if number == last { block.exit } else { 0 };
        if code != expected {
            return Err(format!("`{}` ended with {code}, not {expected}:\n{said}", command.trim_end()));
        }
        lines.extend(one.lines.iter().cloned());
        let said: Vec<String> = said.lines().map(|line| line.trim_end().to_owned()).collect();
        // An example that shows nothing of a command says nothing about it.
        if one.shown.is_empty() || matches(&one.shown, &said) {
            lines.extend(one.shown.iter().cloned());
        } else if bless {
            lines.extend(said);
            changed = true;
        } else {
            let said = said.join("\n");
            return Err(format!("`{}` shows something else:\n{said}", command.trim_end()));
        }
    }
    Ok(changed.then_some(lines))
}

/// The prompts of a shell that are shown, and what is typed after each.
fn dialogue(shown: &[String]) -> Vec<(String, String)> {
    let prompt = Regex::new(r"^(\[[^\]]+\] \S+ # )(.*)$").expect("a rule of this file");
    let typed = shown.iter().filter_map(|line| prompt.captures(line));
    typed.map(|found| (found[1].to_owned(), format!("{}\n", &found[2]))).collect()
}

fn typed(lines: &[String]) -> Result<Vec<Typed>, String> {
    let mut found: Vec<Typed> = Vec::new();
    for line in lines {
        match found.last_mut() {
            _ if line.starts_with("$ ") => found.push(Typed { lines: vec![line.clone()], shown: Vec::new() }),
            Some(last) if (line.starts_with("> ") || line == ">") && last.shown.is_empty() => {
                last.lines.push(line.clone());
            }
            Some(last) => last.shown.push(line.clone()),
            None => return Err("an example of `console` begins with `$ `".to_owned()),
        }
    }
    Ok(found)
}

/// Whether what was said is what is shown, where a line `...` stands for any lines.
fn matches(shown: &[String], said: &[String]) -> bool {
    match (shown.split_first(), said.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first.trim() == "..." => {
            (0..=said.len()).any(|skipped| matches(rest, &said[skipped..]))
        }
        (Some((first, rest)), Some((line, others))) => line_matches(first, line) && matches(rest, others),
        _ => false,
    }
}

fn line_matches(shown: &str, said: &str) -> bool {
    let (shown, said) = (steady(shown), steady(said));
    let parts: Vec<String> = shown.split("...").map(regex::escape).collect();
    Regex::new(&format!("^{}$", parts.join(".*"))).expect("made of escaped parts").is_match(&said)
}

/// Without what differs from run to run: numbers of lines of progress, digests and ids, times, sizes, how wide a column is by them.
fn steady(text: &str) -> String {
    let rules = [
        (r"^#\d+ ", "#N "),
        (r"\b[0-9a-f]{64}\b", "DIGEST"),
        (r"\b[0-9a-f]{12}\b|\b[0-9a-f]{16}\b", "ID"),
        (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "DATE"),
        (r"\b(Less than a second|About a minute|\d+(\.\d+)? ?(ms|s|seconds?|minutes?|hours?|days?))( ago)?\b", "TIME"),
        (r"\b\d+(\.\d+)? ?([kKMGT]i?)?B\b(/s)?", "SIZE"),
        (r" {2,}", "  "),
    ];
    rules.iter().fold(text.trim_end().to_owned(), |text, (rule, word)| {
        Regex::new(rule).expect("a rule of this file").replace_all(&text, *word).into_owned()
    })
}

/// The page with the content of some examples, by the lines of their fences, exchanged.
pub(super) fn with_blocks(text: &str, blocks: &BTreeMap<usize, Vec<String>>) -> String {
    let mut result = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        result.push(line.to_owned());
        if let Some(new) = blocks.get(&(number + 1)) {
            result.extend(new.iter().cloned());
            let end = lines.by_ref().find(|(_, line)| *line == "```");
            result.extend(end.map(|(_, line)| line.to_owned()));
        }
    }
    result.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_varies_is_equal_and_what_is_left_out_is_anything() {
        assert!(line_matches("ID   CREATED\n1   3 seconds ago   x", "ID   CREATED\n1   Less than a second ago   x"));
        let said = lines("built sha256:0123456789ab in 1.2s\nsecond\nthird\n12 MB of 3");
        assert!(matches(&lines("built sha256:ba9876543210 in 300ms\n...\n4.1 MB of 3"), &said));
        assert!(matches(&lines("built ...\nsecond\nth...d\n9 kB of 3"), &said));
        assert!(!matches(&lines("built ...\nsecond\n9 kB of 3"), &said));
        assert!(!matches(&lines("built ...\nsecond\nthird\n9 kB of 4"), &said));
        assert!(!matches(&lines("built ...\nsecond"), &said));
    }

    #[test]
    fn blessed_examples_take_the_place_of_what_was_shown() {
        let page = "a\n```console\n$ x\nold\n```\nb\n";
        let new = BTreeMap::from([(2, lines("$ x\nnew"))]);
        assert_eq!(with_blocks(page, &new), "a\n```console\n$ x\nnew\n```\nb\n");
    }
}
