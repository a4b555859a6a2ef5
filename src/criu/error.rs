//! Why a request to CRIU failed, and what can be done about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::namespace;
use super::sys::{Answer, Request};

/// A failed request to CRIU.
#[derive(Debug)]
pub enum Error {
    /// There is no `criu` binary.
    Missing {
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// CRIU did not answer in time.
    TimedOut {
        /// What it was asked.
        asked: &'static str,
        /// How long it had.
        deadline: Duration,
    },
    /// A pid of the image is taken; other pids may work.
    PidTaken,
    /// CRIU lacks a privilege.
    NotPermitted {
        /// What CRIU said.
        reason: String,
        /// The binary that needs the privilege.
        binary: PathBuf,
    },
    /// CRIU said no.
    Refused {
        /// What it was asked.
        asked: &'static str,
        /// What it said, where it said something.
        reason: String,
    },
    /// CRIU could not be talked to.
    Unreachable {
        /// The binary.
        binary: PathBuf,
        /// libcriu's answer.
        value: i32,
    },
    /// A system call around the request failed.
    Io(io::Error),
}

impl Error {
    /// Finds out what libcriu's answer and CRIU's log mean.
    pub(super) fn refused(
        request: Request,
        answer: Answer,
        reason: Option<String>,
        binary: &Path,
    ) -> Self {
        // libcriu's return values: the table in criu.h. -EBADE is CRIU's own "no".
        if answer.value != -libc::EBADE {
            return Self::Unreachable { binary: binary.into(), value: answer.value };
        }
        if answer.errno == libc::EEXIST && request == Request::RestoreChild {
            return Self::PidTaken;
        }
        Self::no(request.asked(), reason, binary)
    }

    /// What it means that CRIU itself said no.
    pub(super) fn no(asked: &'static str, reason: Option<String>, binary: &Path) -> Self {
        let reason = reason.unwrap_or_else(|| "it gave no reason".into());
        let privilege = ["Operation not permitted", "CAP_", "EPERM", "needs to be run as root"];
        if privilege.iter().any(|word| reason.contains(word)) {
            return Self::NotPermitted { reason, binary: binary.into() };
        }
        Self::Refused { asked, reason }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => Some(
                "run `make demo` or `scripts/setup` in pyimg's source directory, install CRIU 4.1 or \
                 newer, or set PYIMG_CRIU to its binary"
                    .into(),
            ),
            Self::NotPermitted { binary, .. } => Some(format!(
                "{}, or set {}=1 to use a user namespace",
                set_capability(binary),
                namespace::VARIABLE
            )),
            Self::Unreachable { binary, .. } => {
                Some(format!("check that `{} --version` works", binary.display()))
            }
            Self::Refused { .. } | Self::TimedOut { .. } => {
                Some("`pyimg doctor` shows whether CRIU works on this machine".into())
            }
            Self::PidTaken | Self::Io(_) => None,
        }
    }
}

/// The command that lets an ordinary user dump and restore.
pub fn set_capability(binary: &Path) -> String {
    format!("run as root: setcap cap_checkpoint_restore+eip {}", binary.display())
}

impl Request {
    /// What CRIU is asked to do, after "CRIU could not".
    pub(super) fn asked(self) -> &'static str {
        match self {
            Self::Version => "tell its version",
            Self::Dump => "dump the process",
            Self::RestoreChild => "restore the process",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { searched } => {
                f.write_str("no criu binary: looked for ")?;
                for (position, path) in searched.iter().enumerate() {
                    let comma = if position == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", path.display())?;
                }
                Ok(())
            }
            Self::TimedOut { asked, deadline } => {
                write!(f, "CRIU did not {asked} within {} s", deadline.as_secs())
            }
            Self::PidTaken => f.write_str("CRIU could not restore the process: its pid is taken"),
            Self::NotPermitted { reason, .. } => write!(f, "CRIU lacks a privilege: {reason}"),
            Self::Refused { asked, reason } => {
                write!(f, "CRIU could not {asked}: {reason}")
            }
            Self::Unreachable { binary, value } => write!(
                f,
                "{} cannot be talked to: {}",
                binary.display(),
                io::Error::from_raw_os_error(-value)
            ),
            Self::Io(error) => write!(f, "cannot talk to CRIU: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        let converted = match &error {
            Error::Missing { .. } | Error::NotPermitted { .. } | Error::Unreachable { .. } => {
                Self::environment(error.to_string())
            }
            _ => Self::failed(error.to_string()),
        };
        match error.hint() {
            Some(hint) => converted.hint(hint),
            None => converted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(errno: i32, reason: &str) -> Error {
        let answer = Answer { value: -libc::EBADE, errno, timed_out: false };
        Error::refused(
            Request::RestoreChild,
            answer,
            Some(reason.to_owned()),
            Path::new("/opt/criu"),
        )
    }

    #[test]
    fn a_taken_pid_is_told_apart() {
        assert!(matches!(refused(libc::EEXIST, "whatever"), Error::PidTaken));
    }

    #[test]
    fn a_missing_privilege_comes_with_the_command_that_gives_it() {
        let error = refused(0, "CRIU needs to have the CAP_SYS_ADMIN or …");
        let shown = crate::error::Error::from(error);
        assert_eq!(shown.exit_code(), 2);
        assert_eq!(
            shown.hint_text(),
            Some(
                "run as root: setcap cap_checkpoint_restore+eip /opt/criu, or set PYIMG_USERNS=1 \
                 to use a user namespace"
            )
        );
    }

    #[test]
    fn texts() {
        assert_eq!(
            refused(0, "Can't open file").to_string(),
            "CRIU could not restore the process: Can't open file"
        );
        let answer = Answer { value: -libc::ECONNREFUSED, errno: 0, timed_out: false };
        let error = Error::refused(Request::Version, answer, None, Path::new("/opt/criu"));
        assert_eq!(
            error.to_string(),
            "/opt/criu cannot be talked to: Connection refused (os error 111)"
        );
        let error = Error::Missing { searched: vec!["/a/criu".into(), "/b/criu".into()] };
        assert_eq!(error.to_string(), "no criu binary: looked for /a/criu, /b/criu");
    }
}
