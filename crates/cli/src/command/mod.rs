//! Carries out commands: arguments in, engine calls, results on standard output.

mod advise;
mod attestations;
mod build;
mod builds;
mod changes;
mod check;
mod container;
mod debug;
mod diff;
mod explain;
mod filters;
mod graph;
mod image;
mod imagetools;
mod inspect;
mod lifecycle;
mod lists;
mod login;
mod manifest;
mod own;
mod policy;
mod prompt;
mod records;
mod report;
mod store;
mod terminal;
mod transfer;
mod volume;

use stave_engine::EngineError;

pub(crate) use diff::text as differences;

use crate::args::{Command, Global, ProgressMode};
use crate::failure::Failure;
use crate::host::{self, Host, Processes};
use crate::progress::Display;
use crate::render::Style;

/// What a command needs besides its own arguments.
pub(crate) struct Context<'a> {
    pub(crate) global: &'a Global,
    pub(crate) style: Style,
}

impl Context<'_> {
    fn host(&self, processes: Processes) -> Result<Host, Failure> {
        host::open(self.global, processes)
    }

    fn display(&self, quiet: bool) -> Display {
        Display::start(if quiet { ProgressMode::Quiet } else { ProgressMode::Auto }, self.style)
    }
}

/// Carries out a command and returns the exit code.
pub(crate) fn run(command: Command, context: &Context<'_>) -> Result<u8, Failure> {
    match command {
        Command::Build(args) => build::build(*args, context),
        Command::Debug(args) => debug::debug(*args, context),
        Command::Lock(args) => build::lock(*args, context),
        Command::Policy(command) => policy::policy(&command, context),
        Command::Run(args) => container::run(args, context),
        Command::Create(args) => container::create(args, context),
        Command::Start(args) => container::start(&args, context),
        Command::Stop(args) => lifecycle::stop(&args, context),
        Command::Restart(args) => lifecycle::restart(&args, context),
        Command::Kill(args) => lifecycle::kill(&args, context),
        Command::Pause(args) => lifecycle::pause(&args.containers, true, context),
        Command::Unpause(args) => lifecycle::pause(&args.containers, false, context),
        Command::Attach(args) => lifecycle::attach(&args, context),
        Command::Wait(args) => lifecycle::wait(&args, context),
        Command::Logs(args) => lifecycle::logs(&args, context),
        Command::Exec(args) => lifecycle::exec(args, context),
        Command::Top(args) => lifecycle::top(&args, context),
        Command::Rename(args) => lifecycle::rename(&args, context),
        Command::Commit(args) => changes::commit(args, context),
        Command::Export(args) => changes::export(&args, context),
        Command::Import(args) => changes::import(args, context),
        Command::Info(args) => changes::info(&args, context),
        Command::Supervise(args) => lifecycle::supervise(&args, context),
        Command::Cp(args) => container::copy(args, context),
        Command::Rm(args) => container::remove(&args, context),
        Command::Ps(args) => lists::containers(&args, context),
        Command::Images(args) => lists::images(&args, context),
        Command::History(args) => lists::history(&args, context),
        Command::Diff(args) => diff::diff(&args, context),
        Command::Builds(command) => builds::builds(&command, context),
        Command::Explain(args) => explain::explain(&args, context),
        Command::Advise(args) => advise::advise(&args, context),
        Command::Report(args) => report::report(&args, context),
        Command::Graph(args) => graph::graph(&args, context),
        Command::Tag(args) => image::tag(&args, context),
        Command::Rmi(args) => image::remove(&args, context),
        Command::Attestations(args) => attestations::attestations(&args, context),
        Command::Inspect(args) => inspect::inspect(&args, context),
        Command::Pull(args) => transfer::pull(&args, context),
        Command::Push(args) => transfer::push(&args, context),
        Command::Imagetools(command) => imagetools::imagetools(command, context),
        Command::Manifest(command) => manifest::manifest(command, context),
        Command::Login(args) => login::log_in(args),
        Command::Logout(args) => login::log_out(&args),
        Command::Volume(command) => volume::volume(&command, context),
        Command::Save(args) => transfer::save(&args, context),
        Command::Load(args) => transfer::load(&args, context),
        Command::Store(command) => store::store(&command, context),
        Command::Doctor(args) => own::doctor(&args, context),
        Command::Version(args) => own::version(&args),
        Command::Completions(args) => own::completions(&args),
        Command::Man(args) => own::man(&args),
    }
}

/// Ends a command whose work may have been interrupted: what counts then is the signal. A failure for want of user ids
/// is told what to do about it.
fn settled<T>(host: &Host, result: Result<T, Failure>) -> Result<T, Failure> {
    match (result, host.signals.first()) {
        (Err(_), None) if host.engine.cancel().is_cancelled() && host.engine.store().over_limit().is_some() => {
            let error = host.engine.store().over_limit().expect("it was asked");
            Err(Failure::from(EngineError::from(error)))
        }
        (Err(_), Some(signal)) if host.engine.cancel().is_cancelled() => Err(Failure::interrupted(signal)),
        (Err(failure), _) => Err(failure.with_ids_advice(host.ids_advice.as_deref())),
        (Ok(value), _) => Ok(value),
    }
}
