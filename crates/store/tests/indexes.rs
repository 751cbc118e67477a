//! Names that stand for an image of several platforms.

mod common;

use common::{Bench, assert_clean, tag};
use stave_oci::{BlobDigest, ImageId};
use stave_store::{NewImage, NewIndex, PruneOptions, Tag};

/// Stores an image of its own for each platform, and an index of them under `name`.
fn put_platforms(lease: &stave_store::Lease, platforms: &[&str], name: &str) -> (BlobDigest, Vec<ImageId>) {
    let images: Vec<(String, ImageId)> = platforms
        .iter()
        .map(|platform| {
            let image =
                NewImage { config: platform.as_bytes(), created: None, size: 1, layers: vec![], manifest: None };
            ((*platform).to_owned(), lease.put_image(&image, &[]).expect("it is stored"))
        })
        .collect();
    let digest = BlobDigest::of(platforms.concat().as_bytes());
    let tags: Vec<Tag> = (!name.is_empty()).then(|| tag(name)).into_iter().collect();
    lease.put_index(&NewIndex { digest, default: images[0].1, images: &images }, &tags).expect("it is stored");
    (digest, images.into_iter().map(|(_, id)| id).collect())
}

#[test]
fn a_name_may_stand_for_an_image_of_several_platforms() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease");
    let (digest, ids) = put_platforms(&lease, &["linux/amd64", "linux/arm64"], "a");
    assert_eq!(store.find_image("a").expect("there").id, ids[0], "without a platform it is the default");
    for text in ["a", &digest.to_string(), &digest.hex()[..12]] {
        let index = store.find_index(text).expect("it answers").expect("there");
        assert_eq!((index.digest, index.default, index.images.len()), (digest, ids[0], 2), "{text}");
        assert_eq!(store.find_image(text).expect("there").id, ids[0], "{text}");
    }
    assert_eq!(store.parts().expect("it answers"), [(ids[1], vec!["docker.io/library/a:latest".to_owned()])].into());

    store.tag_as("a", &tag("b")).expect("it is named");
    assert_eq!(store.remove_image("a", false).expect("removed").deleted, None, "`b` still stands for both");
    assert_eq!(store.find_index("b").expect("it answers").expect("there").images.len(), 2);
    lease
        .put_image(&NewImage { config: b"x", created: None, size: 1, layers: vec![], manifest: None }, &[tag("b")])
        .expect("it is stored");
    assert_eq!(store.find_index("b").expect("it answers"), None, "the name was given to one image");
    assert_clean(&store);
}

#[test]
fn all_platforms_of_an_image_go_with_its_last_name_and_stay_while_it_has_one() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease");
    let (_, ids) = put_platforms(&lease, &["linux/amd64", "linux/arm64"], "a");
    let (_, shared) = put_platforms(&lease, &["linux/s390x", "linux/arm64"], "c");
    assert_eq!(shared[1], ids[1]);
    let (untagged, _) = put_platforms(&lease, &["linux/386", "linux/arm"], "");
    drop(lease);
    let pruned = store.prune(&PruneOptions::default()).expect("pruned");
    assert_eq!(pruned.images.len(), 2, "only what has no name: {pruned:?}");
    assert_eq!(store.find_index(&untagged.to_string()).expect("it answers"), None);
    let removed = store.remove_image("a", false).expect("removed");
    assert_eq!((removed.deleted, removed.parts), (Some(ids[0]), vec![]), "`c` still stands for the other one");
    let removed = store.remove_image("c", false).expect("removed");
    assert_eq!((removed.deleted, removed.parts), (Some(shared[0]), vec![ids[1]]));
    assert_eq!(store.images().expect("it answers"), []);
    assert_clean(&store);
}

#[test]
fn a_part_that_is_removed_by_its_id_leaves_the_others() {
    let bench = Bench::new();
    let store = bench.open();
    let lease = store.lease().expect("a lease");
    let (_, ids) = put_platforms(&lease, &["linux/amd64", "linux/arm64"], "a");
    drop(lease);
    store.remove_image(&ids[1].to_string(), false).expect("removed");
    let index = store.find_index("a").expect("it answers").expect("there");
    assert_eq!(index.images, [("linux/amd64".to_owned(), ids[0])]);
    assert_clean(&store);
}
