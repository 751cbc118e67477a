//! Addresses without the credentials that they carry: for people, for keys, and in a text whose places are to stay.

/// Returns `url` as it can be shown: what is in front of the host's `@` becomes `xxxxx`. An address for `ssh`, whose user
/// is no secret, keeps it.
#[must_use]
pub fn redacted(url: &str) -> String {
    replace_credentials(url, "xxxxx", "xxxxx:xxxxx")
}

/// Returns `text`, in which there may be addresses, with all of them [`redacted`].
#[must_use]
pub fn redacted_text(text: &str) -> String {
    each_address(text, redacted)
}

/// Returns `text`, in which there may be addresses, with all of them [`redacted`] and their queries, which often carry a
/// signature, as `?...`.
#[must_use]
pub fn redacted_text_without_queries(text: &str) -> String {
    each_address(text, |url| {
        let url = redacted(url);
        let Some((place, rest)) = url.split_once('?') else { return url };
        // Messages have addresses between backticks.
        let fragment = rest.find(['#', '`']).map_or("", |at| &rest[at..]);
        format!("{place}?...{fragment}")
    })
}

/// Returns `text`, in which there may be addresses, with each byte of their credentials replaced by an `x`: what stands at
/// an offset stands there still.
#[must_use]
pub fn masked_text(text: &str) -> String {
    each_address(text, masked)
}

/// Returns the text with `change` made to each address in it.
fn each_address(text: &str, change: impl Fn(&str) -> String) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(colon) = rest.find("://") {
        let letters = |char: char| char.is_ascii_alphanumeric() || "+-.".contains(char);
        let start = rest[..colon].rfind(|char| !letters(char)).map_or(0, |at| at + 1);
        let start = if rest.is_char_boundary(start) { start } else { colon };
        let ends = |char: char| char.is_whitespace() || "\"',]".contains(char);
        let end = rest[colon..].find(ends).map_or(rest.len(), |length| colon + length);
        out.push_str(&rest[..start]);
        out.push_str(&change(&rest[start..end]));
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

fn masked(url: &str) -> String {
    let plain = || url.to_owned();
    let Some((scheme, rest)) = url.split_once("://") else { return plain() };
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let Some((credentials, _)) = authority.rsplit_once('@') else { return plain() };
    // The user of an SSH address is no secret.
    let kept = match credentials.find(':') {
        Some(colon) if scheme.eq_ignore_ascii_case("ssh") => colon + 1,
        None if scheme.eq_ignore_ascii_case("ssh") => credentials.len(),
        _ => 0,
    };
    let begin = scheme.len() + "://".len();
    let hidden = "x".repeat(credentials.len() - kept);
    format!("{}{hidden}{}", &url[..begin + kept], &url[begin + credentials.len()..])
}

/// Returns `url` without user and password, so that the same place is the same text whoever asks.
#[must_use]
pub fn without_credentials(url: &str) -> String {
    replace_credentials(url, "", "")
}

fn replace_credentials(url: &str, user: &str, user_and_password: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let Some((credentials, host)) = authority.rsplit_once('@') else { return url.to_owned() };
    let has_password = credentials.contains(':');
    if scheme.eq_ignore_ascii_case("ssh") {
        let user = credentials.split(':').next().unwrap_or_default();
        let hidden = if has_password && !user_and_password.is_empty() { ":xxxxx" } else { "" };
        return format!("{scheme}://{user}{hidden}@{host}{path}");
    }
    match if has_password { user_and_password } else { user } {
        "" => format!("{scheme}://{host}{path}"),
        shown => format!("{scheme}://{shown}@{host}{path}"),
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masking_moves_nothing() {
        for (text, expected) in [
            ("ADD https://me:geh\u{e9}im@h/x https://h/y", "ADD https://xxxxxxxxxx@h/x https://h/y"),
            ("git clone ssh://git@h/r ssh://git:pw@h/r", "git clone ssh://git@h/r ssh://git:xx@h/r"),
            ("no address: a@b", "no address: a@b"),
        ] {
            assert_eq!(masked_text(text), expected);
            assert_eq!(masked_text(text).len(), text.len());
        }
    }
}
