//! Keeping the store well: checking all that it has, and having it on the disk.

use stave_store::{CheckOptions, CheckReport, LayerId, Lost};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::measure::Measure;

impl Engine {
    /// Verifies the store: every blob's digest, every built layer's tar, every reference both ways. With `repair`, what
    /// nothing refers to is deleted and what is damaged is forgotten, so that it is fetched or built again.
    pub fn check(&self, repair: bool) -> Result<CheckReport, EngineError> {
        let pack = |layer: LayerId, epoch: Option<i64>| {
            let mut measure = Measure::default();
            self.pack(layer, epoch, &mut measure)?;
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
