//! What brings an image back.
//!
//! [`criu`] restores it as a child of this process and [`supervise`] then stands between
//! that child and whoever waits for us; where CRIU needs it, [`namespaced`] does both in a
//! namespace. What the woken process is to do goes to it as a [`request`], whichever way it
//! was brought back.

pub mod caller;
pub mod criu;
pub mod direct;
pub mod namespaced;
pub mod request;
pub mod supervise;

use std::process::ExitStatus;

use nix::unistd::Pid;

use self::criu::{NotStarted, Parked};
use self::namespaced::Namespaced;
use self::request::Request;
use crate::criu::Criu;

/// Which engine brings an image back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// This process becomes the program.
    Direct,
    /// CRIU restores it; and why not otherwise, if that was not asked for.
    Criu(Option<direct::Refusal>),
}

impl By {
    /// The engine's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Criu(_) => "criu",
        }
    }

    /// Why it is not [`By::Direct`]; nothing if it is, or another was asked for.
    pub fn refusal(&self) -> Option<&direct::Refusal> {
        match self {
            Self::Direct => None,
            Self::Criu(refusal) => refusal.as_ref(),
        }
    }
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Criu(None) => f.write_str("criu"),
            Self::Criu(Some(refusal)) => write!(f, "criu: {refusal}"),
        }
    }
}

/// A program that was started from an image.
#[derive(Debug)]
pub enum Running {
    /// As our child.
    Child(Pid),
    /// In a namespace.
    Namespaced(Namespaced),
}

/// Restores an image and has it run the program of the request, if `check` agrees.
///
/// # Errors
/// When the program was not started; nothing of it has run, and no process is left.
pub fn start<E: Send>(
    criu: &Criu,
    parked: &Parked<'_>,
    request: &Request,
    check: impl FnOnce() -> Result<(), E> + Send,
) -> Result<Running, NotStarted<E>> {
    if criu.needs_namespace() {
        namespaced::start(criu, parked, request, check).map(Running::Namespaced)
    } else {
        criu::start(criu, parked, request, check, || ()).map(Running::Child)
    }
}

impl Running {
    /// Waits for the program to end, passing signals on, and returns how it ended.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait(self) -> std::io::Result<ExitStatus> {
        match self {
            Self::Child(child) => supervise::wait(child),
            Self::Namespaced(namespaced) => namespaced.wait(),
        }
    }
}
