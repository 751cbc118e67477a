//! Tools that read text.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write as _};

use crate::run::Io;
use crate::tools::{fail, options, refuse};

/// What is done with a file: its name, what is in it, and where the answer goes.
type Each<'a> = dyn FnMut(&str, &mut dyn BufRead, &mut dyn io::Write) -> io::Result<()> + 'a;

/// Calls `each` with every file, or with standard input if there is none.
fn over(io: &mut Io, tool: &str, paths: &[&str], each: &mut Each<'_>) -> i32 {
    if paths.is_empty() {
        let done = each("", &mut BufReader::new(&mut io.input), &mut io.out);
        return i32::from(done.is_err());
    }
    let mut status = 0;
    for path in paths {
        let done = if *path == "-" {
            each("-", &mut BufReader::new(&mut io.input), &mut io.out)
        } else {
            File::open(path).and_then(|file| each(path, &mut BufReader::new(file), &mut io.out))
        };
        match done {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return 1,
            Err(error) => status = fail(io, tool, format!("{path}: {error}")),
        }
    }
    status
}

pub(crate) fn cat(arguments: &[String], io: &mut Io) -> i32 {
    let (given, paths) = options(arguments);
    if let Some(status) = refuse(io, "cat", &given, "u") {
        return status;
    }
    over(io, "cat", &paths, &mut |_, from, out| io::copy(from, out).map(drop))
}

/// Returns the number of `-n N`, `-nN` or `-N`, and the paths.
fn count(arguments: &[String]) -> Option<(usize, Vec<&str>)> {
    let (mut number, mut paths) = (10, Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.strip_prefix('-').filter(|given| !given.is_empty()) {
            Some("n") => number = rest.next()?.parse().ok()?,
            Some(given) => number = given.strip_prefix('n').unwrap_or(given).parse().ok()?,
            None => paths.push(argument.as_str()),
        }
    }
    Some((number, paths))
}

fn line(from: &mut dyn BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    Ok((from.read_until(b'\n', &mut bytes)? > 0).then_some(bytes))
}

pub(crate) fn head(arguments: &[String], io: &mut Io) -> i32 {
    let Some((number, paths)) = count(arguments) else { return fail(io, "head", "`-n NUMBER` is expected") + 1 };
    over(io, "head", &paths, &mut |_, from, out| {
        for _ in 0..number {
            let Some(line) = line(from)? else { break };
            out.write_all(&line)?;
        }
        Ok(())
    })
}

pub(crate) fn tail(arguments: &[String], io: &mut Io) -> i32 {
    let Some((number, paths)) = count(arguments) else { return fail(io, "tail", "`-n NUMBER` is expected") + 1 };
    over(io, "tail", &paths, &mut |_, from, out| {
        let mut last = VecDeque::new();
        while let Some(line) = line(from)? {
            if last.len() == number {
                last.pop_front();
            }
            if number > 0 {
                last.push_back(line);
            }
        }
        last.iter().try_for_each(|line| out.write_all(line))
    })
}

pub(crate) fn wc(arguments: &[String], io: &mut Io) -> i32 {
    let (given, paths) = options(arguments);
    if let Some(status) = refuse(io, "wc", &given, "lwc") {
        return status;
    }
    over(io, "wc", &paths, &mut |path, from, out| {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let lines = bytes.split(|byte| *byte == b'\n').count() - 1;
        let words = bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
        let all = [('l', lines), ('w', words), ('c', bytes.len())];
        let wanted = all.iter().filter(|(letter, _)| given.is_empty() || given.contains(*letter));
        let numbers: Vec<String> = wanted.map(|(_, number)| number.to_string()).collect();
        writeln!(out, "{}", format!("{} {path}", numbers.join(" ")).trim_end())
    })
}

pub(crate) fn sort(arguments: &[String], io: &mut Io) -> i32 {
    let (given, paths) = options(arguments);
    if let Some(status) = refuse(io, "sort", &given, "ru") {
        return status;
    }
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let status = over(io, "sort", &paths, &mut |_, from, _| {
        while let Some(mut bytes) = line(from)? {
            bytes.pop_if(|last| *last == b'\n');
            lines.push(bytes);
        }
        Ok(())
    });
    lines.sort();
    if given.contains('u') {
        lines.dedup();
    }
    if given.contains('r') {
        lines.reverse();
    }
    for line in lines {
        if io.out.write_all(&line).and_then(|()| io.out.write_all(b"\n")).is_err() {
            return 1;
        }
    }
    status
}

/// `grep` for a text, not a pattern.
pub(crate) fn grep(arguments: &[String], io: &mut Io) -> i32 {
    let (given, rest) = options(arguments);
    if let Some(status) = refuse(io, "grep", &given, "FEinvlqhc") {
        return status;
    }
    let Some((wanted, paths)) = rest.split_first() else { return fail(io, "grep", "a text is expected") + 1 };
    if !given.contains('F') && wanted.chars().any(|character| "[]*^$|\\".contains(character)) {
        return fail(io, "grep", "this small tool looks for a text, not a pattern; `-F` says that one is meant") + 1;
    }
    let fold = |text: String| if given.contains('i') { text.to_lowercase() } else { text };
    let wanted = fold((*wanted).to_owned());
    let mut found = 0;
    let several = paths.len() > 1 && !given.contains('h');
    let status = over(io, "grep", paths, &mut |path, from, out| {
        let (mut number, mut here) = (0, 0);
        while let Some(bytes) = line(from)? {
            number += 1;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if fold(text.clone()).contains(&wanted) == given.contains('v') {
                continue;
            }
            here += 1;
            if given.contains('q') || given.contains('l') || given.contains('c') {
                continue;
            }
            let name = if several { format!("{path}:") } else { String::new() };
            let at = if given.contains('n') { format!("{number}:") } else { String::new() };
            writeln!(out, "{name}{at}{}", text.trim_end_matches('\n'))?;
        }
        if given.contains('l') && here > 0 {
            writeln!(out, "{path}")?;
        }
        if given.contains('c') {
            writeln!(out, "{here}")?;
        }
        found += here;
        Ok(())
    });
    if status == 0 { i32::from(found == 0) } else { status + 1 }
}
