//! The words of a text in Rego: what it may ask for, what it imports, and which tests it has.
//!
//! A word in a comment counts for nothing, a text counts where it is one word: `image["labels"]`.

use std::collections::BTreeSet;

/// The words of one or more texts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Words {
    /// Words that follow a dot or are a text.
    fields: Vec<Field>,
    /// Names in front of an opening parenthesis, and their lines.
    calls: Vec<(String, usize)>,
    imports: Vec<String>,
    tests: Vec<String>,
}

/// A word that may be the name of a field.
#[derive(Debug, Clone)]
struct Field {
    /// The word in front of the dot, if there is one.
    of: String,
    name: String,
    /// Its line, counted from 1.
    line: usize,
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// Returns a line without its comment, and the texts in it.
fn without_comment(line: &str) -> (String, Vec<String>) {
    let (mut code, mut texts) = (String::new(), Vec::new());
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '#' => break,
            '"' | '`' => {
                let mut text = String::new();
                while let Some(next) = letters.next() {
                    match next {
                        '\\' if letter == '"' => text.extend(letters.next()),
                        end if end == letter => break,
                        other => text.push(other),
                    }
                }
                texts.push(text);
                code.push('"');
            }
            other => code.push(other),
        }
    }
    (code, texts)
}

/// The document of an image.
const IMAGE: &str = "image";

/// Returns the names that are `input.image` wherever they stand: they are given nothing else, and are used only to reach
/// a field. A name that is used in any other way may mean something else there.
fn images(lines: &[(String, Vec<String>)]) -> BTreeSet<String> {
    let code: Vec<&str> = lines.iter().map(|(code, _)| code.as_str()).collect();
    let code = code.join("\n");
    let (mut given, mut others) = (BTreeSet::new(), BTreeSet::new());
    let mut rest = code.as_str();
    let mut before = ' ';
    while let Some(letter) = rest.chars().next() {
        let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
        if end == 0 {
            (before, rest) = (letter, &rest[letter.len_utf8()..]);
            continue;
        }
        let (word, behind) = rest.split_at(end);
        let next = behind.trim_start_matches([' ', '\t']);
        let value = next.strip_prefix(":=").map(str::trim_start).and_then(|value| value.strip_prefix("input.image"));
        let is_image = value.is_some_and(|rest| {
            let next = rest.trim_start_matches([' ', '\t', '\r']);
            !rest.starts_with(is_word) && (next.is_empty() || next.starts_with(['\n', ';', '}']))
        });
        match before {
            '.' => {}
            _ if is_image => drop(given.insert(word.to_owned())),
            _ if behind.starts_with('.') => {}
            _ => drop(others.insert(word.to_owned())),
        }
        (before, rest) = ('a', behind);
    }
    given.difference(&others).cloned().collect()
}

impl Words {
    pub(crate) fn of(text: &str) -> Self {
        let mut words = Self::default();
        let lines: Vec<_> = text.lines().map(without_comment).collect();
        let images = images(&lines);
        for (index, (code, texts)) in lines.into_iter().enumerate() {
            let texts = texts.into_iter().filter(|text| text.chars().all(is_word));
            words.fields.extend(texts.map(|name| Field { of: String::new(), name, line: index + 1 }));
            words.read(&code, index + 1, &images);
        }
        words
    }

    fn read(&mut self, code: &str, line: usize, images: &BTreeSet<String>) {
        let first = code.split_whitespace().next().unwrap_or_default();
        if first == "import" {
            let path = code.split_whitespace().nth(1).unwrap_or_default();
            self.imports.extend(path.strip_prefix("data.").map(str::to_owned));
            return;
        }
        let head: String = first.chars().take_while(|letter| is_word(*letter)).collect();
        if head.starts_with("test_") && !self.tests.contains(&head) {
            self.tests.push(head);
        }
        for (at, _) in code.match_indices('(') {
            let name = code[..at].trim_end().rsplit(|letter| !is_word(letter)).next().unwrap_or_default();
            self.calls.extend(Some(name).filter(|name| !name.is_empty()).map(|name| (name.to_owned(), line)));
        }
        let mut before = "";
        for (at, piece) in code.split('.').enumerate() {
            let end = piece.find(|letter| !is_word(letter)).unwrap_or(piece.len());
            // What the command line says is known for every source.
            if at > 0 && end > 0 && !(before == "input" && &piece[..end] == "env") {
                self.fields.push(Field { of: before.to_owned(), name: piece[..end].to_owned(), line });
            }
            before = piece.rsplit(|letter| !is_word(letter)).next().unwrap_or_default();
            // A field that is called as a name is stays a field.
            if (at == 0 || before.len() < piece.len()) && images.contains(before) {
                before = IMAGE;
            }
        }
    }

    /// Adds the words of an imported file.
    pub(crate) fn extend(&mut self, other: Self) {
        self.fields.extend(other.fields);
        self.calls.extend(other.calls);
    }

    /// Returns what is imported: `a.b` for `import data.a.b`.
    pub(crate) fn imports(&self) -> &[String] {
        &self.imports
    }

    /// Returns the rules whose names begin with `test_`.
    pub(crate) fn tests(self) -> Vec<String> {
        self.tests
    }

    /// Whether this function is called.
    pub(crate) fn calls(&self, function: &str) -> bool {
        self.line_of_call(&[function]).is_some()
    }

    /// Returns the first of these functions that is called, and the line.
    pub(crate) fn line_of_call<'a>(&self, functions: &[&'a str]) -> Option<(&'a str, usize)> {
        let mut calls = self.calls.iter();
        calls.find_map(|(name, line)| functions.iter().find(|wanted| *wanted == name).map(|wanted| (*wanted, *line)))
    }

    /// Returns the first of these words that is there, and its line.
    pub(crate) fn line_of_any<'a>(&self, wanted: &[&'a str]) -> Option<(&'a str, usize)> {
        self.line_of_any_not_of("", wanted)
    }

    /// Returns the first of these words that is there and does not follow `of` and a dot, and its line.
    pub(crate) fn line_of_any_not_of<'a>(&self, of: &str, wanted: &[&'a str]) -> Option<(&'a str, usize)> {
        let mut fields = self.fields.iter().filter(|field| of.is_empty() || field.of != of);
        fields.find_map(|field| wanted.iter().find(|wanted| **wanted == field.name).map(|wanted| (*wanted, field.line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_comments_and_messages_are_not() {
        let words =
            Words::of("import data.a.b as c\n# input.image.labels\nx if input.env.args.y\nm := \"no labels, sorry\"\n");
        assert_eq!(words.imports(), ["a.b"]);
        assert_eq!(words.line_of_any(&["labels", "env"]), None);
        for text in ["x if input.image.labels.a", "x if input.image[\"labels\"]", "f(i) if i.labels"] {
            assert_eq!(Words::of(text).line_of_any(&["user", "labels"]), Some(("labels", 1)), "{text}");
        }
        let tags = Words::of("x if input.image.tag == \"1\"");
        assert_eq!(tags.line_of_any(&["tag"]), Some(("tag", 1)));
        assert_eq!(tags.line_of_any_not_of("image", &["tag"]), None);
        assert_eq!(Words::of("x if input.git[\"tag\"]").line_of_any_not_of("image", &["tag"]), Some(("tag", 1)));
        let same = "x if {\n\timg := input.image\n\timg.tag == \"1\"\n}";
        assert_eq!(Words::of(same).line_of_any_not_of("image", &["tag"]), None, "it is what it was given");
        for other in [
            "x if { img := input.image; img.tag }\ny if { img := input.git; img.tag }",
            "x if { img := input.image; img.tag }\nf(img) if img.tag",
            "x if { img := input.image; img.tag }\ny if { some img in [input.git]; img.tag }",
            "x if { img := input.image.git; img.tag }",
            "x if { img := input.image_of; img.tag }",
            "x if { img := input.image | input.git; img.tag }",
            "x if { img := input.image; a.img.tag }",
        ] {
            assert!(Words::of(other).line_of_any_not_of("image", &["tag"]).is_some(), "{other}");
        }
        assert_eq!(Words::of("x if i.image.env[_]").line_of_any(&["env"]), Some(("env", 1)));
        let calls = Words::of("x if { f(a.b) }\n# g(1)\ny := \"h(1)\"");
        assert_eq!(["f", "g", "h", "b"].map(|name| calls.calls(name)), [true, false, false, false]);
        assert_eq!(Words::of("test_a if true\nnot_test_b if test_a\n test_c if {\n}").tests(), ["test_a", "test_c"]);
    }
}
