//! Names that the store makes up for containers: an adjective and a word from the cooper's shop.

use crate::error::StoreError;
use crate::id::random_bytes;

const ADJECTIVES: [&str; 64] = [
    "airy", "amber", "bold", "brave", "bright", "brisk", "calm", "candid", "careful", "cheery", "clear", "clever",
    "cosy", "crisp", "curious", "dapper", "dry", "eager", "early", "earnest", "fair", "fine", "firm", "fresh",
    "gentle", "glad", "golden", "handy", "hardy", "honest", "jolly", "keen", "kind", "lively", "loyal", "lucid",
    "mellow", "merry", "mild", "modest", "neat", "nimble", "noble", "patient", "plain", "polite", "proud", "quick",
    "quiet", "ready", "round", "rustic", "seasoned", "sharp", "silent", "smooth", "snug", "sober", "solid", "spry",
    "steady", "sturdy", "tidy", "witty",
];

const NOUNS: [&str; 64] = [
    "adze", "anvil", "apple", "ash", "auger", "awl", "axe", "barley", "barrel", "basket", "beech", "bellows", "bench",
    "birch", "bucket", "bung", "butt", "cask", "cedar", "cellar", "chestnut", "chime", "chisel", "cider", "cooper",
    "croze", "divider", "driver", "firkin", "flagon", "forge", "gauge", "grain", "hammer", "hazel", "head", "hogshead",
    "hoop", "jointer", "keg", "kiln", "larch", "lathe", "mallet", "maple", "mill", "oak", "pail", "pin", "pipe",
    "plane", "puncheon", "rivet", "saw", "shaving", "spigot", "stave", "tankard", "tierce", "timber", "tub", "tun",
    "vat", "willow",
];

/// Returns a made-up name, like `steady_cask`.
pub(crate) fn random() -> Result<String, StoreError> {
    let [adjective, noun] = random_bytes::<2>()?.map(|byte| usize::from(byte % 64));
    Ok(format!("{}_{}", ADJECTIVES[adjective], NOUNS[noun]))
}

/// Whether Docker would accept `name` for a container.
pub(crate) fn is_valid(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && (2..=255).contains(&name.len())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_names_are_valid_and_words_are_used_once() {
        for words in [&ADJECTIVES[..], &NOUNS[..]] {
            assert!(words.windows(2).all(|pair| pair[0] < pair[1]), "sorted, so that nothing is there twice");
        }
        assert!(is_valid(&random().expect("the kernel has random bytes")));
    }

    #[test]
    fn names_that_could_be_a_path_or_a_flag_are_refused() {
        for name in ["", "a", "-a", ".a", "a/b", "../x", "a b", "\u{e9}t\u{e9}", &"a".repeat(256)] {
            assert!(!is_valid(name), "{name}");
        }
        assert!(is_valid("builder-1.2_x"));
    }
}
