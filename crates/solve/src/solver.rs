//! The state machine.

use std::collections::BTreeSet;

use stave_graph::{CacheKey, Graph, NodeId, TreeDigest, cache_key};

use crate::protocol::{Action, Event, Options, Outcome, Status};

#[derive(Debug, Clone)]
enum State<R> {
    Unneeded,
    Digesting,
    LookingUp,
    AwaitingInputs { missing: usize },
    LookingUpContent,
    Queued,
    Running,
    Hit(R),
    Executed(R),
    Failed,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Keys can be made only when all the context is digested.
    Digesting,
    Solving,
    Ending {
        first_failure: NodeId,
    },
}

/// The schedule of one build: one solver owns one graph.
#[derive(Debug)]
pub struct Solver<R> {
    graph: Graph,
    /// What must have a result in the end.
    targets: Vec<NodeId>,
    options: Options,
    phase: Phase,
    /// Number of actions that still need an answer.
    unanswered: usize,
    /// What may run as soon as less than `running_max` do.
    queue: BTreeSet<NodeId>,
    running: BTreeSet<NodeId>,
    /// The targets and all that they may need, inputs first.
    reachable: Vec<NodeId>,
    // The tables below are indexed by nodes.
    states: Vec<State<R>>,
    selections: Vec<Option<TreeDigest>>,
    keys: Vec<Option<CacheKey>>,
    dependants: Vec<BTreeSet<NodeId>>,
    /// Whether a node is to be executed again, or depends on one that is.
    above_rerun: Vec<bool>,
}

impl<R: Clone> Solver<R> {
    /// Returns a solver for `targets`, and what must be done first.
    #[must_use = "actions that are not carried out stall the build"]
    pub fn new(graph: &Graph, targets: &[NodeId], options: Options) -> (Self, Vec<Action<R>>) {
        assert!(options.running_max > 0, "something must be allowed to run");
        let reachable = graph.reachable_from(targets);
        let mut dependants = vec![BTreeSet::new(); graph.len()];
        let mut above_rerun = vec![false; graph.len()];
        for &node in &reachable {
            above_rerun[node.index()] = options.rerun.contains(&node);
            for input in graph.op(node).inputs() {
                dependants[input.index()].insert(node);
                above_rerun[node.index()] |= above_rerun[input.index()];
            }
        }
        let mut solver = Self {
            graph: graph.clone(),
            targets: targets.to_vec(),
            options,
            phase: Phase::Digesting,
            unanswered: 0,
            queue: BTreeSet::new(),
            running: BTreeSet::new(),
            reachable,
            states: (0..graph.len()).map(|_| State::Unneeded).collect(),
            selections: vec![None; graph.len()],
            keys: vec![None; graph.len()],
            dependants,
            above_rerun,
        };
        let mut actions = solver.digest_all();
        solver.begin_if_digested(&mut actions);
        (solver, actions)
    }

    /// Takes in the answer to an action and returns what must be done next.
    #[must_use = "actions that are not carried out stall the build"]
    pub fn handle(&mut self, event: Event<R>) -> Vec<Action<R>> {
        let mut actions = Vec::new();
        self.unanswered = self.unanswered.checked_sub(1).expect("every event answers an action");
        match event {
            Event::Digested { node, digest } => {
                self.leave(node, |state| matches!(state, State::Digesting));
                self.selections[node.index()] = Some(digest);
                self.begin_if_digested(&mut actions);
            }
            Event::KeyHit { node, result } => {
                self.leave(node, |state| matches!(state, State::LookingUp));
                self.settle(node, State::Hit(result), &mut actions);
            }
            Event::KeyMissed { node } => {
                self.leave(node, |state| matches!(state, State::LookingUp));
                self.want_inputs(node, &mut actions);
            }
            Event::ContentHit { node, result } => {
                self.leave(node, |state| matches!(state, State::LookingUpContent));
                self.settle(node, State::Hit(result), &mut actions);
            }
            Event::ContentMissed { node } => {
                self.leave(node, |state| matches!(state, State::LookingUpContent));
                self.enqueue(node);
            }
            Event::Executed { node, result } => {
                self.leave(node, |state| matches!(state, State::Running));
                self.running.remove(&node);
                self.settle(node, State::Executed(result), &mut actions);
            }
            Event::Failed { node } => self.fail(node, &mut actions),
        }
        self.start_queued(&mut actions);
        actions
    }

    /// Returns how the solve ended, once it has: nothing is left to be answered then.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome<R>> {
        match self.phase {
            Phase::Digesting => None,
            Phase::Solving => self.target_results().map(Outcome::Done),
            Phase::Ending { first_failure } => {
                (self.unanswered == 0).then_some(Outcome::Failed { node: first_failure })
            }
        }
    }

    /// Returns what has become of `node`.
    #[must_use]
    pub fn status(&self, node: NodeId) -> Status {
        match self.states[node.index()] {
            State::Unneeded | State::Digesting => Status::Unneeded,
            State::LookingUp | State::AwaitingInputs { .. } | State::LookingUpContent | State::Queued => {
                Status::Waiting
            }
            State::Running => Status::Running,
            State::Hit(_) => Status::Hit,
            State::Executed(_) => Status::Executed,
            State::Failed => Status::Failed,
        }
    }

    /// Returns the key of `node`, once all the context is digested; `None` for what no target needs.
    #[must_use]
    pub fn key(&self, node: NodeId) -> Option<CacheKey> {
        self.keys[node.index()]
    }

    /// Returns the result of `node`, if it has one.
    #[must_use]
    pub fn result(&self, node: NodeId) -> Option<&R> {
        match &self.states[node.index()] {
            State::Hit(result) | State::Executed(result) => Some(result),
            _ => None,
        }
    }

    /// Returns the results of all targets, in their order, once all have one.
    fn target_results(&self) -> Option<Vec<R>> {
        self.targets.iter().map(|&target| self.result(target).cloned()).collect()
    }

    fn digest_all(&mut self) -> Vec<Action<R>> {
        let readers: Vec<_> =
            self.reachable.iter().copied().filter(|&node| self.graph.op(node).reads_outside()).collect();
        self.unanswered = readers.len();
        for node in &readers {
            self.states[node.index()] = State::Digesting;
        }
        readers.into_iter().map(|node| Action::Digest { node }).collect()
    }

    fn begin_if_digested(&mut self, actions: &mut Vec<Action<R>>) {
        if !matches!(self.phase, Phase::Digesting) || self.unanswered > 0 {
            return;
        }
        self.phase = Phase::Solving;
        for &node in &self.reachable {
            let op = self.graph.op(node);
            let inputs: Vec<_> =
                op.inputs().map(|input| self.keys[input.index()].expect("inputs come first")).collect();
            self.keys[node.index()] = Some(cache_key(op, &inputs, self.selections[node.index()].as_ref()));
        }
        for target in self.targets.clone() {
            self.want(target, actions);
        }
        self.start_queued(actions);
    }

    /// Ends what `node` was doing, which must be what `expected` says.
    fn leave(&mut self, node: NodeId, expected: fn(&State<R>) -> bool) {
        let state = std::mem::replace(&mut self.states[node.index()], State::Unneeded);
        assert!(expected(&state), "the event about {node} answers no action");
    }

    /// Asks for a result of `node` if nothing has yet, and for all that it needs where its key may not be looked up.
    fn want(&mut self, node: NodeId, actions: &mut Vec<Action<R>>) {
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            if !matches!(self.states[node.index()], State::Unneeded) {
                continue;
            }
            if self.graph.op(node).is_source() {
                self.enqueue(node);
            } else if self.options.use_cache && !self.above_rerun[node.index()] {
                self.states[node.index()] = State::LookingUp;
                self.unanswered += 1;
                actions.push(Action::LookUp { node, key: self.known_key(node) });
            } else if self.await_inputs(node) == 0 {
                // What is on the network has no inputs: nothing will ever wake it.
                self.enqueue(node);
            } else {
                open.extend(self.graph.op(node).inputs());
            }
        }
    }

    /// After a miss: the node needs its inputs.
    fn want_inputs(&mut self, node: NodeId, actions: &mut Vec<Action<R>>) {
        let missing = self.await_inputs(node);
        if !matches!(self.phase, Phase::Solving) {
            return;
        }
        if missing == 0 {
            self.inputs_are_there(node, actions);
            return;
        }
        let inputs: Vec<_> = self.graph.op(node).inputs().collect();
        for input in inputs {
            self.want(input, actions);
        }
    }

    /// Returns how many inputs have no result yet.
    fn await_inputs(&mut self, node: NodeId) -> usize {
        let inputs: BTreeSet<_> = self.graph.op(node).inputs().collect();
        let missing = inputs.into_iter().filter(|&input| self.result(input).is_none()).count();
        self.states[node.index()] = State::AwaitingInputs { missing };
        missing
    }

    fn inputs_are_there(&mut self, node: NodeId, actions: &mut Vec<Action<R>>) {
        if !self.options.use_cache || self.options.rerun.contains(&node) {
            self.enqueue(node);
            return;
        }
        self.states[node.index()] = State::LookingUpContent;
        self.unanswered += 1;
        actions.push(Action::LookUpContent { node, key: self.known_key(node), inputs: self.input_results(node) });
    }

    fn enqueue(&mut self, node: NodeId) {
        self.states[node.index()] = State::Queued;
        self.queue.insert(node);
    }

    fn start_queued(&mut self, actions: &mut Vec<Action<R>>) {
        while matches!(self.phase, Phase::Solving) && self.running.len() < self.options.running_max {
            let Some(node) = self.queue.pop_first() else { return };
            self.states[node.index()] = State::Running;
            self.running.insert(node);
            self.unanswered += 1;
            actions.push(Action::Execute {
                node,
                key: self.known_key(node),
                selection: self.selections[node.index()],
                inputs: self.input_results(node),
            });
        }
    }

    /// `node` has a result: whatever waited only for it goes on.
    fn settle(&mut self, node: NodeId, state: State<R>, actions: &mut Vec<Action<R>>) {
        self.states[node.index()] = state;
        if !matches!(self.phase, Phase::Solving) {
            return;
        }
        let dependants: Vec<_> = self.dependants[node.index()].iter().copied().collect();
        for dependant in dependants {
            if let State::AwaitingInputs { missing } = &mut self.states[dependant.index()] {
                *missing -= 1;
                if *missing == 0 {
                    self.inputs_are_there(dependant, actions);
                }
            }
        }
    }

    fn fail(&mut self, node: NodeId, actions: &mut Vec<Action<R>>) {
        self.leave(node, |state| {
            matches!(state, State::Digesting | State::LookingUp | State::LookingUpContent | State::Running)
        });
        self.states[node.index()] = State::Failed;
        self.running.remove(&node);
        if !matches!(self.phase, Phase::Ending { .. }) {
            self.phase = Phase::Ending { first_failure: node };
            actions.extend(self.running.iter().map(|&node| Action::Cancel { node }));
        }
    }

    fn known_key(&self, node: NodeId) -> CacheKey {
        self.keys[node.index()].expect("what is wanted is reachable, and all that is reachable has a key")
    }

    fn input_results(&self, node: NodeId) -> Vec<R> {
        let result = |input| self.result(input).cloned().expect("all inputs have results");
        self.graph.op(node).inputs().map(result).collect()
    }
}
