//! Stave reads what others made, mostly copies of its own image, so that nothing may be lost on the way.

use super::yard::same;
use super::{Case, Peer, Problem, Way, Yard};

const fn case(peer: Peer, what: &'static str, run: fn(&Yard) -> Result<(), Problem>) -> Case {
    Case::new(Way::Written, peer, what, run)
}

pub(super) const CASES: &[Case] = &[
    case(Peer::Skopeo, "OCI archive", |yard| skopeo_writes(yard, "oci-archive:w-oci.tar:back:1", "w-oci.tar")),
    case(Peer::Skopeo, "Docker archive", |yard| {
        skopeo_writes(yard, "docker-archive:w-docker.tar:back:1", "w-docker.tar")
    }),
    case(Peer::Skopeo, "OCI layout as a base", |yard| {
        let source = source(yard)?;
        yard.skopeo(&["copy", "-q", &source, "oci:w-layout:1"])?;
        yard.file("w/Dockerfile", "FROM base\nRUN test -e /all/plain\n");
        yard.stave(&["build", "-q", "-t", "w-layout:1", "--build-context", "base=oci-layout://w-layout:1", "w"])?;
        same("files", &yard.listing()?, &yard.stave(&["run", "--rm", "w-layout:1"])?)
    }),
    case(Peer::Skopeo, "`dir:`, by `pull`", |yard| {
        yard.skopeo(&["copy", "-q", &source(yard)?, "dir:w-dir"])?;
        same("image id", &yard.id("made:1")?, &yard.stave(&["pull", "-q", "dir:w-dir"])?)
    }),
    case(Peer::Skopeo, "registry, zstd", |yard| {
        let name = yard.remote("written/skopeo-zstd:1");
        let target = format!("docker://{name}");
        let source = source(yard)?;
        let compress = ["--dest-compress-format", "zstd", "--dest-force-compress-format"];
        yard.skopeo(&["copy", "-q", "--dest-tls-verify=false", compress[0], compress[1], &source, &target])?;
        yard.stave(&["pull", "-q", &name])?;
        yard.same_image(&name)
    }),
    case(Peer::Umoci, "layout with a layer of umoci's", |yard| {
        let source = source(yard)?;
        yard.skopeo(&["copy", "-q", &source, "oci:w-umoci:1"])?;
        yard.file("inserted", "by umoci\n");
        yard.peer(&["insert", "--image", "w-umoci:1", "inserted", "/inserted"])?;
        yard.file("u/Dockerfile", "FROM base\n");
        yard.stave(&["build", "-q", "-t", "w-umoci:1", "--build-context", "base=oci-layout://w-umoci:1", "u"])?;
        same("file", "by umoci", &yard.stave(&["run", "--rm", "w-umoci:1", "cat", "/inserted"])?)?;
        same("files", &yard.listing()?, &yard.stave(&["run", "--rm", "w-umoci:1"])?)
    }),
    case(Peer::Buildah, "OCI archive of `push`", |yard| {
        yard.peer(&["pull", &source(yard)?])?;
        let id = bare(&yard.id("made:1")?);
        yard.peer(&["push", "-q", &id, "oci-archive:w-buildah.tar:back:1"])?;
        loaded(yard, "w-buildah.tar")
    }),
    case(Peer::Buildah, "`docker-archive:`, by `pull`", |yard| {
        yard.peer(&["pull", &source(yard)?])?;
        yard.peer(&["push", "-q", &bare(&yard.id("made:1")?), "docker-archive:w-place.tar:back:2"])?;
        same("name", "docker.io/library/back:2", &yard.stave(&["pull", "-q", "docker-archive:w-place.tar:back:2"])?)?;
        yard.same_image("back:2")
    }),
    case(Peer::Buildah, "image that it built", |yard| {
        yard.file("b/Dockerfile", "FROM scratch\nCOPY a /a\nLABEL by=buildah\n");
        yard.file("b/a", "a\n");
        yard.peer(&["build", "-q", "-t", "w-built:1", "b"])?;
        yard.peer(&["push", "-q", "w-built:1", "docker-archive:w-built.tar:w-built:1"])?;
        yard.stave(&["load", "-q", "-i", "w-built.tar"])?;
        same("label", "buildah", &yard.stave(&["inspect", "--format", "{{.Config.Labels.by}}", "w-built:1"])?)
    }),
    case(Peer::Buildah, "manifest list in a registry", |yard| {
        let name = yard.remote("written/list:1");
        for arch in ["amd64", "arm64"] {
            yard.file("b/a", arch);
            yard.file("b/Dockerfile", "FROM scratch\nCOPY a /a\n");
            yard.peer(&["build", "-q", "--platform", &format!("linux/{arch}"), "--manifest", "w-list", "b"])?;
        }
        yard.peer(&["manifest", "push", "-q", "--all", "--tls-verify=false", "w-list", &format!("docker://{name}")])?;
        yard.stave(&["pull", "-q", &name])?;
        same("platform", "amd64", &yard.stave(&["inspect", "--format", "{{.Architecture}}", &name])?)
    }),
    case(Peer::Podman, "OCI archive of `save`", |yard| podman_saves(yard, "oci-archive")),
    case(Peer::Podman, "Docker archive of `save`", |yard| podman_saves(yard, "docker-archive")),
    case(Peer::Docker, "archive of `save`", |yard| {
        docker_has(yard)?;
        yard.peer(&["tag", "made:1", "back:1"])?;
        yard.peer(&["save", "-o", "w-saved.tar", "back:1"])?;
        loaded(yard, "w-saved.tar")
    }),
    case(Peer::Docker, "registry", |yard| {
        docker_has(yard)?;
        let name = yard.remote("written/docker:1");
        yard.peer(&["tag", "made:1", &name])?;
        yard.peer(&["push", "-q", &name])?;
        yard.stave(&["pull", "-q", &name])?;
        yard.same_image(&name)
    }),
    case(Peer::Docker, "cache in an image of its BuildKit", |yard| {
        let name = yard.remote("written/carrying:1");
        let inline = "--build-arg=BUILDKIT_INLINE_CACHE=1";
        yard.peer(&["build", "-q", "--network", "host", inline, "-t", &name, "."])?;
        yard.peer(&["push", "-q", &name])?;
        let from = format!("--cache-from=type=registry,ref={name}");
        let said = yard.stave_says(&["build", "--no-cache-filter=none", "--progress=plain", &from, "."])?;
        if said.contains("is not used") { Err(format!("the cache is not read: {said}")) } else { Ok(()) }
    }),
    case(Peer::Docker, "image that its BuildKit built", |yard| {
        yard.peer(&["build", "-q", "--network", "host", "-t", "w-docker-built:1", "."])?;
        yard.peer(&["save", "-o", "w-docker-built.tar", "w-docker-built:1"])?;
        yard.stave(&["load", "-q", "-i", "w-docker-built.tar"])?;
        let id = yard.peer(&["image", "inspect", "--format", "{{.Id}}", "w-docker-built:1"])?;
        same("image id", &id, &yard.id("w-docker-built:1")?)?;
        let seen = yard.peer(&["run", "--rm", "--network", "host", "w-docker-built:1"])?;
        same("files", &seen, &yard.stave(&["run", "--rm", "w-docker-built:1"])?.replace(" -86400", " 0"))
    }),
];

/// Returns the image as skopeo and its kin find it.
fn source(yard: &Yard) -> Result<String, Problem> {
    yard.stave(&["build", "-q", "-t", "made:1", "--output", "type=oci,dest=source.tar", "."])?;
    Ok("oci-archive:source.tar".to_owned())
}

fn skopeo_writes(yard: &Yard, target: &str, archive: &str) -> Result<(), Problem> {
    let source = source(yard)?;
    yard.skopeo(&["copy", "-q", &source, target])?;
    loaded(yard, archive)
}

/// Loads an archive with `made:1` as `back:1`, where the name is told, and compares.
fn loaded(yard: &Yard, archive: &str) -> Result<(), Problem> {
    let said = yard.stave(&["load", "-i", archive])?;
    let name = said.rsplit(": ").next().unwrap_or_default().trim().to_owned();
    yard.same_image(&name)
}

fn bare(id: &str) -> String {
    id.trim_start_matches("sha256:").to_owned()
}

fn podman_saves(yard: &Yard, format: &str) -> Result<(), Problem> {
    let id = bare(&yard.id("made:1")?);
    if yard.peer(&["image", "exists", &id]).is_err() {
        source(yard)?;
        yard.peer(&["load", "-q", "-i", "source.tar"])?;
    }
    yard.peer(&["tag", &id, "localhost/back:1"])?;
    let archive = format!("w-podman-{format}.tar");
    yard.peer(&["save", "-q", "--format", format, "-o", &archive, "localhost/back:1"])?;
    loaded(yard, &archive)
}

fn docker_has(yard: &Yard) -> Result<(), Problem> {
    yard.stave(&["save", "-o", "for-docker.tar", "made:1"])?;
    yard.peer(&["load", "-q", "-i", "for-docker.tar"]).map(drop)
}
