//! The evidence of many images, checked at one time.
//!
//! Thousands of images depend on mostly the same files. What each says about a file is a
//! piece of text, and the same text has the same answer: so the text is not even parsed if
//! it was seen before, and every file is looked at once, by each thread.

use std::io;

use foldhash::{HashMap, HashMapExt as _};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Changed, Difference, Directory, FileState, Site};

/// So many answers are remembered at most, in case the images share nothing: some 100 MB.
const MOST: usize = 500_000;

/// So many bytes of whole evidences are remembered at most.
const MOST_TEXT: usize = 16 << 20;

/// Checks the evidence of one image after the other, and remembers what it has seen. It is
/// for one moment: a file that changes meanwhile may not be noticed.
#[derive(Debug, Default)]
pub struct Many {
    /// By all that an image says: some images were made of the same modules.
    whole: HashMap<Box<[u8]>, Option<Changed>>,
    whole_bytes: usize,
    /// By the text of a directory's path, then by the text about a file there.
    directories: HashMap<Box<str>, HashMap<Box<str>, Option<Difference>>>,
    /// By the text about a site directory.
    sites: HashMap<Box<str>, Option<Changed>>,
    count: usize,
}

#[derive(Deserialize)]
struct RawEvidence<'a> {
    #[serde(borrow)]
    directories: Vec<RawDirectory<'a>>,
    #[serde(borrow)]
    sites: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawDirectory<'a> {
    #[serde(borrow)]
    path: &'a RawValue,
    #[serde(borrow)]
    files: Vec<&'a RawValue>,
}

impl Many {
    /// As [`super::Evidence::first_change`], for the text of [`super::Evidence::to_json`].
    ///
    /// # Errors
    /// When the text is damaged. What was seen before is not looked at so closely.
    pub fn first_change(&mut self, evidence: &[u8]) -> io::Result<Option<Changed>> {
        if let Some(known) = self.whole.get(evidence) {
            return Ok(known.clone());
        }
        let change = self.look(evidence)?;
        if self.whole_bytes + evidence.len() <= MOST_TEXT {
            self.whole_bytes += evidence.len();
            self.whole.insert(evidence.into(), change.clone());
        }
        Ok(change)
    }

    fn look(&mut self, evidence: &[u8]) -> io::Result<Option<Changed>> {
        let text = std::str::from_utf8(evidence).map_err(io::Error::other)?;
        let evidence: RawEvidence = serde_json::from_str(text)?;
        if self.count > MOST {
            *self = Self::default();
        }
        for directory in &evidence.directories {
            if let Some(changed) = self.directory(directory)? {
                return Ok(Some(changed));
            }
        }
        for site in evidence.sites {
            if let Some(changed) = self.site(site.get())? {
                return Ok(Some(changed));
            }
        }
        Ok(None)
    }

    fn directory(&mut self, raw: &RawDirectory) -> io::Result<Option<Changed>> {
        let path = raw.path.get();
        if !self.directories.contains_key(path) {
            self.directories.insert(path.into(), HashMap::new());
        }
        let Some(known) = self.directories.get_mut(path) else { return Ok(None) };
        for text in &raw.files {
            let text = text.get();
            let change = match known.get(text) {
                Some(None) => continue,
                Some(Some(what)) => Some(*what),
                None => {
                    let change = single(path, text)?.first_change().map(|changed| changed.what);
                    known.insert(text.into(), change);
                    self.count += 1;
                    change
                }
            };
            if let Some(what) = change {
                let directory = single(path, text)?;
                return Ok(Some(Changed { path: directory.path_of(&directory.files[0]), what }));
            }
        }
        Ok(None)
    }

    fn site(&mut self, text: &str) -> io::Result<Option<Changed>> {
        if let Some(known) = self.sites.get(text) {
            return Ok(known.clone());
        }
        let change = serde_json::from_str::<Site>(text)?.change();
        self.sites.insert(text.into(), change.clone());
        self.count += 1;
        Ok(change)
    }
}

/// A directory of one file, from the texts about both.
fn single(path: &str, file: &str) -> serde_json::Result<Directory> {
    let file: FileState = serde_json::from_str(file)?;
    Ok(Directory { path: serde_json::from_str::<Path>(path)?.0, files: vec![file] })
}

/// A path alone.
#[derive(Deserialize)]
struct Path(#[serde(with = "super::bytes_as_text")] Vec<u8>);

#[cfg(test)]
mod tests {
    use super::super::Evidence;
    use super::*;
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn it_says_what_each_would_say() {
        let tree = tempfile::tempdir().unwrap();
        let path = |name: &str| tree.path().join(name);
        let strange = tree.path().join(std::ffi::OsStr::from_bytes(b"strange-\xff"));
        fs::create_dir(&strange).unwrap();
        fs::create_dir(path("site")).unwrap();
        let files = [path("a.py"), path("b \"quoted\" ü.py"), strange.join("c.py")];
        for file in &files {
            fs::write(file, "x = 1\n").unwrap();
        }
        let record = |files: &[std::path::PathBuf]| {
            Evidence::record(files.to_vec(), [path("site"), path("absent")]).unwrap()
        };
        let images = [record(&files), record(&files[..1]), record(&files[1..]), record(&[])];
        let check = || {
            let mut many = Many::default();
            // Twice: once looked at, once remembered.
            for _ in 0..2 {
                for image in &images {
                    assert_eq!(many.first_change(&image.to_json()).unwrap(), image.first_change());
                }
            }
        };
        check();
        fs::write(&files[1], "x = 22\n").unwrap();
        check();
        fs::remove_file(&files[0]).unwrap();
        check();
        fs::remove_dir_all(&strange).unwrap();
        check();
        fs::write(path("site/new.pth"), "/srv\n").unwrap();
        check();
    }

    #[test]
    fn damage_is_an_error() {
        let (tree, mut many) = (tempfile::tempdir().unwrap(), Many::default());
        let file = tree.path().join("a.py");
        fs::write(&file, "").unwrap();
        let good = Evidence::record([file], []).unwrap().to_json();
        for length in 0..good.len() {
            assert!(many.first_change(&good[..length]).is_err());
        }
        assert!(many.first_change(b"{\"directories\":[7],\"sites\":[]}").is_err());
        assert!(many.first_change(b"\xff").is_err());
        assert_eq!(many.first_change(&good).unwrap(), None);
    }
}
