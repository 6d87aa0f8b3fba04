//! Every code of the specification's families, and the rule behind it: with which the domain, the wire and the pool refuse
//! something, or have it wait.
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
    // An SLP is known by its name alone: under another name it is another SLP, and the one before goes only by a deletion.
    code("SLP-014", "what is referred to is neither reclassified nor deleted, nor lessened in place"),
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
    code("AUTH-001", "who asks shows a certificate that is known here, or a token"),
    code("AUTH-002", "a certificate has not expired"),
    code("AUTH-003", "a certificate was not revoked"),
    code("AUTH-004", "a token is known, unused and young enough"),
    code("AUTH-005", "who asks has the grant or the role"),
    code("AUTH-006", "the other side's CA is the one that was named"),
    code("WIRE-001", "both sides speak one version"),
    code("WIRE-002", "a message is well formed and stands where it may"),
    code("WIRE-003", "a length, a count or a depth is within its limit"),
    code("WIRE-004", "bytes have the fingerprint that they were asked for by"),
    code("WIRE-005", "possession of what is referred to was shown"),
    code("WIRE-006", "a tree is whole when it is committed"),
    code("POOL-001", "stored bytes are what they were"),
    code("POOL-002", "there is room"),
    code("POOL-003", "the device does what it is told"),
    code("POOL-004", "no write or sync has failed since the pool was opened"),
    code("POOL-005", "a format is one that this version knows"),
];
