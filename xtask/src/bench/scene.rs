//! The contexts that are built: Dockerfiles and trees of files, the same in every run.

use crate::failure::{At, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Files of the large context, 8 kB each.
const FILES: usize = 20_000;
const FILES_PER_DIR: usize = 100;
const FILE_BYTES: usize = 8_000;

/// A context with nothing but this Dockerfile.
pub(super) fn dockerfile(dir: &Path, text: &str) -> Result<PathBuf> {
    fs::create_dir_all(dir).at("create", dir)?;
    let path = dir.join("Dockerfile");
    fs::write(&path, text).at("write", &path)?;
    Ok(dir.to_owned())
}

/// `steps` small steps, one after the other.
pub(super) fn steps(steps: usize) -> String {
    let mut text = "FROM busybox:latest\n".to_owned();
    for step in 0..steps {
        writeln!(text, "RUN echo {step} > /step-{step}").expect("writing to memory does not fail");
    }
    text
}

/// `steps` steps that each write `lines` lines.
pub(super) fn loud_steps(steps: usize, lines: usize) -> String {
    let mut text = "FROM busybox:latest\n".to_owned();
    for step in 0..steps {
        writeln!(text, "RUN echo {step}; seq {lines}").expect("writing to memory does not fail");
    }
    text
}

/// `steps` steps that only start `/bin/true`, without a shell.
pub(super) fn bare_steps(steps: usize) -> String {
    let mut text = "FROM busybox:latest\n".to_owned();
    for step in 0..steps {
        writeln!(text, "ENV STEP={step}\nRUN [\"/bin/true\"]").expect("writing to memory does not fail");
    }
    text
}

/// Eight stages that each take a second and do not need one another.
pub(super) fn parallel_stages() -> String {
    let mut text = String::new();
    for stage in 0..8 {
        writeln!(text, "FROM busybox:latest AS s{stage}\nRUN sleep 1 && echo {stage} > /out-{stage}")
            .expect("writing to memory does not fail");
    }
    text.push_str("FROM scratch\n");
    for stage in 0..8 {
        writeln!(text, "COPY --from=s{stage} /out-{stage} /").expect("writing to memory does not fail");
    }
    text
}

/// The last stage of [`unused_stages`] alone.
pub(super) const USED_STAGE: &str = "FROM busybox:latest\nRUN echo done > /done\n";

/// Two slow stages that the last one does not need.
pub(super) fn unused_stages() -> String {
    let slow = |name: &str| format!("FROM busybox:latest AS {name}\nRUN sleep 5 && echo {name} > /{name}\n");
    format!("{}{}{USED_STAGE}", slow("first"), slow("second"))
}

/// `/usr` of the large base image, copied whole.
pub(super) const COPY_USR: &str = "FROM golang:1.7.3 AS base\nFROM scratch\nCOPY --from=base /usr /usr\n";

/// One step on the large base image.
pub(super) const STEP_ON_BASE: &str = "FROM golang:1.7.3\nRUN true\n";

/// 20,000 files of 8 kB in 200 directories and a Dockerfile that copies them. Made once.
pub(super) fn many_files(dir: &Path) -> Result<PathBuf> {
    let complete = dir.join("Dockerfile");
    if complete.is_file() {
        return Ok(dir.to_owned());
    }
    let mut state = 1;
    for group in 0..FILES / FILES_PER_DIR {
        let sub = dir.join(format!("tree/{group:03}"));
        fs::create_dir_all(&sub).at("create", &sub)?;
        for file in 0..FILES_PER_DIR {
            let path = sub.join(format!("{file:03}.dat"));
            fs::write(&path, noise(&mut state)).at("write", &path)?;
        }
    }
    fs::write(&complete, "FROM scratch\nCOPY tree /tree\n").at("write", &complete)?;
    Ok(dir.to_owned())
}

/// Writes other bytes, as many, into one file of [`many_files`].
pub(super) fn change_one_file(dir: &Path, run: usize) -> Result {
    let path = dir.join("tree/100/050.dat");
    let mut state = 1_000_000 + run as u64 + u64::from(std::process::id());
    fs::write(&path, noise(&mut state)).at("write", &path)
}

/// Bytes that do not compress away, by a small generator (`xorshift64*`).
fn noise(state: &mut u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FILE_BYTES);
    while bytes.len() < FILE_BYTES {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes
}
