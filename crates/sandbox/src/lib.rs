//! Runs one process in isolation: namespaces, mounts, capabilities, seccomp.
//!
//! Turns a [`StepSpec`] (layers, command, user) and three descriptors into a running process and its [`Exit`].
//! It does not know images, stores, Dockerfiles or registries, and reads neither the environment nor the clock.
//!
//! Invariants, each with the module of `tests/it` that guards it:
//! 1. Nothing of a step outlives the builder, however the builder ends: every step is in a pid namespace whose first
//!    process, the zygote, the kernel kills together with the builder (`life`).
//! 2. A path that an image chose is resolved inside the step's root, by descriptor; what is mounted there is checked
//!    (`image`, `user`, `volumes`). No mount point is ever made in the step's own layer (`image`, `volumes`).
//! 3. A step has only descriptors 0 to 2, BuildKit's fourteen capabilities, a system call filter and no way to the
//!    builder's own executable (`isolation`, `escape`); one that is asked to be insecure has the builder's capabilities
//!    and no filter (`volumes`).
//! 4. What goes wrong in the child is the same [`SandboxError`] in the parent (`life`, `job`).
//!
//! Read `spec`, `launcher`, `zygote`, `step`, then the modules that `step` names, and `exec`.

pub mod emulation;
pub mod error;
pub mod launcher;
pub mod probe;
pub mod rootless;
pub mod spec;
pub mod visit;

pub use emulation::Emulation;
pub use error::{Errno, SandboxError};
pub use launcher::{ConfinedRun, Job, JobInput, Launcher, Running};
pub use spec::{
    Denied, ExecSpec, Exit, MountSource, Network, Outlet, ResourceLimit, Rights, RootFs, Scratch, Secret, Security,
    StepIo, StepMount, StepSpec, WindowSize,
};
pub use visit::Visitor;

mod exec;
mod inside;
mod job;
mod kit;
mod limits;
mod mounts;
mod paths;
mod person;
mod places;
mod privileges;
mod program;
mod rootfs;
mod seccomp;
mod springboard;
mod stdio;
mod step;
mod sys;
mod volumes;
pub mod wire;
mod zygote;
