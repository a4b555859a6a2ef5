//! The one error type: what went wrong, where, and what to do next.
//!
//! An error is a sentence for a person, an optional hint (what to do), an
//! optional cause, and a kind that decides the exit status. It does not try to
//! be matched on in detail: code that must tell cases apart (a restore that may
//! be retried, say) has a typed error of its own and converts it at its edge.

use std::fmt;

/// The result of everything that can fail with a message for a person.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure an [`Error`] is; it decides the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request was understood and could not be carried out: exit status 1.
    Failed,
    /// The request cannot be understood: exit status 2.
    Usage,
    /// This machine, user or store cannot do it at all: exit status 2.
    Environment,
}

/// A failure, as it is shown to a person.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, cause: None }
    }

    /// The request could not be carried out (exit status 1).
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// The request cannot be understood (exit status 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// The machine, the user or the store cannot do this at all (exit status 2).
    pub fn environment(message: impl Into<String>) -> Self {
        Self::new(Kind::Environment, message)
    }

    /// Adds what the person may do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the underlying cause, shown after the message.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What to do next, where something can be done.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The exit status that a command ends with: 1 or 2.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Failed => 1,
            Kind::Usage | Kind::Environment => 2,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(cause) = &self.cause {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_message_then_cause() {
        let error = Error::failed("cannot read the pack p")
            .because(std::io::Error::other("disk on fire"))
            .hint("buy another disk");
        assert_eq!(error.to_string(), "cannot read the pack p: disk on fire");
        assert_eq!(error.hint_text(), Some("buy another disk"));
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn usage_and_environment_exit_with_two() {
        assert_eq!(Error::usage("x").exit_code(), 2);
        assert_eq!(Error::environment("x").exit_code(), 2);
    }
}
