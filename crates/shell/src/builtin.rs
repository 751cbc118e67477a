//! Commands that change the shell itself.

use std::io::Write as _;

use crate::run::{Io, Shell, complain, here};
use crate::tools;

const NAMES: [&str; 14] =
    [".", ":", "alias", "cd", "command", "exec", "exit", "export", "help", "pwd", "set", "true", "type", "unset"];

/// Whether there is such a command.
pub(crate) fn is(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Runs one of them. What cannot be written is for nobody.
pub(crate) fn run(shell: &mut Shell, words: &[String], mut io: Io) -> i32 {
    let arguments = &words[1..];
    match words[0].as_str() {
        "cd" => return change(shell, arguments),
        "pwd" => drop(writeln!(io.out, "{}", here())),
        "exit" => {
            let code = arguments.first().and_then(|code| code.parse().ok()).unwrap_or_else(|| shell.status());
            shell.end(code);
            return code;
        }
        "exec" if arguments.is_empty() => {}
        "exec" => {
            let code = shell.replace(arguments);
            shell.end(code);
            return code;
        }
        "export" => {
            for argument in arguments {
                let (name, value) = argument.split_once('=').map_or((argument.as_str(), None), |(n, v)| (n, Some(v)));
                if let Some(value) = value {
                    shell.set(name, value);
                }
                shell.export(name);
            }
        }
        "unset" => arguments.iter().for_each(|name| shell.unset(name)),
        "alias" => {
            for argument in arguments {
                if let Some((name, value)) = argument.split_once('=') {
                    shell.aliases.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        "set" => {
            for (name, value) in shell.environment() {
                drop(writeln!(io.out, "{name}={value}"));
            }
        }
        "type" | "command" => return describe(shell, arguments, &mut io),
        "help" => drop(io.out.write_all(help().as_bytes())),
        "." => return source(shell, arguments),
        _ => {}
    }
    0
}

fn change(shell: &mut Shell, arguments: &[String]) -> i32 {
    let home = || shell.variable("HOME").unwrap_or_else(|| "/".to_owned());
    let target = arguments.first().cloned().unwrap_or_else(home);
    match std::env::set_current_dir(&target) {
        Ok(()) => 0,
        Err(error) => {
            complain(&format!("cannot go to `{target}`: {error}"));
            1
        }
    }
}

fn describe(shell: &Shell, arguments: &[String], io: &mut Io) -> i32 {
    let mut status = 0;
    for name in arguments.iter().filter(|name| !name.starts_with('-')) {
        let said = match (is(name), shell.find(name), tools::find(name)) {
            (true, ..) => format!("{name} is of the shell"),
            (_, Some(path), _) => path.display().to_string(),
            (_, None, Some(_)) => format!("{name} is a tool of the shell"),
            (_, None, None) => {
                status = 1;
                format!("{name} is not there")
            }
        };
        drop(writeln!(io.out, "{said}"));
    }
    status
}

fn source(shell: &mut Shell, arguments: &[String]) -> i32 {
    let Some(path) = arguments.first() else { return 2 };
    match std::fs::read_to_string(path) {
        Ok(script) => crate::script_code(shell, &script),
        Err(error) => {
            complain(&format!("cannot read `{path}`: {error}"));
            1
        }
    }
}

fn help() -> String {
    format!(
        "A small shell: words, quotes, $VARIABLES, * and ?, pipes, < > >> 2>, && || ;\n\
         Of the shell: {}\nTools, where the image has none of that name: {}\n",
        NAMES.join(" "),
        tools::names().join(" ")
    )
}
