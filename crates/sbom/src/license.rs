//! Tells whether what a package says of its licence is an expression of SPDX, or a text of its own.
//!
//! Reference: SPDX 2.3, annex D, "SPDX license expressions".

/// Licences of the SPDX list that packages have most. A licence that is not among them is still in a document: in the
/// package's own words.
const KNOWN: &[&str] = &[
    "0BSD",
    "AFL-2.1",
    "AFL-3.0",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-1.1",
    "Apache-2.0",
    "Artistic-1.0",
    "Artistic-1.0-Perl",
    "Artistic-2.0",
    "BlueOak-1.0.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-2-Clause-Patent",
    "BSD-3-Clause",
    "BSD-3-Clause-LBNL",
    "BSD-4-Clause",
    "BSD-4-Clause-UC",
    "BSD-Source-Code",
    "BSL-1.0",
    "bzip2-1.0.6",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "CDDL-1.0",
    "CPL-1.0",
    "curl",
    "EPL-1.0",
    "EPL-2.0",
    "EUPL-1.2",
    "FSFAP",
    "FSFUL",
    "FSFULLR",
    "FTL",
    "GFDL-1.1-or-later",
    "GFDL-1.3-only",
    "GFDL-1.3-or-later",
    "GPL-1.0-only",
    "GPL-1.0-or-later",
    "GPL-2.0",
    "GPL-2.0+",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0",
    "GPL-3.0+",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "HPND",
    "ICU",
    "IJG",
    "ISC",
    "LGPL-2.0-only",
    "LGPL-2.0-or-later",
    "LGPL-2.1",
    "LGPL-2.1+",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "Libpng",
    "libpng-2.0",
    "libtiff",
    "MIT",
    "MIT-0",
    "MIT-CMU",
    "MPL-1.1",
    "MPL-2.0",
    "MulanPSL-2.0",
    "NCSA",
    "OFL-1.1",
    "OLDAP-2.8",
    "OpenSSL",
    "PostgreSQL",
    "PSF-2.0",
    "Python-2.0",
    "Ruby",
    "Sleepycat",
    "SMLNJ",
    "SSH-OpenSSH",
    "TCL",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "UPL-1.0",
    "Vim",
    "W3C",
    "WTFPL",
    "X11",
    "Zlib",
    "ZPL-2.1",
    "zlib-acknowledgement",
];

/// Exceptions that can follow `WITH`.
const EXCEPTIONS: &[&str] = &[
    "Autoconf-exception-2.0",
    "Autoconf-exception-3.0",
    "Bison-exception-2.2",
    "Classpath-exception-2.0",
    "GCC-exception-2.0",
    "GCC-exception-3.1",
    "Libtool-exception",
    "Linux-syscall-note",
    "LLVM-exception",
    "OpenSSL-exception",
    "openvpn-openssl-exception",
];

/// Whether `text` is an expression whose licences are all known.
pub(crate) fn is_expression(text: &str) -> bool {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let mut depth = 0_usize;
    // Whether a licence comes next, or what joins two.
    let mut licence_next = true;
    let mut exception_next = false;
    for word in spaced.split_whitespace() {
        match word {
            "(" if licence_next && !exception_next => depth += 1,
            ")" if !licence_next && depth > 0 => depth -= 1,
            "AND" | "OR" if !licence_next => licence_next = true,
            "WITH" if !licence_next => (licence_next, exception_next) = (true, true),
            word if licence_next => {
                let known = if exception_next { EXCEPTIONS } else { KNOWN };
                if !known.contains(&word) {
                    return false;
                }
                (licence_next, exception_next) = (false, false);
            }
            _ => return false,
        }
    }
    depth == 0 && !licence_next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_has_known_licences_and_what_joins_them() {
        for text in ["MIT", "MIT OR Apache-2.0", "(GPL-2.0-or-later WITH GCC-exception-3.1) AND (MIT OR ISC)"] {
            assert!(is_expression(text), "{text}");
        }
        for text in ["", "GPLv2+", "MIT OR", "OR MIT", "(MIT", "MIT)", "MIT ISC", "custom", "MIT WITH MIT", "MIT (ISC)"]
        {
            assert!(!is_expression(text), "{text}");
        }
    }
}
