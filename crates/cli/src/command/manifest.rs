//! `manifest`: `create`, `annotate`, `inspect`, `push` and `rm` in Docker's words, and what Buildah has beside them.

use base64::Engine as _;
use serde::Serialize as _;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Value, json};
use stave_engine::{
    Artifact, ArtifactRequest, EntryRemark, Examined, ImagePlace, ImageSource, ManifestLists, MergeRequest, Merged,
    PlatformRemark,
};
use stave_oci::{BlobDigest, Descriptor, Platform, Reference};

use super::Context;
use crate::args::{
    AnnotateArgs, ArtifactArgs, ListAddArgs, ListCreateArgs, ListInspectArgs, ListPushArgs, ListRemoveArgs, ListRmArgs,
    ManifestCommand, PlatformArgs, TargetArg, TypedName,
};
use crate::failure::Failure;
use crate::host::{self, Remote};
use crate::output;

pub(super) fn manifest(command: ManifestCommand, context: &Context<'_>) -> Result<u8, Failure> {
    let lists = lists()?;
    match command {
        ManifestCommand::Create(args) => create(&lists, args, context),
        ManifestCommand::Add(args) => add(&lists, *args, context),
        ManifestCommand::Annotate(args) => annotate(&lists, *args),
        ManifestCommand::Exists(args) => Ok(u8::from(lists.find(&args.list)?.is_none())),
        ManifestCommand::Inspect(args) => inspect(&lists, &args),
        ManifestCommand::Push(args) => push(&lists, &args, context),
        ManifestCommand::Remove(args) => remove_entries(&lists, &args),
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
    let ListCreateArgs { amend, insecure, list, images, _all: _ } = args;
    if !amend && lists.find(&list)?.is_some() {
        return Err(Failure::failed(format!("there is a manifest list `{list}` already"))
            .with_hint("Add to it with `--amend`, or take it away with `stave manifest rm`."));
    }
    let merged = if images.is_empty() {
        Merged::empty()
    } else {
        let remote = remote(insecure, images.iter().map(|image| &image.name).chain([&list]))?;
        let sources = images.into_iter().map(|image| ImageSource::Typed(image.typed)).collect();
        merge(&remote, sources, None, context)?
    };
    if amend {
        lists.add(&list, (merged, &EntryRemark::default()), true)?;
    } else {
        lists.create(&list, &merged)?;
    }
    output::text(&format!("Created manifest list {list}\n"))?;
    Ok(0)
}

/// Makes an index of images; of an index among them, of the one image that is best for `only`, or of all.
fn merge(
    remote: &Remote,
    sources: Vec<ImageSource>,
    only: Option<Platform>,
    context: &Context<'_>,
) -> Result<Merged, Failure> {
    let request = MergeRequest { sources, best_for: only, prefer_index: true, ..MergeRequest::default() };
    let display = context.display(false);
    let merged = remote.registries.merge(&request, &|event| display.report(event));
    display.finish();
    remote.settled(merged.map_err(Failure::from))
}

fn no_list(list: &Reference) -> Failure {
    Failure::failed(format!("there is no manifest list `{list}` here"))
        .with_hint("Make one with `stave manifest create`.")
}

/// Adds images or an artifact, and prints the digests of what was added.
fn add(lists: &ManifestLists, args: ListAddArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let ListAddArgs { all, annotation, artifact, about, insecure, platform, list, what } = args;
    lists.find(&list)?.ok_or_else(|| no_list(&list))?;
    if artifact {
        let new = Merged::of_artifact(self::artifact(about, annotation, what, insecure)?);
        let added = new.images();
        lists.add(&list, (new, &EntryRemark::default()), false)?;
        return print(&added).map(|()| 0);
    }
    let parse = |text: &String| text.parse::<TypedName>().map_err(|error| Failure::usage(error.to_string()));
    let images = what.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let remote = remote(insecure, images.iter().map(|image| &image.name).chain([&list]))?;
    let remark = EntryRemark { platform: said(platform), annotations: annotation };
    for image in images {
        let examined = remote.settled(remote.registries.examine_typed(&image.typed).map_err(Failure::from))?;
        let only = if !all && examined.listed.is_some() { Some(wanted(&remark.platform)?) } else { None };
        let new = merge(&remote, vec![ImageSource::Name(examined.name)], only, context)?;
        let added = new.images();
        lists.add(&list, (new, &remark), false)?;
        print(&added)?;
    }
    Ok(0)
}

fn print(digests: &[BlobDigest]) -> Result<(), Failure> {
    output::lines(&digests.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// Returns the platform that is taken from an index.
fn wanted(remark: &PlatformRemark) -> Result<Platform, Failure> {
    let Some(architecture) = &remark.architecture else { return Ok(Platform::host()) };
    let os = remark.os.as_deref().unwrap_or("linux");
    let parts = [Some(os), Some(architecture), remark.variant.as_deref()];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join("/");
    text.parse().map_err(|error: stave_oci::platform::PlatformError| Failure::usage(error.to_string()))
}

fn said(args: PlatformArgs) -> PlatformRemark {
    let PlatformArgs { arch, os, os_features, os_version, variant } = args;
    PlatformRemark { architecture: arch, os, os_features, os_version, variant }
}

fn artifact(
    about: ArtifactArgs,
    annotations: Vec<(String, String)>,
    files: Vec<String>,
    insecure: bool,
) -> Result<Artifact, Failure> {
    let subject = about.subject.map(|name| subject(&name, insecure)).transpose()?;
    let request = ArtifactRequest {
        files: files.into_iter().map(Into::into).collect(),
        kind: about.kind,
        file_type: about.file_type,
        config: about.config,
        config_type: about.config_type,
        without_titles: about.without_titles,
        subject,
        annotations,
    };
    Ok(Artifact::new(&request)?)
}

/// Returns what names an image, as a registry has it.
fn subject(name: &Reference, insecure: bool) -> Result<Descriptor, Failure> {
    let remote = remote(insecure, [name])?;
    Ok(remote.settled(remote.registries.examine(name).map_err(Failure::from))?.descriptor)
}

fn annotate(lists: &ManifestLists, args: AnnotateArgs) -> Result<u8, Failure> {
    let AnnotateArgs { annotation, index: _, subject, insecure, platform, list, image } = args;
    if let Some(image) = image {
        let remark = EntryRemark { platform: said(platform), annotations: annotation };
        lists.annotate(&list, &image, &remark)?;
    } else {
        let subject = subject.map(|name| self::subject(&name, insecure)).transpose()?;
        lists.annotate_list(&list, &annotation, subject.as_ref())?;
    }
    Ok(0)
}

fn remove_entries(lists: &ManifestLists, args: &ListRemoveArgs) -> Result<u8, Failure> {
    let mut removed = Vec::new();
    for image in &args.images {
        removed.push(lists.remove_entry(&args.list, image)?);
    }
    print(&removed).map(|()| 0)
}

fn inspect(lists: &ManifestLists, args: &ListInspectArgs) -> Result<u8, Failure> {
    let (list, image) = match args.names.as_slice() {
        [list, image] => (Some(list), image),
        [image, ..] => (None, image),
        [] => return Err(Failure::usage("the image's name is missing")),
    };
    let local = lists.find(&list.unwrap_or(image).name)?;
    if let (None, Some(list)) = (&local, list) {
        return Err(Failure::failed(format!("there is no manifest list `{}` here", list.name)));
    }
    if let (Some(merged), None, false) = (&local, list, args.verbose) {
        return output::bytes(&indented(&merged.bytes)).map(|()| 0);
    }
    let remote = remote(args.insecure, args.names.iter().map(|name| &name.name))?;
    let value = if let (Some(merged), None) = (&local, list) {
        Value::Array(verbose_list(&remote, &image.name, (&merged.bytes, Some(merged)))?)
    } else {
        let examined = remote.settled(remote.registries.examine_typed(&image.typed).map_err(Failure::from))?;
        if !args.verbose {
            return output::bytes(&indented(&examined.bytes)).map(|()| 0);
        }
        match examined.listed {
            Some(_) => Value::Array(verbose_list(&remote, &examined.name, (&examined.bytes, None))?),
            None => verbose(&examined, &with_platform(&remote, &examined)?),
        }
    };
    output::bytes(&indented(value.to_string().as_bytes()))?;
    Ok(0)
}

/// Returns what `-v` shows of an index: one object for each of its images.
fn verbose_list(
    remote: &Remote,
    name: &Reference,
    (index, here): (&[u8], Option<&Merged>),
) -> Result<Vec<Value>, Failure> {
    let index: stave_oci::Index = serde_json::from_slice(index).map_err(|error| Failure::environment(&error))?;
    let mut all = Vec::new();
    for entry in &index.manifests {
        let of = Reference { tag: None, digest: Some(entry.digest), ..name.clone() };
        if let Some(manifest) = here.and_then(|here| here.artifact(&entry.digest)) {
            let document: Value = serde_json::from_str(manifest).unwrap_or_default();
            all.push(json!({ "Ref": of.to_string(), "Descriptor": entry, "OCIManifest": document }));
            continue;
        }
        let examined = remote.settled(remote.registries.examine(&of).map_err(Failure::from))?;
        all.push(verbose(&examined, entry));
    }
    Ok(all)
}

/// Returns the descriptor of an image with the platform that its configuration says, as docker shows it.
fn with_platform(remote: &Remote, examined: &Examined) -> Result<Descriptor, Failure> {
    let mut descriptor = examined.descriptor.clone();
    let config = remote.settled(remote.registries.configs(examined).map_err(Failure::from))?;
    descriptor.platform = serde_json::from_value(config).ok();
    Ok(descriptor)
}

fn verbose(examined: &Examined, descriptor: &Descriptor) -> Value {
    let document: Value = serde_json::from_slice(&examined.bytes).unwrap_or_default();
    let key = if examined.descriptor.media_type.contains("vnd.docker.") { "SchemaV2Manifest" } else { "OCIManifest" };
    let raw = base64::engine::general_purpose::STANDARD.encode(&examined.bytes);
    json!({ "Ref": examined.name.to_string(), "Descriptor": descriptor, "Raw": raw, key: document })
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
    let merged = lists.find(&args.list)?.ok_or_else(|| no_list(&args.list))?;
    let target = match &args.destination {
        None => TargetArg::Name(args.list.clone()),
        Some(text) => match ImagePlace::parse(text)? {
            Some(place) => TargetArg::Place(place),
            None => TargetArg::Name(super::transfer::registry_name(text)?),
        },
    };
    let named = if let TargetArg::Name(name) = &target { name } else { &args.list };
    let remote = remote(args.insecure, merged.homes().chain([&args.list, named]))?;
    let display = context.display(args.quiet);
    let report = |event| display.report(event);
    let pushed = match &target {
        TargetArg::Name(name) => remote.registries.publish(&merged, name, &report),
        TargetArg::Place(place) => remote.registries.write(&merged, place, &report),
    };
    display.finish();
    remote.settled(pushed.map_err(Failure::from))?;
    if let Some(path) = &args.digest_file {
        super::transfer::write_digest(path, &merged.descriptor)?;
    }
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
