//! A failed state as one file, to be opened on another machine: its description, its layers, the log of its step.
//!
//! Writing keeps out what is of this machine: caches, groups of processes. Secrets are in no description, and the
//! values of variables that are called like one are left out. Reading
//! trusts nothing: the description is shape and limits, each layer is unpacked in a process that can reach nothing else, and
//! rights are asked for again as with a Dockerfile of a stranger's.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use stave_dockerfile::check::is_secret_name;
use stave_graph::remote::redacted_text;
use stave_oci::DiffId;
use stave_store::{LayerId, Lease};
use stave_tree::pack::{LayerWriter, Method};
use stave_tree::{Times, adopt_directories};

use super::description::{DESCRIPTION_BYTES_MAX, DescribedKind, Description, Failed, Files, Layer, Operation, VERSION};
use super::find::{Found, StateOf};
use crate::confined;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::measure::Measure;

/// The member with the [`Head`]: the first.
const HEAD: &str = "stave-workbench.json";
/// The member with the step's log.
const LOG: &str = "step.log";
/// Level at which layers are compressed: a bundle is sent once.
const ZSTD_LEVEL: u8 = 3;
/// Layers of a bundle at most: those of an overlay, and some for mounts.
const LAYERS_MAX: usize = 1000;
/// Members of a bundle at most.
const MEMBERS_MAX: usize = LAYERS_MAX + 2;

/// What a bundle begins with.
#[derive(Serialize, Deserialize)]
struct Head {
    description: Description,
    /// The digests of the layers' tars, by their numbers in the description.
    layers: Vec<DiffId>,
}

/// A bundle that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The build's id.
    pub build: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// What is not in it, as fragments of sentences.
    pub remarks: Vec<String>,
}

/// Takes from a command what its reader is not to have: values whose names say that they are secrets, and passwords in
/// addresses.
fn without_secrets(operation: &mut Operation, remarks: &mut Vec<String>) {
    for entry in &mut operation.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        if is_secret_name(name) && !value.is_empty() {
            remarks.push(format!("the value of `{name}` is not in the bundle: it may be a secret"));
            *entry = format!("{name}=");
            continue;
        }
        let redacted = redacted_text(value);
        if redacted != value {
            remarks.push(format!("the address in `{name}` has no password in the bundle"));
            *entry = format!("{name}={redacted}");
        }
    }
    let args: Vec<String> = operation.args.iter().map(|arg| redacted_text(arg)).collect();
    if args != operation.args {
        remarks.push("an address in the command has no password in the bundle".to_owned());
        operation.args = args;
    }
    for mount in &mut operation.mounts {
        let DescribedKind::Inline { content, .. } = &mut mount.kind else { continue };
        let redacted = redacted_text(content);
        if redacted != *content {
            remarks.push("an address in a script of the command has no password in the bundle".to_owned());
            *content = redacted;
        }
    }
}

impl Engine {
    /// Writes the state in which a build failed (a beginning of its id, or the latest) to a file, which must not exist.
    pub fn export_state(&self, build: Option<&str>, path: &Path) -> Result<Exported, EngineError> {
        let lease = self.lease()?;
        let found = self.find_state(&lease, build, &StateOf::Failed)?;
        let cannot = |source| EngineError::io("write", path, source);
        let mut options = File::options();
        let file =
            options.write(true).create_new(true).mode(0o600).open(path).map_err(|source| match source.kind() {
                io::ErrorKind::AlreadyExists => EngineError::request(
                    format!("`{}` exists, and a bundle overwrites nothing", path.display()),
                    Some("Name another file, or remove it first."),
                ),
                _ => cannot(source),
            })?;
        let written = self.write_bundle(&lease, found, &file).and_then(|(build, remarks)| {
            let bytes = file.metadata().map_err(cannot)?.len();
            Ok(Exported { build, bytes, remarks })
        });
        if written.is_err() {
            // Half a bundle is none.
            drop(std::fs::remove_file(path));
        }
        written
    }

    fn write_bundle(&self, lease: &Lease, found: Found, file: &File) -> Result<(String, Vec<String>), EngineError> {
        let Found { build, mut step, failed, .. } = found;
        let mut failed = failed.ok_or_else(|| EngineError::request("only a failed state can be exported", None))?;
        let mut remarks = Vec::new();
        if !failed.caches.is_empty() {
            remarks.push("what is in the caches of the step is not in the bundle".to_owned());
        }
        without_secrets(&mut step.operation, &mut remarks);
        failed.caches.clear();
        step.operation.proxies.clear();
        step.operation.cgroup_parent = None;
        (step.before, step.after) = (Files::Unknown, Files::Unknown);
        let log = failed.log.take().map(|name| self.store.root().join(self.logs_of(&build)).join(name));
        let ids = numbered(&mut failed);
        let work = lease.work_dir()?;
        let directory = work.path().join("diff");
        let mut layers = Vec::new();
        for (number, id) in ids.iter().enumerate() {
            layers.push(self.pack_into(*id, &directory.join(number.to_string()))?);
        }
        failed.step = 0;
        let description = Description {
            version: VERSION,
            name: String::new(),
            steps: vec![step],
            failed: Some(failed),
            interrupted: false,
        };
        let head = serde_json::to_vec(&Head { description, layers }).expect("it has only text keys");
        let cannot = |source| EngineError::tree("cannot write the bundle", source);
        let mut archive = tar::Builder::new(io::BufWriter::new(file));
        member(&mut archive, HEAD, head.len() as u64, &mut head.as_slice()).map_err(cannot)?;
        for number in 0..ids.len() {
            let mut layer = File::open(directory.join(number.to_string())).map_err(cannot)?;
            let bytes = layer.metadata().map_err(cannot)?.len();
            member(&mut archive, &layer_name(number), bytes, &mut layer).map_err(cannot)?;
            self.go_on()?;
        }
        // A step that said nothing has no log.
        if let Some(mut log) = log.and_then(|path| File::open(path).ok()) {
            let bytes = log.metadata().map_err(cannot)?.len();
            member(&mut archive, LOG, bytes, &mut (&mut log).take(bytes)).map_err(cannot)?;
        }
        archive.into_inner().and_then(|mut out| out.flush()).map_err(cannot)?;
        Ok((build, remarks))
    }

    fn logs_of(&self, build: &str) -> String {
        let builds = self.store.builds(u32::MAX).unwrap_or_default();
        let found = builds.iter().find(|record| record.id.as_str() == build);
        found.map(|record| self.store.build_logs_rel_path(&record.id)).unwrap_or_default()
    }

    /// Writes a layer's tar, compressed, and returns the digest of the tar.
    fn pack_into(&self, layer: LayerId, path: &Path) -> Result<DiffId, EngineError> {
        self.go_on()?;
        let cannot = |source| EngineError::io("write", path, source);
        let file = File::create_new(path).map_err(cannot)?;
        let threads = self.settings.cpus.max(1);
        let mut out =
            Both { measure: Measure::default(), out: LayerWriter::new(file, Method::Zstd(ZSTD_LEVEL), threads) };
        self.pack(layer, Times::Real, &mut out)?;
        out.out.finish().map_err(cannot)?;
        Ok(out.measure.finish().0)
    }

    /// Reads a bundle: its layers come into the store, pinned by the lease and by nothing else.
    pub(super) fn open_bundle(&self, lease: &Lease, path: &Path) -> Result<Found, EngineError> {
        let cannot = |source| EngineError::io("read", path, source);
        let mut file = File::open(path).map_err(cannot)?;
        let what = format!("`{}`", path.display());
        let no_bundle = |why: &str| {
            let hint = "`stave debug --export FILE` writes one, on the machine where the build failed.";
            EngineError::request(format!("{what} is no bundle: {why}"), Some(hint))
        };
        let members = members(&mut file).map_err(|source| no_bundle(&source.to_string()))?;
        let part = |name: &str| members.iter().find(|member| member.name == name);
        let head = part(HEAD).ok_or_else(|| no_bundle(&format!("it has no `{HEAD}`")))?;
        if head.bytes > DESCRIPTION_BYTES_MAX {
            return Err(no_bundle("its description is too long"));
        }
        let mut bytes = Vec::new();
        head.open(path).map_err(cannot)?.read_to_end(&mut bytes).map_err(cannot)?;
        let head: Head = serde_json::from_slice(&bytes)
            .map_err(|source| EngineError::tree(format!("cannot read what is described in {what}"), source))?;
        if head.layers.len() > LAYERS_MAX {
            return Err(no_bundle("it has too many layers"));
        }
        // The version and the places are checked as in a description of our own.
        let text = serde_json::to_vec(&head.description).expect("it has only text keys");
        let mut description = Description::parse(&text, &what)?;
        let (mut ids, mut lost): (Vec<LayerId>, _) = (Vec::new(), Lost::default());
        for (number, diff_id) in head.layers.iter().enumerate() {
            self.go_on()?;
            let id = if let Some(id) = lease.layer_by_diff_id(diff_id)? {
                id
            } else {
                let name = layer_name(number);
                let member = part(&name).ok_or_else(|| no_bundle(&format!("it has no `{name}`")))?;
                let mut layer = member.open(path).map_err(cannot)?;
                let unpacked = self.unpack_bundled(lease, (diff_id, &ids), &mut layer, &mut lost);
                unpacked.map_err(|source| damaged(path, source))?
            };
            ids.push(id);
        }
        let mut failed = description.failed.take().ok_or_else(|| no_bundle("it describes no failure"))?;
        let number = |layer: &Layer| layer.0.parse::<usize>().ok().and_then(|number| ids.get(number)).copied();
        for layer in failed.layers_mut() {
            *layer = number(layer).ok_or_else(|| no_bundle("it describes layers that it does not have"))?.into();
        }
        // Caches, groups and proxies of this machine are not a bundle's to name.
        failed.caches.clear();
        let index = failed.step;
        let mut step = description.steps.swap_remove(index);
        step.operation.cgroup_parent = None;
        let layers =
            failed.parent.iter().chain(&failed.changes).filter_map(|layer| LayerId::from_hex(&layer.0)).collect();
        Ok(Found {
            build: String::new(),
            place: index + 1,
            step,
            layers,
            failed: Some(failed),
            what: "as it failed",
            remarks: lost.remarks(),
        })
    }

    fn unpack_bundled(
        &self,
        lease: &Lease,
        (diff_id, below): (&DiffId, &[LayerId]),
        blob: &mut (dyn Read + Send),
        lost: &mut Lost,
    ) -> Result<LayerId, EngineError> {
        let work = lease.work_dir()?;
        let own = self.store_dir(&work.diff_rel_path())?;
        let (actual, unpacked) = confined::unpack_layer(self, &own, blob, "a layer of the bundle")?;
        if actual != *diff_id {
            return Err(EngineError::LayerDigest { expected: *diff_id, actual });
        }
        lost.owners += unpacked.unmapped;
        lost.devices += unpacked.devices_skipped;
        if !unpacked.implied.is_empty() {
            adopt_directories(&own, &self.layers(below)?, &unpacked.implied)
                .map_err(|source| EngineError::tree("cannot unpack a layer of the bundle", source))?;
        }
        Ok(lease.publish_layer(work, Some(*diff_id))?)
    }
}

/// Says that a bundle is damaged, if a layer could not be unpacked for what it is and not for the disk or the rights that
/// there are.
fn damaged(path: &Path, error: EngineError) -> EngineError {
    let (EngineError::LayerDigest { .. } | EngineError::Tree { .. }) = error else { return error };
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(at) = cause {
        let kind = at.downcast_ref::<io::Error>().map(io::Error::kind);
        let is_of_content =
            |kind| matches!(kind, io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::Other);
        if kind.is_some_and(|kind| !is_of_content(kind)) {
            return error;
        }
        cause = at.source();
    }
    EngineError::Bundle { path: path.to_owned(), source: Box::new(error) }
}

/// What an ordinary user cannot have of layers.
#[derive(Default)]
struct Lost {
    owners: u64,
    devices: u64,
}

impl Lost {
    fn remarks(&self) -> Vec<String> {
        let owners = format!("{} files belong to users that do not exist here, and appear as root's", self.owners);
        let devices = format!("{} device nodes are missing: they cannot be made without root", self.devices);
        [(self.owners, owners), (self.devices, devices)]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(_, remark)| remark)
            .collect()
    }
}

/// Gives layers numbers instead of ids, and returns the ids by number.
fn numbered(failed: &mut Failed) -> Vec<LayerId> {
    let mut ids: Vec<LayerId> = Vec::new();
    for layer in failed.layers_mut() {
        let Some(id) = LayerId::from_hex(&layer.0) else { continue };
        let number = ids.iter().position(|known| *known == id).unwrap_or_else(|| {
            ids.push(id);
            ids.len() - 1
        });
        *layer = Layer(number.to_string());
    }
    ids
}

fn layer_name(number: usize) -> String {
    format!("layers/{number}.tar.zst")
}

/// A writer that hashes what it passes on.
struct Both<W> {
    measure: Measure,
    out: W,
}

impl<W: Write> Write for Both<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.measure.write_all(&bytes[..count])?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn member(archive: &mut tar::Builder<impl Write>, name: &str, bytes: u64, from: &mut dyn Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o644);
    header.set_mtime(0);
    archive.append_data(&mut header, name, from)
}

/// Where the content of a member is in the file.
struct Member {
    name: String,
    start: u64,
    bytes: u64,
}

impl Member {
    fn open(&self, path: &Path) -> io::Result<io::Take<File>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.start))?;
        Ok(file.take(self.bytes))
    }
}

fn members(file: &mut File) -> io::Result<Vec<Member>> {
    let mut found = Vec::new();
    for entry in tar::Archive::new(file).entries_with_seek()?.take(MEMBERS_MAX + 1) {
        let entry = entry?;
        if found.len() == MEMBERS_MAX || !entry.header().entry_type().is_file() {
            return Err(io::Error::other("it has more than the parts of a bundle"));
        }
        let name = String::from_utf8(entry.path_bytes().into_owned()).map_err(io::Error::other)?;
        found.push(Member { name, start: entry.raw_file_position(), bytes: entry.size() });
    }
    Ok(found)
}
