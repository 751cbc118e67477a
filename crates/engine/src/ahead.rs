//! Digests layers of the image, and compresses them if an output wants that, while the steps after them run.
//!
//! Turns layers into the digests of their tars and into blobs, which the end of the build then finds in the store. Nothing
//! depends on it: what it has not done, or could not do, is done and reported there.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::Receiver;

use stave_store::{LayerId, Lease};
use stave_tree::Times;

use crate::engine::Engine;
use crate::form::LayerMethod;

/// Steps are still running.
const RUNNING: u8 = 0;
/// All steps have ended: what is being digested is wanted, but others can do the rest as well.
const ENDED: u8 = 1;
/// A step has failed: no digest is wanted any more.
const ABANDONED: u8 = 2;

/// How far the build is.
#[derive(Default)]
pub(crate) struct Progress(AtomicU8);

impl Progress {
    /// Says that no step runs any more.
    pub(crate) fn end(&self, succeeded: bool) {
        self.0.store(if succeeded { ENDED } else { ABANDONED }, Ordering::Relaxed);
    }

    fn is(&self, state: u8) -> bool {
        self.0.load(Ordering::Relaxed) == state
    }
}

/// Digests `layers` as they come, until the build has ended.
pub(crate) fn digest(
    (engine, lease): (&Engine, &Lease),
    layers: &Receiver<LayerId>,
    (times, wanted): (&BTreeSet<Times>, Option<LayerMethod>),
    progress: &Progress,
) {
    for layer in layers {
        if !progress.is(RUNNING) {
            break;
        }
        for times in times {
            // What fails is tried again at the end, and its error told there.
            let go_on = |_| !progress.is(ABANDONED) && engine.go_on().is_ok();
            drop(engine.packed_layer_while(lease, layer, *times, wanted, &go_on));
        }
    }
}
