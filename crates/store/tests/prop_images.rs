//! Naming and removing images behaves like a small model of `docker tag` and `docker rmi`.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Bench, assert_clean, image, tag};
use proptest::prelude::*;
use stave_oci::ImageId;
use stave_store::{ContainerState, ImageError, NewContainer, Store};

const IMAGES: usize = 3;
const NAMES: [&str; 3] = ["app:1", "app:2", "base"];

#[derive(Debug, Clone)]
enum Step {
    Put { image: usize, name: Option<usize> },
    Tag { image: usize, name: usize },
    RemoveName { name: usize, force: bool },
    RemoveId { image: usize, force: bool },
    Create { image: usize, running: bool },
    RemoveContainers { image: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let (image, name) = (0..IMAGES, 0..NAMES.len());
    prop_oneof![
        3 => (image.clone(), proptest::option::of(name.clone())).prop_map(|(image, name)| Step::Put { image, name }),
        3 => (image.clone(), name.clone()).prop_map(|(image, name)| Step::Tag { image, name }),
        3 => (name, any::<bool>()).prop_map(|(name, force)| Step::RemoveName { name, force }),
        2 => (image.clone(), any::<bool>()).prop_map(|(image, force)| Step::RemoveId { image, force }),
        2 => (image.clone(), any::<bool>()).prop_map(|(image, running)| Step::Create { image, running }),
        1 => image.prop_map(|image| Step::RemoveContainers { image }),
    ]
}

/// What a step did, as far as both sides say it.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Removed { untagged: usize, deleted: bool },
    NotFound,
    SeveralNames,
    UsedByStopped,
    UsedByRunning,
}

#[derive(Default)]
struct Model {
    images: BTreeSet<usize>,
    names: BTreeMap<usize, usize>,
    /// Containers of each image: how many run, how many do not.
    containers: BTreeMap<usize, [usize; 2]>,
}

impl Model {
    fn apply(&mut self, step: &Step) -> Outcome {
        match *step {
            Step::Put { image, name } => {
                self.images.insert(image);
                self.names.extend(name.map(|name| (name, image)));
                Outcome::Done
            }
            Step::Tag { image, .. } if !self.images.contains(&image) => Outcome::NotFound,
            Step::Tag { image, name } => {
                self.names.insert(name, image);
                Outcome::Done
            }
            Step::RemoveName { name, force } => match self.names.get(&name) {
                None => Outcome::NotFound,
                Some(&image) => self.remove_name(name, image, force),
            },
            Step::RemoveId { image, .. } if !self.images.contains(&image) => Outcome::NotFound,
            Step::RemoveId { image, force } => self.remove_id(image, force),
            Step::Create { image, .. } if !self.images.contains(&image) => Outcome::NotFound,
            Step::Create { image, running } => {
                self.containers.entry(image).or_default()[usize::from(!running)] += 1;
                Outcome::Done
            }
            Step::RemoveContainers { image } => {
                self.containers.remove(&image);
                Outcome::Done
            }
        }
    }

    fn count_of(&self, image: usize) -> usize {
        self.names.values().filter(|&&named| named == image).count()
    }

    fn remove_name(&mut self, name: usize, image: usize, force: bool) -> Outcome {
        let [running, stopped] = self.containers.get(&image).copied().unwrap_or_default();
        let is_last = self.count_of(image) == 1;
        if is_last && !force && running > 0 {
            return Outcome::UsedByRunning;
        }
        if is_last && !force && stopped > 0 {
            return Outcome::UsedByStopped;
        }
        self.names.remove(&name);
        let deleted = is_last && running + stopped == 0;
        if deleted {
            self.images.remove(&image);
        }
        Outcome::Removed { untagged: 1, deleted }
    }

    fn remove_id(&mut self, image: usize, force: bool) -> Outcome {
        let [running, stopped] = self.containers.get(&image).copied().unwrap_or_default();
        let untagged = self.count_of(image);
        match (untagged > 1 && !force, running > 0, stopped > 0 && !force) {
            (true, _, _) => Outcome::SeveralNames,
            (_, true, _) => Outcome::UsedByRunning,
            (_, _, true) => Outcome::UsedByStopped,
            (false, false, false) => {
                self.names.retain(|_, named| *named != image);
                self.images.remove(&image);
                Outcome::Removed { untagged, deleted: true }
            }
        }
    }
}

fn id(number: usize) -> ImageId {
    ImageId::of(format!("{{\"config\":\"{number}\"}}").as_bytes())
}

fn removal(result: Result<stave_store::RemovedImage, ImageError>) -> Outcome {
    match result {
        Ok(removed) => Outcome::Removed { untagged: removed.untagged.len(), deleted: removed.deleted.is_some() },
        Err(ImageError::NotFound(_)) => Outcome::NotFound,
        Err(ImageError::SeveralNames { .. }) => Outcome::SeveralNames,
        Err(ImageError::UsedByStopped { .. }) => Outcome::UsedByStopped,
        Err(ImageError::UsedByRunning { .. }) => Outcome::UsedByRunning,
        Err(error) => panic!("{error}"),
    }
}

fn apply(store: &Store, step: &Step) -> Outcome {
    let lease = store.lease().expect("a lease is given");
    match *step {
        Step::Put { image: number, name } => {
            let names: Vec<&str> = name.map(|name| NAMES[name]).into_iter().collect();
            assert_eq!(image(&lease, &number.to_string(), &names), id(number));
            Outcome::Done
        }
        Step::Tag { image, name } => match store.tag(&id(image), &tag(NAMES[name])) {
            Ok(()) => Outcome::Done,
            Err(ImageError::NotFound(_)) => Outcome::NotFound,
            Err(error) => panic!("{error}"),
        },
        Step::RemoveName { name, force } => removal(store.remove_image(NAMES[name], force)),
        Step::RemoveId { image, force } => removal(store.remove_image(&id(image).to_string(), force)),
        Step::Create { image, running } => {
            let Ok(found) = lease.resolve_image(&id(image).hex()) else { return Outcome::NotFound };
            let new = NewContainer { name: None, image: found.id, image_name: "x", snapshot: &[], config: "{}" };
            let container = lease.create_container(&new).expect("it is made");
            if running {
                let state = ContainerState::Running { pid: 1, start_time: 1 };
                store.set_container_state(&container.id, state).expect("it is recorded");
            }
            Outcome::Done
        }
        Step::RemoveContainers { image } => {
            for container in store.containers().expect("the store answers") {
                if container.image == id(image) {
                    store.remove_container(&container.id, true).expect("it is removed");
                }
            }
            Outcome::Done
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn names_and_removals_follow_the_model(steps in proptest::collection::vec(step(), 1..25)) {
        let bench = Bench::new();
        let store = bench.open();
        let mut model = Model::default();
        for step in &steps {
            prop_assert_eq!(apply(&store, step), model.apply(step), "{:?}", step);
            let images = store.images().expect("the store answers");
            let ids: BTreeSet<ImageId> = images.iter().map(|image| image.id).collect();
            prop_assert_eq!(ids, model.images.iter().map(|&image| id(image)).collect());
            for (number, name) in NAMES.iter().enumerate() {
                let found = store.find_image(name).ok().map(|image| image.id);
                prop_assert_eq!(found, model.names.get(&number).map(|&image| id(image)));
            }
        }
        assert_clean(&store);
    }
}
