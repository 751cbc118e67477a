//! Annotations: `--annotation`, and the fields of an output that begin with `annotation`.

use std::str::FromStr;

use stave_engine::{Annotation, AnnotationLevel};
use stave_oci::Platform;

/// One `--annotation`: `[LEVEL[PLATFORM],...:]KEY=VALUE`. It is as many annotations as it has levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnnotationArg(pub(crate) Vec<Annotation>);

impl FromStr for AnnotationArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no annotation: expected `[LEVEL:]KEY=VALUE`");
        let (left, value) = text.split_once('=').ok_or_else(wrong)?;
        let (levels, key) = match left.split_once(':') {
            Some((levels, key)) => {
                levels.split(',').try_for_each(|one| level(one).map(drop))?;
                (levels, key)
            }
            None => ("manifest", left),
        };
        if key.is_empty() {
            return Err(wrong());
        }
        let one = |text: &str| {
            let (level, platform) = level(text)?;
            Ok(Annotation { level, platform, key: key.to_owned(), value: value.to_owned() })
        };
        Ok(Self(levels.split(',').map(one).collect::<Result<_, String>>()?))
    }
}

/// Reads `manifest[linux/amd64]`.
fn level(text: &str) -> Result<(AnnotationLevel, Option<Platform>), String> {
    let (name, platform) = match text.split_once('[') {
        Some((name, rest)) => {
            let platform = rest.strip_suffix(']').ok_or_else(|| format!("the `[` of `{text}` is not closed"))?;
            (name, Some(platform.parse::<Platform>().map_err(|error| error.to_string())?))
        }
        None => (text, None),
    };
    let level = match name {
        "manifest" => AnnotationLevel::Manifest,
        "index" => AnnotationLevel::Index,
        "manifest-descriptor" => AnnotationLevel::ManifestDescriptor,
        "index-descriptor" => AnnotationLevel::IndexDescriptor,
        _ => {
            return Err(format!(
                "`{name}` is no level of annotations: expected `manifest`, `index`, `manifest-descriptor` or \
                 `index-descriptor`, and a key that has a colon after one of them"
            ));
        }
    };
    match (level, &platform) {
        (AnnotationLevel::Index | AnnotationLevel::IndexDescriptor, Some(platform)) => {
            Err(format!("an index is for all platforms, and has nothing of its own for `{platform}`"))
        }
        _ => Ok((level, platform)),
    }
}

/// Reads a field of an output, `annotation-LEVEL[PLATFORM].KEY=VALUE`. Returns nothing if it is another field.
pub(super) fn field(field: &str) -> Result<Option<Annotation>, String> {
    let Some((name, value)) = field.split_once('=') else { return Ok(None) };
    let Some(rest) = name.strip_prefix("annotation") else { return Ok(None) };
    // A platform may have dots: what is in brackets belongs together.
    let dot = match rest.find('[') {
        Some(open) => {
            rest[open..].find(']').and_then(|close| rest[open + close..].find('.').map(|dot| open + close + dot))
        }
        None => rest.find('.'),
    };
    let Some(dot) = dot else { return Err(format!("`{name}` has no key: expected `annotation.KEY=VALUE`")) };
    let (said, key) = (&rest[..dot], &rest[dot + 1..]);
    let said = match said.strip_prefix('-') {
        Some(said) => said.to_owned(),
        None => format!("manifest{said}"),
    };
    let (level, platform) = level(&said)?;
    if key.is_empty() {
        return Err(format!("`{name}` has no key: expected `annotation.KEY=VALUE`"));
    }
    Ok(Some(Annotation { level, platform, key: key.to_owned(), value: value.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(annotation: &Annotation) -> String {
        let platform = annotation.platform.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{:?}[{platform}] {} = {}", annotation.level, annotation.key, annotation.value)
    }

    #[test]
    fn an_option_has_levels_before_its_key() {
        let read = |text: &str| text.parse::<AnnotationArg>().map(|all| all.0.iter().map(shown).collect::<Vec<_>>());
        assert_eq!(read("a.b=c=d"), Ok(vec!["Manifest[] a.b = c=d".to_owned()]));
        assert_eq!(read("manifest:http://x:y=z"), Ok(vec!["Manifest[] http://x:y = z".to_owned()]));
        let both = ["Index[] k = v", "Manifest[linux/arm64] k = v"].map(str::to_owned).to_vec();
        assert_eq!(read("index,manifest[linux/arm64]:k=v"), Ok(both));
        for (wrong, why) in [
            ("k", "is no annotation"),
            ("=v", "is no annotation"),
            ("manifests:k=v", "`manifests` is no level"),
            ("foo:a=b", "`foo` is no level of annotations: expected `manifest`, `index`,"),
            ("http://x:y=z", "and a key that has a colon after one of them"),
            ("index,:k=v", "`` is no level"),
            ("manifest[linux:k=v", "not closed"),
            ("index[linux/amd64]:k=v", "an index is for all platforms"),
        ] {
            let error = read(wrong).expect_err(wrong);
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_field_has_its_level_in_its_name() {
        let read = |text: &str| field(text).map(|one| one.as_ref().map(shown));
        assert_eq!(read("annotation.org.X=v"), Ok(Some("Manifest[] org.X = v".to_owned())));
        assert_eq!(read("annotation-index.k=v"), Ok(Some("Index[] k = v".to_owned())));
        assert_eq!(
            read("annotation-manifest-descriptor[linux/arm/v7].k=v"),
            Ok(Some("ManifestDescriptor[linux/arm/v7] k = v".to_owned()))
        );
        assert_eq!(read("annotation[linux/amd64].k=v"), Ok(Some("Manifest[linux/amd64] k = v".to_owned())));
        assert_eq!(read("compression=gzip"), Ok(None));
        assert!(read("annotation=v").is_err() && read("annotation.=v").is_err() && read("annotation-x.k=v").is_err());
    }
}
