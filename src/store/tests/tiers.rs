//! Tiers: packs that become cold and come back, also cut off, at once, and damaged.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A store with an image of more than one part, some of it zeroes.
fn with_image() -> (tempfile::TempDir, Store, Image, Vec<u8>) {
    let (dir, store) = store();
    let memory = memory();
    let image = build(&store, record("one"), &memory).unwrap();
    (dir, store, image, memory)
}

fn memory() -> Vec<u8> {
    pages((1..=2500).chain([0; 10]).chain(3000..=3100))
}

fn packs(store: &Reader, image: &Image) -> Vec<PackInfo> {
    store.load_manifest::<Content>(&image.id).unwrap().packs
}

fn freeze(store: &Store, image: &Image) -> Frozen {
    let ids: Vec<_> = packs(store, image).iter().map(|pack| pack.id).collect();
    store.freeze(&ids, &mut |_| {}).unwrap()
}

fn files(store: &Reader, image: &Image) -> (PathBuf, PathBuf) {
    let id = packs(store, image)[0].id;
    (store.layout.pack(&id), store.layout.cold_pack(&id))
}

/// Bytes and time of writing, by which a raw file is known.
fn state(path: &Path) -> (Vec<u8>, i64) {
    (fs::read(path).unwrap(), pack::modified_ns(&path.metadata().unwrap()))
}

/// What a file takes on disk, in bytes.
fn on_disk(path: &Path) -> u64 {
    path.metadata().unwrap().blocks() * 512
}

#[test]
fn a_pack_becomes_cold_and_comes_back_as_it_was() {
    let (_dir, store, image, memory) = with_image();
    let (raw, cold) = files(&store, &image);
    let (before, size) = (state(&raw), on_disk(&raw));
    let mut progress = 0;
    let ids: Vec<_> = packs(&store, &image).iter().map(|pack| pack.id).collect();
    let frozen = store.freeze(&ids, &mut |bytes| progress += bytes).unwrap();
    assert_eq!((frozen.packs, frozen.bytes_before), (1, size));
    assert!(frozen.bytes_after * 3 < frozen.bytes_before);
    assert_eq!(progress, before.0.len() as u64);
    assert!(!raw.exists());
    assert_eq!(cold.metadata().unwrap().mode() & 0o7777, 0o600);
    // Anybody's zstd makes the pack of it.
    assert_eq!(zstd::stream::decode_all(fs::File::open(&cold).unwrap()).unwrap(), before.0);

    let packs = packs(&store, &image);
    assert_eq!(store.tier(&packs), Tier::Zstd);
    assert_eq!(store.tiers().unwrap().of_pack(&packs[0].id), Some(Tier::Zstd));
    assert_eq!(store.images().unwrap()[0].tier, Tier::Zstd);
    assert_eq!(store.find("one").unwrap().tier, Tier::Zstd);
    assert_eq!(freeze(&store, &image), Frozen::default(), "it is cold already");

    let run = RunStore::open(store.dir()).unwrap().unwrap();
    run.thaw(&packs, PATIENCE).unwrap();
    assert_eq!(state(&raw), before);
    // Where its blocks lie the file system may write into one more block, once it has chosen them.
    assert!(on_disk(&raw).abs_diff(size) <= 4096, "{} {size}", on_disk(&raw));
    assert!(!cold.exists());
    assert_eq!(read_back(&run, &image.id), memory);
    assert_eq!(store.images().unwrap()[0].tier, Tier::Raw);
    assert_eq!(store.tiers().unwrap().of_pack(&packs[0].id), Some(Tier::Raw));
    run.thaw(&packs, PATIENCE).unwrap();
    assert_clean(&store, &["one"]);
}

#[test]
fn only_what_images_use_becomes_cold() {
    let (_dir, store, image, _) = with_image();
    let id = packs(&store, &image)[0].id;
    store.remove(&[image.record.key]).unwrap();
    assert_eq!(store.freeze(&[id], &mut |_| {}).unwrap(), Frozen::default());
    assert_clean(&store, &[]);
}

#[test]
fn a_cold_pack_is_removed_with_its_last_image() {
    let (_dir, store, image, _) = with_image();
    let frozen = freeze(&store, &image);
    let freed = store.remove(&[image.record.key]).unwrap();
    assert_eq!(freed.packs, 1);
    assert!(freed.bytes >= frozen.bytes_after);
    assert_clean(&store, &[]);
}

#[test]
fn with_both_files_there_the_raw_one_is_taken_if_it_is_whole() {
    let (_dir, store, image, memory) = with_image();
    let (raw, cold) = files(&store, &image);
    let whole = state(&raw);
    freeze(&store, &image);
    let packed = fs::read(&cold).unwrap();
    let put = |path: &Path, bytes: &[u8]| {
        let _ = fs::remove_file(path);
        let file = crate::store::access::private_file(path).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file
    };
    let packs = packs(&store, &image);
    for (damage, cold_is_good) in [(false, false), (true, true)] {
        put(&cold, if cold_is_good { &packed } else { &b"nonsense"[..] });
        put(&raw, if damage { &b"nonsense"[..] } else { &whole.0 });
        if !damage {
            durable::set_time(&raw, packs[0].modified_ns).unwrap();
        }
        assert_eq!(store.tier(&packs), Tier::Zstd);
        store.thaw(&packs, PATIENCE).unwrap();
        assert_eq!(read_back(&store, &image.id), memory);
        assert!(!cold.exists());
    }
    // A freeze that was cut off is done by the next one.
    put(&cold, &packed);
    assert_eq!(freeze(&store, &image).packs, 1);
    assert!(!raw.exists());
    store.thaw(&packs, PATIENCE).unwrap();
    assert_clean(&store, &["one"]);
}

#[test]
fn damage_is_an_error_and_changes_nothing() {
    let (_dir, store, image, memory) = with_image();
    freeze(&store, &image);
    let ((raw, cold), packs) = (files(&store, &image), packs(&store, &image));
    let good = fs::read(&cold).unwrap();
    let thaw = || store.thaw(&packs, PATIENCE);
    let table = good.len() - 17 - 8 * 5;
    for (at, byte) in [(0, 0), (20, 255), (table / 2, 7), (table + 9, 1), (good.len() - 9, 200)] {
        let mut bytes = good.clone();
        bytes[at] ^= byte.max(1);
        fs::write(&cold, &bytes).unwrap();
        let said = thaw().expect_err(&format!("byte {at}")).to_string();
        assert!(said.starts_with(&format!("the pack {} is damaged: ", cold.display())), "{said}");
    }
    for length in [0, 10, good.len() / 2, good.len() - 1] {
        fs::write(&cold, &good[..length]).unwrap();
        assert!(thaw().unwrap_err().to_string().contains(" is damaged: "));
    }
    // Another pack, whole in itself.
    let other = build(&store, record("other"), &pages(8000..=8100)).unwrap();
    freeze(&store, &other);
    fs::copy(files(&store, &other).1, &cold).unwrap();
    let said = thaw().unwrap_err().to_string();
    assert!(said.ends_with(" is damaged: it is another pack than was stored"), "{said}");
    assert!(!raw.exists());
    assert_eq!(files_in(&store.dir().join("tmp")), [""; 0]);
    fs::write(&cold, &good).unwrap();
    thaw().unwrap();
    assert_eq!(read_back(&store, &image.id), memory);
}

#[test]
fn a_changed_page_does_not_become_cold_and_does_not_come_back() {
    let (_dir, store, image, _) = with_image();
    let ((raw, cold), packs) = (files(&store, &image), packs(&store, &image));
    let file = fs::File::options().write(true).open(&raw).unwrap();
    file.write_all_at(b"x", offset_of(7)).unwrap();
    durable::set_time(&raw, packs[0].modified_ns).unwrap();
    let error = store.freeze(&[packs[0].id], &mut |_| {}).unwrap_err();
    let said = |path: &Path| {
        format!("the pack {} is damaged: pages are not what they were", path.display())
    };
    assert_eq!(error.to_string(), said(&raw));
    assert!(error.hint_text().unwrap().contains("`pyimg verify --read-data`"));
    assert!(raw.exists() && !cold.exists());
    // Compressed by somebody who does not look.
    let bytes = fs::read(&raw).unwrap();
    let (mut packer, mut table) = (seekable::Packer::new().unwrap(), seekable::Table::default());
    let mut packed = Vec::new();
    for part in [&bytes[..tables(&packs[0])], &bytes[tables(&packs[0])..]] {
        for part in part.chunks(seekable::FRAME) {
            let frame = packer.pack(part).unwrap();
            table.add(frame.len(), part.len());
            packed.extend(frame);
        }
    }
    packed.extend(table.to_bytes());
    fs::remove_file(&raw).unwrap();
    durable::write(&cold, &packed, 0).unwrap();
    let error = store.thaw(&packs, PATIENCE).unwrap_err();
    assert_eq!(error.to_string(), said(&cold));
    assert!(!raw.exists() && cold.exists());
}

fn tables(pack: &PackInfo) -> usize {
    pack::tables_of(pack.pages) as usize
}

#[test]
fn a_dropped_page_stays_dropped_and_a_used_one_is_not_taken_for_one() {
    let (_dir, store, one, _) = with_image();
    let image = build(&store, record("two"), &pages(1..=1000)).unwrap();
    store.remove(&[one.record.key]).unwrap();
    let ((raw, cold), packs) = (files(&store, &image), packs(&store, &image));
    assert_eq!(packs.len(), 1);
    let zero = |slot| {
        let file = fs::File::options().write(true).open(&raw).unwrap();
        file.write_all_at(&[0; PAGE], offset_of(slot)).unwrap();
        durable::set_time(&raw, packs[0].modified_ns).unwrap();
    };
    zero(2000);
    let before = fs::read(&raw).unwrap();
    freeze(&store, &image);
    store.thaw(&packs, PATIENCE).unwrap();
    assert!(state(&raw).0 == before);
    zero(7);
    let error = store.freeze(&[packs[0].id], &mut |_| {}).unwrap_err().to_string();
    assert!(error.ends_with(" is damaged: pages are not what they were"), "{error}");
    assert!(raw.exists() && !cold.exists());
}

#[test]
fn what_others_may_have_written_is_not_brought_back() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, store, image, _) = with_image();
    freeze(&store, &image);
    let ((_, cold), packs) = (files(&store, &image), packs(&store, &image));
    fs::set_permissions(&cold, fs::Permissions::from_mode(0o666)).unwrap();
    let said = format!("other users may write to {} (mode 0666)", cold.display());
    assert_eq!(store.thaw(&packs, PATIENCE).unwrap_err().to_string(), said);
    let load = || store.load_manifest::<Content>(&image.id).unwrap_err().to_string();
    assert_eq!(load(), said);
    fs::set_permissions(&cold, fs::Permissions::from_mode(0o600)).unwrap();
    if std::os::unix::fs::chown(&cold, Some(12345), None).is_ok() {
        assert!(load().contains("belongs to another user (uid 12345"));
        assert!(store.thaw(&packs, PATIENCE).unwrap_err().to_string().contains("another user"));
    } else {
        eprintln!("skipped: only root can give files away");
    }
    fs::remove_file(&cold).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &cold).unwrap();
    assert_eq!(load(), format!("{} is not a regular file", cold.display()));
}

#[test]
fn a_run_that_found_a_raw_pack_keeps_it() {
    let (_dir, store, image, memory) = with_image();
    let (raw, cold) = files(&store, &image);
    let run = RunStore::open(store.dir()).unwrap().unwrap();
    thread::scope(|scope| {
        let dir = store.dir().to_owned();
        let image = image.clone();
        let freezing = scope.spawn(move || freeze(&Store::open(&dir).unwrap(), &image));
        while !cold.exists() {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(20));
        assert!(raw.exists());
        assert_eq!(read_back(&run, &image_of(&run).id), memory);
        drop(run);
        assert_eq!(freezing.join().unwrap().packs, 1);
    });
    assert!(!raw.exists());
}

fn image_of(store: &Reader) -> Image {
    store.find("one").unwrap()
}

#[test]
fn a_pack_that_a_run_wants_while_it_becomes_cold_stays_raw() {
    let (_dir, store, image, memory) = with_image();
    let (_, cold) = files(&store, &image);
    let packs = packs(&store, &image);
    let run = RunStore::open(store.dir()).unwrap().unwrap();
    thread::scope(|scope| {
        let dir = store.dir().to_owned();
        let image = image.clone();
        let freezing = scope.spawn(move || freeze(&Store::open(&dir).unwrap(), &image));
        while !cold.exists() {
            thread::yield_now();
        }
        // It began before, so the freeze waits for it; and it may not wait for the freeze.
        run.thaw(&packs, PATIENCE).unwrap();
        assert_eq!(freezing.join().unwrap(), Frozen::default());
    });
    assert_eq!(read_back(&run, &image.id), memory);
    drop(run);
    // What the freeze could not outlast is left to the next change.
    freeze(&store, &image);
    store.thaw(&packs, PATIENCE).unwrap();
    assert_clean(&store, &["one"]);
}

#[test]
fn many_who_want_a_cold_pack_bring_it_back_once() {
    let (_dir, store, image, memory) = with_image();
    let (raw, _) = files(&store, &image);
    let packs = packs(&store, &image);
    for _ in 0..5 {
        freeze(&store, &image);
        let dir = store.dir();
        let (raw, packs, image, memory) = (&raw, &packs, &image, &memory);
        let inodes: Vec<u64> = thread::scope(|scope| {
            let want = || {
                let run = RunStore::open(dir).unwrap().unwrap();
                run.thaw(packs, PATIENCE).unwrap();
                assert_eq!(read_back(&run, &image.id), *memory);
                raw.metadata().unwrap().ino()
            };
            let runs: Vec<_> = (0..6).map(|_| scope.spawn(want)).collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        assert!(inodes.iter().all(|inode| *inode == inodes[0]), "{inodes:?}");
    }
    assert_clean(&store, &["one"]);
}

#[test]
fn many_who_freeze_and_thaw_at_once_all_succeed() {
    // On a disk: there a new file may be known by the number of one that is gone.
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let memory = pages(1..=40);
    let image = build(&store, record("one"), &memory).unwrap();
    let packs = packs(&store, &image);
    thread::scope(|scope| {
        for number in 0..6 {
            let (dir, image, packs) = (store.dir(), &image, &packs);
            scope.spawn(move || {
                for _ in 0..60 {
                    let store = Store::open(dir).unwrap();
                    match number % 2 {
                        0 => _ = freeze(&store, image),
                        _ => RunStore::open(dir).unwrap().unwrap().thaw(packs, PATIENCE).unwrap(),
                    }
                }
            });
        }
    });
    store.thaw(&packs, PATIENCE).unwrap();
    assert_eq!(read_back(&store, &image.id), memory);
    assert_clean(&store, &["one"]);
}

#[test]
fn whoever_is_too_slow_is_not_waited_for() {
    let (_dir, store, image, _) = with_image();
    freeze(&store, &image);
    let ((_, cold), packs) = (files(&store, &image), packs(&store, &image));
    let other = lock::cold_pack(&cold, Duration::ZERO).unwrap().unwrap();
    let error = store.thaw(&packs, Duration::from_millis(5)).unwrap_err();
    assert_eq!(error.to_string(), "another process is decompressing its memory");
    drop(other);
    let alone = lock::alter(&store.layout, Duration::ZERO).unwrap();
    let error = store.thaw(&packs, Duration::from_millis(5)).unwrap_err();
    assert!(error.to_string().ends_with("is being changed by another process"), "{error}");
    drop(alone);
    store.thaw(&packs, Duration::from_millis(500)).unwrap();
}

#[test]
fn cold_packs_take_part_in_deduplication() {
    let (_dir, store, image, memory) = with_image();
    freeze(&store, &image);
    let again = build(&store, record("two"), &memory).unwrap();
    assert_eq!(again.new_bytes, 0);
    assert_eq!(again.tier, Tier::Raw);
    assert_eq!(read_back(&store, &again.id), memory);
    assert_clean(&store, &["one", "two"]);
    // One that has nothing in common leaves it cold.
    freeze(&store, &image);
    build(&store, record("three"), &pages(9000..=9100)).unwrap();
    assert_eq!(image_of(&store).tier, Tier::Zstd);
    // Stored anew although it is there, because nothing could be taken from it: then it is
    // raw, and whole.
    let cold = files(&store, &image).1;
    fs::write(&cold, b"nonsense").unwrap();
    let four = build(&store, record("four"), &memory).unwrap();
    assert_eq!(read_back(&store, &four.id), memory);
    assert_eq!(read_back(&store, &image.id), memory);
    assert_clean(&store, &["one", "two", "three", "four"]);
}

#[test]
fn pages_that_are_not_there_any_more_are_stored_again() {
    let (_dir, store, image, memory) = with_image();
    let ((raw, _), info) = (files(&store, &image), packs(&store, &image).remove(0));
    let write = |slot: u64, bytes: &[u8]| {
        let file = fs::File::options().write(true).open(&raw).unwrap();
        file.write_all_at(bytes, offset_of(slot)).unwrap();
        durable::set_time(&raw, info.modified_ns).unwrap();
    };
    // Dropped, as if no image used it: the rest is used all the same.
    let good = fs::read(&raw).unwrap();
    write(1000, &[0; PAGE]);
    let two = build(&store, record("two"), &memory).unwrap();
    assert_eq!(two.new_bytes, PAGE as u64);
    assert_eq!(read_back(&store, &two.id), memory);
    // Rotten: nothing is taken from the pack.
    write(1000, &good[offset_of(1000) as usize..][..PAGE]);
    write(50, b"x");
    let three = build(&store, record("three"), &pages(1..=200)).unwrap();
    assert_eq!(three.new_bytes, 200 * PAGE as u64);
    assert_eq!(read_back(&store, &three.id), pages(1..=200));
}

/// Runs this very test in another process, which is killed at a fault point.
fn cut_off(point: &str, test: &str, store: &Store) {
    let killed = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("store::tests::tiers::{test}")])
        .env("PYIMG_TEST_STORE", store.dir())
        .env("PYIMG_FAULT", point)
        .output()
        .unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(killed.status.signal(), Some(9), "{point}: {killed:?}");
}

#[test]
fn cut_off_anywhere_it_is_cold_or_raw() {
    const THIS: &str = "cut_off_anywhere_it_is_cold_or_raw";
    if let Some(dir) = std::env::var_os("PYIMG_TEST_STORE") {
        let store = Store::open(Path::new(&dir)).unwrap();
        let image = image_of(&store);
        freeze(&store, &image);
        store.thaw(&packs(&store, &image), PATIENCE).unwrap();
        return;
    }
    let (_dir, store, image, memory) = with_image();
    let packs = packs(&store, &image);
    let expected = BTreeMap::from([
        ("freeze-compressed", Tier::Raw),
        ("freeze-cold-put", Tier::Zstd),
        ("freeze-raw-removed", Tier::Zstd),
        ("thaw-decompressed", Tier::Zstd),
        ("thaw-raw-put", Tier::Zstd),
        ("thaw-cold-removed", Tier::Raw),
    ]);
    for (point, tier) in expected {
        cut_off(point, THIS, &store);
        assert_eq!(image_of(&store).tier, tier, "{point}");
        assert_eq!(store.images().unwrap()[0].tier, tier, "{point}");
        let run = RunStore::open(store.dir()).unwrap().unwrap();
        run.load_manifest::<Content>(&image.id).unwrap();
        run.thaw(&packs, PATIENCE).unwrap();
        assert_eq!(read_back(&run, &image.id), memory);
        drop(run);
        store.remove(&[]).unwrap();
        assert_clean(&store, &["one"]);
    }
}
