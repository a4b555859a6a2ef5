//! Zip archives, as Python's `zipimport` sees them.
//!
//! A program may be an archive, with a `#!` line in front or without, and so may a directory
//! of the search path. Only what an image is chosen by is read of one: the names in it, and
//! the sources that the program would import. What is unusual about an archive (encrypted, too
//! large, more entries than it says) is an error, and so a miss; whether the archive can be
//! run at all is for Python to say.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use foldhash::fast::RandomState;
use rawzip::{CompressionMethod, FileReader, ZipArchive, ZipArchiveEntryWayfinder, ZipLocator};

/// Where the record that ends an archive may begin before the end of the file: its own
/// length, and the longest comment.
const MAX_END: u16 = u16::MAX;
const END_LENGTH: u64 = 22;
/// How many entries an archive may have. Each takes about 0.1 us to read.
const MAX_ENTRIES: u64 = 8192;
/// How long one entry's record may be, in bytes.
const BUFFER: usize = 64 * 1024;

/// An archive, of which the directory has been read.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    zip: ZipArchive<FileReader>,
    files: HashMap<String, Entry, RandomState>,
    directories: HashSet<String, RandomState>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    place: ZipArchiveEntryWayfinder,
    method: CompressionMethod,
    is_encrypted: bool,
}

/// Whether `zipimport` would take a file for an archive: it looks for the record that ends
/// an archive's directory. Leaves the file at its beginning.
///
/// # Errors
/// When it cannot be read.
pub fn is_archive(file: &mut File) -> io::Result<bool> {
    let size = file.metadata()?.len();
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(size.saturating_sub(END_LENGTH + u64::from(MAX_END))))?;
    file.take(END_LENGTH + u64::from(MAX_END)).read_to_end(&mut tail)?;
    file.rewind()?;
    Ok(memchr::memmem::rfind(&tail, b"PK\x05\x06").is_some())
}

impl Archive {
    /// Reads the directory of an archive, which goes by the name `path`.
    ///
    /// # Errors
    /// What is wrong or unusual with it, as a phrase that follows its name.
    pub fn read(path: PathBuf, file: File) -> Result<Self, String> {
        let broken =
            |error: rawzip::Error| format!("is a zip archive that cannot be read: {error}");
        let mut buffer = vec![0; BUFFER];
        let locator = ZipLocator::new().max_search_space(END_LENGTH + u64::from(MAX_END));
        let zip = locator.locate_in_file(file, &mut buffer).map_err(|(_, error)| broken(error))?;
        let count = zip.entries_hint();
        if count > MAX_ENTRIES {
            return Err(format!("is a zip archive of {count} entries, which are too many"));
        }
        let mut files = HashMap::default();
        let mut directories = HashSet::default();
        let mut entries = zip.entries(&mut buffer);
        let mut seen = 0;
        while let Some(entry) = entries.next_entry().map_err(broken)? {
            seen += 1;
            // Names in old encodings are no names of modules.
            let name = entry.file_path();
            let Ok(name) = std::str::from_utf8(name.as_bytes()) else { continue };
            for (at, _) in name.match_indices('/').rev() {
                if !directories.insert(name[..at].to_owned()) {
                    break;
                }
            }
            if !name.ends_with('/') {
                let entry = Entry {
                    place: entry.wayfinder(),
                    method: entry.compression_method(),
                    is_encrypted: entry.flags().is_encrypted(),
                };
                files.insert(name.to_owned(), entry);
            }
        }
        if seen != count {
            return Err(format!("is a zip archive of {seen} entries that says it has {count}"));
        }
        Ok(Self { path, zip, files, directories })
    }

    /// Opens the archive that a path of the search path names, if it does name one.
    ///
    /// # Errors
    /// As [`Archive::read`].
    pub fn at(path: &Path) -> Result<Option<Self>, String> {
        if !path.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Ok(None);
        }
        // What we cannot open Python cannot either.
        let Ok(mut file) = File::open(path) else { return Ok(None) };
        match is_archive(&mut file) {
            Ok(true) => Self::read(path.to_owned(), file).map(Some),
            Ok(false) | Err(_) => Ok(None),
        }
    }

    /// Whether there is such a file; `path` begins with the archive's own.
    pub fn has_file(&self, path: &Path) -> bool {
        self.within(path).is_some_and(|name| self.files.contains_key(name))
    }

    /// Whether there is such a directory; `path` begins with the archive's own.
    pub fn has_directory(&self, path: &Path) -> bool {
        self.within(path).is_some_and(|name| name.is_empty() || self.directories.contains(name))
    }

    /// The names of all files in the archive.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The names of all directories in the archive.
    pub fn directories(&self) -> impl Iterator<Item = &str> {
        self.directories.iter().map(String::as_str)
    }

    /// The beginning of a file, at most `limit` bytes; `path` begins with the archive's own.
    /// Nothing if there is no such file.
    ///
    /// # Errors
    /// What is wrong or unusual with the file, as a phrase that follows the archive's name.
    pub fn text(&self, path: &Path, limit: usize) -> Result<Option<Vec<u8>>, String> {
        let Some(name) = self.within(path) else { return Ok(None) };
        let Some(entry) = self.files.get(name) else { return Ok(None) };
        if entry.is_encrypted {
            return Err(format!("is a zip archive in which {name} is encrypted"));
        }
        let broken = |why: &dyn std::fmt::Display| {
            format!("is a zip archive in which {name} is broken: {why}")
        };
        let data = self.zip.get_entry(entry.place).map_err(|error| broken(&error))?;
        let mut stored = Vec::new();
        // What is deflated is hardly ever longer than what comes of it.
        let read = data.reader().take(limit as u64).read_to_end(&mut stored);
        read.map_err(|error| broken(&error))?;
        match entry.method {
            CompressionMethod::STORE => Ok(Some(stored)),
            CompressionMethod::DEFLATE => {
                match miniz_oxide::inflate::decompress_to_vec_with_limit(&stored, limit) {
                    Ok(text) => Ok(Some(text)),
                    // The beginning of what is too long.
                    Err(error)
                        if error.status == miniz_oxide::inflate::TINFLStatus::HasMoreOutput =>
                    {
                        Ok(Some(error.output))
                    }
                    Err(error) => Err(broken(&error)),
                }
            }
            _ => Err(format!("is a zip archive in which {name} is compressed unusually")),
        }
    }

    /// The name in the archive of a path that begins with the archive's.
    fn within<'a>(&self, path: &'a Path) -> Option<&'a str> {
        path.strip_prefix(&self.path).ok()?.to_str()
    }
}

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
