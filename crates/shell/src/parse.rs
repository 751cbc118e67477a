//! A line becomes lists of pipelines of commands. Words keep their quotes: they are read when they are expanded.

/// How a pipeline depends on the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    /// After `&&`.
    Success,
    /// After `||`.
    Failure,
}

/// Commands that are joined by pipes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pipeline {
    pub(crate) when: When,
    /// Whether it began with `!`.
    pub(crate) negated: bool,
    pub(crate) commands: Vec<Command>,
}

impl Pipeline {
    /// Returns the status that counts for that of its last command.
    pub(crate) fn status(&self, last: i32) -> i32 {
        if self.negated { i32::from(last == 0) } else { last }
    }
}

/// Words and redirections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Command {
    pub(crate) words: Vec<String>,
    pub(crate) redirections: Vec<Redirection>,
}

/// Where a stream goes or comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Redirection {
    /// `< word`
    Input(String),
    /// `N> word`, `N>> word`
    Output { stream: Stream, word: String, append: bool },
    /// `2>&1`, `>&2`
    Like { stream: Stream, other: Stream },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// What other shells do with a first word, and this one does not.
const WORDS: [&str; 13] =
    ["if", "then", "else", "fi", "for", "while", "until", "do", "done", "case", "esac", "function", "select"];

/// Whether a quote is open at the end, or the last line ends in a backslash.
pub(crate) fn is_open(text: &str) -> bool {
    let (mut quote, mut characters) = (None, text.chars().peekable());
    let mut start = true;
    while let Some(character) = characters.next() {
        let begins = std::mem::replace(&mut start, character.is_whitespace() || ";|&(".contains(character));
        match (quote, character) {
            (None, '#') if begins => while characters.next_if(|next| *next != '\n').is_some() {},
            (None | Some('"'), '\\') => match characters.next() {
                None => return true,
                Some('\n') if characters.peek().is_none() => return true,
                Some(_) => {}
            },
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
    }
    quote.is_some()
}

/// Reads a line.
///
/// # Errors
/// What it does not understand, as a sentence fragment.
pub(crate) fn parse(text: &str) -> Result<Vec<Pipeline>, String> {
    let mut reader = Reader { characters: text.chars().collect(), at: 0 };
    let (mut list, mut when) = (Vec::new(), When::Always);
    let mut pipeline = Pipeline { when, negated: false, commands: Vec::new() };
    let mut command = Command::default();
    loop {
        let token = reader.token()?;
        match token {
            Token::Word(word) => {
                if command.words.is_empty() && word == "!" && command.redirections.is_empty() {
                    pipeline.negated = !pipeline.negated;
                } else if command.words.is_empty() && (WORDS.contains(&word.as_str()) || word.starts_with('{')) {
                    return Err(format!(
                        "this small shell has no `{word}`; use a shell of an image, or single commands"
                    ));
                } else {
                    command.words.push(word);
                }
            }
            Token::Redirection(redirection) => command.redirections.push(redirection),
            Token::Pipe => {
                if command == Command::default() {
                    return Err("a command is missing before `|`".to_owned());
                }
                pipeline.commands.push(std::mem::take(&mut command));
            }
            Token::And | Token::Or | Token::Then | Token::End => {
                if command == Command::default() {
                    if !pipeline.commands.is_empty() || !matches!(token, Token::Then | Token::End) {
                        return Err("a command is missing".to_owned());
                    }
                } else {
                    pipeline.commands.push(std::mem::take(&mut command));
                    list.push(pipeline);
                }
                when = match token {
                    Token::And => When::Success,
                    Token::Or => When::Failure,
                    _ => When::Always,
                };
                pipeline = Pipeline { when, negated: false, commands: Vec::new() };
                if matches!(token, Token::End) {
                    return Ok(list);
                }
            }
        }
    }
}

enum Token {
    Word(String),
    Redirection(Redirection),
    Pipe,
    And,
    Or,
    Then,
    End,
}

struct Reader {
    characters: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.at + ahead).copied()
    }

    fn is(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(index, character)| self.peek(index) == Some(character))
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.is(text);
        if found {
            self.at += text.chars().count();
        }
        found
    }

    fn blanks(&mut self) {
        loop {
            match self.peek(0) {
                Some(' ' | '\t' | '\r') => self.at += 1,
                Some('\\') if self.peek(1) == Some('\n') => self.at += 2,
                Some('#') => {
                    while self.peek(0).is_some_and(|character| character != '\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn token(&mut self) -> Result<Token, String> {
        self.blanks();
        if self.peek(0).is_none() {
            return Ok(Token::End);
        }
        for (text, what) in
            [("<<", "here-documents"), ("`", "command substitution"), ("(", "subshells"), (")", "subshells")]
        {
            if self.is(text) {
                return Err(format!("this small shell has no {what}"));
            }
        }
        if self.take("&&") {
            return Ok(Token::And);
        }
        if self.take("||") {
            return Ok(Token::Or);
        }
        if self.take("|") {
            return Ok(Token::Pipe);
        }
        if self.take(";") || self.take("\n") {
            return Ok(Token::Then);
        }
        for (text, stream, other) in
            [("2>&1", Stream::Err, Stream::Out), ("1>&2", Stream::Out, Stream::Err), (">&2", Stream::Out, Stream::Err)]
        {
            if self.take(text) {
                return Ok(Token::Redirection(Redirection::Like { stream, other }));
            }
        }
        let outputs = [
            ("2>>", Stream::Err, true),
            ("2>", Stream::Err, false),
            ("1>>", Stream::Out, true),
            ("1>", Stream::Out, false),
            (">>", Stream::Out, true),
            (">", Stream::Out, false),
        ];
        for (text, stream, append) in outputs {
            if self.take(text) {
                let word = self.file()?;
                return Ok(Token::Redirection(Redirection::Output { stream, word, append }));
            }
        }
        if self.take("<") {
            return self.file().map(|word| Token::Redirection(Redirection::Input(word)));
        }
        if self.is("&") {
            return Err("this small shell runs nothing in the background".to_owned());
        }
        self.word().map(Token::Word)
    }

    fn file(&mut self) -> Result<String, String> {
        self.blanks();
        match self.word()? {
            word if word.is_empty() => Err("a file is missing after a redirection".to_owned()),
            word => Ok(word),
        }
    }

    /// Reads a word with its quotes.
    fn word(&mut self) -> Result<String, String> {
        let mut word = String::new();
        while let Some(character) = self.peek(0) {
            if character.is_whitespace() || ";|&<>()`".contains(character) {
                break;
            }
            self.at += 1;
            word.push(character);
            match character {
                '\\' => {
                    word.extend(self.peek(0));
                    self.at += 1;
                }
                '\'' | '"' => self.quoted(character, &mut word)?,
                '$' if self.peek(0) == Some('(') => {
                    return Err("this small shell has no command substitution".to_owned());
                }
                _ => {}
            }
        }
        Ok(word)
    }

    fn quoted(&mut self, quote: char, word: &mut String) -> Result<(), String> {
        loop {
            let character = self.peek(0).ok_or_else(|| format!("a {quote} is not closed"))?;
            self.at += 1;
            word.push(character);
            if character == quote {
                return Ok(());
            }
            if quote == '"' && character == '\\' {
                word.extend(self.peek(0));
                self.at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_pipelines_of_commands() {
        let list =
            parse("A=1 ls -l 'a b' | wc >out 2>&1 && ! cat < in || echo \"x;y\" # the end").expect("it is a line");
        let words = |index: usize, command: usize| list[index].commands[command].words.join("|");
        assert_eq!(list.len(), 3);
        assert_eq!((words(0, 0).as_str(), words(0, 1).as_str()), ("A=1|ls|-l|'a b'", "wc"));
        assert_eq!(
            list[0].commands[1].redirections,
            [
                Redirection::Output { stream: Stream::Out, word: "out".into(), append: false },
                Redirection::Like { stream: Stream::Err, other: Stream::Out },
            ]
        );
        assert_eq!((list[1].when, list[1].negated, list[2].when), (When::Success, true, When::Failure));
        assert_eq!(words(2, 0), "echo|\"x;y\"");
    }

    #[test]
    fn what_it_does_not_know_it_refuses_by_name() {
        for (line, said) in [
            ("if true", "`if`"),
            ("x=$(date)", "command substitution"),
            ("sleep 1 &", "background"),
            ("cat << EOF", "here-documents"),
            ("(ls)", "subshells"),
            ("| ls", "before `|`"),
            ("ls >", "a file is missing"),
            ("ls 'a", "not closed"),
        ] {
            assert!(parse(line).expect_err(line).contains(said), "{line}");
        }
        assert_eq!(parse(" \n;\n").expect("nothing"), []);
    }

    #[test]
    fn an_open_quote_goes_on_in_the_next_line() {
        assert!(is_open("echo 'a\n") && is_open("echo \"a\n") && is_open("echo \\\n"));
        assert!(!is_open("echo 'a\nb'\n") && !is_open("echo # it's\n") && !is_open("echo a#'b'\n"));
    }
}
