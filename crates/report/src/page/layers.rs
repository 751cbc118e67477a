//! The layers of the images: what each adds, from where, and what of it is shipped for nothing.

use std::collections::BTreeMap;

use maud::{Markup, html};
use stave_anatomy::{Anatomy, Layer, Lost, Made, Place, Source};

use super::budget::Pieces;
use super::places::{bar_of_two, step_link};
use super::tree::{Of, Weight, ratio, tree};
use super::{ImageLayers, Page};
use crate::measure::{count, counted, share, size};
use crate::text;

/// Bytes of this part for all images.
const BYTES: usize = 3 * 1024 * 1024;
/// Lines of the tree of an image, and of that of one layer.
const LINES: usize = 600;
const LAYER_LINES: usize = 80;
/// Losses that are named.
const LOSSES: usize = 25;
/// Layers that have a tree of their own.
const LAYERS: usize = 60;

/// The part about layers.
pub(super) fn layers(page: &Page<'_>) -> Markup {
    let several = page.layers.len() > 1;
    let mut pieces = Pieces::within(BYTES);
    for image in page.layers {
        pieces.push(|| {
            html! {
                @if several { h3.image { "For " (text::line(&image.platform)) } }
                @match &image.anatomy {
                    Ok(anatomy) => (of_image(page, anatomy)),
                    Err(reason) => p { "Nothing can be said of the files of this image: " (text::line(reason)) "." },
                }
            }
        });
    }
    let (pieces, missing) = pieces.finish();
    html! {
        (pieces)
        @if missing > 0 { p.note { (counted(missing, "image")) " more would make this page too large." } }
    }
}

impl ImageLayers {
    /// Whether bytes of it are shipped that nobody can see.
    pub(super) fn wasted(&self) -> u64 {
        self.anatomy.as_ref().map_or(0, |anatomy| anatomy.totals().wasted())
    }
}

fn of_image(page: &Page<'_>, anatomy: &Anatomy) -> Markup {
    let totals = anatomy.totals();
    let wasted = totals.wasted();
    html! {
        p {
            (counted(anatomy.layers.len(), "layer")) " with " strong { (size(totals.bytes)) } ". "
            @if wasted > 0 {
                strong.lost { (size(wasted)) " of them (" (share(ratio(wasted, totals.bytes), 1.0)) ") are shipped for nothing" }
                ": a later layer replaces or deletes them."
            } @else {
                "All of it can be seen in the image: nothing is replaced or deleted by a later layer."
            }
        }
        (origins(anatomy))
        (table(page, anatomy))
        (losses(page, anatomy))
        h3 { "All files" }
        p.legend { "By size, as the layers ship them. The blue part of a bar can be seen in the image, the red end is shipped for nothing." }
        (tree(anatomy, Of::All, LINES))
        (each(page, anatomy))
    }
}

fn weight(anatomy: &Anatomy, layer: usize) -> Weight {
    let layer = u32::try_from(layer).unwrap_or(u32::MAX);
    anatomy.root().map_or_else(Weight::default, |root| Of::Layer(layer).weigh(root))
}

/// Where the files of a layer come from, for people.
fn origin(layer: &Layer) -> String {
    match &layer.made {
        Some(Made::Base { image: Some(image) }) => format!("the base image {image}"),
        Some(Made::Base { image: None }) => "the base image".to_owned(),
        Some(Made::Several) => "several steps".to_owned(),
        Some(Made::Step { from: Some(Source::Stage { name }), .. }) => format!("the stage {name}"),
        Some(Made::Step { from: Some(Source::Image { name }), .. }) => format!("the image {name}"),
        Some(Made::Step { from: Some(Source::Context { name: Some(name) }), .. }) => format!("the context {name}"),
        Some(Made::Step { from: Some(Source::Context { name: None }), .. }) => "the build context".to_owned(),
        Some(Made::Step { from: Some(Source::Address { address }), .. }) => address.clone(),
        Some(Made::Step { from: None, .. }) => "commands of the stage itself".to_owned(),
        None => "unknown".to_owned(),
    }
}

/// What came from where.
fn origins(anatomy: &Anatomy) -> Markup {
    let mut sums: BTreeMap<String, Weight> = BTreeMap::new();
    for (place, layer) in anatomy.layers.iter().enumerate() {
        let (sum, more) = (sums.entry(origin(layer)).or_default(), weight(anatomy, place));
        (sum.bytes, sum.visible) = (sum.bytes + more.bytes, sum.visible + more.visible);
    }
    let whole = sums.values().map(|sum| sum.bytes).sum();
    let mut sums: Vec<(String, Weight)> = sums.into_iter().collect();
    sums.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.bytes));
    html! {
        h3 { "What came from where" }
        ul.path {
            @for (name, sum) in sums.iter().take(LAYERS) {
                li {
                    span { (text::cut(name, 100)) }
                    span.share { (size(sum.bytes)) }
                    (bar_of_two(ratio(sum.visible, whole), ratio(sum.bytes - sum.visible, whole)))
                }
            }
        }
    }
}

/// What made a layer, with a link to the step.
fn maker(page: &Page<'_>, layer: &Layer) -> Markup {
    let step = match &layer.made {
        Some(Made::Step { step, .. }) => page.record.step(*step),
        _ => None,
    };
    match (step, &layer.created_by) {
        (Some(step), _) => step_link(step),
        (None, Some(text)) => html! { code { (text::cut(text, 100)) } },
        (None, None) => html! { (text::cut(&origin(layer), 100)) },
    }
}

fn table(page: &Page<'_>, anatomy: &Anatomy) -> Markup {
    let most = (0..anatomy.layers.len()).map(|layer| weight(anatomy, layer).bytes).max().unwrap_or_default();
    html! {
        div.scroll role="region" aria-label="Table of the layers" tabindex="0" {
            table {
                caption { "Layers, the lowest first" }
                thead {
                    tr {
                        th.number scope="col" { "Layer" } th scope="col" { "Made by" } th scope="col" { "Files from" }
                        th.number scope="col" { "Files" } th.number scope="col" { "Adds" } td.wide {}
                        th.number scope="col" { "For nothing" }
                    }
                }
                tbody {
                    @for (place, layer) in anatomy.layers.iter().enumerate() {
                        @let weight = weight(anatomy, place);
                        @let lost = weight.bytes - weight.visible;
                        tr {
                            th.number scope="row" { (place + 1) }
                            td { (maker(page, layer)) }
                            td { (text::cut(&origin(layer), 60)) }
                            td.number { (count(files(anatomy, place))) }
                            td.number { (size(weight.bytes)) }
                            td.wide { (bar_of_two(ratio(weight.visible, most), ratio(lost, most))) }
                            td.number { @if lost > 0 { strong.lost { (size(lost)) } } @else { "–" } }
                        }
                    }
                }
            }
        }
    }
}

fn files(anatomy: &Anatomy, layer: usize) -> usize {
    let layer = u32::try_from(layer).unwrap_or(u32::MAX);
    let share = anatomy.root().and_then(|root| root.share(layer));
    share.map_or(0, |share| usize::try_from(share.files).unwrap_or(usize::MAX))
}

/// Something that is shipped for nothing.
struct Wasted {
    path: String,
    bytes: u64,
    layer: u32,
    by: u32,
    how: Lost,
}

/// Finds the largest things that are shipped for nothing: a directory of which nothing is left is one thing.
fn wasted(anatomy: &Anatomy) -> Vec<Wasted> {
    let mut found: Vec<Wasted> = Vec::new();
    let mut open: Vec<(Place<'_>, String)> = anatomy.root().map(|root| (root, String::new())).into_iter().collect();
    while let Some((place, path)) = open.pop() {
        let (totals, losses) = (place.totals(), &place.node().losses);
        let (Some(first), false) = (losses.first(), totals.wasted() == 0) else { continue };
        let is_one = losses.iter().all(|loss| (loss.layer, loss.by, loss.how) == (first.layer, first.by, first.how));
        if is_one && totals.visible == 0 || place.node().below == 0 {
            let one = |loss: &stave_anatomy::Loss| Wasted {
                path: path.clone(),
                bytes: loss.bytes,
                layer: loss.layer,
                by: loss.by,
                how: loss.how,
            };
            found.extend(losses.iter().filter(|loss| loss.how != Lost::Deletion).map(one));
            continue;
        }
        open.extend(place.children().map(|child| (child, format!("{path}/{}", child.node().name))));
        if found.len() > 4 * LOSSES {
            found.sort_by_key(|one| std::cmp::Reverse(one.bytes));
            found.truncate(LOSSES);
        }
    }
    found.sort_by(|one, other| other.bytes.cmp(&one.bytes).then_with(|| one.path.cmp(&other.path)));
    found.truncate(LOSSES);
    found
}

fn losses(page: &Page<'_>, anatomy: &Anatomy) -> Markup {
    let wasted = wasted(anatomy);
    if wasted.is_empty() {
        return html! {};
    }
    let by = |layer: u32| anatomy.layers.get(layer as usize);
    html! {
        h3 { "Shipped for nothing" }
        div.scroll role="region" aria-label="Table of what is shipped for nothing" tabindex="0" {
            table {
                thead {
                    tr {
                        th scope="col" { "What" } th.number scope="col" { "Bytes" } th scope="col" { "Shipped by" }
                        th scope="col" { "Then" }
                    }
                }
                tbody {
                    @for one in &wasted {
                        tr {
                            th scope="row" { code { (text::cut(&one.path, 120)) } }
                            td.number { (size(one.bytes)) }
                            td { "layer " (u64::from(one.layer) + 1) }
                            td {
                                (if one.how == Lost::Deleted { "deleted by " } else { "replaced by " })
                                "layer " (u64::from(one.by) + 1) ": "
                                @if let Some(layer) = by(one.by) { (maker(page, layer)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What each layer adds.
fn each(page: &Page<'_>, anatomy: &Anatomy) -> Markup {
    html! {
        h3 { "What each layer adds" }
        div.each {
            @for (place, layer) in anatomy.layers.iter().enumerate().take(LAYERS) {
                @let weight = weight(anatomy, place);
                details.layer {
                    summary { "Layer " (place + 1) ": " span.size { (size(weight.bytes)) } " from " (text::cut(&origin(layer), 80)) }
                    p { (maker(page, layer)) }
                    @if weight.bytes > 0 {
                        (tree(anatomy, Of::Layer(u32::try_from(place).unwrap_or(u32::MAX)), LAYER_LINES))
                    } @else { p.note { "It adds nothing." } }
                }
            }
            @if anatomy.layers.len() > LAYERS { p.note { (counted(anatomy.layers.len() - LAYERS, "other layer")) } }
        }
    }
}
