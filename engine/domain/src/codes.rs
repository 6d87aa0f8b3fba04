//! Every code with which the domain refuses something, and the rule behind it.
//!
//! Codes are stable: they appear in replies, in `--json` output and in logs. A code is here before it is raised,
//! and each has a row in the tables of the live tests that asserts it from a running server's reply; `tests/tidy`
//! holds both against this list.

/// A code, and what is refused with it or waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The code.
    pub code: &'static str,
    /// The rule in one sentence.
    pub rule: &'static str,
}

const fn code(code: &'static str, rule: &'static str) -> Code {
    Code { code, rule }
}

/// All of them, by family.
pub const CODES: &[Code] = &[
    code("SLP-001", "an SLP begins with a Backup or an Import"),
    code("SLP-002", "an SLP has at most one Import, first and without source"),
    code("SLP-003", "Backup and Import exclude one another, and there are at most four Backups"),
    code("SLP-004", "an operation's source exists, can feed it and makes no loop"),
    code("SLP-005", "what is replicated lies in one exact storage unit, and stays there"),
    code("SLP-006", "a pool replicates where it has a replication target on similar storage"),
    code("SLP-007", "an image on a spanning pool is not replicated"),
    code("SLP-008", "a Replication goes to a paired domain whose import SLP takes it"),
    code("SLP-009", "data classifications of both sides are equal, or the import takes any"),
    code("SLP-010", "an import SLP has an operation of target retention, and no other SLP has one"),
    code("SLP-011", "expire-after-copy has copies to wait for, and leaves one here unless that is accepted"),
    code("SLP-012", "a copy here has a life of its own, within the lock range of its volume"),
    code("SLP-013", "what is named exists, and is named once"),
    code(
        "SLP-014",
        "what is referred to is neither renamed, reclassified nor deleted, nor lessened in place",
    ),
    code("SLP-015", "a policy and its SLP have the same data classification"),
    code("SLP-016", "an SLP that replicates has no synthetic schedule"),
    code("SLP-017", "an SLP sends an image to a domain at most once"),
    code("TOPO-001", "a replication target is not storage of the source's own domain"),
    code("TRUST-001", "work between domains needs a pairing that is complete on both sides"),
    code("TRUST-002", "a domain's name is unique where it is known"),
    code("TRUST-003", "a domain is alive once, and its incarnation does not fall"),
    code("AIR-001", "an image from the future by over two seconds waits for the clock"),
    code("AIR-002", "an import goes through an SLP that exists"),
    code("AIR-003", "an image's data classification is that of its import SLP"),
    code("AIR-004", "an import SLP begins with an Import whose storage includes the receiving volume"),
    code("AIR-005", "an image's identity stands for one content"),
    code("AIR-006", "an image that has expired on arrival is not imported"),
    code("AIR-007", "an image of a newer format is kept and not restored"),
    code("AIR-008", "a restore goes to a client of the restoring domain"),
    code("AIR-009", "an image made by a synthetic backup is not replicated"),
    code("AIR-010", "an image on a spanning pool is not replicated"),
    code("AIR-011", "an image from the future by over a day is not imported"),
    code("AIR-012", "an image's origin is proved by its signature, and relayed with a grant"),
];
