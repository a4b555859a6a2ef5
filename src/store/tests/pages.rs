//! Pages: whatever goes in comes out, and what is there is not stored again.

use proptest::prelude::*;

use super::*;
use crate::store::access;

#[test]
fn an_image_reads_back() {
    let (_dir, store) = store();
    let memory = pages((1..=40).chain([0; 20]).chain(41..=43));
    let image = build(&store, record("one"), &memory).unwrap();
    assert_eq!(read_back(&store, &image.id), memory);
    assert_eq!(image.page_bytes, 63 * 4096);
    assert_eq!(image.new_bytes, 43 * 4096);
    assert_eq!(image.file_bytes, 4);
    assert_clean(&store, &["one"]);
}

#[test]
fn a_rebuild_of_the_same_pages_adds_no_pack() {
    let (_dir, store) = store();
    let memory = pages(1..=3000);
    build(&store, record("one"), &memory).unwrap();
    let two = build(&store, record("two"), &memory).unwrap();
    assert_eq!(two.new_bytes, 0);
    assert_eq!(read_back(&store, &two.id), memory);
    assert_eq!(files_in(&store.dir().join("packs")).len(), 1);
    let manifest = store.load_manifest::<Content>(&two.id).unwrap();
    assert_eq!(manifest.extents.len(), 1);
}

#[test]
fn changed_pages_are_stored_between_known_ones() {
    let (_dir, store) = store();
    build(&store, record("one"), &pages(1..=100)).unwrap();
    let memory = pages((1..=40).chain([999]).chain(42..=100));
    let two = build(&store, record("two"), &memory).unwrap();
    assert_eq!(two.new_bytes, 4096);
    assert_eq!(read_back(&store, &two.id), memory);
    let manifest = store.load_manifest::<Content>(&two.id).unwrap();
    assert_eq!(manifest.extents.iter().map(|extent| extent.pages).collect::<Vec<_>>(), [40, 1, 59]);
    assert_eq!(manifest.packs.len(), 2);
}

#[test]
fn extents_that_follow_each_other_are_one() {
    let (_dir, store) = store();
    let mut ingest = store.begin(0).unwrap();
    // Known in two halves, which lie next to each other in the pack.
    ingest.add_run(ADDRESS, &pages(1..=20)).unwrap();
    ingest.add_run(ADDRESS + (1 << 20), &pages(21..=40)).unwrap();
    let extents = ingest.add_run(ADDRESS + (2 << 20), &pages(1..=40)).unwrap();
    let source = Source::Pack { pack: 0, first_page: 0 };
    assert_eq!(extents, [Extent { address: ADDRESS + (2 << 20), pages: 40, source }]);
    // But two runs are never one, wherever they stand.
    assert_eq!(ingest.seal().unwrap().extents().len(), 3);
}

#[test]
fn an_image_of_zeroes_has_no_pack() {
    let (_dir, store) = store();
    let image = build(&store, record("zero"), &pages([0; 50])).unwrap();
    assert_eq!(read_back(&store, &image.id), pages([0; 50]));
    assert_eq!(files_in(&store.dir().join("packs")), [""; 0]);
}

#[test]
fn halves_of_pages_are_refused() {
    let (_dir, store) = store();
    let mut ingest = store.begin(0).unwrap();
    let error = ingest.add_run(4096, &[0; 4095]).unwrap_err();
    assert_eq!(error.to_string(), "4095 bytes at address 0x1000 are not whole pages");
    let error = ingest.add_run(4097, &[0; 4096]).unwrap_err();
    assert_eq!(error.to_string(), "4096 bytes at address 0x1001 are not whole pages");
    assert_eq!(ingest.add_run(4096, &[]).unwrap(), []);
}

#[test]
fn a_damaged_pack_is_not_built_upon_but_mended() {
    let (_dir, store) = store();
    let memory = pages(1..=100);
    let one = build(&store, record("one"), &memory).unwrap();
    let pack = store.pack_path(&store.load_manifest::<Content>(&one.id).unwrap().packs[0].id);
    let damage = [
        |pack: &Path| std::fs::write(pack, b"nonsense").unwrap(),
        |pack: &Path| std::fs::remove_file(pack).unwrap(),
        |pack: &Path| {
            let mut bytes = std::fs::read(pack).unwrap();
            bytes[5000] ^= 1;
            std::fs::write(pack, bytes).unwrap();
        },
    ];
    for damage in damage {
        damage(&pack);
        store.load_manifest::<Content>(&one.id).unwrap_err();
        // Pages in common are not taken from it …
        let other = pages((1..=50).chain(200..=250));
        let two = build(&store, record("two"), &other).unwrap();
        assert_eq!(two.new_bytes, 101 * 4096);
        assert_eq!(read_back(&store, &two.id), other);
        store.remove(&[two.record.key]).unwrap();
        // … and who stores the same pages again makes the first image whole.
        let three = build(&store, record("three"), &memory).unwrap();
        assert_eq!(read_back(&store, &three.id), memory);
        assert_eq!(read_back(&store, &one.id), memory);
        store.remove(&[three.record.key]).unwrap();
        assert_clean(&store, &["one"]);
    }
}

#[test]
fn a_pack_that_nobody_refers_to_is_taken_over_if_it_is_whole() {
    let (_dir, store) = store();
    let memory = pages(1..=100);
    let one = build(&store, record("one"), &memory).unwrap();
    let pack = store.pack_path(&store.load_manifest::<Content>(&one.id).unwrap().packs[0].id);
    let bytes = std::fs::read(&pack).unwrap();
    store.remove(&[one.record.key]).unwrap();
    let private = || access::private_file(&pack).unwrap();
    std::io::Write::write_all(&mut private(), &bytes).unwrap();
    let two = build(&store, record("two"), &memory).unwrap();
    assert_eq!(read_back(&store, &two.id), memory);
    store.remove(&[two.record.key]).unwrap();
    private();
    let error = build(&store, record("three"), &memory).unwrap_err();
    assert_eq!(error.to_string(), format!("the pack {} was changed", pack.display()));
    assert_eq!(error.hint_text().unwrap(), format!("remove it: `rm {}`", pack.display()));
}

/// Runs of pages: some known from before, some zero, some new, short and long.
fn runs() -> impl Strategy<Value = Vec<Vec<u32>>> {
    let stretch = (0_u32..60, 1_u32..40, 0_u8..4).prop_map(|(from, length, kind)| match kind {
        0 => vec![0; length as usize],
        1 => (from * 1000..from * 1000 + length).collect(),
        _ => (1 + from..1 + from + length).collect(),
    });
    let run = proptest::collection::vec(stretch, 0..6).prop_map(|stretches| stretches.concat());
    proptest::collection::vec(run, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Any images, one after the other in one store, each in several runs, read
    /// back as they were; the same image again adds at most what short stretches
    /// repeat.
    #[test]
    fn whatever_is_stored_reads_back(images in proptest::collection::vec(runs(), 1..4)) {
        let (_dir, store) = store();
        for (number, runs) in images.iter().enumerate() {
            for round in ["first", "again"] {
                let mut ingest = store.begin(0).unwrap();
                let mut at = ADDRESS;
                for run in runs {
                    let memory = pages(run.iter().copied());
                    let extents = ingest.add_run(at, &memory).unwrap();
                    let covered: u64 = extents.iter().map(|extent| extent.pages).sum();
                    prop_assert_eq!(covered as usize * PAGE, memory.len());
                    at += memory.len() as u64;
                }
                let sealed = ingest.seal().unwrap();
                let name = format!("{round}-{number}");
                let image = sealed.commit(record(&name), &Content::new(), &[]).unwrap();
                let whole = pages(runs.concat());
                prop_assert_eq!(read_back(&store, &image.id), whole);
            }
        }
    }
}
