//! What the tree of sizes says of typical images.

use stave_anatomy::{Anatomy, Builder, Entry, Kind, Layer, Lost, Made, Source, What};
use stave_event::{BuiltImage, LayerLine, StepId, StepLine};

const DIR: What<'static> = What::Directory { hides: None };

fn file(content: u64) -> What<'static> {
    What::File { content }
}

/// Entries have a header of 512 bytes and their content.
fn anatomy(layers: &[&[(&str, What<'_>)]]) -> Anatomy {
    let mut builder = Builder::new();
    for (index, layer) in layers.iter().enumerate() {
        builder.layer(Layer { diff_id: format!("sha256:{index}"), ..Layer::default() });
        for (path, what) in *layer {
            let content = if let What::File { content } = what { *content } else { 0 };
            builder.entry(&Entry { path: path.as_bytes(), what: *what, bytes: 512 + content }).expect("these are few");
        }
    }
    builder.finish()
}

/// Returns layer, the layer that it is lost to, how, and bytes, of each loss at a path.
fn losses(anatomy: &Anatomy, path: &str) -> Vec<(u32, u32, Lost, u64)> {
    let losses = &anatomy.find(path).expect("the path").node().losses;
    losses.iter().map(|loss| (loss.layer, loss.by, loss.how, loss.bytes)).collect()
}

#[test]
fn a_file_deleted_by_a_later_layer_is_shipped_for_nothing_and_so_is_the_deletion() {
    let anatomy = anatomy(&[&[("opt", DIR), ("opt/big", file(10_240))], &[("opt", DIR), ("opt/big", What::Whiteout)]]);
    assert_eq!(losses(&anatomy, "/opt/big"), [(0, 1, Lost::Deleted, 10_752), (1, 1, Lost::Deletion, 512)]);
    let totals = anatomy.totals();
    assert_eq!((totals.bytes, totals.visible, totals.wasted()), (12_288, 512, 11_776));
}

#[test]
fn a_file_whose_owner_changes_is_shipped_twice() {
    let anatomy = anatomy(&[&[("app", DIR), ("app/x", file(1_024))], &[("app", DIR), ("app/x", file(1_024))]]);
    assert_eq!(losses(&anatomy, "app/x"), [(0, 1, Lost::Replaced, 1_536)]);
    assert_eq!(losses(&anatomy, ""), [(0, 1, Lost::Replaced, 2_048)]);
    assert_eq!(anatomy.root().unwrap().share(1).map(|share| (share.files, share.visible)), Some((1, 2_048)));
}

#[test]
fn what_an_opaque_directory_has_again_is_replaced_and_the_rest_deleted() {
    let opaque = What::Directory { hides: Some(512) };
    let anatomy = anatomy(&[
        &[("d", DIR), ("d/a", file(512)), ("d/b", file(512))],
        &[("d", opaque), ("d/a", file(512))],
        &[("d", What::Whiteout)],
        &[("d", What::Link)],
    ]);
    assert_eq!(losses(&anatomy, "d/a"), [(0, 1, Lost::Replaced, 1_024), (1, 2, Lost::Deleted, 1_024)]);
    assert_eq!(losses(&anatomy, "d/b"), [(0, 1, Lost::Deleted, 1_024)]);
    assert_eq!(anatomy.find("d").map(|place| place.node().kind), Some(Kind::Link));
    assert_eq!(anatomy.totals().visible, 512);
}

#[test]
fn the_content_of_a_file_with_several_names_is_counted_where_it_can_still_be_seen() {
    let names: &[_] = &[("a", file(4_096)), ("b", What::HardLink { of: b"a" }), ("c", What::HardLink { of: b"a" })];
    let kept = anatomy(&[names, &[("a", What::Whiteout)]]);
    let bytes = |path: &str| kept.find(path).unwrap().totals();
    assert_eq!((bytes("a").wasted(), bytes("b").visible, bytes("c").visible), (1_024, 4_608, 512));
    let gone = anatomy(&[names, &[("b", What::Whiteout)], &[("a", file(0))], &[("c", What::Whiteout)]]);
    assert_eq!(gone.totals().visible, 512);
    assert_eq!(gone.find("c").unwrap().totals().wasted(), 5_120, "the content was counted there last");
}

#[test]
fn half_a_million_files_in_many_layers_are_fine() {
    let mut builder = Builder::new();
    for layer in 0..50 {
        builder.layer(Layer::default());
        for dir in 0..100 {
            let path = format!("usr/share/{dir}");
            builder.entry(&Entry { path: path.as_bytes(), what: DIR, bytes: 512 }).unwrap();
            for file in 0..100 {
                let path = format!("usr/share/{dir}/{layer}-{file}");
                let what = What::File { content: 512 };
                builder.entry(&Entry { path: path.as_bytes(), what, bytes: 1_024 }).unwrap();
            }
        }
    }
    let anatomy = builder.finish();
    assert_eq!(anatomy.totals().files, 500_000);
    assert_eq!(anatomy.find("usr/share/7").unwrap().children().count(), 5_000);
}

#[test]
fn a_tree_that_is_very_deep_needs_no_deep_stack() {
    let path = vec!["d"; 5_000].join("/");
    let deep = anatomy(&[&[(path.as_str(), file(512))], &[("d", What::Whiteout)]]);
    assert_eq!((deep.nodes.len(), deep.totals().visible), (5_001, 0));
}

fn step(step: u32, stage: &str, title: &str, inputs: &[u32], bases: &[&str]) -> StepLine {
    StepLine {
        step: StepId(step),
        platform: None,
        stage: stage.to_owned(),
        number: 1,
        of: 1,
        title: title.to_owned(),
        span: stave_dockerfile::Span::new(0, 0),
        inputs: inputs.iter().copied().map(StepId).collect(),
        bases: bases.iter().map(|base| (*base).to_owned()).collect(),
    }
}

#[test]
fn a_build_says_which_step_made_a_layer_and_where_its_files_came_from() {
    let mut anatomy = anatomy(&[&[("a", DIR)], &[], &[], &[], &[], &[], &[]]);
    let steps = [
        step(0, "build", "FROM golang:1.24 AS build", &[], &[]),
        step(1, "build", "RUN go build", &[0], &[]),
        step(2, "stage-1", "FROM alpine:3.22", &[], &[]),
        step(3, "stage-1", "COPY --from=build /out /app", &[2, 1], &[]),
        step(4, "stage-1", "COPY --from=0 /out /app", &[3, 1], &[]),
        step(5, "stage-1", "COPY --from=busybox:1 /bin/sh /sh", &[4], &["busybox:1"]),
        step(6, "stage-1", "COPY --chown=1 . /src", &[5], &[]),
        step(7, "stage-1", "ADD https://example.com/x /x", &[6], &[]),
    ];
    let layer = |place: u32, step: Option<u32>| LayerLine {
        step: step.map(StepId),
        of_base: place == 0,
        bytes: 0,
        diff_id: format!("sha256:{place}"),
    };
    let made_by = [None, Some(3), Some(4), Some(5), Some(6), Some(7), None];
    let layers = (0..).zip(made_by).map(|(place, step)| layer(place, step)).collect();
    anatomy.made_by(&BuiltImage { platform: String::new(), image: String::new(), layers }, &steps);
    let from: Vec<String> = anatomy
        .layers
        .iter()
        .map(|layer| match layer.made.as_ref().unwrap() {
            Made::Base { image } => format!("base {image:?}"),
            Made::Step { from: Some(Source::Stage { name }), .. } => format!("stage {name}"),
            Made::Step { from: Some(Source::Image { name }), .. } => format!("image {name}"),
            Made::Step { from: Some(Source::Context { name }), .. } => format!("context {name:?}"),
            Made::Step { from: Some(Source::Address { address }), .. } => format!("address {address}"),
            Made::Step { from: None, .. } => "step".to_owned(),
            Made::Several => "several".to_owned(),
        })
        .collect();
    let expected = [
        "base Some(\"alpine:3.22\")",
        "stage build",
        "stage build",
        "image busybox:1",
        "context None",
        "address https://example.com/x",
        "several",
    ];
    assert_eq!(from, expected);
}
