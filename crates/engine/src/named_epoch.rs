//! What `SOURCE_DATE_EPOCH` names becomes a time: a context, or a stage that fetches something.
//!
//! Turns a name into seconds since 1970, with what the network says. What has no time of its own, like a directory, gives
//! none, and the build has the epoch that it has without the variable.
//!
//! Reference: BuildKit, `frontend/dockerfile/dockerfile2llb/epoch.go`.

use stave_dockerfile::parse;
use stave_dockerfile::plan::{Facts, NamedContext, Plan, PlanOptions, context_name, plan};
use stave_graph::{GitSource, Op};
use stave_store::Lease;
use stave_tree::{Dir, Kind, PathError};

use crate::build::Report;
use crate::confined;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::remote::{Wanted, shown};
use crate::request::{EpochRequest, EpochSource, Grants};
use crate::source::Source;

/// The build argument.
const ARGUMENT: &str = "SOURCE_DATE_EPOCH";

/// With what it is found out.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) lease: &'a Lease,
    pub(crate) source: &'a Source,
    pub(crate) grants: &'a Grants,
    pub(crate) events: Report<'a>,
}

impl Asking<'_> {
    /// Puts the time that a name means in the place of the name, in `request` and in the build argument of each plan.
    ///
    /// Errors: nothing has that name; a stage of that name does not only fetch something; what it names cannot be
    /// reached.
    pub(crate) fn resolve(self, request: &mut EpochRequest, plans: &mut [PlanOptions]) -> Result<(), EngineError> {
        let EpochSource::Named(name) = &request.source else { return Ok(()) };
        let time = self.time(name, &plans[0])?;
        for options in plans {
            let replaced = options.build_args.remove(ARGUMENT);
            if let (Some(_), Some(seconds)) = (replaced, time) {
                options.build_args.insert(ARGUMENT.to_owned(), seconds.to_string());
            }
        }
        request.source = time.map_or(EpochSource::Inputs, EpochSource::Seconds);
        Ok(())
    }

    fn time(self, name: &str, options: &PlanOptions) -> Result<Option<i64>, EngineError> {
        if name == "context" {
            return self.source.context_time();
        }
        let platform = &options.platform;
        let named = [format!("{name}::{platform}"), name.to_owned()];
        if let Some(context) = named.iter().find_map(|name| self.source.named.contexts.get(&context_name(name))) {
            return match context {
                NamedContext::Git(repository) => self.commit(repository).map(Some),
                NamedContext::Http(url) => self.file(url),
                NamedContext::Local(_) | NamedContext::Image(_) | NamedContext::Stage(_) => Ok(None),
            };
        }
        self.stage(name, options)
    }

    /// Returns the time of what the stage `name` fetches.
    fn stage(self, name: &str, options: &PlanOptions) -> Result<Option<i64>, EngineError> {
        let file = parse(&self.source.text).file;
        let is_meant = |known: &str| known.eq_ignore_ascii_case(name);
        if !file.stages.iter().any(|stage| stage.name.as_ref().is_some_and(|known| is_meant(&known.name))) {
            let message = format!("{ARGUMENT} is `{name}`, which is no number and names neither a context nor a stage");
            let hint = "Give seconds since 1970, `context`, or what `--build-context` or `FROM ... AS` names.";
            return Err(EngineError::request(message, Some(hint)));
        }
        let mut options = PlanOptions { target: Some(name.to_owned()), ..options.clone() };
        options.build_args.remove(ARGUMENT);
        let facts = Facts { ignored: self.source.ignored.clone(), ..Facts::default() };
        let planned = match plan(&file, &options, &facts).0 {
            Plan::Ready(planned) => planned,
            Plan::Need(_) | Plan::Invalid => return Err(no_source(name)),
        };
        let mut sources = Vec::new();
        for node in planned.graph.reachable(planned.target) {
            match planned.graph.op(node) {
                Op::Http(_) | Op::Git(_) => sources.push(node),
                Op::Scratch | Op::Copy(_) | Op::Merge(_) | Op::After(_) => {}
                Op::Image(_) | Op::Exec(_) | Op::MakeDir(_) => return Err(no_source(name)),
            }
        }
        let [source] = sources.as_slice() else { return Err(no_source(name)) };
        match planned.graph.op(*source) {
            _ if planned.steps.len() != 1 => Err(no_source(name)),
            Op::Http(http) => self.file(&http.url),
            Op::Git(git) => self.commit(&git.source).map(Some),
            _ => Err(no_source(name)),
        }
    }

    fn commit(self, source: &GitSource) -> Result<i64, EngineError> {
        let Self { engine, lease, grants, events, .. } = self;
        let wanted = Wanted { source, grants, by_caller: false };
        let resolved = engine.resolve_commit(lease, wanted, events)?;
        let work = lease.work_dir()?;
        engine.check_out(lease, wanted, &resolved, &work, events)
    }

    /// Returns when a file was changed last, by its server or else by the youngest file in it, if it is an archive.
    fn file(self, url: &str) -> Result<Option<i64>, EngineError> {
        let Self { engine, lease, grants, events, .. } = self;
        let mut file = engine.examine_file(lease, url, grants, events)?;
        if file.modified.is_some() {
            return Ok(file.modified);
        }
        if lease.blob(&file.digest)?.is_none() {
            file = engine.fetch_file(lease, url, Some(file.digest), grants, events)?;
        }
        let work = lease.work_dir()?;
        let root = engine.store_dir(&work.diff_rel_path())?;
        let mut content = engine.store.open_blob(&file.digest)?;
        // What is no archive has no files in it.
        match confined::extract(engine, &root, &mut content, &format!("the archive {}", shown(url))) {
            Ok(_) => youngest_file(&root),
            Err(EngineError::Interrupted) => Err(EngineError::Interrupted),
            Err(_) => Ok(None),
        }
    }
}

fn no_source(name: &str) -> EngineError {
    let message = format!("{ARGUMENT} names the stage `{name}`, which does more or less than fetch one thing");
    let hint = "Such a stage is `FROM scratch` with one `ADD` of an address, and nothing else.";
    EngineError::request(message, Some(hint))
}

/// Returns the time of the youngest regular file below `root`, in seconds since 1970.
pub(crate) fn youngest_file(root: &Dir) -> Result<Option<i64>, EngineError> {
    let unreadable = |source: PathError| EngineError::tree("cannot look at the files of the archive", source);
    let (mut youngest, mut paths) = (None, vec![Vec::new()]);
    while let Some(path) = paths.pop() {
        let dir = root.open_dir_no_links(&path).map_err(unreadable)?;
        for entry in dir.list(b"").map_err(unreadable)? {
            match entry.metadata.kind {
                Kind::Directory => paths.push([&path[..], b"/", &entry.name].concat()),
                Kind::File => youngest = youngest.max(Some(entry.metadata.modified.seconds)),
                _ => {}
            }
        }
    }
    Ok(youngest)
}
