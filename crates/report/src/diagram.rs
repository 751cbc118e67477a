//! What a picture of a build shows: stages or steps, the images that they start from, and what reads from what.

use std::collections::{BTreeMap, BTreeSet};

use stave_dockerfile::plan::{SourcePlace, StageSources};
use stave_history::Record;
use stave_history::event::StepId;

use crate::measure;
use crate::stages::{Mark, Read, outcome, place_name, reads, stages};

/// How much a diagram shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// A node for each stage.
    Stages,
    /// A node for each step.
    Steps,
}

/// Nodes, and edges that lead from a node to a later one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagram {
    /// The nodes; what is read stands before what reads it.
    pub nodes: Vec<Node>,
    /// The edges, each once, in the order of the nodes that read.
    pub edges: Vec<Edge>,
}

/// A stage, a step, or something that comes from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Its name, as others gave it.
    pub name: String,
    /// What else is said of it, on one line.
    pub note: String,
    /// What became of it.
    pub mark: Mark,
    /// Whether the build could not have been faster than it: it has a step of the critical path.
    pub is_critical: bool,
    /// Whether the build is for it.
    pub is_target: bool,
    /// Its first step, if it was built.
    pub step: Option<StepId>,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// An image, or files, that come from elsewhere.
    Source,
    /// A stage.
    Stage,
    /// A step.
    Step,
}

/// That a node reads from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The place of the node that is read.
    pub from: usize,
    /// The place of the node that reads.
    pub to: usize,
    /// How.
    pub kind: EdgeKind,
}

/// How a node reads from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EdgeKind {
    /// It goes on from it: `FROM`, or the step after a step.
    Base,
    /// It takes files of it: `COPY --from`, a mount.
    Files,
}

/// Images of a diagram, each once, and edges.
#[derive(Default)]
struct Drawing {
    sources: Vec<String>,
    places: BTreeMap<String, usize>,
    nodes: Vec<Node>,
    /// Which node reads what, and how.
    edges: BTreeMap<(usize, From), EdgeKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum From {
    Source(usize),
    Node(usize),
}

impl Drawing {
    fn read_source(&mut self, to: usize, name: &str, kind: EdgeKind) {
        let next = self.sources.len();
        let place = *self.places.entry(name.to_owned()).or_insert(next);
        if place == next {
            self.sources.push(name.to_owned());
        }
        self.edges.entry((to, From::Source(place))).or_insert(kind);
    }

    fn read(&mut self, to: usize, from: usize, kind: EdgeKind) {
        if from < to {
            self.edges.entry((to, From::Node(from))).or_insert(kind);
        }
    }

    fn finish(self) -> Diagram {
        let source = |name: String| Node {
            kind: NodeKind::Source,
            name,
            note: String::new(),
            mark: Mark::Plain,
            is_critical: false,
            is_target: false,
            step: None,
        };
        let sources = self.sources.len();
        let edge = |((to, from), kind): ((usize, From), EdgeKind)| {
            let from = match from {
                From::Source(place) => place,
                From::Node(place) => sources + place,
            };
            Edge { from, to: sources + to, kind }
        };
        Diagram {
            nodes: self.sources.into_iter().map(source).chain(self.nodes).collect(),
            edges: self.edges.into_iter().map(edge).collect(),
        }
    }
}

impl Diagram {
    /// Draws what was built.
    #[must_use]
    pub fn of_build(record: &Record, detail: Detail) -> Self {
        let mut diagram = match detail {
            Detail::Stages => of_stages(record),
            Detail::Steps => of_steps(record),
        };
        // Only what is needed is in a record, so what nothing reads is what was asked for.
        let read: BTreeSet<usize> = diagram.edges.iter().map(|edge| edge.from).collect();
        for (place, node) in diagram.nodes.iter_mut().enumerate() {
            node.is_target = node.kind != NodeKind::Source && !read.contains(&place);
        }
        diagram
    }

    /// Draws the stages of a Dockerfile that was not built.
    #[must_use]
    pub fn of_file(stages: &[StageSources]) -> Self {
        let places: BTreeMap<usize, usize> =
            stages.iter().enumerate().map(|(place, stage)| (stage.index, place)).collect();
        let mut drawing = Drawing::default();
        for (place, stage) in stages.iter().enumerate() {
            for source in &stage.sources {
                let kind = kind(source.is_base);
                match &source.place {
                    SourcePlace::Stage(stage) => {
                        places.get(stage).into_iter().for_each(|&from| drawing.read(place, from, kind));
                    }
                    SourcePlace::Other(name) => drawing.read_source(place, name, kind),
                }
            }
            drawing.nodes.push(Node {
                kind: NodeKind::Stage,
                name: stage.name.clone(),
                note: measure::counted(stage.instructions, "instruction"),
                mark: Mark::Plain,
                is_critical: false,
                is_target: stage.is_target,
                step: None,
            });
        }
        drawing.finish()
    }
}

fn kind(is_base: bool) -> EdgeKind {
    if is_base { EdgeKind::Base } else { EdgeKind::Files }
}

fn of_stages(record: &Record) -> Diagram {
    let stages = stages(record);
    let stage_of: Vec<usize> =
        stages.iter().enumerate().flat_map(|(place, stage)| stage.steps.clone().map(move |_| place)).collect();
    let critical: BTreeSet<usize> =
        record.critical_path().steps.iter().filter_map(|&step| stage_of.get(step.0 as usize).copied()).collect();
    let mut drawing = Drawing::default();
    for (place, stage) in stages.iter().enumerate() {
        let (mark, took) = outcome(record, stage);
        for (read, is_base) in stage.steps.clone().flat_map(|step| reads(record, &stages, place, step)) {
            match read {
                Read::Step(step) => drawing.read(place, stage_of[step], kind(is_base)),
                Read::Image(name) => drawing.read_source(place, name, kind(is_base)),
            }
        }
        let steps = measure::counted(stage.steps.len(), "step");
        let note = match mark {
            Mark::Ran | Mark::Failed | Mark::Running | Mark::Cancelled => {
                format!("{steps}, {} {}", mark.word(), measure::time(took))
            }
            _ => format!("{steps}, {}", mark.word()),
        };
        drawing.nodes.push(Node {
            kind: NodeKind::Stage,
            name: stage.name.clone(),
            note,
            mark,
            is_critical: critical.contains(&place),
            is_target: false,
            step: record.steps.get(stage.steps.start).map(|step| step.line.step),
        });
    }
    drawing.finish()
}

fn of_steps(record: &Record) -> Diagram {
    let stages = stages(record);
    let critical: BTreeSet<StepId> = record.critical_path().steps.into_iter().collect();
    let mut drawing = Drawing::default();
    let places = stages.iter().enumerate().flat_map(|(stage, one)| one.steps.clone().map(move |place| (stage, place)));
    for (stage, place) in places {
        let step = &record.steps[place];
        for (read, is_base) in reads(record, &stages, stage, place) {
            match read {
                Read::Step(from) => drawing.read(place, from, kind(is_base)),
                Read::Image(name) => drawing.read_source(place, name, kind(is_base)),
            }
        }
        let mark = Mark::of(step.state);
        let took = step.took.map(|took| format!(" {}", measure::time(took))).unwrap_or_default();
        drawing.nodes.push(Node {
            kind: NodeKind::Step,
            name: format!("{} {}", place_name(step), step.line.title),
            note: format!("{}{took}", mark.word()),
            mark,
            is_critical: critical.contains(&step.line.step),
            is_target: false,
            step: Some(step.line.step),
        });
    }
    drawing.finish()
}
