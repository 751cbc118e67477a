//! Who the step is and where it starts: the image's users, and the working directory.

use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chownat, fstat, mkdirat};
use rustix::io::Errno as Code;
use stave_oci::user::{Identity, USER_FILE_BYTES_MAX, identity};

use crate::error::During;
use crate::{SandboxError, inside};

pub(crate) type Person = Identity;

/// Reads a user file of the image; nothing if it has none. The process is already in the step's root.
fn user_file(path: &str) -> Result<Vec<u8>, SandboxError> {
    let unusable = |reason: String| SandboxError::UserFile { path: path.to_owned(), reason };
    // Neither waits for a writer of a pipe nor takes a terminal over.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match inside::open(CWD, path, flags) {
        Ok(file) => file,
        Err(Code::NOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(unusable(format!("it cannot be opened: {}", crate::Errno::from(errno)))),
    };
    let status = fstat(&file).during("look at", path)?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(unusable("it is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(USER_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).during("read", path)?;
    if bytes.len() as u64 > USER_FILE_BYTES_MAX {
        return Err(unusable(format!("it is longer than {USER_FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// Looks the user up in the image.
pub(crate) fn find(user: &str) -> Result<Person, SandboxError> {
    identity(user, &user_file("/etc/passwd")?, &user_file("/etc/group")?)
        .map_err(|source| SandboxError::User { user: user.to_owned(), source })
}

fn open_directory(path: &str) -> Result<OwnedFd, Code> {
    // The process is in its root, and here in `/` of it.
    inside::open(CWD, path, OFlags::PATH | OFlags::DIRECTORY)
}

/// Enters the working directory; with `make`, what is missing of it is made, with the step's user as owner.
pub(crate) fn enter_directory(cwd: &str, person: &Person, make: bool) -> Result<(), SandboxError> {
    let failed = |action: &'static str| {
        move |errno: Code| SandboxError::WorkDir {
            action: action.to_owned(),
            path: cwd.to_owned(),
            errno: errno.into(),
        }
    };
    let mut directory = open_directory("/").map_err(failed("open"))?;
    let mut path = String::new();
    for component in cwd.split('/').filter(|component| !component.is_empty()) {
        path.push('/');
        path.push_str(component);
        directory = match open_directory(&path) {
            Err(Code::NOENT) if make => {
                mkdirat(&directory, component, Mode::from_raw_mode(0o755)).map_err(failed("make"))?;
                let (uid, gid) = (Uid::from_raw(person.uid), Gid::from_raw(person.gid));
                chownat(&directory, component, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| {
                    unmapped(person, errno).unwrap_or_else(|| failed("give the step's user")(errno))
                })?;
                open_directory(&path)
            }
            other => other,
        }
        .map_err(failed("enter"))?;
    }
    rustix::process::fchdir(directory).map_err(failed("enter"))?;
    let seen = rustix::process::getcwd(Vec::new()).map_err(failed("find"))?;
    // A directory outside the root shows as `(unreachable)/...`.
    if seen.to_bytes().starts_with(b"/") { Ok(()) } else { Err(failed("stay in the root with")(Code::XDEV)) }
}

/// The error for ids that the user namespace does not have.
pub(crate) fn unmapped(person: &Person, errno: Code) -> Option<SandboxError> {
    if errno != Code::INVAL {
        return None;
    }
    let mapped = |file: &str, id: u32| {
        std::fs::read_to_string(file).is_ok_and(|map| {
            map.lines().any(|line| {
                let numbers: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
                matches!(numbers[..], [first, _, count] if (first..first + count).contains(&u64::from(id)))
            })
        })
    };
    if !mapped("/proc/self/uid_map", person.uid) {
        return Some(SandboxError::UnmappedId { kind: "user".to_owned(), id: person.uid });
    }
    let missing = person.groups.iter().find(|gid| !mapped("/proc/self/gid_map", **gid))?;
    Some(SandboxError::UnmappedId { kind: "group".to_owned(), id: *missing })
}
