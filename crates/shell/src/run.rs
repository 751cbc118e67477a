//! Runs what was read: programs of the image where it has them, else the tools of this shell.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::parse::{Command, Pipeline, Redirection, Stream, When, parse};
use crate::{builtin, expand, tools};

/// A command was not found.
const NOT_FOUND: i32 = 127;
/// A command could not be executed.
const NOT_RUN: i32 = 126;
/// This program, by whatever name it was started.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// What a session has come to.
pub(crate) struct Shell {
    variables: BTreeMap<String, String>,
    exported: BTreeSet<String>,
    pub(crate) aliases: BTreeMap<String, String>,
    name: String,
    arguments: Vec<String>,
    status: i32,
    ended: Option<i32>,
}

/// The streams of a command; those that are not there are the shell's own.
#[derive(Default)]
pub(crate) struct Streams {
    input: Option<File>,
    out: Option<File>,
    err: Option<File>,
}

/// The streams of a tool or of what the shell does itself.
pub(crate) struct Io {
    pub(crate) input: Box<dyn Read>,
    pub(crate) out: Box<dyn Write>,
    pub(crate) err: Box<dyn Write>,
}

/// Writes a remark to standard error. Nobody can be told if that does not work.
pub(crate) fn complain(text: &str) {
    drop(std::io::stderr().write_all(format!("sh: {text}\n").as_bytes()));
}

impl Streams {
    fn clone_of(stream: Option<&File>) -> std::io::Result<Option<File>> {
        stream.map(File::try_clone).transpose()
    }

    pub(crate) fn io(self) -> Io {
        Io {
            input: self.input.map_or_else(|| Box::new(std::io::stdin()) as Box<dyn Read>, |file| Box::new(file)),
            out: self.out.map_or_else(|| Box::new(std::io::stdout()) as Box<dyn Write>, |file| Box::new(file)),
            err: self.err.map_or_else(|| Box::new(std::io::stderr()) as Box<dyn Write>, |file| Box::new(file)),
        }
    }
}

impl Shell {
    pub(crate) fn new() -> Self {
        let variables: BTreeMap<String, String> = std::env::vars().collect();
        Self {
            exported: variables.keys().cloned().collect(),
            variables,
            aliases: BTreeMap::new(),
            name: "sh".to_owned(),
            arguments: Vec::new(),
            status: 0,
            ended: None,
        }
    }

    pub(crate) fn name(&mut self, name: Option<String>) {
        self.name = name.unwrap_or_else(|| "sh".to_owned());
    }

    pub(crate) fn arguments(&mut self, arguments: Vec<String>) {
        self.arguments = arguments;
    }

    pub(crate) fn status(&self) -> i32 {
        self.status
    }

    /// The code with which `exit` has ended the session.
    pub(crate) fn ended(&self) -> Option<i32> {
        self.ended
    }

    pub(crate) fn end(&mut self, code: i32) {
        self.ended = Some(code);
    }

    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        match name {
            "?" => Some(self.status.to_string()),
            "$" => Some(std::process::id().to_string()),
            "#" => Some(self.arguments.len().to_string()),
            "@" | "*" => Some(self.arguments.join(" ")),
            "0" => Some(self.name.clone()),
            "PWD" => Some(here()),
            name => match name.parse::<usize>() {
                Ok(number) => self.arguments.get(number.wrapping_sub(1)).cloned(),
                Err(_) => self.variables.get(name).cloned(),
            },
        }
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn export(&mut self, name: &str) {
        self.exported.insert(name.to_owned());
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.variables.remove(name);
        self.exported.remove(name);
    }

    /// What programs get.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&String, &String)> {
        self.exported.iter().filter_map(|name| self.variables.get_key_value(name))
    }

    pub(crate) fn prompt(&self) -> String {
        // It was set with quotes that keep its variables.
        let prompt = self.variables.get("PS1").map_or("# ", String::as_str);
        prompt.replace("$PWD", &here())
    }

    /// Runs a line and remembers how it ended.
    pub(crate) fn line(&mut self, text: &str) {
        match parse(text) {
            Err(problem) => {
                complain(&problem);
                self.status = 2;
            }
            Ok(list) => {
                for pipeline in list {
                    let runs = match pipeline.when {
                        When::Always => true,
                        When::Success => self.status == 0,
                        When::Failure => self.status != 0,
                    };
                    if runs && self.ended.is_none() {
                        let status = self.pipeline(&pipeline);
                        self.status = pipeline.status(status);
                    }
                }
            }
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline) -> i32 {
        if let [command] = &pipeline.commands[..] {
            let (assigned, words) = self.prepared(command);
            if words.is_empty() || builtin::is(&words[0]) {
                let streams = match self.redirected(command, Streams::default()) {
                    Ok(streams) => streams,
                    Err(problem) => {
                        complain(&problem);
                        return 1;
                    }
                };
                for (name, value) in &assigned {
                    self.set(name, value);
                }
                return if words.is_empty() { 0 } else { builtin::run(self, &words, streams.io()) };
            }
        }
        let (mut parts, mut input) = (Vec::new(), None);
        for (index, command) in pipeline.commands.iter().enumerate() {
            let last = index + 1 == pipeline.commands.len();
            let (out, next) = match if last { Ok(None) } else { std::io::pipe().map(Some) } {
                Ok(None) => (None, None),
                Ok(Some((reader, writer))) => {
                    (Some(File::from(OwnedFd::from(writer))), Some(File::from(OwnedFd::from(reader))))
                }
                Err(error) => {
                    complain(&format!("cannot make a pipe: {error}"));
                    return NOT_RUN;
                }
            };
            let streams = Streams { input: std::mem::replace(&mut input, next), out, err: None };
            parts.push(self.start(command, streams));
        }
        // All of them are waited for; the last one's status counts.
        parts.into_iter().fold(0, |_, part| part.map_or_else(|code| code, wait))
    }

    /// Returns what a command assigns, and its words, expanded.
    fn prepared(&self, command: &Command) -> (Vec<(String, String)>, Vec<String>) {
        let is_name = |name: &str| {
            !name.is_empty()
                && !name.starts_with(|first: char| first.is_ascii_digit())
                && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
        };
        let mut assigned = Vec::new();
        let mut rest = &command.words[..];
        while let Some((first, others)) = rest.split_first()
            && let Some((name, value)) = first.split_once('=').filter(|(name, _)| is_name(name))
        {
            assigned.push((name.to_owned(), expand::word(self, value)));
            rest = others;
        }
        let mut words = expand::words(self, rest);
        if let Some(meant) = words.first().and_then(|first| self.aliases.get(first)) {
            words[0].clone_from(meant);
        }
        (assigned, words)
    }

    /// Applies a command's redirections, from left to right.
    fn redirected(&self, command: &Command, mut streams: Streams) -> Result<Streams, String> {
        for redirection in &command.redirections {
            match redirection {
                Redirection::Input(word) => {
                    let path = expand::word(self, word);
                    let file = File::open(&path).map_err(|error| format!("cannot open `{path}`: {error}"))?;
                    streams.input = Some(file);
                }
                Redirection::Output { stream, word, append } => {
                    let path = expand::word(self, word);
                    let mut options = OpenOptions::new();
                    let opened = options.create(true).append(*append).write(true).truncate(!append).open(&path);
                    let file = opened.map_err(|error| format!("cannot write to `{path}`: {error}"))?;
                    match stream {
                        Stream::Out => streams.out = Some(file),
                        Stream::Err => streams.err = Some(file),
                    }
                }
                Redirection::Like { stream, other } => {
                    let failed = |error: std::io::Error| format!("cannot redirect: {error}");
                    let same = match other {
                        Stream::Out => Streams::clone_of(streams.out.as_ref()).map_err(failed)?,
                        Stream::Err => Streams::clone_of(streams.err.as_ref()).map_err(failed)?,
                    };
                    // Where the other is the shell's own, so is this one now.
                    let same = match (same, other) {
                        (Some(file), _) => file,
                        (None, Stream::Out) => own("/proc/self/fd/1").map_err(failed)?,
                        (None, Stream::Err) => own("/proc/self/fd/2").map_err(failed)?,
                    };
                    match stream {
                        Stream::Out => streams.out = Some(same),
                        Stream::Err => streams.err = Some(same),
                    }
                }
            }
        }
        Ok(streams)
    }

    /// Starts a command of a pipeline, or returns the code with which it has ended before it began.
    fn start(&self, command: &Command, streams: Streams) -> Result<Child, i32> {
        let (assigned, words) = self.prepared(command);
        let streams = match self.redirected(command, streams) {
            Ok(streams) => streams,
            Err(problem) => {
                complain(&problem);
                return Err(1);
            }
        };
        let Some(name) = words.first() else { return Err(0) };
        if builtin::is(name) {
            complain(&format!("`{name}` is no part of a pipeline in this small shell"));
            return Err(2);
        }
        // A tool is this program by another name, so that Ctrl-C ends it and not the shell.
        let tool = || tools::find(name).map(|_| PathBuf::from(OWN_PROGRAM));
        let Some(program) = self.find(name).or_else(tool) else {
            complain(&format!("there is no program `{name}`"));
            return Err(NOT_FOUND);
        };
        let mut process = self.process(&program, &words, &assigned);
        let stdio = |stream: Option<File>| stream.map_or_else(Stdio::inherit, Stdio::from);
        process.stdin(stdio(streams.input)).stdout(stdio(streams.out)).stderr(stdio(streams.err));
        process.spawn().map_err(|error| {
            complain(&format!("cannot run `{name}`: {error}"));
            NOT_RUN
        })
    }

    fn process(&self, program: &Path, words: &[String], assigned: &[(String, String)]) -> std::process::Command {
        let mut process = std::process::Command::new(program);
        process.arg0(&words[0]).args(&words[1..]).env_clear();
        process.envs(self.environment()).envs(assigned.iter().map(|(name, value)| (name, value)));
        process
    }

    /// Returns where a program is.
    pub(crate) fn find(&self, name: &str) -> Option<PathBuf> {
        if name.contains('/') {
            return Some(PathBuf::from(name));
        }
        let is_program = |path: &PathBuf| {
            path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
        };
        let path = self.variable("PATH").unwrap_or_default();
        path.split(':').map(|directory| Path::new(directory).join(name)).find(is_program)
    }

    /// Becomes another program; returns only if that failed.
    pub(crate) fn replace(&self, words: &[String]) -> i32 {
        let Some(program) = self.find(&words[0]) else {
            complain(&format!("there is no program `{}`", words[0]));
            return NOT_FOUND;
        };
        let error = self.process(&program, words, &[]).exec();
        complain(&format!("cannot run `{}`: {error}", program.display()));
        if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN }
    }
}

fn own(path: &str) -> std::io::Result<File> {
    OpenOptions::new().append(true).open(path)
}

fn wait(mut child: Child) -> i32 {
    match child.wait() {
        Ok(status) => status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
        Err(error) => {
            complain(&format!("cannot wait: {error}"));
            NOT_RUN
        }
    }
}

/// Returns the working directory, as far as it is known.
pub(crate) fn here() -> String {
    std::env::current_dir().map_or_else(|_| "?".to_owned(), |path| path.display().to_string())
}
