//! Who calls `stave`: a test's body, once as this process's own user (root in the suite) and once as an ordinary user.
//!
//! What must hold for both is written once. The ordinary user has subordinate ranges of ids, so that nothing is left out
//! for want of them; whoever has a single id is the subject of `rootless`.

use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, LoopbackRegistry, Sentinel, needs};
use std::path::Path;

/// One who runs the commands of a bench.
pub(crate) struct Caller {
    /// Nothing for this process's own user.
    user: Option<String>,
}

/// Runs `body` for each caller that this machine has. What it lacks is said as `skipped:`.
#[expect(clippy::print_stderr, reason = "a failure must say whose it is")]
pub(crate) fn each_caller(body: impl Fn(&Caller)) {
    body(&Caller { user: None });
    let Some(user) = needs::user("ranges") else { return };
    eprintln!("and as {user}:");
    body(&Caller { user: Some(user) });
}

impl Caller {
    /// Gives the bench to the caller, with everything that is in it by now.
    pub(crate) fn takes(&self, bench: Bench) -> Bench {
        match &self.user {
            Some(user) => bench.as_user(user),
            None => bench,
        }
    }

    /// An empty bench of the caller's.
    pub(crate) fn bench(&self) -> Bench {
        self.takes(Bench::new())
    }

    /// [`with_busybox`] for the caller.
    pub(crate) fn busybox(&self) -> Option<(Bench, LoopbackRegistry)> {
        let (bench, registry) = with_busybox()?;
        Some((self.takes(bench), registry))
    }

    /// A tree that the caller could change, so that nothing but `stave` keeps a step from it.
    pub(crate) fn plant(&self, root: &Path) -> Sentinel {
        match &self.user {
            Some(user) => Sentinel::plant_for(root, user),
            None => Sentinel::plant(root),
        }
    }
}
