//! Others read what stave made.

use super::yard::{same, text};
use super::{Case, Peer, Problem, Way, Yard};

const fn case(peer: Peer, what: &'static str, run: fn(&Yard) -> Result<(), Problem>) -> Case {
    Case::new(Way::Read, peer, what, run)
}

pub(super) const CASES: &[Case] = &[
    case(Peer::Skopeo, "OCI archive, gzip", |yard| skopeo_copies(yard, "oci", "gzip", "oci-archive")),
    case(Peer::Skopeo, "OCI archive, zstd", |yard| skopeo_copies(yard, "oci", "zstd", "oci-archive")),
    case(Peer::Skopeo, "OCI archive, uncompressed", |yard| skopeo_copies(yard, "oci", "uncompressed", "oci-archive")),
    case(Peer::Skopeo, "OCI archive, estargz", |yard| skopeo_copies(yard, "oci", "estargz", "oci-archive")),
    case(Peer::Skopeo, "Docker archive", |yard| skopeo_copies(yard, "docker", "uncompressed", "docker-archive")),
    case(Peer::Skopeo, "OCI layout", skopeo_reads_a_layout),
    case(Peer::Skopeo, "`dir:` of `push`", |yard| {
        yard.stave(&["push", "-q", "made:1", "dir:r-dir"])?;
        yard.skopeo(&["copy", "-q", "dir:r-dir", "oci-archive:r-dir.tar:back:1"])?;
        let loaded = yard.stave(&["pull", "-q", "oci-archive:r-dir.tar:back:1"])?;
        same("name", "docker.io/library/back:1", &loaded)?;
        same("image id", &yard.id("made:1")?, &yard.id("back:1")?)
    }),
    case(Peer::Skopeo, "registry", skopeo_reads_a_registry),
    case(Peer::Skopeo, "registry, Docker's types", skopeo_reads_dockers_types),
    case(Peer::Skopeo, "index of two platforms", skopeo_reads_an_index),
    case(Peer::Skopeo, "attestations, as referrers", skopeo_reads_attestations),
    case(Peer::Umoci, "OCI layout", umoci_unpacks),
    case(Peer::Buildah, "OCI archive, gzip", |yard| buildah_runs(yard, "gzip")),
    case(Peer::Buildah, "OCI archive, zstd", |yard| buildah_runs(yard, "zstd")),
    case(Peer::Buildah, "OCI archive, estargz", |yard| buildah_runs(yard, "estargz")),
    case(Peer::Buildah, "`oci-archive:` of `push`", |yard| {
        yard.stave(&["push", "-q", "made:1", "oci-archive:r-place.tar:made"])?;
        let id = yard.peer(&["pull", "-q", "oci-archive:r-place.tar:made"])?;
        same("image id", &bare(&yard.id("made:1")?), &id)?;
        yard.same_files(&yard.buildah_run(&id)?)
    }),
    case(Peer::Buildah, "registry", |yard| {
        let name = pushed(yard, "read/buildah:1")?;
        yard.peer(&["pull", "--tls-verify=false", &name])?;
        yard.same_files(&yard.buildah_run(&name)?)
    }),
    case(Peer::Buildah, "index of two platforms", |yard| {
        let name = pushed_index(yard, "read/buildah-index:1")?;
        yard.peer(&["pull", "--tls-verify=false", &name])?;
        let platform = yard.peer(&["inspect", "--type", "image", "--format", "{{.OCIv1.Architecture}}", &name])?;
        same("platform", "amd64", &platform)
    }),
    case(Peer::Buildah, "image with attestations in its index", |yard| {
        let name = attested(yard, "read/buildah-attested:1", "type=provenance,mode=min,inline=true")?;
        yard.peer(&["pull", "--tls-verify=false", &name])?;
        yard.same_files(&yard.buildah_run(&name)?)
    }),
    case(Peer::Podman, "OCI archive", |yard| podman_loads(yard, "oci")),
    case(Peer::Podman, "Docker archive", |yard| podman_loads(yard, "docker")),
    case(Peer::Podman, "registry", |yard| {
        let name = pushed(yard, "read/podman:1")?;
        yard.peer(&["pull", "--tls-verify=false", &name])?;
        same("image id", &bare(&yard.id("made:1")?), &yard.peer(&["image", "inspect", "--format", "{{.Id}}", &name])?)
    }),
    case(Peer::Docker, "archive of `save`", |yard| {
        yard.stave(&["save", "-o", "saved.tar", "made:1"])?;
        docker_loads(yard, "saved.tar")
    }),
    case(Peer::Docker, "archive of `build --output type=docker`", |yard| {
        yard.stave(&["build", "-q", "-t", "made:1", "--output", "type=docker,dest=docker.tar", "."])?;
        docker_loads(yard, "docker.tar")
    }),
    case(Peer::Docker, "registry", |yard| {
        let name = pushed(yard, "read/docker:1")?;
        docker_runs(yard, &name)
    }),
    case(Peer::Docker, "index of two platforms", |yard| {
        let name = pushed_index(yard, "read/docker-index:1")?;
        yard.peer(&["pull", "-q", &name])?;
        same("platform", "amd64", &yard.peer(&["image", "inspect", "--format", "{{.Architecture}}", &name])?)
    }),
    case(Peer::Docker, "image with attestations in its index", |yard| {
        docker_runs(yard, &attested(yard, "read/docker-attested:1", "type=provenance,mode=min,inline=true")?)
    }),
    case(Peer::Docker, "cache in a registry", |yard| {
        let cache = yard.remote("read/cache:1");
        let export = format!("--cache-to=type=registry,ref={cache},mode=max,image-manifest=false");
        yard.stave(&["build", "-q", &export, "."])?;
        let args = ["build", "--progress=plain", "--network=host", "--cache-from", &cache, "."];
        imported(&yard.peer_says(&args)?, "importing cache manifest", "ERROR")
    }),
    case(Peer::Docker, "cache in an image", |yard| {
        let name = yard.remote("read/carrying:1");
        yard.stave(&["build", "-q", "-t", &name, "--push", "--cache-to=type=inline", "."])?;
        let args = ["build", "--progress=plain", "--network=host", "--cache-from", &name, "."];
        imported(&yard.peer_says(&args)?, "importing cache manifest", "ERROR")
    }),
    case(Peer::Docker, "registry, zstd", |yard| {
        let name = yard.remote("read/docker-zstd:1");
        let output = format!("type=registry,name={name},compression=zstd,force-compression=true");
        yard.stave(&["build", "-q", "--output", &output, "."])?;
        docker_runs(yard, &name)
    }),
];

/// Writes the image to an archive and has skopeo copy and describe it.
fn skopeo_copies(yard: &Yard, kind: &str, compression: &str, transport: &str) -> Result<(), Problem> {
    let archive = format!("{kind}-{compression}.tar");
    let output = format!("type={kind},dest={archive},compression={compression},force-compression=true");
    yard.stave(&["build", "-q", "-t", "made:1", "--output", &output, "."])?;
    let source = format!("{transport}:{archive}");
    let config = yard.skopeo(&["inspect", "--config", "--raw", &source])?;
    // An estargz layer has one more entry, its table of contents, and so another digest.
    if compression != "estargz" {
        same("configuration", &yard.id("made:1")?, &digest_of(&config))?;
    }
    yard.skopeo(&["copy", "-q", &source, &format!("dir:{kind}-{compression}-copied")]).map(drop)
}

fn digest_of(config: &str) -> String {
    stave_oci::BlobDigest::of(config.as_bytes()).to_string()
}

fn skopeo_reads_a_layout(yard: &Yard) -> Result<(), Problem> {
    layout(yard)?;
    let config = yard.skopeo(&["inspect", "--config", "--raw", "oci:layout:1"])?;
    same("configuration", &yard.id("made:1")?, &digest_of(&config))?;
    yard.skopeo(&["copy", "-q", "oci:layout:1", "dir:layout-copied"]).map(drop)
}

/// Writes the image as a layout in the directory `layout`.
fn layout(yard: &Yard) -> Result<(), Problem> {
    yard.stave(&["build", "-q", "-t", "made:1", "--output", "type=oci,tar=false,dest=layout", "."]).map(drop)
}

/// Pushes the image and returns its name.
fn pushed(yard: &Yard, name: &str) -> Result<String, Problem> {
    let name = yard.remote(name);
    yard.stave(&["tag", "made:1", &name])?;
    yard.stave(&["push", "-q", &name])?;
    Ok(name)
}

/// Pushes an index of images of two platforms that need no emulation, and returns its name.
fn pushed_index(yard: &Yard, name: &str) -> Result<String, Problem> {
    let name = yard.remote(name);
    yard.file("platforms/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY a /$TARGETARCH\n");
    yard.file("platforms/a", "a");
    let platforms = "linux/amd64,linux/arm64";
    yard.stave(&["build", "-q", "--platform", platforms, "-t", &name, "--push", "platforms"])?;
    Ok(name)
}

fn skopeo_reads_a_registry(yard: &Yard) -> Result<(), Problem> {
    let source = format!("docker://{}", pushed(yard, "read/skopeo:1")?);
    let config = yard.skopeo(&["inspect", "--tls-verify=false", "--config", "--raw", &source])?;
    same("configuration", &yard.id("made:1")?, &digest_of(&config))?;
    yard.skopeo(&["copy", "-q", "--src-tls-verify=false", &source, "dir:registry-copied"]).map(drop)
}

fn skopeo_reads_dockers_types(yard: &Yard) -> Result<(), Problem> {
    let name = yard.remote("read/skopeo-docker:1");
    let output = format!("type=registry,name={name},oci-mediatypes=false");
    yard.stave(&["build", "-q", "--output", &output, "."])?;
    let source = format!("docker://{name}");
    let manifest = yard.skopeo(&["inspect", "--tls-verify=false", "--raw", &source])?;
    if !manifest.contains("application/vnd.docker.distribution.manifest.v2+json") {
        return Err(format!("the manifest is not Docker's: {manifest}"));
    }
    yard.skopeo(&["copy", "-q", "--src-tls-verify=false", &source, "dir:docker-types-copied"]).map(drop)
}

fn skopeo_reads_an_index(yard: &Yard) -> Result<(), Problem> {
    let source = format!("docker://{}", pushed_index(yard, "read/skopeo-index:1")?);
    for arch in ["amd64", "arm64"] {
        let args = ["--override-arch", arch, "inspect", "--tls-verify=false", "--format", "{{.Architecture}}", &source];
        same("platform", arch, &yard.skopeo(&args)?)?;
    }
    yard.skopeo(&["copy", "-q", "--all", "--src-tls-verify=false", &source, "oci:index-copied:1"]).map(drop)
}

/// Unpacks the layers on the disk and looks at what no container shows: holes aside, every attribute.
fn umoci_unpacks(yard: &Yard) -> Result<(), Problem> {
    layout(yard)?;
    yard.peer(&["unpack", "--image", "layout:1", "bundle"])?;
    let rootfs = yard.work().join("bundle/rootfs");
    let mut note = [0; 16];
    let length = rustix::fs::getxattr(rootfs.join("all/note"), "user.note", &mut note)
        .map_err(|error| format!("cannot read the attribute of all/note: {error}"))?;
    same("attribute", "a=\nb", &String::from_utf8_lossy(&note[..length]))?;
    let mut capability = [0; 64];
    let length = rustix::fs::getxattr(rootfs.join("all/capable"), "security.capability", &mut capability)
        .map_err(|error| format!("cannot read the capabilities of all/capable: {error}"))?;
    same("bytes of capabilities", "20", &length.to_string())?;
    if rootfs.join("etc/group").exists() {
        return Err("what a step removed is there".to_owned());
    }
    let program = crate::needs::find_program("chroot").ok_or("there is no `chroot`")?;
    let seen = std::process::Command::new(program).args([&text(&rootfs), "/bin/look"]).output();
    let seen = seen.map_err(|error| format!("cannot start `chroot`: {error}"))?;
    yard.same_files(String::from_utf8_lossy(&seen.stdout).trim_end())
}

fn buildah_runs(yard: &Yard, compression: &str) -> Result<(), Problem> {
    let archive = format!("buildah-{compression}.tar");
    let output = format!("type=oci,dest={archive},compression={compression},force-compression=true");
    yard.stave(&["build", "-q", "-t", "made:1", "--output", &output, "."])?;
    yard.same_files(&yard.buildah_run(&format!("oci-archive:{archive}"))?)
}

/// Pushes the image with an attestation, and returns its name.
fn attested(yard: &Yard, name: &str, attest: &str) -> Result<String, Problem> {
    let name = yard.remote(name);
    yard.stave(&["build", "-q", "-t", &name, "--attest", attest, "--push", "."])?;
    Ok(name)
}

/// Finds the provenance where a reader without the list of referrers looks for it, and reads its statement.
fn skopeo_reads_attestations(yard: &Yard) -> Result<(), Problem> {
    yard.without_referrers();
    let name = attested(yard, "read/attested:1", "type=provenance,mode=min")?;
    let list = format!("docker://{}:sha256-{}", yard.remote("read/attested"), yard.digest("read/attested", "1")?);
    let said = yard.skopeo(&["inspect", "--tls-verify=false", "--raw", &list])?;
    let list: serde_json::Value = serde_json::from_str(&said).map_err(|error| format!("{name}: {error}: {said}"))?;
    let digest = list["manifests"][0]["digest"].as_str().ok_or(format!("no attestation is listed: {said}"))?;
    let source = format!("docker://{}@{digest}", yard.remote("read/attested"));
    yard.skopeo(&["copy", "-q", "--src-tls-verify=false", &source, "dir:attestation"])?;
    let statement = std::fs::read_dir(yard.work().join("attestation"))
        .map_err(|error| format!("cannot list the copy: {error}"))?
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .find(|text| text.contains("https://slsa.dev/provenance/v1"));
    statement.map(drop).ok_or(format!("the copy of {digest} holds no provenance"))
}

/// Fails unless the builder says that it has read a cache, and nothing bad about it.
fn imported(said: &str, good: &str, bad: &str) -> Result<(), Problem> {
    if said.contains(good) && !said.contains(bad) { Ok(()) } else { Err(format!("the cache is not read: {said}")) }
}

fn bare(id: &str) -> String {
    id.trim_start_matches("sha256:").to_owned()
}

fn podman_loads(yard: &Yard, kind: &str) -> Result<(), Problem> {
    let archive = format!("podman-{kind}.tar");
    let output = format!("type={kind},dest={archive}");
    yard.stave(&["build", "-q", "-t", "localhost/podman:1", "--output", &output, "."])?;
    yard.peer(&["load", "-q", "-i", &archive])?;
    let id = yard.peer(&["image", "inspect", "--format", "{{.Id}}", "localhost/podman:1"])?;
    same("image id", &bare(&yard.id("made:1")?), &id)
}

fn docker_loads(yard: &Yard, archive: &str) -> Result<(), Problem> {
    yard.peer(&["load", "-q", "-i", archive])?;
    docker_runs(yard, "made:1")
}

fn docker_runs(yard: &Yard, image: &str) -> Result<(), Problem> {
    let ran = yard.peer(&["run", "--rm", "--network", "host", image]);
    let id = yard.peer(&["image", "inspect", "--format", "{{.Id}}", image]);
    yard.same_files(&ran?)?;
    same("image id", &yard.id("made:1")?, &id?)
}
