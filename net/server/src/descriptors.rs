//! How many files and connections the server may have open.
//!
//! Each core keeps containers and index runs open beside its connections; the usual soft limit of 1024 is met with a few
//! cores already. The hard limit is the machine's word, the soft one only a habit.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, and says what it is.
pub(crate) fn raise() {
    let before = getrlimit(Resource::Nofile);
    match raise_from(before) {
        Ok(most) => {
            let before = before.current.unwrap_or(u64::MAX);
            tracing::info!(
                most = most.unwrap_or(u64::MAX),
                before,
                "files and connections that may be open at once"
            );
        }
        Err(error) => {
            let most = before.current.unwrap_or(u64::MAX);
            tracing::warn!(%error, most, "the limit of open files and connections stays as it is");
        }
    }
}

/// What it is afterwards; `None` is no limit.
fn raise_from(before: Rlimit) -> io::Result<Option<u64>> {
    let Rlimit { current, maximum } = before;
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(getrlimit(Resource::Nofile).current)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a soft limit below the hard one is no limit. Nothing else of this process needs as many as are left meanwhile.
    #[test]
    fn the_soft_limit_is_raised() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let less = maximum.map_or(1 << 20, |most| most - 1);
        setrlimit(Resource::Nofile, Rlimit { current: Some(less), maximum }).unwrap();
        assert_eq!(raise_from(getrlimit(Resource::Nofile)).unwrap(), maximum);
        assert_eq!(getrlimit(Resource::Nofile), Rlimit { current: maximum, maximum });
    }
}
