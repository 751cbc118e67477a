//! `policy eval`, `test` and `json-schema`; and reading the policies of a build.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use stave_engine::{
    Event, PolicyInput, PolicySource, RegoPolicy, SignersAsked, TRUSTED_ROOT_BYTES_MAX, TrustedRoot, policy_files,
};
use stave_oci::Platform;

use super::Context;
use crate::args::{PolicyCommand, PolicyEvalArgs, PolicyTestArgs};
use crate::failure::Failure;
use crate::host::Processes;
use crate::{output, render};

/// Largest policy, in bytes.
const POLICY_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What the name of a file with tests ends in.
const TEST_SUFFIX: &str = "_test.rego";

/// What of an image is only told with a root of trust.
const SIGNERS: [&str; 2] = ["image.signatures", "image.attestations"];

/// Carries out `policy`.
pub(super) fn policy(command: &PolicyCommand, context: &Context<'_>) -> Result<u8, Failure> {
    match command {
        PolicyCommand::Eval(args) => eval(args, context),
        PolicyCommand::Test(args) => test(args),
        PolicyCommand::JsonSchema(_) => output::text(&format!("{:#}\n", PolicyInput::schema())).map(|()| 0),
    }
}

/// Returns where the policy of a Dockerfile is: beside it.
pub(super) fn beside(dockerfile: &Path) -> PathBuf {
    let mut path = dockerfile.as_os_str().to_owned();
    path.push(".rego");
    path.into()
}

/// Reads a policy, and what it imports of its own directory.
pub(super) fn read(path: &Path) -> Result<RegoPolicy, Failure> {
    let text = read_text(path)?;
    let files = policy_files(directory(path)).map_err(Failure::from)?;
    RegoPolicy::parse(&path.display().to_string(), &text, &files).map_err(|error| Failure::usage(render::chain(&error)))
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

fn read_text(path: &Path) -> Result<String, Failure> {
    let unread =
        |error: &dyn std::fmt::Display| Failure::usage(format!("cannot read the policy `{}`: {error}", path.display()));
    let bytes = std::fs::metadata(path).map_err(|error| unread(&error))?.len();
    if bytes > POLICY_BYTES_MAX {
        return Err(unread(&format!("it has {bytes} bytes, and {POLICY_BYTES_MAX} are the most")));
    }
    std::fs::read_to_string(path).map_err(|error| unread(&error))
}

/// Reads a root of trust.
pub(super) fn trusted_root(path: &Path) -> Result<TrustedRoot, Failure> {
    let unread =
        |error: std::io::Error| Failure::usage(format!("cannot read the root of trust `{}`: {error}", path.display()));
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that a longer file is refused, and not cut.
    let most = u64::try_from(TRUSTED_ROOT_BYTES_MAX + 1).unwrap_or(u64::MAX);
    let file = std::fs::File::open(path).map_err(unread)?;
    file.take(most).read_to_end(&mut bytes).map_err(unread)?;
    TrustedRoot::parse(&bytes)
        .map_err(|error| Failure::usage(render::chain(&error)).within(&path.display().to_string()))
}

fn of_argument(file: &Path) -> PathBuf {
    if file.extension().is_some_and(|extension| extension == "rego") { file.to_owned() } else { beside(file) }
}

fn eval(args: &PolicyEvalArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let source = PolicySource::parse(&args.source).map_err(Failure::from)?;
    let platform = args.platform.clone().unwrap_or_else(Platform::host);
    let input = source.input(&platform);
    let root = args.trusted_root.as_deref().map(trusted_root).transpose()?;
    let looked_up = |wanted: bool| {
        let signers = SignersAsked { wanted, root: root.as_ref() };
        let host = context.host(Processes::Some)?;
        let display = context.display(false);
        let found = host.engine.policy_input(&source, &platform, signers, &|event: Event| display.report(event));
        display.finish();
        super::settled(&host, found.map_err(Failure::from))
    };
    if args.print {
        let needs = needs_look_up(&args.fields, &input)?;
        let signers = args.fields.iter().any(|field| SIGNERS.contains(&field.trim_start_matches("input.")));
        if needs && signers && root.is_none() {
            return Err(Failure::usage("who signed an image is only known with a root of trust")
                .with_hint("Name one: `--trusted-root trusted_root.json`."));
        }
        let input = if needs { looked_up(signers)? } else { input };
        return output::text(&format!("{:#}\n", input.json())).map(|()| 0);
    }
    let path = of_argument(&args.file);
    let policy = read(&path)?;
    let input = if policy.wants_details(&input) { looked_up(policy.wants_signatures(&input))? } else { input };
    let decision = policy.decide(&input).map_err(|error| Failure::usage(render::chain(&error)))?;
    print_said(&decision.printed);
    if decision.allow {
        return Ok(0);
    }
    let why = if decision.messages.is_empty() { String::new() } else { format!(": {}", decision.messages.join("; ")) };
    Err(Failure::failed(format!("the policy `{}` does not allow `{}`{why}", path.display(), source.identifier())))
}

/// Whether one of `fields` is not in `input` yet. A field that no input has is a mistake.
fn needs_look_up(fields: &[String], input: &PolicyInput) -> Result<bool, Failure> {
    let (json, schema) = (input.json(), PolicyInput::schema());
    let mut needs = false;
    for field in fields {
        let field = field.strip_prefix("input.").unwrap_or(field);
        let (kind, name) = field.split_once('.').unwrap_or((field, ""));
        if schema["properties"][kind]["properties"].get(name).is_none() {
            return Err(Failure::usage(format!("a policy is told of no field `{field}`"))
                .with_hint("`stave policy json-schema` lists all of them; one is `image.labels`."));
        }
        needs |= json[kind].is_object() && json[kind].get(name).is_none();
    }
    Ok(needs)
}

/// What a policy prints is for people.
fn print_said(lines: &[String]) {
    for line in lines {
        crate::print_error(&format!("{line}\n"));
    }
}

fn test(args: &PolicyTestArgs) -> Result<u8, Failure> {
    let files = test_files(&args.path)?;
    let beside_tests = || directory(&files[0]).join("Dockerfile");
    let policy = read(&of_argument(&args.file.clone().unwrap_or_else(beside_tests)))?;
    let (mut lines, mut failed, mut all) = (Vec::new(), 0, 0);
    for file in &files {
        let outcomes = policy.test(&file.display().to_string(), &read_text(file)?, &args.run);
        for outcome in outcomes.map_err(|error| Failure::usage(render::chain(&error)))? {
            all += 1;
            print_said(&outcome.printed);
            if outcome.passed {
                lines.push(format!("{}: passed", outcome.name));
                continue;
            }
            failed += 1;
            let why = outcome.error.unwrap_or_else(|| "it is not true".to_owned());
            lines.push(format!("{}: failed: {why}", outcome.name));
        }
    }
    if all == 0 {
        return Err(Failure::usage(format!("`{}` has no rule `test_{}...`", args.path.display(), args.run)));
    }
    output::lines(&lines)?;
    if failed > 0 {
        return Err(Failure::failed(format!("{failed} of {all} tests failed")));
    }
    Ok(0)
}

/// Returns the files with tests at `path`, in the order of their names.
fn test_files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let is_test = |path: &Path| path.to_string_lossy().ends_with(TEST_SUFFIX);
    if !path.is_dir() {
        if is_test(path) {
            return Ok(vec![path.to_owned()]);
        }
        return Err(Failure::usage(format!(
            "`{}` is no file of tests: its name has to end in `{TEST_SUFFIX}`",
            path.display()
        )));
    }
    let unread = |error: std::io::Error| Failure::usage(format!("cannot read `{}`: {error}", path.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unread)? {
        let entry = entry.map_err(unread)?.path();
        if is_test(&entry) && entry.is_file() {
            files.push(entry);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Failure::usage(format!("`{}` has no file whose name ends in `{TEST_SUFFIX}`", path.display())));
    }
    Ok(files)
}
