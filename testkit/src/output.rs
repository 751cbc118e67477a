//! Turns what a command printed into text that is the same in every run.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

/// What a command came to.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; 128 and the signal's number for one that a signal ended, as a shell says it.
    pub code: i32,
    /// The standard output as it was.
    pub stdout: Vec<u8>,
    /// The standard error as text.
    pub stderr: String,
    /// Directories of the bench, replaced by `[BENCH]` in normalised text.
    pub dirs: Vec<PathBuf>,
}

impl Output {
    /// Makes one of what the system returned.
    #[must_use]
    pub fn new(command: String, status: ExitStatus, stdout: Vec<u8>, stderr: &[u8], dirs: Vec<PathBuf>) -> Self {
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Self { command, code, stdout, stderr: String::from_utf8_lossy(stderr).into_owned(), dirs }
    }

    /// Panics with everything that was printed unless the command succeeded.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "called for its panic")]
    pub fn success(&self) -> &Self {
        self.exit(0)
    }

    /// Panics with everything that was printed unless the exit code is `code`.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "called for its panic")]
    pub fn exit(&self, code: i32) -> &Self {
        assert!(self.code == code, "expected exit {code} of `{}`, got:\n{}", self.command, self.raw());
        self
    }

    /// Panics unless the standard error has `text` in it.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "called for its panic")]
    pub fn complains(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "expected `{text}` on stderr of `{}`, got:\n{}", self.command, self.raw());
        self
    }

    /// The standard output as text.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The standard output without the end of its last line.
    #[must_use]
    pub fn line(&self) -> String {
        self.out().trim_end().to_owned()
    }

    fn raw(&self) -> String {
        format!("exit: {}\n----- stdout -----\n{}\n----- stderr -----\n{}", self.code, self.out(), self.stderr)
    }

    /// `text` with digests, ids, times and the bench's directories replaced.
    #[must_use]
    pub fn normalise(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for dir in &self.dirs {
            text = text.replace(&dir.display().to_string(), "[BENCH]");
        }
        replace_words(&text)
    }
}

/// For snapshots: exit code, both streams, normalised.
impl fmt::Display for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "exit: {}", self.code)?;
        for (name, text) in [("stdout", self.out()), ("stderr", self.stderr.clone())] {
            if !text.is_empty() {
                writeln!(formatter, "----- {name} -----\n{}", self.normalise(&text).trim_end())?;
            }
        }
        Ok(())
    }
}

/// Replaces every digest, short id, loopback address and duration.
fn replace_words(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut word = String::new();
    for character in text.chars() {
        if character.is_ascii_alphanumeric() || character == '.' {
            word.push(character);
            continue;
        }
        // A port belongs to the address before it.
        if character == ':' && word == "127.0.0.1" {
            word.push(character);
            continue;
        }
        flush(&mut word, &mut result);
        result.push(character);
    }
    flush(&mut word, &mut result);
    result
}

fn flush(word: &mut String, result: &mut String) {
    let taken = std::mem::take(word);
    if taken.starts_with("127.0.0.1:") {
        result.push_str("[LOOPBACK]");
        return;
    }
    let body = taken.trim_end_matches('.');
    result.push_str(replacement(body).unwrap_or(body));
    result.push_str(&taken[body.len()..]);
}

fn replacement(word: &str) -> Option<&'static str> {
    let hex = !word.is_empty() && word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match word.len() {
        64 if hex => return Some("[DIGEST]"),
        12 if hex => return Some("[ID]"),
        _ => {}
    }
    let number = word.strip_suffix("ms").or_else(|| word.strip_suffix('s'))?;
    let is_number = number.starts_with(|first: char| first.is_ascii_digit())
        && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_number.then_some("[TIME]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_replaced() {
        let digest = "ab".repeat(32);
        let text = format!("built sha256:{digest} (0123456789ab) in 1.25s, 3ms. 127.0.0.1:4711/a 12 steps");
        assert_eq!(replace_words(&text), "built sha256:[DIGEST] ([ID]) in [TIME], [TIME]. [LOOPBACK]/a 12 steps");
    }
}
