//! The store: there, ours, writable, of a format that is known.

use std::path::Path;

use nix::unistd::{AccessFlags, access};

use super::Finding;
use crate::error::Result;
use crate::store::{self, FORMAT, RunStore};
use crate::ui::human;

const NAME: &str = "store";

pub(super) fn look() -> Finding {
    store::default_dir()
        .and_then(|dir| examine(&dir))
        .unwrap_or_else(|error| Finding::error(NAME, &error))
}

fn examine(dir: &Path) -> Result<Finding> {
    let shown = dir.display();
    if !dir.exists() {
        let parent = dir.ancestors().find(|parent| parent.exists());
        return Ok(if parent.is_some_and(|parent| parent.is_dir() && may_write(parent)) {
            Finding::ok(NAME, format!("none yet: it will be {shown}"))
        } else {
            Finding::failed(NAME, format!("{shown} does not exist and cannot be made"))
                .fix("set PYIMG_DIR to a directory that you may write to")
        });
    }
    let store = RunStore::open(dir)?;
    if !may_write(dir) {
        return Ok(Finding::failed(NAME, format!("{shown} cannot be written to"))
            .fix("set PYIMG_DIR to a directory that you may write to"));
    }
    let Some(store) = store else {
        store::check_vacant(dir)?;
        return Ok(Finding::ok(NAME, format!("{shown}, empty")));
    };
    let images = human::count(store.images()?.len() as u64, "image");
    let size = human::size(disk_space(dir));
    Ok(Finding::ok(NAME, format!("{shown}, format {FORMAT}, {images}, {size}")))
}

fn may_write(dir: &Path) -> bool {
    access(dir, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

/// What a directory takes on disk, in bytes; what cannot be looked at does not count.
fn disk_space(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;

    let files = walkdir::WalkDir::new(dir).into_iter().flatten();
    files.filter_map(|entry| entry.metadata().ok()).map(|file| file.blocks() * 512).sum()
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn a_store_need_not_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache/pyimg");
        let finding = examine(&path).unwrap();
        assert_eq!(finding, Finding::ok(NAME, format!("none yet: it will be {}", path.display())));
        assert!(!path.exists(), "looking makes nothing");
        let finding = examine(dir.path()).unwrap();
        assert_eq!(finding, Finding::ok(NAME, format!("{}, empty", dir.path().display())));
    }

    #[test]
    fn a_directory_of_something_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.tex"), "").unwrap();
        let error = examine(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with(" is not a store of pyimg: it holds thesis.tex"), "{error}");
    }

    #[test]
    fn a_store_below_a_file_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let finding = examine(&file.path().join("store")).unwrap();
        assert_eq!(finding.status, Status::Failed);
        assert!(finding.detail.ends_with("does not exist and cannot be made"));
        let error = examine(file.path()).unwrap_err();
        assert!(error.to_string().ends_with("is not a directory"), "{error}");
    }

    #[test]
    fn a_store_is_described() {
        let dir = tempfile::tempdir().unwrap();
        crate::store::Store::open(dir.path()).unwrap();
        let finding = examine(dir.path()).unwrap();
        assert_eq!(finding.status, Status::Ok);
        let expected = format!("{}, format {FORMAT}, 0 images, ", dir.path().display());
        assert!(finding.detail.starts_with(&expected), "{}", finding.detail);
    }
}
