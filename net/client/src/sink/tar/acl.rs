//! Access control lists: from what the kernel keeps to the text that a tar holds. No I/O.

/// The only version there is.
const VERSION: u32 = 2;

const READ: u16 = 4;
const WRITE: u16 = 2;
const EXECUTE: u16 = 1;

/// The list of a `system.posix_acl_*` attribute as `user::rwx,user:1000:r--,...`, with numeric owners; `None` if it is none.
pub(super) fn text(attribute: &[u8]) -> Option<String> {
    let (version, entries) = attribute.split_first_chunk()?;
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != VERSION || entries.is_empty() || !rest.is_empty() {
        return None;
    }
    entries.iter().copied().map(entry).collect::<Option<Vec<_>>>().map(|entries| entries.join(","))
}

fn entry([tag, tag_high, permissions, permissions_high, id @ ..]: [u8; 8]) -> Option<String> {
    let id = u32::from_le_bytes(id);
    let (who, is_named) = match u16::from_le_bytes([tag, tag_high]) {
        0x01 => ("user", false),
        0x02 => ("user", true),
        0x04 => ("group", false),
        0x08 => ("group", true),
        0x10 => ("mask", false),
        0x20 => ("other", false),
        _ => return None,
    };
    let permissions = u16::from_le_bytes([permissions, permissions_high]);
    let letter = |bit, letter| if permissions & bit == 0 { '-' } else { letter };
    let (read, write, execute) = (letter(READ, 'r'), letter(WRITE, 'w'), letter(EXECUTE, 'x'));
    let name = if is_named { id.to_string() } else { String::new() };
    Some(format!("{who}:{name}:{read}{write}{execute}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut list = VERSION.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            list.extend(tag.to_le_bytes());
            list.extend(permissions.to_le_bytes());
            list.extend(id.to_le_bytes());
        }
        list
    }

    #[test]
    fn lists_become_text() {
        let none = u32::MAX;
        let whole =
            list(&[(1, 7, none), (2, 6, 1000), (4, 5, none), (8, 1, 7), (16, 7, none), (32, 0, none)]);
        let expected = "user::rwx,user:1000:rw-,group::r-x,group:7:--x,mask::rwx,other::---";
        assert_eq!(text(&whole).as_deref(), Some(expected));
        for bad in
            [&[][..], &whole[..3], &whole[..4], &whole[..whole.len() - 1], &[&[3], &whole[1..]].concat()]
        {
            assert_eq!(text(bad), None);
        }
        assert_eq!(text(&list(&[(3, 7, none)])), None);
    }
}
