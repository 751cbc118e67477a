//! Turns requests (build this, run that, copy these) into work of the other crates and reports what happens as events.
//!
//! It is the only crate that sees the language, the schedule, the store, the sandbox and the registry together. It
//! knows no terminal, no command line, no clock and no environment of its own: all enter through [`Settings`].
//!
//! Invariants:
//! 1. A name (tag, container) is given only to something complete.
//! 2. Every event of one build comes in an order in which it could have happened; nothing waits for a reader.
//! 3. Cancelling ends every step and removes all that was unfinished before the call returns.
//!
//! Read `request`, `event` and `outcome` (what goes in and comes out), `engine`, `build`, `planning`, `joined`, `run`, `steps`,
//! `finish`, `forms`, `export/`, `check`, then `base` (with `follow`), `images`, `platforms`, `save`, `container` and `workbench` in this order.

mod ahead;
mod anatomy;
mod archive;
mod artifact;
mod attest;
mod away;
mod base;
mod build;
mod caches;
mod cancel;
mod check;
mod clue;
mod compare;
mod compose;
mod confined;
mod container;
mod copy_files;
mod emulation;
mod engine;
mod epoch;
mod error;
mod event;
mod explain;
mod export;
mod finish;
mod follow;
mod form;
mod forms;
mod images;
mod imagetools;
mod inspect;
mod joined;
mod judge;
mod layout;
mod limits;
mod lock;
mod log;
mod manifests;
mod measure;
mod memory;
mod named_epoch;
mod net;
mod outcome;
mod outside;
mod place;
mod planning;
mod platforms;
mod policy_log;
mod preprocess;
mod push;
mod registries;
mod regroup;
mod remote;
mod request;
mod requests;
mod rules;
mod run;
mod save;
mod schedule;
mod signal;
mod signatures;
mod snapshot;
mod source;
mod steps;
mod task;
mod told;
mod upkeep;
mod veil;
mod workbench;

pub use artifact::{Artifact, ArtifactRequest};
pub use attest::{Attestations, ProvenanceOptions, SbomForm, SbomOptions};
pub use caches::{Caches, ExportSpec, ImportSpec, parse_duration, parse_export, parse_import};
pub use cancel::Cancel;
pub use check::{Checked, Reading};
pub use clue::{
    Clue, Denied, DeniedMount, DeniedPlace, Foreign, Full, Manager, NoCommand, NoProgram, NoSecret, NoSource, Place,
    Reach, ReadOnly, Rule, StepNetwork, Trouble,
};
pub use compare::{Comparison, FieldDifference, FileChange, FileDifference, FileField, LayerDifference};
pub use confined::JOBS;
pub use container::{
    Attached, Change, ChangeKind, ContainerExit, ContainerMount, ContainerMountKind, ContainerSettings,
    ContainerSummary, CopySource, CopyTarget, ExecRequest, ImageChanges, LogPiece, LogRequest, Started, VolumeFilter,
    VolumeSummary,
};
pub use engine::{Engine, Settings};
pub use error::EngineError;
pub use form::{Annotation, AnnotationLevel, Annotations, GZIP_LEVEL, ImageForm, LayerMethod, Regroup, ZSTD_LEVEL};
pub use images::{HistoryLine, ImagePlatform, ImageSummary, Pulled, Removed};
pub use imagetools::{Examined, ImageSource, MergeRequest, Merged, Remark, manifest_value};
pub use judge::{PolicySource, SignersAsked, policy_files};
pub use limits::SharedLimits;
pub use manifests::{EntryName, EntryRemark, ManifestLists, PlatformRemark};
pub use memory::MemoryKill;
pub use outcome::{BaseFailure, BuildFailure, BuildOutcome, NearName, StepCause, StepFailure, Tally};
pub use place::{ImagePlace, WhichImage};
pub use policy_log::{PolicyLog, PolicyLogLevel};
pub use registries::Registries;
pub use request::{
    ArchiveKind, BuildRequest, ContainerRequest, ContextSource, Destination, DockerfileSource, Entitlement,
    EpochRequest, EpochSource, FileReading, FileTimes, FilesKind, Grants, Indexing, Keep, LayoutSource,
    NamedContextSource, Naming, OnMiss, Output, PullPolicy, SecretSource,
};
pub use rules::SourceRules;
pub use save::Loaded;
pub use signal::{signal_name, signal_number};
pub use stave_dockerfile::plan::RunDefaults;
pub use stave_event::{
    BuiltImage, Ending, Event, LayerLine, Miss, Origin, Remarks, RequestFacts, StepId, StepLine, Stream, TaskEnding,
    TaskId, TaskKind,
};
pub use stave_graph::remote::masked_text;
pub use stave_graph::{Network, Ulimit};
pub use stave_http::Environment as HttpEnvironment;
pub use stave_policy::{
    Decision as PolicyDecision, Environment as PolicyEnvironment, Input as PolicyInput, Lock, LockError, Policy,
    PolicyError, ReadFile, RegoError, RegoPolicy, TRUSTED_ROOT_BYTES_MAX, TestOutcome, TrustedRoot,
};
pub use stave_registry::{Environment, Kept, LoggedIn, LoggedOut, registry_name};
pub use stave_sandbox as sandbox;
pub use stave_store as store;
pub use stave_store::ContainerState;
pub use told::how_ended;
pub use upkeep::ImageFilter;
pub use workbench::{
    DebugRequest, Exported, ListedStep, Opened, Shell, StateOf, StepName, StepNameError, TakeOut, Taken,
};
