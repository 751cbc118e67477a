//! A list of packages that somebody else's image makes: it runs as a step that sees the result.
//!
//! Reference: BuildKit, `docs/attestations/sbom-protocol.md`.

use stave_dockerfile::plan::BaseRequest;
use stave_graph::{Exec, Graph, Image, Mount, MountKind, MountSource, Op, Origin};
use stave_oci::Platform;
use stave_sandbox::Exit;
use stave_store::{LayerId, Lease};

use super::SbomOptions;
use super::inventory::{SPDX, unreadable};
use super::statement::Statement;
use crate::base::Bases;
use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::{Event, TaskKind};
use crate::finish::{ReadyImage, ScannedFiles};
use crate::log::StepLog;
use crate::request::{Grants, PullPolicy};
use crate::requests::Recorder;
use crate::rules::SourceRules;
use crate::signal::signal_name;
use crate::steps::Sources;
use crate::steps::exec::{self, Ran};
use crate::task::Task;

/// Where a scanner finds the result and what else is searched, and where it writes.
const SOURCE: &str = "/run/src/core/sbom";
const EXTRAS: &str = "/run/src/extras";
const DESTINATION: &str = "run/out";
/// Largest document, in bytes. Reference: BuildKit's limit.
const DOCUMENT_BYTES_MAX: u64 = 40 * 1024 * 1024;
/// Most documents of one scanner.
const DOCUMENTS_MAX: usize = 64;

/// Runs the image `generator` over the files of `image`, and what else is searched, and returns what it wrote.
///
/// The scanner is anybody's program: it runs as a step does, without a network, and sees the result read-only.
///
/// Errors: the scanner cannot be had or fails; it writes nothing, or what is no document.
pub(super) fn state(
    by: (&Engine, &Lease),
    (options, generator): (&SbomOptions, &str),
    files: (&ReadyImage, &[&ScannedFiles]),
    events: Report<'_>,
) -> Result<Vec<Statement>, EngineError> {
    Task::during(events, TaskKind::Other, format!("scan with {generator}"), |_| {
        scan(by, (options, generator), files, events)
    })
}

fn scan(
    (engine, lease): (&Engine, &Lease),
    (options, generator): (&SbomOptions, &str),
    (image, extras): (&ReadyImage, &[&ScannedFiles]),
    events: Report<'_>,
) -> Result<Vec<Statement>, EngineError> {
    let request = BaseRequest { reference: generator.to_owned(), platform: Platform::host() };
    let base = engine.find_base(lease, &request, PullPolicy::Missing, events)?;
    let (id, config) = (base.id, base.config.clone());
    let mut bases = Bases::default();
    bases.add(request, base);
    let image_of_scanner = Image { id, diff_ids: config.rootfs.diff_ids.clone() };
    let mut parent: Vec<LayerId> = engine.base_layers(lease, &bases, &image_of_scanner, events)?.to_vec();
    parent.push(destination(engine, lease)?);
    let mut graph = Graph::new();
    let node = graph.add(Op::Scratch, Origin(0));
    let run = &config.config;
    let args: Vec<String> = run.entrypoint.iter().flatten().chain(run.cmd.iter().flatten()).cloned().collect();
    if args.is_empty() {
        return Err(EngineError::NoCommand(generator.to_owned()));
    }
    let mut operation = Exec::new(node, args);
    operation.env = run.env.clone().into_iter().collect();
    for (name, value) in [("BUILDKIT_SCAN_SOURCE", SOURCE), ("BUILDKIT_SCAN_DESTINATION", "/run/out")] {
        operation.env.push(format!("{name}={value}"));
    }
    operation.env.extend(options.parameters.iter().map(|(name, value)| format!("BUILDKIT_SCAN_{name}={value}")));
    if !run.working_dir.is_empty() {
        operation.cwd.clone_from(&run.working_dir);
    }
    operation.user.clone_from(&run.user);
    let mut show = |target: String| {
        let kind = MountKind::Bind { source: MountSource::Tree(node), path: ".".to_owned(), writable: false };
        operation.mounts.push(Mount::new(&target, kind));
    };
    show(SOURCE.to_owned());
    for extra in extras {
        show(format!("{EXTRAS}/sbom-{}", extra.name));
    }
    if !extras.is_empty() {
        operation.env.push(format!("BUILDKIT_SCAN_SOURCE_EXTRAS={EXTRAS}"));
    }
    let scanned = image.layer_ids()?;
    let trees = std::iter::once(&*scanned).chain(extras.iter().map(|extra| &*extra.layers)).collect();
    let sources = Sources { contexts: Vec::new(), trees };
    let layer = carried_out((engine, lease), (&operation, generator), &parent, sources, events)?;
    documents(engine, options, layer, generator)
}

/// Makes the directory that a scanner writes to, as a layer.
fn destination(engine: &Engine, lease: &Lease) -> Result<LayerId, EngineError> {
    let work = lease.work_dir()?;
    engine.store_dir(&work.diff_rel_path())?.create_dir_all(DESTINATION.as_bytes()).map_err(unreadable)?;
    Ok(lease.publish_layer(work, None)?)
}

fn carried_out(
    (engine, lease): (&Engine, &Lease),
    (operation, generator): (&Exec, &str),
    parent: &[LayerId],
    sources: Sources<'_>,
    events: Report<'_>,
) -> Result<LayerId, EngineError> {
    let work = lease.work_dir()?;
    let mut log = StepLog::new(work.path().join("log"));
    let note = |text: &str| events(Event::Notice { message: text.to_owned() });
    let go_on = || engine.go_on();
    let ran = {
        let mut watch = exec::Watch {
            log: &mut log,
            report: &|_, _| (),
            note: &note,
            recorder: &Recorder::new(&SourceRules::default()),
            asked: None,
            go_on: &go_on,
            keeps: &|| false,
            left: None,
            killed: None,
        };
        exec::run(engine, lease, (operation, &Platform::host()), parent, sources, &Grants::default(), &mut watch)?
    };
    let how = match ran {
        Ran::Layer(layer) => return Ok(layer),
        Ran::Failed(Exit::Code(code)) => format!("ended with {code}"),
        Ran::Failed(Exit::Signal { number, .. }) => format!("was ended by {}", signal_name(number)),
    };
    let said = log.last_lines().join("\n");
    Err(EngineError::request(format!("the scanner `{generator}` {how}: {said}"), None))
}

/// Reads what the scanner wrote: each document is a statement, of which only what is said counts, or that alone.
fn documents(
    engine: &Engine,
    options: &SbomOptions,
    layer: LayerId,
    generator: &str,
) -> Result<Vec<Statement>, EngineError> {
    let view = engine.view(&[layer])?;
    let mut names: Vec<Vec<u8>> = view
        .list(DESTINATION.as_bytes())
        .map_err(unreadable)?
        .into_iter()
        .map(|entry| entry.name)
        .filter(|name| name.ends_with(b".spdx.json"))
        .collect();
    names.sort();
    if names.is_empty() || names.len() > DOCUMENTS_MAX {
        let message = format!("the scanner `{generator}` wrote {} documents to `/run/out`", names.len());
        return Err(EngineError::request(
            message,
            Some("It has to write at least one file that ends with `.spdx.json`."),
        ));
    }
    let mut statements = Vec::new();
    for name in names {
        let path = [DESTINATION.as_bytes(), b"/", &name].concat();
        let shown = String::from_utf8_lossy(&name).into_owned();
        let bytes = view.read_file(&path, DOCUMENT_BYTES_MAX).map_err(unreadable)?;
        let mut value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|source| {
            EngineError::tree(format!("cannot use `{shown}` of the scanner `{generator}`"), source)
        })?;
        let predicate = match value.get_mut("predicate") {
            Some(predicate) => predicate.take(),
            None => value,
        };
        statements.push(Statement {
            predicate_type: SPDX.to_owned(),
            predicate,
            file_name: Some(shown),
            inline: options.inline,
        });
    }
    Ok(statements)
}
