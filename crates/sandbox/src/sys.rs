//! System calls that `rustix` does not have, each behind a safe function: the only unsafe code of the workspace.
#![expect(unsafe_code, reason = "system calls without a safe wrapper in rustix; each block says why it is sound")]

use std::ffi::{CString, c_char, c_int, c_long};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::Errno;

/// What [`fork`] is in each of the two processes.
pub(crate) enum Forked {
    /// In the new process.
    Child,
    /// In the old one, with a descriptor of the new one.
    Parent(OwnedFd),
}

/// The kernel's answer as a result.
fn check(answer: c_long) -> Result<c_long, Errno> {
    if answer == -1 { Err(last_errno()) } else { Ok(answer) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// `CLONE_INTO_CGROUP` of `clone3(2)`, which does not fit into the integer that `libc` has its flags in.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Forks into new namespaces (`CLONE_NEW*` of `namespaces`) and into the cgroup whose directory `cgroup` is, if any.
/// The calling process must have one thread.
pub(crate) fn fork(namespaces: c_int, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked, Errno> {
    let mut pidfd: RawFd = -1;
    // SAFETY: `clone_args` is plain integers, for which zero is a value.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = u64::from((namespaces | libc::CLONE_PIDFD).cast_unsigned());
    arguments.pidfd = ptr::from_mut(&mut pidfd).expose_provenance() as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::try_from(cgroup.as_raw_fd()).map_err(|_| Errno::BADF)?;
    }
    // SAFETY: without CLONE_VM and a stack this is fork(2): the child continues on a copy of this stack. The caller is
    // the only thread, so no lock is held by a thread that the child does not have. The structure outlives the call.
    let answer = check(unsafe { libc::syscall(libc::SYS_clone3, ptr::from_ref(&arguments), size_of_val(&arguments)) })?;
    if answer == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: the kernel stored a new descriptor there, which nobody else owns.
    Ok(Forked::Parent(unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// Runs `work` in a process of its own and answers what it answered; `None` if it could not or died.
///
/// Other threads may exist: this is fork(3), which leaves the allocator usable in the child.
pub(crate) fn in_child<T: serde::Serialize + serde::de::DeserializeOwned>(work: impl FnOnce() -> T) -> Option<T> {
    let (ours, theirs) = crate::wire::pair().ok()?;
    // SAFETY: the child calls `work`, which only uses the allocator and system calls, and `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let sent = answer.is_ok_and(|answer| crate::wire::send(&theirs, &answer, &[]).is_ok());
        exit_now(i32::from(!sent));
    }
    drop(theirs);
    let child = rustix::process::Pid::from_raw(child)?;
    let answer = crate::wire::receive(&ours).ok().flatten().and_then(|message| message.parse().ok());
    let options = rustix::process::WaitOptions::empty();
    while matches!(rustix::process::waitpid(Some(child), options), Err(Errno::INTR)) {}
    answer
}

/// Returns the most memory that the ended process of `pidfd`, or one that it waited for, has had: in bytes. The process
/// can still be waited for. Nothing where the kernel does not say.
pub(crate) fn peak_bytes(pidfd: BorrowedFd<'_>) -> Option<u64> {
    // SAFETY: `rusage` is plain integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOWAIT;
    let nobody: *mut libc::siginfo_t = ptr::null_mut();
    // SAFETY: the kernel writes to `usage`, which outlives the call, and allows that nobody wants the status. The `waitid`
    // of the C library has no place for the usage.
    let answer =
        unsafe { libc::syscall(libc::SYS_waitid, libc::P_PIDFD, pidfd.as_raw_fd(), nobody, options, &raw mut usage) };
    check(answer).ok()?;
    u64::try_from(usage.ru_maxrss).ok().filter(|&kibibytes| kibibytes > 0).map(|kibibytes| kibibytes * 1024)
}

/// Ends the process at once: no destructors, no buffers, no hooks.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process; nothing of it is used afterwards.
    unsafe { libc::_exit(code) }
}

/// Sets attributes (`MOUNT_ATTR_*`) of the mount at `fd`, with `recursive` also of those below it.
pub(crate) fn mount_setattr(fd: impl AsFd, set: u64, recursive: bool) -> Result<(), Errno> {
    mount_change_attr(fd, set, 0, recursive)
}

/// Sets and takes away attributes (`MOUNT_ATTR_*`) of the mount at `fd`, with `recursive` also of those below it.
pub(crate) fn mount_change_attr(fd: impl AsFd, set: u64, clear: u64, recursive: bool) -> Result<(), Errno> {
    // SAFETY: `mount_attr` is plain integers, for which zero is a value.
    let mut attributes: libc::mount_attr = unsafe { std::mem::zeroed() };
    attributes.attr_set = set;
    attributes.attr_clr = clear;
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the descriptor, the empty string and the structure live through the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            ptr::from_ref(&attributes),
            size_of_val(&attributes),
        )
    };
    check(answer).map(drop)
}

/// Closes every descriptor but `keep`.
pub(crate) fn close_all_but(keep: &[RawFd]) -> Result<(), Errno> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    keep.sort_unstable();
    let mut first = 0;
    for fd in keep {
        if first < fd {
            close_range(first, fd - 1, 0)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX, 0)
}

/// Closes a descriptor that its owner will not drop, because this process ends first.
pub(crate) fn close(fd: impl AsFd) {
    // SAFETY: the caller leaves by exec or `_exit`, so the owner never closes the number again.
    unsafe { rustix::io::close(fd.as_fd().as_raw_fd()) };
}

/// Makes every descriptor from `first` on close itself at the next exec.
pub(crate) fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, last: u32, flags: u32) -> Result<(), Errno> {
    // SAFETY: takes integers. What is closed is not used afterwards: see the callers, which leave by exec or `_exit`.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// Loads a seccomp filter for this process. Needs `CAP_SYS_ADMIN`, or no-new-privileges.
pub(crate) fn load_filter(program: &[libc::sock_filter]) -> Result<(), Errno> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let filter = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel only reads the program, whose length is given and which lives through the call.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, ptr::from_ref(&filter)) };
    check(answer).map(drop)
}

/// Gives every signal its default action and blocks none.
pub(crate) fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: sets the default action, no handler. Signals that cannot be changed answer EINVAL, which is right.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: the set is initialised by sigemptyset before it is read and lives through both calls.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Joins a new, empty session keyring.
pub(crate) fn join_new_session_keyring() -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring; nothing else is passed.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<c_char>()) }).map(drop)
}

/// Switches the loopback device of this network namespace on.
pub(crate) fn loopback_up() -> Result<(), Errno> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: `ifreq` is integers and arrays of them, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).map_err(|_| Errno::INVAL)?;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which lives through the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, ptr::from_ref(&request)) }.into()).map(drop)
}

/// Replaces this process by the program in `file`. Returns only if that failed.
pub(crate) fn exec_file(file: BorrowedFd<'_>, arguments: &[CString], environment: &[CString]) -> Errno {
    let argv = null_terminated(arguments);
    let envp = null_terminated(environment);
    // SAFETY: both lists are null-terminated arrays of pointers to strings that live through the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    last_errno()
}

fn null_terminated(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

/// Makes descriptor `number` a copy of `fd` that survives exec.
pub(crate) fn place(fd: BorrowedFd<'_>, number: RawFd) -> Result<(), Errno> {
    // SAFETY: dup2 makes `number` a valid descriptor; what it was before is given up by the caller.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into()).map(drop)
}

/// The executable code between two symbols of this program.
pub(crate) fn code_between(start: *const u8, end: *const u8) -> &'static [u8] {
    // SAFETY: the callers name two labels of one block of assembly: readable, constant, in this order.
    unsafe { std::slice::from_raw_parts(start, end.offset_from_unsigned(start)) }
}

/// Landlock: the newest version that the kernel speaks, 0 where there is none.
pub(crate) fn landlock_version() -> c_long {
    // SAFETY: asks for a number; a null attribute of length 0 is how.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<u8>(), 0usize, 1u32) }.max(0)
}

/// Restricts this process to `handled` file rights below `root` that are in `allowed`, and to no TCP where `net` says so.
pub(crate) fn landlock(root: BorrowedFd<'_>, handled: u64, allowed: u64, net: bool) -> Result<(), Errno> {
    #[repr(C)]
    struct Ruleset {
        handled_access_fs: u64,
        handled_access_net: u64,
    }
    #[repr(C, packed)]
    struct Below {
        allowed_access: u64,
        parent_fd: c_int,
    }
    const PATH_BENEATH: c_int = 1;
    let ruleset = Ruleset { handled_access_fs: handled, handled_access_net: 3 };
    let size = if net { size_of::<Ruleset>() } else { size_of::<u64>() };
    // SAFETY: the kernel reads `size` bytes of a structure that is at least as long.
    let fd = check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::from_ref(&ruleset), size, 0u32) })?;
    // SAFETY: the kernel answered with a new descriptor, which nobody else owns.
    let rules = unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd).map_err(|_| Errno::BADF)?) };
    let below = Below { allowed_access: allowed, parent_fd: root.as_raw_fd() };
    // SAFETY: the structure has the kernel's layout and lives through the call.
    check(unsafe {
        libc::syscall(libc::SYS_landlock_add_rule, rules.as_raw_fd(), PATH_BENEATH, ptr::from_ref(&below), 0u32)
    })?;
    // SAFETY: takes a descriptor and a number.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0u32) }).map(drop)
}

/// Gives this process a copy of the mounts. Its current directory is then on the copy.
pub(crate) fn unshare_mounts() -> Result<(), Errno> {
    unshare(rustix::thread::UnshareFlags::NEWNS)
}

/// Moves this process into new namespaces. It must have one thread.
pub(crate) fn unshare(namespaces: rustix::thread::UnshareFlags) -> Result<(), Errno> {
    // SAFETY: unsharing the descriptor table is what could break other threads' expectations; it is never asked for.
    unsafe { rustix::thread::unshare_unsafe(namespaces.difference(rustix::thread::UnshareFlags::FILES)) }
}
