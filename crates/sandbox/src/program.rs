//! Which file is executed, with which environment.

use std::ffi::CString;

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, ResolveFlags, accessat, fstat, openat2};
use rustix::io::Errno as Code;

use crate::SandboxError;
use crate::person::Person;

/// `PATH` of a step whose environment has none.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A string for the kernel, which ends at the first zero byte.
pub(crate) fn c_string(text: &str) -> Result<CString, SandboxError> {
    CString::new(text).map_err(|_| SandboxError::ZeroByte { text: text.replace('\0', "\\0") })
}

fn value<'a>(environment: &'a [String], name: &str) -> Option<&'a str> {
    environment.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
}

/// The environment with what every program may expect: `PATH`, `HOME`, and `TERM` on a terminal.
pub(crate) fn environment(given: &[String], person: &Person, terminal: bool) -> Vec<String> {
    let mut environment = given.to_vec();
    if value(given, "PATH").is_none() {
        environment.push(format!("PATH={DEFAULT_PATH}"));
    }
    if value(given, "HOME").is_none_or(str::is_empty) {
        environment.retain(|entry| !entry.starts_with("HOME="));
        environment.push(format!("HOME={}", person.home.as_deref().unwrap_or("/")));
    }
    if terminal && value(given, "TERM").is_none() {
        environment.push("TERM=xterm".to_owned());
    }
    environment
}

/// Looks at one candidate as the step's user.
fn look(path: &str) -> Result<(), Code> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    // Not through `/proc/<pid>/exe` and the like: what that leads to is not the image's.
    let file = openat2(rustix::fs::CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::RegularFile => accessat(rustix::fs::CWD, path, Access::EXEC_OK, AtFlags::EACCESS),
        _ => Err(Code::ACCESS),
    }
}

/// The path of the program, looked for as execvp(3) does.
pub(crate) fn find(arguments: &[String], environment: &[String]) -> Result<String, SandboxError> {
    let program = arguments.first().filter(|program| !program.is_empty()).ok_or(SandboxError::NoCommand)?;
    let failed = |errno: Code| SandboxError::Exec { program: program.clone(), errno: errno.into() };
    if program.contains('/') {
        look(program).map_err(failed)?;
        return Ok(program.clone());
    }
    let mut refused = None;
    for directory in value(environment, "PATH").unwrap_or(DEFAULT_PATH).split(':') {
        let candidate = format!("{}/{program}", if directory.is_empty() { "." } else { directory });
        match look(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Code::ACCESS) => refused = Some(Code::ACCESS),
            Err(_) => {}
        }
    }
    Err(refused.map_or_else(|| SandboxError::CommandNotFound { program: program.clone() }, failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(home: Option<&str>) -> Person {
        Person { uid: 0, gid: 0, groups: vec![0], home: home.map(str::to_owned) }
    }

    #[test]
    fn home_comes_from_the_image_unless_the_environment_has_one() {
        let given = vec!["PATH=/bin".to_owned()];
        assert_eq!(environment(&given, &person(Some("/root")), false), ["PATH=/bin", "HOME=/root"]);
        assert_eq!(environment(&given, &person(None), false), ["PATH=/bin", "HOME=/"]);
        let given = vec!["HOME=/x".to_owned(), "PATH=".to_owned()];
        assert_eq!(environment(&given, &person(Some("/root")), true), ["HOME=/x", "PATH=", "TERM=xterm"]);
    }

    #[test]
    fn a_missing_path_is_the_usual_one() {
        assert_eq!(environment(&[], &person(None), false), [format!("PATH={DEFAULT_PATH}"), "HOME=/".to_owned()]);
    }
}
