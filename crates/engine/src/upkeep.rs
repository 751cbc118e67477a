//! Keeping the store well: checking all that it has, and having it on the disk.

use std::collections::BTreeMap;

use stave_store::{CheckOptions, CheckReport, ContainerState, ImageRecord, LayerId, Lost, PruneOptions, Pruned};
use stave_tree::Times;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::measure::Measure;

impl Engine {
    /// Verifies the store: every blob's digest, every built layer's tar, every reference both ways. With `repair`, what
    /// nothing refers to is deleted and what is damaged is forgotten, so that it is fetched or built again.
    pub fn check(&self, repair: bool) -> Result<CheckReport, EngineError> {
        let pack = |layer: LayerId, times: &str| {
            let mut measure = Measure::default();
            let times = Times::from_text(times).ok_or("the store does not know the times of its tar")?;
            self.pack(layer, times, &mut measure)?;
            Ok(measure.finish().0)
        };
        let report = self.store.check(&CheckOptions { read_blobs: true, pack: Some(&pack), repair })?;
        self.store.settle()?;
        Ok(report)
    }

    /// Has everything that was published written to the disk. Costs nothing if it is there already.
    pub fn settle(&self) -> Result<(), EngineError> {
        Ok(self.store.settle()?)
    }

    /// Returns what was lost when the machine stopped and nobody was told of yet, and takes it as told.
    pub fn take_lost(&self) -> Result<Vec<Lost>, EngineError> {
        let lost = self.store.lost()?;
        if !lost.is_empty() {
            self.store.acknowledge_lost()?;
        }
        Ok(lost)
    }
}

/// Which images and containers `prune` looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFilter {
    /// Only what came into the store before this time, in seconds since 1970.
    pub until: Option<i64>,
    /// Labels that it must have, each `name` or `name=value`.
    pub labels: Vec<String>,
    /// Labels that it must not have.
    pub labels_not: Vec<String>,
    /// Also images that have names.
    pub with_names: bool,
}

impl ImageFilter {
    fn accepts(&self, created: Option<i64>, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        };
        self.until.is_none_or(|until| created.is_some_and(|created| created < until))
            && self.labels.iter().all(has)
            && !self.labels_not.iter().any(has)
    }
}

impl Engine {
    /// Removes the images that no container was made from, those without names or, with `all`, the others too.
    pub fn prune_images(&self, all: bool, filter: &ImageFilter) -> Result<Pruned, EngineError> {
        let accepts = |image: &ImageRecord| {
            // What counts is when it came here: an image says that it was made when its bases were. One whose labels
            // cannot be read is not one that was asked for.
            self.image_config(&image.id).is_ok_and(|config| filter.accepts(Some(image.stored), &config.config.labels))
        };
        let options = PruneOptions { all, images_only: true, image_filter: Some(&accepts), ..PruneOptions::default() };
        Ok(self.store.prune(&options)?)
    }

    /// Removes the containers that do not run. Returns their ids and names.
    pub fn prune_containers(&self, filter: &ImageFilter) -> Result<Vec<(String, String)>, EngineError> {
        let mut removed = Vec::new();
        for container in self.containers()? {
            let runs = matches!(container.state, ContainerState::Running { .. });
            if !runs && filter.accepts(Some(container.created.as_secs().cast_signed()), &container.labels) {
                self.remove_container(&container.id, false)?;
                removed.push((container.id, container.name));
            }
        }
        Ok(removed)
    }
}
