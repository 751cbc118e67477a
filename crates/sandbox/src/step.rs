//! A step's child from its birth to the exec of its program.
//!
//! Default signal actions and the bounding set of capabilities come from the zygote, which has them once for all.
//! The order matters: trees of the host are taken before the mount namespace is left, everything is mounted before the
//! root is changed, the filter is loaded while the child may, and who it is comes last.

use std::convert::Infallible;
use std::ffi::CString;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno as Code;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{DumpableBehavior, set_dumpable_behavior, umask};

use crate::error::{During, forgive};
use crate::kit::Kit;
use crate::wire::{self, Report, StepMessage};
use crate::{
    Network, SandboxError, limits, mounts, person, places, privileges, program, rootfs, springboard, stdio, sys,
    volumes,
};

/// A child's way to tell the builder.
pub(crate) struct Reporter<'a> {
    socket: &'a OwnedFd,
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(socket: &'a OwnedFd) -> Self {
        Self { socket }
    }

    pub(crate) fn send(&self, report: &Report, files: &[&OwnedFd]) -> Result<(), SandboxError> {
        let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        wire::send(self.socket, report, &files).during("send", "a report")
    }

    pub(crate) fn note(&self, note: String) -> Result<(), SandboxError> {
        self.send(&Report::Note(note), &[])
    }
}

/// Gives this process a copy of the mounts, from which nothing comes back to the original.
pub(crate) fn own_mounts() -> Result<(), SandboxError> {
    sys::unshare_mounts().during("make", "a mount namespace")?;
    let private = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).during("make private", "/")
}

/// Becomes the step. Returns only if that failed.
pub(crate) fn run(
    kit: &Kit,
    reports: &OwnedFd,
    payload: OwnedFd,
    files: Vec<OwnedFd>,
) -> Result<Infallible, SandboxError> {
    let reporter = Reporter::new(reports);
    let bytes = wire::unpack(payload).during("read", "the step")?;
    let step: StepMessage<'_> =
        serde_json::from_slice(&bytes).map_err(|error| SandboxError::Protocol { detail: error.to_string() })?;
    let mut files = files.into_iter();
    let base = files.next().ok_or_else(|| SandboxError::Protocol { detail: "a step without a base".to_owned() })?;
    let streams: Vec<OwnedFd> = files.collect();

    isolate(&step, &reporter)?;
    let devices = mounts::clone_devices(kit)?;
    let host = volumes::clone_host(&step)?;
    rustix::process::fchdir(&base).during("enter", "the base directory")?;
    own_mounts()?;
    let scaffold = rootfs::scaffold(volumes::bytes(&step) + places::bytes(&step))?;
    let mut volumes = volumes::prepare(&step, host, &scaffold, &reporter)?;
    let points = places::missing(&step.lowers(), &mut volumes, step.outlet.as_ref().as_ref(), &scaffold, &reporter)?;
    let root = rootfs::mount(step.layers(), points.as_ref(), scaffold)?;
    mounts::attach_all(&root, devices, kit, &step, &reporter)?;
    volumes::attach(&root, volumes)?;
    rootfs::pivot(&root.tree)?;

    let person = person::find(&step.user)?;
    person::enter_directory(&step.cwd, &person, true)?;
    match step.terminal {
        Some(size) => stdio::terminal(size, &person, &reporter)?,
        None => stdio::streams(&streams, &person)?,
    }
    limits::apply(&step.limits)?;
    if step.rights.read_only {
        let root = open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).during("open", "/")?;
        sys::mount_setattr(&root, libc::MOUNT_ATTR_RDONLY, false).during("make read-only", "/")?;
    }
    privileges::drop_to(&person, &kit.step_filter, step.security, &step.rights)?;
    let program = Program { args: &step.args, env: &step.env, terminal: step.terminal.is_some() };
    execute(kit, reports, &program, &person)
}

/// What does not need the file system.
fn isolate(step: &StepMessage<'_>, reporter: &Reporter<'_>) -> Result<(), SandboxError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).during("hide", "the process")?;
    rustix::process::setsid().during("make", "a session")?;
    // What is made below has exactly the mode that it asks for.
    umask(Mode::empty());
    // Without keyrings in the kernel, or over the quota, the step keeps the builder's, which its filter cannot reach.
    forgive(sys::join_new_session_keyring());
    if step.network == Network::None {
        sys::loopback_up().during("switch on", "the loopback device")?;
        // A socket stays in the network that it was made in, whoever has it.
        if let Some(outlet) = step.outlet.as_ref() {
            let listener = listen(outlet.port).during("listen on", "the way out of the step's network")?;
            reporter.send(&Report::Outlet, &[&listener])?;
        }
    }
    rustix::system::sethostname(step.hostname.as_bytes()).during("set the host name", &step.hostname)
}

/// Connections to a step's way out that wait for the builder to take them.
const BACKLOG: i32 = 128;

fn listen(port: u16) -> Result<OwnedFd, Code> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// What is executed.
pub(crate) struct Program<'a> {
    pub(crate) args: &'a [String],
    pub(crate) env: &'a [String],
    pub(crate) terminal: bool,
}

pub(crate) fn execute(
    kit: &Kit,
    reports: &OwnedFd,
    program: &Program<'_>,
    person: &person::Person,
) -> Result<Infallible, SandboxError> {
    let environment = program::environment(program.env, person, program.terminal);
    let path = program::find(program.args, &environment)?;
    let arguments: Vec<CString> = [path.as_str()]
        .into_iter()
        .chain(program.args.iter().map(String::as_str))
        .map(program::c_string)
        .collect::<Result<_, _>>()?;
    let environment: Vec<CString> =
        environment.iter().map(|entry| program::c_string(entry)).collect::<Result<_, _>>()?;
    umask(Mode::from_raw_mode(0o022));
    // High numbers, so that neither is in the way of the other's place.
    let springboard = rustix::io::fcntl_dupfd_cloexec(&kit.springboard, 20).during("duplicate", "a descriptor")?;
    let socket = rustix::io::fcntl_dupfd_cloexec(reports, 21).during("duplicate", "a descriptor")?;
    Reporter::new(&socket).send(&Report::Ready(path.clone()), &[])?;
    sys::place(socket.as_fd(), springboard::REPORT_FD).during("place", "the report socket")?;
    sys::close_on_exec_from(4).during("close", "descriptors")?;
    let errno = sys::exec_file(springboard.as_fd(), &arguments, &environment);
    match errno {
        // The springboard takes one argument more than the program: what is too long for it is too long.
        Code::TOOBIG => Err(SandboxError::Exec { program: path, errno: errno.into() }),
        errno => Err(errno).during("execute", "the springboard"),
    }
}
