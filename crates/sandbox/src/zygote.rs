//! The zygote: a process of one thread that forks the children of steps and jobs, and says how they ended.
//!
//! It is the first process of a pid namespace, and each step has one inside it. The kernel kills the zygote when the
//! builder's main thread ends (parent-death signal), and everything in the namespace when the zygote ends. Nothing
//! that a step does changes that: a parent-death signal of the step itself would be lost when the step executes a
//! set-user-id program, changes its user, or clears it. That is also why the steps are the zygote's children and not,
//! by `CLONE_PARENT`, the builder's: the kernel refuses that flag to the first process of a namespace.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno as Code;
use rustix::process::{PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, waitid};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::error::forgive;
use crate::sys::{self, Forked};
use crate::wire::{self, Event, ExitMessage, Received, Report, Request};
use crate::{Job, SandboxError, exec, job, kit::Kit, privileges, step};

/// Exit status of a child that could not set itself up. Its report says why.
const GAVE_UP: i32 = 70;

/// A child and the socket on which its end is announced.
struct Run {
    pidfd: OwnedFd,
    events: OwnedFd,
}

struct Zygote {
    jobs: &'static [Job],
    kit: Result<Kit, SandboxError>,
    runs: Vec<Run>,
}

/// The rest of the zygote's life.
pub(crate) fn main(channel: OwnedFd, jobs: &'static [Job]) -> ! {
    // A panic in the zygote is a bug; the builder sees a closed channel.
    drop(std::panic::catch_unwind(move || live(&channel, jobs)));
    sys::exit_now(0)
}

fn live(channel: &OwnedFd, jobs: &'static [Job]) -> Option<()> {
    // If the builder died before this, the channel has ended and the first receive says so.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).ok()?;
    // Away from the terminal's process group: Ctrl-C is the builder's to handle.
    rustix::process::setsid().ok()?;
    job::remember_panics();
    leave_descriptors(channel.as_fd()).ok()?;
    // What every step needs and can inherit is done once.
    sys::reset_signals();
    let kit = Kit::prepare();
    let mut zygote = Zygote { jobs, kit, runs: Vec::new() };
    loop {
        let (request, ended) = zygote.wait(channel.as_fd()).ok()?;
        for index in ended.into_iter().rev() {
            zygote.bury(index);
        }
        if request {
            match wire::receive(channel) {
                Ok(Some(message)) => zygote.serve(message),
                Ok(None) => return Some(()),
                // Too many descriptors are open; the message is lost, its sender sees its sockets closed.
                Err(_) => {}
            }
        }
    }
}

/// Gives up every descriptor of the builder: a reader of its output must not wait for the zygote.
fn leave_descriptors(channel: BorrowedFd<'_>) -> Result<(), Code> {
    sys::close_all_but(&[0, 1, 2, channel.as_raw_fd()])?;
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC, 0.into())?;
    for number in 0..3 {
        sys::place(null.as_fd(), number)?;
    }
    Ok(())
}

impl Zygote {
    /// Waits until there is a request or a child has ended; answers whether, and which.
    fn wait(&self, channel: BorrowedFd<'_>) -> Result<(bool, Vec<usize>), Code> {
        let mut polled = vec![PollFd::from_borrowed_fd(channel, PollFlags::IN)];
        polled.extend(self.runs.iter().map(|run| PollFd::new(&run.pidfd, PollFlags::IN)));
        while let Err(errno) = poll(&mut polled, None) {
            if errno != Code::INTR {
                return Err(errno);
            }
        }
        let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let ended = (0..self.runs.len()).filter(|index| polled.get(index + 1).is_some_and(ready)).collect();
        Ok((polled.first().is_some_and(ready), ended))
    }

    fn bury(&mut self, index: usize) {
        let run = self.runs.swap_remove(index);
        let peak_bytes = sys::peak_bytes(run.pidfd.as_fd());
        let Ok(Some(status)) = waitid(WaitId::PidFd(run.pidfd.as_fd()), WaitIdOptions::EXITED) else { return };
        let exit = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => ExitMessage::Code(code),
            (None, signal) => ExitMessage::Signal(signal.unwrap_or_default(), status.dumped()),
        };
        // The builder may have lost interest; then nobody needs to know.
        forgive(wire::send(&run.events, &Event::Exited(exit, peak_bytes), &[]));
    }

    fn serve(&mut self, message: Received) {
        let request: Result<Request, _> = message.parse();
        let mut files = message.files.into_iter();
        let (Some(events), Some(reports), Some(payload)) = (files.next(), files.next(), files.next()) else { return };
        let started = request.and_then(|request| self.start(request, &events, &reports, payload, files.collect()));
        let sent = match started {
            Ok(pidfd) => {
                let sent = wire::send(&events, &Event::Started, &[pidfd.as_fd()]);
                self.runs.push(Run { pidfd, events });
                sent
            }
            Err(error) => wire::send(&events, &Event::NotStarted(error), &[]),
        };
        // As above: a builder that is gone needs no answer.
        forgive(sent);
    }

    fn start(
        &mut self,
        request: Request,
        events: &OwnedFd,
        reports: &OwnedFd,
        payload: OwnedFd,
        files: Vec<OwnedFd>,
    ) -> Result<OwnedFd, SandboxError> {
        let kit = self.kit.as_ref().map_err(Clone::clone)?;
        let mut namespaces = libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        let mut files = files;
        let mut cgroup = None;
        match request {
            Request::Step { own_network, own_cgroup } => {
                if own_cgroup && !files.is_empty() {
                    cgroup = Some(files.remove(0));
                }
                if kit.cgroup2 || own_cgroup {
                    namespaces |= libc::CLONE_NEWCGROUP;
                }
                if own_network {
                    namespaces |= libc::CLONE_NEWNET;
                }
            }
            Request::Job { .. } => namespaces |= libc::CLONE_NEWNET,
            Request::Exec => return self.start_beside(reports, payload, files),
        }
        let cgroup = cgroup.as_ref().map(AsFd::as_fd);
        let forked = match (sys::fork(namespaces, cgroup), request) {
            // Without a network namespace the job's filter still lets it make no socket.
            (Err(_), Request::Job { .. }) => sys::fork(namespaces & !libc::CLONE_NEWNET, None),
            (forked, _) => forked,
        };
        let forked = forked.map_err(|errno| SandboxError::SetUp {
            action: "make".into(),
            target: if cgroup.is_some() { "a process in its cgroup" } else { "a process in new namespaces" }.into(),
            errno: errno.into(),
        })?;
        match forked {
            Forked::Parent(pidfd) => Ok(pidfd),
            Forked::Child => {
                let _ = events;
                self.child(request, reports, payload, files)
            }
        }
    }

    /// Makes a child in the pid namespace of a step, whose end is then its end, too.
    fn start_beside(
        &mut self,
        reports: &OwnedFd,
        payload: OwnedFd,
        files: Vec<OwnedFd>,
    ) -> Result<OwnedFd, SandboxError> {
        let failed = |action: &str, errno: Code| SandboxError::SetUp {
            action: action.to_owned(),
            target: "the container's processes".to_owned(),
            errno: errno.into(),
        };
        let step = files.first().ok_or_else(|| SandboxError::Protocol { detail: "no step to join".to_owned() })?;
        let own = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).map_err(|errno| failed("find", errno))?;
        move_into_thread_name_spaces(step.as_fd(), ThreadNameSpaceType::PROCESS_ID)
            .map_err(|errno| failed("join", errno))?;
        let forked = sys::fork(0, None);
        if let Ok(Forked::Child) = forked {
            self.child(Request::Exec, reports, payload, files)
        }
        // What is made next is none of the step's.
        move_into_thread_name_spaces(own.as_fd(), ThreadNameSpaceType::PROCESS_ID)
            .map_err(|errno| failed("leave", errno))?;
        match forked.map_err(|errno| failed("fork beside", errno))? {
            Forked::Parent(pidfd) => Ok(pidfd),
            Forked::Child => sys::exit_now(GAVE_UP),
        }
    }

    /// The rest of a child's life. Its copies of the zygote's other descriptors are closed, not dropped.
    fn child(&self, request: Request, reports: &OwnedFd, payload: OwnedFd, files: Vec<OwnedFd>) -> ! {
        let mut keep: Vec<_> = [0, 1, 2, reports.as_raw_fd(), payload.as_raw_fd()].to_vec();
        keep.extend(files.iter().map(AsRawFd::as_raw_fd));
        if let Ok(kit) = &self.kit {
            keep.extend(kit.descriptors());
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            sys::close_all_but(&keep).map_err(|errno| SandboxError::SetUp {
                action: "close".into(),
                target: "descriptors".into(),
                errno: errno.into(),
            })?;
            let kit = self.kit.as_ref().map_err(Clone::clone)?;
            match request {
                Request::Step { .. } => step::run(kit, reports, payload, files),
                Request::Exec => exec::run(kit, reports, payload, files),
                Request::Job { index } => {
                    privileges::limit_to(privileges::STEP)?;
                    let job = self.jobs.get(index).ok_or(SandboxError::UnknownJob { name: index.to_string() })?;
                    job::run(kit, job, reports, payload, files)
                }
            }
        }));
        let error = match outcome {
            Ok(Err(error)) => error,
            Ok(Ok(never)) => match never {},
            Err(_) => SandboxError::Protocol { detail: job::last_panic() },
        };
        if wire::send(reports, &Report::Failed(error), &[]).is_err() {
            let detail = "an error that is too long to send".to_owned();
            forgive(wire::send(reports, &Report::Failed(SandboxError::Protocol { detail }), &[]));
        }
        sys::exit_now(GAVE_UP)
    }
}
