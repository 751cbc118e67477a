//! What an image is made of: the layers' files with their sizes, what each layer adds, and what is shipped for nothing.
//!
//! Reads the directories of layers in the order of their tars. It knows nothing of how an anatomy is shown.

use std::io::Read as _;

use stave_anatomy::{Anatomy, Builder, Entry, Made, What};
use stave_event::{BuiltImage, StepLine};
use stave_oci::{DiffId, ImageConfig, Platform};
use stave_store::{ImageError, LayerId, Lease};
use stave_tree::{Counted, Kind, Times, count_layer};

use crate::build::Report;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::Event;
use crate::forms::PackedLayer;

impl Engine {
    /// Returns the anatomy of an image of the store, given by name or by id. Layers that are only blobs are unpacked.
    ///
    /// # Errors
    /// There is no such image; a layer cannot be read; there are more files than an anatomy takes.
    pub fn anatomy(
        &self,
        name: &str,
        platform: Option<&Platform>,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<Anatomy, EngineError> {
        let lease = self.lease()?;
        let record = self.image_for_platform(&lease, name, platform)?;
        let ready = self.ready_image(&lease, &record, events)?;
        self.dissect(&ready.packed()?, 0, Some(&ready.composed.config))
    }

    /// Returns the anatomy of what a build made, also where the store was not to keep the image and only has its layers;
    /// nothing where it no longer has them.
    ///
    /// # Errors
    /// A layer cannot be read; there are more files than an anatomy takes.
    pub fn anatomy_of_built(
        &self,
        image: &BuiltImage,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<Option<Anatomy>, EngineError> {
        let lease = self.lease()?;
        let (layers, config) = match lease.resolve_image(&image.image) {
            Ok(record) => {
                let ready = self.ready_image(&lease, &record, events)?;
                (ready.packed()?, Some(ready.composed.config))
            }
            Err(ImageError::NotFound(_)) => match self.layers_of_built(&lease, image, events)? {
                Some(layers) => (layers, None),
                None => return Ok(None),
            },
            Err(error) => return Err(error.into()),
        };
        self.dissect(&layers, 0, config.as_ref()).map(Some)
    }

    /// Returns, for each stage of a build, given by its steps in their order, the anatomy of the files after the last of them
    /// whose result the store has, with the step that made each layer as far as these did; nothing if none has a result here.
    /// Of bases only the layers are named: their files are not looked at.
    ///
    /// # Errors
    /// Nothing is known of the build; a layer cannot be read; there are more files than an anatomy takes.
    pub fn anatomies_of_stages(
        &self,
        build: &str,
        stages: &[Vec<StepLine>],
    ) -> Result<Vec<Option<Anatomy>>, EngineError> {
        let lease = self.lease()?;
        let places: Vec<usize> = stages.iter().flatten().map(|step| step.step.0 as usize).collect();
        let mut known = self.layers_after(&lease, build, &places)?.into_iter();
        let stage = |steps: &Vec<StepLine>| self.anatomy_of_steps(steps, known.by_ref().take(steps.len()));
        stages.iter().map(stage).collect()
    }

    /// Returns the same of one stage, after each of whose steps there are these layers, if they are here.
    fn anatomy_of_steps(
        &self,
        steps: &[StepLine],
        known: impl Iterator<Item = Option<Vec<LayerId>>>,
    ) -> Result<Option<Anatomy>, EngineError> {
        let (mut below, mut makers): (Vec<LayerId>, Vec<&StepLine>) = (Vec::new(), Vec::new());
        for (step, layers) in steps.iter().zip(known) {
            let Some(layers) = layers else { continue };
            let same = layers.iter().zip(&below).take_while(|(layer, below)| layer == below).count();
            makers.truncate(same);
            makers.resize(layers.len(), step);
            below = layers;
        }
        if below.is_empty() {
            return Ok(None);
        }
        let packed = |layer: &LayerId| PackedLayer {
            layer: *layer,
            // Nobody asked for its tar yet.
            diff_id: DiffId::of(&[]),
            bytes: 0,
            times: Times::Real,
        };
        let packed: Vec<PackedLayer> = below.iter().map(packed).collect();
        let of_base = makers.iter().take_while(|step| is_base(step)).count();
        let mut anatomy = self.dissect(&packed, of_base, None)?;
        for (layer, step) in anatomy.layers.iter_mut().zip(makers) {
            layer.diff_id.clear();
            layer.made = Some(if is_base(step) { Made::Base { image: None } } else { Made::of_step(step, steps) });
        }
        Ok(Some(anatomy))
    }

    /// Returns the first bytes of a file of what a build made, with links followed; nothing if there is none.
    ///
    /// # Errors
    /// A layer cannot be read.
    pub fn file_of_built(&self, image: &BuiltImage, path: &str, bytes: u64) -> Result<Option<Vec<u8>>, EngineError> {
        let lease = self.lease()?;
        let Some(layers) = self.layers_of_built(&lease, image, &|_| {})? else { return Ok(None) };
        let ids: Vec<LayerId> = layers.iter().map(|packed| packed.layer).collect();
        let view = self.view(&ids)?;
        let Ok(file) = view.open_file(path.as_bytes()) else { return Ok(None) };
        let mut head = Vec::new();
        let read = file.take(bytes).read_to_end(&mut head);
        read.map_err(|source| EngineError::io("read", path, source))?;
        Ok(Some(head))
    }

    /// Returns the layers of what a build made, if the store has all of them.
    fn layers_of_built(
        &self,
        lease: &Lease,
        image: &BuiltImage,
        events: Report<'_>,
    ) -> Result<Option<Vec<PackedLayer>>, EngineError> {
        let (mut layers, mut below) = (Vec::new(), Vec::new());
        for line in &image.layers {
            let Ok(diff_id) = line.diff_id.parse::<DiffId>() else { return Ok(None) };
            let layer = match lease.layer_by_diff_id(&diff_id)? {
                Some(layer) => layer,
                None if lease.layer_forms(&diff_id)?.is_empty() => return Ok(None),
                None => self.unpack_known(lease, diff_id, &below, events)?,
            };
            below.push(layer);
            let unknown = PackedLayer { layer, diff_id, bytes: line.bytes, times: Times::Real };
            layers.push(self.tar_of(layer, &diff_id)?.unwrap_or(unknown));
        }
        Ok(Some(layers))
    }

    /// Looks at the files of layers, but for those of the first `unread`.
    fn dissect(
        &self,
        layers: &[PackedLayer],
        unread: usize,
        config: Option<&ImageConfig>,
    ) -> Result<Anatomy, EngineError> {
        let history = config.map(|config| config.history.as_slice()).unwrap_or_default();
        let mut created_by = history.iter().filter(|entry| !entry.empty_layer).map(|entry| entry.created_by.clone());
        let mut builder = Builder::new();
        for (place, packed) in layers.iter().enumerate() {
            self.go_on()?;
            builder.layer(stave_anatomy::Layer {
                diff_id: packed.diff_id.to_string(),
                bytes: packed.bytes,
                created_by: created_by.next().flatten(),
                made: None,
            });
            if place < unread {
                continue;
            }
            let directory = self.store_dir(&self.store.layer_rel_path(packed.layer))?;
            let mut taken = Ok(());
            let mut take = |counted: &Counted<'_>| {
                if taken.is_ok() {
                    taken = builder.entry(&entry(counted));
                }
            };
            count_layer(&directory, self.format(), packed.times, &mut take)
                .map_err(|source| EngineError::tree(format!("cannot list layer {}", packed.layer), source))?;
            taken.map_err(|source| EngineError::tree("cannot tell what the image is made of", source))?;
        }
        Ok(builder.finish())
    }
}

/// Whether a step only takes what an image or another stage has.
fn is_base(step: &StepLine) -> bool {
    step.title.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("FROM "))
}

fn entry<'a>(counted: &Counted<'a>) -> Entry<'a> {
    let what = match (counted.kind, counted.first) {
        (None, _) => What::Whiteout,
        (Some(Kind::File), Some(of)) => What::HardLink { of },
        (Some(Kind::File), None) => What::File { content: counted.content },
        (Some(Kind::Directory), _) => What::Directory { hides: (counted.deletion > 0).then_some(counted.deletion) },
        (Some(Kind::Link), _) => What::Link,
        (Some(Kind::Pipe | Kind::Socket | Kind::CharDevice | Kind::BlockDevice), _) => What::Other,
    };
    Entry { path: counted.path, what, bytes: counted.bytes }
}
