//! Commands of the shell, as far as they can be understood without doubt: a chain of simple ones, joined by `&&`.

use std::ops::Range;

/// One command of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Simple {
    /// Its words, without quotes.
    pub(crate) words: Vec<String>,
    /// Where it stands in the text.
    pub(crate) range: Range<usize>,
    /// Whether a variable is in it.
    pub(crate) has_variable: bool,
}

impl Simple {
    /// Returns the name of its program, without directories; nothing if it only sets variables.
    pub(crate) fn program(&self) -> &str {
        let word = self.called().next().map(String::as_str).unwrap_or_default();
        word.rsplit('/').next().unwrap_or(word)
    }

    /// Returns its words from the program on: without variables that are set for it alone.
    fn called(&self) -> impl Iterator<Item = &String> {
        let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        self.words.iter().skip_while(move |word| word.split_once('=').is_some_and(|(name, _)| is_name(name)))
    }

    /// Returns its words after the program that are no options.
    pub(crate) fn operands(&self) -> impl Iterator<Item = &str> {
        self.called().skip(1).map(String::as_str).filter(|word| !word.starts_with('-'))
    }
}

/// Returns the commands of a chain; nothing for anything else: other operators, substitutions, comments.
pub(crate) fn chain(text: &str) -> Option<Vec<Simple>> {
    let mut commands = Vec::new();
    let mut command: Option<Simple> = None;
    let mut chars = text.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        match char {
            ' ' | '\t' => {}
            '&' => {
                chars.next().filter(|(_, next)| *next == '&')?;
                commands.push(command.take()?);
            }
            ';' | '|' | '(' | ')' | '{' | '}' | '`' | '#' | '!' | '\n' | '\r' => return None,
            // Words of their own, which no command that is understood has.
            '<' | '>' => {
                let command = command.as_mut()?;
                command.words.push(char.to_string());
                command.range.end = at + 1;
            }
            _ => {
                let (word, end, has_variable) = word(text, at)?;
                while chars.next_if(|(next, _)| *next < end).is_some() {}
                let command =
                    command.get_or_insert_with(|| Simple { words: Vec::new(), range: at..end, has_variable: false });
                command.words.push(word);
                command.range.end = end;
                command.has_variable |= has_variable;
            }
        }
    }
    commands.push(command?);
    Some(commands)
}

/// Returns the word that begins at `at`, where it ends, and whether it has a variable.
fn word(text: &str, at: usize) -> Option<(String, usize, bool)> {
    let (mut word, mut has_variable) = (String::new(), false);
    let mut quote = None;
    let mut chars = text[at..].char_indices();
    while let Some((offset, char)) = chars.next() {
        match (quote, char) {
            (None, ' ' | '\t' | '&' | ';' | '|' | '<' | '>' | '(' | ')' | '\n' | '\r') => {
                return Some((word, at + offset, has_variable));
            }
            (None, '\'' | '"') => quote = Some(char),
            (Some(open), char) if open == char => quote = None,
            (Some('\''), char) => word.push(char),
            (_, '`') => return None,
            (_, '\\') => word.push(chars.next()?.1),
            (_, '$') => {
                if chars.as_str().starts_with('(') {
                    return None;
                }
                has_variable = true;
                word.push(char);
            }
            (_, char) => word.push(char),
        }
    }
    quote.is_none().then_some((word, text.len(), has_variable))
}

/// Whether `script` calls a program, also where it is more than a chain.
pub(crate) fn calls(script: &str, program: &str) -> bool {
    if let Some(commands) = chain(script) {
        return commands.iter().any(|command| command.program() == program);
    }
    let is_between = |char: char| char.is_whitespace() || ";&|()[]\"',`".contains(char);
    let in_bin = format!("/bin/{program}");
    script.split(is_between).any(|word| word == program || word.ends_with(&in_bin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Option<Vec<String>> {
        Some(chain(text)?.into_iter().map(|command| command.words.join("|")).collect())
    }

    #[test]
    fn a_chain_is_taken_apart() {
        let text = "apt-get update  && apt-get install -y 'a b' \"$X\" c\\ d";
        assert_eq!(words(text).unwrap(), ["apt-get|update", "apt-get|install|-y|a b|$X|c d"]);
        let commands = chain(text).unwrap();
        assert_eq!(&text[commands[0].range.clone()], "apt-get update");
        assert_eq!(words("a > b").unwrap(), ["a|>|b"]);
        assert_eq!((commands[0].has_variable, commands[1].has_variable), (false, true));
    }

    #[test]
    fn what_is_more_than_a_chain_is_none() {
        for text in
            ["a; b", "a || b", "a | b", "a &", "a && ", "(a)", "$(a)", "`a`", "a 2>&1", "> b", "a 'b", "", "# a"]
        {
            assert!(words(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_program_is_called_by_its_whole_name() {
        assert!(calls("set -e; apt-get update", "apt-get") && calls("/usr/bin/npm ci", "npm"));
        assert!(!calls("my-apt-get-x update", "apt-get") && !calls("rm -rf /var/lib/apt/lists", "apt"));
        assert!(calls("CGO_ENABLED=0 GOOS=linux go build -o x .", "go") && !calls("A=go", "go"));
        assert!(!calls("echo npm", "npm") && calls("if true; then npm ci; fi", "npm"));
    }
}
