//! The history of builds: `builds ls`, `show`, `logs`, `trace`, `rm`, `limit`, and the one place where a command finds a build of it.

mod follow;
mod list;
mod logs;
mod show;
mod trace;

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use serde_json::json;
use stave_engine::store::{BuildRecord, BuildState, HistoryLimit, Store};
use stave_engine::{EngineError, store};
use stave_history::Record;
use stave_history::event::{Ending, Event};

pub(super) use self::list::remark_on_later;
use super::Context;
use crate::args::{BuildsCommand, BuildsLimitArgs, BuildsRmArgs};
use crate::failure::{self, Failure};
use crate::host::{self, Host, Processes};
use crate::table::{Format, column};
use crate::{human, output, record};

/// Why nothing can be said about the files of an image that a build made.
pub(super) const ABSENT_LAYERS: &str = "not all of its layers are in the store: they were removed since, or stayed in the \
                                        registry or cache that has them; building it again with `--load` brings them here";

/// Carries out a command about the history.
pub(super) fn builds(command: &BuildsCommand, context: &Context<'_>) -> Result<u8, Failure> {
    match command {
        BuildsCommand::Ls(args) => list::list(args, context),
        BuildsCommand::Show(args) => show::show(args, context),
        BuildsCommand::Logs(args) => logs::logs(args, context),
        BuildsCommand::Trace(args) => trace::trace(args, context),
        BuildsCommand::Rm(args) => remove(args, context),
        BuildsCommand::Limit(args) => limit(args, context),
    }
}

/// Finds a build, by its id or how that begins, or the latest, and returns what is known of it.
pub(super) fn find(host: &Host, name: Option<&str>) -> Result<(BuildRecord, Record), Failure> {
    let store = host.engine.store();
    let build = store.find_build(name).map_err(EngineError::from)?;
    match written(store, &build) {
        Some(record) => Ok((build, record)),
        None => Err(Failure::failed(format!("nothing was kept of what happened in the build {}", build.id))),
    }
}

/// Whether a word has the form of a build's name: how an id begins, or `^1`.
pub(super) fn can_be_name(word: &str) -> bool {
    word.starts_with('^') || word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns what is written down of a build: of one that runs up to now, of one whose process was killed up to the last that it
/// or one of its steps said, which is its end.
fn written(store: &Store, build: &BuildRecord) -> Option<Record> {
    let directory = directory(store, build);
    let mut record = match record::read(&directory) {
        // It has begun a moment ago: there is nothing to be told of it yet, and there will be.
        None if build.state == BuildState::Running => {
            Record { id: build.id.to_string(), directory, ..Record::default() }
        }
        read => read?,
    };
    let since = |time: i64| Duration::from_secs(u64::try_from(time.saturating_sub(build.started)).unwrap_or(0));
    match (build.state, &record.ending) {
        (BuildState::Running, None) => record.took = record.took.max(since(host::now())),
        (BuildState::Interrupted, None) => {
            let last = last_written(&record).map_or(Duration::ZERO, since);
            record.take(record.took.max(last), &Event::Ended { ending: Ending::Interrupted });
        }
        _ => {}
    }
    Some(record)
}

/// Returns when a step of a build last wrote something, in seconds since 1970: that is no event, and in its log.
fn last_written(record: &Record) -> Option<i64> {
    let logs = record.steps.iter().map(|step| record.directory.join(step.log_name()));
    logs.filter_map(|log| Some(log.metadata().ok()?.mtime())).max()
}

/// Returns the directory with what is kept of a build.
fn directory(store: &Store, build: &BuildRecord) -> std::path::PathBuf {
    store.root().join(store.build_logs_rel_path(&build.id))
}

/// Returns the word for a state.
fn state_name(state: BuildState) -> &'static str {
    match state {
        BuildState::Running => "running",
        BuildState::Done => "done",
        BuildState::Failed => "failed",
        BuildState::Interrupted => "interrupted",
    }
}

fn remove(args: &BuildsRmArgs, context: &Context<'_>) -> Result<u8, Failure> {
    if args.builds.is_empty() && !args.all {
        let hint = "Name them as `stave builds ls` does, `^0` for the latest, or give `--all` for all that have ended.";
        return Err(Failure::usage("no build is named that is to be forgotten".to_owned()).with_hint(hint));
    }
    let host = context.host(Processes::None)?;
    let store = host.engine.store();
    let (mut removed, mut code) = (Vec::new(), 0);
    if args.all {
        for build in store.builds(u32::MAX).map_err(EngineError::from)? {
            match store.remove_build(&build.id) {
                Ok(()) => removed.push(build.id.to_string()),
                // One that runs stays, and one that has gone meanwhile is gone.
                Err(store::BuildError::Running(_) | store::BuildError::NotFound(_)) => {}
                Err(error) => return Err(EngineError::from(error).into()),
            }
        }
    }
    // All are found before one goes: what `^1` means changes with it.
    let found: Vec<_> = args.builds.iter().map(|name| store.find_build(Some(name))).collect();
    for build in found {
        match build.and_then(|build| store.remove_build(&build.id).map(|()| build.id)) {
            Ok(id) => removed.push(id.to_string()),
            Err(error) => {
                let failure = Failure::from(EngineError::from(error));
                crate::print_error(&failure.render(context.style));
                code = code.max(failure.code).max(failure::FAILED);
            }
        }
    }
    output::lines(&removed)?;
    Ok(code)
}

fn limit(args: &BuildsLimitArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let host = context.host(Processes::None)?;
    let store = host.engine.store();
    let known = store.history_limit().map_err(EngineError::from)?;
    if args.count.is_none() && args.size.is_none() {
        let columns = [column("Count", "BUILDS"), column("Size", "SIZE")];
        let row = json!({ "Count": known.count_max, "Size": human::size(known.bytes_max) });
        output::text(&Format::parse(None, &columns)?.render(&[row], &columns)?)?;
        return Ok(0);
    }
    let limit = HistoryLimit {
        count_max: args.count.unwrap_or(known.count_max),
        bytes_max: args.size.unwrap_or(known.bytes_max),
    };
    store.set_history_limit(limit).map_err(EngineError::from)?;
    store.trim_builds(limit).map_err(EngineError::from)?;
    Ok(0)
}
