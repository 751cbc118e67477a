//! Places of images that are neither the store nor a registry, by the names that Buildah, Podman and skopeo have for them:
//! their transports.
//!
//! Reference: containers/image, `docs/containers-transports.5.md`.

use std::path::PathBuf;

use stave_oci::Reference;

use crate::error::EngineError;

/// What all transports are told by, in messages.
const KNOWN: &str = "Known are `docker://`, `oci:`, `oci-archive:`, `docker-archive:`, `dir:` and `docker-daemon:`.";

/// A place of images on this machine, outside of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImagePlace {
    /// `oci:DIRECTORY[:NAME]`, an OCI layout.
    Layout {
        /// Its directory.
        path: PathBuf,
        /// The image's name in its list.
        name: Option<String>,
    },
    /// `oci-archive:FILE[:NAME]`, an OCI layout in a tar.
    OciArchive {
        /// The file.
        path: PathBuf,
        /// The image's name in its list.
        name: Option<String>,
    },
    /// `docker-archive:FILE[:NAME[:TAG]|:@NUMBER]`, what `docker save` writes.
    DockerArchive {
        /// The file.
        path: PathBuf,
        /// Which image of it.
        which: Option<WhichImage>,
    },
    /// `dir:DIRECTORY`, the manifest and the blobs of one image as files.
    Dir(PathBuf),
    /// `docker-daemon:NAME[:TAG]` or `docker-daemon:ID`, the store of a running daemon.
    Daemon(String),
}

/// An image of an archive that may have several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhichImage {
    /// The one with this name.
    Named(Reference),
    /// The one at this place, from zero.
    Numbered(usize),
}

impl ImagePlace {
    /// Reads a name with a transport. Returns nothing if it has none and is an image's.
    ///
    /// # Errors
    /// If the transport has no meaning here, or what follows it is not what it needs.
    pub fn parse(text: &str) -> Result<Option<Self>, EngineError> {
        let Some((transport, rest)) = text.split_once(':') else { return Ok(None) };
        let place = match transport {
            "oci" | "oci-archive" | "docker-archive" | "dir" | "docker-daemon" if rest.is_empty() => {
                let message = format!("`{text}` names nothing");
                return Err(EngineError::request(message, Some(&format!("Write `{}`.", form(transport)))));
            }
            "oci" => {
                let (path, name) = path_and_name(text, rest)?;
                Self::Layout { path, name }
            }
            "oci-archive" => {
                let (path, name) = path_and_name(text, rest)?;
                Self::OciArchive { path, name }
            }
            "docker-archive" => {
                let (path, name) = path_and_name(text, rest)?;
                let which = name.map(|name| which(text, &name)).transpose()?;
                Self::DockerArchive { path, which }
            }
            "dir" => Self::Dir(rest.into()),
            "docker-daemon" => Self::Daemon(rest.to_owned()),
            "containers-storage" => {
                let message = format!("`{text}` is in the storage of Buildah and Podman, which is not stave's to open");
                let hint = "Go by an archive: `podman save --format oci-archive -o FILE NAME` and `stave load -i FILE`, or \
                            `stave push NAME oci-archive:FILE` and `podman load -i FILE`.";
                return Err(EngineError::request(message, Some(hint)));
            }
            "atomic" | "ostree" | "sif" | "tarball" => {
                return Err(EngineError::request(format!("`{transport}:` is no place that stave knows"), Some(KNOWN)));
            }
            _ => return Ok(None),
        };
        Ok(Some(place))
    }
}

/// Returns how a name with a transport is written.
fn form(transport: &str) -> &'static str {
    match transport {
        "oci" => "oci:DIRECTORY[:NAME]",
        "oci-archive" => "oci-archive:FILE[:NAME]",
        "docker-archive" => "docker-archive:FILE[:NAME[:TAG]]",
        "dir" => "dir:DIRECTORY",
        _ => "docker-daemon:NAME[:TAG]",
    }
}

/// Divides at the first colon, as whoever defined these names does: a path has none.
fn path_and_name(text: &str, rest: &str) -> Result<(PathBuf, Option<String>), EngineError> {
    let (path, name) = rest.split_once(':').map_or((rest, None), |(path, name)| (path, Some(name)));
    if path.is_empty() || name == Some("") {
        let transport = text.split(':').next().unwrap_or_default();
        let message = format!("`{text}` lacks what is before or after its second colon");
        return Err(EngineError::request(message, Some(&format!("Write `{}`.", form(transport)))));
    }
    Ok((path.into(), name.map(str::to_owned)))
}

fn which(text: &str, name: &str) -> Result<WhichImage, EngineError> {
    if let Some(number) = name.strip_prefix('@') {
        return number.parse().map(WhichImage::Numbered).map_err(|error| {
            EngineError::tree(format!("cannot use `{text}`: `{number}` is no number of an image"), error)
        });
    }
    name.parse().map(WhichImage::Named).map_err(|error| EngineError::tree(format!("cannot use `{text}`"), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Option<ImagePlace> {
        ImagePlace::parse(text).expect("it can be used")
    }

    /// C034
    #[test]
    fn names_with_a_transport_are_places_and_others_are_images() {
        let (path, name) = (PathBuf::from("a/b"), Some("x:1".to_owned()));
        assert_eq!(place("oci:a/b:x:1"), Some(ImagePlace::Layout { path: path.clone(), name: name.clone() }));
        assert_eq!(place("oci:a/b"), Some(ImagePlace::Layout { path: path.clone(), name: None }));
        assert_eq!(place("oci-archive:a/b:x:1"), Some(ImagePlace::OciArchive { path: path.clone(), name }));
        let named = WhichImage::Named("x:1".parse().expect("a name"));
        let archive = |which| Some(ImagePlace::DockerArchive { path: path.clone(), which });
        assert_eq!(place("docker-archive:a/b:x:1"), archive(Some(named)));
        assert_eq!(place("docker-archive:a/b:@2"), archive(Some(WhichImage::Numbered(2))));
        assert_eq!(place("docker-archive:a/b"), archive(None));
        assert_eq!(place("dir:a:b"), Some(ImagePlace::Dir("a:b".into())));
        assert_eq!(place("docker-daemon:x:1"), Some(ImagePlace::Daemon("x:1".to_owned())));
        for image in ["alpine", "alpine:3", "localhost:5000/x", "h.example/oci:1", "x@sha256:0"] {
            assert_eq!(place(image), None, "{image}");
        }
    }

    /// C034
    #[test]
    fn what_is_no_place_is_said_with_what_is_one() {
        let error = |text: &str| {
            let error = ImagePlace::parse(text).expect_err("it is no place");
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause} | {}", error.hint().unwrap_or_default())
        };
        assert_eq!(error("dir:"), "`dir:` names nothing | Write `dir:DIRECTORY`.");
        assert_eq!(
            error("oci:a:"),
            "`oci:a:` lacks what is before or after its second colon | Write `oci:DIRECTORY[:NAME]`."
        );
        assert_eq!(
            error("docker-archive:a:@x"),
            "cannot use `docker-archive:a:@x`: `x` is no number of an image: invalid digit found in string | "
        );
        assert_eq!(
            error("containers-storage:x"),
            "`containers-storage:x` is in the storage of Buildah and Podman, which is not stave's to open | Go by an archive: \
             `podman save --format oci-archive -o FILE NAME` and `stave load -i FILE`, or `stave push NAME oci-archive:FILE` \
             and `podman load -i FILE`."
        );
        assert_eq!(error("ostree:x"), format!("`ostree:` is no place that stave knows | {KNOWN}"));
    }
}
