//! Finds what a finished or killed command left behind: processes, mounts, temporary files.
//!
//! Tests run side by side, so nothing is compared with "before": everything that belongs to one bench carries its
//! [token](crate::Bench::token) or its directory in a name, and only that is looked for.

use std::fs;
use std::path::Path;

/// Processes whose command line or environment has `token` in it, but for this one: `PID command line`.
#[must_use]
pub fn processes(token: &str) -> Vec<String> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let (line, environ) = (read("cmdline"), read("environ"));
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let has_token = line.contains(token) || String::from_utf8_lossy(&environ).contains(token);
        if pid != own && has_token && !is_zombie(&entry.path()) {
            found.push(format!("{pid} {line}"));
        }
    }
    found
}

/// Mounts that this process sees and that have `dir` in their line of `/proc/self/mountinfo`.
#[must_use]
pub fn mounts(dir: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let dir = dir.display().to_string();
    table.lines().filter(|line| line.contains(&dir)).map(str::to_owned).collect()
}

/// Everything below the store's work areas: a tidy store has nothing there.
#[must_use]
pub fn work_files(store_root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    list(&store_root.join("tmp"), &mut found);
    found
}

fn list(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        found.push(entry.path().display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(&entry.path(), found);
        }
    }
}

fn is_zombie(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with('Z'))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_process_is_found_by_its_token_until_it_has_ended() {
        // Of this run only: an earlier one may have been killed.
        let token = format!("stave-leak-test-{}", std::process::id());
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "echo ready; read line"]).env("TOKEN", &token);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh");
        // `spawn` returns before the kernel shows the new program's environment; a program that speaks is shown.
        let mut ready = [0; 6];
        child.stdout.take().expect("kept").read_exact(&mut ready).expect("it speaks");
        assert_eq!(processes(&token).len(), 1);
        child.kill().expect("killed");
        child.wait().expect("waited for");
        assert!(processes(&token).is_empty());
    }
}
