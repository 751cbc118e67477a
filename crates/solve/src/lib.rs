//! Turns events ("this key is known", "this node has run") into actions ("look this up", "run that"), until the
//! targets of a build graph have results.
//!
//! It knows no clock, no thread, no cache and no way to run anything: whoever owns a [`Solver`] carries out its
//! actions, in any order and at any speed, and answers each with exactly one event.
//!
//! Invariants (each is checked by `tests/sim.rs` in thousands of random orders):
//! 1. If every action is answered, the solve ends.
//! 2. No node is looked up, executed or digested twice.
//! 3. A node starts only after all its inputs have results.
//! 4. No more than [`Options::running_max`] nodes execute at any moment.
//! 5. Below a hit nothing is looked up or executed, unless another target, or a miss on the way to one, needs it.
//! 6. After a failure nothing starts, and the solve ends when what had started has answered.
//! 7. What is looked up and what executes depends on the answers, never on their order.

mod protocol;
mod solver;

pub use protocol::{Action, Event, Options, Outcome, Status};
pub use solver::Solver;
