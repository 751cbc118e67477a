//! A small shell for images that have none: lines in, processes and a few tools out.
//!
//! It is made without any crate and linked statically (`crates/engine/build.rs`), so that it runs in an image that has no
//! file at all. It is meant for looking around and for running a step's command again, not for scripts: words, quotes,
//! variables, wildcards, pipes, redirections, `&&`, `||`, `;`. What it does not know it refuses by name.
//!
//! It knows nothing of stave. Read `parse`, `expand`, `run`, `builtin`, then `tools` and `files`.

mod builtin;
mod expand;
mod files;
mod parse;
mod run;
mod text;
mod tools;

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use run::Shell;

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    if let Some(tool) = arguments.next().as_deref().and_then(tools::find) {
        return code(tools::run(tool, &arguments.collect::<Vec<_>>()));
    }
    let mut shell = Shell::new();
    let mut interactive = false;
    let ended = loop {
        match arguments.next().as_deref() {
            Some("-i") => interactive = true,
            Some("-c") => {
                let script = arguments.next().unwrap_or_default();
                shell.name(arguments.next());
                shell.arguments(arguments.collect());
                break script_code(&mut shell, &script);
            }
            Some(file) => match std::fs::read_to_string(file) {
                Ok(script) => {
                    shell.name(Some(file.to_owned()));
                    shell.arguments(arguments.collect());
                    break script_code(&mut shell, &script);
                }
                Err(error) => {
                    run::complain(&format!("cannot read `{file}`: {error}"));
                    break 127;
                }
            },
            None => break lines(&mut shell, interactive || std::io::stdin().is_terminal()),
        }
    };
    code(ended)
}

fn code(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status & 0xff).unwrap_or(1))
}

/// Runs a script line by line; a line may go on where a quote is open.
fn script_code(shell: &mut Shell, script: &str) -> i32 {
    let mut pending = String::new();
    for line in script.lines() {
        pending.push_str(line);
        pending.push('\n');
        if parse::is_open(&pending) {
            continue;
        }
        shell.line(&std::mem::take(&mut pending));
        if let Some(code) = shell.ended() {
            return code;
        }
    }
    if !pending.is_empty() {
        shell.line(&pending);
    }
    shell.ended().unwrap_or_else(|| shell.status())
}

/// Reads lines from standard input until it ends.
fn lines(shell: &mut Shell, interactive: bool) -> i32 {
    if interactive && let Some(first) = shell.variable("ENV") {
        match std::fs::read_to_string(&first) {
            Ok(script) => drop(script_code(shell, &script)),
            Err(error) => run::complain(&format!("cannot read `{first}`: {error}")),
        }
    }
    let mut pending = String::new();
    loop {
        if interactive {
            let prompt = if pending.is_empty() { shell.prompt() } else { "> ".to_owned() };
            let mut out = std::io::stderr();
            drop(out.write_all(prompt.as_bytes()).and_then(|()| out.flush()));
        }
        match std::io::stdin().lock().read_line(&mut pending) {
            Ok(0) | Err(_) => {
                if interactive {
                    drop(std::io::stderr().write_all(b"\n"));
                }
                return shell.ended().unwrap_or_else(|| shell.status());
            }
            Ok(_) => {}
        }
        if parse::is_open(&pending) {
            continue;
        }
        shell.line(&std::mem::take(&mut pending));
        if let Some(code) = shell.ended() {
            return code;
        }
    }
}
