//! `debug`, and what `build` does with a step that failed: a shell in its state, files out of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use stave_engine::{DebugRequest, Grants, Opened, Shell, StateOf, TakeOut, Taken};

use super::build::{Surroundings, grants};
use super::container::{environment, exit_code};
use super::terminal::{self, Raw};
use super::{Context, builds, settled};
use crate::args::{DebugArgs, NetworkMode, OnFailure, TakeOutArg};
use crate::failure::{self, Failure};
use crate::host::{self, Host, Processes, raw_variable};
use crate::render::printable;
use crate::{human, output, table};

pub(super) fn debug(args: DebugArgs, context: &Context<'_>) -> Result<u8, Failure> {
    if let Some(word) = args.build.as_deref().filter(|word| !builds::can_be_name(word)) {
        return Err(Failure::failed(format!("the history has no build `{word}`")).with_hint(&format!(
            "Builds are named by their ids, as `stave builds ls` lists them. If `{word}` is a command, it stands behind \
             `--`: `stave debug -- {word}`."
        )));
    }
    if args.list {
        return list(&args, context);
    }
    let surroundings = Surroundings::new(&raw_variable);
    let mut notes = Vec::new();
    // The agents end when this function does.
    let (grants, _agents) =
        grants(args.secrets, args.ssh, &args.allowed, NetworkMode::Default, &surroundings, &mut notes)?;
    for note in &notes {
        crate::print_error(&format!("note: {}\n", printable(note)));
    }
    let wants_shell = args.command.is_empty();
    let tty = args.tty || wants_shell && std::io::stdin().is_terminal();
    if tty && !std::io::stdin().is_terminal() {
        return Err(Failure::usage("standard input is no terminal, which `-t` needs")
            .with_hint("Leave `-t` out; `-i` connects a file or a pipe."));
    }
    let state = match (args.before, args.after) {
        (Some(step), _) => StateOf::Before(step),
        (_, Some(step)) => StateOf::After(step),
        (None, None) => StateOf::Failed,
    };
    let request = DebugRequest {
        build: args.build,
        bundle: args.bundle,
        state,
        command: args.command,
        env: environment(&[], &args.env)?,
        proxies: surroundings.build_args(&[], &[])?,
        terminal: tty.then(terminal::size),
        input: args.interactive || wants_shell,
        grants,
        shell: match args.shell {
            None => Shell::Any,
            Some(shell) if shell == "stave" => Shell::Own,
            Some(path) => Shell::Program(path),
        },
    };
    let host = context.host(Processes::Some)?;
    if let Some(file) = &args.export {
        return export(&host, request.build.as_deref(), file);
    }
    run(&host, &request)
}

/// Runs a shell or a command in a state and returns its code.
fn run(host: &Host, request: &DebugRequest) -> Result<u8, Failure> {
    host.signals.forward();
    let is_shell = request.command.is_empty() && request.terminal.is_some();
    let (raw, shown) = (RefCell::new(None), RefCell::new(Vec::new()));
    let on_open = |opened: &Opened| {
        if request.build.is_none() && request.bundle.is_none() {
            remark_on_later(host, &opened.build);
        }
        crate::print_error(&first_screen(opened, is_shell));
    };
    let result = host.engine.debug(request, &on_open, &|end| {
        *raw.borrow_mut() = Some(Raw::begin());
        if let Ok(copy) = end.try_clone() {
            terminal::feed(copy, true);
        }
        shown.borrow_mut().push(std::thread::spawn(move || terminal::show(end)));
    });
    for thread in shown.into_inner() {
        drop(thread.join());
    }
    drop(raw);
    let result = result.map_err(|error| {
        let code = failure::start_code(&error);
        let is_line = matches!(&request.command[..], [line] if line.contains(' '));
        let mut failure = Failure::from(error);
        if is_line && code == failure::NOT_FOUND {
            failure = failure.with_hint("A whole line is for a shell: `stave debug -- sh -c LINE`.");
        }
        if code == failure::NOT_STARTED { failure } else { failure.with_code(code) }
    });
    settled(host, result).map(exit_code)
}

/// Says which build is meant where that is not the latest.
fn remark_on_later(host: &Host, build: &str) {
    if let Some(remark) = builds::remark_on_later(host.engine.store(), build, host::now()) {
        crate::print_error(&format!("note: {remark}\n"));
    }
}

/// What a person reads before the prompt; of a command only what it does without.
fn first_screen(opened: &Opened, is_shell: bool) -> String {
    let mut lines = Vec::new();
    if is_shell {
        let Opened { build, stage, number, of, title, what, cwd, user, .. } = opened;
        let user = if user.is_empty() { "root" } else { user };
        let build = if build.is_empty() { "a bundle".to_owned() } else { format!("build {build}") };
        lines.push(format!("[{stage} {number}/{of}] {title}"));
        lines.push(format!(
            "The state of {build} {what}: directory {cwd}, user {user}. What you change is thrown away."
        ));
        if opened.has_command {
            lines.push(
                "`again` runs the step's command again, and so does the first line of the history. `exit` leaves."
                    .to_owned(),
            );
        } else {
            lines.push("The step is no command, so there is nothing to run again. `exit` leaves.".to_owned());
        }
        if opened.own_shell {
            lines
                .push("The image has no shell; this is a small one of stave's. `help` lists what it knows.".to_owned());
        }
    }
    lines.extend(opened.remarks.iter().map(|remark| format!("note: {remark}")));
    lines.iter().fold(String::new(), |text, line| text + &printable(line) + "\n")
}

fn list(args: &DebugArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let host = context.host(Processes::None)?;
    let (build, steps) = host.engine.debug_steps(args.build.as_deref())?;
    crate::print_error(&format!("build {build}\n"));
    let rows = steps.into_iter().map(|step| {
        let place = format!("{}/{}", step.stage, step.number);
        let failed = if step.failed { "failed" } else { "" };
        format!("{}\t{place}\t:{}\t{failed}\t{}", step.place, step.line, printable(&step.title))
    });
    let rows: Vec<String> = std::iter::once("STEP\tIN STAGE\tLINE\t\tINSTRUCTION".to_owned()).chain(rows).collect();
    output::text(&table::aligned(&rows))?;
    Ok(0)
}

fn export(host: &Host, build: Option<&str>, file: &std::path::Path) -> Result<u8, Failure> {
    let exported = settled(host, host.engine.export_state(build, file).map_err(Failure::from))?;
    let bytes = human::size(exported.bytes);
    crate::print_error(&format!("wrote {} ({bytes}): build {}\n", file.display(), exported.build));
    if build.is_none() {
        remark_on_later(host, &exported.build);
    }
    for remark in &exported.remarks {
        crate::print_error(&format!("note: {}\n", printable(remark)));
    }
    Ok(0)
}

/// Fails if a shell is wanted after a failure and nobody could use it.
pub(super) fn require_terminal(on_failure: Option<OnFailure>) -> Result<(), Failure> {
    let streams = [std::io::stdin().is_terminal(), std::io::stdout().is_terminal(), std::io::stderr().is_terminal()];
    match on_failure {
        Some(OnFailure::Shell) if streams.contains(&false) => {
            Err(Failure::usage("`--on-failure shell` needs a terminal for input and output, and there is none")
                .with_hint("Leave it out; `stave debug` opens the failed state afterwards."))
        }
        _ => Ok(()),
    }
}

/// Copies what was asked for out of a step that failed. Nothing of it changes how the build ends.
pub(super) fn take_out(host: &Host, build: &str, wanted: &[TakeOutArg]) {
    if wanted.is_empty() {
        return;
    }
    let requests: Vec<TakeOut> = wanted
        .iter()
        .map(|one| TakeOut { stage: one.stage.clone(), path: one.path.clone(), dest: one.dest.clone() })
        .collect();
    let said = match host.engine.take_out(build, &requests) {
        Err(error) => vec![format!("cannot take files out of the failed step: {}", crate::render::chain(&error))],
        Ok(results) => requests.iter().zip(results).map(|(request, taken)| taken_line(request, taken)).collect(),
    };
    for line in &said {
        crate::print_error(&format!("{}\n", printable(line)));
    }
}

fn taken_line(request: &TakeOut, taken: Taken) -> String {
    let TakeOut { path, dest, .. } = request;
    match taken {
        Taken::Copied => format!("took {path} of the failed step to {}", dest.display()),
        Taken::Nothing(why) => format!("took nothing to {}: {why}", dest.display()),
        Taken::Failed(error) => format!("cannot take {path} to {}: {}", dest.display(), crate::render::chain(&error)),
    }
}

/// Opens a shell in the state of a step that failed. The build's end is the same whatever happens there.
pub(super) fn after_failure(
    host: &Host,
    build: String,
    (grants, proxies): (Grants, BTreeMap<String, String>),
    context: &Context<'_>,
) {
    let request = DebugRequest {
        build: Some(build),
        terminal: Some(terminal::size()),
        input: true,
        grants,
        proxies,
        ..DebugRequest::default()
    };
    if let Err(failure) = run(host, &request) {
        crate::print_error(&failure.render(context.style));
    }
}
