//! The page: one document with its style and its script, that asks for nothing.

mod budget;
mod layers;
mod overview;
mod places;
mod source;
mod stages;
mod steps;
mod timeline;
mod tree;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};
use stave_anatomy::Anatomy;
use stave_history::Record;
use stave_history::event::StepId;

use crate::log::LogExcerpt;
use crate::text;

/// The style of the page, with that of its graph.
const STYLE: &str = concat!(include_str!("../../assets/graph.css"), include_str!("../../assets/page.css"));
/// What makes the page more convenient. All of it can be read without.
const SCRIPT: &str = include_str!("../../assets/page.js");

/// Most bytes of a page, whatever was built.
pub const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a page is made of.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The build.
    pub record: &'a Record,
    /// When it began, for people.
    pub started: &'a str,
    /// What its steps wrote, as far as it was read.
    pub logs: &'a BTreeMap<StepId, LogExcerpt>,
    /// The layers of the images that it made, in their order.
    pub layers: &'a [ImageLayers],
}

/// The layers of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLayers {
    /// For which platform it is.
    pub platform: String,
    /// What its layers have, or why that is not known: a sentence without its period.
    pub anatomy: Result<Anatomy, String>,
}

impl Page<'_> {
    /// Returns the page.
    #[must_use]
    pub fn html(&self) -> String {
        let record = self.record;
        let title = format!("{} - stave report", text::cut(&overview::subject(record), 80));
        let sections = self.sections();
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(policy());
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="referrer" content="no-referrer";
                    meta name="generator" content={"stave " (text::line(&record.request.version))};
                    link rel="icon" href="data:,";
                    title { (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    a.skip href="#main" { "Skip to the report" }
                    header.top { (overview::head(self)) }
                    nav aria-label="Parts of the report" {
                        ul { @for (id, name, _) in &sections { li { a href={"#" (id)} { (name) } } } }
                    }
                    main #main tabindex="-1" {
                        @for (id, name, content) in &sections {
                            section #(id) aria-labelledby={(id) "-title"} {
                                h2 id={(id) "-title"} { (name) }
                                (content)
                            }
                        }
                    }
                    footer {
                        p { "Made by stave " (text::line(&record.request.version)) " from its record of the build "
                            code { (text::line(&record.id)) } ". This page asks for nothing: it can be kept and sent." }
                    }
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        };
        page.into_string()
    }

    /// The parts that there is something to say in, with their names.
    fn sections(&self) -> Vec<(&'static str, &'static str, Markup)> {
        let mut sections = vec![("overview", "Overview", overview::overview(self))];
        if !self.record.steps.is_empty() {
            sections.push(("stages", "Stages", stages::stages(self)));
            sections.push(("timeline", "Timeline", timeline::timeline(self)));
            sections.push(("steps", "Steps", steps::steps(self)));
        }
        if !self.layers.is_empty() {
            sections.push(("layers", "Layers", layers::layers(self)));
        }
        if !self.record.text.is_empty() {
            sections.push(("source", "Source", source::source(self)));
        }
        sections
    }
}

/// The policy under which a browser shows the page: nothing is loaded, nothing is sent, and only this style and this script
/// count.
fn policy() -> String {
    let digest = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; base-uri 'none'; form-action 'none'",
        digest(STYLE),
        digest(SCRIPT)
    )
}
