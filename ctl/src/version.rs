//! Which program this is and what it understands.

use std::sync::LazyLock;

/// The version alone.
pub(crate) const SHORT: &str = env!("CARGO_PKG_VERSION");

/// With the commit (when the build was told: `NARROWS_COMMIT`) and the formats.
pub(crate) fn long() -> &'static str {
    static LONG: LazyLock<String> = LazyLock::new(text);
    &LONG
}

fn text() -> String {
    format!(
        "{SHORT}\ncommit: {}\nwire: {}..{}\nimage format: {}",
        option_env!("NARROWS_COMMIT").unwrap_or("unknown"),
        narrows_client::WIRE_VERSION_MIN,
        narrows_client::WIRE_VERSION_MAX,
        narrows_format::node::VERSION,
    )
}
