//! Dockerfiles whose name ends in `.in`: the C preprocessor of the user's machine makes a Dockerfile of them.
//!
//! `cpp` is a program that this machine has, like `git`: it gets the text and the directory of the context, an environment
//! that says nothing of the caller's, and a limited time. What it has read is looked at before its output is: a Dockerfile
//! must not show files that are not in its context.
//!
//! Reference: buildah-build(1), "Containerfiles ending with a `.in` suffix".

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use stave_dockerfile::FILE_BYTES_MAX;
use stave_store::Lease;

use crate::engine::Engine;
use crate::error::EngineError;

/// What names of such files end with.
const ENDING: &str = ".in";
/// The program.
const PROGRAM: &str = "cpp";
/// How Buildah calls it: no macros of the compiler's own, blanks kept as they are.
const FLAGS: [&str; 2] = ["-traditional", "-undef"];
/// Longest time that it may take.
const TIME_MAX: Duration = Duration::from_mins(1);
/// How often a wait looks whether somebody asked for an end.
const TICK: Duration = Duration::from_millis(20);
/// Bytes of its messages, and of the list of what it has read, that are looked at.
const WORDS_BYTES_MAX: u64 = 256 * 1024;
/// What it says about every line that only a Dockerfile takes for a comment.
const COMMENT: &str = "error: invalid preprocessing directive";

/// Where and how files are preprocessed.
pub(crate) struct Preprocessor<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) lease: &'a Lease,
    /// Further flags of the caller's.
    pub(crate) flags: &'a [String],
    /// The root of the context.
    pub(crate) context: &'a Path,
}

/// What the program left.
struct Ended {
    output: Vec<u8>,
    words: Vec<u8>,
    is_good: bool,
}

/// Tells whether the file is one to be preprocessed.
pub(crate) fn is_meant(name: &str) -> bool {
    name.ends_with(ENDING)
}

impl Preprocessor<'_> {
    /// Returns what `cpp` makes of `text`, the file that the user calls `name`, as far as the parser needs to see that it is
    /// too much; what it warns of goes to `note`.
    pub(crate) fn run(&self, name: &str, text: Vec<u8>, note: &dyn Fn(String)) -> Result<Vec<u8>, EngineError> {
        let path = self.engine.settings.registries.path.clone();
        let path = path.unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
        let program = find(&path).ok_or_else(|| {
            let message = format!("`{name}` needs the C preprocessor, and there is no program `{PROGRAM}`");
            EngineError::request(message, Some("Install it (it comes with GCC), or give a Dockerfile that needs none."))
        })?;
        let work = self.lease.work_dir()?;
        let read = work.path().join("read");
        let context = fs::canonicalize(self.context)
            .map_err(|source| EngineError::io("find the context", self.context, source))?;
        let mut command = Command::new(&program);
        command.args(self.flags).args(FLAGS).arg("-nostdinc").arg("-iquote").arg(&context);
        command.arg("-MD").arg("-MF").arg(&read).args(["-MT", "x", "-"]);
        command.env_clear().env("PATH", &path).env("LC_ALL", "C").current_dir(&context);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let ended = self.carry_out(&program, command, name, text)?;
        let words = String::from_utf8_lossy(&ended.words).into_owned();
        if !ended.is_good && !words.lines().filter(|line| line.contains(" error: ")).all(|line| line.contains(COMMENT))
        {
            return Err(failed(name, &words));
        }
        let list = match fs::read(&read) {
            Ok(list) if list.len() as u64 <= WORDS_BYTES_MAX => list,
            Ok(_) => return Err(failed(name, "it includes too many files")),
            Err(_) => return Err(failed(name, &words)),
        };
        check_included(name, &context, &list)?;
        for line in words.lines().filter(|line| line.contains(" error: ") || line.contains(" warning: ")) {
            note(format!(
                "`{PROGRAM}` about `{name}`: {}",
                line.replace(COMMENT, "dropped as no directive of its own:")
            ));
        }
        Ok(ended.output)
    }

    fn carry_out(&self, program: &Path, mut command: Command, name: &str, text: Vec<u8>) -> Result<Ended, EngineError> {
        let mut child = command.spawn().map_err(|source| EngineError::io("start", program, source))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let writer = thread::spawn(move || {
            // A program that reads nothing to the end has its own reason, which it says.
            stdin.map_or(Ok(()), |mut pipe| pipe.write_all(&text))
        });
        let output = thread::spawn(move || all(stdout, FILE_BYTES_MAX as u64 + 1));
        let words = thread::spawn(move || all(stderr, WORDS_BYTES_MAX));
        let ended = self.wait(&mut child, name);
        if ended.is_err() {
            // All that it started is in its group. What has ended already cannot be ended.
            let _gone = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _status = child.wait();
        }
        let _written = writer.join();
        let lost = |_| io::Error::other("the reader panicked");
        let output = output.join().map_err(lost).and_then(|read| read);
        let words = words.join().map_err(lost).and_then(|read| read);
        let is_good = ended?;
        let failed = |source| EngineError::io("read from", program, source);
        Ok(Ended { output: output.map_err(failed)?, words: words.map_err(failed)?, is_good })
    }

    /// Waits for the end; says whether it was a good one.
    fn wait(&self, child: &mut Child, name: &str) -> Result<bool, EngineError> {
        let end = Instant::now() + TIME_MAX;
        loop {
            if let Some(status) = child.try_wait().map_err(|source| EngineError::io("wait for", PROGRAM, source))? {
                return Ok(status.success());
            }
            self.engine.go_on()?;
            if Instant::now() >= end {
                return Err(failed(name, &format!("it takes longer than {} seconds", TIME_MAX.as_secs())));
            }
            thread::sleep(TICK);
        }
    }
}

/// Whatever links and names lead to it, what was included must lie in the context.
fn check_included(name: &str, context: &Path, list: &[u8]) -> Result<(), EngineError> {
    for file in files(list) {
        let whole = fs::canonicalize(context.join(&file));
        if !whole.is_ok_and(|whole| whole.starts_with(context)) {
            let message = format!("`{name}` includes `{}`, which is not in the context", file.display());
            return Err(EngineError::request(message, Some("A Dockerfile can only include files of its context.")));
        }
    }
    Ok(())
}

fn failed(name: &str, words: &str) -> EngineError {
    let line = words.lines().find(|line| line.contains("error: ") && !line.contains(COMMENT));
    let why = stave_http::clean(line.or_else(|| words.lines().next()).unwrap_or("it says nothing"));
    EngineError::request(format!("`{PROGRAM}` cannot preprocess `{name}`: {why}"), None)
}

fn find(path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(PROGRAM))
        .find(|program| rustix::fs::access(program, rustix::fs::Access::EXEC_OK).is_ok() && program.is_file())
}

/// Reads all, so that the program never waits for a reader, and keeps so much of it.
fn all(pipe: Option<impl Read>, bytes_max: u64) -> io::Result<Vec<u8>> {
    let Some(mut pipe) = pipe else { return Ok(Vec::new()) };
    let mut bytes = Vec::new();
    pipe.by_ref().take(bytes_max).read_to_end(&mut bytes)?;
    io::copy(&mut pipe, &mut io::sink())?;
    Ok(bytes)
}

/// Returns the names in a rule of Make's: what stands behind the colon. A blank that is part of a name has a backslash in
/// front.
///
/// Reference: GNU Make, "Rule Syntax"; GCC, "Options Controlling the Preprocessor", `-M`.
fn files(rule: &[u8]) -> Vec<PathBuf> {
    let start = rule.iter().position(|byte| *byte == b':').map_or(rule.len(), |colon| colon + 1);
    let mut files = Vec::new();
    let mut file = Vec::new();
    let mut bytes = rule[start..].iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'\\', Some(b'\n')) => {
                bytes.next();
            }
            (b'\\', Some(&next @ (b' ' | b'#' | b'\t'))) | (b'$', Some(&next @ b'$')) => {
                file.push(next);
                bytes.next();
            }
            (b' ' | b'\n' | b'\t', _) => {}
            (byte, _) => {
                file.push(byte);
                continue;
            }
        }
        let is_end = matches!(byte, b' ' | b'\n' | b'\t') || file.is_empty();
        if is_end && !file.is_empty() {
            files.push(PathBuf::from(OsStr::from_bytes(&std::mem::take(&mut file))));
        }
    }
    if !file.is_empty() {
        files.push(PathBuf::from(OsStr::from_bytes(&file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(rule: &str) -> Vec<String> {
        files(rule.as_bytes()).iter().map(|file| file.display().to_string()).collect()
    }

    #[test]
    fn a_rule_lists_the_files_that_were_read() {
        assert_eq!(names("x: a.in ../b \\\n /etc/passwd\n"), ["a.in", "../b", "/etc/passwd"]);
        assert_eq!(names("x: with\\ blank a\\#b a$$b\n"), ["with blank", "a#b", "a$b"]);
        assert_eq!(names("x:\n"), [""; 0]);
        assert_eq!(names(""), [""; 0]);
        assert_eq!(names("x: a"), ["a"]);
    }
}
