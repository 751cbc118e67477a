//! A program of a hundred bytes from which the step's program is executed.
//!
//! Until a process has executed something, its `/proc/self/exe` is the builder's own executable. An image whose first
//! program is `/proc/self/exe`, or a script with `#!/proc/self/exe`, would so run the builder inside the step and could
//! get a descriptor of the file on the host, to overwrite it (CVE-2019-5736). So the child first executes this program
//! from a sealed memory file: then that is what `/proc/self/exe` leads to.
//!
//! It executes its first argument with the rest as arguments, and writes the error number to descriptor 3 if it cannot.
#![expect(unsafe_code, reason = "machine code, and the symbols that say where it is")]

use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::{Errno, SandboxError, sys};

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the sandbox has system call tables and a springboard for x86-64 only so far");

/// The descriptor for the error number.
pub(crate) const REPORT_FD: i32 = 3;

std::arch::global_asm!(
    ".pushsection .rodata",
    "stave_springboard_start:",
    "mov r12, rsp",
    // fcntl(3, F_SETFD, FD_CLOEXEC). Without descriptor 3 somebody else executed this: end.
    "mov edi, 3",
    "mov esi, 2",
    "mov edx, 1",
    "mov eax, 72",
    "syscall",
    "test eax, eax",
    "js 2f",
    // execve(argv[0], argv + 1, envp)
    "mov rax, [r12]",
    "mov rdi, [r12 + 8]",
    "lea rsi, [r12 + 16]",
    "lea rdx, [r12 + rax*8 + 16]",
    "mov eax, 59",
    "syscall",
    // write(3, "E" and the error number, 5)
    "neg eax",
    "mov byte ptr [rsp - 16], 0x45",
    "mov dword ptr [rsp - 15], eax",
    "mov edi, 3",
    "lea rsi, [rsp - 16]",
    "mov edx, 5",
    "mov eax, 1",
    "syscall",
    // exit_group(127)
    "2:",
    "mov edi, 127",
    "mov eax, 231",
    "syscall",
    "ud2",
    "stave_springboard_end:",
    ".popsection",
);

unsafe extern "C" {
    static stave_springboard_start: u8;
    static stave_springboard_end: u8;
}

/// Where the program is loaded.
const ADDRESS: u64 = 0x40_0000;
const HEADERS: u16 = 64 + 56;

/// The whole executable file.
fn image() -> Vec<u8> {
    let code = sys::code_between(&raw const stave_springboard_start, &raw const stave_springboard_end);
    let length = u64::from(HEADERS) + code.len() as u64;
    let mut image = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |image: &mut Vec<u8>, value: u16| image.extend(value.to_le_bytes());
    let word = |image: &mut Vec<u8>, value: u32| image.extend(value.to_le_bytes());
    let long = |image: &mut Vec<u8>, value: u64| image.extend(value.to_le_bytes());
    half(&mut image, 2); // an executable
    half(&mut image, 62); // for x86-64
    word(&mut image, 1);
    long(&mut image, ADDRESS + u64::from(HEADERS)); // entry
    long(&mut image, 64); // program headers
    long(&mut image, 0); // no sections
    word(&mut image, 0);
    for value in [64, 56, 1, 0, 0, 0] {
        half(&mut image, value);
    }
    word(&mut image, 1); // one segment to load,
    word(&mut image, 5); // readable and executable,
    long(&mut image, 0); // which is the whole file
    long(&mut image, ADDRESS);
    long(&mut image, ADDRESS);
    long(&mut image, length);
    long(&mut image, length);
    long(&mut image, 0x1000);
    image.extend(code);
    image
}

/// Puts the program into a memory file that nobody can change.
pub(crate) fn prepare() -> Result<OwnedFd, SandboxError> {
    let failed = |errno: rustix::io::Errno| SandboxError::Start {
        action: "make an executable memory file (is `vm.memfd_noexec` 2?)".to_owned(),
        errno: errno.into(),
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match memfd_create(c"stave-springboard", flags | MemfdFlags::EXEC) {
        // Kernels before 6.3 have no such flag: every memory file is executable.
        Err(rustix::io::Errno::INVAL) => memfd_create(c"stave-springboard", flags).map_err(failed)?,
        other => other.map_err(failed)?,
    };
    let image = image();
    if rustix::io::write(&file, &image).map_err(failed)? != image.len() {
        return Err(failed(rustix::io::Errno::NOSPC));
    }
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL).map_err(failed)?;
    Ok(file)
}

/// The error number in what the program wrote, if this is from it.
pub(crate) fn failure(bytes: &[u8]) -> Option<Errno> {
    let (b'E', number) = bytes.split_first()? else { return None };
    Some(Errno(i32::from_le_bytes(number.try_into().ok()?)))
}
