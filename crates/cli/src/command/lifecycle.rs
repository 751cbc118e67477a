//! `stop`, `restart`, `kill`, `wait`, `logs`, `exec`, `top`, `rename`, and the process that holds a container.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use stave_engine::{Attached, EngineError, ExecRequest, LogPiece, LogRequest, Stream};

use super::container::{environment, exit_code};
use super::terminal::{self, Raw};
use super::{Context, settled};
use crate::args::{
    AttachArgs, ExecArgs, KillArgs, LogsArgs, RenameArgs, RestartArgs, StopArgs, SuperviseArgs, TopArgs, WaitArgs,
};
use crate::failure::{self, Failure};
use crate::host::{self, Host, Processes};
use crate::table::{Column, Format, column};
use crate::{human, output};

/// What a holder says when its container runs.
const RUNS: &str = "runs\n";

/// Does something to each container; prints the names of those with which it went well.
fn each(
    names: &[String],
    context: &Context<'_>,
    host: &Host,
    work: impl Fn(&str) -> Result<Option<String>, EngineError>,
) -> Result<u8, Failure> {
    let (mut done, mut code) = (Vec::new(), 0);
    for name in names {
        match settled(host, work(name).map_err(Failure::from)) {
            Ok(line) => done.push(line.unwrap_or_else(|| name.clone())),
            Err(failure) => {
                crate::print_error(&failure.render(context.style));
                code = code.max(failure.code);
            }
        }
    }
    output::lines(&done)?;
    Ok(code)
}

pub(super) fn stop(args: &StopArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let host = context.host(Processes::None)?;
    each(&args.containers, context, &host, |name| {
        host.engine.stop_container(name, args.signal, args.timeout).map(|()| None)
    })
}

pub(super) fn restart(args: &RestartArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let host = context.host(Processes::None)?;
    let args = &args.stop;
    let code = each(&args.containers, context, &host, |name| {
        host.engine.stop_container(name, args.signal, args.timeout).map(|()| None)
    });
    if code? != 0 {
        return Ok(failure::FAILED);
    }
    for name in &args.containers {
        leave_running(name, context)?;
    }
    Ok(0)
}

pub(super) fn kill(args: &KillArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let host = context.host(Processes::None)?;
    each(&args.containers, context, &host, |name| host.engine.kill_container(name, args.signal).map(|()| None))
}

pub(super) fn wait(args: &WaitArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let host = context.host(Processes::None)?;
    each(&args.containers, context, &host, |name| {
        host.engine.wait_container(name).map(|exit| Some(exit.code.to_string()))
    })
}

pub(super) fn rename(args: &RenameArgs, context: &Context<'_>) -> Result<u8, Failure> {
    context.host(Processes::None)?.engine.rename_container(&args.container, &args.name)?;
    Ok(0)
}

pub(super) fn top(args: &TopArgs, context: &Context<'_>) -> Result<u8, Failure> {
    const COLUMNS: &[Column] =
        &[column("UID", "UID"), column("PID", "PID"), column("Time", "TIME"), column("Command", "CMD")];
    let host = context.host(Processes::None)?;
    let row = |(pid, user, seconds, command): (u32, u32, u64, String)| {
        let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        json!({ "UID": user, "PID": pid, "Time": time, "Command": crate::render::printable(&command) })
    };
    let rows: Vec<Value> = host.engine.container_processes(&args.container)?.into_iter().map(row).collect();
    output::text(&Format::parse(None, COLUMNS)?.render(&rows, COLUMNS)?)?;
    Ok(0)
}

pub(super) fn exec(args: ExecArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let mut words = args.container_and_command.into_iter();
    let container = words.next().expect("clap asks for a container");
    if args.tty && !args.detach {
        terminal::require(args.interactive)?;
    }
    let request = ExecRequest {
        command: words.collect(),
        env: environment(&args.env_files, &args.env)?,
        workdir: args.workdir,
        user: args.user,
        privileged: args.privileged,
        input: args.interactive,
        terminal: args.tty.then(terminal::size),
        detached: args.detach,
    };
    let host = context.host(Processes::None)?;
    let raw = (args.tty && args.interactive && !args.detach).then(Raw::begin);
    let shown = std::cell::RefCell::new(Vec::new());
    let result = host.engine.exec(&container, &request, &|end| {
        if let Ok(copy) = end.try_clone() {
            terminal::feed(copy, args.interactive);
        }
        shown.borrow_mut().push(std::thread::spawn(move || terminal::show(end)));
    });
    for thread in shown.into_inner() {
        drop(thread.join());
    }
    drop(raw);
    let result = result.map_err(|error| {
        let code = failure::start_code(&error);
        let failure = Failure::from(error);
        if code == failure::NOT_STARTED { failure } else { failure.with_code(code) }
    });
    settled(&host, result).map(exit_code)
}

pub(super) fn logs(args: &LogsArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let host = context.host(Processes::None)?;
    let now = host::now();
    let bound = |when: Option<crate::args::When>| when.map(|when| when.seconds(now));
    let mut lines = Lines {
        since: bound(args.since),
        until: bound(args.until),
        timestamps: args.timestamps,
        tail: args.tail,
        kept: VecDeque::new(),
        began: false,
        partial: [None, None],
    };
    let result = host.engine.logs(&args.container, LogRequest { follow: args.follow }, &mut |piece| lines.take(piece));
    settled(&host, result.map_err(Failure::from))?;
    lines.finish().map_err(|error| Failure::environment(&error).within("cannot write to standard output"))?;
    Ok(0)
}

pub(super) fn pause(containers: &[String], still: bool, context: &Context<'_>) -> Result<u8, Failure> {
    let host = context.host(Processes::None)?;
    each(containers, context, &host, |name| host.engine.pause_container(name, still).map(|()| None))
}

pub(super) fn attach(args: &AttachArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let host = context.host(Processes::None)?;
    let (tty, input) = host.engine.container_terminal(&args.container)?;
    let input = input && !args.no_stdin;
    if tty {
        terminal::require(input)?;
    }
    if args.sig_proxy {
        host.signals.forward();
    }
    let raw = (tty && input).then(Raw::begin);
    let on_input = |end: OwnedFd| {
        if tty {
            terminal::feed(end, input);
        } else if input {
            std::thread::spawn(move || std::io::copy(&mut std::io::stdin().lock(), &mut std::fs::File::from(end)));
        }
    };
    let result = host.engine.attach(&args.container, args.sig_proxy, &on_input, &mut |piece: LogPiece| {
        write(piece.stream, &piece.bytes)?;
        std::io::stdout().flush()
    });
    drop(raw);
    settled(&host, result.map_err(Failure::from)).map(exit_code)
}

/// Makes lines of what a container has written.
struct Lines {
    since: Option<i64>,
    until: Option<i64>,
    timestamps: bool,
    tail: usize,
    /// The last lines so far, until all that there is has been seen.
    kept: VecDeque<(Stream, Vec<u8>)>,
    began: bool,
    /// The beginning of a line of each stream whose end has not come.
    partial: [Option<Vec<u8>>; 2],
}

impl Lines {
    /// Takes a piece; nothing means that for now there is no more.
    fn take(&mut self, piece: Option<LogPiece>) -> std::io::Result<()> {
        let Some(piece) = piece else {
            if !self.began {
                self.began = true;
                for (stream, line) in std::mem::take(&mut self.kept) {
                    write(stream, &line)?;
                }
            }
            return Ok(());
        };
        let seconds = i64::try_from(piece.time.as_secs()).unwrap_or(i64::MAX);
        if self.since.is_some_and(|since| seconds < since) || self.until.is_some_and(|until| seconds >= until) {
            return Ok(());
        }
        for part in piece.bytes.split_inclusive(|&byte| byte == b'\n') {
            let slot = &mut self.partial[usize::from(piece.stream == Stream::Stderr)];
            let line = slot.get_or_insert_with(|| {
                let time = || format!("{} ", human::rfc3339_nanos(piece.time)).into_bytes();
                if self.timestamps { time() } else { Vec::new() }
            });
            line.extend_from_slice(part);
            if part.ends_with(b"\n")
                && let Some(line) = slot.take()
            {
                self.line(piece.stream, line)?;
            }
        }
        Ok(())
    }

    fn line(&mut self, stream: Stream, line: Vec<u8>) -> std::io::Result<()> {
        if self.began {
            return write(stream, &line);
        }
        self.kept.push_back((stream, line));
        if self.kept.len() > self.tail {
            self.kept.pop_front();
        }
        Ok(())
    }

    /// Writes lines that have no end.
    fn finish(mut self) -> std::io::Result<()> {
        for (stream, slot) in [Stream::Stdout, Stream::Stderr].into_iter().zip(std::mem::take(&mut self.partial)) {
            if let Some(line) = slot.filter(|_| self.tail > 0) {
                write(stream, &line)?;
            }
        }
        Ok(())
    }
}

fn write(stream: Stream, line: &[u8]) -> std::io::Result<()> {
    match stream {
        Stream::Stdout => std::io::stdout().lock().write_all(line),
        Stream::Stderr => std::io::stderr().lock().write_all(line),
    }
}

/// Starts a container in a process of its own, which stays when this one ends. Returns when it runs.
pub(super) fn leave_running(id: &str, context: &Context<'_>) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| Failure::environment(&error).within("cannot start the container's process");
    let root = host::store_root(context.global)?;
    let mut child = Command::new("/proc/self/exe")
        .arg0_stave()
        .arg("--root")
        .arg(root)
        .args(["supervise", id])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    let mut said = String::new();
    let mut out = child.stdout.take().expect("it was asked for");
    out.read_to_string(&mut said).map_err(cannot)?;
    if said == RUNS {
        return Ok(());
    }
    let status = child.wait().map_err(cannot)?;
    let mut why = String::new();
    if let Some(mut errors) = child.stderr.take() {
        errors.read_to_string(&mut why).map_err(cannot)?;
    }
    crate::print_error(&why);
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(failure::NOT_STARTED);
    Err(Failure::silent(code))
}

trait Arg0 {
    fn arg0_stave(&mut self) -> &mut Self;
}

impl Arg0 for Command {
    /// The name under which a process is listed.
    fn arg0_stave(&mut self) -> &mut Self {
        std::os::unix::process::CommandExt::arg0(self, "stave")
    }
}

/// Holds a container until it ends. Nobody looks at this process but by the container's socket.
pub(super) fn supervise(args: &SuperviseArgs, context: &Context<'_>) -> Result<u8, Failure> {
    // The caller's session ends without this one. It may lead one already, if it was started by hand.
    let _session = rustix::process::setsid();
    let host = context.host(Processes::Some)?;
    host.signals.forward();
    let result = host.engine.start(&args.container, &Attached::Nobody, &|_| {
        // Whoever waits for this may have gone; then nobody needs to know.
        drop(output::text(RUNS));
        leave_streams();
    });
    let result = result.map_err(|error| {
        let code = failure::start_code(&error);
        let failure = Failure::from(error);
        if code == failure::NOT_STARTED { failure } else { failure.with_code(code) }
    });
    settled(&host, result).map(exit_code)
}

/// Gives up the caller's streams, so that nobody waits for their end.
fn leave_streams() {
    let Ok(null) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null") else { return };
    let _output = rustix::stdio::dup2_stdout(&null);
    let _errors = rustix::stdio::dup2_stderr(&null);
}
