//! Patterns of `--exclude`: what a backup leaves out.
//!
//! A pattern without a slash is held against every single name, one with a slash against the whole path within
//! the image. `*` and `?` stop at slashes, `**` does not, `[..]` is a set (`[!..]` its opposite), `\` quotes.

/// Patterns in the order given.
#[derive(Clone, Debug, Default)]
pub struct Excludes {
    names: Vec<Vec<u8>>,
    paths: Vec<Vec<u8>>,
}

impl Excludes {
    /// Sorts the patterns by what they are held against.
    pub fn new(patterns: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut excludes = Self::default();
        for pattern in patterns {
            let trimmed = pattern.strip_suffix(b"/").unwrap_or(&pattern);
            if trimmed.contains(&b'/') {
                excludes.paths.push(trimmed.strip_prefix(b"/").unwrap_or(trimmed).to_vec());
            } else {
                excludes.names.push(trimmed.to_vec());
            }
        }
        excludes
    }

    /// Whether an object, and all below it, is left out.
    pub fn leaves_out(&self, path: &[u8]) -> bool {
        let name = crate::beneath::split_name(path).1;
        self.names.iter().any(|pattern| matches(pattern, name))
            || self.paths.iter().any(|pattern| matches(pattern, path))
    }
}

/// Whether the whole of `text` fits `pattern`. After a failure only the last `*` and the last `**` seen are tried
/// again, so time grows with the product of both lengths (and doubles with each `**/`).
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on after a mismatch: (pattern position after the star, text position it has eaten up to).
    let mut narrow: Option<(usize, usize)> = None;
    let mut wide: Option<(usize, usize)> = None;
    loop {
        if pattern[p..].starts_with(b"**") {
            p += 2;
            // `**/` also fits no directory at all.
            wide = Some((p, t));
            narrow = None;
            if pattern.get(p) == Some(&b'/') && matches(&pattern[p + 1..], &text[t..]) {
                return true;
            }
            continue;
        }
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            narrow = Some((p, t));
            continue;
        }
        if p == pattern.len() && t == text.len() {
            return true;
        }
        if let Some(length) = text.get(t).and_then(|byte| fits_one(&pattern[p..], *byte)) {
            p += length;
            t += 1;
            continue;
        }
        match (narrow, wide) {
            (Some((after, eaten)), _) if eaten < text.len() && text[eaten] != b'/' => {
                narrow = Some((after, eaten + 1));
                (p, t) = (after, eaten + 1);
            }
            (_, Some((after, eaten))) if eaten < text.len() => {
                narrow = None;
                wide = Some((after, eaten + 1));
                (p, t) = (after, eaten + 1);
            }
            _ => return false,
        }
    }
}

/// Length of the pattern's first element when it fits `byte`.
fn fits_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => (byte != b'/').then_some(1),
        b'\\' if pattern.len() > 1 => (pattern[1] == byte).then_some(2),
        b'[' => match set_end(pattern) {
            Some(end) => (byte != b'/' && in_set(&pattern[1..end], byte)).then_some(end + 1),
            None => (byte == b'[').then_some(1),
        },
        plain => (plain == byte).then_some(1),
    }
}

/// Position of the `]` that ends the set at the beginning of `pattern`.
fn set_end(pattern: &[u8]) -> Option<usize> {
    let negated = pattern.get(1).is_some_and(|byte| matches!(byte, b'!' | b'^'));
    let first = if negated { 3 } else { 2 };
    pattern.iter().skip(first).position(|byte| *byte == b']').map(|at| at + first)
}

fn in_set(set: &[u8], byte: u8) -> bool {
    let (negated, mut members) = match set.first() {
        Some(b'!' | b'^') => (true, &set[1..]),
        _ => (false, set),
    };
    let mut found = false;
    while let Some(first) = members.first() {
        if members.len() >= 3 && members[1] == b'-' {
            found |= (*first..=members[2]).contains(&byte);
            members = &members[3..];
        } else {
            found |= *first == byte;
            members = &members[1..];
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_what_they_say() {
        let cases: &[(&str, &str, bool)] = &[
            ("*.o", "main.o", true),
            ("*.o", "a/b/main.o", true),
            ("*.o", "main.oo", false),
            ("target", "a/target", true),
            ("target", "targets", false),
            ("/target", "target", true),
            ("/a/target", "a/target", true),
            ("/a/target", "b/a/target", false),
            ("a/*/c", "a/b/c", true),
            ("a/*/c", "a/b/b/c", false),
            ("a/**/c", "a/b/b/c", true),
            ("a/**/c", "a/c", true),
            ("**/x*y", "q/r/xzzy", true),
            ("**/x*y", "q/r/xzz/y", false),
            ("?[a-c]", "zb", true),
            ("?[!a-c]", "zb", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("[", "[", true),
            ("a*b*c", "aXbXbXc", true),
        ];
        for (pattern, path, expected) in cases {
            let excludes = Excludes::new([pattern.as_bytes().to_vec()]);
            assert_eq!(excludes.leaves_out(path.as_bytes()), *expected, "{pattern} on {path}");
        }
    }

    /// Goal: a pattern made to be slow is not.
    #[test]
    fn many_stars_stay_quick() {
        let pattern = b"a*".repeat(200);
        let text = b"a".repeat(199);
        assert!(!matches(&pattern, &text));
    }
}
