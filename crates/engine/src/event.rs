//! The events of the engine: those of the crate `event`, under one name here.

pub(crate) use stave_event::{
    BuiltImage, Ending, Event, LayerLine, Origin, Remarks, RequestFacts, StepId, StepLine, Stream, TaskEnding, TaskId,
    TaskKind,
};
