//! The system call filter as a program for the kernel.
//!
//! Turns the table into an interval tree, so that a call is decided in about eight comparisons. That is fast to run and,
//! more important here, fast to load: the kernel runs a new filter once for every call number.
//!
//! Semantics are those of moby's default profile: a known call that is not allowed fails with `EPERM`; a call that this
//! stave does not know, and `clone3`, with `ENOSYS`, so that a libc falls back. 32-bit programs run; x32 does not exist.

use libc::{
    BPF_ABS, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO, sock_filter,
};

mod table;

use table::{ALLOWED, LAST_KNOWN, NONE};

const ARCH_X86_64: u32 = 0xC000_003E;
const ARCH_I386: u32 = 0x4000_0003;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// `CLONE_NEW*` of mount, cgroup, uts, ipc, user, pid and network.
const NAMESPACES: u32 = 0x7E02_0000;
const SOCKETS_REFUSED: [u32; 2] = [libc::AF_ALG as u32, libc::AF_VSOCK as u32];
/// `PER_LINUX`, `PER_LINUX32`, `UNAME26` with each of them, and the query.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, u32::MAX];

/// What a confined job may not do although a step may: start programs, reach a network, look into processes.
const REFUSED_TO_JOBS: &[&str] = &[
    "execve",
    "execveat",
    "socketcall",
    "connect",
    "bind",
    "listen",
    "accept",
    "accept4",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "chroot",
    "pidfd_open",
    "io_setup",
    "memfd_secret",
];

/// Whom a filter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A program of the image.
    Step,
    /// Our own code on hostile input.
    Job,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaf {
    Allow,
    Refuse,
    Unknown,
    Socket,
    Personality,
    Clone,
}

/// The filter for `subject`.
pub(crate) fn program(subject: Subject) -> Vec<sock_filter> {
    let native = tree(&intervals(&leaves(subject, Architecture::X86_64)));
    let compat = match subject {
        Subject::Step => tree(&intervals(&leaves(subject, Architecture::I386))),
        Subject::Job => answer(Leaf::Unknown),
    };
    let mut program = vec![load(ARCH), jump(BPF_JEQ, ARCH_X86_64, 1, 0), skip(native.len() + 1), load(NUMBER)];
    program.extend(native);
    program.extend([jump(BPF_JEQ, ARCH_I386, 1, 0), answer(Leaf::Unknown)[0], load(NUMBER)]);
    program.extend(compat);
    program
}

#[derive(Clone, Copy)]
enum Architecture {
    X86_64,
    I386,
}

/// What happens to each call number up to the last known one.
fn leaves(subject: Subject, architecture: Architecture) -> Vec<Leaf> {
    let mut leaves = vec![Leaf::Refuse; usize::from(LAST_KNOWN) + 1];
    let mut set = |number: u16, leaf| {
        if number != NONE {
            leaves[usize::from(number)] = leaf;
        }
    };
    for (name, x86_64, i386) in ALLOWED {
        if subject == Subject::Step || !REFUSED_TO_JOBS.contains(name) {
            set(if matches!(architecture, Architecture::X86_64) { *x86_64 } else { *i386 }, Leaf::Allow);
        }
    }
    let (socket, personality, clone) = match architecture {
        Architecture::X86_64 => (41, 135, 56),
        Architecture::I386 => (359, 136, 120),
    };
    if subject == Subject::Step {
        set(socket, Leaf::Socket);
    }
    set(personality, Leaf::Personality);
    set(clone, Leaf::Clone);
    set(435, Leaf::Unknown); // clone3, whose flags a filter cannot see
    leaves
}

/// Runs of equal leaves, each with its first number; the last one is open.
fn intervals(leaves: &[Leaf]) -> Vec<(u32, Leaf)> {
    let mut intervals: Vec<(u32, Leaf)> = Vec::new();
    for (number, leaf) in (0u32..).zip(leaves.iter().copied().chain([Leaf::Unknown])) {
        if intervals.last().is_none_or(|(_, last)| *last != leaf) {
            intervals.push((number, leaf));
        }
    }
    intervals
}

/// A balanced tree over sorted intervals: falls through to the lower half, jumps to the upper one.
fn tree(intervals: &[(u32, Leaf)]) -> Vec<sock_filter> {
    if let [(_, leaf)] = intervals {
        return answer(*leaf);
    }
    let (low, high) = intervals.split_at(intervals.len() / 2);
    let (first_high, low, high) = (high[0].0, tree(low), tree(high));
    let mut program = match u8::try_from(low.len()) {
        Ok(distance) => vec![jump(BPF_JGE, first_high, distance, 0)],
        // A conditional jump reaches 255 instructions; an unconditional one any distance.
        Err(_) => vec![jump(BPF_JGE, first_high, 0, 1), skip(low.len())],
    };
    program.extend(low);
    program.extend(high);
    program
}

fn answer(leaf: Leaf) -> Vec<sock_filter> {
    let allow = ret(SECCOMP_RET_ALLOW);
    let refuse = ret(SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned());
    match leaf {
        Leaf::Allow => vec![allow],
        Leaf::Refuse => vec![refuse],
        Leaf::Unknown => vec![ret(SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned())],
        Leaf::Socket => one_of(&SOCKETS_REFUSED, refuse, allow),
        Leaf::Personality => one_of(&PERSONALITIES, allow, refuse),
        Leaf::Clone => vec![load(FIRST_ARGUMENT), jump(BPF_JSET, NAMESPACES, 0, 1), refuse, allow],
    }
}

/// `found` if the first argument is one of `values`, else `other`. The kernel, too, takes these arguments as 32 bits.
fn one_of(values: &[u32], found: sock_filter, other: sock_filter) -> Vec<sock_filter> {
    let mut program = vec![load(FIRST_ARGUMENT)];
    for (left, value) in (1u8..=u8::MAX).zip(values.iter().rev()).collect::<Vec<_>>().into_iter().rev() {
        program.push(jump(BPF_JEQ, *value, left, 0));
    }
    program.extend([other, found]);
    program
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: u16::try_from(code).expect("operation codes have 16 bits"), jt, jf, k }
}

fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0)
}

fn jump(condition: u32, value: u32, jt: u8, jf: u8) -> sock_filter {
    instruction(BPF_JMP | condition | BPF_K, value, jt, jf)
}

fn skip(distance: usize) -> sock_filter {
    instruction(BPF_JMP | BPF_JA, u32::try_from(distance).expect("a filter has fewer than 4096 instructions"), 0, 0)
}

fn ret(value: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, value, 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter as the kernel does; answers what it returns and after how many instructions.
    fn run(program: &[sock_filter], arch: u32, number: u32, argument: u64) -> (u32, usize) {
        let (mut at, mut accumulator, mut steps) = (0, 0, 0);
        loop {
            let insn = program[at];
            at += 1;
            steps += 1;
            let code = u32::from(insn.code);
            let branch = |taken: bool| usize::from(if taken { insn.jt } else { insn.jf });
            match code {
                _ if code == BPF_LD | BPF_W | BPF_ABS => {
                    accumulator = match insn.k {
                        NUMBER => number,
                        ARCH => arch,
                        FIRST_ARGUMENT => u32::try_from(argument & 0xffff_ffff).unwrap(),
                        other => panic!("loads offset {other}"),
                    }
                }
                _ if code == BPF_JMP | BPF_JA => at += insn.k as usize,
                _ if code == BPF_JMP | BPF_JEQ => at += branch(accumulator == insn.k),
                _ if code == BPF_JMP | BPF_JGE => at += branch(accumulator >= insn.k),
                _ if code == BPF_JMP | BPF_JSET => at += branch(accumulator & insn.k != 0),
                _ if code == BPF_RET => return (insn.k, steps),
                other => panic!("operation {other:#x}"),
            }
        }
    }

    const EPERM: u32 = SECCOMP_RET_ERRNO | 1;
    const ENOSYS: u32 = SECCOMP_RET_ERRNO | 0x26;

    #[test]
    fn every_call_of_the_table_is_allowed_and_no_other() {
        let program = program(Subject::Step);
        for number in 0..=u32::from(LAST_KNOWN) + 1000 {
            for (arch, column) in [(ARCH_X86_64, 1), (ARCH_I386, 2)] {
                let listed = ALLOWED.iter().any(|row| u32::from(if column == 1 { row.1 } else { row.2 }) == number);
                let (verdict, steps) = run(&program, arch, number, 1 << 40 | u64::from(NAMESPACES));
                let special = match arch {
                    ARCH_X86_64 => [41, 135, 56].contains(&number),
                    _ => [359, 136, 120].contains(&number),
                };
                let expected = match number {
                    _ if special => verdict,
                    _ if listed => SECCOMP_RET_ALLOW,
                    435 => ENOSYS,
                    _ if number > u32::from(LAST_KNOWN) => ENOSYS,
                    _ => EPERM,
                };
                assert_eq!(verdict, expected, "call {number} of {arch:#x}");
                assert!(steps <= 20, "call {number} takes {steps} instructions");
            }
        }
    }

    #[test]
    fn the_table_agrees_with_the_numbers_that_libc_knows() {
        for (name, number) in [
            ("read", libc::SYS_read),
            ("ptrace", libc::SYS_ptrace),
            ("statx", libc::SYS_statx),
            ("openat2", libc::SYS_openat2),
            ("landlock_restrict_self", libc::SYS_landlock_restrict_self),
            ("fchmodat2", libc::SYS_fchmodat2),
            ("mseal", libc::SYS_mseal),
            ("process_vm_readv", libc::SYS_process_vm_readv),
        ] {
            let row = ALLOWED.iter().find(|row| row.0 == name).expect(name);
            assert_eq!(libc::c_long::from(row.1), number, "{name}");
        }
        for refused in
            ["mount", "unshare", "setns", "bpf", "keyctl", "add_key", "userfaultfd", "io_uring_setup", "kexec_load"]
        {
            assert!(!ALLOWED.iter().any(|row| row.0 == refused), "{refused}");
        }
    }

    #[test]
    fn arguments_decide_sockets_personalities_and_clones() {
        let program = program(Subject::Step);
        for (arch, socket, personality, clone) in [(ARCH_X86_64, 41, 135, 56), (ARCH_I386, 359, 136, 120)] {
            for (number, argument, expected) in [
                (socket, 1, SECCOMP_RET_ALLOW),
                (socket, 2, SECCOMP_RET_ALLOW),
                (socket, 38, EPERM),
                (socket, 39, SECCOMP_RET_ALLOW),
                (socket, 40, EPERM),
                (socket, 44, SECCOMP_RET_ALLOW),
                (personality, 0, SECCOMP_RET_ALLOW),
                (personality, 0xffff_ffff, SECCOMP_RET_ALLOW),
                (personality, 0x2_0008, SECCOMP_RET_ALLOW),
                (personality, 0x4_0000, EPERM),
                (clone, 17, SECCOMP_RET_ALLOW),
                (clone, 0x1000_0011, EPERM),
                (clone, 0x0002_0011, EPERM),
            ] {
                assert_eq!(
                    run(&program, arch, number, argument).0,
                    expected,
                    "call {number} of {arch:#x} with {argument:#x}"
                );
            }
        }
    }

    #[test]
    fn x32_and_other_architectures_do_not_exist() {
        let program = program(Subject::Step);
        assert_eq!(run(&program, ARCH_X86_64, 0x4000_0000, 0).0, ENOSYS);
        assert_eq!(run(&program, 0xC000_00B7, 0, 0).0, ENOSYS);
    }

    #[test]
    fn a_job_reaches_no_network_and_starts_no_program() {
        let program = program(Subject::Job);
        for (name, number) in [("socket", 41), ("execve", 59), ("execveat", 322), ("connect", 42), ("mount", 165)] {
            assert_eq!(run(&program, ARCH_X86_64, number, 2).0, EPERM, "{name}");
        }
        assert_eq!(run(&program, ARCH_X86_64, 0, 0).0, SECCOMP_RET_ALLOW);
        assert_eq!(run(&program, ARCH_I386, 3, 0).0, ENOSYS);
    }

    #[test]
    fn the_filter_is_short() {
        assert!(program(Subject::Step).len() < 700, "{}", program(Subject::Step).len());
    }
}
