//! Finds the `criu` binary: where `scripts/setup` and the distributions put it.

use std::env;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Error, Version};

/// The oldest CRIU that can be used: older ones do not know the mappings of newer kernels
/// (`vvar_vclock`, from Linux 6.13).
pub const OLDEST_VERSION: Version = Version { major: 4, minor: 1, sublevel: 0 };

pub(super) fn find() -> Result<PathBuf, Error> {
    if let Some(named) = env::var_os("PYIMG_CRIU") {
        let named = PathBuf::from(named);
        // What the user names is used, or the user is told; nothing else is tried.
        return if is_program(&named) {
            Ok(named)
        } else {
            Err(Error::Missing { searched: vec![named] })
        };
    }
    let searched = places();
    match searched.iter().find(|path| is_program(path)) {
        Some(found) => Ok(found.clone()),
        None => Err(Error::Missing { searched }),
    }
}

fn places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Some(prefix) = env::var_os("PYIMG_CRIU_PREFIX") {
        places.push(Path::new(&prefix).join("sbin/criu"));
    }
    if let Some(prefix) = env::current_exe().ok().as_deref().and_then(|exe| exe.parent()?.parent())
    {
        places.push(prefix.join("lib/pyimg/criu/sbin/criu"));
    }
    if let Some(home) = env::var_os("HOME") {
        places.push(Path::new(&home).join(".local/lib/pyimg/criu/sbin/criu"));
    }
    places.push("/usr/local/lib/pyimg/criu/sbin/criu".into());
    if let Some(path) = env::var_os("PATH") {
        places.extend(env::split_paths(&path).map(|directory| directory.join("criu")));
    }
    places.push("/usr/sbin/criu".into());
    places.dedup();
    places
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
