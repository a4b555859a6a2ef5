//! Whether executing a binary gives the capability that CRIU needs.
//!
//! The kernel gives a process the capabilities of the file that it executes only under
//! conditions (`capabilities(7)`); `pyimg doctor` explains which one is not met.

use std::path::Path;

use nix::sys::prctl;
use nix::sys::statvfs::{FsFlags, statvfs};

/// Where a file's capabilities are: `capabilities(7)`.
const FILE_CAPABILITIES: &str = "security.capability";

/// `CAP_CHECKPOINT_RESTORE` of `linux/capability.h`.
pub const CHECKPOINT_RESTORE: u32 = 40;

/// Whether the binary will have the capability when this process executes it.
pub(super) fn applies(binary: &Path) -> bool {
    crate::sys::is_ambient(CHECKPOINT_RESTORE)
        || FileCapabilities::read(binary).gives(1 << CHECKPOINT_RESTORE)
            && !prctl::get_no_new_privs().unwrap_or(false)
            && !statvfs(binary).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_NOSUID))
}

/// What a file gives to those who execute it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FileCapabilities {
    /// The capabilities, one bit each.
    pub permitted: u64,
    /// Whether they are in effect from the start; CRIU does not raise them itself.
    effective: bool,
}

impl FileCapabilities {
    /// Reads them; a file that has none, or cannot be read, gives none.
    pub fn read(path: &Path) -> Self {
        match xattr::get_deref(path, FILE_CAPABILITIES) {
            Ok(Some(bytes)) => Self::parse(&bytes).unwrap_or_default(),
            _ => Self::default(),
        }
    }

    /// `struct vfs_cap_data` of `linux/capability.h`, from its second revision on: flags,
    /// then the lower and the upper words of what is permitted and what is inheritable.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |number: usize| {
            let bytes = bytes.get(number * 4..number * 4 + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let (flags, low, high) = (word(0)?, word(1)?, word(3)?);
        let permitted = u64::from(high) << 32 | u64::from(low);
        Some(Self { permitted, effective: flags & 1 != 0 })
    }

    /// Whether all the capabilities of a set, one bit each, are in effect.
    pub fn gives(&self, capabilities: u64) -> bool {
        self.effective && self.permitted & capabilities == capabilities
    }
}

/// What this process would say of a binary that cannot work for want of the capability.
pub(super) fn missing(binary: &Path) -> Option<String> {
    let missing =
        !nix::unistd::geteuid().is_root() && !super::namespace::is_inside() && !applies(binary);
    missing.then(|| "it needs CAP_CHECKPOINT_RESTORE".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_capabilities_of_a_file() {
        // As `setcap cap_checkpoint_restore+eip` leaves it.
        let bytes = [1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0];
        let file = FileCapabilities::parse(&bytes).unwrap();
        let set = 1 << CHECKPOINT_RESTORE;
        assert_eq!(file, FileCapabilities { permitted: set, effective: true });
        assert!(file.gives(set) && !file.gives(set | 1));
        assert_eq!(FileCapabilities::parse(b"short"), None);
        assert_eq!(FileCapabilities::read(Path::new("/no/such/criu")), FileCapabilities::default());
    }
}
