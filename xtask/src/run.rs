//! Runs other programs: shown or captured, timed, and with the command line in what they fail with.

use crate::failure::{Failure, Result};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs a command whose output the person sees.
pub(crate) fn show(command: &mut Command) -> Result {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("`{}` failed: {status}", line(command)))) }
}

/// Runs a command and returns its standard output; its standard error is in the failure.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| cannot_start(command, &error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(Failure::new(format!("`{}` failed: {}\n{}{}", line(command), output.status, tail(&out), tail(&err))))
}

/// Runs a command and returns all that it printed, on either stream.
pub(crate) fn both(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| cannot_start(command, &error))?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        return Ok(text);
    }
    Err(Failure::new(format!("`{}` failed: {}\n{}", line(command), output.status, tail(&text))))
}

/// Runs a command whose output nobody needs unless it fails.
pub(crate) fn quiet(command: &mut Command) -> Result {
    capture(command).map(drop)
}

/// Runs a command quietly and says how long it took.
pub(crate) fn timed(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    quiet(command)?;
    Ok(start.elapsed())
}

/// A process that runs while this value lives. The kernel ends it when `xtask` dies, whatever way it dies.
pub(crate) struct Server {
    child: Child,
    name: String,
}

impl Server {
    /// Starts `program ARGS` with its output in the file `log`.
    pub(crate) fn start(program: &Path, args: &[&str], log: &Path) -> Result<Self> {
        let file = std::fs::File::create(log).map_err(|error| Failure::io("create", log, &error))?;
        let copy = file.try_clone().map_err(|error| Failure::io("open", log, &error))?;
        // `setpriv` asks the kernel for the signal and then becomes the program, so the pid is the program's.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program).args(args);
        command.stdin(Stdio::null()).stdout(file).stderr(copy);
        let child = command.spawn().map_err(|error| cannot_start(&command, &error))?;
        Ok(Self { child, name: line(&command) })
    }

    /// Waits until `ready` says so, the program ends, or a minute has passed.
    pub(crate) fn wait_until(&mut self, log: &Path, mut ready: impl FnMut() -> bool) -> Result {
        let start = Instant::now();
        while !ready() {
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || start.elapsed() > Duration::from_mins(1) {
                let text = std::fs::read_to_string(log).unwrap_or_default();
                return Err(Failure::new(format!("`{}` did not get ready:\n{}", self.name, tail(&text))));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asks first: dockerd has to end its own children. What does not listen is killed.
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The path of a program, looked for where root's programs are, too.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    stave_testkit::needs::find_program(name)
}

/// The command line as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn cannot_start(command: &Command, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot start `{}`: {error}", line(command)))
}

/// The last 40 lines.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].iter().flat_map(|line| [line, "\n"]).collect()
}

/// Waits for SIGINT or SIGTERM.
pub(crate) fn wait_for_interrupt() -> Result {
    // The default action of both signals ends this process, and the kernel then ends its servers.
    loop {
        std::thread::park();
    }
}
