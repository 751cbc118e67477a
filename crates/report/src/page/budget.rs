//! Parts of a page that grow with the build, and end before they are too large.

use maud::{Markup, PreEscaped};

/// Pieces, as many as there is room for.
pub(super) struct Pieces {
    room: usize,
    html: String,
    left_out: usize,
}

impl Pieces {
    /// Begins a part with room for this many bytes.
    pub(super) fn within(room: usize) -> Self {
        Self { room, html: String::new(), left_out: 0 }
    }

    /// Adds a piece, if there is room for it and for all before it.
    pub(super) fn push(&mut self, piece: impl FnOnce() -> Markup) {
        if self.left_out > 0 {
            self.left_out += 1;
            return;
        }
        let PreEscaped(piece) = piece();
        if self.html.len() + piece.len() > self.room {
            self.left_out = 1;
        } else {
            self.html += &piece;
        }
    }

    /// Returns the pieces, and how many there was no room for.
    pub(super) fn finish(self) -> (Markup, usize) {
        (PreEscaped(self.html), self.left_out)
    }
}
