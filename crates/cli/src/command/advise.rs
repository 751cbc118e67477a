//! `advise`: which changes of the Dockerfile would save most, as a build showed it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};
use stave_advice::{Advice, Gain, Hunk, StageLayers, Subject, advise as find_advice, hunks, is_static, program_of};
use stave_anatomy::{Anatomy, Made, Totals};
use stave_dockerfile::parse;
use stave_dockerfile::span::position;
use stave_engine::EngineError;
use stave_engine::store::BuildState;
use stave_history::Record;
use stave_history::event::{BuiltImage, Ending, StepLine};

use super::{Context, builds, settled};
use crate::args::{AdviceFormat, AdviseArgs};
use crate::failure::Failure;
use crate::host::{Host, Processes};
use crate::render::{self, Style, printable};
use crate::{human, output};

/// Version of the JSON. A reader may rely on the fields that there are; new ones may come.
const SCHEMA: u32 = 1;
/// How many are shown unless all are asked for.
const SHOWN: usize = 3;
/// Part of an image, in hundredths, from which on it is said that it is shipped for nothing where no advice says so.
const WASTE_PERCENT: u64 = 5;
/// Bytes of a program in which its headers are.
const HEAD_BYTES: u64 = 64 * 1024;

/// Carries out `advise`.
pub(super) fn advise(args: &AdviseArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let host = context.host(Processes::Some)?;
    let name = match &args.build {
        Some(name) => Some(name.clone()),
        None => latest_done(&host)?,
    };
    let (_, record) = builds::find(&host, name.as_deref())?;
    let Some(Ending::Built { images, .. }) = &record.ending else {
        let message = format!("the build {} made no image, and advice is about what was made", record.id);
        return Err(Failure::failed(message).with_hint("See `stave builds ls` for the builds that there are."));
    };
    let looked = images.first().map(|image| look(&host, &record, image));
    let seen = settled(&host, looked.unwrap_or_else(|| Ok(Seen::default())))?;
    let shown = if args.all { seen.advice.len() } else { seen.advice.len().min(SHOWN) };
    output::text(&match args.format {
        AdviceFormat::Text => text(&record, &seen, shown, context.style),
        AdviceFormat::Json => format!("{}\n", document(&record, &seen, shown)),
    })?;
    Ok(0)
}

/// Returns the id of the latest build that ended well, and says which it is where a later one did not.
fn latest_done(host: &Host) -> Result<Option<String>, Failure> {
    let all = host.engine.store().builds(u32::MAX).map_err(EngineError::from)?;
    let Some(place) = all.iter().position(|build| build.state == BuildState::Done) else { return Ok(None) };
    let id = all[place].id.to_string();
    if place > 0 {
        crate::print_error(&format!("note: this is about the build {id}, the latest that made an image\n"));
    }
    Ok(Some(id))
}

/// What was seen of a build.
#[derive(Default)]
struct Seen {
    advice: Vec<Advice>,
    /// Bytes of the image's layers.
    image_bytes: u64,
    /// What its entries take, as far as they are here.
    totals: Option<Totals>,
}

impl Seen {
    /// Returns what the image ships for nothing, if that is worth a word: bytes, and the part that they are.
    fn waste(&self) -> Option<String> {
        let wasted = self.totals?.wasted();
        let percent = (wasted * 100).checked_div(self.image_bytes).unwrap_or_default();
        (percent >= WASTE_PERCENT).then(|| format!("{} of the image, {percent} % of it,", human::size(wasted)))
    }
}

/// Looks at a build and at what it made.
fn look(host: &Host, record: &Record, built: &BuiltImage) -> Result<Seen, Failure> {
    let engine = &host.engine;
    let lines: Vec<StepLine> = record.steps.iter().map(|step| step.line.clone()).collect();
    let mut image = engine.anatomy_of_built(built, &|_| {})?;
    match &mut image {
        Some(anatomy) => anatomy.made_by(built, &lines),
        None => {
            crate::print_error(&format!("note: nothing is said about the image's bytes: {}\n", builds::ABSENT_LAYERS));
        }
    }
    let in_image: BTreeSet<&str> = image
        .iter()
        .flat_map(|anatomy| &anatomy.layers)
        .filter_map(|layer| if let Some(Made::Step { stage, .. }) = &layer.made { Some(stage.as_str()) } else { None })
        .collect();
    let others = stages_beside(&lines, &in_image);
    let anatomies = engine.anatomies_of_stages(&record.id, &others)?;
    let stage = |(steps, anatomy): (&Vec<StepLine>, Option<Anatomy>)| {
        Some(StageLayers { stage: steps.first()?.stage.clone(), anatomy: anatomy? })
    };
    let stages: Vec<StageLayers> = others.iter().zip(anatomies).filter_map(stage).collect();
    let parsed = parse(&record.text);
    let program = program_of(&parsed.file, record.request.target.as_deref());
    let head = match &program {
        Some(path) => engine.file_of_built(built, path, HEAD_BYTES)?,
        None => None,
    };
    let is_static = head.and_then(|head| is_static(&head));
    let subject = Subject {
        record,
        file: &parsed.file,
        image: image.as_ref(),
        stages: &stages,
        program: program.as_deref().zip(is_static),
    };
    Ok(Seen {
        advice: find_advice(&subject),
        image_bytes: built.layers.iter().map(|layer| layer.bytes).sum(),
        totals: image.as_ref().map(Anatomy::totals),
    })
}

/// Returns the steps of each stage that is not one of these, in their order; of a stage for several platforms those for one.
fn stages_beside(lines: &[StepLine], known: &BTreeSet<&str>) -> Vec<Vec<StepLine>> {
    let (mut stages, mut places) = (Vec::<Vec<StepLine>>::new(), BTreeMap::new());
    for line in lines.iter().filter(|line| !known.contains(line.stage.as_str())) {
        let place = *places.entry(line.stage.as_str()).or_insert(stages.len());
        if place == stages.len() {
            stages.push(Vec::new());
        }
        if stages[place].first().is_none_or(|first| first.platform == line.platform) {
            stages[place].push(line.clone());
        }
    }
    stages
}

fn document(record: &Record, seen: &Seen, shown: usize) -> Value {
    json!({
        "schema": SCHEMA,
        "build": record.id,
        "file": record.name,
        "image_bytes": seen.image_bytes,
        "visible_bytes": seen.totals.map(|totals| totals.visible),
        "wasted_bytes": seen.totals.map(|totals| totals.wasted()),
        "advice": seen.advice[..shown].iter().map(|advice| object(&record.text, advice)).collect::<Vec<_>>(),
        "more": seen.advice.len() - shown,
    })
}

fn object(text: &str, advice: &Advice) -> Value {
    let label = |label: &stave_dockerfile::Label| {
        let at = position(text, label.span.start);
        json!({
            "start": label.span.start, "end": label.span.end, "line": at.line, "column": at.column,
            "text": label.text, "primary": label.primary,
        })
    };
    let edit = |edit: &stave_advice::Edit| json!({ "start": edit.span.start, "end": edit.span.end, "text": edit.text });
    let hunk = |hunk: Hunk| json!({ "line": hunk.line, "removed": hunk.removed, "lines": hunk.lines });
    json!({
        "code": advice.code.as_str(),
        "message": advice.message,
        "labels": advice.labels.iter().map(label).collect::<Vec<_>>(),
        "proposal": advice.proposal,
        "edits": advice.edits.iter().map(edit).collect::<Vec<_>>(),
        "lines": hunks(text, &advice.edits).into_iter().map(hunk).collect::<Vec<_>>(),
        "ignore": advice.ignore,
        "gain": {
            "bytes": advice.gain.bytes,
            "copied": advice.gain.copied,
            "steps": advice.gain.steps.iter().map(|step| step.0).collect::<Vec<_>>(),
            "seconds": advice.gain.time.as_secs_f64(),
            "when": advice.gain.when,
        },
        "evidence": advice.evidence,
        "condition": advice.condition,
    })
}

fn text(record: &Record, seen: &Seen, shown: usize, style: Style) -> String {
    let all = &seen.advice;
    if all.is_empty() {
        let mut text = format!("No change of {} that is known here would save much.\n", printable(&record.name));
        text.extend(seen.waste().map(|waste| {
            format!(
                "{waste} is shipped for nothing: later layers replace or delete it. `stave report` shows the files.\n"
            )
        }));
        return text;
    }
    let block = |advice: &Advice| block(record, advice, seen.image_bytes, style);
    let mut text = all[..shown].iter().map(block).collect::<Vec<_>>().join("\n");
    if shown < all.len() {
        // Writing to a text cannot fail.
        let _written = writeln!(text, "\n{} more would save less: see `stave advise --all`.", all.len() - shown);
    }
    text
}

fn block(record: &Record, advice: &Advice, image_bytes: u64, style: Style) -> String {
    let line = |head: &str, text: &str| format!("{} {}\n", style.cyan(head), printable(text));
    let mut parts = vec![render::advice(&record.name, &record.text, advice, style)];
    parts.push(line("gain:", &gain_line(&advice.gain, image_bytes)));
    parts.extend(advice.evidence.iter().map(|evidence| line("measured:", evidence)));
    parts.push(line("do:", &advice.proposal));
    parts.extend(advice.condition.iter().map(|condition| line("mind:", condition)));
    parts.extend(hunks(&record.text, &advice.edits).iter().map(|hunk| lines(hunk, style)));
    if !advice.ignore.is_empty() {
        parts.push(format!("{}\n", style.cyan("add to .dockerignore:")));
        parts.extend(advice.ignore.iter().map(|name| format!("  | {}\n", printable(name))));
    }
    parts.concat()
}

/// Returns what is gained on one line.
fn gain_line(gain: &Gain, image_bytes: u64) -> String {
    let mut parts = Vec::new();
    if gain.bytes > 0 {
        let percent = match (gain.bytes * 100).checked_div(image_bytes).unwrap_or_default() {
            0 => "under 1 %".to_owned(),
            percent => format!("{percent} %"),
        };
        parts.push(format!("{} of the image, {percent} of it", human::size(gain.bytes)));
    }
    if gain.copied > 0 {
        parts.push(format!("{} that need not be copied", human::size(gain.copied)));
    }
    if !gain.time.is_zero() {
        let steps = if gain.steps.len() == 1 { "a step".to_owned() } else { format!("{} steps", gain.steps.len()) };
        parts.push(format!("{} for {steps} that need not run {}", human::seconds(gain.time), gain.when));
    }
    parts.join("; ")
}

/// Returns what to do with some lines.
fn lines(hunk: &Hunk, style: Style) -> String {
    let range = |count: usize| match count {
        1 => format!("line {}", hunk.line),
        _ => format!("lines {} to {}", hunk.line, hunk.line + count - 1),
    };
    let head = match (hunk.removed, hunk.lines.is_empty()) {
        (0, _) if hunk.line == 1 => "before line 1 write:".to_owned(),
        (0, _) => format!("after line {} write:", hunk.line - 1),
        (count, true) => format!("remove {}", range(count)),
        (count, false) => format!("in place of {} write:", range(count)),
    };
    let mut text = format!("{}\n", style.cyan(&head));
    text.extend(hunk.lines.iter().map(|line| format!("  | {}\n", printable(line))));
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stave_history::event::StepId;

    use super::*;

    #[test]
    fn what_is_shipped_for_nothing_is_said_also_where_no_change_is_known() {
        let record = Record { name: "Dockerfile".to_owned(), ..Record::default() };
        let said = |visible| {
            let totals = Some(Totals { bytes: 1_000_000, visible, files: 3 });
            let seen = Seen { image_bytes: 1_000_000, totals, ..Seen::default() };
            text(&record, &seen, 0, Style::PLAIN)
        };
        let nothing = "No change of Dockerfile that is known here would save much.\n";
        assert_eq!(said(960_000), nothing);
        let waste = "150kB of the image, 15 % of it, is shipped for nothing: later layers replace or delete it. \
                     `stave report` shows the files.\n";
        assert_eq!(said(850_000), format!("{nothing}{waste}"));
    }

    #[test]
    fn a_gain_is_told_in_bytes_and_time_and_a_small_one_is_not_nothing() {
        let bytes = |bytes| gain_line(&Gain { bytes, ..Gain::default() }, 1_000_000);
        assert_eq!(bytes(9_900), "9.9kB of the image, under 1 % of it");
        assert_eq!(bytes(10_000), "10kB of the image, 1 % of it");
        assert_eq!(bytes(1_000_000), "1MB of the image, 100 % of it");
        let whole = Gain {
            bytes: 500_000,
            copied: 2_000,
            steps: vec![StepId(1), StepId(2)],
            time: Duration::from_millis(1500),
            when: "after a change of the source".to_owned(),
        };
        assert_eq!(
            gain_line(&whole, 1_000_000),
            "500kB of the image, 50 % of it; 2kB that need not be copied; 1.5s for 2 steps that need not run after a \
             change of the source"
        );
        assert_eq!(gain_line(&Gain { bytes: 1, ..Gain::default() }, 0), "1B of the image, under 1 % of it");
    }
}
