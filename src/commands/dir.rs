//! `pyimg dir`: where the store is. It need not exist.

use serde::Serialize;

use crate::cli;
use crate::error::Result;
use crate::store;
use crate::ui::Printer;

/// `pyimg dir --json`
#[derive(Debug, Serialize)]
struct Directory {
    /// The store's directory, absolute; what is not UTF-8 is replaced.
    directory: String,
    /// Whether it is there.
    exists: bool,
}

pub(super) fn run(args: &cli::Dir, printer: &Printer) -> Result<()> {
    use std::os::unix::ffi::OsStrExt as _;

    let directory = store::default_dir()?;
    if args.json {
        let exists = directory.exists();
        return printer.json(&Directory { directory: directory.display().to_string(), exists });
    }
    // Byte for byte: `rm -r "$(pyimg dir)"` must mean what it says.
    let mut line = directory.as_os_str().as_bytes().to_vec();
    line.push(b'\n');
    printer.raw_data(&line)
}
