//! Images are exchanged with the programs that people have, both ways: the cases of `docs/interop.md`.

use stave_testkit::bench::stave_binary;
use stave_testkit::interop::{Case, Peer, Yard};

/// Runs all cases with `peer`, and fails with everything that went wrong.
fn exchange(peer: Peer) {
    let Some(yard) = Yard::new(stave_binary(), peer) else { return };
    let cases = Case::all();
    let mut of_peer = cases.iter().filter(|case| case.peer == peer).peekable();
    assert!(of_peer.peek().is_some(), "there are cases with {}", peer.program());
    let problem = |case: &Case| Some(format!("{} ({:?}): {}", case.what, case.way, case.run(&yard).err()?));
    let problems: Vec<String> = of_peer.filter_map(problem).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn skopeo_reads_what_stave_writes_and_stave_what_skopeo_writes() {
    exchange(Peer::Skopeo);
}

#[test]
fn umoci_reads_what_stave_writes_and_stave_what_umoci_writes() {
    exchange(Peer::Umoci);
}

#[test]
fn buildah_reads_what_stave_writes_and_stave_what_buildah_writes() {
    exchange(Peer::Buildah);
}

#[test]
fn podman_reads_what_stave_writes_and_stave_what_podman_writes() {
    exchange(Peer::Podman);
}

#[test]
fn docker_reads_what_stave_writes_and_stave_what_docker_writes() {
    exchange(Peer::Docker);
}
