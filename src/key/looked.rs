//! Which paths were looked at while an interpreter was looked for: as long as all of them are as
//! they were, the same one is found again.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

thread_local! {
    static PATHS: RefCell<Option<Vec<PathBuf>>> = const { RefCell::new(None) };
}

/// Notes that this path was looked at, if anybody wants to know.
pub(super) fn at(path: &Path) {
    PATHS.with_borrow_mut(|paths| {
        if let Some(paths) = paths {
            paths.push(path.to_owned());
        }
    });
}

/// Does something, and says at which paths it has looked.
pub fn during<T>(search: impl FnOnce() -> T) -> (T, Vec<PathBuf>) {
    PATHS.set(Some(Vec::new()));
    let found = search();
    (found, PATHS.take().unwrap_or_default())
}
