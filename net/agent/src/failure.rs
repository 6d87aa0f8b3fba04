//! How commands fail: one shape towards people and programs, one table of local codes.

use std::{fmt, io, path::Path};

use narrows_api::{ApiError, ExitCode};
use narrows_client::{ExchangeError, backup::BackupError, restore::RestoreError};

/// Codes of failures on this side of the wire. Those of servers are in the domain specification.
pub mod codes {
    /// A local file or directory could not be read or written.
    pub const FILE: &str = "LOCAL-001";
    /// There is no context, client or program where one is needed.
    pub const MISSING: &str = "LOCAL-002";
    /// What was typed does not fit together.
    pub const USAGE: &str = "LOCAL-003";
    /// The demo found that what came back is not what went in.
    pub const DIFFERENT: &str = "LOCAL-004";
    /// The server answered something that this program does not understand.
    pub const STRANGE: &str = "LOCAL-005";
    /// What was waited for ended badly.
    pub const JOB: &str = "LOCAL-006";
    /// A bug of this program.
    pub const BUG: &str = "LOCAL-007";
    /// A program of the hooks folder may not run, failed, or took too long.
    pub const HOOK: &str = "LOCAL-008";
    /// The agent was told to stop.
    pub const STOPPED: &str = "LOCAL-009";
}

/// A command that failed, as it is printed and as it ends the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(
    /// In the API's words, whichever side it met.
    pub Box<ApiError>,
);

/// What commands return.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// With a code and a sentence.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self(Box::new(ApiError::new(code, message)))
    }

    /// A local file could not be used.
    pub fn file(what: &str, path: &Path, error: &io::Error) -> Self {
        Self::new(codes::FILE, what).at(path.display().to_string()).because(error.to_string())
    }

    /// What was typed does not fit together.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(codes::USAGE, message)
    }

    /// Names the object, field or place.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.0.place = place.into();
        self
    }

    /// Says why.
    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.0.why = why.into();
        self
    }

    /// Says how to mend it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = help.into();
        self
    }

    /// How a program ends with it.
    pub fn exit_code(&self) -> ExitCode {
        if self.0.code == codes::USAGE { ExitCode::Usage } else { self.0.exit_code() }
    }

    /// Whether asking again may help without anybody mending anything.
    pub fn is_transient(&self) -> bool {
        self.0.code.starts_with("NET-")
    }

    /// Whether it may pass, be it that somebody mends the server: its disk is full, a proxy answers in its place, one of the
    /// clocks is wrong. For programs that nobody watches.
    pub fn may_pass(&self) -> bool {
        let code = self.0.code.as_str();
        self.is_transient()
            || code.starts_with("POOL-")
            || [narrows_api::error::codes::INTERNAL, codes::STRANGE, "AUTH-002"].contains(&code)
    }

    /// Whether the server has no ear for this certificate any more.
    pub fn is_shut_out(&self) -> bool {
        ["AUTH-001", "AUTH-003", "AUTH-005", "AUTH-006"].contains(&self.0.code.as_str())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(Box::new(error))
    }
}

/// An exchange that broke off, in the API's words.
fn of_exchange(error: &ExchangeError) -> Failure {
    let code = match error.code() {
        Some(code) => code.to_owned(),
        None if error.is_transient() => narrows_api::error::codes::UNREACHABLE.to_owned(),
        None => codes::STRANGE.to_owned(),
    };
    let sentence = match error {
        ExchangeError::Refused(refusal) | ExchangeError::RefusedByPeer(refusal) => refusal.sentence.clone(),
        ExchangeError::Store(failed) => failed.sentence.clone(),
        ExchangeError::Link(link) => link.to_string(),
    };
    Failure::new(&code, sentence)
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        match &error {
            BackupError::Exchange(exchange) => of_exchange(exchange),
            BackupError::Source(_) | BackupError::Reading(_) => Self::new(codes::FILE, error.to_string()),
            BackupError::Mean(_) | BackupError::Forgotten(_) => Self::new(codes::STRANGE, error.to_string()),
            BackupError::Helper => Self::new(codes::BUG, error.to_string()),
        }
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        match &error {
            RestoreError::Exchange(exchange) => of_exchange(exchange),
            RestoreError::Destination(_) | RestoreError::Sink(_) => Self::new(codes::FILE, error.to_string()),
            RestoreError::OtherImage => Self::new(codes::STRANGE, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the exit codes of the specification, by the family of the code.
    #[test]
    fn exit_codes_follow_the_code() {
        for (code, exit) in [
            ("SLP-005", ExitCode::Refused),
            ("AIR-003", ExitCode::Refused),
            ("AIR-008", ExitCode::NotAllowed),
            ("TRUST-001", ExitCode::Refused),
            ("AUTH-004", ExitCode::NotAllowed),
            ("NET-001", ExitCode::NotReachable),
            ("POOL-001", ExitCode::Failed),
            ("WIRE-004", ExitCode::Failed),
            (codes::USAGE, ExitCode::Usage),
            (codes::FILE, ExitCode::Failed),
            (codes::DIFFERENT, ExitCode::Failed),
        ] {
            assert_eq!(Failure::new(code, "x").exit_code(), exit, "{code}");
        }
    }

    #[test]
    fn failures_look_like_a_compilers() {
        let failure = Failure::new("SLP-005", "operation `to-dr` replicates from a group")
            .at("gold.toml: operation 2, field `source`")
            .because("a replication source must be one exact storage unit")
            .help("give operation `backup` a storage unit");
        assert_eq!(
            failure.to_string(),
            "error[SLP-005]: operation `to-dr` replicates from a group\n  \
             --> gold.toml: operation 2, field `source`\n  \
             why: a replication source must be one exact storage unit\n  \
             help: give operation `backup` a storage unit"
        );
    }
}
