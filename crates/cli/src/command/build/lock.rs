//! `lock`: what the sources of a build are is written into a file.

use std::io::Write as _;
use std::path::Path;

use stave_engine::{Event, Lock};

use super::supply::lock_path;
use super::variables::Surroundings;
use super::{Context, request, settled};
use crate::args::LockArgs;
use crate::failure::Failure;
use crate::host::{Processes, raw_variable};
use crate::output;

/// Carries out `lock`.
pub(in crate::command) fn lock(args: LockArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let path = args.lock_file.clone().unwrap_or_else(|| lock_path(&args.context));
    let quiet = args.quiet;
    let surroundings = Surroundings::new(&raw_variable);
    let mut notes = Vec::new();
    let (request, _agents) = request::request(args.into_build(), &surroundings, &mut notes)?;
    let host = context.host(Processes::Some)?;
    let display = context.display(quiet);
    for message in notes {
        display.report(Event::Notice { message });
    }
    let result = host.engine.lock_sources(request, &|event| display.report(event)).map_err(Failure::from);
    display.finish();
    let lock = settled(&host, result)?;
    let text = lock.to_string();
    if path == Path::new("-") {
        output::text(&text)?;
    } else {
        write(&path, &text)?;
        if !quiet {
            crate::print_error(&summary(&lock, &path));
        }
    }
    Ok(0)
}

fn summary(lock: &Lock, path: &Path) -> String {
    let kinds = [("image", lock.images.len()), ("file", lock.files.len()), ("repository", lock.repositories.len())];
    let counted: Vec<String> = kinds
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| match (count, kind) {
            (1, kind) => format!("1 {kind}"),
            (count, "repository") => format!("{count} repositories"),
            (count, kind) => format!("{count} {kind}s"),
        })
        .collect();
    let counted = if counted.is_empty() { "nothing to pin".to_owned() } else { counted.join(", ") };
    format!("{}: {counted}\n", path.display())
}

/// Writes the lock in one step: whoever reads it meanwhile has the old one or the new one.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}", std::process::id()));
    let partial = std::path::PathBuf::from(partial);
    let written = std::fs::File::create(&partial)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&partial, path));
    written.map_err(|error| {
        // What is left of it is of no use.
        drop(std::fs::remove_file(&partial));
        Failure::usage(format!("cannot write the lock `{}`: {error}", path.display()))
    })
}
