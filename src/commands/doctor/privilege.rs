//! Whether CRIU has the privilege that it needs, and from where.
//!
//! Whether it has is CRIU's to say; this explains it. The kernel gives a process the
//! capabilities of the file that it executes only under conditions, and each that is
//! not met has another remedy.

use std::fs;
use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::geteuid;

use super::{Finding, Status};
use crate::criu::capability::{self, FileCapabilities};
use crate::criu::{self, namespace};

const NAME: &str = "privilege";

/// Bits of a set of capabilities, as in `linux/capability.h`.
const SYS_PTRACE: u64 = 1 << 19;
const SYS_ADMIN: u64 = 1 << 21;
const CHECKPOINT_RESTORE: u64 = 1 << capability::CHECKPOINT_RESTORE;

/// `permitted` is what CRIU said about it, if it could be asked.
pub(super) fn look(binary: Option<&Path>, permitted: Option<bool>) -> Finding {
    let process = Process::read();
    let user = geteuid();
    let who = if user.is_root() { "root".into() } else { format!("user {user}") };
    let own = process.effective & (SYS_ADMIN | CHECKPOINT_RESTORE) != 0;
    let file = binary.map(FileCapabilities::read).unwrap_or_default();
    let fine = || traced(Finding::ok(NAME, who.as_str()), process.effective | file.permitted);
    match (permitted, binary) {
        (Some(true), _) => fine(),
        (None, _) if own => fine(),
        (None, None) => {
            let detail = format!("{who}: the criu binary will need a capability");
            Finding::new(NAME, Status::Warning, detail)
        }
        (_, Some(binary)) if !own && let Some(why) = obstacle(&who, binary, &file, &process) => {
            or_namespace(why)
        }
        (None, Some(_)) => fine(),
        (Some(false), _) => {
            Finding::failed(NAME, format!("{who}: CRIU has the capability and cannot use it"))
                .fix("in a container, `--privileged`; `criu check --unprivileged` says more")
        }
    }
}

/// Why the binary's capability does not help, where that can be seen.
fn obstacle(
    who: &str,
    binary: &Path,
    file: &FileCapabilities,
    process: &Process,
) -> Option<Finding> {
    let shown = binary.display();
    let failed = |why: &str, fix: &str| Some(Finding::failed(NAME, why).fix(fix));
    if process.bounding & CHECKPOINT_RESTORE == 0 {
        let why = format!("{who}: no program here may have cap_checkpoint_restore");
        failed(&why, "in a container, `--cap-add CHECKPOINT_RESTORE`")
    } else if !file.gives(CHECKPOINT_RESTORE) {
        let why = format!("{who}: {shown} lacks cap_checkpoint_restore");
        failed(&why, &format!("run as root: setcap cap_checkpoint_restore+eip {shown}"))
    } else if process.no_new_privileges {
        let why = format!("{who}: no_new_privs takes the capability from {shown}");
        failed(&why, "in a container, leave out `--security-opt no-new-privileges`")
    } else if statvfs(binary).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_NOSUID)) {
        let why = format!("{who}: the mount option nosuid takes the capability from {shown}");
        failed(&why, "copy it to a file system without nosuid and set PYIMG_CRIU to it")
    } else {
        None
    }
}

/// The same finding, with the way around it that needs no privilege, or why there is none.
fn or_namespace(finding: Finding) -> Finding {
    if geteuid().is_root() {
        return finding;
    }
    match (namespace::try_out(), finding.fix) {
        (Ok(()), Some(fix)) => Finding {
            fix: Some(format!(
                "{fix}, or set {}=1: user namespaces work here",
                namespace::VARIABLE
            )),
            ..finding
        },
        (Ok(()), None) => Finding { fix: None, ..finding },
        (Err(error), fix) => Finding {
            detail: format!("{}, and there is no user namespace: {error}", finding.detail),
            fix,
            ..finding
        },
    }
}

/// What CRIU says in a user namespace.
pub(super) fn in_namespace(check: &Result<(), criu::Error>) -> Finding {
    let who = format!("user {}", geteuid());
    match check {
        Ok(()) => {
            let detail = format!("{who}, in a user namespace ({}=1)", namespace::VARIABLE);
            traced(Finding::ok(NAME, detail), 0)
        }
        Err(criu::Error::NotPermitted { reason, binary }) => {
            Finding::failed(NAME, format!("{who}: {reason}")).fix(criu::set_capability(binary))
        }
        Err(error) => Finding::failed(NAME, format!("{who}: {error}")),
    }
}

/// Yama's restrictions keep CRIU from tracing a process that is not its child.
fn traced(finding: Finding, capabilities: u64) -> Finding {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let scope: u32 = scope.trim().parse().unwrap_or(0);
    if scope == 0 || (scope < 3 && capabilities & SYS_PTRACE != 0) {
        return finding;
    }
    Finding {
        status: Status::Warning,
        detail: format!("{}, but kernel.yama.ptrace_scope is {scope}", finding.detail),
        ..finding
    }
    .fix("if builds fail, run as root: sysctl kernel.yama.ptrace_scope=0")
}

/// What the kernel says of this process.
#[derive(Debug, Default, PartialEq, Eq)]
struct Process {
    effective: u64,
    bounding: u64,
    no_new_privileges: bool,
}

impl Process {
    fn read() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    fn parse(status: &str) -> Self {
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let set = |name| {
            field(name).and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
        };
        Self {
            effective: set("CapEff"),
            bounding: set("CapBnd"),
            no_new_privileges: field("NoNewPrivs").is_some_and(|value| value.trim() == "1"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINARY: &str = "/no/such/criu";

    fn checkpoint_restore() -> FileCapabilities {
        // As `setcap cap_checkpoint_restore+eip` leaves it.
        let bytes = [1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0];
        FileCapabilities::parse(&bytes).unwrap()
    }

    #[test]
    fn reads_the_state_of_a_process() {
        let status = "Name:\tx\nNoNewPrivs:\t1\nCapEff:\t0000000000200000\nCapBnd:\t1ffffffffff\n";
        let process = Process::parse(status);
        assert_eq!(process.effective, SYS_ADMIN);
        assert_eq!(process.bounding, 0x1ff_ffff_ffff);
        assert!(process.no_new_privileges);
        assert_eq!(Process::parse(""), Process::default());
    }

    #[test]
    fn each_obstacle_has_its_remedy() {
        let finding = |file: &FileCapabilities, process: Process| {
            let finding = obstacle("user 7", Path::new(BINARY), file, &process).unwrap();
            assert_eq!(finding.status, Status::Failed);
            (finding.detail, finding.fix.unwrap())
        };
        let all = || Process { bounding: u64::MAX, ..Process::default() };
        let (detail, fix) = finding(&FileCapabilities::default(), all());
        assert_eq!(detail, "user 7: /no/such/criu lacks cap_checkpoint_restore");
        assert_eq!(fix, "run as root: setcap cap_checkpoint_restore+eip /no/such/criu");

        let file = checkpoint_restore();
        let (detail, fix) = finding(&file, Process { no_new_privileges: true, ..all() });
        assert_eq!(detail, "user 7: no_new_privs takes the capability from /no/such/criu");
        assert!(fix.contains("no-new-privileges"), "{fix}");
        let (_, fix) = finding(&file, Process::default());
        assert_eq!(fix, "in a container, `--cap-add CHECKPOINT_RESTORE`");
        assert_eq!(obstacle("user 7", Path::new(BINARY), &file, &all()), None);
    }
}
