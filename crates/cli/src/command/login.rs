//! `login`, `logout`: in Docker's words.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::SIGINT;
use stave_engine::{Kept, registry_name};

use crate::args::{LoginArgs, LogoutArgs};
use crate::failure::Failure;
use crate::host::Remote;
use crate::output;

/// Longest password that is read from standard input, in bytes. Tokens of clouds have a few thousand.
const PASSWORD_BYTES_MAX: u64 = 64 * 1024;

pub(super) fn log_in(args: LoginArgs) -> Result<u8, Failure> {
    let LoginArgs { username, password, password_stdin, server } = args;
    let registry = named(server.as_deref())?;
    if password_stdin && username.is_none() {
        return Err(Failure::usage("`--password-stdin` needs a user's name").with_hint("Give it with `--username`."));
    }
    if password.is_some() {
        crate::print_error("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n");
    }
    // As docker: who gives nothing wants what is kept to be tried.
    if username.is_none() && password.is_none() && logged_in_again(&registry)? {
        return output::text("Login Succeeded\n").map(|()| 0);
    }
    let asks = username.is_none() || password.is_none() && !password_stdin;
    if asks && !io::stdin().is_terminal() {
        let missing = if username.is_none() { "name or password" } else { "password" };
        return Err(Failure::usage(format!("standard input is no terminal to ask for a {missing} on"))
            .with_hint("Give them with `--username` and `--password-stdin`."));
    }
    let given = if password_stdin { Some(from_stdin()?) } else { password };
    // Asked for before anything watches for signals, so that Ctrl-C at the prompt ends stave as ever.
    let username = match username {
        Some(username) => username,
        None => ask("Username: ")?,
    };
    let password = match given {
        Some(password) => password,
        None => ask_secretly("Password: ")?,
    };
    if username.is_empty() || password.is_empty() {
        return Err(Failure::usage("a user's name and a password are needed, and one is empty"));
    }
    let remote = Remote::open()?;
    let done = remote.registries.log_in(&registry, &username, password).map_err(Failure::from);
    let done = remote.settled(done)?;
    if let Kept::InFile(path) = &done.kept {
        crate::print_error(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\n\
             Configure a credential helper to remove this warning.\n\n",
            path.display()
        ));
    }
    if let Some(other) = &done.hidden_by {
        crate::print_error(&format!(
            "warning: `{other}` has other credentials for `{registry}`, which are used rather than these\n"
        ));
    }
    output::text("Login Succeeded\n")?;
    Ok(0)
}

/// Tries the credentials that are kept, and says so. What the registry does not accept is asked for anew on a terminal.
fn logged_in_again(registry: &str) -> Result<bool, Failure> {
    // Nothing watches for signals, so that Ctrl-C at a prompt ends stave as ever.
    let registries = Remote::unwatched()?;
    if registries.user_of(registry).map_err(Failure::from)?.is_none() {
        return Ok(false);
    }
    crate::print_error("Authenticating with existing credentials...\n");
    match registries.log_in_again(registry) {
        Err(error) if io::stdin().is_terminal() => {
            let why = crate::render::printable(&error.to_string());
            crate::print_error(&format!("Login did not succeed, error: {why}\n"));
            Ok(false)
        }
        tried => Ok(tried?),
    }
}

pub(super) fn log_out(args: &LogoutArgs) -> Result<u8, Failure> {
    let registry = named(args.server.as_deref())?;
    let shown = if registry == "docker.io" { "https://index.docker.io/v1/" } else { &registry };
    let remote = Remote::open()?;
    let done = remote.settled(remote.registries.log_out(&registry).map_err(Failure::from))?;
    output::text(&format!("Removing login credentials for {shown}\n"))?;
    if let Some(other) = &done.left_in {
        crate::print_error(&format!("warning: `{other}` still has credentials for `{registry}`\n"));
    } else if !done.known {
        crate::print_error(&format!("warning: not logged in to {shown}\n"));
    }
    Ok(0)
}

/// Returns the registry's host.
fn named(server: Option<&str>) -> Result<String, Failure> {
    let registry = registry_name(server.unwrap_or_default());
    let host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if !registry.bytes().all(host) {
        return Err(Failure::usage(format!("`{}` is not the name of a registry", registry.escape_default()))
            .with_hint("Give a host, perhaps with a port: `registry.example.com:5000`."));
    }
    Ok(registry)
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::environment(error).within("cannot read standard input")
}

/// Reads the password up to the end, without the last end of line.
fn from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin().lock().take(PASSWORD_BYTES_MAX).read_to_string(&mut text).map_err(|error| unreadable(&error))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn ask(question: &str) -> Result<String, Failure> {
    crate::print_error(question);
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| unreadable(&error))?;
    Ok(line.trim().to_owned())
}

/// Asks without showing what is typed.
fn ask_secretly(question: &str) -> Result<String, Failure> {
    let silence = Silence::start().map_err(|error| unreadable(&error))?;
    crate::print_error(question);
    let line = silent_line();
    drop(silence);
    crate::print_error("\n");
    let line = line.map_err(|error| unreadable(&error))?;
    if line.ends_with(INTERRUPT) {
        return Err(Failure::interrupted(SIGINT));
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Reads a line that ends as lines do, or with Ctrl-C.
fn silent_line() -> io::Result<String> {
    let mut stdin = io::stdin().lock();
    let mut line = Vec::new();
    loop {
        let bytes = stdin.fill_buf()?;
        let end = bytes.iter().position(|byte| matches!(char::from(*byte), '\n' | INTERRUPT));
        let length = end.map_or(bytes.len(), |end| end + 1);
        line.extend_from_slice(&bytes[..length]);
        stdin.consume(length);
        if end.is_some() || length == 0 {
            return String::from_utf8(line).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-8"));
        }
    }
}

/// What Ctrl-C types where it is no signal.
const INTERRUPT: char = '\u{3}';

/// The terminal shows nothing of what is typed, until this is dropped. Ctrl-C ends the line rather than this process, which
/// would leave the terminal as it is.
struct Silence(Termios);

impl Silence {
    fn start() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        silent.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT as u8;
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing set back.
        match tcsetattr(io::stdin(), OptionalActions::Flush, &self.0) {
            Ok(()) | Err(_) => {}
        }
    }
}
