//! The solver against a simulated world: random graphs, random answers in random orders, failures injected.
//!
//! A run is decided by its seed alone; a failing assertion prints it.

use std::collections::{BTreeMap, BTreeSet};

use stave_graph::{ContextId, Copy, CopySource, Graph, Http, MakeDir, NodeId, Op, Origin, TreeDigest};
use stave_solve::{Action, Event, Options, Outcome, Solver, Status};

/// `SplitMix64`: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).expect("small")).expect("small")
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// What the simulated world will answer, whatever the order of the questions.
struct World {
    graph: Graph,
    targets: Vec<NodeId>,
    key_hits: BTreeSet<NodeId>,
    content_hits: BTreeSet<NodeId>,
    failures: BTreeSet<NodeId>,
}

/// Results are the name of the node, so that a mixed-up input is seen.
type Result = NodeId;

fn any_world(random: &mut Random) -> World {
    let mut graph = Graph::new();
    let mut nodes = vec![graph.add(Op::Scratch, Origin(0))];
    for number in 0..=random.below(25) {
        let any = |random: &mut Random| nodes[random.below(nodes.len())];
        let parent = any(random);
        let op = if random.chance(10) {
            Op::Http(Http { url: String::new(), name: number.to_string(), checksum: None })
        } else if random.chance(50) {
            Op::MakeDir(MakeDir { parent, path: format!("/{number}"), owner: String::new() })
        } else {
            let sources = (0..=random.below(2)).map(|_| {
                if random.chance(30) {
                    CopySource::Context { context: ContextId::MAIN, pattern: "a".into() }
                } else {
                    CopySource::Tree { node: any(random), pattern: ".".into() }
                }
            });
            let sources = sources.collect();
            let dest = format!("/{number}");
            Op::Copy(Copy::new(parent, sources, &dest))
        };
        nodes.push(graph.add(op, Origin(0)));
    }
    let percent = [0, 20, 60, 100][random.below(4)];
    let failing = [0, 0, 10][random.below(3)];
    let mut pick = |percent| nodes.iter().copied().filter(|_| random.chance(percent)).collect::<BTreeSet<_>>();
    let (key_hits, content_hits, failures) = (pick(percent), pick(percent / 2), pick(failing));
    let further = [0, 0, 1, 3][random.below(4)];
    let mut targets = vec![*nodes.last().expect("not empty")];
    targets.extend((0..further).map(|_| nodes[random.below(nodes.len())]));
    World { graph, targets, key_hits, content_hits, failures }
}

/// The nodes that are to be executed again, and all that depends on one.
fn above_rerun(world: &World, options: &Options) -> BTreeSet<NodeId> {
    let mut above = BTreeSet::new();
    for node in world.graph.reachable_from(&world.targets) {
        if options.rerun.contains(&node) || world.graph.op(node).inputs().any(|input| above.contains(&input)) {
            above.insert(node);
        }
    }
    above
}

/// What a solve does if nothing fails, worked out without any order.
fn expected(world: &World, options: &Options) -> (BTreeSet<NodeId>, BTreeSet<NodeId>) {
    let (mut wanted, mut executed) = (BTreeSet::new(), BTreeSet::new());
    let above = above_rerun(world, options);
    let mut open = world.targets.clone();
    while let Some(node) = open.pop() {
        if !wanted.insert(node) {
            continue;
        }
        let source = world.graph.op(node).is_source();
        let use_cache = options.use_cache;
        if use_cache && !source && !above.contains(&node) && world.key_hits.contains(&node) {
            continue;
        }
        if source || !use_cache || options.rerun.contains(&node) || !world.content_hits.contains(&node) {
            executed.insert(node);
        }
        open.extend(world.graph.op(node).inputs());
    }
    (wanted, executed)
}

#[derive(Default)]
struct Seen {
    digested: BTreeSet<NodeId>,
    looked_up: BTreeSet<NodeId>,
    looked_up_content: BTreeSet<NodeId>,
    executed: BTreeSet<NodeId>,
    running: BTreeSet<NodeId>,
    cancelled: BTreeSet<NodeId>,
    results: BTreeMap<NodeId, Result>,
    failed: bool,
}

impl Seen {
    /// Checks every action against all that happened before it.
    fn check(&mut self, world: &World, options: &Options, solver: &Solver<Result>, action: &Action<Result>) {
        let inputs_are_there = |seen: &Self, node: NodeId, inputs: &[Result]| {
            let expected: Vec<_> = world.graph.op(node).inputs().collect();
            assert_eq!(inputs, expected, "results come in the order of the inputs");
            assert!(inputs.iter().all(|input| seen.results.contains_key(input)), "inputs come first");
        };
        if !matches!(action, Action::Cancel { .. }) {
            assert!(!self.failed, "nothing starts after a failure: {action:?}");
        }
        match action {
            Action::Digest { node } => assert!(self.digested.insert(*node), "digested twice"),
            Action::LookUp { node, key } => {
                assert!(options.use_cache && !above_rerun(world, options).contains(node));
                assert_eq!(solver.key(*node), Some(*key));
                assert!(self.looked_up.insert(*node), "looked up twice");
                assert!(!world.graph.op(*node).is_source());
            }
            Action::LookUpContent { node, inputs, .. } => {
                assert!(options.use_cache && !options.rerun.contains(node));
                assert!(self.looked_up_content.insert(*node), "looked up twice");
                inputs_are_there(self, *node, inputs);
            }
            Action::Execute { node, selection, inputs, .. } => {
                assert!(self.executed.insert(*node), "executed twice");
                assert!(self.running.insert(*node));
                assert!(self.running.len() <= options.running_max);
                assert_eq!(selection.is_some(), world.graph.op(*node).reads_outside());
                inputs_are_there(self, *node, inputs);
            }
            Action::Cancel { node } => {
                assert!(self.failed && self.running.contains(node), "only what runs is cancelled");
                assert!(self.cancelled.insert(*node), "cancelled twice");
            }
        }
    }
}

fn answer(world: &World, seen: &mut Seen, action: &Action<Result>, random: &mut Random) -> Event<Result> {
    let (Action::Digest { node }
    | Action::LookUp { node, .. }
    | Action::LookUpContent { node, .. }
    | Action::Execute { node, .. }
    | Action::Cancel { node }) = *action;
    let hit = |seen: &mut Seen| seen.results.insert(node, node);
    match action {
        Action::Execute { .. } => {
            seen.running.remove(&node);
            if world.failures.contains(&node) || (seen.cancelled.contains(&node) && random.chance(50)) {
                seen.failed = true;
                return Event::Failed { node };
            }
            hit(seen);
            Event::Executed { node, result: node }
        }
        Action::LookUp { .. } if world.key_hits.contains(&node) => {
            hit(seen);
            Event::KeyHit { node, result: node }
        }
        Action::LookUp { .. } => Event::KeyMissed { node },
        Action::LookUpContent { .. } if world.content_hits.contains(&node) => {
            hit(seen);
            Event::ContentHit { node, result: node }
        }
        Action::LookUpContent { .. } => Event::ContentMissed { node },
        Action::Digest { .. } if world.failures.contains(&node) => {
            seen.failed = true;
            Event::Failed { node }
        }
        Action::Digest { .. } => Event::Digested { node, digest: TreeDigest::of(b"content") },
        Action::Cancel { .. } => unreachable!("a cancel has no answer of its own"),
    }
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let world = any_world(&mut random);
    let mut options =
        Options { running_max: 1 + random.below(4), use_cache: random.chance(75), rerun: BTreeSet::new() };
    if random.chance(30) {
        let steps =
            world.graph.reachable_from(&world.targets).into_iter().filter(|&node| !world.graph.op(node).is_source());
        options.rerun = steps.filter(|_| random.chance(20)).collect();
    }
    let (mut solver, first) = Solver::<Result>::new(&world.graph, &world.targets, options.clone());
    let mut history = Seen::default();
    let mut open = Vec::new();
    let mut actions = first;
    loop {
        for action in actions {
            history.check(&world, &options, &solver, &action);
            if !matches!(action, Action::Cancel { .. }) {
                open.push(action);
            }
        }
        if open.is_empty() {
            break;
        }
        assert_eq!(solver.outcome(), None, "it has not ended while something is unanswered");
        let action = open.swap_remove(random.below(open.len()));
        let event = answer(&world, &mut history, &action, &mut random);
        actions = solver.handle(event);
    }
    check_end(&world, &options, &solver, &history);
}

fn check_end(world: &World, options: &Options, solver: &Solver<Result>, seen: &Seen) {
    let (wanted, executed) = expected(world, options);
    match solver.outcome().expect("everything was answered, so it has ended") {
        Outcome::Failed { node } => {
            assert!(seen.failed && world.failures.contains(&node), "the first failure is no cancelled node");
            assert_eq!(solver.status(node), Status::Failed);
            assert!(seen.executed.is_subset(&executed) && seen.looked_up.is_subset(&wanted));
        }
        Outcome::Done(results) => {
            assert!(!seen.failed);
            assert_eq!(results, world.targets, "each target has its own result, in the order of the targets");
            assert_eq!(seen.executed, executed, "the order of answers decides nothing");
            for node in world.graph.reachable_from(&world.targets) {
                let status = match (wanted.contains(&node), executed.contains(&node)) {
                    (false, _) => Status::Unneeded,
                    (true, true) => Status::Executed,
                    (true, false) => Status::Hit,
                };
                assert_eq!(solver.status(node), status, "{node}");
            }
        }
    }
}

#[test]
fn every_order_of_answers_keeps_the_invariants() {
    for seed in 0..20_000 {
        let outcome = std::panic::catch_unwind(|| run(seed));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

/// Scratch, two directories on it, and a copy of one to the other.
fn diamond() -> (Graph, [NodeId; 4]) {
    let mut graph = Graph::new();
    let scratch = graph.add(Op::Scratch, Origin(0));
    let mut dir = |path: &str| {
        graph.add(Op::MakeDir(MakeDir { parent: scratch, path: path.into(), owner: String::new() }), Origin(0))
    };
    let (a, b) = (dir("/a"), dir("/b"));
    let copy =
        graph.add(Op::Copy(Copy::new(a, vec![CopySource::Tree { node: b, pattern: ".".into() }], "/c")), Origin(0));
    (graph, [scratch, a, b, copy])
}

fn options(use_cache: bool) -> Options {
    Options { running_max: 2, use_cache, rerun: BTreeSet::new() }
}

/// T203
#[test]
fn what_is_to_run_again_runs_and_what_depends_on_it_is_looked_up_by_content() {
    let (graph, [scratch, a, b, copy]) = diamond();
    let again = Options { rerun: [b].into(), ..options(true) };
    let (mut solver, actions) = Solver::new(&graph, &[copy], again);
    assert!(
        matches!(actions[..], [Action::LookUp { node: x, .. }, Action::Execute { node: y, .. }] if (x, y) == (a, scratch)),
        "{actions:?}"
    );
    assert!(solver.handle(Event::KeyHit { node: a, result: 1 }).is_empty());
    let actions = solver.handle(Event::Executed { node: scratch, result: 0 });
    assert!(matches!(actions[..], [Action::Execute { node, .. }] if node == b), "{actions:?}");
    let actions = solver.handle(Event::Executed { node: b, result: 2 });
    assert!(matches!(&actions[..], [Action::LookUpContent { node, inputs, .. }] if *node == copy && *inputs == [1, 2]));
    assert!(solver.handle(Event::ContentHit { node: copy, result: 3 }).is_empty());
    assert_eq!(solver.outcome(), Some(Outcome::Done(vec![3])));
}

#[test]
fn a_hit_at_the_target_asks_nothing_else() {
    let (graph, [scratch, a, b, copy]) = diamond();
    let (mut solver, actions) = Solver::new(&graph, &[copy], options(true));
    assert!(matches!(actions[..], [Action::LookUp { node, .. }] if node == copy));
    assert!(solver.handle(Event::KeyHit { node: copy, result: 7 }).is_empty());
    assert_eq!(solver.outcome(), Some(Outcome::Done(vec![7])));
    assert!([scratch, a, b].into_iter().all(|node| solver.status(node) == Status::Unneeded));
}

#[test]
fn independent_nodes_run_at_the_same_time() {
    let (graph, [scratch, a, b, copy]) = diamond();
    let (mut solver, actions) = Solver::new(&graph, &[copy], options(false));
    assert!(matches!(actions[..], [Action::Execute { node, .. }] if node == scratch));
    let actions = solver.handle(Event::Executed { node: scratch, result: () });
    assert!(
        matches!(actions[..], [Action::Execute { node: x, .. }, Action::Execute { node: y, .. }] if (x, y) == (a, b))
    );
}

#[test]
fn a_failure_cancels_what_runs_and_waits_for_it() {
    let (graph, [scratch, a, b, copy]) = diamond();
    let (mut solver, _) = Solver::new(&graph, &[copy], options(false));
    let _both = solver.handle(Event::Executed { node: scratch, result: () });
    assert_eq!(solver.handle(Event::Failed { node: a }), [Action::Cancel { node: b }]);
    assert_eq!(solver.outcome(), None);
    assert_eq!(solver.handle(Event::Failed { node: b }), []);
    assert_eq!(solver.outcome(), Some(Outcome::Failed { node: a }));
    assert_eq!(solver.status(copy), Status::Waiting);
}

/// T81
#[test]
fn what_several_targets_need_is_looked_up_and_executed_once() {
    let (mut graph, [scratch, a, _, _]) = diamond();
    let dir = |path: &str| Op::MakeDir(MakeDir { parent: a, path: path.into(), owner: String::new() });
    let (one, two) = (graph.add(dir("/a/1"), Origin(0)), graph.add(dir("/a/2"), Origin(0)));
    let (mut solver, actions) = Solver::new(&graph, &[one, two], options(false));
    assert!(matches!(actions[..], [Action::Execute { node, .. }] if node == scratch), "{actions:?}");
    let actions = solver.handle(Event::Executed { node: scratch, result: 0 });
    assert!(matches!(actions[..], [Action::Execute { node, .. }] if node == a), "{actions:?}");
    let actions = solver.handle(Event::Executed { node: a, result: 1 });
    assert!(
        matches!(actions[..], [Action::Execute { node: x, .. }, Action::Execute { node: y, .. }] if (x, y) == (one, two))
    );
    assert!(solver.handle(Event::Executed { node: two, result: 3 }).is_empty());
    assert_eq!(solver.outcome(), None, "one target has no result yet");
    assert!(solver.handle(Event::Executed { node: one, result: 2 }).is_empty());
    assert_eq!(solver.outcome(), Some(Outcome::Done(vec![2, 3])));
}

#[test]
fn a_target_that_is_known_asks_nothing_while_another_one_runs() {
    let (mut graph, [scratch, a, b, copy]) = diamond();
    let other = graph.add(Op::MakeDir(MakeDir { parent: b, path: "/b/1".into(), owner: String::new() }), Origin(0));
    let (mut solver, actions) = Solver::new(&graph, &[copy, other], options(true));
    assert!(
        matches!(actions[..], [Action::LookUp { node: x, .. }, Action::LookUp { node: y, .. }] if (x, y) == (copy, other))
    );
    assert!(solver.handle(Event::KeyHit { node: copy, result: 7 }).is_empty());
    let actions = solver.handle(Event::KeyMissed { node: other });
    assert!(matches!(actions[..], [Action::LookUp { node, .. }] if node == b), "{actions:?}");
    let actions = solver.handle(Event::KeyHit { node: b, result: 8 });
    assert!(matches!(actions[..], [Action::LookUpContent { node, .. }] if node == other), "{actions:?}");
    assert_eq!((solver.status(scratch), solver.status(a)), (Status::Unneeded, Status::Unneeded));
    assert!(solver.handle(Event::ContentHit { node: other, result: 9 }).is_empty());
    assert_eq!(solver.outcome(), Some(Outcome::Done(vec![7, 9])));
}

#[test]
fn a_build_for_several_targets_fails_when_one_does() {
    let (mut graph, [scratch, a, b, copy]) = diamond();
    let other = graph.add(Op::MakeDir(MakeDir { parent: b, path: "/b/1".into(), owner: String::new() }), Origin(0));
    let (mut solver, _) = Solver::new(&graph, &[copy, other], options(false));
    let _both = solver.handle(Event::Executed { node: scratch, result: 0 });
    let _other = solver.handle(Event::Executed { node: b, result: 1 });
    assert_eq!(solver.handle(Event::Failed { node: other }), [Action::Cancel { node: a }]);
    assert!(solver.handle(Event::Executed { node: a, result: 2 }).is_empty());
    assert_eq!(solver.outcome(), Some(Outcome::Failed { node: other }));
}
