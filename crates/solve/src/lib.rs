//! The schedule of a build as a state machine: events in, actions out.
