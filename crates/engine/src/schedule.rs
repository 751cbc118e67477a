//! Carries out what the solver wants: one thread for each thing that waits, one thread that owns the solver.
//!
//! It knows the order of things only through the solver, and what they are only through [`Worker`].

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::thread;

use stave_graph::{Graph, NodeId};
use stave_solve::{Action, Event, Options, Outcome, Solver, Status};

/// Does the work behind the solver's actions. All methods but [`Worker::look_up`] are called from threads of their own.
pub(crate) trait Worker<R>: Sync {
    /// Answers everything but `Cancel`, and remembers why if the answer is `Failed`.
    fn perform(&self, action: Action<R>) -> Event<R>;

    /// Answers a `LookUp` at once, or hands it back: then it is performed.
    fn look_up(&self, action: Action<R>) -> Result<Event<R>, Action<R>>;

    /// Ends everything that runs: a node has failed, and its build with it.
    fn stop(&self);

    /// Tells what has become of a node, once for each change that a person wants to see.
    fn changed(&self, node: NodeId, status: Status);
}

/// Solves `graph` for `targets` with the hands of `worker`.
///
/// Returns how it ended.
pub(crate) fn solve<R, W>(graph: &Graph, targets: &[NodeId], options: Options, worker: &W) -> Outcome<R>
where
    R: Clone + Send,
    W: Worker<R>,
{
    let (mut solver, actions) = Solver::new(graph, targets, options);
    let mut queue: VecDeque<Action<R>> = actions.into();
    let (answers, inbox) = mpsc::channel();
    thread::scope(|scope| {
        loop {
            while let Some(action) = queue.pop_front() {
                let waits = match action {
                    Action::LookUp { .. } => match worker.look_up(action) {
                        Ok(event) => {
                            queue.extend(answer(&mut solver, event, worker));
                            continue;
                        }
                        Err(action) => action,
                    },
                    Action::Cancel { .. } => {
                        worker.stop();
                        continue;
                    }
                    Action::Digest { .. } | Action::LookUpContent { .. } | Action::Execute { .. } => action,
                };
                let answers = answers.clone();
                // The receiver lives until every action is answered, so sending cannot fail.
                scope.spawn(move || drop(answers.send(worker.perform(waits))));
            }
            if let Some(outcome) = solver.outcome() {
                break outcome;
            }
            let event = inbox.recv().expect("the solver waits only for actions that are being carried out");
            queue.extend(answer(&mut solver, event, worker));
        }
    })
}

/// Hands `event` to the solver, and news of its node to the worker.
fn answer<R: Clone, W: Worker<R>>(solver: &mut Solver<R>, event: Event<R>, worker: &W) -> Vec<Action<R>> {
    let node = match &event {
        Event::KeyHit { node, .. } | Event::ContentHit { node, .. } => Some(*node),
        Event::Digested { .. }
        | Event::KeyMissed { .. }
        | Event::ContentMissed { .. }
        | Event::Executed { .. }
        | Event::Failed { .. } => None,
    };
    let actions = solver.handle(event);
    if let Some(node) = node {
        worker.changed(node, Status::Hit);
    }
    actions
}

/// How many steps run at once where nobody says: enough that a build waits for its steps and not for its turn.
pub(crate) fn running_max(cpus: usize) -> NonZeroUsize {
    NonZeroUsize::new((cpus * 4).max(16)).unwrap_or(NonZeroUsize::MIN)
}
