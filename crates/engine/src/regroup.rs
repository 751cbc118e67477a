//! Joins layers of an image that was built, or keeps them apart, for an output.
//!
//! Turns an image into one with fewer layers and the same files. The joined layers are layers of the store like any other;
//! the cache still has those that they were made of, and knows nothing of it.

use std::io;
use std::thread;

use stave_oci::History;
use stave_store::{LayerId, Lease};
use stave_tree::Times;
use stave_tree::pack::pack_joined;

use crate::build::Report;
use crate::compose::Composed;
use crate::confined;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::finish::ReadyImage;
use crate::form::Regroup;
use crate::forms::PackedLayer;
use crate::task::Task;

/// Returns the image, with its layers joined if `how` says so.
///
/// Errors: as of [`regroup`].
pub(crate) fn regrouped(
    engine: &Engine,
    lease: &Lease,
    image: ReadyImage,
    how: Option<Regroup>,
    events: Report<'_>,
) -> Result<ReadyImage, EngineError> {
    how.map_or(Ok(None), |how| regroup(engine, lease, &image, how, events).map(Some))
        .map(|joined| joined.unwrap_or(image))
}

/// Returns the image with its layers joined as `how` says.
///
/// Errors: a layer cannot be read, or the joined one not written.
pub(crate) fn regroup(
    engine: &Engine,
    lease: &Lease,
    image: &ReadyImage,
    how: Regroup,
    events: Report<'_>,
) -> Result<ReadyImage, EngineError> {
    let groups = groups(&image.layers, image.base_layers, how);
    let mut layers = Vec::new();
    for group in &groups {
        let layer = match group.as_slice() {
            [one] => *one,
            group => {
                let _task = Task::start(events, format!("join {} layers", group.len()));
                let is_lowest = layers.is_empty();
                let joined = join(engine, lease, group, is_lowest)?;
                // Its files have the times that they have in the image.
                engine.packed(lease, (&[], &[joined]), Times::Real, None)?[0]
            }
        };
        layers.push(layer);
    }
    let mut config = image.composed.config.clone();
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
    let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
    mark_joined(&mut config.history, &sizes);
    let base_layers = if how == Regroup::All { 0 } else { image.base_layers };
    Ok(ReadyImage { composed: Composed::new(config), layers, files: image.files, base_layers })
}

/// Returns which layers are joined; the lowest `base_layers` are the base's.
fn groups(layers: &[PackedLayer], base_layers: usize, how: Regroup) -> Vec<Vec<PackedLayer>> {
    let (below, new) = layers.split_at(base_layers.min(layers.len()));
    let alone = || below.iter().map(|layer| vec![*layer]);
    let mut groups: Vec<Vec<PackedLayer>> = match how {
        Regroup::All => vec![layers.to_vec()],
        Regroup::New => alone().chain([new.to_vec()]).collect(),
        Regroup::UpTo(bytes_max) => {
            let mut groups: Vec<Vec<PackedLayer>> = Vec::new();
            let mut bytes = u64::MAX;
            for layer in new {
                let sum = bytes.saturating_add(layer.bytes);
                match groups.last_mut() {
                    Some(group) if sum <= bytes_max => {
                        group.push(*layer);
                        bytes = sum;
                    }
                    _ => {
                        groups.push(vec![*layer]);
                        bytes = layer.bytes;
                    }
                }
            }
            alone().chain(groups).collect()
        }
    };
    groups.retain(|group| !group.is_empty());
    groups
}

/// Makes one layer of several, the lowest first. Under the lowest of an image, nothing is there to be deleted.
fn join(engine: &Engine, lease: &Lease, layers: &[PackedLayer], is_lowest: bool) -> Result<LayerId, EngineError> {
    let failed = |source: io::Error| EngineError::tree("cannot join layers", source);
    let dirs = layers
        .iter()
        .map(|layer| Ok((engine.store_dir(&engine.store.layer_rel_path(layer.layer))?, layer.times)))
        .collect::<Result<Vec<_>, EngineError>>()?;
    let work = lease.work_dir()?;
    let into = engine.store_dir(&work.diff_rel_path())?;
    let (mut reader, mut writer) = io::pipe().map_err(failed)?;
    thread::scope(|scope| {
        let packer = scope.spawn(move || {
            let packed = pack_joined(&dirs, engine.format(), is_lowest, &mut writer);
            drop(writer);
            packed
        });
        let unpacked = confined::unpack_layer(engine, &into, &mut reader, "the joined layer");
        drop(reader);
        let joined = packer.join().expect("the packer does not panic");
        unpacked.and(joined.map_err(|source| EngineError::tree("cannot join layers", source)))
    })?;
    Ok(lease.publish_layer(work, None)?)
}

/// Has the history name each joined layer at the last of the entries that made it.
fn mark_joined(history: &mut [History], sizes: &[usize]) {
    let mut entries = history.iter_mut().filter(|entry| !entry.empty_layer);
    for size in sizes {
        for entry in entries.by_ref().take(size - 1) {
            entry.empty_layer = true;
        }
        entries.next();
    }
}

#[cfg(test)]
mod tests {
    use stave_oci::DiffId;

    use super::*;

    fn layers(sizes: &[u64]) -> Vec<PackedLayer> {
        let layer = |(index, bytes): (usize, &u64)| PackedLayer {
            layer: LayerId::from_hex(&format!("{index:016x}")).expect("it has 16 digits"),
            diff_id: DiffId::of(&index.to_le_bytes()),
            bytes: *bytes,
            times: Times::Real,
        };
        sizes.iter().enumerate().map(layer).collect()
    }

    fn sizes(layers: &[PackedLayer], base_layers: usize, how: Regroup) -> Vec<usize> {
        groups(layers, base_layers, how).iter().map(Vec::len).collect()
    }

    #[test]
    fn the_layers_of_the_base_stay_apart_unless_all_are_joined() {
        let layers = layers(&[1, 1, 5, 5, 1]);
        assert_eq!(sizes(&layers, 2, Regroup::New), [1, 1, 3]);
        assert_eq!(sizes(&layers, 2, Regroup::All), [5]);
        assert_eq!(sizes(&layers, 2, Regroup::UpTo(6)), [1, 1, 1, 2]);
        assert_eq!(sizes(&layers, 5, Regroup::New), [1, 1, 1, 1, 1]);
        assert!(sizes(&[], 0, Regroup::All).is_empty());
    }

    #[test]
    fn the_history_has_as_many_layers_as_the_image() {
        let entry = |empty_layer| History { empty_layer, ..History::default() };
        let mut history = vec![entry(false), entry(true), entry(false), entry(false), entry(true), entry(false)];
        mark_joined(&mut history, &[1, 2, 1]);
        let empty: Vec<bool> = history.iter().map(|entry| entry.empty_layer).collect();
        assert_eq!(empty, [false, true, true, false, true, false]);
    }
}
