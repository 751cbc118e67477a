//! Lengths of files and functions, and the budget that no file may leave.

use super::Source;
use crate::table::table;
use std::collections::BTreeMap;

/// A logic file longer than this is several things. A table may be longer if its first line says that it is one.
const FILE_LINES_MAX: usize = 800;
/// A function longer than this is several things.
const FUNCTION_LINES_MAX: usize = 150;

/// A function's name and length.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    lines: usize,
}

/// Files and functions over the budget.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_product()) {
        let lines = source.text.lines().count();
        let is_table = source.text.lines().next().is_some_and(|line| line.to_lowercase().contains("table"));
        if lines > FILE_LINES_MAX && !is_table {
            findings.push(format!("{} has {lines} lines, at most {FILE_LINES_MAX} are allowed", source.path.display()));
        }
        for function in functions(&source.text) {
            if function.lines > FUNCTION_LINES_MAX {
                let (path, Function { name, lines }) = (source.path.display(), function);
                findings.push(format!("{path}: `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX} are allowed"));
            }
        }
    }
    findings
}

/// A table with a row for each crate.
pub(super) fn report(sources: &[Source]) -> String {
    let mut crates: BTreeMap<String, Vec<&Source>> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.is_product()) {
        let name = source.path.iter().nth(1).map(|part| part.to_string_lossy().into_owned());
        crates.entry(name.unwrap_or_default()).or_default().push(source);
        crates.entry("all".to_owned()).or_default().push(source);
    }
    let rows: Vec<Vec<String>> = crates.iter().map(|(name, sources)| row(name, sources)).collect();
    let head = ["crate", "files", "lines", "median", "p90", "longest", "functions", "over 70", "longest function"];
    table(&head, &rows)
}

fn row(name: &str, sources: &[&Source]) -> Vec<String> {
    let mut lengths: Vec<usize> = sources.iter().map(|source| source.text.lines().count()).collect();
    lengths.sort_unstable();
    let at = |percent: usize| lengths[(lengths.len() - 1) * percent / 100];
    let functions: Vec<Function> = sources.iter().flat_map(|source| functions(&source.text)).collect();
    let long = functions.iter().filter(|function| function.lines > 70).count();
    let longest = functions.iter().max_by_key(|function| function.lines);
    let longest = longest.map_or("-".to_owned(), |function| format!("{} ({})", function.lines, function.name));
    let numbers = [lengths.len(), lengths.iter().sum(), at(50), at(90), at(100), functions.len(), long];
    [name.to_owned()].into_iter().chain(numbers.map(|number| number.to_string())).chain([longest]).collect()
}

/// The functions of a formatted file: from a line with `fn` to the closing brace at the same depth.
fn functions(text: &str) -> Vec<Function> {
    let mut found = Vec::new();
    let mut open: Option<(String, usize, usize)> = None;
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match &open {
            None => {
                if let Some(name) = function_name(line.trim_start()) {
                    // A function of one line, or a declaration without a body, is not open after it.
                    if !line.ends_with(';') && !line.ends_with('}') {
                        open = Some((name, indent, number));
                    }
                }
            }
            Some((name, depth, start)) if indent == *depth && line.trim_start().starts_with('}') => {
                found.push(Function { name: name.clone(), lines: number - start + 1 });
                open = None;
            }
            Some(_) => {}
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let (before, after) = line.split_once("fn ")?;
    let modifiers = before.split_whitespace().all(|word| {
        matches!(word, "pub" | "pub(crate)" | "pub(super)" | "const" | "async" | "unsafe" | "extern" | "\"C\"")
    });
    let name: String = after.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect();
    (modifiers && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_reaches_to_its_own_brace() {
        let text = "impl A {\n    pub(crate) fn long(\n        x: u8,\n    ) -> u8 {\n        if x > 0 {\n            1\n        } else {\n            2\n        }\n    }\n}\n";
        assert_eq!(functions(text), [Function { name: "long".to_owned(), lines: 9 }]);
    }
}
