//! What stave and other programs read of each other: the cases behind `docs/interop.md`.
//!
//! Turns a program of this machine into answers: does it read what stave made, does stave read what it made? Each case
//! ends in an error that says what went wrong, or in nothing. It knows stave only as a command line.
//!
//! Read `yard` (where cases run, and the image that they are about), then `read` (others read ours) and `written` (we
//! read theirs).

mod content;
mod read;
mod written;
mod yard;

pub use yard::Yard;

/// A program that images are exchanged with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// Copies images between places.
    Skopeo,
    /// Unpacks and repacks OCI layouts.
    Umoci,
    /// Builds, and keeps images in its own storage.
    Buildah,
    /// The same storage with the commands of Docker.
    Podman,
    /// A daemon of Docker, started for the case.
    Docker,
}

impl Peer {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 5] = [Self::Skopeo, Self::Umoci, Self::Buildah, Self::Podman, Self::Docker];

    /// The program's name.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Skopeo => "skopeo",
            Self::Umoci => "umoci",
            Self::Buildah => "buildah",
            Self::Podman => "podman",
            Self::Docker => "docker",
        }
    }
}

/// Who made what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The peer reads what stave made.
    Read,
    /// Stave reads what the peer made.
    Written,
}

/// Why a case did not go well.
pub type Problem = String;

/// One exchange.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What is exchanged, e.g. `OCI archive, gzip`.
    pub what: &'static str,
    /// With whom.
    pub peer: Peer,
    /// In which direction.
    pub way: Way,
    run: fn(&Yard) -> Result<(), Problem>,
}

impl Case {
    const fn new(way: Way, peer: Peer, what: &'static str, run: fn(&Yard) -> Result<(), Problem>) -> Self {
        Self { what, peer, way, run }
    }

    /// All cases, those of one peer together.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut cases: Vec<Self> = read::CASES.iter().chain(written::CASES).copied().collect();
        cases.sort_by_key(|case| case.peer);
        cases
    }

    /// Carries the case out.
    ///
    /// Errors: what went wrong, with the command.
    pub fn run(&self, yard: &Yard) -> Result<(), Problem> {
        (self.run)(yard)
    }
}
