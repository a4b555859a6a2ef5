//! The images of one dumped process, read and typed.
//!
//! A dump that holds more than one process, or misses a part, is refused here;
//! what the parts may contain is for [`super::checks`] to say.

use std::collections::BTreeMap;

use crate::image::PAGE_SIZE;
use crate::image::file::{Frames, Image, Malformed, decode, encode};
use crate::image::message::{Core, FdInfo, File, Mm, PagemapEntry, PagemapHead, Pstree};

/// Flag of a pagemap entry: the pages are in the dump before this one (`PE_PARENT`).
const PAGE_IN_PARENT: u32 = 1 << 0;
/// Flag of a pagemap entry: the pages are in this dump's pages file (`PE_PRESENT`).
pub const PAGE_PRESENT: u32 = 1 << 2;

/// Which pages of the process were dumped, and in which pages file they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Pagemap {
    magic: u32,
    head: PagemapHead,
    /// Runs of pages, in the order in which they follow each other in the pages file.
    pub entries: Vec<PagemapEntry>,
}

/// A run of dumped pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Address of the first page in the process.
    pub address: u64,
    /// Length in pages.
    pub pages: u64,
    /// Position of the first page in the pages file, in pages.
    pub slot: u64,
}

impl Run {
    /// The address after the run's last page.
    pub fn end(&self) -> u64 {
        self.address + self.pages * PAGE_SIZE
    }
}

impl Pagemap {
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let frames = Frames::parse(bytes)?;
        let Some((head, entries)) = frames.messages.split_first() else {
            return Err(Malformed::new("an empty pagemap"));
        };
        Ok(Self {
            magic: frames.magic,
            head: decode(head)?,
            entries: entries.iter().map(|bytes| decode(bytes)).collect::<Result<_, _>>()?,
        })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let head = std::iter::once(encode(&self.head));
        let messages = head.chain(self.entries.iter().map(encode)).collect();
        Frames { magic: self.magic, messages }.to_bytes()
    }

    /// The number in the name of the pages file.
    pub fn pages_id(&self) -> u32 {
        self.head.pages_id()
    }

    /// The runs of pages, with their places in the pages file.
    ///
    /// # Errors
    /// When an entry refers to another dump, which is never made here, or the
    /// entries overlap or are out of order.
    pub fn runs(&self) -> Result<Vec<Run>, Malformed> {
        let mut runs = Vec::with_capacity(self.entries.len());
        let mut slot = 0_u64;
        let mut lowest = 0_u64;
        for entry in &self.entries {
            let address = entry.vaddr();
            let pages = entry.nr_pages.unwrap_or(u64::from(entry.compat_nr_pages()));
            let here = entry
                .flags
                .is_none_or(|flags| flags & (PAGE_IN_PARENT | PAGE_PRESENT) == PAGE_PRESENT);
            if entry.in_parent() || !here {
                return Err(Malformed::new(format!("pages at {address:#x} are not in this dump")));
            }
            let end = pages
                .checked_mul(PAGE_SIZE)
                .and_then(|bytes| address.checked_add(bytes))
                .filter(|_| address % PAGE_SIZE == 0 && address >= lowest);
            let Some(end) = end else {
                return Err(Malformed::new(format!("a bad run of pages at {address:#x}")));
            };
            lowest = end;
            runs.push(Run { address, pages, slot });
            slot += pages;
        }
        Ok(runs)
    }

    /// Replaces the runs; their places in the pages file follow from their order.
    pub fn set_runs(&mut self, runs: impl IntoIterator<Item = (u64, u64)>) {
        self.entries = runs
            .into_iter()
            .map(|(address, pages)| {
                let mut entry = PagemapEntry::new();
                entry.set_vaddr(address);
                entry.set_compat_nr_pages(u32::try_from(pages).expect("a run fits in memory"));
                entry.set_flags(PAGE_PRESENT);
                entry.set_nr_pages(pages);
                entry
            })
            .collect();
    }
}

/// A dump of one process with its threads.
#[derive(Debug, Clone)]
pub struct Dump {
    /// The process, its threads, its group and session.
    pub pstree: Image<Pstree>,
    /// Registers and the like, by thread.
    pub cores: BTreeMap<u32, Image<Core>>,
    /// The memory mappings.
    pub mm: Image<Mm>,
    /// Which pages were dumped.
    pub pagemap: Pagemap,
    /// The pages file.
    pub pages: Vec<u8>,
    /// The files that mappings and descriptors refer to.
    pub files: Image<File>,
    /// The open descriptors.
    pub descriptors: Image<FdInfo>,
    /// Every other image, unread, by file name.
    pub others: BTreeMap<String, Vec<u8>>,
}

impl Dump {
    /// Reads a dump from the files of its directory (name and bytes).
    ///
    /// # Errors
    /// When a part is missing or malformed, when there is more than one process,
    /// or when the pages file is not as long as the pagemap says.
    pub fn read(mut files: BTreeMap<String, Vec<u8>>) -> Result<Self, Malformed> {
        let pstree: Image<Pstree> = part(&mut files, "pstree.img", Image::parse)?;
        let process = match pstree.entries.as_slice() {
            [process] => process.clone(),
            processes => {
                return Err(Malformed::new(format!(
                    "{} processes were dumped where one is expected",
                    processes.len()
                )));
            }
        };
        let pid = process.pid();
        let cores = process
            .threads
            .iter()
            .map(|thread| {
                let core: Image<Core> =
                    part(&mut files, &format!("core-{thread}.img"), Image::parse)?;
                core.single()?;
                Ok((*thread, core))
            })
            .collect::<Result<BTreeMap<_, _>, Malformed>>()?;
        if !cores.contains_key(&pid) {
            return Err(Malformed::new(format!("process {pid} is not among its threads")));
        }
        let mm: Image<Mm> = part(&mut files, &format!("mm-{pid}.img"), Image::parse)?;
        check_regions(mm.single()?)?;
        let pagemap = part(&mut files, &format!("pagemap-{pid}.img"), Pagemap::parse)?;
        let pages_name = format!("pages-{}.img", pagemap.pages_id());
        let pages = files
            .remove(&pages_name)
            .ok_or_else(|| Malformed::new(format!("{pages_name} is missing")))?;
        let expected: u64 = pagemap.runs()?.iter().map(|run| run.pages * PAGE_SIZE).sum();
        if pages.len() as u64 != expected {
            return Err(Malformed::new(format!(
                "{pages_name} has {} bytes where its pagemap says {expected}",
                pages.len()
            )));
        }
        let file_table = part(&mut files, "files.img", Image::parse)?;
        // Process-wide descriptor tables are numbered; one process has one of them.
        let mut tables = files.keys().filter(|name| name.starts_with("fdinfo-"));
        let (table, more) = (tables.next().cloned(), tables.next().is_some());
        let descriptors = match table {
            Some(name) if !more => {
                part(&mut files, &name, Image::parse).map(|image| (name, image))?
            }
            _ => return Err(Malformed::new("not exactly one table of descriptors")),
        };
        // The table is only read; it goes back into the image as it was.
        files.insert(descriptors.0, descriptors.1.to_bytes());
        Ok(Self {
            pstree,
            cores,
            mm,
            pagemap,
            pages,
            files: file_table,
            descriptors: descriptors.1,
            others: files,
        })
    }

    /// The process's pid when it was dumped.
    pub fn pid(&self) -> u32 {
        self.pstree.entries[0].pid()
    }

    /// The ids of its threads, the process's own first.
    pub fn threads(&self) -> &[u32] {
        &self.pstree.entries[0].threads
    }

    /// The memory of the process.
    pub fn memory(&self) -> &Mm {
        &self.mm.entries[0]
    }

    /// The memory of the process, to be changed.
    pub fn memory_mut(&mut self) -> &mut Mm {
        &mut self.mm.entries[0]
    }

    /// The bytes of one run of dumped pages.
    pub fn bytes_of(&self, run: Run) -> &[u8] {
        let start = (run.slot * PAGE_SIZE) as usize;
        &self.pages[start..start + (run.pages * PAGE_SIZE) as usize]
    }

    /// The file of that id, where it is a regular file.
    pub fn regular_file(&self, id: u64) -> Option<&crate::image::message::RegFile> {
        self.files
            .entries
            .iter()
            .find(|file| u64::from(file.id()) == id)
            .and_then(|file| file.reg.as_ref())
    }

    /// Every image file of the dump, by name.
    pub fn into_files(self) -> BTreeMap<String, Vec<u8>> {
        let pid = self.pid();
        let mut files = self.others;
        files.insert("pstree.img".into(), self.pstree.to_bytes());
        for (thread, core) in &self.cores {
            files.insert(format!("core-{thread}.img"), core.to_bytes());
        }
        files.insert(format!("mm-{pid}.img"), self.mm.to_bytes());
        files.insert(format!("pagemap-{pid}.img"), self.pagemap.to_bytes());
        files.insert(format!("pages-{}.img", self.pagemap.pages_id()), self.pages);
        files.insert("files.img".into(), self.files.to_bytes());
        files
    }
}

/// Refuses regions that no process has, so that whoever goes through them need not wonder:
/// they are whole pages, in order, and do not overlap.
fn check_regions(mm: &Mm) -> Result<(), Malformed> {
    let mut lowest = 0;
    for vma in &mm.vmas {
        let (start, end) = (vma.start(), vma.end());
        let whole = start % PAGE_SIZE == 0 && end % PAGE_SIZE == 0;
        let fits = start < end && vma.pgoff().checked_add(end - start).is_some();
        if !whole || !fits || start < lowest {
            return Err(Malformed::new(format!("a bad region at {start:#x}")));
        }
        lowest = end;
    }
    Ok(())
}

fn part<T>(
    files: &mut BTreeMap<String, Vec<u8>>,
    name: &str,
    parse: impl FnOnce(&[u8]) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    let bytes = files.remove(name).ok_or_else(|| Malformed::new(format!("{name} is missing")))?;
    parse(&bytes).map_err(|error| Malformed::new(format!("{name}: {error}")))
}

#[cfg(test)]
mod tests;
