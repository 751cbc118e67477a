//! Sends the trace of a build to the collector that the environment names, while what came of the build is said.
//!
//! A trace that cannot be sent is a warning: no build fails of it, and none waits longer than the collector has.

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use stave_history::Record;
use stave_history::event::{Event, json};
use stave_trace::{Cancel, SendError, Settings, Trace};

use crate::args::ProgressMode;
use crate::host::{http_environment, raw_variable};
use crate::signals::Received;
use crate::{record, render};

/// How long the collector has after Ctrl-C.
const INTERRUPTED: Duration = Duration::from_millis(200);

/// How often is looked whether there was a Ctrl-C.
const LOOK: Duration = Duration::from_millis(50);

/// A build that may have a trace.
pub(crate) struct Telemetry {
    settings: Option<Settings>,
    /// What is wrong with what the environment says.
    mistake: Option<String>,
    sending: Option<Sending>,
    /// Whether all that is said is JSON.
    is_json: bool,
    start: Instant,
}

/// A build of which everything is written down.
pub(crate) struct Recorded {
    /// Its directory.
    pub(crate) directory: PathBuf,
    /// When it began, since 1970.
    pub(crate) began: Duration,
}

impl Telemetry {
    /// Reads what the environment wants.
    pub(crate) fn new() -> Self {
        let (settings, mistake) = match Settings::from_lookup(raw_variable) {
            Ok(settings) => (settings, None),
            Err(error) => (None, Some(format!("no trace is sent: {}", render::chain(&error)))),
        };
        Self { settings, mistake, sending: None, is_json: false, start: Instant::now() }
    }

    /// Returns what is wrong with what the environment says, once.
    pub(crate) fn mistake(&mut self) -> Option<String> {
        self.mistake.take()
    }

    /// From now on, says what there is to say as the build does.
    pub(crate) fn speak(&mut self, mode: ProgressMode) {
        self.is_json = mode == ProgressMode::Rawjson;
    }

    /// Begins to send the trace of a build that has ended, if one is wanted.
    /// After a signal, before or while it is sent, the collector has little time.
    pub(crate) fn send(&mut self, build: Option<Recorded>, signals: &Received) {
        let (Some(settings), Some(build)) = (self.settings.take(), build) else { return };
        let Some(record) = record::read(&build.directory) else { return };
        let trace = Trace::new(&record, build.began, settings.parent.as_ref(), &settings.resource);
        self.sending = Some(Sending::start(trace, settings, signals.clone()));
    }

    /// Waits until the trace has arrived, or its time is over, and says if it has not arrived: as an event where all is
    /// JSON.
    pub(crate) fn finish(self) {
        let Some(Err(error)) = self.sending.map(Sending::finish) else { return };
        let message = format!("the trace of the build was not sent: {}", render::chain(&error));
        crate::print_error(&if self.is_json {
            json::line(self.start.elapsed(), &Event::Notice { message }) + "\n"
        } else {
            format!("warning: {}\n", render::printable(&message))
        });
    }
}

/// Returns the trace of a build of the past, as a part of nothing.
pub(crate) fn of_the_past(record: &Record, resource: &[(String, String)]) -> Trace {
    let began = Duration::from_secs(u64::try_from(record.request.started).unwrap_or(0));
    Trace::new(record, began, None, resource)
}

/// Why a trace has not arrived.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsent {
    /// The exchange failed.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Its time was over: so many milliseconds.
    #[error("the collector did not take it within {0} ms")]
    Late(u128),
    /// Nobody sends it any more.
    #[error("the thread that sends it has ended")]
    Ended,
}

/// A trace on its way.
pub(crate) struct Sending {
    cancel: Cancel,
    outcome: Receiver<Result<(), SendError>>,
    start: Instant,
    patience: Duration,
    signals: Received,
}

impl Sending {
    /// Begins.
    pub(crate) fn start(trace: Trace, settings: Settings, signals: Received) -> Self {
        let patience = settings.timeout;
        let (sender, outcome) = mpsc::channel();
        let cancel = Cancel::new();
        let ends = cancel.clone();
        thread::spawn(move || {
            // Fails when nobody waits any more.
            drop(sender.send(stave_trace::send(&trace, &settings, http_environment(), ends)));
        });
        Self { cancel, outcome, start: Instant::now(), patience, signals }
    }

    /// Waits for the end, or until the collector's time is over, which a signal makes short; returns why the trace has not
    /// arrived.
    pub(crate) fn finish(mut self) -> Result<(), Unsent> {
        let mut is_short = false;
        loop {
            let passed = self.start.elapsed();
            if !is_short && self.signals.first().is_some() {
                is_short = true;
                self.patience = self.patience.min(passed + INTERRUPTED);
            }
            let rest = self.patience.saturating_sub(passed);
            match self.outcome.recv_timeout(if is_short { rest } else { rest.min(LOOK) }) {
                Ok(outcome) => return Ok(outcome?),
                Err(RecvTimeoutError::Timeout) if passed < self.patience => {}
                Err(RecvTimeoutError::Timeout) => {
                    self.cancel.cancel();
                    return Err(Unsent::Late(self.patience.as_millis()));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Unsent::Ended),
            }
        }
    }
}
