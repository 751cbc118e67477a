//! Tools that look at files and change them.

use std::fs::{self, Metadata, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use crate::expand::fits;
use crate::run::Io;
use crate::tools::{fail, options, refuse};

/// Does something with each path; says what did not work and goes on.
fn each(io: &mut Io, tool: &str, paths: &[&str], work: &mut dyn FnMut(&Path) -> io::Result<()>) -> i32 {
    if paths.is_empty() {
        return fail(io, tool, "a path is expected") + 1;
    }
    let mut status = 0;
    for path in paths {
        if let Err(error) = work(Path::new(path)) {
            status = fail(io, tool, format!("{path}: {error}"));
        }
    }
    status
}

fn kind(metadata: &Metadata) -> char {
    let kind = metadata.file_type();
    match () {
        () if kind.is_dir() => 'd',
        () if kind.is_symlink() => 'l',
        () if kind.is_fifo() => 'p',
        () if kind.is_socket() => 's',
        () if kind.is_char_device() => 'c',
        () if kind.is_block_device() => 'b',
        () => '-',
    }
}

/// Returns the mode as `ls -l` writes it.
fn mode(metadata: &Metadata) -> String {
    let bits = metadata.mode();
    let mut text = String::from(kind(metadata));
    for (shift, special, set, unset) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')] {
        let three = bits >> shift;
        text.push(if three & 4 == 0 { '-' } else { 'r' });
        text.push(if three & 2 == 0 { '-' } else { 'w' });
        text.push(match (bits & special != 0, three & 1 != 0) {
            (true, true) => set,
            (true, false) => unset,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

fn entry(path: &Path, name: &str, long: bool) -> String {
    let Ok(metadata) = path.symlink_metadata() else { return name.to_owned() };
    if !long {
        return name.to_owned();
    }
    let link = fs::read_link(path).map_or_else(|_| String::new(), |target| format!(" -> {}", target.display()));
    let (links, uid, gid, size) = (metadata.nlink(), metadata.uid(), metadata.gid(), metadata.len());
    format!("{} {links:>3} {uid:>5} {gid:>5} {size:>10} {} {name}{link}", mode(&metadata), date(metadata.mtime()))
}

/// Returns a time as `2026-01-31 12:00`, in UTC.
fn date(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // From days since 1970 to a date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", rest / 3600, rest % 3600 / 60)
}

fn names_in(path: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(path)?
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

pub(crate) fn ls(arguments: &[String], io: &mut Io) -> i32 {
    let (given, mut paths) = options(arguments);
    if let Some(status) = refuse(io, "ls", &given, "laA1Rdnh") {
        return status;
    }
    if paths.is_empty() {
        paths.push(".");
    }
    let (long, hidden) = (given.contains('l') || given.contains('n'), given.contains('a') || given.contains('A'));
    let mut status = 0;
    let mut waiting: Vec<PathBuf> = paths.iter().rev().map(PathBuf::from).collect();
    let titled = paths.len() > 1 || given.contains('R');
    while let Some(path) = waiting.pop() {
        let shown = path.display().to_string();
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) => {
                status = fail(io, "ls", format!("{shown}: {error}"));
                continue;
            }
        };
        let is_dir = metadata.is_dir() || !long && path.is_dir();
        let lines = if is_dir && !given.contains('d') {
            match names_in(&path) {
                Ok(names) => {
                    let names: Vec<String> =
                        names.into_iter().filter(|name| hidden || !name.starts_with('.')).collect();
                    if given.contains('R') {
                        let below = names.iter().map(|name| path.join(name));
                        let directories: Vec<PathBuf> =
                            below.filter(|path| path.is_dir() && !path.is_symlink()).collect();
                        waiting.extend(directories.into_iter().rev());
                    }
                    let lines = names.iter().map(|name| entry(&path.join(name), name, long));
                    let title = titled.then(|| format!("{shown}:"));
                    title.into_iter().chain(lines).collect::<Vec<_>>()
                }
                Err(error) => {
                    status = fail(io, "ls", format!("{shown}: {error}"));
                    continue;
                }
            }
        } else {
            vec![entry(&path, &shown, long)]
        };
        for line in lines {
            if writeln!(io.out, "{line}").is_err() {
                return 1;
            }
        }
    }
    status
}

/// Where something goes that is called like `from`: into a directory, or to a name.
fn place(from: &Path, to: &Path) -> PathBuf {
    match from.file_name() {
        Some(name) if to.is_dir() => to.join(name),
        _ => to.to_owned(),
    }
}

/// Does something with each source and the last path.
fn to_last(
    arguments: &[String],
    io: &mut Io,
    (tool, known): (&str, &str),
    work: &mut dyn FnMut(&str, &Path, &Path) -> io::Result<()>,
) -> i32 {
    let (given, paths) = options(arguments);
    if let Some(status) = refuse(io, tool, &given, known) {
        return status;
    }
    let Some((last, sources)) = paths.split_last().filter(|(_, sources)| !sources.is_empty()) else {
        return fail(io, tool, "a source and a destination are expected") + 1;
    };
    each(io, tool, sources, &mut |from| work(&given, from, Path::new(last)))
}

fn copy(from: &Path, to: &Path, recursive: bool) -> io::Result<()> {
    let metadata = from.symlink_metadata()?;
    if metadata.is_dir() {
        if !recursive {
            return Err(io::Error::other("it is a directory: use `-r`"));
        }
        if !to.is_dir() {
            fs::create_dir(to)?;
            fs::set_permissions(to, Permissions::from_mode(metadata.mode() & 0o7777))?;
        }
        return names_in(from)?.iter().try_for_each(|name| copy(&from.join(name), &to.join(name), true));
    }
    if metadata.file_type().is_symlink() && recursive {
        return symlink(fs::read_link(from)?, to);
    }
    fs::copy(from, to).map(drop)
}

pub(crate) fn cp(arguments: &[String], io: &mut Io) -> i32 {
    to_last(arguments, io, ("cp", "rRapfv"), &mut |given, from, to| {
        copy(from, &place(from, to), given.contains(['r', 'R', 'a']))
    })
}

pub(crate) fn mv(arguments: &[String], io: &mut Io) -> i32 {
    to_last(arguments, io, ("mv", "fv"), &mut |_, from, to| fs::rename(from, place(from, to)))
}

pub(crate) fn ln(arguments: &[String], io: &mut Io) -> i32 {
    to_last(arguments, io, ("ln", "sf"), &mut |given, from, to| {
        let to = place(from, to);
        if given.contains('f') && to.symlink_metadata().is_ok() {
            fs::remove_file(&to)?;
        }
        if given.contains('s') { symlink(from, to) } else { fs::hard_link(from, to) }
    })
}

pub(crate) fn rm(arguments: &[String], io: &mut Io) -> i32 {
    let (given, paths) = options(arguments);
    if let Some(status) = refuse(io, "rm", &given, "rRfv") {
        return status;
    }
    if paths.is_empty() && given.contains('f') {
        return 0;
    }
    each(io, "rm", &paths, &mut |path| match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && given.contains('f') => Ok(()),
        Ok(metadata) if metadata.is_dir() && given.contains(['r', 'R']) => fs::remove_dir_all(path),
        _ => fs::remove_file(path),
    })
}

pub(crate) fn mkdir(arguments: &[String], io: &mut Io) -> i32 {
    let (given, paths) = options(arguments);
    if let Some(status) = refuse(io, "mkdir", &given, "p") {
        return status;
    }
    each(io, "mkdir", &paths, &mut |path| {
        if given.contains('p') { fs::create_dir_all(path) } else { fs::create_dir(path) }
    })
}

pub(crate) fn touch(arguments: &[String], io: &mut Io) -> i32 {
    let (_, paths) = options(arguments);
    each(io, "touch", &paths, &mut |path| {
        let file = fs::OpenOptions::new().create(true).append(true).open(path)?;
        file.set_modified(std::time::SystemTime::now())
    })
}

pub(crate) fn chmod(arguments: &[String], io: &mut Io) -> i32 {
    let Some((digits, rest)) = arguments.split_first() else { return fail(io, "chmod", "a mode is expected") + 1 };
    let paths: Vec<&str> = rest.iter().map(String::as_str).collect();
    let change = |old: u32| match digits.as_str() {
        "+x" => Some(old | 0o111),
        "-x" => Some(old & !0o111),
        digits => u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o7777),
    };
    if change(0).is_none() {
        return fail(io, "chmod", "an octal mode, `+x` or `-x` is expected") + 1;
    }
    each(io, "chmod", &paths, &mut |path| {
        let old = path.metadata()?.mode() & 0o7777;
        fs::set_permissions(path, Permissions::from_mode(change(old).unwrap_or(old)))
    })
}

pub(crate) fn chown(arguments: &[String], io: &mut Io) -> i32 {
    let Some((owner, rest)) = arguments.split_first() else { return fail(io, "chown", "an owner is expected") + 1 };
    let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
    let number = |text: &str| if text.is_empty() { Some(None) } else { text.parse::<u32>().ok().map(Some) };
    let (Some(user), Some(group)) = (number(user), number(group)) else {
        return fail(io, "chown", "numbers are expected: `UID:GID`") + 1;
    };
    let paths: Vec<&str> = rest.iter().map(String::as_str).collect();
    each(io, "chown", &paths, &mut |path| lchown(path, user, group))
}

pub(crate) fn readlink(arguments: &[String], io: &mut Io) -> i32 {
    let (given, paths) = options(arguments);
    if let Some(status) = refuse(io, "readlink", &given, "f") {
        return status;
    }
    let mut found = Vec::new();
    let status = each(io, "readlink", &paths, &mut |path| {
        found.push(if given.contains('f') { path.canonicalize()? } else { fs::read_link(path)? });
        Ok(())
    });
    for path in found {
        drop(writeln!(io.out, "{}", path.display()));
    }
    status
}

pub(crate) fn stat(arguments: &[String], io: &mut Io) -> i32 {
    let (_, paths) = options(arguments);
    let mut lines = Vec::new();
    let status = each(io, "stat", &paths, &mut |path| {
        let metadata = path.symlink_metadata()?;
        let (bits, uid, gid, size) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid(), metadata.len());
        let times = format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec());
        lines.push(format!(
            "{}: {} {bits:04o} {uid}:{gid} {size} bytes, modified {times}",
            path.display(),
            kind(&metadata)
        ));
        Ok(())
    });
    for line in lines {
        drop(writeln!(io.out, "{line}"));
    }
    status
}

/// Calls `see` with everything below a path, the path itself first.
fn walk(path: &Path, see: &mut dyn FnMut(&Path, &Metadata) -> io::Result<()>) -> io::Result<()> {
    let metadata = path.symlink_metadata()?;
    see(path, &metadata)?;
    if metadata.is_dir() {
        for name in names_in(path)? {
            walk(&path.join(name), see)?;
        }
    }
    Ok(())
}

/// `find PATH... [-name PATTERN] [-type f|d|l]`
pub(crate) fn find(arguments: &[String], io: &mut Io) -> i32 {
    let (mut paths, mut name, mut wanted) = (Vec::new(), None, None);
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        match argument {
            "-name" => name = rest.next(),
            "-type" => wanted = rest.next().and_then(|letter| letter.chars().next()),
            other if other.starts_with('-') => {
                return fail(io, "find", format!("this small tool has no `{other}`, only `-name` and `-type`")) + 1;
            }
            path => paths.push(path),
        }
    }
    if paths.is_empty() {
        paths.push(".");
    }
    let mut out = io::BufWriter::new(std::mem::replace(&mut io.out, Box::new(io::sink())));
    let status = each(io, "find", &paths, &mut |path| {
        walk(path, &mut |path, metadata| {
            let own = path.file_name().map_or_else(|| "/".into(), |name| name.to_string_lossy());
            let letter = if kind(metadata) == '-' { 'f' } else { kind(metadata) };
            if name.is_none_or(|name| fits(name, &own)) && wanted.is_none_or(|wanted| wanted == letter) {
                writeln!(out, "{}", path.display())?;
            }
            Ok(())
        })
    });
    drop(out.flush());
    status
}

/// The space below paths, in KiB, as `du -s`.
pub(crate) fn du(arguments: &[String], io: &mut Io) -> i32 {
    let (given, paths) = options(arguments);
    if let Some(status) = refuse(io, "du", &given, "sk") {
        return status;
    }
    let mut lines = Vec::new();
    let status = each(io, "du", &paths, &mut |path| {
        let mut blocks = 0;
        walk(path, &mut |_, metadata| {
            blocks += metadata.blocks();
            Ok(())
        })?;
        lines.push(format!("{}\t{}", blocks / 2, path.display()));
        Ok(())
    });
    for line in lines {
        drop(writeln!(io.out, "{line}"));
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        assert_eq!(date(0), "1970-01-01 00:00");
        assert_eq!(date(951_782_400), "2000-02-29 00:00");
        assert_eq!(date(1_798_761_599), "2026-12-31 23:59");
    }
}
