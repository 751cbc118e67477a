//! Builds that are made of a Dockerfile and of what each step's layer has.

use std::time::Duration;

use stave_anatomy::{Anatomy, Builder, Entry, Layer, Made, What};
use stave_dockerfile::ast::InstructionKind;
use stave_dockerfile::parse;
use stave_event::{StepId, StepLine};
use stave_history::{Record, StepRecord, StepState};

/// What a layer does at a path.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Does {
    /// It has a file of so many bytes there.
    Puts(u64),
    /// It deletes what was there.
    Deletes,
}

/// A build of which all steps made a layer of the image.
pub(crate) struct Built {
    pub(crate) image: Anatomy,
    pub(crate) record: Record,
}

impl Built {
    /// Has each `RUN`, `COPY`, `ADD` and `WORKDIR` of `text`, counted from 0, be a step of 3 s with what `does` says of it.
    pub(crate) fn new(text: &str, does: &dyn Fn(usize) -> Vec<(String, Does)>) -> Self {
        use InstructionKind as Kind;
        let mut record = Record { text: text.to_owned(), name: "Dockerfile".to_owned(), ..Record::default() };
        let mut builder = Builder::new();
        builder.layer(Layer { bytes: 1 << 20, made: Some(Made::Base { image: None }), ..Layer::default() });
        for (index, stage) in parse(text).file.stages.iter().enumerate() {
            let is_step = |kind: &Kind| matches!(kind, Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_));
            for instruction in stage.instructions.iter().filter(|instruction| is_step(&instruction.kind)) {
                let number = record.steps.len();
                let line = StepLine {
                    step: StepId(u32::try_from(number).expect("they are few")),
                    platform: None,
                    stage: format!("stage-{index}"),
                    number: 1,
                    of: 1,
                    title: instruction.head.line.as_str().to_owned(),
                    span: instruction.head.span,
                    inputs: Vec::new(),
                    bases: Vec::new(),
                };
                let made = Some(Made::of_step(&line, &[]));
                add(&mut builder, made, &does(number));
                record.steps.push(done(line));
            }
        }
        Self { image: builder.finish(), record }
    }
}

fn add(builder: &mut Builder, made: Option<Made>, does: &[(String, Does)]) {
    let size = |does: &Does| if let Does::Puts(content) = does { 512 + content } else { 512 };
    let bytes = does.iter().map(|(_, does)| size(does)).sum::<u64>() + 1024;
    builder.layer(Layer { bytes, made, ..Layer::default() });
    for (path, does) in does {
        let what = match does {
            Does::Puts(content) => What::File { content: *content },
            Does::Deletes => What::Whiteout,
        };
        builder.entry(&Entry { path: path.as_bytes(), what, bytes: size(does) }).expect("they are few");
    }
}

fn done(line: StepLine) -> StepRecord {
    StepRecord {
        line,
        state: StepState::Done,
        started: None,
        took: Some(Duration::from_secs(3)),
        saved: None,
        miss: None,
        origin: None,
        result: None,
        requests: Vec::new(),
    }
}
