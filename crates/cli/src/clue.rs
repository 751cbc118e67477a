//! What explains a failed step, as one sentence of advice. The engine finds the facts; here they get words.

use stave_engine::{
    Clue, Denied, DeniedMount, Foreign, Full, MemoryKill, NoCommand, NoProgram, NoSecret, NoSource, Place, Reach,
    ReadOnly, StepNetwork, Trouble,
};

/// Returns the advice that follows from the facts.
pub(crate) fn sentence(clue: &Clue) -> String {
    match clue {
        Clue::NoCommand(facts) => no_command(facts),
        Clue::NoSource(facts) => no_source(facts),
        Clue::Network(facts) => reach(facts),
        Clue::Denied(facts) => denied(facts),
        Clue::ReadOnly(facts) => read_only(facts),
        Clue::Foreign(facts) => foreign(facts),
        Clue::NoProgram(facts) => no_program(facts),
        Clue::OfBash(word) => format!(
            "`{word}` is a word of bash, and the shell that read it is another: write it as a POSIX shell knows it (`.` is \
             `source`, `[` is `[[`), or have bash run it: `SHELL [\"/bin/bash\", \"-c\"]`."
        ),
        Clue::NoSecret(NoSecret { id, place }) => {
            format!("`{place}` is for the secret `{id}`, which was not given: `--secret id={id},src=FILE`.")
        }
        Clue::Full(facts) => full(facts),
        Clue::NoUser { user, line } => {
            let asked = line
                .map_or_else(|| "the base image names it".to_owned(), |line| format!("`USER` in line {line} names it"));
            format!(
                "{}: make `{user}` before, with `useradd` or `adduser`, or name a number.",
                asked.replace("the base", "The base")
            )
        }
        Clue::FewFiles(limit) => {
            format!("`--ulimit nofile={limit}` leaves the step fewer open files than it takes to start its command.")
        }
        Clue::NoArray => "It looks like a JSON array and is none: its strings need double quotes.".to_owned(),
    }
}

fn no_program(facts: &NoProgram) -> String {
    let NoProgram { path, is_directory, is_shell, nearest } = facts;
    let program = "write `RUN [\"program\", \"argument\"]`, which needs no shell";
    match (is_directory, is_shell, nearest) {
        (true, true, _) => format!("`{path}`, which `SHELL` names, is a directory: name a program, or {program}."),
        (true, false, _) => {
            format!("`{path}` is a directory: name a program in it.")
        }
        (false, true, _) => format!(
            "The image has no `{path}`, the shell that runs what stands behind `RUN`: {program}, copy a static shell there \
             before, or use a base image that has one."
        ),
        (false, false, Some(near)) => format!("There is no `{path}` in the image; it has `{near}`."),
        (false, false, None) => format!("There is no `{path}` in the image: copy it there before, or check the path."),
    }
}

fn full(facts: &Full) -> String {
    let target = &facts.target;
    let most = facts.bytes.map(|bytes| format!(" and holds {} MiB", mebibytes(bytes))).unwrap_or_default();
    let raise = if facts.is_shm {
        "`--shm-size` gives a step more".to_owned()
    } else if facts.bytes.is_some() {
        format!("raise `size=` of the mount on `{target}`, or write elsewhere")
    } else {
        "without `size=` it is half of the machine's memory; write elsewhere".to_owned()
    };
    if facts.is_guess {
        return format!("If it was `{target}` that is full, which is in memory{most}: {raise}.");
    }
    format!("`{target}` is in memory{most}, which is used up: {raise}.")
}

fn no_command(facts: &NoCommand) -> String {
    let command = &facts.command;
    if facts.needed_by.is_none() && command.contains(' ') {
        return "The whole of the first string is taken for the name of a program: between brackets each argument is a string \
                of its own."
            .to_owned();
    }
    let missing = match &facts.needed_by {
        Some((program, interpreter)) if interpreter.ends_with('\r') => {
            let interpreter = interpreter.trim_end();
            let line_ends = "which is part of the name: give it the line ends of Linux (in Git: `*.sh text eol=lf` in \
                             `.gitattributes`).";
            if program.is_empty() {
                return format!("The first line of a script names `{interpreter}` and a carriage return, {line_ends}");
            }
            return format!("`{program}` begins with `#!{interpreter}` and a carriage return, {line_ends}");
        }
        Some((program, interpreter)) if interpreter.contains("/ld-") => {
            return format!(
                "`{program}` is linked with the library of `{interpreter}`, which the image does not have: build it for this \
                 image, link it statically, or use an image that has the library."
            );
        }
        Some((program, interpreter)) => {
            if let Some(elsewhere) = &facts.elsewhere {
                return format!(
                    "`{program}` needs `{interpreter}`, which the image has as `{elsewhere}`: change its first line."
                );
            }
            format!("`{program}` needs `{interpreter}`, which is not in the image")
        }
        None => format!("`{command}` is not in the image"),
    };
    if let Some(elsewhere) = &facts.elsewhere {
        return format!(
            "The image has `{elsewhere}`, in a directory that is not in `PATH`: name it with its path, or add the directory \
             with `ENV PATH`."
        );
    }
    let of_image = facts.distribution.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let Some(manager) = facts.manager else {
        return format!(
            "{missing}{of_image}, which has no package manager: copy it from a stage that has it, or use another base image."
        );
    };
    if facts.is_manager {
        return format!("{missing}{of_image}, whose package manager is `{}`.", manager.name());
    }
    match facts.package {
        Some(package) => format!("{missing}{of_image}: install it before, with `{}`.", manager.install(package)),
        None => format!(
            "{missing}{of_image}: install the package that has it, with `{}`, or check the name and `PATH`.",
            manager.install("PACKAGE")
        ),
    }
}

fn no_source(facts: &NoSource) -> String {
    let NoSource { path, place, nearest, rule, is_above } = facts;
    // As the beginning of a sentence and in the middle of one.
    let (begin, place) = match place {
        Place::Context => ("The build context".to_owned(), "the build context".to_owned()),
        Place::Named(name) => (format!("Context `{name}`"), format!("context `{name}`")),
        Place::Stage(stage) => (format!("Stage `{stage}`"), format!("stage `{stage}`")),
        Place::Image => ("The image".to_owned(), "the image".to_owned()),
    };
    if *is_above {
        return format!(
            "`..` leads nowhere above the root of {place}, so it is `{path}` that was looked for: build with a directory above \
             as the context, or give that one with `--build-context NAME=DIR` and copy `--from=NAME`."
        );
    }
    let by = rule.as_ref().map(|rule| format!("line {} of `{}`", rule.line, rule.file));
    match (nearest, by) {
        (None, Some(by)) => {
            format!(
                "`{path}` is in {place}, and {by} leaves it out: add `!{path}` below that line, or remove the line."
            )
        }
        (Some(near), Some(by)) => format!("{begin} has `{near}`, which {by} leaves out."),
        (Some(near), None) => format!("{begin} has `{near}`."),
        (None, None) => format!("{begin} has nothing of that name; paths are relative to its root."),
    }
}

/// What to do about something on the network that was not reached.
pub(crate) fn reach(facts: &Reach) -> String {
    let host = facts.host.as_ref().map_or_else(|| "the host".to_owned(), |host| format!("`{host}`"));
    let what = match facts.trouble {
        Trouble::Name => format!("No address was found for {host}"),
        Trouble::Refused => format!("Nobody listens at {host}, or a firewall refuses it"),
        Trouble::Silence => format!("No answer came from {host} in time"),
        Trouble::NoRoute => format!("There is no way to {host}"),
    };
    let proxies = match facts.proxies.as_slice() {
        [] => "no proxy is set".to_owned(),
        all => {
            let list: Vec<String> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("the proxies are {}", list.join(", "))
        }
    };
    match facts.network {
        StepNetwork::None => {
            format!("{what}: the step has no network (`--network=none`), only its own loopback device.")
        }
        StepNetwork::Recorded => format!(
            "{what}: the step reaches the network only by the proxy that records its requests (`--proxy-network`); what it \
             was asked is at the end of the step's output."
        ),
        StepNetwork::Machines if facts.proxies.is_empty() && facts.builder_has_proxies => format!(
            "{what}: the step has the network of this machine and no proxy. stave's own proxies reach it only as build \
             arguments: `--build-arg HTTPS_PROXY`."
        ),
        StepNetwork::Machines => format!("{what}: the step has the network of this machine, and {proxies}."),
        StepNetwork::Builders => format!("{what}: stave uses the network of this machine, and {proxies}."),
    }
}

fn denied(facts: &Denied) -> String {
    let user = match facts.uid {
        Some(uid) if facts.user == uid.to_string() => format!("user {uid}"),
        Some(uid) => format!("`{}` (uid {uid})", facts.user),
        None => format!("`{}`", facts.user),
    };
    if let Some(DeniedMount { name, target, mode, uid, gid }) = &facts.mount {
        let wanted = facts.uid.map_or_else(|| "uid=UID".to_owned(), |uid| format!("uid={uid}"));
        let new = if *name == "cache" { " with a new `id=`, as a cache keeps the owner that it has" } else { "" };
        return format!(
            "The step runs as {user}, and the {name} on `{target}` belongs to {uid}:{gid} with mode {mode:04o}: add \
             `{wanted}` (or `mode=`) to the mount{new}."
        );
    }
    let Some(place) = &facts.place else {
        return if facts.uid == Some(0) {
            "The step runs as root in a sandbox, which has no rights over this machine: mounts, devices and the kernel's \
             settings are not its own (`RUN --security=insecure` with `--allow security.insecure`)."
                .to_owned()
        } else {
            format!("The step runs as {user}: what needs other rights goes before `USER`.")
        };
    };
    let kind = if place.is_directory { "directory " } else { "" };
    let rights =
        format!("{kind}`{}` belongs to {}:{} with mode {:04o}", place.path, place.owner, place.group, place.mode);
    if facts.to_execute && !place.is_directory && place.mode & 0o111 == 0 {
        return format!(
            "The step runs as {user}, and {rights}, which nobody may execute: `COPY --chmod=755`, or `RUN chmod +x`."
        );
    }
    if facts.uid == Some(0) {
        return format!(
            "The step runs as root, and {rights}; a sandbox keeps root from what is the kernel's or another user \
             namespace's."
        );
    }
    format!(
        "The step runs as {user}, and {rights}: do it before `USER`, or give the files away with `COPY --chown={}` or \
         `RUN chown`.",
        facts.user
    )
}

fn read_only(facts: &ReadOnly) -> String {
    let path = facts.path.as_ref().map_or_else(|| "What was written to".to_owned(), |path| format!("`{path}`"));
    match &facts.mount {
        Some(mount) if facts.takes_rw => format!(
            "{path} is in the mount on `{mount}`, which is read-only: write elsewhere, or add `rw` to the mount (what is \
             written to a bind is thrown away after the step)."
        ),
        Some(mount) => format!("{path} is in the mount on `{mount}`, which is read-only: write elsewhere."),
        None => format!(
            "{path} cannot be written in any step: `/proc`, `/sys` and what is mounted read-only belong to the machine."
        ),
    }
}

fn foreign(facts: &Foreign) -> String {
    let program = if facts.program.is_empty() { "The program".to_owned() } else { format!("`{}`", facts.program) };
    match &facts.is_for {
        Some(other) if *other != facts.platform => format!(
            "{program} is for {other}, and the step is for {}: build or fetch it for that platform (`ARG TARGETARCH` says \
             which), or choose another with `--platform`.",
            facts.platform
        ),
        None if facts.is_text => {
            format!("{program} is a text without a first line like `#!/bin/sh`, and nothing says what runs it.")
        }
        _ => format!("{program} is no program that the kernel knows; it may be damaged, or be for another machine."),
    }
}

/// What to do about memory that ran out for a step.
pub(crate) fn memory_advice(killed: &MemoryKill) -> String {
    let largest = killed
        .largest
        .map(|bytes| format!(" The largest process of the step had {} MiB.", mebibytes(bytes)))
        .unwrap_or_default();
    match (killed.limit, &killed.group) {
        (Some(limit), Some(group)) => format!(
            "All that runs in cgroup `{group}` may take {} MiB together, and that was reached.{largest} Raise the limit, that of \
             `--memory` if it was given, or have the step do less at a time (`make -j1`, for example).",
            mebibytes(limit)
        ),
        _ => format!(
            "The memory of this machine ran out.{largest} Have the step, or the build, do less at a time, or give the machine \
             more."
        ),
    }
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1024 * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_is_told_with_its_limit_or_its_size() {
        let mut killed = MemoryKill { limit: Some(64 << 20), largest: Some(50 << 20), group: Some("/ci".to_owned()) };
        assert_eq!(killed.to_string(), "killed for memory at 64 MiB");
        assert!(
            memory_advice(&killed).contains("cgroup `/ci` may take 64 MiB")
                && memory_advice(&killed).contains("50 MiB")
        );
        (killed.limit, killed.group) = (None, None);
        assert_eq!(killed.to_string(), "killed for memory at 50 MiB");
        killed.largest = None;
        assert_eq!(killed.to_string(), "killed for memory");
    }
}
