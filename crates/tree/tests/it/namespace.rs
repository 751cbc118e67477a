//! All tests once more as an ordinary user has them: root of a user namespace.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::in_user_namespace;

/// Ids of the host that stand for 0 and up in the namespace.
const FIRST_ID: u32 = 200_000;

fn missing() -> Option<&'static str> {
    if in_user_namespace() {
        return Some("already in a user namespace");
    }
    if !rustix::process::geteuid().is_root() {
        return Some("needs root, to map a range of ids");
    }
    let runs = |program: &str| Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !runs("unshare") || !runs("setpriv") {
        return Some("needs `unshare` and `setpriv`");
    }
    if std::fs::read_to_string("/proc/sys/user/max_user_namespaces").is_ok_and(|text| text.trim() == "0") {
        return Some("user namespaces are disabled");
    }
    None
}

/// Runs this very program in a new user namespace with 65,536 ids. Its tests notice where they are.
#[test]
fn everything_holds_in_a_user_namespace() {
    if let Some(reason) = missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    // The ordinary user may not be able to reach the build directory.
    let temporary = tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir();
    let temporary = temporary.unwrap();
    let program = temporary.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let work = temporary.path().join("work");
    std::fs::create_dir(&work).unwrap();
    std::os::unix::fs::chown(&work, Some(FIRST_ID), Some(FIRST_ID)).unwrap();
    run_inside(&program, &work);
}

fn run_inside(program: &Path, work: &Path) {
    let script = "echo ready; read go; exec setpriv --reuid 0 --regid 0 --clear-groups \"$0\" --test-threads 2";
    let mut child = Command::new("unshare")
        .args(["--user", "--keep-caps", "--mount", "sh", "-c", script])
        .arg(program)
        .env("TMPDIR", work)
        .current_dir(work)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let map = format!("0 {FIRST_ID} 65536\n");
    std::fs::write(format!("/proc/{}/uid_map", child.id()), &map).unwrap();
    std::fs::write(format!("/proc/{}/gid_map", child.id()), &map).unwrap();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut output, &mut said).unwrap();
    assert!(child.wait().unwrap().success(), "in the user namespace:\n{said}");
    assert!(said.contains("test result: ok"), "{said}");
}
