//! The tools of this shell: small forms of the usual programs, for an image that has none.

use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::time::Duration;

use crate::run::{Io, Streams};
use crate::{files, text};

/// A tool: its arguments and its streams; returns its status.
pub(crate) type Tool = fn(&[String], &mut Io) -> i32;

const TOOLS: [(&str, Tool); 28] = [
    ("[", test),
    ("cat", text::cat),
    ("chmod", files::chmod),
    ("chown", files::chown),
    ("cp", files::cp),
    ("du", files::du),
    ("echo", echo),
    ("env", env),
    ("false", |_, _| 1),
    ("find", files::find),
    ("grep", text::grep),
    ("head", text::head),
    ("id", id),
    ("ln", files::ln),
    ("ls", files::ls),
    ("mkdir", files::mkdir),
    ("mount", mount),
    ("mv", files::mv),
    ("ps", ps),
    ("readlink", files::readlink),
    ("rm", files::rm),
    ("sleep", sleep),
    ("sort", text::sort),
    ("stat", files::stat),
    ("tail", text::tail),
    ("test", test),
    ("touch", files::touch),
    ("wc", text::wc),
];

/// Returns a tool by its name.
pub(crate) fn find(name: &str) -> Option<Tool> {
    TOOLS.iter().find(|(known, _)| *known == name).map(|(_, tool)| *tool)
}

/// Is a tool, with the streams of this process.
pub(crate) fn run(tool: Tool, arguments: &[String]) -> i32 {
    let mut io = Streams::default().io();
    let status = tool(arguments, &mut io);
    // Whoever reads it reads nothing more.
    drop(io.out.flush());
    status
}

/// Returns the names of all of them.
pub(crate) fn names() -> Vec<&'static str> {
    TOOLS.iter().map(|(name, _)| *name).collect()
}

/// Says what went wrong; returns the status for it.
pub(crate) fn fail(io: &mut Io, tool: &str, what: impl std::fmt::Display) -> i32 {
    drop(writeln!(io.err, "{tool}: {what}"));
    1
}

/// Parts letters of options from the rest. Unknown ones are the caller's to refuse.
pub(crate) fn options(arguments: &[String]) -> (String, Vec<&str>) {
    let (mut letters, mut rest, mut all) = (String::new(), Vec::new(), false);
    for argument in arguments {
        match argument.strip_prefix('-') {
            _ if all => rest.push(argument.as_str()),
            Some("-") => all = true,
            Some(given) if !given.is_empty() && !given.starts_with('-') => letters.push_str(given),
            _ => rest.push(argument.as_str()),
        }
    }
    (letters, rest)
}

/// Refuses options that a tool does not have.
pub(crate) fn refuse(io: &mut Io, tool: &str, given: &str, known: &str) -> Option<i32> {
    let unknown = given.chars().find(|letter| !known.contains(*letter))?;
    Some(fail(io, tool, format!("this small tool has no option `-{unknown}`")) + 1)
}

fn echo(arguments: &[String], io: &mut Io) -> i32 {
    let (end, words) = match arguments.split_first() {
        Some((first, rest)) if first == "-n" => ("", rest),
        _ => ("\n", arguments),
    };
    i32::from(write!(io.out, "{}{end}", words.join(" ")).is_err())
}

fn env(_: &[String], io: &mut Io) -> i32 {
    i32::from(std::env::vars().any(|(name, value)| writeln!(io.out, "{name}={value}").is_err()))
}

fn id(_: &[String], io: &mut Io) -> i32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let (user, group, groups) = (field("Uid:"), field("Gid:"), field("Groups:"));
    let effective = |ids: &[String]| ids.get(1).cloned().unwrap_or_default();
    i32::from(
        writeln!(io.out, "uid={} gid={} groups={}", effective(&user), effective(&group), groups.join(",")).is_err(),
    )
}

fn mount(_: &[String], io: &mut Io) -> i32 {
    match std::fs::read("/proc/mounts") {
        Ok(text) => i32::from(io.out.write_all(&text).is_err()),
        Err(error) => fail(io, "mount", format!("cannot read /proc/mounts: {error}")),
    }
}

fn ps(_: &[String], io: &mut Io) -> i32 {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut numbers: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok())).collect();
    numbers.sort_unstable();
    for number in numbers {
        let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if writeln!(io.out, "{number:>7} {}", line.trim_end()).is_err() {
            return 1;
        }
    }
    0
}

fn sleep(arguments: &[String], io: &mut Io) -> i32 {
    let seconds = arguments.first().and_then(|text| text.parse::<f64>().ok());
    match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        Some(time) => {
            std::thread::sleep(time);
            0
        }
        None => fail(io, "sleep", "a number of seconds is expected"),
    }
}

/// `test` with one question: of a file, of a text, of two texts or numbers.
fn test(arguments: &[String], io: &mut Io) -> i32 {
    let words: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| *word != "]").collect();
    let (negated, words) = match words.split_first() {
        Some((first, rest)) if *first == "!" => (true, rest.to_vec()),
        _ => (false, words),
    };
    let kind = |path: &str| Path::new(path).metadata();
    let holds = match words[..] {
        [] => false,
        [text] | ["-n", text] => !text.is_empty(),
        ["-z", text] => text.is_empty(),
        ["-e", path] => kind(path).is_ok(),
        ["-f", path] => kind(path).is_ok_and(|metadata| metadata.is_file()),
        ["-d", path] => kind(path).is_ok_and(|metadata| metadata.is_dir()),
        ["-S", path] => kind(path).is_ok_and(|metadata| metadata.file_type().is_socket()),
        ["-s", path] => kind(path).is_ok_and(|metadata| metadata.len() > 0),
        ["-x", path] => kind(path).is_ok_and(|metadata| metadata.mode() & 0o111 != 0),
        ["-L" | "-h", path] => Path::new(path).is_symlink(),
        [one, "=" | "==", other] => one == other,
        [one, "!=", other] => one != other,
        [one, operator, other] => {
            let (Ok(one), Ok(other)) = (one.parse::<i64>(), other.parse::<i64>()) else {
                return fail(io, "test", format!("`{operator}` compares two numbers")) + 1;
            };
            match operator {
                "-eq" => one == other,
                "-ne" => one != other,
                "-lt" => one < other,
                "-le" => one <= other,
                "-gt" => one > other,
                "-ge" => one >= other,
                _ => return fail(io, "test", format!("this small tool has no `{operator}`")) + 1,
            }
        }
        _ => return fail(io, "test", "one question is expected") + 1,
    };
    i32::from(holds == negated)
}
