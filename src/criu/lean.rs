//! Starts CRIU without the libraries that a restore has no use for.
//!
//! CRIU is linked against GnuTLS, for page servers, and against nftables, to lock a
//! network. Loading these two and the dozen that they bring along takes 2.0 ms of the
//! 3.4 ms in which `criu --version` runs (median of 40 on the machine of the other
//! figures), and a restore calls neither. So two empty libraries of the same names are
//! preloaded; the dynamic linker takes them for the real ones and looks a function up only
//! when it is called.
//!
//! Where that does not work - a CRIU that is linked otherwise, or a file system without
//! `exec` - CRIU does not start, or the linker passes the libraries over. The first is
//! noticed and remembered for a while ([`Lean::give_up`]), and everything is as it would be
//! without this module. Only for a while, because a CRIU that was killed looks the same. For a binary with file capabilities the linker ignores preloading.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The empty libraries: name and content.
static LIBRARIES: [(&str, &[u8]); 2] = [
    ("libgnutls.so.30", include_bytes!(concat!(env!("OUT_DIR"), "/libgnutls.so.30"))),
    ("libnftables.so.1", include_bytes!(concat!(env!("OUT_DIR"), "/libnftables.so.1"))),
];

/// For how long CRIU is started without them once it did not start with them. Trying in vain
/// costs a few milliseconds, doing without them two at every start.
const PAUSE: Duration = Duration::from_secs(600);

/// The libraries as files in a private directory.
#[derive(Debug)]
pub(super) struct Lean {
    files: Vec<PathBuf>,
}

impl Lean {
    /// Finds or writes the libraries below the directory of one CRIU binary; none if they
    /// were given up for this binary not long ago.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn prepare(directory: &Path) -> io::Result<Option<Self>> {
        let mut files = Vec::new();
        for (name, content) in LIBRARIES {
            let path = directory.join(name);
            match fs::metadata(&path) {
                Ok(found) if found.len() == 0 && is_recent(&found) => return Ok(None),
                Ok(found) if found.len() == content.len() as u64 => {}
                _ => {
                    let mut file = tempfile::NamedTempFile::new_in(directory)?;
                    file.write_all(content)?;
                    file.persist(&path)?;
                }
            }
            files.push(path);
        }
        Ok(Some(Self { files }))
    }

    /// The value of `LD_PRELOAD` that has the linker take them.
    pub fn preload(&self) -> OsString {
        let mut list = OsString::new();
        for file in &self.files {
            list.push(if list.is_empty() { "" } else { ":" });
            list.push(file);
        }
        list
    }

    /// CRIU did not start with them: for ten minutes it will be started without.
    pub fn give_up(&self) {
        for file in &self.files {
            let _ = fs::write(file, "");
        }
    }
}

fn is_recent(found: &fs::Metadata) -> bool {
    // A time in the future, after the clock was set back, is no reason to wait for it.
    found.modified().is_ok_and(|at| at.elapsed().is_ok_and(|since| since < PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_are_written_once_and_given_up_for_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let lean = Lean::prepare(directory.path()).unwrap().expect("nothing was given up yet");
        let list = lean.preload().into_string().unwrap();
        assert_eq!(list.split(':').count(), 2, "{list}");
        assert!(list.ends_with("/libnftables.so.1"), "{list}");
        assert!(Lean::prepare(directory.path()).unwrap().is_some());
        lean.give_up();
        assert!(Lean::prepare(directory.path()).unwrap().is_none());
        let long_ago = std::time::SystemTime::now() - PAUSE;
        for file in &lean.files {
            fs::File::options().write(true).open(file).unwrap().set_modified(long_ago).unwrap();
        }
        let again = Lean::prepare(directory.path()).unwrap().expect("the pause is over");
        assert_eq!(fs::read(&again.files[0]).unwrap(), LIBRARIES[0].1);
    }
}
