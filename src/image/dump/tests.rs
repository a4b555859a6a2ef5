use super::*;
use crate::image::testing::images;

fn broken(change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) -> String {
    let mut files = images(&[], &[(1, [0; 4096]), (5, [0; 4096])], &[]);
    change(&mut files);
    Dump::read(files).unwrap_err().what
}

#[test]
fn a_dump_is_read_and_written_unchanged() {
    let files = images(&[], &[(1, [3; 4096])], &[(9, "/x")]);
    let dump = Dump::read(files.clone()).unwrap();
    assert_eq!(dump.pid(), 7);
    assert_eq!(dump.regular_file(9).unwrap().name(), "/x");
    assert!(dump.regular_file(8).is_none());
    assert_eq!(dump.into_files(), files);
}

#[test]
fn what_is_missing_is_named() {
    for name in ["pstree.img", "core-7.img", "mm-7.img", "pagemap-7.img", "pages-1.img"] {
        assert_eq!(broken(|files| drop(files.remove(name))), format!("{name} is missing"));
    }
    let said = broken(|files| drop(files.remove("fdinfo-2.img")));
    assert_eq!(said, "not exactly one table of descriptors");
}

#[test]
fn a_pages_file_of_another_size_is_refused() {
    let said = broken(|files| files.get_mut("pages-1.img").unwrap().truncate(5000));
    assert_eq!(said, "pages-1.img has 5000 bytes where its pagemap says 8192");
}

#[test]
fn more_than_one_process_is_refused() {
    let said = broken(|files| {
        let mut tree: Image<Pstree> = Image::parse(&files["pstree.img"]).unwrap();
        tree.entries.push(tree.entries[0].clone());
        files.insert("pstree.img".into(), tree.to_bytes());
    });
    assert_eq!(said, "2 processes were dumped where one is expected");
}

#[test]
fn pages_that_overlap_or_are_elsewhere_are_refused() {
    let with = |change: fn(&mut PagemapEntry)| {
        broken(|files| {
            let mut pagemap = Pagemap::parse(&files["pagemap-7.img"]).unwrap();
            change(&mut pagemap.entries[1]);
            files.insert("pagemap-7.img".into(), pagemap.to_bytes());
        })
    };
    assert_eq!(with(|entry| entry.set_vaddr(0x1000)), "a bad run of pages at 0x1000");
    assert_eq!(with(|entry| entry.set_nr_pages(u64::MAX)), "a bad run of pages at 0x5000");
    assert_eq!(with(|entry| entry.set_flags(1)), "pages at 0x5000 are not in this dump");
}
