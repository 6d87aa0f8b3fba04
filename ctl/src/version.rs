//! Which program this is and what it understands.

use std::sync::LazyLock;

/// The version alone.
pub(crate) const SHORT: &str = env!("CARGO_PKG_VERSION");

/// With the commit and the formats.
pub(crate) fn long() -> &'static str {
    static LONG: LazyLock<String> = LazyLock::new(text);
    &LONG
}

fn text() -> String {
    format!(
        "{SHORT}\ncommit: {}\nwire format: {}..{}\npool format: {}\nimage format: {}",
        env!("NARROWS_COMMIT"),
        narrows_client::WIRE_VERSION_MIN,
        narrows_client::WIRE_VERSION_MAX,
        narrows_format::superblock::VERSION,
        narrows_format::node::VERSION,
    )
}
