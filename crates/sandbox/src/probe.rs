//! What the host offers, for `stave doctor`.

/// Whether something that stave uses is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is.
    Ok,
    /// Stave works without it, but not all that it can do.
    Limited,
    /// Stave cannot run steps without it.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Short name: `overlay`.
    pub name: &'static str,
    /// The verdict.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty where nothing is to be done.
    pub advice: String,
}

/// Looks at the kernel and the configuration of this host. Leaves nothing behind.
#[must_use]
pub fn probe() -> Vec<Finding> {
    Vec::new()
}
