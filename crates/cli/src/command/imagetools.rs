//! `imagetools create` and `imagetools inspect`, in buildx's words.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use stave_engine::{Examined, ImageSource, MergeRequest, Merged, manifest_value};
use stave_oci::{Descriptor, Reference};

use super::Context;
use crate::args::{ExamineArgs, ImagetoolsCommand, MergeArgs, SourceArg, TargetArg};
use crate::failure::Failure;
use crate::host::Remote;
use crate::output;
use crate::progress::Display;
use crate::template::Template;

pub(super) fn imagetools(command: ImagetoolsCommand, context: &Context<'_>) -> Result<u8, Failure> {
    match command {
        ImagetoolsCommand::Create(args) => create(args, context),
        ImagetoolsCommand::Inspect(args) => inspect(&args),
    }
}

fn create(args: MergeArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let mut sources = Vec::new();
    for path in &args.files {
        sources.extend(from_file(path)?);
    }
    sources.extend(args.sources.into_iter().flat_map(|source| source.0));
    if args.tags.is_empty() && !args.dry_run {
        return Err(Failure::usage("the result has no name").with_hint("Give it one with `--tag`."));
    }
    if sources.is_empty() && !args.append {
        return Err(Failure::usage("there is nothing to merge").with_hint("Name at least one image."));
    }
    let (mut targets, mut places) = (Vec::new(), Vec::new());
    for tag in args.tags {
        match tag {
            TargetArg::Name(name) => targets.push(name),
            TargetArg::Place(place) => places.push(place),
        }
    }
    if let Some(tag) = targets.iter().find(|tag| tag.digest.is_some()) {
        return Err(Failure::usage(format!("`{tag}` has a digest, which cannot be given to an index")));
    }
    let request = MergeRequest {
        sources,
        targets,
        append: args.append,
        remarks: args.annotations.into_iter().flat_map(|remark| remark.0).collect(),
        platforms: args.platforms,
        prefer_index: args.prefer_index,
        best_for: None,
    };
    let remote = Remote::open()?;
    let display = Display::start(args.progress, context.style);
    let report = |event| display.report(event);
    let merged = remote.registries.merge(&request, &report).and_then(|merged| {
        if !args.dry_run {
            request.targets.iter().try_for_each(|target| remote.registries.publish(&merged, target, &report))?;
            places.iter().try_for_each(|place| remote.registries.write(&merged, place, &report))?;
        }
        Ok(merged)
    });
    display.finish();
    let merged = remote.settled(merged.map_err(Failure::from))?;
    if let Some(path) = &args.metadata_file {
        let text = metadata(&merged, &request.targets);
        fs::write(path, text).map_err(|error| cannot("write", path, &error))?;
    }
    if args.dry_run {
        return output::text(&format!("{}\n", String::from_utf8_lossy(&merged.bytes))).map(|()| 0);
    }
    let digest = merged.descriptor.digest;
    let mut lines: Vec<String> = request.targets.iter().map(|tag| format!("{tag}@{digest}")).collect();
    if lines.is_empty() {
        lines.push(digest.to_string());
    }
    output::lines(&lines)?;
    Ok(0)
}

/// Reads what to merge from a file.
fn from_file(path: &Path) -> Result<Vec<ImageSource>, Failure> {
    let text = fs::read_to_string(path).map_err(|error| cannot("read", path, &error))?;
    let source: SourceArg = text
        .parse()
        .map_err(|problem: String| Failure::usage(format!("cannot use `{}` as a source: {problem}", path.display())))?;
    Ok(source.0)
}

fn cannot(action: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::of_file(action, path, error)
}

/// Returns the content of `--metadata-file`.
fn metadata(merged: &Merged, targets: &[Reference]) -> String {
    let names: Vec<String> = targets.iter().map(Reference::to_string).collect();
    let value = json!({
        "containerimage.descriptor": merged.descriptor,
        "containerimage.digest": merged.descriptor.digest,
        "image.name": names.join(","),
    });
    serde_json::to_string_pretty(&value).expect("a value is text")
}

fn inspect(args: &ExamineArgs) -> Result<u8, Failure> {
    let template = args.format.as_deref().map(Template::parse).transpose()?;
    let remote = Remote::open()?;
    let examined = remote.settled(remote.registries.examine_typed(&args.name).map_err(Failure::from))?;
    if args.raw {
        return output::bytes(&examined.bytes).map(|()| 0);
    }
    let Some(template) = template else { return output::text(&described(&examined)).map(|()| 0) };
    let value = remote.settled(value(&remote, &examined, args.format.as_deref().unwrap_or_default()))?;
    let text = template.render(&value).or_else(|_| {
        // An error names every field that there is, be it fetched or not.
        let mut all = value.clone();
        for field in ["image", "Provenance", "SBOM"] {
            if all.get(field).is_none() {
                all[field] = Value::Null;
            }
        }
        template.render(&all)
    });
    output::text(&format!("{}\n", text?))?;
    Ok(0)
}

/// Returns what a template sees. Only what it names is fetched.
fn value(remote: &Remote, examined: &Examined, template: &str) -> Result<Value, Failure> {
    let whole = ["json .}", "json . ", "{{.}", "{{ . }"].iter().any(|text| template.contains(text));
    let wants = |name: &str| template.contains(name);
    // The keys are what buildx's `{{json .}}` has; what is attested is no part of that.
    let mut value = json!({ "name": examined.name.to_string(), "manifest": manifest_value(examined) });
    if whole || wants("Image") || wants(".image") {
        value["image"] = remote.registries.configs(examined)?;
    }
    if wants("Provenance") || wants("SBOM") {
        let (provenance, sbom) = remote.registries.attestations(examined)?;
        (value["Provenance"], value["SBOM"]) = (provenance, sbom);
    }
    Ok(value)
}

/// Returns the text that is shown without a template.
fn described(examined: &Examined) -> String {
    let Descriptor { media_type, digest, .. } = &examined.descriptor;
    let mut lines = vec![
        format!("Name:      {}", examined.name),
        format!("MediaType: {media_type}"),
        format!("Digest:    {digest}"),
    ];
    if let Some(listed) = &examined.listed {
        lines.extend([" ".repeat(11), "Manifests: ".to_owned()]);
        for (number, entry) in listed.iter().enumerate() {
            if number > 0 {
                lines.push(" ".repeat(13));
            }
            lines.extend(entry_lines(&examined.name, entry));
        }
    }
    lines.iter().map(|line| crate::render::printable(line) + "\n").collect()
}

fn entry_lines(name: &Reference, entry: &Descriptor) -> Vec<String> {
    let of = Reference { tag: None, digest: Some(entry.digest), ..name.clone() };
    let mut fields = vec![("Name:", of.to_string()), ("MediaType:", entry.media_type.clone())];
    if let Some(platform) = &entry.platform {
        fields.push(("Platform:", platform.to_string()));
        fields.extend(platform.os_version.iter().map(|version| ("OSVersion:", version.clone())));
    }
    if !entry.artifact_type.is_empty() {
        fields.push(("ArtifactType:", entry.artifact_type.clone()));
    }
    if !entry.urls.is_empty() {
        fields.push(("URLs:", entry.urls.join(", ")));
    }
    if !entry.annotations.is_empty() {
        fields.push(("Annotations:", String::new()));
    }
    let width = fields.iter().map(|(label, _)| label.len()).max().unwrap_or_default() + 1;
    let mut lines: Vec<String> = fields.iter().map(|(label, text)| format!("  {label:<width$}{text}")).collect();
    let width = entry.annotations.keys().map(String::len).max().unwrap_or_default() + 2;
    lines.extend(entry.annotations.iter().map(|(key, text)| format!("    {:<width$}{text}", format!("{key}:"))));
    lines
}
