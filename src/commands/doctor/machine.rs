//! CRIU, the kernel, and a place on a tmpfs.

use std::path::Path;

use nix::sys::utsname::uname;

use super::privilege;
use super::{Finding, Status};
use crate::criu::{self, Criu, OLDEST_VERSION, RuntimeDir};
use crate::engine::namespaced;
use crate::error::Error;

pub(super) fn look() -> Vec<Finding> {
    let runtime = RuntimeDir::open();
    let (mut findings, criu) = match Criu::find() {
        Ok(criu) => (vec![version(&criu)], Some(criu)),
        Err(error) => (vec![Finding::error("criu", &error.into())], None),
    };
    let usable = findings.iter().all(|finding| finding.status == Status::Ok);
    // Only what can be asked is asked: the rest would repeat what is known already.
    let check = match (&criu, &runtime) {
        (Some(criu), Ok(runtime)) if usable => Some(check(criu, runtime)),
        _ => None,
    };
    let permitted = match &check {
        Some(Err(criu::Error::NotPermitted { .. })) => Some(false),
        Some(Ok(())) => Some(true),
        _ => None,
    };
    let privilege = match (&criu, &check) {
        (Some(criu), Some(check)) if criu.needs_namespace() => privilege::in_namespace(check),
        _ => privilege::look(criu.as_ref().map(Criu::binary), permitted),
    };
    // Without the privilege, CRIU's refusal says nothing of the kernel.
    let telling = check.as_ref().filter(|_| privilege.status != Status::Failed);
    let kernel = kernel(telling);
    findings.extend([privilege, kernel]);
    findings.push(match runtime {
        Ok(runtime) => Finding::ok("runtime-directory", runtime.path().display().to_string()),
        Err(error) => Finding::failed("runtime-directory", Error::from(error).to_string())
            .fix("set XDG_RUNTIME_DIR to a directory of yours on a tmpfs"),
    });
    findings
}

/// What CRIU says where it would be used: here, or in a namespace.
fn check(criu: &Criu, runtime: &RuntimeDir) -> Result<(), criu::Error> {
    if !criu.needs_namespace() {
        return criu.check(runtime);
    }
    namespaced::check(|| criu.check(runtime)).map_err(|error| criu::Error::NotPermitted {
        reason: error.to_string(),
        binary: criu.binary().to_owned(),
    })
}

fn version(criu: &Criu) -> Finding {
    let binary = criu.binary().display();
    match criu.version() {
        Ok(version) if version >= OLDEST_VERSION => {
            Finding::ok("criu", format!("{binary}, version {version}"))
        }
        Ok(version) => {
            let detail =
                format!("{binary} is version {version}, at least {OLDEST_VERSION} is needed");
            Finding::failed("criu", detail).fix(
                "run `scripts/setup` in pyimg's source directory, or set PYIMG_CRIU to a newer one",
            )
        }
        Err(error) => Finding::error("criu", &error.into()),
    }
}

fn kernel(check: Option<&Result<(), criu::Error>>) -> Finding {
    let release = uname()
        .map_or_else(|_| "unknown".into(), |name| name.release().to_string_lossy().into_owned());
    let kernel = format!("Linux {release}");
    // Only a kernel with CONFIG_CHECKPOINT_RESTORE has this directory.
    if !Path::new("/proc/self/map_files").exists() {
        return Finding::failed("kernel", format!("{kernel} cannot checkpoint and restore"))
            .fix("use a kernel with CONFIG_CHECKPOINT_RESTORE, and mount /proc");
    }
    match check {
        Some(Ok(())) => Finding::ok("kernel", format!("{kernel}, CRIU works on it")),
        None => Finding::ok("kernel", kernel),
        Some(Err(error)) => Finding::failed("kernel", format!("{kernel}: {error}"))
            .fix("`criu check --all` shows what the kernel lacks; use another kernel or CRIU"),
    }
}
