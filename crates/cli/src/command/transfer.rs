//! `pull`, `push`, `save`, `load`.

use std::fs::{self, File};
use std::io::{IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};

use stave_engine::{ImagePlace, Loaded};
use stave_oci::reference::ReferenceError;
use stave_oci::{Descriptor, Reference};

use super::build::{Surroundings, daemon};
use super::{Context, settled};
use crate::args::{LoadArgs, PullArgs, PushArgs, SaveArgs};
use crate::failure::Failure;
use crate::host::{Host, Processes, raw_variable};
use crate::output;

/// Where an image comes from or goes to.
enum End {
    /// The registry of a name.
    Registry(Reference),
    /// A place on this machine.
    Here(ImagePlace),
}

impl End {
    fn parse(text: &str) -> Result<Self, Failure> {
        match ImagePlace::parse(text)? {
            Some(place) => Ok(Self::Here(place)),
            None => registry_name(text).map(Self::Registry),
        }
    }
}

/// Reads an image's name, which may say that it is one of a registry.
pub(super) fn registry_name(text: &str) -> Result<Reference, Failure> {
    without_transport(text).parse().map_err(|error: ReferenceError| Failure::usage(error.to_string()))
}

/// Returns an image's name without the word that it is one of a registry.
fn without_transport(text: &str) -> &str {
    text.strip_prefix("docker://").unwrap_or(text)
}

/// Returns where the daemon listens that `place` is about, if it is about one that there is.
fn daemon_of(place: &ImagePlace) -> Result<Option<PathBuf>, Failure> {
    match place {
        ImagePlace::Daemon(_) => daemon::socket(None, &Surroundings::new(&raw_variable)),
        _ => Ok(None),
    }
}

pub(super) fn pull(args: &PullArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let image = match End::parse(&args.image)? {
        End::Registry(name) => name,
        End::Here(place) => return pull_from_place(&place, args, context),
    };
    refuse_one_of_all(args.all_tags, &image)?;
    let host = context.host(Processes::Some)?;
    // As it was typed: a short name may mean several registries.
    let typed = without_transport(&args.image);
    let names: Vec<String> = if args.all_tags {
        let tags = settled(&host, host.engine.tags_there(typed).map_err(Failure::from))?;
        tags.iter().map(ToString::to_string).collect()
    } else {
        vec![typed.to_owned()]
    };
    for name in &names {
        let pulled = pull_one(&host, name, args, context)?;
        if !args.all_tags {
            output::text(&format!("{pulled}\n"))?;
        } else if names.last() == Some(name) {
            // Of all images of a repository, its own name is the last word.
            output::text(&format!("{}\n", pulled.name()))?;
        }
    }
    if names.is_empty() {
        return Err(Failure::failed(format!("the registry has no tag of `{}`", image.familiar_name())));
    }
    Ok(0)
}

fn pull_one(host: &Host, name: &str, args: &PullArgs, context: &Context<'_>) -> Result<Reference, Failure> {
    let display = context.display(args.quiet);
    let pulled = host.engine.pull(name, args.platform.as_ref(), &|event| display.report(event));
    display.finish();
    let pulled = settled(host, pulled.map_err(Failure::from))?;
    let mut lines = Vec::new();
    if !args.quiet {
        let status = if pulled.fresh { "Downloaded newer image for" } else { "Image is up to date for" };
        lines.push(format!("Digest: {}", pulled.digest));
        lines.push(format!("Status: {status} {}", familiar(&pulled.name)));
    }
    output::lines(&lines)?;
    Ok(pulled.name)
}

/// Prints the names that the images have from there, or their ids.
fn pull_from_place(place: &ImagePlace, args: &PullArgs, context: &Context<'_>) -> Result<u8, Failure> {
    if args.all_tags {
        return Err(Failure::usage(format!("`--all-tags` is for registries, and `{}` is none", args.image)));
    }
    let socket = daemon_of(place)?;
    let host = context.host(Processes::Some)?;
    let display = context.display(args.quiet);
    let from = (args.platform.as_ref(), socket.as_deref());
    let pulled = host.engine.pull_from_place(place, from, &|event| display.report(event));
    display.finish();
    let mut lines = Vec::new();
    for image in settled(&host, pulled.map_err(Failure::from))? {
        lines.extend(image.names.iter().map(ToString::to_string));
        if image.names.is_empty() {
            lines.push(id_of(&image));
        }
    }
    output::lines(&lines).map(|()| 0)
}

/// Returns what an image without a name is called here: an index by its own digest, for all its platforms.
fn id_of(image: &Loaded) -> String {
    image.index.map_or_else(|| image.id.to_string(), |index| index.to_string())
}

/// All images of a repository are not one of them.
fn refuse_one_of_all(all: bool, name: &Reference) -> Result<(), Failure> {
    if all && (name.tag.is_some() || name.digest.is_some()) {
        return Err(Failure::usage("`--all-tags` and a name with a tag or a digest cannot be used together")
            .with_hint(&format!("Name the repository alone: `{}`.", name.familiar_name())));
    }
    Ok(())
}

fn familiar(name: &Reference) -> String {
    match (name.effective_tag(), name.digest) {
        (Some(tag), _) => format!("{}:{tag}", name.familiar_name()),
        (None, Some(digest)) => format!("{}@{digest}", name.familiar_name()),
        (None, None) => name.familiar_name(),
    }
}

pub(super) fn push(args: &PushArgs, context: &Context<'_>) -> Result<u8, Failure> {
    if let Some(destination) = &args.destination {
        return push_elsewhere(args, destination, context);
    }
    let image = registry_name(&args.image)?;
    refuse_one_of_all(args.all_tags, &image)?;
    let host = context.host(Processes::Some)?;
    let names = if args.all_tags { host.engine.tags_here(&image)? } else { vec![image.clone()] };
    if !args.quiet && !names.is_empty() {
        output::text(&format!("The push refers to repository [{}]\n", image.name()))?;
    }
    for name in &names {
        let pushed = push_one(&host, (&name.to_string(), name), args, context)?;
        let tag = name.effective_tag().unwrap_or_default();
        if !(args.all_tags && args.quiet) {
            told(args, &name.to_string(), tag, &pushed)?;
        }
    }
    if args.all_tags && args.quiet && !names.is_empty() {
        output::text(&format!("{}\n", image.name()))?;
    }
    if names.is_empty() {
        return Err(Failure::failed(format!("no image here has a tag of `{}`", image.familiar_name()))
            .with_hint("See `stave images` for those that there are."));
    }
    Ok(0)
}

fn push_one(
    host: &Host,
    what: (&str, &Reference),
    args: &PushArgs,
    context: &Context<'_>,
) -> Result<Descriptor, Failure> {
    let display = context.display(args.quiet);
    let pushed = host.engine.push(what, args.platform.as_ref(), &|event| display.report(event));
    display.finish();
    settled(host, pushed.map_err(Failure::from))
}

/// Sends an image to where a destination says, which is not its own name.
fn push_elsewhere(args: &PushArgs, destination: &str, context: &Context<'_>) -> Result<u8, Failure> {
    let end = End::parse(destination)?;
    let socket = match &end {
        End::Registry(_) => None,
        End::Here(place) => daemon_of(place)?,
    };
    let host = context.host(Processes::Some)?;
    let pushed = match &end {
        End::Registry(name) => push_one(&host, (&args.image, name), args, context)?,
        End::Here(place) => {
            let display = context.display(args.quiet);
            let how = (args.platform.as_ref(), socket.as_deref());
            let pushed = host.engine.push_to_place(&args.image, place, how, &|event| display.report(event));
            display.finish();
            settled(&host, pushed.map_err(Failure::from))?
        }
    };
    told(args, destination, destination, &pushed).map(|()| 0)
}

/// Says what was pushed: `full` alone with `--quiet`, else `short` and the digest.
fn told(args: &PushArgs, full: &str, short: &str, pushed: &Descriptor) -> Result<(), Failure> {
    if let Some(path) = &args.digest_file {
        write_digest(path, pushed)?;
    }
    if args.quiet {
        return output::text(&format!("{full}\n"));
    }
    output::text(&format!("{short}: digest: {} size: {}\n", pushed.digest, pushed.size))
}

/// Writes the digest of what was pushed into a file.
pub(super) fn write_digest(path: &Path, pushed: &Descriptor) -> Result<(), Failure> {
    let mut file = NewFile::create(path)?;
    write!(file.file, "{}", pushed.digest).map_err(|error| Failure::of_file("write", path, &error))?;
    file.keep()
}

pub(super) fn save(args: &SaveArgs, context: &Context<'_>) -> Result<u8, Failure> {
    if args.output.is_none() {
        output::refuse_terminal("an archive")?;
    }
    let host = context.host(Processes::Some)?;
    let display = context.display(false);
    let images = (args.images.as_slice(), args.platform.as_ref());
    let report = |event| display.report(event);
    let result = match &args.output {
        None => host.engine.save(images, &mut crate::output::Stdout, &report).map_err(Failure::from),
        Some(path) => NewFile::create(path).and_then(|mut file| {
            host.engine.save(images, &mut file.file, &report)?;
            file.keep()
        }),
    };
    display.finish();
    settled(&host, result).map(|()| 0)
}

/// A file that takes its name only when it is complete. What is not a regular file is written in place.
pub(super) struct NewFile {
    pub(super) file: File,
    path: PathBuf,
    temporary: Option<PathBuf>,
}

impl NewFile {
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| Failure::of_file("create", path, &error);
        // `/dev/stdout` may be a regular file, and a link to one must stay a link.
        let in_place = fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file());
        if in_place {
            let file = File::options().write(true).truncate(true).open(path).map_err(cannot)?;
            return Ok(Self { file, path: path.to_owned(), temporary: None });
        }
        let mut name =
            path.file_name().ok_or_else(|| Failure::usage(format!("`{}` names no file", path.display())))?.to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        let file = File::options().write(true).create_new(true).open(&temporary).map_err(cannot)?;
        Ok(Self { file, path: path.to_owned(), temporary: Some(temporary) })
    }

    pub(super) fn keep(mut self) -> Result<(), Failure> {
        let path = &self.path;
        let cannot = |error: std::io::Error| Failure::of_file("write", path, &error);
        self.file.flush().map_err(cannot)?;
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, path).map_err(cannot)?;
            self.temporary = None;
        }
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // What failed is told already; that this file stays is the lesser news.
            drop(fs::remove_file(temporary));
        }
    }
}

pub(super) fn load(args: &LoadArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let input: Box<dyn Read + Send> = match &args.input {
        Some(path) if path.is_dir() => {
            let path = path.display();
            return Err(Failure::usage(format!("`{path}` is a directory, expected an archive"))
                .with_hint(&format!("If it is an OCI layout, `stave pull oci:{path}` takes its image.")));
        }
        Some(path) => Box::new(File::open(path).map_err(|error| Failure::of_file("open", path, &error))?),
        None if std::io::stdin().is_terminal() => {
            return Err(Failure::usage("standard input is a terminal, expected an archive")
                .with_hint("Name the archive with `-i`."));
        }
        None => Box::new(std::io::stdin()),
    };
    let host = context.host(Processes::Some)?;
    let display = context.display(args.quiet);
    let loaded = host.engine.load(input, args.platform.as_ref(), &|event| display.report(event));
    display.finish();
    let mut lines = Vec::new();
    for image in settled(&host, loaded.map_err(Failure::from))? {
        lines.extend(image.names.iter().map(|name| format!("Loaded image: {}", familiar(name))));
        if image.names.is_empty() {
            lines.push(format!("Loaded image ID: {}", id_of(&image)));
        }
    }
    output::lines(&lines)?;
    Ok(0)
}
