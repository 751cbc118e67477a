//! `manifest create`, `annotate`, `inspect`, `push` and `rm`, in Docker's words.

use serde::Serialize as _;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Value, json};
use stave_engine::{Examined, ImageSource, ManifestLists, MergeRequest, PlatformRemark};
use stave_oci::{Descriptor, Reference};

use super::Context;
use crate::args::{AnnotateArgs, ListCreateArgs, ListInspectArgs, ListPushArgs, ListRmArgs, ManifestCommand};
use crate::failure::Failure;
use crate::host::{self, Remote};
use crate::output;

pub(super) fn manifest(command: ManifestCommand, context: &Context<'_>) -> Result<u8, Failure> {
    let lists = lists()?;
    match command {
        ManifestCommand::Create(args) => create(&lists, args, context),
        ManifestCommand::Annotate(args) => annotate(&lists, args),
        ManifestCommand::Inspect(args) => inspect(&lists, &args),
        ManifestCommand::Push(args) => push(&lists, &args, context),
        ManifestCommand::Rm(args) => remove(&lists, &args, context),
    }
}

/// Lists are kept beside Docker's, in a form of their own.
fn lists() -> Result<ManifestLists, Failure> {
    let folder = host::docker_folder()
        .ok_or_else(|| Failure::usage("there is no place for manifest lists: neither HOME nor DOCKER_CONFIG is set"))?;
    Ok(ManifestLists::new(folder.join("manifests")))
}

/// Opens registries; with `insecure`, those of these names may lack TLS.
fn remote<'n>(insecure: bool, names: impl IntoIterator<Item = &'n Reference>) -> Result<Remote, Failure> {
    let hosts: Vec<String> = names.into_iter().map(|name| name.registry.clone()).collect();
    Remote::open_insecure(if insecure { &hosts } else { &[] })
}

fn create(lists: &ManifestLists, args: ListCreateArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let ListCreateArgs { amend, insecure, list, images } = args;
    let known = lists.find(&list)?;
    if known.is_some() && !amend {
        return Err(Failure::failed(format!("there is a manifest list `{list}` already"))
            .with_hint("Add to it with `--amend`, or take it away with `stave manifest rm`."));
    }
    let remote = remote(insecure, images.iter().chain([&list]))?;
    let request = MergeRequest {
        sources: images.into_iter().map(ImageSource::Name).collect(),
        prefer_index: true,
        ..MergeRequest::default()
    };
    let display = context.display(false);
    let merged = remote.registries.merge(&request, &|event| display.report(event));
    display.finish();
    let mut merged = remote.settled(merged.map_err(Failure::from))?;
    if let Some(mut known) = known {
        known.absorb(merged)?;
        merged = known;
    }
    lists.keep(&list, &merged)?;
    output::text(&format!("Created manifest list {list}\n"))?;
    Ok(0)
}

fn annotate(lists: &ManifestLists, args: AnnotateArgs) -> Result<u8, Failure> {
    let AnnotateArgs { arch, os, os_features, os_version, variant, list, image } = args;
    let remark = PlatformRemark { architecture: arch, os, os_features, os_version, variant };
    lists.annotate(&list, &image, &remark)?;
    Ok(0)
}

fn inspect(lists: &ManifestLists, args: &ListInspectArgs) -> Result<u8, Failure> {
    let (list, image) = match args.names.as_slice() {
        [list, image] => (Some(list), image),
        [image, ..] => (None, image),
        [] => return Err(Failure::usage("the image's name is missing")),
    };
    let local = list.or(Some(image)).map(|name| lists.find(name)).transpose()?.flatten();
    if let (None, Some(list)) = (&local, list) {
        return Err(Failure::failed(format!("there is no manifest list `{list}` here")));
    }
    if let (Some(merged), None, false) = (&local, list, args.verbose) {
        return output::bytes(&indented(&merged.bytes)).map(|()| 0);
    }
    let remote = remote(args.insecure, &args.names)?;
    let value = if let (Some(merged), None) = (&local, list) {
        Value::Array(verbose_list(&remote, image, &merged.bytes)?)
    } else {
        let examined = remote.settled(remote.registries.examine(image).map_err(Failure::from))?;
        if !args.verbose {
            return output::bytes(&indented(&examined.bytes)).map(|()| 0);
        }
        match examined.listed {
            Some(_) => Value::Array(verbose_list(&remote, image, &examined.bytes)?),
            None => verbose(&examined, &examined.descriptor),
        }
    };
    output::bytes(&indented(value.to_string().as_bytes()))?;
    Ok(0)
}

/// Returns what `-v` shows of an index: one object for each of its images.
fn verbose_list(remote: &Remote, name: &Reference, index: &[u8]) -> Result<Vec<Value>, Failure> {
    let index: stave_oci::Index = serde_json::from_slice(index).map_err(|error| Failure::environment(&error))?;
    let mut all = Vec::new();
    for entry in &index.manifests {
        let of = Reference { tag: None, digest: Some(entry.digest), ..name.clone() };
        let examined = remote.settled(remote.registries.examine(&of).map_err(Failure::from))?;
        all.push(verbose(&examined, entry));
    }
    Ok(all)
}

fn verbose(examined: &Examined, descriptor: &Descriptor) -> Value {
    let document: Value = serde_json::from_slice(&examined.bytes).unwrap_or_default();
    let key = if examined.descriptor.media_type.contains("vnd.docker.") { "SchemaV2Manifest" } else { "OCIManifest" };
    json!({ "Ref": examined.name.to_string(), "Descriptor": descriptor, key: document })
}

/// Returns JSON indented as Docker does it here.
fn indented(bytes: &[u8]) -> Vec<u8> {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return bytes.to_vec() };
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"\t"));
    value.serialize(&mut serializer).expect("a value is serialized to memory");
    text.push(b'\n');
    text
}

fn push(lists: &ManifestLists, args: &ListPushArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let merged = lists.find(&args.list)?.ok_or_else(|| {
        Failure::failed(format!("there is no manifest list `{}` here", args.list))
            .with_hint("Make one with `stave manifest create`.")
    })?;
    let remote = remote(args.insecure, [&args.list])?;
    let display = context.display(false);
    let pushed = remote.registries.publish(&merged, &args.list, &|event| display.report(event));
    display.finish();
    remote.settled(pushed.map_err(Failure::from))?;
    if args.purge {
        lists.remove(&args.list)?;
    }
    output::text(&format!("{}\n", merged.descriptor.digest))?;
    Ok(0)
}

fn remove(lists: &ManifestLists, args: &ListRmArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let mut code = 0;
    for list in &args.lists {
        if !lists.remove(list)? {
            let failure = Failure::failed(format!("there is no manifest list `{list}` here"));
            crate::print_error(&failure.render(context.style));
            code = failure.code;
        }
    }
    Ok(code)
}
