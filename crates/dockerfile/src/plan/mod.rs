//! Turns the syntax tree into a build graph, an image configuration and a list of steps.
//!
//! It knows no registry: what it must know about base images it asks for ([`Plan::Need`]), all of it at once, and is
//! then called again with the answers. Nothing is kept between two calls.
//!
//! Only stages that the target needs are planned; mistakes in the others that can be seen without their base images
//! are left alone, as BuildKit does.
//!
//! Read `values` (what goes in and comes out), then `lower` (top down), then what it uses.

mod values;

pub use values::{Base, BaseRequest, BuildPlan, Facts, HistoryItem, Plan, PlanOptions, StageLabel, Step};
