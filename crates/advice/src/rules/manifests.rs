//! Dependencies that are installed after the whole source was copied.

use std::time::Duration;

use stave_dockerfile::ast::{Copy, FlagName, InstructionKind as Kind, Source};

use super::{label, measured, of_steps, spared};
use crate::advice::{Advice, Code, Edit};
use crate::shell::{Simple, chain};
use crate::subject::{LayerOf, Site, Subject, absolute, workdir};

/// A command that installs dependencies, and the files that it reads.
struct Installer {
    programs: &'static [&'static str],
    /// Words that it begins with after the program, one of these.
    commands: &'static [&'static [&'static str]],
    /// Options without which it reads the source as well.
    needs: &'static [&'static str],
    /// Files that say what is to be installed. The first has to be there.
    files: &'static [&'static str],
    /// Where it puts what it installs, inside the source.
    puts: Option<&'static str>,
    /// Whether several of the first file, in directories below, are read together.
    is_nested: bool,
}

const INSTALLERS: &[Installer] = &[
    Installer {
        programs: &["npm"],
        commands: &[&["ci"], &["install"], &["i"]],
        needs: &[],
        files: &["package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"],
        puts: Some("node_modules"),
        is_nested: true,
    },
    Installer {
        programs: &["yarn"],
        commands: &[&["install"], &[]],
        needs: &[],
        files: &["package.json", "yarn.lock", ".yarnrc", ".yarnrc.yml", ".npmrc"],
        puts: Some("node_modules"),
        is_nested: true,
    },
    Installer {
        programs: &["pnpm"],
        commands: &[&["install"], &["i"]],
        needs: &[],
        files: &["package.json", "pnpm-lock.yaml", ".npmrc"],
        puts: Some("node_modules"),
        is_nested: true,
    },
    Installer {
        programs: &["go"],
        commands: &[&["mod", "download"]],
        needs: &[],
        files: &["go.mod", "go.sum"],
        puts: None,
        is_nested: true,
    },
    Installer {
        programs: &["bundle"],
        commands: &[&["install"], &[]],
        needs: &[],
        files: &["Gemfile", "Gemfile.lock", ".ruby-version"],
        puts: None,
        is_nested: false,
    },
    Installer {
        programs: &["mvn"],
        commands: &[&["dependency:go-offline"], &["dependency:resolve"]],
        needs: &[],
        files: &["pom.xml"],
        puts: None,
        is_nested: true,
    },
    Installer {
        programs: &["composer"],
        commands: &[&["install"]],
        needs: &["--no-scripts", "--no-autoloader"],
        files: &["composer.json", "composer.lock"],
        puts: Some("vendor"),
        is_nested: false,
    },
    Installer {
        programs: &["poetry"],
        commands: &[&["install"]],
        needs: &["--no-root"],
        files: &["pyproject.toml", "poetry.lock"],
        puts: Some(".venv"),
        is_nested: false,
    },
    Installer {
        programs: &["uv"],
        commands: &[&["sync"]],
        needs: &["--no-install-project"],
        files: &["pyproject.toml", "uv.lock"],
        puts: Some(".venv"),
        is_nested: false,
    },
    Installer {
        programs: &["mix"],
        commands: &[&["deps.get"]],
        needs: &[],
        files: &["mix.exs", "mix.lock"],
        puts: Some("deps"),
        is_nested: false,
    },
];

/// What an installing step reads: names in the directory that it works in.
struct Reads {
    files: Vec<String>,
    puts: Option<&'static str>,
}

pub(super) fn advise(subject: &Subject<'_>, sites: &[Vec<Site<'_>>]) -> Vec<Advice> {
    of_steps(subject, sites, of_step)
}

/// Returns the advice for a step that installs, if the source is copied before it.
fn of_step(subject: &Subject<'_>, sites: &[Site<'_>], index: usize) -> Option<Advice> {
    let run = &sites[index];
    let (commands, time) = (chain(run.shell()?.as_str())?, run.time()?);
    // The source is what is copied last before; what is between is the same without it.
    let copied = (0..index).rev().find(|before| sites[*before].copy().is_some())?;
    let between = &sites[copied + 1..index];
    let dir = workdir(sites, index)?;
    let site = &sites[copied];
    let (source, copy) = whole_source(site)?;
    let is_absolute = copy.dest.as_str().starts_with('/');
    let is_same = |site: &Site<'_>| match site.instruction.kind {
        Kind::Env(_) | Kind::Arg(_) => true,
        // What is copied to a place that is relative to it would go elsewhere.
        Kind::Workdir(_) => is_absolute,
        _ => site.is_metadata(),
    };
    if !between.iter().all(is_same) || copies_manifest_alone(&sites[..index], &commands) {
        return None;
    }
    if absolute(copy.dest.as_str(), Some(&dir))? != dir {
        return None;
    }
    let layer = subject.layer_of(site)?;
    let reads = reads(&commands, &layer, &dir)?;
    let text = subject.text();
    let flags: String =
        site.instruction.head.flags.iter().map(|flag| text[flag.span.range()].to_owned() + " ").collect();
    let sources: Vec<String> = reads.files.iter().map(|file| format!("{source}{file}")).collect();
    let dest = if is_absolute { format!("{dir}/").replace("//", "/") } else { "./".to_owned() };
    let manifests = format!("COPY {flags}{} {dest}", sources.join(" "));
    let edits = vec![
        Edit::replace(site.span(), manifests),
        Edit::insert(run.span().end, format!("\n{}", &text[site.span().range()])),
    ];
    // What was installed would be hidden by what is copied after it.
    let hides = |name: &&str| layer.list(&dir).iter().any(|place| *place.node().name == **name);
    let ignore = reads.puts.filter(hides).map(str::to_owned).into_iter().collect();
    Some(Advice { edits, ignore, ..advice(run, site, &reads, time) })
}

fn advice(run: &Site<'_>, site: &Site<'_>, reads: &Reads, time: Duration) -> Advice {
    Advice {
        code: Code::DependenciesAfterSource,
        message: "dependencies are installed again whenever a file of the source changes".to_owned(),
        labels: vec![
            label(run.span(), "runs again with any of these files", true),
            label(site.span(), "copies the whole source", false),
        ],
        proposal: format!("Copy {} first, and the rest after the step.", list(&reads.files)),
        edits: Vec::new(),
        ignore: Vec::new(),
        gain: spared(run, time, format!("when a file other than {} changes", list(&reads.files))),
        evidence: measured(time),
        condition: Some("No script that the installation starts may need another file of the source.".to_owned()),
    }
}

/// Returns names as text: `a`, `b` and `c`.
fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// Returns the directory of the context that an instruction copies as a whole, if it does that: nothing for all of it, or `app/`.
fn whole_source<'a>(site: &Site<'a>) -> Option<(String, &'a Copy)> {
    let copy = site.copy()?;
    let allowed = [FlagName::Chown, FlagName::Chmod, FlagName::Link];
    if site.instruction.head.flags.iter().any(|flag| !allowed.contains(&flag.name)) {
        return None;
    }
    let [Source::Path(path)] = copy.sources.as_slice() else { return None };
    let clean = absolute(path.as_str(), Some("/"))?;
    let dir = clean.trim_start_matches('/');
    Some((if dir.is_empty() { String::new() } else { format!("{dir}/") }, copy))
}

/// Whether a step before copied what is installed by itself already: then this is done right.
fn copies_manifest_alone(before: &[Site<'_>], commands: &[Simple]) -> bool {
    let installer =
        INSTALLERS.iter().find(|one| commands.iter().any(|command| one.programs.contains(&command.program())));
    let first = installer.map_or("requirements", |installer| installer.files[0]);
    let names = |source: &Source| match source {
        Source::Path(path) => path.as_str().contains(first),
        Source::Heredoc(_) => false,
    };
    before.iter().filter_map(Site::copy).any(|copy| copy.sources.iter().any(names))
}

/// Returns what a chain reads, if all that it does is to install from files that are known.
fn reads(commands: &[Simple], layer: &LayerOf<'_>, dir: &str) -> Option<Reads> {
    let mut all = Reads { files: Vec::new(), puts: None };
    let mut installs = false;
    for command in commands {
        if is_clean_up(command) {
            continue;
        }
        let one = by_manifest(command, layer, dir).or_else(|| by_requirements(command, layer, dir))?;
        installs = true;
        all.files.extend(one.files);
        all.puts = all.puts.or(one.puts);
    }
    all.files.dedup();
    installs.then_some(all)
}

fn is_clean_up(command: &Simple) -> bool {
    let words: Vec<&str> = command.words.iter().map(String::as_str).collect();
    matches!(words[..], ["npm" | "yarn", "cache", "clean", ..])
        || matches!(words[..], ["pip" | "pip3", "cache", "purge"])
        || command.program() == "rm"
            && command.operands().all(|path| path.starts_with("/root/") || path.starts_with("/tmp/"))
}

fn by_manifest(command: &Simple, layer: &LayerOf<'_>, dir: &str) -> Option<Reads> {
    let has = |wanted: &[&str]| wanted.iter().all(|wanted| command.words.iter().any(|word| word == wanted));
    let operands: Vec<&str> = command.operands().collect();
    let installer = INSTALLERS.iter().find(|one| {
        one.programs.contains(&command.program()) && one.commands.contains(&operands.as_slice()) && has(one.needs)
    })?;
    let names: Vec<String> = layer.list(dir).iter().map(|place| place.node().name.to_string()).collect();
    let files: Vec<String> = installer
        .files
        .iter()
        .filter(|file| names.iter().any(|name| name == *file))
        .map(|file| (*file).to_owned())
        .collect();
    let is_there = files.first().is_some_and(|first| first == installer.files[0]);
    let hidden = installer.puts.unwrap_or_default();
    let below = layer.list(dir).into_iter().filter(|place| *place.node().name != *hidden);
    let is_nested = below
        .map(|place| format!("{dir}/{}", place.node().name))
        .any(|path| layer.has_below(&path, installer.files[0], hidden));
    // Yarn's own releases and plugins are a directory, which would have to be named as one.
    let is_involved = names.iter().any(|name| name == ".yarn" || name == "pnpm-workspace.yaml" || name == "patches");
    (is_there && !(installer.is_nested && is_nested) && !is_involved).then_some(Reads { files, puts: installer.puts })
}

/// `pip install -r FILE`, with all requirement files that there are, for one may name another.
fn by_requirements(command: &Simple, layer: &LayerOf<'_>, dir: &str) -> Option<Reads> {
    let words: Vec<&str> = command.words.iter().map(String::as_str).collect();
    let (["pip" | "pip3", "install", rest @ ..] | ["python" | "python3", "-m", "pip", "install", rest @ ..]) =
        &words[..]
    else {
        return None;
    };
    let (mut files, mut rest) = (Vec::new(), rest.iter());
    while let Some(word) = rest.next() {
        match *word {
            "-r" | "--requirement" => files.push((*rest.next()?).trim_start_matches("./").to_owned()),
            word if word.starts_with("--requirement=") => files.push(word["--requirement=".len()..].to_owned()),
            // Options that take no word of their own, and read nothing.
            "--no-cache-dir"
            | "--no-deps"
            | "--upgrade"
            | "-U"
            | "--user"
            | "-q"
            | "--quiet"
            | "--require-hashes"
            | "--no-input"
            | "--disable-pip-version-check"
            | "--break-system-packages"
            | "--root-user-action=ignore" => {}
            _ => return None,
        }
    }
    let names: Vec<String> = layer.list(dir).iter().map(|place| place.node().name.to_string()).collect();
    if files.is_empty() || !files.iter().all(|file| names.contains(file)) {
        return None;
    }
    let is_requirement = |name: &&String| {
        let stem = name.strip_suffix(".txt").unwrap_or_default();
        stem.starts_with("requirements") || stem.starts_with("constraints")
    };
    let others: Vec<String> =
        names.iter().filter(is_requirement).filter(|name| !files.contains(name)).cloned().collect();
    files.extend(others);
    Some(Reads { files, puts: None })
}
