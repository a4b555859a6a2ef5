//! The evidence of many images, checked at one time.
//!
//! Thousands of images depend on mostly the same files. What each says about a file has an
//! answer, and the same about the same file has the same answer: so every file is looked at
//! once, by each thread.

use std::io;

use foldhash::HashMap;

use super::fact::{Fact, Place};
use super::text::Text;
use super::{Changed, Directory, Evidence, Listing, LookedThrough, VERSION};

/// So many answers are remembered at most, in case the images share nothing: some 100 MB.
const MOST: usize = 500_000;

/// So many bytes of whole evidences are remembered at most.
const MOST_BYTES: usize = 16 << 20;

/// Checks the evidence of one image after the other, and remembers what it has seen. It is
/// for one moment: a file that changes meanwhile may not be noticed.
#[derive(Debug, Default)]
pub struct Many {
    /// By all that an image says: some images were made of the same modules.
    whole: HashMap<Box<[u8]>, Option<Changed>>,
    whole_bytes: usize,
    /// By a directory's path, then by what was so of a name there.
    directories: HashMap<Text<'static>, HashMap<Fact<'static>, Option<Changed>>>,
    /// By a directory that was looked through, with what was found there.
    listings: HashMap<Listing<'static>, Option<Changed>>,
    count: usize,
}

impl Many {
    /// As [`Evidence::first_change`], for the bytes of [`Evidence::to_bytes`].
    ///
    /// # Errors
    /// When the bytes are damaged.
    pub fn first_change(&mut self, evidence: &[u8]) -> io::Result<Option<Changed>> {
        if let Some(known) = self.whole.get(evidence) {
            return Ok(known.clone());
        }
        let change = self.look(&Evidence::parse(evidence)?);
        if self.whole_bytes + evidence.len() <= MOST_BYTES {
            self.whole_bytes += evidence.len();
            self.whole.insert(evidence.into(), change.clone());
        }
        Ok(change)
    }

    fn look(&mut self, evidence: &Evidence) -> Option<Changed> {
        if evidence.version != VERSION {
            return Some(Changed::Version);
        }
        if self.count > MOST {
            *self = Self::default();
        }
        let in_files = evidence.directories.iter().find_map(|directory| self.directory(directory));
        in_files.or_else(|| evidence.listings.iter().find_map(|listing| self.listing(listing)))
    }

    fn directory(&mut self, directory: &Directory) -> Option<Changed> {
        let known = self.directories.entry(directory.path.clone().into_owned()).or_default();
        let place = Place::of_few(directory.path.as_path());
        directory.facts().find_map(|fact| {
            let answers: &HashMap<Fact, _> = known;
            if let Some(known) = answers.get(&fact) {
                return known.clone();
            }
            let change = fact.change(&place);
            known.insert(fact.into_owned(), change.clone());
            self.count += 1;
            change
        })
    }

    fn listing(&mut self, listing: &Listing) -> Option<Changed> {
        let answers: &HashMap<Listing, _> = &self.listings;
        if let Some(known) = answers.get(listing) {
            return known.clone();
        }
        let change = listing.first_change(&mut LookedThrough::default());
        self.listings.insert(listing.clone().into_owned(), change.clone());
        self.count += 1;
        change
    }
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
                    assert_eq!(many.first_change(&image.to_bytes()).unwrap(), image.first_change());
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
        let good = Evidence::record([file], []).unwrap().to_bytes();
        for length in 0..good.len() {
            assert!(many.first_change(&good[..length]).is_err());
        }
        assert!(many.first_change(&[&good[..], b"\0"].concat()).is_err());
        assert!(many.first_change(&[3, 0xff, 0xff, 0xff, 0xff, 0x7f]).is_err());
        assert!(many.first_change(b"\xff").is_err());
        assert_eq!(many.first_change(&good).unwrap(), None);
    }
}
