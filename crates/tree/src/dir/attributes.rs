//! Extended attributes of open files and directories.
//!
//! Symbolic links, pipes, sockets and devices have none here: Linux allows only `security.*` and `trusted.*` on them,
//! and of those no image keeps any.

use std::os::fd::AsFd;

use rustix::buffer::spare_capacity;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::limits::{XATTR_BYTES_MAX, XATTR_LIST_BYTES_MAX};

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xattr {
    /// The name with its namespace, such as `user.note`.
    pub name: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// The attribute that holds a program's file capabilities.
pub(crate) const CAPABILITY: &[u8] = b"security.capability";

/// Tells whether an attribute belongs to a file's content, so that copies and images keep it: file capabilities and what
/// users set. Labels of the host's security module, ACLs and overlayfs's own notes do not.
#[must_use]
pub fn kept_xattr(name: &[u8]) -> bool {
    name == CAPABILITY || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

/// Returns the names of all attributes as the kernel gives them: each ended by a zero byte.
pub(crate) fn xattr_names(file: impl AsFd) -> Result<Vec<u8>, Errno> {
    let mut first = [0_u8; 256];
    match rustix::fs::flistxattr(file.as_fd(), &mut first) {
        Ok(length) => return Ok(first[..length].to_vec()),
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error),
    }
    let mut names = Vec::with_capacity(XATTR_LIST_BYTES_MAX);
    rustix::fs::flistxattr(file, spare_capacity(&mut names))?;
    Ok(names)
}

/// Returns the attributes that copies and images keep, sorted by name.
pub(crate) fn list_xattrs(file: impl AsFd) -> Result<Vec<Xattr>, Errno> {
    let names = xattr_names(file.as_fd())?;
    let mut xattrs = Vec::new();
    for name in names.split(|&byte| byte == 0).filter(|name| kept_xattr(name)) {
        let mut value = Vec::with_capacity(XATTR_BYTES_MAX);
        match rustix::fs::fgetxattr(file.as_fd(), name, spare_capacity(&mut value)) {
            Ok(_) => {}
            Err(Errno::NODATA) => continue,
            Err(error) => return Err(error),
        }
        value.shrink_to_fit();
        if name == CAPABILITY {
            value = capability_without_owner(value);
        }
        xattrs.push(Xattr { name: name.to_vec(), value });
    }
    xattrs.sort_unstable();
    Ok(xattrs)
}

/// Sets an attribute of an open file or directory.
pub(crate) fn set_xattr(file: impl AsFd, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())
}

/// Turns version 3 of `security.capability` (which names the user namespace's root on this host) into version 2, so that
/// an image made without root has the same bytes.
///
/// Reference: capabilities(7), "File capability extended attribute versioning".
pub(crate) fn capability_without_owner(mut value: Vec<u8>) -> Vec<u8> {
    const REVISION_MASK: u8 = 0xff;
    if value.len() == 24 && value[3] & REVISION_MASK == 3 {
        value[3] = 2;
        value.truncate(20);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capability_version_3_becomes_version_2() {
        let mut third = vec![1, 0, 0, 3];
        third.extend_from_slice(&[9; 16]);
        third.extend_from_slice(&1000_u32.to_le_bytes());
        let mut second = vec![1, 0, 0, 2];
        second.extend_from_slice(&[9; 16]);
        assert_eq!(capability_without_owner(third), second);
        assert_eq!(capability_without_owner(second.clone()), second);
    }

    #[test]
    fn only_what_belongs_to_the_content_is_kept() {
        for name in ["security.capability", "user.x", "user.overlayx"] {
            assert!(kept_xattr(name.as_bytes()), "{name}");
        }
        for name in ["security.selinux", "trusted.overlay.opaque", "user.overlay.opaque", "system.posix_acl_access", ""]
        {
            assert!(!kept_xattr(name.as_bytes()), "{name}");
        }
    }
}
