//! Patterns of `--exclude`: what a backup leaves out.
//!
//! A pattern without a slash is held against every single name, one with a slash against the whole path within
//! the image; see [`narrows_pool::recipe::glob`].

use narrows_pool::recipe::glob::matches;

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
}
