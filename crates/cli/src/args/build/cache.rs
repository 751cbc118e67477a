//! `--cache-from` and `--cache-to`: fields, or names of images.

use std::str::FromStr;

use super::csv;

/// One option: the fields of each cache that it names.
///
/// Reference: docker/buildx, `util/buildflags/cache.go`: words without `=` are references in a registry, one or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheArg(pub(crate) Vec<Vec<(String, String)>>);

impl FromStr for CacheArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fields = csv::fields(text)?;
        if fields.iter().all(|field| !field.contains('=')) {
            let registry =
                |name: &String| vec![("type".to_owned(), "registry".to_owned()), ("ref".to_owned(), name.clone())];
            let names: Vec<_> = fields.iter().filter(|name| !name.is_empty()).map(registry).collect();
            // `--cache-from=` is what remains of `--cache-from=$CACHE`.
            return Ok(Self(names));
        }
        let pair = |field: &String| csv::pair(field).map(|(key, value)| (key, value.to_owned()));
        let pairs = fields.iter().filter(|field| !field.is_empty()).map(pair).collect::<Result<_, _>>()?;
        Ok(Self(vec![pairs]))
    }
}
