//! Sets things aside: out of the way of everybody, but not lost, with the reason beside.
//!
//! Nobody reads what lies in `quarantine`, and nobody deletes it but its owner.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::failure::Doing;
use super::super::layout::Layout;
use super::super::{access, durable, fault};
use crate::error::Result;

/// Moves a file or a directory into the quarantine. The reason is there first, so that
/// nothing lies there without one.
pub(super) fn set_aside(layout: &Layout, path: &Path, reason: &str) -> Result<()> {
    let to = place(layout, path, reason)?;
    durable::shift(path, &layout.quarantine(), &to)?;
    fault::point("repair-set-aside");
    Ok(())
}

/// Puts a copy of a file into the quarantine.
pub(super) fn keep_copy(layout: &Layout, path: &Path, reason: &str) -> Result<()> {
    let to = place(layout, path, reason)?;
    let bytes = fs::read(path).doing("read", path)?;
    put(layout, "repair-copy", &bytes, &to)?;
    fault::point("repair-copy-kept");
    Ok(())
}

/// A free place for something, with the reason beside it.
fn place(layout: &Layout, path: &Path, reason: &str) -> Result<PathBuf> {
    access::private_dir(&layout.quarantine())?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut number = 0;
    // A reason without its thing is of a repair that was cut off right there.
    let (to, why) = loop {
        let (to, why) = layout.quarantined(&name, number);
        if fs::symlink_metadata(&to).is_err() {
            break (to, why);
        }
        number += 1;
    };
    let shown = path.strip_prefix(layout.root()).unwrap_or(path).display();
    let text = format!("{shown} was set aside by `pyimg verify --repair`.\n{reason}\n");
    put(layout, "repair-reason", text.as_bytes(), &why)?;
    fault::point("repair-reason-put");
    Ok(to)
}

/// Puts a new file into the quarantine; one of that name stays as it is.
fn put(layout: &Layout, name: &str, bytes: &[u8], to: &Path) -> Result<()> {
    let new = layout.temporary().join(name);
    let _ = fs::remove_file(&new);
    durable::write(&new, bytes, bytes.len() as u64)?;
    durable::sync_file(&new)?;
    if !durable::put(&new, &layout.quarantine(), to)? {
        let _ = fs::remove_file(&new);
    }
    Ok(())
}
