//! `report`: a build as a page to look at.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use stave_engine::EngineError;
use stave_history::Record;
use stave_history::event::{Ending, StepId, StepLine};
use stave_report::{ImageLayers, LogExcerpt, LogShare, Page, share_logs};

use super::{Context, builds, graph, settled};
use crate::args::ReportArgs;
use crate::failure::Failure;
use crate::host::{Host, Processes};
use crate::{human, output, render};

/// Carries out `report`.
pub(super) fn report(args: &ReportArgs, context: &Context<'_>) -> Result<u8, Failure> {
    if args.output.is_none() {
        output::refuse_terminal("a page")
            .map_err(|failure| failure.with_hint("Write it to a file: `-o report.html`."))?;
    }
    let host = context.host(Processes::Some)?;
    let (build, record) = builds::find(&host, args.build.as_deref())?;
    let store = host.engine.store();
    let logs = logs(&store.root().join(store.build_logs_rel_path(&build.id)), &record);
    let started = human::created_at(build.started).replace(" +0000", "");
    let layers = settled(&host, layers(&host, &record, context))?;
    let page = Page { record: &record, started: &started, logs: &logs, layers: &layers }.html();
    graph::write(args.output.as_deref(), &page)?;
    if let Some(path) = args.output.as_ref().filter(|path| path.as_os_str() != "-") {
        let size = human::size(u64::try_from(page.len()).unwrap_or(u64::MAX));
        crate::print_error(&format!("wrote {} ({size})\n", render::printable(&path.display().to_string())));
    }
    Ok(0)
}

/// Finds out what the layers of the images have. Where that cannot be found out, the page says why.
fn layers(host: &Host, record: &Record, context: &Context<'_>) -> Result<Vec<ImageLayers>, Failure> {
    let Some(Ending::Built { images, .. }) = &record.ending else { return Ok(Vec::new()) };
    let steps: Vec<StepLine> = record.steps.iter().map(|step| step.line.clone()).collect();
    let display = context.display(false);
    let mut all = Vec::new();
    for image in images {
        let anatomy = match host.engine.anatomy_of_built(image, &|event| display.report(event)) {
            Ok(Some(mut anatomy)) => {
                anatomy.made_by(image, &steps);
                Ok(anatomy)
            }
            Ok(None) => Err(builds::ABSENT_LAYERS.to_owned()),
            Err(EngineError::Interrupted) => return Err(EngineError::Interrupted.into()),
            Err(error) => Err(render::chain(&error)),
        };
        all.push(ImageLayers { platform: image.platform.clone(), anatomy });
    }
    display.finish();
    Ok(all)
}

/// Reads the begin and the end of what each step wrote. A log that cannot be read is one that is not there.
fn logs(directory: &Path, record: &Record) -> BTreeMap<StepId, LogExcerpt> {
    let files: BTreeMap<StepId, File> = record
        .steps
        .iter()
        .filter_map(|step| Some((step.line.step, File::open(directory.join(step.log_name())).ok()?)))
        .collect();
    let size = |file: &File| file.metadata().map_or(0, |metadata| metadata.len());
    let sizes = files.iter().map(|(step, file)| (*step, size(file))).collect();
    let failed = match &record.ending {
        Some(Ending::Failed { step, .. }) => *step,
        _ => None,
    };
    let shares = share_logs(&sizes, failed);
    let excerpt = |(step, mut file): (StepId, File)| Some((step, read(&mut file, sizes[&step], shares[&step]).ok()?));
    files.into_iter().filter_map(excerpt).collect()
}

fn read(file: &mut File, size: u64, share: LogShare) -> std::io::Result<LogExcerpt> {
    let mut excerpt = LogExcerpt::default();
    file.take(share.head).read_to_end(&mut excerpt.head)?;
    if share.tail > 0 {
        file.seek(SeekFrom::Start(size - share.tail))?;
        file.take(share.tail).read_to_end(&mut excerpt.tail)?;
        excerpt.left_out = size - share.head - share.tail;
    }
    Ok(excerpt)
}
