//! What the last words of a command say: of each line, whether it is one of the well-known complaints.
//!
//! Pure: a line becomes facts. The words are those of shells, the C library, and the tools that most Dockerfiles run.

use super::network::Trouble;

/// Whether a file system or a quota was full.
pub(super) fn is_full(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    line.contains("no space left on device") || line.contains("disk quota exceeded")
}

/// The command that a shell did not find: `sh: 1: curl: not found`, `bash: line 1: curl: command not found`,
/// `/bin/sh: curl: not found`, `env: 'python': No such file or directory`, `bash: ./x.sh: /bin/x: bad interpreter: No such
/// file or directory`.
pub(super) fn unknown_command(line: &str) -> Option<String> {
    const NOT_RUN: [&str; 5] = [
        ": command not found",
        ": not found",
        ": cannot execute: required file not found",
        ": bad interpreter: No such file or directory",
        ": bad interpreter: no such file or directory",
    ];
    let line = line.trim_matches([' ', '\t', '\n']);
    let name = if let Some((before, suffix)) = NOT_RUN.iter().find_map(|end| Some((line.strip_suffix(end)?, end))) {
        // The interpreter stands behind the program that names it.
        let before = if suffix.contains("interpreter") { before.rsplit_once(": ")?.0 } else { before };
        before.rsplit(": ").next()?
    } else if let Some(after) = line.split_once("command not found: ").map(|(_, after)| after) {
        after
    } else if let Some(after) = line.split_once(": no such file or directory: ").map(|(_, after)| after) {
        line.starts_with("zsh").then_some(after)?
    } else if let Some((before, _)) = line.split_once(": bad interpreter: ").filter(|_| line.starts_with("zsh")) {
        before.rsplit(": ").next().and_then(|name| name.rsplit_once(':').map(|(_, name)| name).or(Some(name)))?
    } else {
        let before = line.strip_suffix(": No such file or directory")?;
        let (program, name) = before.split_once(": ")?;
        let quote = |quote: char| matches!(quote, '\'' | '"' | '‘' | '’' | '`');
        match program.rsplit('/').next()? {
            "env" => Some(name.trim_start_matches("can't execute ").trim_matches(quote))
                .filter(|name| !name.contains('/'))?,
            // What bash could not open for the command to read or write is told in the same words, and has another status.
            "bash" => name.rsplit(": ").next().filter(|name| name.contains('/'))?,
            _ => return None,
        }
    };
    let is_odd = |character: char| character != '\r' && (character.is_whitespace() || character.is_control());
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = !name.trim().is_empty() && !is_number && !name.contains(is_odd);
    is_name.then(|| name.to_owned())
}

/// Whether a line is one of a shell's or of `env`'s: `/bin/sh: `, `bash: line 1: `, `./x.sh: line 2: `, `zsh:1: `.
pub(super) fn is_of_shell(line: &str) -> bool {
    const SHELLS: [&str; 7] = ["sh", "bash", "ash", "dash", "ksh", "zsh", "env"];
    let mut fields = line.trim_start().split(':');
    let first = fields.next().unwrap_or_default();
    let program = first.rsplit('/').next().unwrap_or_default();
    let second = fields.next().unwrap_or_default();
    SHELLS.contains(&program) || second.starts_with(" line ")
}

/// The program that is for another kind of machine, which may be empty.
pub(super) fn foreign_program(line: &str) -> Option<String> {
    // Some shells take what the kernel does not run for a script of theirs.
    if line.contains("\u{7f}ELF") {
        return line.split(':').next().map(str::to_owned);
    }
    let lower = line.to_ascii_lowercase();
    let at = ["cannot execute binary file", "exec format error"].iter().find_map(|words| lower.find(words))?;
    let before = line.get(..at)?.trim_end().trim_end_matches(':');
    let found = before.rsplit(": ").next().unwrap_or_default();
    let found = found.trim_start_matches("exec ").trim_matches(|quote| matches!(quote, '\'' | '"' | '`'));
    Some(found.to_owned())
}

/// The words of a line that may be the path that cannot be written because its file system is read-only.
pub(super) fn read_only(line: &str) -> Option<Vec<String>> {
    line.contains("Read-only file system").then(|| paths(line))
}

/// The words of a line that may be the path of what was refused.
pub(super) fn denied(line: &str) -> Option<Vec<String>> {
    let lower = line.to_ascii_lowercase();
    let said = ["permission denied", "operation not permitted"];
    let after = said.iter().find_map(|words| lower.split_once(words)).map(|(_, after)| after.trim());
    // What goes on is a sentence about it.
    let says = after.is_some_and(|after| after.is_empty() || after.starts_with([')', ':', '.', '\'', '(', '/']));
    // These are about another machine.
    let is_remote =
        ["publickey", "(password", "ssh:", "denied to ", "://", "http"].iter().any(|word| lower.contains(word));
    (says && !is_remote).then(|| paths(line))
}

/// The words of a line that look like paths, absolute ones first.
pub(super) fn paths(line: &str) -> Vec<String> {
    let quote = |character: char| matches!(character, '\'' | '"' | '‘' | '’' | '`' | ',' | '(' | ')');
    let mut found: Vec<String> = Vec::new();
    // The apostrophe of a word is no quote.
    let line = &line.replace("n't ", "not ");
    // What is quoted is a path with whatever is in it; what is not ends at a space or a colon.
    let quoted = line.split(['\'', '"', '‘', '’', '`']).skip(1).step_by(2).map(str::to_owned);
    let words = line.split([' ', '\t']).map(|word| word.trim_matches(quote).trim_end_matches([':', ';']).to_owned());
    for (word, is_quoted) in quoted.map(|word| (word, true)).chain(words.map(|word| (word, false))) {
        let is_path = word.contains('/') || is_quoted && !word.is_empty() || word.contains('.') && word.len() > 1;
        let is_shell = line.trim_start().starts_with(&format!("{word}:"));
        if is_path && !is_shell && !word.contains("://") && !found.contains(&word) {
            found.push(word);
        }
    }
    let bare = line.split(": ").nth(1).filter(|word| !word.contains(' ')).map(str::to_owned);
    let is_name = |word: &String| !word.is_empty() && !word.chars().all(|character| character.is_ascii_digit());
    found.extend(bare.filter(|word| is_name(word) && !found.contains(word)).into_iter().collect::<Vec<_>>());
    found.sort_by_key(|word| !word.starts_with('/'));
    found
}

/// What of the network was not reached, and the host, if the line names one.
pub(super) fn unreachable(line: &str) -> Option<(Trouble, Option<String>)> {
    const COMPLAINTS: [(&str, Trouble); 22] = [
        ("could not resolve", Trouble::Name),
        ("temporary failure resolving", Trouble::Name),
        ("temporary failure in name resolution", Trouble::Name),
        ("name or service not known", Trouble::Name),
        ("no address associated with hostname", Trouble::Name),
        ("name does not resolve", Trouble::Name),
        ("bad address", Trouble::Name),
        ("no such host", Trouble::Name),
        ("unable to resolve host", Trouble::Name),
        ("getaddrinfo failed", Trouble::Name),
        ("eai_again", Trouble::Name),
        ("enotfound", Trouble::Name),
        ("dns error", Trouble::Name),
        ("connection refused", Trouble::Refused),
        ("econnrefused", Trouble::Refused),
        ("network is unreachable", Trouble::NoRoute),
        ("no route to host", Trouble::NoRoute),
        ("connection timed out", Trouble::Silence),
        ("operation timed out", Trouble::Silence),
        ("i/o timeout", Trouble::Silence),
        ("etimedout", Trouble::Silence),
        ("dns: transient error", Trouble::Name),
    ];
    let lower = line.to_ascii_lowercase();
    let trouble = COMPLAINTS.iter().find(|(words, _)| lower.contains(words)).map(|(_, trouble)| *trouble)?;
    Some((trouble, host(line, &lower)))
}

/// The host that a complaint names.
fn host(line: &str, lower: &str) -> Option<String> {
    const BEFORE: [&str; 10] = [
        "could not resolve host: ",
        "resolving '",
        "bad address '",
        "unable to resolve host address ",
        "failed to connect to ",
        "can't connect to remote host (",
        "connect to ",
        "lookup ",
        "enotfound ",
        "eai_again ",
    ];
    let in_url = lower.find("://").map(|at| at + 3);
    let at = BEFORE.iter().find_map(|words| lower.find(words).map(|at| at + words.len())).or(in_url)?;
    let rest = line.get(at..)?.trim_start_matches(['\'', '‘', '`', '"']);
    // Nothing of an address but its host: what is before an `@` may be a password.
    let authority = rest.split(['/', ' ', ',', ';', ')', '\'', '’', '"', '?']).next()?;
    let host = authority.rsplit('@').next()?.trim_end_matches([':', '.']);
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    let is_host = !host.is_empty()
        && host.chars().all(|character| character.is_ascii_alphanumeric() || ".-_".contains(character));
    is_host.then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_name_the_command_that_they_did_not_find() {
        for line in [
            "/bin/sh: 1: curl: not found",
            "/bin/sh: curl: not found",
            "sh: curl: not found",
            "bash: line 1: curl: command not found",
            "/bin/bash: curl: command not found",
            "zsh:1: command not found: curl",
            "env: 'curl': No such file or directory",
            "/usr/bin/env: ‘curl’: No such file or directory",
            "env: can't execute 'curl': No such file or directory",
        ] {
            assert_eq!(unknown_command(line).as_deref(), Some("curl"), "{line}");
        }
        for line in [
            "/bin/bash: line 1: ./x.sh: cannot execute: required file not found",
            "/bin/bash: line 1: ./x.sh: /bin/none: bad interpreter: No such file or directory",
            "/bin/bash: ./x.sh: /bin/sh^M: bad interpreter: No such file or directory",
            "zsh:1: ./x.sh: bad interpreter: /bin/none: no such file or directory",
            "zsh:1: no such file or directory: ./x.sh",
            "/bin/bash: line 1: ./x.sh: No such file or directory",
            "/bin/sh: 1: ./x.sh: not found",
        ] {
            assert_eq!(unknown_command(line).as_deref(), Some("./x.sh"), "{line}");
        }
        assert_eq!(unknown_command("env: 'bash\\r': No such file or directory").as_deref(), Some("bash\\r"));
        assert_eq!(
            unknown_command("env: can't execute 'bash\r': No such file or directory").as_deref(),
            Some("bash\r")
        );
        for line in ["cat: x: No such file or directory", "E: package foo bar: not found in list", "not found", "ok"] {
            assert_ne!(unknown_command(line).as_deref(), Some("x"), "{line}");
        }
        assert_eq!(unknown_command("the file was not found"), None);
    }

    #[test]
    fn a_refusal_names_its_path() {
        let first = |line: &str| denied(line).and_then(|words| words.into_iter().next());
        for (line, path) in [
            ("/bin/sh: 1: cannot create /x/y: Permission denied", "/x/y"),
            ("sh: can't create /x/y: Permission denied", "/x/y"),
            ("mkdir: cannot create directory ‘/opt/a b’: Permission denied", "/opt/a b"),
            ("touch: /x: Permission denied", "/x"),
            ("PermissionError: [Errno 13] Permission denied: '/var/lib/x'", "/var/lib/x"),
            ("E: Could not open lock file /var/lib/dpkg/lock - open (13: Permission denied)", "/var/lib/dpkg/lock"),
            ("/bin/sh: 1: ./run.sh: Permission denied", "./run.sh"),
            ("cp: can't create 'file': Permission denied", "file"),
        ] {
            assert_eq!(first(line).as_deref(), Some(path), "{line}");
        }
        for line in [
            "git@github.com: Permission denied (publickey).",
            "expected Permission denied, got ok",
            "HTTP 403 Permission denied: https://example.com/x",
        ] {
            assert_eq!(denied(line), None, "{line}");
        }
        assert!(is_of_shell("/bin/sh: x: not found") && is_of_shell("./x.sh: line 2: x: not found"));
        assert!(is_of_shell("zsh:1: command not found: x") && !is_of_shell("GET /x: not found"));
        assert_eq!(unknown_command("GET /x: 404: not found"), None);
        assert_eq!(unreachable("warning: getaddrinfo is deprecated"), None);
    }

    #[test]
    fn what_is_not_reached_is_told_by_its_words_and_without_a_password() {
        let named = |line: &str| unreachable(line).map(|(trouble, host)| (trouble, host.unwrap_or_default()));
        let host = |trouble, host: &str| Some((trouble, host.to_owned()));
        let resolve = "curl: (6) Could not resolve host: example.invalid";
        assert_eq!(named(resolve), host(Trouble::Name, "example.invalid"));
        assert_eq!(named("wget: bad address 'x.invalid'"), host(Trouble::Name, "x.invalid"));
        let apt = "W: Failed to fetch http://deb.debian.org/x  Temporary failure resolving 'deb.debian.org'";
        assert_eq!(named(apt), host(Trouble::Name, "deb.debian.org"));
        let refused = "wget: can't connect to remote host (127.0.0.1): Connection refused";
        assert_eq!(named(refused), host(Trouble::Refused, "127.0.0.1"));
        let go = "dial tcp: lookup proxy.golang.org on 1.1.1.1:53: no such host";
        assert_eq!(named(go), host(Trouble::Name, "proxy.golang.org"));
        let url = "fatal: unable to access 'https://me:secret@h.example/r.git/': Connection timed out";
        assert_eq!(named(url), host(Trouble::Silence, "h.example"));
        assert_eq!(named("all is well"), None);
    }

    #[test]
    fn a_program_of_another_machine_is_named() {
        assert_eq!(foreign_program("/bin/sh: 1: /app: Exec format error").as_deref(), Some("/app"));
        assert_eq!(
            foreign_program("/bin/bash: ./app: cannot execute binary file: Exec format error").as_deref(),
            Some("./app")
        );
        assert_eq!(foreign_program("fine"), None);
        assert_eq!(read_only("touch: /in/x: Read-only file system"), Some(vec!["/in/x".to_owned()]));
        assert_eq!(read_only("Read-only file system"), Some(Vec::new()));
    }
}
