//! Who runs programs that were made for another processor: the handlers that the kernel knows (`binfmt_misc`).
//!
//! Turns what the kernel says into an answer for one architecture. In a user namespace of stave's own, where the kernel
//! allows it and QEMU's emulators are installed, handlers are registered that only stave's steps see; those of the whole
//! machine are never changed. Architectures have Go's names here, as in images.
//!
//! Reference: Linux, `Documentation/admin-guide/binfmt-misc.rst`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, Mode, OFlags, openat};
use rustix::io::Errno as Code;

use crate::probe::is_initial_namespace;
use crate::rootfs::{new_mount, quiet};

/// What to do where there is no handler for programs of another processor, as whole sentences.
pub const ADVICE: &str = "Install QEMU's emulators and have the kernel start them: Debian's packages `qemu-user-static` and \
    `binfmt-support`, or `docker run --privileged --rm tonistiigi/binfmt --install all`. Without root, and since Linux 6.7, \
    the emulators alone are enough.";

/// Where the kernel's handlers are shown.
const MOUNTED: &str = "/proc/sys/fs/binfmt_misc";
/// Where emulators are looked for.
const PLACES: &[&str] = &["/usr/libexec/qemu-binfmt", "/usr/bin", "/usr/local/bin"];
/// The longest description of a handler that is read.
const HANDLER_BYTES_MAX: u64 = 64 * 1024;

/// How the kernel recognises the programs of an architecture, and what QEMU calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Architecture {
    /// Go's name.
    name: &'static str,
    /// QEMU's name.
    qemu: &'static str,
    /// 1 for 32 bits, 2 for 64.
    class: u8,
    /// 1 for little, 2 for big end first.
    data: u8,
    /// `e_machine` of ELF.
    machine: u16,
}

const fn architecture(name: &'static str, qemu: &'static str, class: u8, data: u8, machine: u16) -> Architecture {
    Architecture { name, qemu, class, data, machine }
}

/// The architectures that images are made for on Linux.
const ARCHITECTURES: &[Architecture] = &[
    architecture("386", "i386", 1, 1, 3),
    architecture("amd64", "x86_64", 2, 1, 62),
    architecture("arm", "arm", 1, 1, 40),
    architecture("arm64", "aarch64", 2, 1, 183),
    architecture("loong64", "loongarch64", 2, 1, 258),
    architecture("mips64le", "mips64el", 2, 1, 8),
    architecture("ppc64le", "ppc64le", 2, 1, 21),
    architecture("riscv64", "riscv64", 2, 1, 243),
    architecture("s390x", "s390x", 2, 2, 22),
];

/// Bytes of an ELF header by which a handler recognises it.
const HEADER_BYTES: usize = 20;

impl Architecture {
    fn find(name: &str) -> Option<Self> {
        ARCHITECTURES.iter().find(|known| known.name == name).copied()
    }

    /// The start of a program of this architecture.
    fn header(self) -> [u8; HEADER_BYTES] {
        let number = |value: u16| if self.data == 2 { value.to_be_bytes() } else { value.to_le_bytes() };
        let mut header = [0; HEADER_BYTES];
        header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', self.class, self.data, 1]);
        header[16..18].copy_from_slice(&number(2));
        header[18..20].copy_from_slice(&number(self.machine));
        header
    }

    /// Which bits of the header count: any ABI, and fixed or movable programs.
    fn mask(self) -> [u8; HEADER_BYTES] {
        let mut mask = [0xff; HEADER_BYTES];
        mask[7] = 0;
        mask[if self.data == 2 { 17 } else { 16 }] = 0xfe;
        mask
    }

    /// What the kernel is told to have `emulator` run its programs.
    fn registration(self, emulator: &Path) -> String {
        // `F`: the emulator is opened now, so that it need not be in the image. `P`: the emulator is told the name by
        // which the program was called; only newer ones, which Debian marks by their name, know how.
        let flags = if emulator.to_string_lossy().ends_with("-binfmt-P") { "PF" } else { "F" };
        format!(
            ":stave-{}:M::{}:{}:{}:{flags}",
            self.qemu,
            escaped(&self.header()),
            escaped(&self.mask()),
            emulator.display()
        )
    }
}

/// Writes bytes as the kernel wants them in a registration.
fn escaped(bytes: &[u8]) -> String {
    let each: Vec<String> = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    each.concat()
}

/// One handler of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handler {
    /// The program that runs others.
    pub interpreter: PathBuf,
    /// Whether the kernel has it open already, so that a step need not see it.
    pub open: bool,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Handler {
    /// Reads a file of `binfmt_misc`; `None` for one that is switched off or goes by the ends of names.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next() != Some("enabled") {
            return None;
        }
        let (mut interpreter, mut flags, mut offset, mut magic, mut mask) = (None, "", 0, None, None);
        for line in lines {
            let Some((key, value)) = line.split_once(' ') else { continue };
            match key {
                "interpreter" => interpreter = Some(PathBuf::from(value)),
                "flags:" => flags = value,
                "offset" => offset = value.parse().ok()?,
                "magic" => magic = Some(unhex(value)?),
                "mask" => mask = Some(unhex(value)?),
                _ => {}
            }
        }
        let magic = magic?;
        let mask = mask.unwrap_or_else(|| vec![0xff; magic.len()]);
        Some(Self { interpreter: interpreter?, open: flags.contains('F'), offset, magic, mask })
    }

    /// Whether it runs programs that begin so.
    fn takes(&self, header: &[u8]) -> bool {
        let Some(end) = self.offset.checked_add(self.magic.len()) else { return false };
        let Some(part) = header.get(self.offset..end) else { return false };
        part.iter().zip(&self.magic).zip(&self.mask).all(|((byte, magic), mask)| (byte ^ magic) & mask == 0)
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// The handlers that steps have.
#[derive(Debug, Default)]
pub struct Emulation {
    handlers: Vec<Handler>,
    /// Handlers of this namespace alone, which are there as long as this is.
    _own: Option<OwnedFd>,
}

impl Emulation {
    /// Looks at the kernel's handlers. Where there are none to be seen and this is a user namespace of stave's own,
    /// registers the emulators that are installed, for this namespace alone.
    #[must_use]
    pub fn find() -> Self {
        let shown = openat(CWD, MOUNTED, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let handlers = shown.map(|shown| read_all(&shown)).unwrap_or_default();
        if !handlers.is_empty() {
            return Self { handlers, _own: None };
        }
        // For root of the whole machine this shows its handlers, for others it is a set of their own (since Linux 6.7).
        let Ok(mount) = new_mount("binfmt_misc", &[], quiet()) else { return Self::default() };
        if is_initial_namespace() {
            return Self { handlers: read_all(&mount), _own: None };
        }
        for architecture in ARCHITECTURES {
            if !is_native(architecture.name)
                && let Some(emulator) = emulator(architecture.qemu)
            {
                // One that the kernel does not take is not there.
                crate::error::forgive(register(&mount, &architecture.registration(&emulator)));
            }
        }
        Self { handlers: read_all(&mount), _own: Some(mount) }
    }

    /// Returns the handler for programs of an architecture; `None` if there is none, or nobody knows the architecture.
    #[must_use]
    pub fn handler(&self, architecture: &str) -> Option<&Handler> {
        let header = Architecture::find(architecture)?.header();
        self.handlers.iter().find(|handler| handler.takes(&header))
    }

    /// Returns the architectures, other than the machine's own, whose programs run.
    #[must_use]
    pub fn architectures(&self) -> Vec<&'static str> {
        let names = ARCHITECTURES.iter().map(|known| known.name);
        names.filter(|name| *name != native() && self.handler(name).is_some()).collect()
    }
}

/// Whether this machine runs programs of an architecture by itself: it must not be told otherwise.
fn is_native(architecture: &str) -> bool {
    architecture == native() || matches!((native(), architecture), ("amd64", "386") | ("arm64", "arm"))
}

/// Go's name of this machine's architecture.
fn native() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "loongarch64" => "loong64",
        other => other,
    }
}

fn read_all(directory: &OwnedFd) -> Vec<Handler> {
    let read = |name: &std::ffi::CStr| -> Option<String> {
        let file = openat(directory, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut text = String::new();
        File::from(file).take(HANDLER_BYTES_MAX).read_to_string(&mut text).ok()?;
        Some(text)
    };
    if read(c"status").is_some_and(|status| status.trim() != "enabled") {
        return Vec::new();
    }
    // A mount that is attached nowhere can be looked up in, and only what is opened in it can be listed.
    let opened = openat(directory, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let Ok(entries) = opened.and_then(Dir::new) else { return Vec::new() };
    let names = entries.filter_map(Result::ok).map(|entry| entry.file_name().to_owned());
    let names = names.filter(|name| !matches!(name.to_bytes(), b"." | b".." | b"register" | b"status"));
    names.filter_map(|name| Handler::parse(&read(&name)?)).collect()
}

/// Finds QEMU's emulator: one that needs no file of the image it works in.
fn emulator(qemu: &str) -> Option<PathBuf> {
    let names = [format!("{qemu}-binfmt-P"), format!("qemu-{qemu}-static"), format!("qemu-{qemu}")];
    let candidates = names.iter().flat_map(|name| PLACES.iter().map(move |place| Path::new(place).join(name)));
    candidates.into_iter().find(|path| is_static(path))
}

/// Whether a file is a program that needs no other (`PT_INTERP` is named in its head).
fn is_static(path: &Path) -> bool {
    let mut head = [0; 4096];
    let read = File::open(path).and_then(|mut file| file.read(&mut head)).unwrap_or_default();
    head[..read].starts_with(b"\x7fELF") && !head[..read].windows(4).any(|window| window == b"/ld-")
}

fn register(mount: &OwnedFd, line: &str) -> Result<(), Code> {
    let file = openat(mount, "register", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut file = File::from(file);
    file.write_all(line.as_bytes()).map_err(|error| error.raw_os_error().map_or(Code::IO, Code::from_raw_os_error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POF\noffset 0\n\
                          magic 7f454c460201010000000000000000000200b700\n\
                          mask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn a_handler_is_read_as_the_kernel_shows_it() {
        let handler = Handler::parse(DEBIAN).expect("a handler");
        assert_eq!(handler.interpreter, Path::new("/usr/libexec/qemu-binfmt/aarch64-binfmt-P"));
        assert!(handler.open);
        for known in ARCHITECTURES {
            assert_eq!(handler.takes(&known.header()), known.name == "arm64", "{}", known.name);
        }
        assert!(!Handler::parse(&DEBIAN.replace("POF", "P")).expect("a handler").open);
        let by_name = "enabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n";
        for text in [DEBIAN.replace("enabled", "disabled").as_str(), by_name, "", "enabled\n", "enabled\nmagic 7\n"] {
            assert_eq!(Handler::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_architecture_is_registered_as_debian_does() {
        let arm64 = Architecture::find("arm64").expect("known");
        let emulator = Path::new("/usr/libexec/qemu-binfmt/aarch64-binfmt-P");
        let line = arm64.registration(emulator);
        let debian = Handler::parse(DEBIAN).expect("a handler");
        assert!(line.contains(&format!(":{}:{}:", escaped(&debian.magic), escaped(&debian.mask))), "{line}");
        assert!(line.ends_with(":/usr/libexec/qemu-binfmt/aarch64-binfmt-P:PF"), "{line}");
        assert!(arm64.registration(Path::new("/usr/bin/qemu-aarch64-static")).ends_with(":F"));
        let s390x = Architecture::find("s390x").expect("known");
        assert_eq!(
            (s390x.header()[16..20].to_vec(), s390x.mask()[16..18].to_vec()),
            (vec![0, 2, 0, 22], vec![0xff, 0xfe])
        );
    }

    #[test]
    fn no_architecture_is_taken_for_another() {
        for one in ARCHITECTURES {
            let handler = Handler {
                interpreter: "/x".into(),
                open: true,
                offset: 0,
                magic: one.header().to_vec(),
                mask: one.mask().to_vec(),
            };
            let taken: Vec<_> = ARCHITECTURES.iter().filter(|other| handler.takes(&other.header())).collect();
            assert_eq!(taken, [one]);
        }
    }
}
