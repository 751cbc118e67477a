//! A word becomes texts: variables are put in, quotes are taken away, wildcards become names of files.

use crate::run::Shell;

/// A character, and whether it was quoted.
type Character = (char, bool);

/// Expands words. An unquoted variable that is empty leaves no word; white space in it parts words.
pub(crate) fn words(shell: &Shell, words: &[String]) -> Vec<String> {
    words.iter().flat_map(|word| fields(shell, word)).flat_map(|field| names(&field)).collect()
}

/// Expands one word that stays one: a value, the name of a file.
pub(crate) fn word(shell: &Shell, word: &str) -> String {
    parts(shell, word).into_iter().flatten().map(|(character, _)| character).collect()
}

fn fields(shell: &Shell, word: &str) -> Vec<Vec<Character>> {
    let mut fields: Vec<Vec<Character>> = Vec::new();
    let mut field: Option<Vec<Character>> = None;
    for part in parts(shell, word) {
        // An empty part is a quote that holds nothing, which is a word.
        field = field.or_else(|| part.is_empty().then(Vec::new));
        for (character, quoted) in part {
            // Unquoted white space can only be of a variable.
            if !quoted && character.is_whitespace() {
                fields.extend(field.take());
            } else {
                field.get_or_insert_default().push((character, quoted));
            }
        }
    }
    fields.extend(field);
    fields
}

fn parts(shell: &Shell, word: &str) -> Vec<Vec<Character>> {
    let characters: Vec<char> = word.chars().collect();
    let (mut parts, mut at, mut double) = (Vec::new(), 0, false);
    if characters.first() == Some(&'~') && matches!(characters.get(1), None | Some('/')) {
        parts.push(shell.variable("HOME").unwrap_or_default().chars().map(|character| (character, true)).collect());
        at = 1;
    }
    while let Some(&character) = characters.get(at) {
        at += 1;
        match character {
            '"' => {
                double = !double;
                parts.push(Vec::new());
            }
            '\'' if !double => {
                let text: Vec<Character> =
                    characters[at..].iter().take_while(|next| **next != '\'').map(|next| (*next, true)).collect();
                at += text.len() + 1;
                parts.push(text);
            }
            '\\' if !double || matches!(characters.get(at), Some('"' | '\\' | '$' | '`')) => {
                parts.extend(characters.get(at).filter(|next| **next != '\n').map(|next| vec![(*next, true)]));
                at += 1;
            }
            '$' => {
                let (value, length) = variable(shell, &characters[at..]);
                at += length;
                let value: Vec<Character> = value.chars().map(|character| (character, double)).collect();
                if !value.is_empty() {
                    parts.push(value);
                }
            }
            character => parts.push(vec![(character, double)]),
        }
    }
    parts
}

/// Returns the value of the variable whose name follows, and how long what names it is.
fn variable(shell: &Shell, text: &[char]) -> (String, usize) {
    let is_name = |character: &&char| character.is_ascii_alphanumeric() || **character == '_';
    match text.first() {
        Some('{') => {
            let inner: String = text[1..].iter().take_while(|character| **character != '}').collect();
            let length = inner.chars().count() + 2;
            let (name, default) = inner.split_once(":-").unwrap_or((&inner, ""));
            let value = shell.variable(name).filter(|value| !value.is_empty());
            (value.unwrap_or_else(|| default.to_owned()), length)
        }
        Some('?' | '#' | '@' | '*' | '$' | '0'..='9') => (shell.variable(&text[0].to_string()).unwrap_or_default(), 1),
        _ => {
            let name: String = text.iter().take_while(is_name).collect();
            match name.len() {
                0 => ("$".to_owned(), 0),
                length => (shell.variable(&name).unwrap_or_default(), length),
            }
        }
    }
}

/// Returns the files that a word with wildcards names, sorted; the word itself if there are none.
fn names(field: &[Character]) -> Vec<String> {
    let text: String = field.iter().map(|(character, _)| character).collect();
    if !field.iter().any(|(character, quoted)| !quoted && matches!(character, '*' | '?')) {
        return vec![text];
    }
    let mut found = vec![if text.starts_with('/') { "/".to_owned() } else { String::new() }];
    for part in field.split(|(character, _)| *character == '/').filter(|part| !part.is_empty()) {
        let is_pattern = part.iter().any(|(character, quoted)| !quoted && matches!(character, '*' | '?'));
        let literal: String = part.iter().map(|(character, _)| character).collect();
        let below = |parent: &String| -> Vec<String> {
            if !is_pattern {
                return vec![format!("{parent}{literal}")];
            }
            let directory = if parent.is_empty() { "." } else { parent };
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
            let seen = names.filter(|name| !name.starts_with('.') || part[0].0 == '.');
            seen.filter(|name| matches(part, &name.chars().collect::<Vec<_>>()))
                .map(|name| format!("{parent}{name}"))
                .collect()
        };
        found = found.iter().flat_map(below).map(|path| path + "/").collect();
    }
    let mut found: Vec<String> = found.into_iter().map(|path| path.trim_end_matches('/').to_owned()).collect();
    found.retain(|path| std::fs::symlink_metadata(path).is_ok());
    found.sort();
    if found.is_empty() { vec![text] } else { found }
}

/// Whether a name fits a pattern of `*` and `?`.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<Character> = pattern.chars().map(|character| (character, false)).collect();
    matches(&pattern, &name.chars().collect::<Vec<_>>())
}

fn matches(pattern: &[Character], name: &[char]) -> bool {
    // Where the last `*` was, and where its match ended.
    let (mut at, mut in_name, mut star) = (0, 0, None);
    while in_name < name.len() {
        match pattern.get(at) {
            Some(('*', false)) => {
                star = Some((at, in_name));
                at += 1;
            }
            Some((character, quoted)) if (*character == '?' && !quoted) || *character == name[in_name] => {
                at += 1;
                in_name += 1;
            }
            _ => match star {
                Some((place, end)) => {
                    star = Some((place, end + 1));
                    (at, in_name) = (place + 1, end + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|character| *character == ('*', false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_expanded_as_in_other_shells() {
        let mut shell = Shell::new();
        shell.set("A", "x  y");
        shell.set("E", "");
        let expanded = |word: &str| words(&shell, &[word.to_owned()]);
        assert_eq!(expanded("$A"), ["x", "y"]);
        assert_eq!(expanded("\"$A\"z"), ["x  yz"]);
        assert_eq!(expanded("p${A}q"), ["px", "yq"]);
        assert_eq!(expanded("$E"), [""; 0]);
        assert_eq!(expanded("\"$E\""), [""]);
        assert_eq!(expanded("''"), [""]);
        assert_eq!(expanded("'$A'\\$A\"\\$A \\n\""), ["$A$A$A \\n"]);
        assert_eq!(expanded("${E:-d} ".trim()), ["d"]);
        assert_eq!(expanded("a$"), ["a$"]);
        assert_eq!(expanded("\"*\""), ["*"]);
        assert_eq!(expanded("/no/such/*"), ["/no/such/*"]);
    }

    #[test]
    fn wildcards_name_files() {
        assert!(fits("*.tx?", "a.txt") && fits("*", "") && fits("a*b*c", "aXbXbc"));
        assert!(!fits("?", "") && !fits("a*", "b") && !fits("*.c", "a.cc"));
        let shell = Shell::new();
        let found = words(&shell, &["/proc/sel*/stat?s".to_owned()]);
        assert_eq!(found, ["/proc/self/status"]);
    }
}
