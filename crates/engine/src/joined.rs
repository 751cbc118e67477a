//! The plans of one file for several platforms become one graph and one list of steps.
//!
//! What two plans have in common, a stage on `$BUILDPLATFORM` above all, is one node of the graph and one step of the
//! list: it runs once, whatever the cache may do. It knows nothing of how a plan is made or carried out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use stave_dockerfile::Span;
use stave_dockerfile::plan::{BuildPlan, Scans, Step};
use stave_graph::{ContextId, Copy, CopySource, Graph, NodeId, Op, Renamed};
use stave_oci::{ImageId, Platform};

use crate::build::stage_name;
use crate::event::{StepId, StepLine};

/// All that is to be carried out.
pub(crate) struct Joined {
    /// The operations of all plans.
    pub(crate) graph: Graph,
    /// The plans, in the order in which their platforms were asked for.
    pub(crate) parts: Vec<Part>,
    /// The steps of all plans, each once: those of the first plan in its order, then what others add.
    pub(crate) steps: Vec<JoinedStep>,
    /// What else has to have a result.
    pub(crate) extras: Vec<Extra>,
}

/// Files that are searched for packages beside those of an image.
pub(crate) struct Extra {
    /// The place of the plan of which they are a part.
    pub(crate) part: usize,
    /// What a scanner knows them by: `context`, or the stage's name.
    pub(crate) name: String,
    /// What makes them, as a node of the joined graph.
    pub(crate) node: NodeId,
}

/// The plan for one platform.
pub(crate) struct Part {
    /// Which.
    pub(crate) platform: Platform,
    /// The plan. Its nodes are those of its own graph.
    pub(crate) plan: BuildPlan,
    renamed: Renamed,
}

impl Part {
    /// Returns the files of its image, as a node of the joined graph.
    pub(crate) fn target(&self) -> NodeId {
        self.renamed.node(self.plan.target)
    }

    /// Returns what makes each layer that its history speaks of, as nodes of the joined graph.
    fn layers(&self) -> impl Iterator<Item = NodeId> {
        self.plan.history.iter().filter_map(|item| item.node).map(|node| self.renamed.node(node))
    }
}

/// A step of at least one plan.
pub(crate) struct JoinedStep {
    /// What it does, as a node of the joined graph.
    pub(crate) node: NodeId,
    /// The step as its plan has it, whose node is of the plan's own graph.
    step: Step,
}

impl JoinedStep {
    /// Returns the step as it was planned.
    pub(crate) fn planned(&self) -> &Step {
        &self.step
    }

    /// Whether this is the same step of another plan.
    fn is(&self, node: NodeId, other: &Step) -> bool {
        self.node == node && self.step.stage == other.stage && self.step.number == other.number
    }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Returns what the step at this place of the list is called in events.
pub(crate) fn step_id(place: usize) -> StepId {
    StepId(number(place))
}

impl Joined {
    /// Joins plans, of which there is at least one.
    pub(crate) fn new(plans: Vec<(Platform, BuildPlan)>) -> Self {
        assert!(!plans.is_empty(), "a build is for at least one platform");
        let mut joined = Self { graph: Graph::new(), parts: Vec::new(), steps: Vec::new(), extras: Vec::new() };
        for (platform, plan) in plans {
            let renamed = joined.graph.absorb(&plan.graph);
            for step in &plan.steps {
                joined.step(renamed.node(step.node), step);
            }
            joined.parts.push(Part { platform, plan, renamed });
        }
        joined
    }

    /// Adds what is searched for packages beside the images: stages that the targets need, and the context.
    pub(crate) fn scan(&mut self, scans: &Scans) {
        for part in 0..self.parts.len() {
            let Part { plan, renamed, .. } = &self.parts[part];
            let target = plan.steps.last().map(|step| step.stage.index);
            let mut ends: BTreeMap<usize, (String, NodeId)> = BTreeMap::new();
            for step in plan.steps.iter().filter(|step| scans.stages.contains(&step.stage.index)) {
                ends.insert(step.stage.index, (stage_name(&step.stage), renamed.node(step.node)));
            }
            let stages = ends.into_iter().filter(|(index, _)| Some(*index) != target);
            let extras: Vec<Extra> =
                stages.map(|(_, (name, node))| Extra { part, name, node: self.merged(node) }).collect();
            self.extras.extend(extras);
            if scans.context {
                let node = self.context();
                self.extras.push(Extra { part, name: "context".to_owned(), node });
            }
        }
    }

    /// Returns the node that puts a linked copy on what it lies on, or the node itself.
    fn merged(&self, node: NodeId) -> NodeId {
        let nodes = self.graph.reachable_from(&self.targets()).into_iter();
        let mut merges = nodes.filter(|above| matches!(self.graph.op(*above), Op::Merge(merge) if merge.upper == node));
        merges.next().unwrap_or(node)
    }

    /// Returns a node whose files are those of the context.
    fn context(&mut self) -> NodeId {
        let origin = self.graph.origin(self.parts[0].target());
        let nothing = self.graph.add(Op::Scratch, origin);
        let all = CopySource::Context { context: ContextId::MAIN, pattern: ".".into() };
        self.graph.add(Op::Copy(Copy::new(nothing, vec![all], "/")), origin)
    }

    /// Returns all that must have a result in the end: the targets, in the order of the plans, and what else is searched.
    pub(crate) fn wanted(&self) -> Vec<NodeId> {
        self.targets().into_iter().chain(self.extras.iter().map(|extra| extra.node)).collect()
    }

    fn step(&mut self, node: NodeId, step: &Step) {
        match self.steps.iter_mut().find(|known| known.is(node, step)) {
            // What is the same for two targets is made for neither of them.
            Some(known) if known.step.makes_for != step.makes_for => known.step.makes_for = None,
            Some(_) => {}
            None => self.steps.push(JoinedStep { node, step: step.clone() }),
        }
    }

    /// Returns what must have a result in the end, in the order of the plans.
    pub(crate) fn targets(&self) -> Vec<NodeId> {
        self.parts.iter().map(Part::target).collect()
    }

    /// Returns the steps as a person reads them: with their platform where there are several. `name` is what an image is
    /// called.
    pub(crate) fn lines(&self, name: &dyn Fn(ImageId) -> String) -> Vec<StepLine> {
        let by_node = self.steps_by_node();
        let line = |(index, JoinedStep { node, step }): (usize, &JoinedStep)| {
            let (inputs, bases) = self.read_by(*node, &by_node);
            let mut line = StepLine {
                step: step_id(index),
                platform: self.shown_platform(step),
                stage: stage_name(&step.stage),
                number: number(step.number),
                of: number(step.of),
                title: step.title.clone(),
                span: step.span,
                inputs,
                bases: bases.into_iter().map(name).collect(),
            };
            // The base of a stage is itself what it reads: its words may be variables.
            if let (Op::Image(image), true) = (self.graph.op(*node), line.is_base()) {
                line.bases = vec![name(image.id)];
            }
            line
        };
        self.steps.iter().enumerate().map(line).collect()
    }

    /// Returns the steps and the images whose results a node reads, each once. What is no step of its own, like the files
    /// of a linked copy, is passed through.
    fn read_by(&self, node: NodeId, by_node: &BTreeMap<NodeId, Vec<usize>>) -> (Vec<StepId>, Vec<ImageId>) {
        let (mut steps, mut images) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        let mut open: VecDeque<NodeId> = self.graph.op(node).inputs().collect();
        while let Some(input) = open.pop_front() {
            if !seen.insert(input) {
                continue;
            }
            match (by_node.get(&input), self.graph.op(input)) {
                (Some(made_by), _) => steps.extend(made_by.first().copied().map(step_id)),
                (None, Op::Image(image)) => images.push(image.id),
                (None, op) => open.extend(op.inputs()),
            }
        }
        (steps, images)
    }

    /// Returns the step that makes each layer that the history of a part speaks of, the lowest first. Where several stages
    /// do the same, it is the step of the stage that the target is, or goes on from.
    pub(crate) fn layer_steps(&self, part: usize) -> Vec<Option<StepId>> {
        let by_node = self.steps_by_node();
        let stage = |place: usize| self.steps[place].step.stage.index;
        let part = &self.parts[part];
        let ends: BTreeMap<usize, NodeId> =
            part.plan.steps.iter().map(|step| (step.stage.index, part.renamed.node(step.node))).collect();
        let mut current = part.plan.steps.last().map_or(0, |step| step.stage.index);
        let layers: Vec<NodeId> = part.layers().collect();
        let mut steps: Vec<Option<StepId>> = Vec::with_capacity(layers.len());
        for node in layers.iter().rev() {
            let places = by_node.get(node).map(Vec::as_slice).unwrap_or_default();
            let own = places.iter().find(|&&place| stage(place) == current);
            // A stage goes on from the end of an earlier one.
            let is_end = |&&place: &&usize| stage(place) < current && ends.get(&stage(place)) == Some(node);
            let earlier = || places.iter().rev().find(is_end);
            let place = own.or_else(earlier).or_else(|| places.first()).copied();
            current = place.map_or(current, stage);
            steps.push(place.map(step_id));
        }
        steps.reverse();
        steps
    }

    /// Returns for which platform a step is, where there are several: `linux/amd64`, or `linux/amd64->arm64` for what is
    /// made on one platform for another one.
    ///
    /// Reference: BuildKit's `dockerfile2llb/convert.go`, names of vertices (G004 of the feature list).
    pub(crate) fn shown_platform(&self, step: &Step) -> Option<String> {
        let own = &step.platform;
        (self.parts.len() > 1).then(|| match &step.makes_for {
            None => own.to_string(),
            Some(other) => {
                let other = other.to_string();
                format!("{own}->{}", other.strip_prefix(&format!("{}/", own.os)).unwrap_or(&other))
            }
        })
    }

    /// Returns the steps of each node, in the order of the list.
    pub(crate) fn steps_by_node(&self) -> BTreeMap<NodeId, Vec<usize>> {
        let mut steps: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (index, step) in self.steps.iter().enumerate() {
            steps.entry(step.node).or_default().push(index);
        }
        steps
    }

    /// Returns what the first step of a node is called; nothing if it is none of the file's.
    pub(crate) fn title(&self, node: NodeId) -> String {
        let step = self.steps.iter().find(|step| step.node == node);
        step.map(|step| step.step.title.clone()).unwrap_or_default()
    }

    /// Returns the words of the file that a node was made for.
    pub(crate) fn span(&self, node: NodeId) -> Span {
        let span = |part: &Part| Some(part.plan.span(part.plan.graph.origin(part.renamed.earlier(node)?)));
        // What is searched for packages is made for the whole.
        let target = || self.parts[0].plan.span(self.parts[0].plan.graph.origin(self.parts[0].plan.target));
        self.parts.iter().find_map(span).unwrap_or_else(target)
    }

    /// Returns the nodes that make layers of the images.
    pub(crate) fn layer_makers(&self) -> BTreeSet<NodeId> {
        self.parts.iter().flat_map(Part::layers).map(|node| self.maker(node)).collect()
    }

    /// Returns the commands whose requests are recorded.
    pub(crate) fn recorded(&self) -> BTreeSet<NodeId> {
        let nodes = self.graph.reachable_from(&self.wanted()).into_iter();
        nodes.filter(|node| matches!(self.graph.op(*node), Op::Exec(exec) if exec.recorded)).collect()
    }

    /// Returns the node that makes the highest layer of `node`.
    fn maker(&self, node: NodeId) -> NodeId {
        if let Op::Merge(merge) = self.graph.op(node) { merge.upper } else { node }
    }
}

#[cfg(test)]
mod tests {
    use stave_dockerfile::parse;
    use stave_dockerfile::plan::{Facts, Plan, PlanOptions, plan};

    use super::*;

    fn planned(text: &str, target: &str) -> (Platform, BuildPlan) {
        let platform: Platform = target.parse().expect("a platform");
        let options = PlanOptions {
            build_platform: "linux/amd64".parse().expect("a platform"),
            ..PlanOptions::new(platform.clone())
        };
        match plan(&parse(text).file, &options, &Facts::default()) {
            (Plan::Ready(plan), _) => (platform, *plan),
            (other, found) => panic!("{other:?} {found:?}"),
        }
    }

    const CROSS: &str = "FROM --platform=$BUILDPLATFORM scratch AS build\nCOPY . /src\nARG TARGETARCH\n\
                         RUN [\"/cc\"]\nFROM scratch\nCOPY --from=build /out /\n";

    /// T81
    #[test]
    fn what_two_plans_have_in_common_is_one_step_and_the_rest_says_its_platform() {
        let joined = Joined::new(vec![planned(CROSS, "linux/amd64"), planned(CROSS, "linux/arm64")]);
        let lines: Vec<String> = joined
            .lines(&|id| id.to_string())
            .iter()
            .map(|line| format!("{} {} {}", line.platform.as_deref().unwrap_or("-"), line.stage, line.title))
            .collect();
        let expected = [
            "linux/amd64 build COPY . /src",
            "linux/amd64 build RUN [\"/cc\"]",
            "linux/amd64 stage-1 COPY --from=build /out /",
            "linux/amd64->arm64 build RUN [\"/cc\"]",
            "linux/arm64 stage-1 COPY --from=build /out /",
        ];
        assert_eq!(lines, expected);
        let targets = joined.targets();
        assert_eq!((targets.len(), targets[0] == targets[1]), (2, false));
        assert_eq!(joined.layer_makers(), targets.into_iter().collect());
    }

    #[test]
    fn a_layer_is_of_the_stage_that_the_target_is_or_goes_on_from() {
        let text = "FROM scratch AS other\nCOPY a /a\nFROM scratch AS base\nCOPY a /a\n\
                    FROM scratch AS longer\nCOPY a /a\nCOPY b /b\nCOPY c /c\nFROM base\nCOPY b /b\n\
                    COPY --from=other /a /x\nCOPY --from=longer /c /y\n";
        let joined = Joined::new(vec![planned(text, "linux/amd64")]);
        let lines = joined.lines(&|id| id.to_string());
        let makers: Vec<String> = joined
            .layer_steps(0)
            .into_iter()
            .map(|step| step.map_or_else(String::new, |step| lines[step.0 as usize].stage.clone()))
            .collect();
        assert_eq!(makers, ["base", "stage-3", "stage-3", "stage-3"]);
    }

    #[test]
    fn one_plan_is_joined_to_itself_and_says_no_platform() {
        let (platform, plan) = planned(CROSS, "linux/amd64");
        let joined = Joined::new(vec![(platform, plan.clone())]);
        assert_eq!((&joined.graph, joined.targets()), (&plan.graph, vec![plan.target]));
        assert!(joined.lines(&|id| id.to_string()).iter().all(|line| line.platform.is_none()));
    }

    #[test]
    fn a_file_that_knows_no_platform_is_one_image_for_all() {
        let text = "FROM scratch\nCOPY a /a\nCOPY --link b /b\n";
        let joined = Joined::new(vec![planned(text, "linux/amd64"), planned(text, "linux/arm/v7")]);
        let targets = joined.targets();
        assert_eq!((joined.steps.len(), targets[0]), (2, targets[1]));
        assert_eq!(joined.layer_makers().len(), 2);
    }
}
