//! Joins layers of an image that was built, or divides them, for an output.
//!
//! Turns an image into one with other layers and the same files. The new layers are layers of the store like any other;
//! the cache still has those that they were made of, and knows nothing of it.

use std::io;
use std::iter;
use std::thread;

use stave_oci::History;
use stave_store::{LayerId, Lease};
use stave_tree::Times;
use stave_tree::pack::{Packed, Parts, pack_joined};

use crate::build::Report;
use crate::compose::Composed;
use crate::confined;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::TaskKind;
use crate::finish::ReadyImage;
use crate::form::Regroup;
use crate::forms::{BuiltLayer, PackedLayer};
use crate::task::Task;

/// Returns the image, with its layers joined or divided if `how` says so.
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

/// Returns the image with its layers joined or divided as `how` says.
///
/// Errors: a layer cannot be read, or a new one not written.
pub(crate) fn regroup(
    engine: &Engine,
    lease: &Lease,
    image: &ReadyImage,
    how: Regroup,
    events: Report<'_>,
) -> Result<ReadyImage, EngineError> {
    let groups = groups(&image.packed()?, image.base_layers, how);
    let mut layers = Vec::new();
    let mut sizes = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let made = match group.as_slice() {
            [one] => match how {
                Regroup::UpTo(bytes_max) if one.bytes > bytes_max && index >= image.base_layers => {
                    let title = format!("divide {}", crate::base::short(&one.diff_id));
                    Task::during(events, TaskKind::Digest, title, |_| divide(engine, lease, *one, bytes_max))?
                }
                _ => Vec::new(),
            },
            group => {
                let title = format!("join {} layers", group.len());
                let is_lowest = layers.is_empty();
                vec![Task::during(events, TaskKind::Digest, title, |_| join(engine, lease, group, is_lowest))?]
            }
        };
        let before = layers.len();
        match (group.as_slice(), made.len()) {
            // A layer that is one part stays what it is.
            ([one], 0 | 1) => layers.push(*one),
            // Its files have the times that they have in the image.
            _ => layers.extend(engine.packed(lease, (&[], &made), Times::Real, None, &|_| ())?),
        }
        sizes.push((group.len(), layers.len() - before));
    }
    let mut config = image.composed.config.clone();
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
    mark(&mut config.history, &sizes);
    let base_layers = if how == Regroup::All { 0 } else { image.base_layers };
    let layers = layers.into_iter().map(BuiltLayer::Here).collect();
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
    let dirs = layers
        .iter()
        .map(|layer| Ok((engine.store_dir(&engine.store.layer_rel_path(layer.layer))?, layer.times)))
        .collect::<Result<Vec<_>, EngineError>>()?;
    let made = made(engine, lease, "the joined layer", |out| {
        pack_joined(&dirs, engine.format(), is_lowest, out)
            .map(Some)
            .map_err(|source| EngineError::tree("cannot join layers", source))
    })?;
    Ok(made.expect("something was packed"))
}

/// Makes several layers of one, the lowest first.
fn divide(engine: &Engine, lease: &Lease, layer: PackedLayer, bytes_max: u64) -> Result<Vec<LayerId>, EngineError> {
    let failed = |source| EngineError::tree(format!("cannot divide layer {}", layer.layer), source);
    let dir = engine.store_dir(&engine.store.layer_rel_path(layer.layer))?;
    let mut parts = Parts::new(&dir, engine.format(), layer.times, bytes_max).map_err(failed)?;
    let mut layers = Vec::new();
    while let Some(part) = made(engine, lease, "a part of a layer", |out| parts.next(out).map_err(failed))? {
        layers.push(part);
        engine.go_on()?;
    }
    Ok(layers)
}

/// Makes a layer of the archive that `pack` writes; none if it says that it wrote none.
fn made(
    engine: &Engine,
    lease: &Lease,
    name: &str,
    pack: impl FnOnce(&mut dyn io::Write) -> Result<Option<Packed>, EngineError>,
) -> Result<Option<LayerId>, EngineError> {
    let work = lease.work_dir()?;
    let into = engine.store_dir(&work.diff_rel_path())?;
    let (mut reader, mut writer) = io::pipe().map_err(|source| EngineError::io("make", "a pipe", source))?;
    let packed = thread::scope(|scope| {
        let unpacker = scope.spawn(move || {
            let unpacked = confined::unpack_layer(engine, &into, &mut reader, name);
            drop(reader);
            unpacked
        });
        let packed = pack(&mut writer);
        drop(writer);
        unpacker.join().expect("the unpacker does not panic").and(packed)
    })?;
    match packed {
        Some(_) => Ok(Some(lease.publish_layer(work, None)?)),
        None => Ok(None),
    }
}

/// Has the history name the new layers: of each group, so many layers became so many others. A joined layer is named at
/// the last of the entries that made it; parts of a layer have an entry each.
fn mark(history: &mut Vec<History>, sizes: &[(usize, usize)]) {
    // What becomes of each layer, the lowest first: none, or so many.
    let mut made = sizes.iter().flat_map(|(before, after)| iter::repeat_n(0, before - 1).chain([*after]));
    let mut marked = Vec::with_capacity(history.len());
    for entry in history.drain(..) {
        match if entry.empty_layer { Some(1) } else { made.next() } {
            Some(0) => marked.push(History { empty_layer: true, ..entry }),
            Some(parts @ 2..) => marked.extend((1..=parts).map(|part| {
                let part = format!("part {part} of {parts}");
                let comment = entry.comment.iter().cloned().chain([part]).collect::<Vec<_>>().join(", ");
                History { comment: Some(comment), ..entry.clone() }
            })),
            Some(1) | None => marked.push(entry),
        }
    }
    *history = marked;
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
        mark(&mut history, &[(1, 1), (2, 1), (1, 3)]);
        let empty: Vec<bool> = history.iter().map(|entry| entry.empty_layer).collect();
        assert_eq!(empty, [false, true, true, false, true, false, false, false]);
        assert_eq!(history[7].comment.as_deref(), Some("part 3 of 3"));
    }
}
