//! Patterns that names and paths within an image are held against.
//!
//! `*` and `?` stop at slashes, `**` does not, `[..]` is a set (`[!..]` its opposite), `\` quotes.

/// A pattern for paths: one without a slash is held against the last name, one with a slash against the whole path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    typed: Vec<u8>,
    pattern: Vec<u8>,
    whole: bool,
}

impl Glob {
    /// From what was typed; slashes at the ends only say that the whole path is meant.
    pub fn new(typed: &[u8]) -> Self {
        let trimmed = typed.strip_prefix(b"/").unwrap_or(typed);
        let trimmed = trimmed.strip_suffix(b"/").unwrap_or(trimmed);
        Self { typed: typed.to_vec(), pattern: trimmed.to_vec(), whole: typed.contains(&b'/') }
    }

    /// As it was typed.
    pub fn typed(&self) -> &[u8] {
        &self.typed
    }

    /// Whether a path fits.
    pub fn fits(&self, path: &[u8]) -> bool {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        matches(&self.pattern, if self.whole { path } else { name })
    }

    /// A directory in which everything lies that fits; empty when that may be anywhere.
    pub fn directory(&self) -> &[u8] {
        if !self.whole {
            return b"";
        }
        let special = |byte: &u8| b"*?[\\".contains(byte);
        let plain = self.pattern.iter().position(special).unwrap_or(self.pattern.len());
        let slash = self.pattern[..plain].iter().rposition(|byte| *byte == b'/');
        slash.map_or(b"", |slash| &self.pattern[..slash])
    }

    /// So often it may have to be tried anew for one path.
    pub fn widths(&self) -> usize {
        self.pattern.windows(2).filter(|pair| *pair == b"**").count()
    }
}

/// Whether the whole of `text` fits `pattern`. After a failure only the last `*` and the last `**` seen are tried
/// again, so time grows with the product of both lengths (and doubles with each `**/`).
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
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

    /// Goal: a pattern made to be slow is not.
    #[test]
    fn many_stars_stay_quick() {
        let pattern = b"a*".repeat(200);
        let text = b"a".repeat(199);
        assert!(!matches(&pattern, &text));
    }

    #[test]
    fn globs_say_where_to_look() {
        let cases: &[(&str, &str, &str, bool)] = &[
            ("*.conf", "", "etc/a.conf", true),
            ("/etc/*.conf", "etc", "etc/a.conf", true),
            ("/etc/*.conf", "etc", "etc/a/b.conf", false),
            ("etc/ssl/**/key?", "etc/ssl", "etc/ssl/x/y/key1", true),
            ("etc/passwd", "etc", "etc/passwd", true),
            ("/passwd", "", "etc/passwd", false),
            ("**/passwd", "", "etc/passwd", true),
            ("home/\\*/x", "home", "home/*/x", true),
        ];
        for (typed, directory, path, expected) in cases {
            let glob = Glob::new(typed.as_bytes());
            assert_eq!(glob.directory(), directory.as_bytes(), "{typed}");
            assert_eq!(glob.fits(path.as_bytes()), *expected, "{typed} on {path}");
        }
    }
}
