//! Turns addresses on the network into files whose content is known: an HTTP(S) address into one file, that of a Git
//! repository into a tree.
//!
//! It does not know what the files are for, where they are kept or that there are images; it knows no environment, no home
//! and no clock but those that are given to it.
//!
//! Invariants:
//! 1. What a checksum was given for is verified before anybody is told that it is there.
//! 2. A credential reaches the host that it is for and no other, and is in no argument, no file and no message.
//! 3. Neither a server nor a repository makes anything run here but the `git` that the user has installed, and nothing
//!    that they say is an option, a hook, a filter or a local path to it.
//! 4. Every wait ends: by a limit, or because [`stave_http::Cancel`] was told to end it.
//!
//! Read `date`, `file`, `git` in this order.

pub mod date;
pub mod file;
pub mod git;
pub mod limits;

pub use file::{Download, FetchError, Fetched, Fetcher, FileRequest, FileSink, Validators};
pub use git::{Git, GitAccess, GitError, Objects, Resolved, TagObject};
pub use limits::Limits;
