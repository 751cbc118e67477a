//! A diagram as a picture: alone, or in a page.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};

use crate::diagram::{Diagram, EdgeKind, Node, NodeKind};
use crate::layout::{Layout, Place, layout};
use crate::stages::Mark;
use crate::text;

/// The style of a picture that stands alone. In a page the page's own does.
const STYLE: &str = include_str!("../assets/graph.css");

/// How many columns of a name a title holds.
const TITLE_COLUMNS: usize = 400;

/// Returns the diagram as a picture of its own, light and dark.
#[must_use]
pub fn svg(diagram: &Diagram) -> String {
    let places = layout(diagram);
    let alone = html! { style { (PreEscaped(STYLE)) } };
    let picture = picture(diagram, &places, &alone, &|_| None);
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", picture.into_string())
}

/// Returns the diagram as a part of a page; `link` says where a node leads.
pub(crate) fn in_page(diagram: &Diagram, link: &dyn Fn(&Node) -> Option<String>) -> Markup {
    picture(diagram, &layout(diagram), &html! {}, link)
}

fn picture(diagram: &Diagram, places: &Layout, style: &Markup, link: &dyn Fn(&Node) -> Option<String>) -> Markup {
    let (width, height) = (number(places.width), number(places.height));
    html! {
        svg.graph xmlns="http://www.w3.org/2000/svg" width=(width) height=(height) viewBox={"0 0 " (width) " " (height)}
            role="group" aria-label=(label(diagram)) {
            (style)
            g.lines aria-hidden="true" {
                @for (edge, points) in diagram.edges.iter().zip(&places.lines) {
                    @let is_critical = diagram.nodes[edge.from].is_critical && diagram.nodes[edge.to].is_critical;
                    path.files[edge.kind == EdgeKind::Files].critical[is_critical] d=(curve(points)) {}
                }
            }
            @for (node, place) in diagram.nodes.iter().zip(&places.boxes) {
                @match link(node) {
                    Some(to) => a href=(to) { (drawn(node, place)) }
                    None => (drawn(node, place)),
                }
            }
        }
    }
}

/// Says in words what the picture shows.
fn label(diagram: &Diagram) -> String {
    let count = |kind| diagram.nodes.iter().filter(|node| node.kind == kind).count();
    let part = |number: usize, one: &str| (number > 0).then(|| crate::measure::counted(number, one));
    let parts = [
        part(count(NodeKind::Stage), "stage"),
        part(count(NodeKind::Step), "step"),
        part(count(NodeKind::Source), "source"),
    ];
    format!("Graph of {}", parts.into_iter().flatten().collect::<Vec<_>>().join(" and "))
}

fn drawn(node: &Node, place: &Place) -> Markup {
    let kind = match node.kind {
        NodeKind::Source => "source",
        NodeKind::Stage => "stage",
        NodeKind::Step => "step",
    };
    let mark = node.mark.class();
    let (x, y) = (place.x, place.y);
    let middle = number(x + place.width / 2.0);
    let has_note = !node.note.is_empty();
    let name_at = number(y + if has_note { 19.0 } else { place.height / 2.0 + 4.5 });
    html! {
        g.node.(kind).(mark).critical[node.is_critical].target[node.is_target] {
            title { (title(node)) }
            rect x=(number(x)) y=(number(y)) width=(number(place.width)) height=(number(place.height)) rx="4" {}
            @if node.is_target {
                rect.inner x=(number(x + 3.0)) y=(number(y + 3.0)) width=(number(place.width - 6.0))
                    height=(number(place.height - 6.0)) rx="2" {}
            }
            text.name x=(middle) y=(name_at) { (place.name) }
            @if has_note { text.note x=(middle) y=(number(y + 34.0)) { (text::line(&node.note)) } }
        }
    }
}

/// All of what is said of a node, for who points at it and for who hears it.
fn title(node: &Node) -> String {
    let mut parts = vec![text::cut(&node.name, TITLE_COLUMNS)];
    if !node.note.is_empty() {
        parts.push(text::line(&node.note));
    }
    if node.is_critical {
        parts.push("on the critical path".to_owned());
    }
    if node.is_target && node.mark != Mark::Plain {
        parts.push("what was asked for".to_owned());
    }
    parts.join(", ")
}

/// A line through points: level at each of them.
fn curve(points: &[(f64, f64)]) -> String {
    let Some(&(x, y)) = points.first() else { return String::new() };
    let mut path = format!("M{} {}", number(x), number(y));
    for pair in points.windows(2) {
        let ((x, y), (to_x, to_y)) = (pair[0], pair[1]);
        if (y - to_y).abs() < 0.05 {
            write!(path, "H{}", number(to_x)).expect("a text takes all");
        } else {
            let middle = number(f64::midpoint(x, to_x));
            let (x, y, to_y) = (number(to_x), number(y), number(to_y));
            write!(path, "C{middle} {y} {middle} {to_y} {x} {to_y}").expect("a text takes all");
        }
    }
    path
}

/// A length in pixels, to a tenth.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}
