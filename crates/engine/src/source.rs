//! Opens what a build is made from: the Dockerfile's text, the contexts, their ignore files and the memory of their digests.
//!
//! It turns paths, streams and addresses of the user into open directories and a text. Nothing in the context is followed out of it.
//! `dockerfile` reads the text, `several` says which of several is meant, `ignore` what is left out.

mod dockerfile;
mod ignore;
mod several;

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use stave_dockerfile::plan::{BaseRequest, Ignored, NamedContext, PlanOptions, context_name};
use stave_explain::Rule;
use stave_fetch::git::head_time;
use stave_graph::{ContextId, GitSource};
use stave_oci::digest::hex;
use stave_oci::{BlobDigest, Hasher};
use stave_store::{Lease, WorkDir};
use stave_tree::limits::TEXT_BYTES_MAX;
use stave_tree::{Context, Dir, HashMemory, PathError, Time};

use crate::attest::Origin;
use crate::base::KnownBase;
use crate::build::Report;
use crate::confined;
use crate::engine::{Engine, open_user_dir};
use crate::error::EngineError;
use crate::named_epoch::youngest_file;
use crate::remote::{RemoteFile, Wanted, shown};
use crate::request::{
    ContextSource, DockerfileSource, FileReading, Grants, LayoutSource, NamedContextSource, PullPolicy,
};
use crate::rules::Meant;
use dockerfile::{TextFile, read_text};
use ignore::{given_rules, read_ignore};

/// The Dockerfile and the contexts of one build.
pub(crate) struct Source {
    /// What the user calls the Dockerfile.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
    /// What is left out of the build context.
    pub(crate) ignored: Option<Ignored>,
    /// What names stand for.
    pub(crate) named: Named,
    /// When the commit was made that the build context is, in seconds since 1970.
    pub(crate) commit: Option<i64>,
    /// What `SOURCE_DATE_EPOCH=context` means.
    context_time: ContextTime,
    /// Where the build context came from.
    pub(crate) origin: Origin,
    /// The build context, and after it the named directories.
    files: Vec<Files>,
}

/// Where the time of a context is, in seconds since 1970.
enum ContextTime {
    /// Nowhere.
    None,
    /// Here.
    At(i64),
    /// In the youngest of the files that came out of an archive, which are here.
    InFiles(Dir),
}

/// What the names stand for that the caller gives.
#[derive(Default)]
pub(crate) struct Named {
    /// As the plan knows them, by the name that it looks for.
    pub(crate) contexts: BTreeMap<String, NamedContext>,
    /// The OCI layouts among them, by what takes the place of an image's name.
    layouts: BTreeMap<String, LayoutSource>,
}

impl Named {
    /// Finds a base: in the layout that the caller gave its name, else where images are.
    pub(crate) fn find_base(
        &self,
        engine: &Engine,
        lease: &Lease,
        request: &BaseRequest,
        pull: PullPolicy,
        events: Report<'_>,
    ) -> Result<KnownBase, EngineError> {
        match self.layouts.get(&request.reference) {
            Some(layout) => engine.layout_base(lease, layout, &request.platform, events),
            None => engine.find_base(lease, request, pull, events),
        }
    }
}

impl Named {
    /// Finds the image that is meant by a base's name.
    pub(crate) fn find_meant(
        &self,
        engine: &Engine,
        lease: &Lease,
        (request, image): (&BaseRequest, Meant),
        pull: PullPolicy,
        events: Report<'_>,
    ) -> Result<KnownBase, EngineError> {
        let so = |reference: String| BaseRequest { reference, platform: request.platform.clone() };
        match image {
            // What has this digest cannot be another one by now.
            Meant::Digest(name) if pull == PullPolicy::Always => {
                self.find_base(engine, lease, &so(name), PullPolicy::Missing, events)
            }
            Meant::Name(name) | Meant::Digest(name) => self.find_base(engine, lease, &so(name), pull, events),
            Meant::Stored(id) => engine.stored_base(lease, &id),
        }
    }
}

/// The files of one context.
struct Files {
    context: Context,
    /// Where the memory of the files' digests is saved.
    memory_name: Option<Vec<u8>>,
    /// What the user calls the ignore file.
    ignored_by: Option<String>,
    /// Where an archive or a repository was unpacked; deleted with this.
    _unpacked: Option<WorkDir>,
}

/// A context before its ignore file is read.
struct Opened {
    root: Dir,
    /// The directory as the user gave it; none for what was unpacked.
    path: Option<PathBuf>,
    unpacked: Option<WorkDir>,
    /// When the commit was made that it is a checkout of, if that is where it comes from.
    commit: Option<i64>,
    /// When it was changed last, if it is a file on the network and its server says so.
    modified: Option<i64>,
    /// Whether it was an archive, whose owners count.
    is_archive: bool,
    /// The text and its name, where what should be the context was a Dockerfile.
    text: Option<(String, Vec<u8>)>,
}

/// What of a request says where a build comes from.
pub(crate) struct Given {
    pub(crate) context: ContextSource,
    pub(crate) contexts: BTreeMap<String, NamedContextSource>,
    pub(crate) dockerfile: DockerfileSource,
    pub(crate) reading: FileReading,
    /// The stage that is wanted, if one is named.
    pub(crate) target: Option<String>,
}

impl Given {
    /// Puts together what a request says. The build arguments of `options` may say how a context is fetched.
    ///
    /// Reference: the Dockerfile reference, "BuildKit built-in build args", `BUILDKIT_CONTEXT_KEEP_GIT_DIR`.
    pub(crate) fn new(
        mut context: ContextSource,
        contexts: BTreeMap<String, NamedContextSource>,
        (dockerfile, reading): (DockerfileSource, FileReading),
        options: &PlanOptions,
    ) -> Self {
        let keep = options.build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR").map(String::as_str);
        if let ContextSource::Git(source) = &mut context {
            source.keep_git_dir |= matches!(keep, Some("1" | "t" | "T" | "true" | "TRUE" | "True"));
        }
        Self { context, contexts, dockerfile, reading, target: options.target.clone() }
    }
}

/// With what contexts on the network are fetched.
#[derive(Clone, Copy)]
struct Fetching<'a> {
    engine: &'a Engine,
    lease: &'a Lease,
    grants: &'a Grants,
    events: Report<'a>,
}

impl Source {
    /// Opens the contexts and reads the Dockerfile.
    pub(crate) fn open(
        engine: &Engine,
        lease: &Lease,
        given: Given,
        (grants, events): (&Grants, Report<'_>),
    ) -> Result<Self, EngineError> {
        let fetching = Fetching { engine, lease, grants, events };
        let mut origin = Origin::Local;
        let mut opened = match given.context {
            ContextSource::Directory(path) => Opened {
                root: open_context_dir(&path)?,
                path: Some(path),
                unpacked: None,
                commit: None,
                modified: None,
                is_archive: false,
                text: None,
            },
            ContextSource::Stream(stream) => open_stream(engine, lease, stream, "-")?,
            ContextSource::Git(source) => {
                let (opened, commit) = fetching.repository(&source)?;
                let reference = source.reference.as_ref().map_or(String::new(), |name| format!("#{name}"));
                origin = Origin::Git { url: format!("{}{reference}", source.url), commit };
                opened
            }
            ContextSource::Url(url) => {
                let (content, file) = fetching.file(&url)?;
                origin = Origin::Http { url: url.clone(), digest: file.digest };
                Opened { modified: file.modified, ..open_stream(engine, lease, content, &shown(&url))? }
            }
        };
        let context_time = match (opened.commit, opened.modified) {
            (Some(time), _) | (None, Some(time)) => ContextTime::At(time),
            (None, None) if opened.is_archive => ContextTime::InFiles(copy_of(&opened.root)?),
            (None, None) => ContextTime::None,
        };
        let commit = match (&opened.path, opened.commit) {
            (Some(path), _) => head_time(engine.settings.registries.path.as_deref(), path),
            (None, commit) => commit,
        };
        let how = (&given.reading, given.target.as_deref());
        let TextFile { name, text, beside } = dockerfile::read(&mut opened, given.dockerfile, how, fetching)?;
        let ignored = match given.reading.ignore_file {
            Some(path) => Some(given_rules(&opened, &path)?),
            None => read_ignore(&opened, beside.as_ref())?,
        };
        let mut files = vec![Files::open(engine, opened, ignored.as_ref())?];
        let named = open_named(engine, given.contexts, &mut files)?;
        Ok(Self { name, text, ignored, named, commit, context_time, origin, files })
    }

    /// Returns when the build context was made, as far as it says so: a commit, a file on the network or an archive does.
    pub(crate) fn context_time(&self) -> Result<Option<i64>, EngineError> {
        match &self.context_time {
            ContextTime::None => Ok(None),
            ContextTime::At(seconds) => Ok(Some(*seconds)),
            ContextTime::InFiles(root) => youngest_file(root),
        }
    }

    /// Returns the files of a context that the plan knows.
    pub(crate) fn context(&self, context: ContextId) -> &Context {
        let index = usize::try_from(context.0).unwrap_or(usize::MAX);
        &self.files.get(index).expect("the plan knows only the contexts that were opened").context
    }

    /// Returns what stands for the thing that is built, whatever its files and its Dockerfile say today: 32 hexadecimal
    /// digits.
    pub(crate) fn identity(&self) -> String {
        let mut hasher = Hasher::new();
        match (&self.files[0].memory_name, &self.origin) {
            (Some(directory), _) => hasher.update(directory),
            (None, Origin::Git { url, .. } | Origin::Http { url, .. }) => hasher.update(url.as_bytes()),
            (None, Origin::Local) => hasher.update(b"-"),
        }
        hasher.update(&[0]);
        // A file of this machine is the same one whatever leads to it.
        let file = std::fs::canonicalize(&self.name).ok();
        hasher.update(file.as_ref().map_or(self.name.as_bytes(), |file| file.as_os_str().as_encoded_bytes()));
        hex(&hasher.finish::<BlobDigest>().as_bytes()[..16])
    }

    /// Returns the name that a person knows a context by: nothing for the build context.
    pub(crate) fn context_name(&self, context: ContextId) -> String {
        let is = |known: &NamedContext| matches!(known, NamedContext::Local(id) if *id == context);
        let found = self.named.contexts.iter().find(|(_, known)| is(known));
        found.map(|(name, _)| name.clone()).unwrap_or_default()
    }

    /// Returns the rule that leaves a file out of the context of this name, if the file is there and one does.
    pub(crate) fn hiding_rule(&self, context: &str, path: &[u8]) -> Option<Rule> {
        let id = match self.named.contexts.get(context) {
            Some(NamedContext::Local(id)) => *id,
            _ if context.is_empty() => ContextId::MAIN,
            _ => return None,
        };
        let files = self.files.get(usize::try_from(id.0).ok()?)?;
        let (line, rule) = files.context.hidden_by(path)?;
        let pattern = String::from_utf8_lossy(&rule).into_owned();
        Some(Rule { file: files.ignored_by.clone()?, line, pattern })
    }

    /// Saves what was learned about the contexts' files. Losing it costs time only, so nothing fails for it.
    pub(crate) fn save_memory(&self, engine: &Engine) {
        let Ok(directory) = engine.store_dir(engine.store.context_rel_path()) else { return };
        for files in &self.files {
            if let Some(name) = &files.memory_name {
                drop(files.context.memory().save(&directory, name));
            }
        }
    }
}

impl Files {
    fn open(engine: &Engine, opened: Opened, ignored: Option<&Ignored>) -> Result<Self, EngineError> {
        let now = Time { seconds: engine.now(), nanoseconds: 0 };
        let (memory, memory_name) = load_memory(engine, opened.path.as_deref(), now)?;
        let rules = ignored.map(|ignored| ignored.rules.clone());
        let open = if opened.is_archive { Context::of_archive } else { Context::open };
        let context = open(opened.root, rules, memory);
        let ignored_by = ignored.map(|ignored| ignored.name.clone());
        Ok(Self { context, memory_name, ignored_by, _unpacked: opened.unpacked })
    }
}

/// Opens the named directories, in the order of their names, and says what all names are to the plan.
fn open_named(
    engine: &Engine,
    given: BTreeMap<String, NamedContextSource>,
    files: &mut Vec<Files>,
) -> Result<Named, EngineError> {
    let mut named = Named::default();
    for (name, source) in given {
        let known = match source {
            NamedContextSource::Directory(path) => {
                let root = open_named_dir(&name, &path)?;
                let opened = Opened {
                    root,
                    path: Some(path),
                    unpacked: None,
                    commit: None,
                    modified: None,
                    is_archive: false,
                    text: None,
                };
                let ignored = read_ignore(&opened, None)?;
                files.push(Files::open(engine, opened, ignored.as_ref())?);
                let number = u32::try_from(files.len() - 1).unwrap_or(u32::MAX);
                NamedContext::Local(ContextId(number))
            }
            NamedContextSource::Image(reference) => NamedContext::Image(reference),
            NamedContextSource::OciLayout(layout) => {
                let reference = layout.to_string();
                named.layouts.insert(reference.clone(), layout);
                NamedContext::Image(reference)
            }
            NamedContextSource::Git(source) => NamedContext::Git(source),
            NamedContextSource::Url(url) => NamedContext::Http(url),
            NamedContextSource::Target(stage) => NamedContext::Stage(stage),
        };
        named.contexts.insert(context_name(&name), known);
    }
    Ok(named)
}

fn copy_of(root: &Dir) -> Result<Dir, EngineError> {
    root.try_clone().map_err(|source| EngineError::tree("cannot open the context", source))
}

fn open_named_dir(name: &str, path: &Path) -> Result<Dir, EngineError> {
    let metadata = std::fs::metadata(path).map_err(|source| EngineError::io("open the named context", path, source))?;
    if !metadata.is_dir() {
        let message = format!("the named context `{name}` is `{}`, which is not a directory", path.display());
        return Err(EngineError::request(message, None));
    }
    open_user_dir(path)
}

impl Fetching<'_> {
    /// Returns the files of a commit, and which it is.
    fn repository(self, source: &GitSource) -> Result<(Opened, String), EngineError> {
        let Self { engine, lease, grants, events } = self;
        let wanted = Wanted { source, grants, by_caller: true };
        let resolved = engine.resolve_commit(lease, wanted, events)?;
        let work = lease.work_dir()?;
        let commit = Some(engine.check_out(lease, wanted, &resolved, &work, events)?);
        let root = engine.store_dir(&work.diff_rel_path())?;
        let opened =
            Opened { root, path: None, unpacked: Some(work), commit, modified: None, is_archive: false, text: None };
        Ok((opened, resolved.commit))
    }

    /// Returns the content of a file, and what is known of it.
    fn file(self, url: &str) -> Result<(Box<dyn Read + Send>, RemoteFile), EngineError> {
        let Self { engine, lease, grants, events } = self;
        let mut file = engine.examine_file(lease, url, grants, events)?;
        if lease.blob(&file.digest)?.is_none() {
            file = engine.fetch_file(lease, url, Some(file.digest), grants, events)?;
        }
        let content = Box::new(engine.store.open_blob(&file.digest)?);
        Ok((content, file))
    }
}

fn open_context_dir(path: &Path) -> Result<Dir, EngineError> {
    let metadata = std::fs::metadata(path).map_err(|source| EngineError::io("open the context", path, source))?;
    if !metadata.is_dir() {
        let message = format!("the context `{}` is not a directory", path.display());
        return Err(EngineError::request(
            message,
            Some("Give the directory with the files to build from, and the Dockerfile with `-f`."),
        ));
    }
    open_user_dir(path)
}

/// A stream is a Dockerfile unless it is an archive.
///
/// What could not be unpacked is an error, and never taken for the other kind: half of an archive may be there already.
fn open_stream(
    engine: &Engine,
    lease: &Lease,
    stream: Box<dyn Read + Send>,
    name: &str,
) -> Result<Opened, EngineError> {
    let from = if name == "-" { "standard input" } else { name };
    let work = lease.work_dir()?;
    let root = engine.store_dir(&work.diff_rel_path())?;
    let mut stream = stream;
    let mut head = Vec::new();
    stream
        .by_ref()
        .take(HEAD_BYTES)
        .read_to_end(&mut head)
        .map_err(|source| EngineError::io("read the context from", from, source))?;
    let is_archive = stave_tree::unpack::is_archive(&head);
    let mut whole = Cursor::new(head).chain(stream);
    if is_archive {
        let what = if name == "-" { "the context on standard input".to_owned() } else { format!("the context {name}") };
        confined::extract(engine, &root, &mut whole, &what)?;
        return Ok(Opened {
            root,
            path: None,
            unpacked: Some(work),
            commit: None,
            modified: None,
            is_archive: true,
            text: None,
        });
    }
    let text = read_text(whole).map_err(|source| EngineError::io("read the Dockerfile from", from, source))?;
    Ok(Opened {
        root,
        path: None,
        unpacked: Some(work),
        commit: None,
        modified: None,
        is_archive: false,
        text: Some((name.to_owned(), text)),
    })
}

/// Enough to tell an archive from a text.
const HEAD_BYTES: u64 = 1024;

/// Returns a file of the context, or nothing if it is not there.
fn read_inside(root: &Dir, path: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
    match root.read_file(path, TEXT_BYTES_MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(inside(path, error)),
    }
}

/// Loads what earlier builds learned about the files of this directory.
fn load_memory(engine: &Engine, path: Option<&Path>, now: Time) -> Result<(HashMemory, Option<Vec<u8>>), EngineError> {
    let Some(path) = path else { return Ok((HashMemory::empty(now), None)) };
    let whole = std::fs::canonicalize(path).map_err(|source| EngineError::io("find", path, source))?;
    let name = hex(&BlobDigest::of(whole.as_os_str().as_encoded_bytes()).as_bytes()[..16]).into_bytes();
    let directory = engine.store_dir(engine.store.context_rel_path())?;
    Ok((HashMemory::load(&directory, &name, now), Some(name)))
}

fn inside(path: &[u8], error: PathError) -> EngineError {
    EngineError::tree(format!("cannot read `{}` of the context", String::from_utf8_lossy(path)), error)
}
