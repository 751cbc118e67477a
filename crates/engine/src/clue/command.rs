//! A command that is not in the image: which package manager the image has, and which package has the command.

use stave_tree::{Follow, Kind, Layers};

/// Bytes of `/etc/os-release` that are read.
const OS_RELEASE_BYTES_MAX: u64 = 64 * 1024;

/// What installs packages into an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// Debian's and its children's.
    AptGet,
    /// Alpine's.
    Apk,
    /// Fedora's and Red Hat's.
    Dnf,
    /// The small one of Red Hat's minimal images.
    Microdnf,
    /// The old one of Red Hat's and Amazon's.
    Yum,
    /// SUSE's.
    Zypper,
    /// Arch's.
    Pacman,
}

/// A command that is not in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoCommand {
    /// The command, as it was called.
    pub command: String,
    /// What the image installs packages with, if it has that.
    pub manager: Option<Manager>,
    /// The package that has the command there, if that is well known.
    pub package: Option<&'static str>,
    /// Whether the command is another distribution's package manager.
    pub is_manager: bool,
    /// The image's distribution, as it calls itself.
    pub distribution: Option<String>,
    /// The program that needs the command as its interpreter, and the interpreter's path.
    pub needed_by: Option<(String, String)>,
    /// Where the image has the command nevertheless: outside of `PATH`, or elsewhere than it was looked for.
    pub elsewhere: Option<String>,
}

/// A program that is not where it was called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoProgram {
    /// Its absolute path.
    pub path: String,
    /// Whether there is a directory.
    pub is_directory: bool,
    /// Whether it is the shell that the instruction was written for.
    pub is_shell: bool,
    /// What is there and has nearly that path, or the same name elsewhere.
    pub nearest: Option<String>,
}

impl Manager {
    /// All of them with their programs, the more specific one first.
    const PROGRAMS: [(Self, &'static [&'static str]); 7] = [
        (Self::Apk, &["sbin/apk", "usr/sbin/apk", "usr/bin/apk"]),
        (Self::AptGet, &["usr/bin/apt-get", "bin/apt-get"]),
        (Self::Dnf, &["usr/bin/dnf", "bin/dnf"]),
        (Self::Microdnf, &["usr/bin/microdnf"]),
        (Self::Zypper, &["usr/bin/zypper", "bin/zypper"]),
        (Self::Yum, &["usr/bin/yum", "bin/yum"]),
        (Self::Pacman, &["usr/bin/pacman"]),
    ];

    /// Returns the name of its program.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AptGet => "apt-get",
            Self::Apk => "apk",
            Self::Dnf => "dnf",
            Self::Microdnf => "microdnf",
            Self::Yum => "yum",
            Self::Zypper => "zypper",
            Self::Pacman => "pacman",
        }
    }

    /// Returns the instruction that installs a package.
    #[must_use]
    pub fn install(self, package: &str) -> String {
        match self {
            Self::AptGet => format!("RUN apt-get update && apt-get install -y --no-install-recommends {package}"),
            Self::Apk => format!("RUN apk add --no-cache {package}"),
            Self::Dnf | Self::Microdnf | Self::Yum => format!("RUN {} install -y {package}", self.name()),
            Self::Zypper => format!("RUN zypper --non-interactive install {package}"),
            Self::Pacman => format!("RUN pacman -Sy --noconfirm {package}"),
        }
    }

    /// Which of the packages of a row is this one's.
    fn column(self) -> usize {
        match self {
            Self::AptGet => 0,
            Self::Apk => 1,
            Self::Dnf | Self::Microdnf | Self::Yum => 2,
            Self::Zypper => 3,
            Self::Pacman => 4,
        }
    }
}

/// Says what is known about a command that the image `files` does not have.
pub(super) fn find(files: &Layers, command: &str) -> NoCommand {
    let is_file = |path: &&str| files.resolve(path.as_bytes()).is_ok_and(|path| exists(files, &path));
    let manager =
        Manager::PROGRAMS.iter().find(|(_, programs)| programs.iter().any(&is_file)).map(|(manager, _)| *manager);
    let name = command.rsplit('/').next().unwrap_or(command);
    let others = Manager::PROGRAMS.iter().any(|(manager, _)| manager.name() == name || name == "apt");
    NoCommand {
        command: command.to_owned(),
        manager,
        package: manager.and_then(|manager| package(name, manager)),
        is_manager: others,
        distribution: distribution(files),
        needed_by: None,
        elsewhere: None,
    }
}

/// Words of bash's that other shells take for a command.
const OF_BASH: [&str; 14] = [
    "source",
    "[[",
    "((",
    "pushd",
    "popd",
    "dirs",
    "shopt",
    "declare",
    "typeset",
    "function",
    "mapfile",
    "readarray",
    "disown",
    "select",
];

/// Whether a word is none of a program, but of bash.
pub(super) fn is_of_bash(command: &str) -> bool {
    OF_BASH.contains(&command)
}

/// Directories of programs that are often outside of `PATH`; a star is any name.
const ELSEWHERE: [&str; 13] = [
    "usr/local/sbin",
    "usr/local/bin",
    "usr/sbin",
    "usr/bin",
    "sbin",
    "bin",
    "opt/bin",
    "opt/*/bin",
    "usr/local/*/bin",
    "root/.local/bin",
    "root/.cargo/bin",
    "root/go/bin",
    "usr/games",
];

/// Where the image has a program that was looked for in vain: in `cwd`, or where programs are.
pub(super) fn elsewhere(files: &Layers, cwd: &str, name: &str) -> Option<String> {
    let root = files.mounted().ok()?;
    let mut places = vec![cwd.trim_matches('/').to_owned()];
    for place in ELSEWHERE {
        match place.split_once('*') {
            None => places.push(place.to_owned()),
            Some((above, below)) => {
                let mut entries = root.list(above.as_bytes()).unwrap_or_default();
                entries.sort_by(|one, other| one.name.cmp(&other.name));
                let names = entries.iter().map(|entry| String::from_utf8_lossy(&entry.name));
                places.extend(names.map(|name| format!("{above}{name}{below}")));
            }
        }
    }
    let is_program = |path: &String| {
        let metadata = root.metadata(path.as_bytes(), Follow::Yes);
        metadata.is_ok_and(|metadata| metadata.kind == Kind::File && metadata.mode & 0o111 != 0)
    };
    let paths = places.iter().map(|place| if place.is_empty() { name.to_owned() } else { format!("{place}/{name}") });
    paths.into_iter().find(is_program).map(|path| format!("/{path}"))
}

fn exists(files: &Layers, path: &[u8]) -> bool {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    files.metadata(path).is_ok_and(|metadata| metadata.is_some())
}

/// The name that the image gives itself.
fn distribution(files: &Layers) -> Option<String> {
    let read = |path: &[u8]| files.read_file(path, OS_RELEASE_BYTES_MAX).ok();
    let text = read(b"etc/os-release").or_else(|| read(b"usr/lib/os-release"))?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let value = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        let found = found.trim().trim_matches(['"', '\'']);
        (!found.is_empty()).then(|| found.chars().filter(|character| !character.is_control()).take(60).collect())
    };
    value("PRETTY_NAME").or_else(|| value("NAME"))
}

/// Well-known commands and the packages that have them: Debian, Alpine, Fedora, SUSE, Arch. An empty package is unknown.
const PACKAGES: [(&str, [&str; 5]); 62] = [
    ("awk", ["gawk", "gawk", "gawk", "gawk", "gawk"]),
    ("bash", ["bash", "bash", "bash", "bash", "bash"]),
    ("bzip2", ["bzip2", "bzip2", "bzip2", "bzip2", "bzip2"]),
    ("cargo", ["cargo", "cargo", "cargo", "cargo", "rust"]),
    ("cc", ["gcc", "build-base", "gcc", "gcc", "gcc"]),
    ("clang", ["clang", "clang", "clang", "clang", "clang"]),
    ("cmake", ["cmake", "cmake", "cmake", "cmake", "cmake"]),
    ("composer", ["composer", "composer", "composer", "php-composer2", "composer"]),
    ("crontab", ["cron", "dcron", "cronie", "cronie", "cronie"]),
    ("curl", ["curl", "curl", "curl", "curl", "curl"]),
    ("diff", ["diffutils", "diffutils", "diffutils", "diffutils", "diffutils"]),
    ("dig", ["dnsutils", "bind-tools", "bind-utils", "bind-utils", "bind"]),
    ("envsubst", ["gettext-base", "gettext-envsubst", "gettext", "gettext-runtime", "gettext"]),
    ("ffmpeg", ["ffmpeg", "ffmpeg", "ffmpeg-free", "ffmpeg", "ffmpeg"]),
    ("file", ["file", "file", "file", "file", "file"]),
    ("find", ["findutils", "findutils", "findutils", "findutils", "findutils"]),
    ("g++", ["g++", "g++", "gcc-c++", "gcc-c++", "gcc"]),
    ("gcc", ["gcc", "build-base", "gcc", "gcc", "gcc"]),
    ("git", ["git", "git", "git", "git", "git"]),
    ("go", ["golang-go", "go", "golang", "go", "go"]),
    ("gpg", ["gnupg", "gnupg", "gnupg2", "gpg2", "gnupg"]),
    ("gzip", ["gzip", "gzip", "gzip", "gzip", "gzip"]),
    ("ip", ["iproute2", "iproute2", "iproute", "iproute2", "iproute2"]),
    (
        "java",
        [
            "default-jre-headless",
            "openjdk21-jre-headless",
            "java-latest-openjdk-headless",
            "java-21-openjdk-headless",
            "jre-openjdk-headless",
        ],
    ),
    (
        "javac",
        ["default-jdk-headless", "openjdk21-jdk", "java-latest-openjdk-devel", "java-21-openjdk-devel", "jdk-openjdk"],
    ),
    ("jq", ["jq", "jq", "jq", "jq", "jq"]),
    ("less", ["less", "less", "less", "less", "less"]),
    ("lsb_release", ["lsb-release", "lsb-release-minimal", "", "lsb-release", "lsb-release"]),
    ("make", ["make", "make", "make", "make", "make"]),
    ("mysql", ["default-mysql-client", "mysql-client", "mysql", "mariadb-client", "mariadb-clients"]),
    ("nano", ["nano", "nano", "nano", "nano", "nano"]),
    ("nc", ["netcat-openbsd", "netcat-openbsd", "nmap-ncat", "netcat-openbsd", "openbsd-netcat"]),
    ("netstat", ["net-tools", "net-tools", "net-tools", "net-tools", "net-tools"]),
    ("ninja", ["ninja-build", "ninja-build", "ninja-build", "ninja", "ninja"]),
    ("node", ["nodejs", "nodejs", "nodejs", "nodejs", "nodejs"]),
    ("npm", ["npm", "npm", "nodejs-npm", "npm", "npm"]),
    ("openssl", ["openssl", "openssl", "openssl", "openssl", "openssl"]),
    ("patch", ["patch", "patch", "patch", "patch", "patch"]),
    ("perl", ["perl", "perl", "perl", "perl", "perl"]),
    ("php", ["php-cli", "php", "php-cli", "php8-cli", "php"]),
    ("ping", ["iputils-ping", "iputils", "iputils", "iputils", "iputils"]),
    ("pip", ["python3-pip", "py3-pip", "python3-pip", "python3-pip", "python-pip"]),
    ("pip3", ["python3-pip", "py3-pip", "python3-pip", "python3-pip", "python-pip"]),
    ("pkg-config", ["pkg-config", "pkgconf", "pkgconf-pkg-config", "pkg-config", "pkgconf"]),
    ("ps", ["procps", "procps", "procps-ng", "procps", "procps-ng"]),
    ("psql", ["postgresql-client", "postgresql-client", "postgresql", "postgresql", "postgresql-libs"]),
    ("python", ["python-is-python3", "python3", "python3", "python3", "python"]),
    ("python3", ["python3", "python3", "python3", "python3", "python"]),
    ("rsync", ["rsync", "rsync", "rsync", "rsync", "rsync"]),
    ("ruby", ["ruby", "ruby", "ruby", "ruby", "ruby"]),
    ("ssh", ["openssh-client", "openssh-client", "openssh-clients", "openssh-clients", "openssh"]),
    ("sudo", ["sudo", "sudo", "sudo", "sudo", "sudo"]),
    ("tar", ["tar", "tar", "tar", "tar", "tar"]),
    ("tree", ["tree", "tree", "tree", "tree", "tree"]),
    ("unzip", ["unzip", "unzip", "unzip", "unzip", "unzip"]),
    ("useradd", ["passwd", "shadow", "shadow-utils", "shadow", "shadow"]),
    ("vim", ["vim", "vim", "vim-enhanced", "vim", "vim"]),
    ("wget", ["wget", "wget", "wget", "wget", "wget"]),
    ("which", ["debianutils", "which", "which", "which", "which"]),
    ("xz", ["xz-utils", "xz", "xz", "xz", "xz"]),
    ("zip", ["zip", "zip", "zip", "zip", "zip"]),
    ("zstd", ["zstd", "zstd", "zstd", "zstd", "zstd"]),
];

fn package(command: &str, manager: Manager) -> Option<&'static str> {
    let at = PACKAGES.binary_search_by(|(name, _)| name.cmp(&command)).ok()?;
    Some(PACKAGES[at].1[manager.column()]).filter(|package| !package.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_the_managers_own() {
        assert!(PACKAGES.is_sorted_by_key(|(name, _)| *name));
        assert_eq!(package("curl", Manager::Apk), Some("curl"));
        assert_eq!(package("gcc", Manager::Apk), Some("build-base"));
        assert_eq!(package("xz", Manager::AptGet), Some("xz-utils"));
        assert_eq!(package("ps", Manager::Microdnf), Some("procps-ng"));
        assert_eq!(package("lsb_release", Manager::Dnf), None);
        assert_eq!(package("my-own-tool", Manager::Apk), None);
    }
}
