//! Paths inside an image: which are legal, and their order.
//!
//! A path is bytes: components joined by `/`, no slash at either end; empty for the root directory.
//! Order is by component, as if `/` were the smallest byte, so that a directory is one span. What a
//! path may do on the file system where it is restored is not decided here.

use crate::limits::PATH_BYTES_MAX;
use std::cmp::Ordering;

/// Whether `path` may stand in an image: within the limit, no component empty, `.`, `..`, or with NUL.
pub fn is_legal(path: &[u8]) -> bool {
    path.is_empty() || (path.len() <= PATH_BYTES_MAX && path.split(|b| *b == b'/').all(is_legal_component))
}

fn is_legal_component(component: &[u8]) -> bool {
    !component.is_empty() && component != b"." && component != b".." && !component.contains(&0)
}

/// The order of entries in an image.
pub fn order(left: &[u8], right: &[u8]) -> Ordering {
    let shared = shared_prefix(left, right);
    let rank = |path: &[u8]| path.get(shared).map(|&b| if b == b'/' { 0 } else { b });
    rank(left).cmp(&rank(right))
}

/// Bytes that both start with.
pub fn shared_prefix(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the order equals that of lists of components. Method: compare both over small words.
    #[test]
    fn order_is_by_component() {
        let words: Vec<Vec<u8>> =
            ["", "a", "a/b", "a/b/c", "a b", "a.b", "a-", "b", "ab", "a/c", "a!", "a/!"]
                .iter()
                .map(|w| w.as_bytes().to_vec())
                .collect();
        let components = |w: &[u8]| -> Vec<Vec<u8>> {
            if w.is_empty() { Vec::new() } else { w.split(|b| *b == b'/').map(<[u8]>::to_vec).collect() }
        };
        for left in &words {
            for right in &words {
                assert_eq!(
                    order(left, right),
                    components(left).cmp(&components(right)),
                    "{left:?} against {right:?}"
                );
            }
        }
    }

    #[test]
    fn illegal_paths_are_refused() {
        for bad in ["/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\0b"] {
            assert!(!is_legal(bad.as_bytes()), "{bad:?}");
        }
        for good in ["", "a", "...", "a/.b", "a\nb", "..a/b.."] {
            assert!(is_legal(good.as_bytes()), "{good:?}");
        }
        assert!(!is_legal(&vec![b'a'; PATH_BYTES_MAX + 1]));
    }
}
