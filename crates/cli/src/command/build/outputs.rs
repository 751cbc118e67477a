//! The outputs of a build, made from the arguments.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use stave_engine::{Annotations, ArchiveKind, Destination, FilesKind, ImageForm, Keep, Naming, Output, Regroup};
use stave_oci::Reference;

use super::daemon;
use super::variables::Surroundings;
use crate::args::{AllowArg, BuildArgs, CompressionArg, NamesArg, OutputArg, OutputKind};
use crate::failure::Failure;
use crate::output;

/// What becomes of an image.
pub(super) struct Results {
    /// Whether the store keeps it.
    pub(super) keep: Keep,
    /// Its names there.
    pub(super) names: Vec<Reference>,
    pub(super) outputs: Vec<Output>,
    pub(super) regroup: Option<Regroup>,
}

/// Returns what `args` say of the results.
///
/// Errors: they contradict each other; an image is to be pushed that has no name.
pub(super) fn results(args: &BuildArgs, surroundings: &Surroundings<'_>) -> Result<Results, Failure> {
    let regroup = match (args.squash, args.squash_all) {
        (_, Some(true)) => Some(Regroup::All),
        (Some(true), _) => Some(Regroup::New),
        _ => None,
    };
    let tags = unique(args.tags.clone());
    let said = Said {
        compression: args.compression(),
        annotations: Annotations(args.annotations.iter().flat_map(|annotation| annotation.0.clone()).collect()),
        tags: tags.clone(),
    };
    refuse_two_on_stdout(&args.outputs, args.quiet)?;
    refuse_two_in_one_place(&args.outputs)?;
    let mut outputs = Vec::new();
    let mut given = args.outputs.clone();
    // `--push` and `--load` are outputs like any other.
    if args.push && !given.iter().any(|output| output.push) {
        given.push(OutputArg { push: true, ..OutputArg::new(OutputKind::Image, None) });
    }
    let loads = |output: &OutputArg| output.kind == OutputKind::Docker && output.dest.is_none();
    if args.load && !given.iter().any(loads) {
        given.push(OutputArg::new(OutputKind::Docker, None));
    }
    let mut results = Results { keep: Keep::No, names: tags, outputs: Vec::new(), regroup };
    if given.is_empty() {
        given.push(OutputArg::new(OutputKind::Image, None));
    }
    let deletes = given.iter().any(|output| output.delete);
    if deletes && !args.allowed.iter().any(AllowArg::is_local_delete) {
        return Err(Failure::usage("`mode=delete` removes files that the build did not write, which is not allowed")
            .with_hint("Allow it with `--allow buildx.local.delete`, or write `mode=copy`."));
    }
    for output in &given {
        said.add(output, surroundings, &mut results, &mut outputs)?;
    }
    results.names = unique(results.names);
    let is_pushed = |name: &Reference| {
        outputs.iter().any(|output| matches!(output, Output::Registry { names, .. } if names.contains(name)))
    };
    if results.keep == Keep::IfHere && !results.names.iter().all(is_pushed) {
        results.keep = Keep::Yes;
    }
    results.outputs = outputs;
    Ok(results)
}

/// What options say of all outputs.
struct Said {
    compression: CompressionArg,
    annotations: Annotations,
    tags: Vec<Reference>,
}

impl Said {
    fn names(&self, names: &NamesArg) -> Option<Vec<Reference>> {
        if names.names.is_empty() {
            return None;
        }
        let tags = if names.with_tags { self.tags.as_slice() } else { &[] };
        Some(unique(tags.iter().chain(&names.names).cloned().collect()))
    }

    fn add(
        &self,
        output: &OutputArg,
        surroundings: &Surroundings<'_>,
        results: &mut Results,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Failure> {
        let names = self.names(&output.names);
        let dest = || -> Result<Destination, Failure> {
            match &output.dest {
                Some(dest) if dest.as_os_str() != "-" => Ok(Destination::Path(dest.clone())),
                _ => {
                    output::refuse_terminal("an archive")?;
                    Ok(Destination::Stream(Box::new(std::io::stdout())))
                }
            }
        };
        let form = || output.form(self.compression, &self.annotations).map_err(Failure::usage);
        let (split, delete, times) = (output.split, output.delete, output.times);
        let prefix = output.prefix.clone();
        match output.kind {
            OutputKind::CacheOnly => {}
            OutputKind::Tar => {
                outputs.push(Output::Files { kind: FilesKind::Tar, split, delete, times, prefix, dest: dest()? });
            }
            OutputKind::Local => {
                outputs.push(Output::Files { kind: FilesKind::Local, split, delete, times, prefix, dest: dest()? });
            }
            OutputKind::Oci if !output.tar => {
                let path: PathBuf = output.dest.clone().unwrap_or_default();
                outputs.push(Output::Layout { form: form()?, names, path });
            }
            OutputKind::Oci => {
                outputs.push(Output::Archive { kind: ArchiveKind::Oci, form: form()?, names, dest: dest()? });
            }
            OutputKind::Docker if output.dest.is_some() => {
                outputs.push(Output::Archive { kind: ArchiveKind::Docker, form: form()?, names, dest: dest()? });
            }
            OutputKind::Docker => {
                results.keep = Keep::Yes;
                results.names.extend(names.iter().flatten().cloned());
                if let Some(socket) = daemon::socket(output.context.as_deref(), surroundings)? {
                    outputs.push(Output::Load { socket, names, form: form()? });
                }
            }
            OutputKind::Image => self.image(output, names, form()?, results, outputs)?,
        }
        Ok(())
    }

    /// Adds an image of the store or of registries.
    fn image(
        &self,
        output: &OutputArg,
        names: Option<Vec<Reference>>,
        form: ImageForm,
        results: &mut Results,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Failure> {
        let names = names.unwrap_or_else(|| self.tags.clone());
        if output.push {
            if names.is_empty() {
                return Err(Failure::usage("the image is to be pushed, and has no name that says where to")
                    .with_hint("Name it with `-t REGISTRY/NAME:TAG`."));
            }
            let OutputArg { by_digest, insecure, .. } = *output;
            if let Some(name) = names.iter().find(|name| by_digest && name.tag.is_some()) {
                return Err(Failure::usage(format!(
                    "`{name}` has a tag, and `push-by-digest=true` pushes without one"
                ))
                .with_hint("Write the name without its tag."));
            }
            outputs.push(Output::Registry { names: names.clone(), by_digest, insecure, form: form.clone() });
        }
        if output.store == Some(false) {
            return Ok(());
        }
        // What its registry has need not be fetched for the store, unless that is asked for.
        let keep = if output.push && !output.by_digest && output.store.is_none() { Keep::IfHere } else { Keep::Yes };
        results.keep = results.keep.max(keep);
        results.names.extend(names.iter().cloned());
        let NamesArg { dangling, dangling_only, canonical, .. } = output.names.clone();
        let dangling = dangling.filter(|_| names.is_empty() || !dangling_only);
        let naming = Naming { canonical, dangling };
        // Where layers are others than the build's, the store has the build's, and the registry what was asked for.
        let is_others = form.regroup.is_some() || matches!(form.layers, stave_engine::LayerMethod::Estargz(_));
        if naming != Naming::default() || (form != ImageForm::default() && !(output.push && is_others)) {
            outputs.push(Output::Image { names, naming, form });
        }
        Ok(())
    }
}

fn refuse_two_on_stdout(given: &[OutputArg], quiet: bool) -> Result<(), Failure> {
    let to_stdout = given.iter().filter(|output| output.dest.as_deref() == Some(Path::new("-"))).count();
    if to_stdout + usize::from(quiet) > 1 && to_stdout > 0 {
        return Err(Failure::usage("standard output can take one thing only: one output, or with `-q` the id"));
    }
    Ok(())
}

/// The second of two outputs would write over the first.
fn refuse_two_in_one_place(given: &[OutputArg]) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for dest in given.iter().filter_map(|output| output.dest.as_deref()) {
        // Trailing slashes and `.` don't make another place of it.
        let place: PathBuf = dest.components().filter(|part| *part != Component::CurDir).collect();
        let takes_all = dest == Path::new("-") || dest.starts_with("/dev");
        if !takes_all && !seen.insert(place) {
            return Err(Failure::usage(format!("two outputs have `{}` as their destination", dest.display()))
                .with_hint("Give each of them a place of its own."));
        }
    }
    Ok(())
}

fn unique(names: Vec<Reference>) -> Vec<Reference> {
    let mut unique = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    unique
}
