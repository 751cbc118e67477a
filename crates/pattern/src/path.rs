//! Paths as text: nothing is looked up.

/// Returns the shortest path that means the same: without empty components, `.`, and `..` where something stands
/// before it; `..` at the root is dropped, and nothing at all is `.`. A slash at the end is dropped too.
///
/// Reference: Go's `path.Clean`.
#[must_use]
pub fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.first() == Some(&b'/');
    let mut kept: Vec<&[u8]> = Vec::new();
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if kept.last().is_some_and(|&last| last != b"..") => {
                kept.pop();
            }
            b".." if rooted => {}
            other => kept.push(other),
        }
    }
    let joined = kept.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_keeps_the_meaning() {
        for (path, expected) in [
            ("", "."),
            (".", "."),
            ("./a//b/", "a/b"),
            ("a/../b", "b"),
            ("a/..", "."),
            ("../a", "../a"),
            ("a/../../b", "../b"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("//a/./b/..", "/a"),
        ] {
            assert_eq!(String::from_utf8_lossy(&clean(path.as_bytes())), expected, "{path}");
        }
    }
}
