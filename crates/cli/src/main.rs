//! The `stave` command: turns a command line into calls of the engine, and what the engine tells into text and an exit
//! code.
//!
//! It knows no Dockerfile semantics, no store and no kernel. Environment, clock, terminal and signals are read here
//! ([`host`], [`signals`]) and handed to the engine as values.
//!
//! Invariants:
//! 1. Data goes to standard output, everything else to standard error.
//! 2. Nothing from outside reaches a terminal with its control characters.
//! 3. A flag that is accepted is carried out, or asks for what is so anyway, or is told to change nothing; any other of
//!    Docker's is an error that names it.
//! 4. The process has one thread until the launcher has forked.
//!
//! Read `args`, `command` (from its `mod.rs`), `host`, `failure`, `render`, `progress`, then the small ones.

mod args;
mod clue;
mod command;
mod failure;
mod glob;
mod host;
mod human;
mod man;
mod output;
mod progress;
mod record;
mod render;
mod signals;
mod table;
mod telemetry;
mod template;

use std::io::{IsTerminal as _, Write as _};
use std::panic::{self, PanicHookInfo};
use std::process::ExitCode;

use crate::args::Global;
use crate::command::Context;
use crate::failure::Failure;
use crate::render::Style;

/// The exit code for a mistake of stave's own.
const BUG: u8 = 101;

fn main() -> ExitCode {
    panic::set_hook(Box::new(report_bug));
    ExitCode::from(panic::catch_unwind(run).unwrap_or(BUG))
}

/// Does everything, and returns the exit code.
fn run() -> u8 {
    let cli = match args::parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(usage) if usage.code == 0 => return output::text(&usage.text).map_or_else(|failure| failure.code, |()| 0),
        Err(usage) => {
            print_error(&usage.text);
            return usage.code;
        }
    };
    // The modes of files in layers must not depend on who builds.
    rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);
    if let Some(directory) = &cli.global.config {
        host::set_docker_config(directory.clone());
    }
    let style = Style { colour: !cli.global.no_color && colours_wanted(), columns: None };
    for note in host::misspelt_variables() {
        print_error(&format!("note: {}\n", render::printable(&note)));
    }
    match command::run(cli.command, &Context { global: &cli.global, style }) {
        Ok(code) => code,
        Err(failure) => print_failure(failure, &cli.global, style),
    }
}

/// Says why a command failed, with advice on a file system that is full. Returns the exit code.
pub(crate) fn print_failure(failure: Failure, global: &Global, style: Style) -> u8 {
    let failure = match host::store_root(global) {
        Ok(root) => failure.with_space_advice(&root, host::space_advice),
        Err(_) => failure,
    };
    // Asked now: a terminal may have another size than at the begin.
    print_error(&failure.render(Style { columns: progress::terminal_columns(), ..style }));
    failure.code
}

/// Whether standard error is a terminal whose owner likes colours, or its owner wants them whatever it is.
///
/// Reference: no-color.org, bixense.com/clicolors.
fn colours_wanted() -> bool {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let refused = variable("NO_COLOR").is_some();
    let forced = variable("CLICOLOR_FORCE").is_some_and(|value| value != "0");
    let unwanted = variable("CLICOLOR").is_some_and(|value| value == "0");
    let dumb = variable("TERM").is_some_and(|value| value == "dumb");
    !refused && (forced || !unwanted && !dumb && std::io::stderr().is_terminal())
}

/// Writes text for people. Nobody can be told if that does not work.
pub(crate) fn print_error(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}

/// The line that `--version` prints.
pub(crate) fn version_line() -> String {
    format!("stave version {}", env!("CARGO_PKG_VERSION"))
}

/// Says that stave itself made a mistake, and where.
fn report_bug(info: &PanicHookInfo<'_>) {
    progress::stop_drawing();
    let message = info.payload_as_str().unwrap_or("no message");
    let place = info.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
    let mut lines = vec![
        format!("internal error: {}{place}", render::printable(message)),
        format!("hint: This is a bug in stave. Please report it: {}/issues", env!("CARGO_PKG_REPOSITORY")),
    ];
    if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
        lines.push(std::backtrace::Backtrace::force_capture().to_string());
    }
    print_error(&(lines.join("\n") + "\n"));
}
