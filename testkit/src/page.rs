//! The page whose links the story's program counts.

use crate::http::{Response, Server};

/// How many links of [`serve`]'s page lead elsewhere on the same site.
pub const INTERNAL: u32 = 3;
/// How many lead to other sites.
pub const EXTERNAL: u32 = 2;

const PAGE: &str = r##"<!doctype html><title>Links</title>
<a href="/a">a</a> <a href="b/c.html">b</a> <A HREF="#top">top</A>
<p>No link: <a name="x">x</a>, &lt;a href="/no"&gt;, <!-- <a href="/no">no</a> --></p>
<a href="http://example.com/">out</a> <a class=y href='https://example.org/z'>out</a>
"##;

/// Serves the page at every path.
#[must_use]
pub fn serve() -> Server {
    Server::start(|_| Response::body(200, "text/html; charset=utf-8", PAGE))
}

/// What a correct program prints about the page, without the end of the line.
#[must_use]
pub fn counts() -> String {
    format!(r#"{{"internal":{INTERNAL},"external":{EXTERNAL}}}"#)
}
