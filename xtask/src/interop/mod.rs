//! `cargo xtask interop`: exchanges images with the programs of this machine and writes `docs/interop.md`.

use crate::binary;
use crate::failure::{At, Failure, Result};
use crate::packages;
use crate::place::Place;
use crate::table::table;
use stave_testkit::interop::{Case, Peer, Way, Yard};
use std::fs;

const HEAD: &str = "\
# Interoperability

Written by `cargo xtask interop`; do not edit. What is exchanged is an image with every kind of file that a layer can hold:
hard and symbolic links, a hole, devices and a pipe, extended attributes and file capabilities, owners above 65,535, names that
are not UTF-8 and names of 255 bytes, times before 1970 and after 2038. It counts as read when the image's id, and what a program
in a container sees of all files, are the same on both sides; only the times before 1970 are not compared where buildah or
Docker unpack, which both make 1970 of them. `cargo xtask test` runs the same cases.

";

/// Runs all cases, writes the page, and fails if one went wrong.
pub(crate) fn command(place: &Place) -> Result {
    packages::ensure(&[packages::STANDINS, packages::PEERS].concat())?;
    let stave = binary::build(place, binary::Profile::Tested)?;
    let cases = Case::all();
    let (mut rows, mut versions, mut problems) = (Vec::new(), Vec::new(), 0);
    for peer in Peer::ALL {
        let yard = Yard::new(stave.clone(), peer).ok_or_else(|| {
            Failure::new(format!("the exchange with {} needs root and a static busybox", peer.program()))
        })?;
        versions.push(yard.version());
        for case in cases.iter().filter(|case| case.peer == peer) {
            let problem = case.run(&yard).err();
            if let Some(problem) = &problem {
                println!("{}, {}: {problem}", peer.program(), case.what);
                problems += 1;
            }
            rows.push(row(case, problem.is_some()));
        }
    }
    let text =
        format!("{HEAD}Peers: {}.\n\n{}", versions.join(", "), table(&["peer", "what", "who reads", "outcome"], &rows));
    print!("{text}");
    let path = place.root.join("docs/interop.md");
    fs::write(&path, text).at("write", &path)?;
    if problems == 0 { Ok(()) } else { Err(Failure::new(format!("{problems} exchanges went wrong"))) }
}

fn row(case: &Case, failed: bool) -> Vec<String> {
    let reader = match case.way {
        Way::Read => case.peer.program(),
        Way::Written => "stave",
    };
    let outcome = if failed { "**wrong**" } else { "the same" };
    [case.peer.program(), case.what, reader, outcome].map(str::to_owned).to_vec()
}
