//! A dump made by hand, for tests of what is done to dumps.

use std::collections::BTreeMap;

use super::PAGE_SIZE;
use super::file::{Frames, Image, encode};
use super::message::{
    Core, FdInfo, File, Fown, Mm, PagemapEntry, PagemapHead, Pstree, RegFile, Vma,
};

/// `PE_PRESENT | PE_LAZY`, as CRIU writes it for private memory.
const PRESENT: u32 = 6;

/// A region to be: its addresses in pages, status, flags and protection, and its file.
#[derive(Debug, Clone, Copy)]
pub struct Region {
    pub first: u64,
    pub end: u64,
    pub status: u32,
    pub flags: u32,
    pub prot: u32,
    pub file: u32,
}

/// Images of a process with these regions, these dumped pages (number and content, in
/// order) and these files.
pub fn images(
    regions: &[Region],
    pages: &[(u64, [u8; 4096])],
    files: &[(u32, &str)],
) -> BTreeMap<String, Vec<u8>> {
    let mut process = Pstree::new();
    process.set_pid(7);
    process.set_ppid(0);
    process.set_pgid(7);
    process.set_sid(7);
    process.threads = vec![7];
    let mut core = Core::new();
    core.set_mtype(1);
    let mut mm = Mm::new();
    mm.set_mm_start_brk(0);
    mm.set_mm_brk(0);
    mm.set_exe_file_id(1);
    mm.vmas = regions.iter().map(vma).collect();
    let mut head = PagemapHead::new();
    head.set_pages_id(1);
    let entries = pages.iter().map(|(number, _)| {
        let mut entry = PagemapEntry::new();
        entry.set_vaddr(number * PAGE_SIZE);
        entry.set_compat_nr_pages(1);
        entry.set_flags(PRESENT);
        entry.set_nr_pages(1);
        encode(&entry)
    });
    let pagemap =
        Frames { magic: 3, messages: std::iter::once(encode(&head)).chain(entries).collect() };
    let table = files.iter().map(|(id, name)| regular(*id, name)).collect();
    BTreeMap::from([
        ("pstree.img".to_owned(), Image { magic: 1, entries: vec![process] }.to_bytes()),
        ("core-7.img".to_owned(), Image { magic: 2, entries: vec![core] }.to_bytes()),
        ("mm-7.img".to_owned(), Image { magic: 4, entries: vec![mm] }.to_bytes()),
        ("pagemap-7.img".to_owned(), pagemap.to_bytes()),
        ("pages-1.img".to_owned(), pages.iter().flat_map(|(_, page)| *page).collect()),
        ("files.img".to_owned(), Image::<File> { magic: 5, entries: table }.to_bytes()),
        ("fdinfo-2.img".to_owned(), Image::<FdInfo> { magic: 6, entries: Vec::new() }.to_bytes()),
        ("ids-7.img".to_owned(), b"untouched".to_vec()),
    ])
}

fn vma(region: &Region) -> Vma {
    let mut vma = Vma::new();
    vma.set_start(region.first * PAGE_SIZE);
    vma.set_end(region.end * PAGE_SIZE);
    vma.set_pgoff(0);
    vma.set_shmid(u64::from(region.file));
    vma.set_prot(region.prot);
    vma.set_flags(region.flags);
    vma.set_status(region.status | 1);
    vma.set_fd(-1);
    vma
}

fn regular(id: u32, name: &str) -> File {
    let mut owner = Fown::new();
    for set in [Fown::set_uid, Fown::set_euid, Fown::set_signum, Fown::set_pid_type, Fown::set_pid]
    {
        set(&mut owner, 0);
    }
    let mut regular = RegFile::new();
    regular.set_id(id);
    regular.set_flags(0);
    regular.set_pos(0);
    regular.fown = Some(owner).into();
    regular.set_name(name.into());
    let mut file = File::new();
    file.set_type(1);
    file.set_id(id);
    file.reg = Some(regular).into();
    file
}
