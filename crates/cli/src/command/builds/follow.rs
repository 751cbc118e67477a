//! `builds logs --follow`: looks again and again at what a running build has written.

use std::path::Path;
use std::time::Duration;

use stave_engine::EngineError;
use stave_engine::store::{BuildError, BuildRecord, BuildState};
use stave_history::Record;

use super::directory;
use super::logs::{Printer, chosen, no_step, several};
use crate::failure::Failure;
use crate::host::Host;
use crate::record;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Looks between two questions whether the build's process is still there.
const LOOKS: u32 = 10;

/// Writes what the steps of a build write, until it ends.
pub(super) fn follow(
    host: &Host,
    build: &BuildRecord,
    wanted: Option<&str>,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let store = host.engine.store();
    let directory = directory(store, build);
    let (mut known, mut record) = (0, Record::default());
    printer.has_headings = false;
    for look in 0_u32.. {
        if host.engine.cancel().is_cancelled() {
            return Err(EngineError::Interrupted.into());
        }
        if look % LOOKS == LOOKS - 1 {
            store.clear_up().map_err(EngineError::from)?;
        }
        // Asked before the last look: what it has written by then is all.
        let has_ended = match store.find_build(Some(build.id.as_str())) {
            Ok(build) => build.state != BuildState::Running,
            Err(BuildError::NotFound(_)) => true,
            Err(error) => return Err(EngineError::from(error).into()),
        };
        let length = record::length(&directory);
        if length != known {
            (known, record) = (length, record::read(&directory).unwrap_or_default());
        }
        show(host, (&record, &directory), wanted, printer)?;
        if has_ended {
            printer.finish()?;
            return chosen(&record, wanted).map(drop).ok_or_else(|| no_step(build, wanted));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn show(
    host: &Host,
    (record, directory): (&Record, &Path),
    wanted: Option<&str>,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let steps = chosen(record, wanted).unwrap_or_default();
    printer.has_headings = wanted.is_none() || printer.has_headings || several(&steps, directory);
    for step in steps {
        printer.print(host, step, directory)?;
    }
    Ok(())
}
