//! Who may use a store: only its owner, and root's are trusted by everybody.
//!
//! An image is a process: whoever can write to a store can run code as those
//! who restore from it. So nothing is read from a directory or file that
//! another ordinary user owns or may write to, and everything made here is
//! private (0700, 0600) whatever the umask. Access control lists are not looked
//! at: their mask shows in the group bits, which are.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use nix::unistd::geteuid;

use super::failure::Doing;
use crate::error::{Error, Result};

const OTHERS_MAY_WRITE: u32 = 0o022;

/// Refuses what another user could have put there.
pub(super) fn check(path: &Path, found: &Metadata) -> Result<()> {
    let (owner, me) = (found.uid(), geteuid().as_raw());
    if owner != me && owner != 0 {
        return Err(Error::environment(format!(
            "{} belongs to another user (uid {owner}, you are uid {me})",
            path.display()
        ))
        .hint("set PYIMG_DIR to a directory of your own"));
    }
    if found.mode() & OTHERS_MAY_WRITE != 0 {
        return Err(Error::environment(format!(
            "other users may write to {} (mode {:04o})",
            path.display(),
            found.mode() & 0o7777
        ))
        .hint(format!("if you trust what is in it: `chmod go-w {}`", path.display())));
    }
    Ok(())
}

/// The metadata of a regular file that may be trusted; a symbolic link is not
/// followed and not a regular file.
pub(super) fn trusted_file(path: &Path) -> Result<Metadata> {
    let found = fs::symlink_metadata(path).doing("read", path)?;
    trusted(path, &found)?;
    Ok(found)
}

/// That a file with this metadata is a regular one and may be trusted.
pub(super) fn trusted(path: &Path, found: &Metadata) -> Result<()> {
    match found.is_file() {
        true => check(path, found),
        false => Err(Error::failed(format!("{} is not a regular file", path.display()))),
    }
}

/// The beginning of a file that may be trusted, and its metadata; `None` if it cannot be
/// read, or may not be.
pub(super) fn read_trusted(path: &Path, most: u64) -> Option<(Vec<u8>, Metadata)> {
    let flags = O_NOFOLLOW | O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let found = file.metadata().ok()?;
    if !found.is_file() || check(path, &found).is_err() {
        return None;
    }
    let mut bytes = Vec::with_capacity(found.len().min(most) as usize);
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some((bytes, found))
}

/// That a directory may be trusted; a symbolic link is none.
pub(super) fn trusted_dir(path: &Path) -> Result<()> {
    let found = fs::symlink_metadata(path).doing("read", path)?;
    if !found.is_dir() {
        return Err(Error::failed(format!("{} is not a directory", path.display())));
    }
    check(path, &found)
}

/// Makes a directory that only its owner may enter; one that is there already
/// is left as it is.
pub(super) fn private_dir(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // The umask may have taken more away than was asked for.
        made => made.and_then(|()| make_private(path)).doing("create", path),
    }
}

/// Gives a directory of ours the mode 0700.
pub(super) fn make_private(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, Permissions::from_mode(0o700))
}

/// Gives a file of ours the mode 0600.
pub(super) fn make_private_file(file: &Path) -> io::Result<()> {
    fs::set_permissions(file, Permissions::from_mode(0o600))
}

/// Gives something of ours a mode; a symbolic link is not followed.
pub(super) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_symlink() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Creates a new file that only its owner may read and write.
pub(super) fn private_file(path: &Path) -> Result<File> {
    create_private(path).doing("create", path)
}

/// The same, with the system's own error.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let (inner, file) = (dir.path().join("d"), dir.path().join("d/f"));
        private_dir(&inner).unwrap();
        private_dir(&inner).unwrap();
        private_file(&file).unwrap();
        assert_eq!(inner.metadata().unwrap().mode() & 0o7777, 0o700);
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o600);
        trusted_file(&file).unwrap();
        assert!(private_file(&file).unwrap_err().to_string().contains("File exists"));
    }

    #[test]
    fn what_others_may_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        fs::create_dir(&path).unwrap();
        for mode in [0o777, 0o770, 0o702] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = check(&path, &path.metadata().unwrap()).unwrap_err();
            let shown = path.display();
            assert_eq!(
                error.to_string(),
                format!("other users may write to {shown} (mode {mode:04o})")
            );
            assert!(error.hint_text().unwrap().contains(&format!("chmod go-w {shown}")));
        }
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        check(&path, &path.metadata().unwrap()).unwrap();
    }

    #[test]
    fn what_another_user_owns_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let chown = std::os::unix::fs::chown(dir.path(), Some(12345), None);
        if chown.is_err() || !geteuid().is_root() {
            eprintln!("skipped: only root can give a directory away");
            return;
        }
        let error = check(dir.path(), &dir.path().metadata().unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{} belongs to another user (uid 12345, you are uid 0)", dir.path().display())
        );
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn a_link_is_not_what_it_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("l");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        let error = trusted_file(&link).unwrap_err().to_string();
        assert_eq!(error, format!("{} is not a regular file", link.display()));
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let error = trusted_dir(&link).unwrap_err().to_string();
        assert_eq!(error, format!("{} is not a directory", link.display()));
        trusted_dir(dir.path()).unwrap();
    }
}
