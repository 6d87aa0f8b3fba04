//! What a refused or failed request says, and what status and exit code that is.
//!
//! Codes are stable. The families `SLP-`, `AIR-`, `TRUST-`, `TOPO-`, `AUTH-`, `WIRE-` and `POOL-` are those
//! of the domain specification; `API-` and `NET-` are the API's own and stand in [`codes`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// Codes of the API itself.
pub mod codes {
    /// The request is malformed: the field is named.
    pub const MALFORMED: &str = "API-001";
    /// No such object.
    pub const NOT_FOUND: &str = "API-002";
    /// Clashes with what is there.
    pub const CONFLICT: &str = "API-003";
    /// The server failed; its log says more.
    pub const INTERNAL: &str = "API-004";
    /// It was there, and has expired or was deleted; for a while it can be brought back.
    pub const GONE: &str = "API-006";
    /// Several objects fit: name one.
    pub const AMBIGUOUS: &str = "API-005";
    /// The other server can't be reached.
    pub const UNREACHABLE: &str = "NET-001";
    /// The other server did not answer in time.
    pub const TIMED_OUT: &str = "NET-002";
    /// The server is starting or stopping: ask again.
    pub const NOT_READY: &str = "NET-003";
    /// As much work as allowed is under way: ask again.
    pub const BUSY: &str = "NET-004";
}

/// The body of every answer that is not a success. Printed like a compiler's error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// Stable code, e.g. `SLP-005`.
    pub code: String,
    /// What failed, in one sentence without a full stop.
    pub message: String,
    /// The object, field or place; empty when there is none.
    #[serde(default, rename = "where", skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// Why that is refused; empty when the message says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The way to mend it; empty when there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
}

impl ApiError {
    /// An error with a code and a message.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            place: String::new(),
            why: String::new(),
            help: String::new(),
        }
    }

    /// Names the object, field or place.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = place.into();
        self
    }

    /// Says why.
    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// Says how to mend it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// What is wrong and why, in one sentence.
    pub fn sentence(&self) -> String {
        if self.why.is_empty() { self.message.clone() } else { format!("{}: {}", self.message, self.why) }
    }

    /// The HTTP status of an answer with this error.
    pub fn http_status(&self) -> u16 {
        match self.code.as_str() {
            codes::MALFORMED => 400,
            codes::NOT_FOUND => 404,
            codes::CONFLICT | codes::AMBIGUOUS => 409,
            codes::GONE => 410,
            codes::INTERNAL => 500,
            codes::UNREACHABLE => 502,
            codes::NOT_READY | codes::BUSY => 503,
            codes::TIMED_OUT => 504,
            "AUTH-001" | "AUTH-002" | "AUTH-003" | "AUTH-004" => 401,
            "AUTH-005" | "AUTH-006" | "AIR-008" => 403,
            "POOL-002" => 507,
            code => match code.split('-').next() {
                Some("SLP" | "AIR" | "TRUST" | "TOPO") => 422,
                Some("WIRE") => 400,
                _ => 500,
            },
        }
    }

    /// The exit code of a program that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        match self.code.split('-').next() {
            // A right that is lacking, whatever its family.
            _ if self.code == "AIR-008" => ExitCode::NotAllowed,
            Some("SLP" | "AIR" | "TRUST" | "TOPO") => ExitCode::Refused,
            Some("AUTH") => ExitCode::NotAllowed,
            Some("NET") => ExitCode::NotReachable,
            _ => match self.code.as_str() {
                codes::MALFORMED | codes::AMBIGUOUS => ExitCode::Usage,
                codes::CONFLICT | codes::GONE => ExitCode::Refused,
                _ => ExitCode::Failed,
            },
        }
    }
}

impl fmt::Display for ApiError {
    /// The compiler-like form, several lines, without a final newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        if !self.place.is_empty() {
            write!(f, "\n  --> {}", self.place)?;
        }
        if !self.why.is_empty() {
            write!(f, "\n  why: {}", self.why)?;
        }
        if !self.help.is_empty() {
            write!(f, "\n  help: {}", self.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for ApiError {}

/// How a program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// All done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Called wrongly.
    Usage = 2,
    /// Refused by a rule.
    Refused = 3,
    /// Not reachable.
    NotReachable = 4,
    /// Not allowed.
    NotAllowed = 5,
    /// Done, but files were skipped.
    Partial = 6,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_like_a_compiler() {
        let error = ApiError::new("SLP-005", "operation `to-dr` replicates from storage unit group `any-a`")
            .at("gold.toml: operation 2, field `source`")
            .because("a replication source must be one exact storage unit");
        assert_eq!(
            error.to_string(),
            "error[SLP-005]: operation `to-dr` replicates from storage unit group `any-a`\n  \
             --> gold.toml: operation 2, field `source`\n  \
             why: a replication source must be one exact storage unit"
        );
        assert_eq!(error.exit_code(), ExitCode::Refused);
        assert_eq!(error.http_status(), 422);
    }

    #[test]
    fn json_uses_the_word_where() {
        let error = ApiError::new(codes::MALFORMED, "no such field").at("body");
        let json = serde_json::to_value(&error).unwrap();
        assert_eq!(json, serde_json::json!({"code": "API-001", "message": "no such field", "where": "body"}));
        assert_eq!(serde_json::from_value::<ApiError>(json).unwrap(), error);
    }
}
