//! Lists that come in pages: the tags of a repository, the referrers of a manifest.
//!
//! Reference: OCI distribution-spec 1.1, "Listing Tags" and "Listing Referrers"; RFC 8288 (the `Link` header).

use serde::Deserialize;
use stave_oci::Reference;
use ureq::http::Method;

use crate::auth::Repository;
use crate::client::Client;
use crate::error::RegistryError;
use crate::failure::Failure;
use crate::limits;
use stave_http::url::Url;
use stave_http::{Reply, Request};

/// What a first page is answered with where there is no list.
pub(crate) const ABSENT: &[u16] = &[400, 404, 405, 501];

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Client {
    /// Lists the tags of the repository that `name` is in, at the registry itself. Its own tag and digest don't matter.
    ///
    /// Names that no tag can have are left out.
    pub fn tags(&self, name: &Reference) -> Result<Vec<String>, RegistryError> {
        let repository = self.open(&self.config.registries.place_to_push(name)?, false)?;
        let url = repository.url("tags/list").with_query("n", "1000");
        let mut found = Vec::new();
        let listed = pages(&repository, url.clone(), "tags", |_, bytes| {
            let page: Tags = serde_json::from_slice(bytes).ok()?;
            found.extend(page.tags.unwrap_or_default());
            Some(found.len())
        })?;
        if !listed {
            let (reference, origin) = (name.name(), Box::new(repository.origin.clone()));
            let message = crate::error::ServerMessage::default();
            return Err(RegistryError::NotFound { reference, origin, message });
        }
        found.retain(|tag| format!("{}:{tag}", name.name()).parse::<Reference>().is_ok_and(|name| name.tag.is_some()));
        Ok(found)
    }
}

/// Reads a list page by page. `read` gets each page's answer and bytes and returns how many entries there are so far;
/// nothing, if the page is not of such a list. Returns whether there is a list at all.
pub(crate) fn pages(
    repository: &Repository<'_>,
    first: Url,
    what: &'static str,
    mut read: impl FnMut(&Reply, &[u8]) -> Option<usize>,
) -> Result<bool, RegistryError> {
    let mut next = Some(first);
    let mut number = 0;
    while let Some(url) = next.take() {
        let (reply, bytes) = match page(repository, &url)? {
            Some(page) => page,
            None if number == 0 => return Ok(false),
            None => return Err(RegistryError::List { url: Box::new(url), what }),
        };
        let Some(entries) = read(&reply, &bytes) else {
            return if number == 0 { Ok(false) } else { Err(RegistryError::List { url: Box::new(url), what }) };
        };
        number += 1;
        if number > limits::PAGES_MAX || entries > limits::LISTED_MAX {
            let (origin, limit) = (Box::new(repository.origin.clone()), limits::LISTED_MAX);
            return Err(RegistryError::TooMany { origin, what, limit });
        }
        // A list goes on at the same server or not at all.
        let linked = reply.header("link").and_then(next_page).and_then(|target| reply.url.join(target).ok());
        next = linked.filter(|target| target.origin() == &repository.origin && *target != url);
    }
    Ok(true)
}

fn page(repository: &Repository<'_>, url: &Url) -> Result<Option<(Reply, Vec<u8>)>, RegistryError> {
    let http = &repository.client.http;
    let attempt = || -> Result<Option<(Reply, Vec<u8>)>, Failure> {
        let mut reply = repository.send(Request::new(Method::GET, url.clone()))?;
        match reply.status {
            200 => {
                let bytes = http.read_all("list", &mut reply, limits::MANIFEST_BYTES_MAX)?;
                Ok(Some((reply, bytes)))
            }
            status if ABSENT.contains(&status) => Ok(None),
            _ => Err(http.status_failure(reply).into()),
        }
    };
    let mut patience = repository.patience_to_find();
    loop {
        match attempt() {
            Ok(page) => return Ok(page),
            Err(failure) => failure.wait(&mut patience)?,
        }
    }
}

/// Returns where the `Link` header says that the next page is: `</v2/x/tags/list?last=b&n=2>; rel="next"`.
fn next_page(header: &str) -> Option<&str> {
    header.split(',').find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| {
            let value = parameter.trim().strip_prefix("rel=").map(|value| value.trim_matches('"'));
            value.is_some_and(|value| value.eq_ignore_ascii_case("next"))
        });
        is_next.then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_in_the_header() {
        assert_eq!(next_page(r#"</v2/x/tags/list?last=b&n=2>; rel="next""#), Some("/v2/x/tags/list?last=b&n=2"));
        assert_eq!(next_page(r#"</a>; rel="prev", </b>; title=x; rel=next"#), Some("/b"));
        for header in ["", "</a>", "/a; rel=next", r#"</a>; rel="last""#, "<"] {
            assert_eq!(next_page(header), None, "{header}");
        }
    }
}
