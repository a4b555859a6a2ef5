//! The evidence of many images, checked at one time.
//!
//! Thousands of images depend on mostly the same files. What each says about a file is a
//! piece of text, and the same text has the same answer: so the text is not even parsed if
//! it was seen before, and every file is looked at once, by each thread.

use std::io;

use foldhash::HashMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::text::Text;
use super::{Changed, Directory, Evidence, Listing, VERSION};

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
    /// By the text of a directory's path, then by the text about a name there.
    directories: HashMap<Box<str>, [Answers; 4]>,
    /// By the text about a directory that was looked through.
    listings: Answers,
    count: usize,
}

/// What was found out, by the text about it.
type Answers = HashMap<Box<str>, Option<Changed>>;

#[derive(Deserialize)]
struct RawEvidence<'a> {
    version: u32,
    #[serde(borrow)]
    directories: Vec<RawDirectory<'a>>,
    #[serde(borrow)]
    listings: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawDirectory<'a> {
    #[serde(borrow)]
    path: &'a RawValue,
    #[serde(borrow)]
    files: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    links: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    present: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    absent: Vec<&'a RawValue>,
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
        let evidence: RawEvidence = match serde_json::from_str(text) {
            Ok(evidence) => evidence,
            Err(_) => return Ok(Evidence::parse(evidence)?.first_change()),
        };
        if evidence.version != VERSION {
            return Ok(Some(Changed::Version));
        }
        if self.count > MOST {
            *self = Self::default();
        }
        for directory in &evidence.directories {
            if let Some(changed) = self.directory(directory)? {
                return Ok(Some(changed));
            }
        }
        for listing in evidence.listings {
            if let Some(changed) = self.listing(listing.get())? {
                return Ok(Some(changed));
            }
        }
        Ok(None)
    }

    fn directory(&mut self, raw: &RawDirectory) -> io::Result<Option<Changed>> {
        let path = raw.path.get();
        if !self.directories.contains_key(path) {
            self.directories.insert(path.into(), Default::default());
        }
        let Some(known) = self.directories.get_mut(path) else { return Ok(None) };
        let kinds = [&raw.files, &raw.links, &raw.present, &raw.absent];
        for (kind, texts) in kinds.into_iter().enumerate() {
            for text in texts {
                let text = text.get();
                let change = match known[kind].get(text) {
                    Some(known) => known.clone(),
                    None => {
                        let change = single(path, kind, text)?.first_change();
                        known[kind].insert(text.into(), change.clone());
                        self.count += 1;
                        change
                    }
                };
                if change.is_some() {
                    return Ok(change);
                }
            }
        }
        Ok(None)
    }

    fn listing(&mut self, text: &str) -> io::Result<Option<Changed>> {
        if let Some(known) = self.listings.get(text) {
            return Ok(known.clone());
        }
        let listing = serde_json::from_str::<Listing>(text)?;
        let change = listing.first_change(&mut super::LookedThrough::default());
        self.listings.insert(text.into(), change.clone());
        self.count += 1;
        Ok(change)
    }
}

/// A directory of one name, from the texts about both.
fn single(path: &str, kind: usize, text: &str) -> serde_json::Result<Directory> {
    let mut one = Directory {
        path: serde_json::from_str(path)?,
        files: Vec::new(),
        links: Vec::new(),
        present: Vec::new(),
        absent: Vec::new(),
    };
    match kind {
        0 => one.files.push(serde_json::from_str(text)?),
        1 => one.links.push(serde_json::from_str(text)?),
        2 => one.present.push(serde_json::from_str::<Text>(text)?),
        _ => one.absent.push(serde_json::from_str::<Text>(text)?),
    }
    Ok(one)
}

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
        assert!(many.first_change(b"{\"version\":2,\"directories\":[7],\"listings\":[]}").is_err());
        assert!(many.first_change(b"\xff").is_err());
        assert_eq!(many.first_change(&good).unwrap(), None);
    }
}
