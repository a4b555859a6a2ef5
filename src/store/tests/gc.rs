//! Cleaning up, on real stores: what is planned is done, and nothing that lives is lost.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::Duration;

use super::*;
use crate::store::gc::{Cleaned, Limits, NextGc, Plan};

const FREE: Limits =
    Limits { now_ns: i64::MAX, max_bytes: None, unused_for: None, cold_after: None };

/// Limits that remove all images that are not pinned.
const NOTHING: Limits = Limits { max_bytes: Some(0), ..FREE };

fn plan_now(store: &Store, limits: &Limits) -> Plan {
    store.plan(&store.survey().unwrap(), &[], limits, None)
}

fn clean(store: &Store, limits: &Limits) -> Cleaned {
    let plan = plan_now(store, limits);
    let mut work = 0;
    let cleaned = store.clean(&plan, &mut |_, bytes| work += bytes);
    assert_eq!(work, plan.work());
    assert!(cleaned.problem.is_none(), "{:?}", cleaned.problem);
    assert!(!cleaned.postponed);
    cleaned
}

fn pack_of(store: &Store, image: &Image) -> std::path::PathBuf {
    let manifest = store.load_manifest::<Content>(&image.id).unwrap();
    store.pack_path(&manifest.packs[0].id)
}

#[test]
fn what_is_planned_is_what_is_done() {
    let (_dir, store) = store();
    build(&store, record("one"), &pages(1..=100)).unwrap();
    let two = build(&store, record("two"), &pages((1..=50).chain(901..=950))).unwrap();
    store.set_pinned(&two.record.key, true).unwrap();
    build(&store, record("three"), &pages(2001..=2100)).unwrap();
    fs::write(store.dir().join("images").join("ab".repeat(32)), b"left").unwrap();
    fs::create_dir(store.dir().join("tmp/build-x")).unwrap();
    let survey = store.survey().unwrap();
    assert_eq!(survey.leftovers.len(), 2);
    let plan = plan_now(&store, &NOTHING);
    assert_eq!(plan.bytes_before, survey.bytes());
    assert_eq!(plan.removals.len(), 2);
    let cleaned = clean(&store, &NOTHING);
    assert_eq!(cleaned.removed, [0, 1]);
    assert_clean(&store, &["two"]);
    assert_eq!(plan.bytes_before - cleaned.bytes, store.survey().unwrap().bytes());
    assert_eq!(read_back(&store, &two.id), pages((1..=50).chain(901..=950)));
    assert!(plan_now(&store, &NOTHING).is_empty());
}

#[test]
fn one_damaged_pack_does_not_stop_the_others() {
    let (_dir, store) = store();
    let one = build(&store, record("one"), &pages(1..=100)).unwrap();
    let two = build(&store, record("two"), &pages(901..=1000)).unwrap();
    let damaged = pack_of(&store, &one);
    let modified_ns = store.load_manifest::<Content>(&one.id).unwrap().packs[0].modified_ns;
    let file = File::options().write(true).open(&damaged).unwrap();
    file.write_all_at(b"rot", offset_of(7)).unwrap();
    durable::set_time(&damaged, modified_ns).unwrap();
    let cold = Limits { cold_after: Some(Duration::ZERO), ..FREE };
    let plan = plan_now(&store, &cold);
    assert_eq!(plan.freezes.len(), 2);
    let cleaned = store.clean(&plan, &mut |_, _| {});
    assert_eq!(cleaned.frozen.len(), 1);
    let problem = cleaned.problem.unwrap().to_string();
    assert_eq!(
        problem,
        format!("the pack {} is damaged: pages are not what they were", damaged.display())
    );
    assert!(!pack_of(&store, &two).exists() && damaged.exists());
}

#[test]
fn leftovers_count_as_freed() {
    let (_dir, store) = store();
    build(&store, record("one"), &pages(1..=100)).unwrap();
    fs::create_dir(store.dir().join("tmp/build-x")).unwrap();
    fs::write(store.dir().join("tmp/build-x/pack"), vec![1; 1 << 20]).unwrap();
    assert!(clean(&store, &FREE).bytes >= 1 << 20);
    // What a removal has left that was killed before it could wait for runs.
    let runs = store.dir().join("tmp/runs-abcdef");
    fs::hard_link(store.dir().join("runs.lock"), &runs).unwrap();
    clean(&store, &FREE);
    assert!(!runs.exists());
}

#[test]
fn a_store_of_many_images_is_emptied() {
    let (_dir, store) = store();
    for number in 0..250 {
        build(&store, record(&format!("image-{number}")), &pages([number % 7 + 1])).unwrap();
    }
    assert_eq!(clean(&store, &NOTHING).removed.len(), 250);
    assert_clean(&store, &[]);
}

#[test]
fn what_changed_since_the_plan_stays() {
    let (_dir, store) = store();
    let names = ["pinned", "used", "built again", "removed", "stale and used"];
    let names = names.map(|name| name.replace(' ', "-"));
    for (number, name) in names.iter().enumerate() {
        let number = number as u32 * 100;
        build(&store, record(name), &pages(number + 1..=number + 20)).unwrap();
    }
    let survey = store.survey().unwrap();
    let mut stale = vec![None; names.len()];
    stale[4] = Some("changed".to_owned());
    let plan = store.plan(&survey, &stale, &NOTHING, None);
    assert_eq!(plan.removals.len(), 5);
    let image = |at: usize| &survey.images[at].image;
    store.set_pinned(&image(0).record.key, true).unwrap();
    store.note_use(&image(1).id);
    build(&store, record(&names[2]), &pages(901..=920)).unwrap();
    store.remove(&[image(3).record.key]).unwrap();
    store.note_use(&image(4).id);
    let cleaned = store.clean(&plan, &mut |_, _| {});
    let removed: Vec<_> =
        cleaned.removed.iter().map(|at| plan.removals[*at].image.record.name.as_str()).collect();
    assert_eq!(removed, ["stale-and-used"]);
    assert_clean(&store, &["pinned", "used", "built-again"]);
}

#[test]
fn a_mostly_dead_pack_keeps_what_lives() {
    let (_dir, store) = store();
    let whole = pages(1..=200);
    let one = build(&store, record("one"), &whole).unwrap();
    let live = pages((21..=40).chain([0; 3]).chain(101..=130));
    let mut ingest = store.begin(0).unwrap();
    ingest.add_run(ADDRESS, &pages(21..=40)).unwrap();
    ingest.add_run(ADDRESS + 20 * 4096, &pages([0; 3])).unwrap();
    ingest.add_run(ADDRESS + 23 * 4096, &pages(101..=130)).unwrap();
    let two = ingest.seal().unwrap().commit(record("two"), &Content::new(), &[]).unwrap();
    let path = pack_of(&store, &one);
    let before = (fs::read(&path).unwrap(), path.metadata().unwrap());
    let old = File::open(&path).unwrap();
    let plan = plan_now(&store, &FREE);
    assert!(plan.is_empty(), "all of it lives: {plan:?}");
    store.remove(&[one.record.key]).unwrap();

    let plan = plan_now(&store, &FREE);
    assert_eq!((plan.repacks[0].used, plan.repacks[0].stored), (50, 200));
    let cleaned = clean(&store, &FREE);
    assert_eq!(cleaned.repacked, [0]);
    assert_eq!(cleaned.bytes, plan.bytes_before - plan.bytes_after);
    let after = path.metadata().unwrap();
    assert_ne!(after.ino(), before.1.ino());
    assert_eq!(after.len(), before.1.len());
    assert_eq!(after.modified().unwrap(), before.1.modified().unwrap());
    assert_eq!(after.mode(), before.1.mode());
    assert!(after.blocks() * 512 < 60 * 4096 + 4096 * 3);

    let bytes = fs::read(&path).unwrap();
    let slots = |bytes: &[u8], slots: std::ops::Range<u64>| {
        bytes[offset_of(slots.start) as usize..offset_of(slots.end) as usize].to_vec()
    };
    assert_eq!(bytes[..4096], before.0[..4096], "the header");
    assert_eq!(bytes[offset_of(200) as usize..], before.0[offset_of(200) as usize..], "the tables");
    for alive in [20..40, 100..130] {
        assert_eq!(slots(&bytes, alive.clone()), slots(&before.0, alive));
    }
    for dead in [0..20, 40..100, 130..200] {
        assert!(slots(&bytes, dead).iter().all(|byte| *byte == 0));
    }
    assert_eq!(read_back(&store, &two.id), live);
    // Who has the old file keeps all of it.
    let mut kept = vec![0; before.0.len()];
    old.read_exact_at(&mut kept, 0).unwrap();
    assert_eq!(kept, before.0);
    assert_clean(&store, &["two"]);
    assert!(plan_now(&store, &FREE).is_empty(), "it is not done again");
}

#[test]
fn dropped_pages_come_back_with_who_stores_them_again() {
    let (_dir, store) = store();
    let whole = pages(1..=200);
    let one = build(&store, record("one"), &whole).unwrap();
    let two = build(&store, record("two"), &pages(21..=60)).unwrap();
    store.remove(&[one.record.key]).unwrap();
    assert_eq!(clean(&store, &FREE).repacked, [0]);
    // The new pack has the same pages in the same order, and so the same name, if nothing
    // of the old one is used.
    let mut ingest = store.begin(0).unwrap();
    ingest.forget_packs();
    ingest.add_run(ADDRESS, &whole).unwrap();
    let again = ingest.seal().unwrap().commit(record("one"), &Content::new(), &[]).unwrap();
    assert_eq!(pack_of(&store, &again), pack_of(&store, &two));
    assert_eq!(read_back(&store, &again.id), whole);
    assert_eq!(read_back(&store, &two.id), pages(21..=60));
}

#[test]
fn a_build_does_not_believe_in_dropped_pages() {
    let (_dir, store) = store();
    let whole = pages(1..=200);
    let one = build(&store, record("one"), &whole).unwrap();
    let two = build(&store, record("two"), &pages(21..=60)).unwrap();
    store.remove(&[one.record.key]).unwrap();
    assert_eq!(clean(&store, &FREE).repacked, [0]);
    let again = build(&store, record("one"), &whole).unwrap();
    assert_eq!(read_back(&store, &again.id), whole);
    assert_eq!(read_back(&store, &two.id), pages(21..=60));
}

#[test]
fn what_is_idle_becomes_cold() {
    let (_dir, store) = store();
    let one = build(&store, record("one"), &pages(1..=200)).unwrap();
    let limits = Limits { cold_after: Some(Duration::ZERO), ..FREE };
    store.set_pinned(&one.record.key, true).unwrap();
    assert!(plan_now(&store, &limits).is_empty());
    store.set_pinned(&one.record.key, false).unwrap();
    let plan = plan_now(&store, &limits);
    let cleaned = store.clean(&plan, &mut |_, _| {});
    assert!(cleaned.problem.is_none(), "{:?}", cleaned.problem);
    assert_eq!(cleaned.frozen, [0]);
    let survey = store.survey().unwrap();
    assert!(survey.packs[0].cold);
    assert_eq!(plan.bytes_before - cleaned.bytes, survey.bytes());
    assert!(plan_now(&store, &limits).is_empty());
    // A cold pack is not written anew, and goes with its last image.
    clean(&store, &NOTHING);
    assert_eq!(files_in(&store.dir().join("packs")), [""; 0]);
}

#[test]
fn a_mapping_of_the_old_file_lives_on() {
    let (_dir, store) = store();
    let one = build(&store, record("one"), &pages(1..=200)).unwrap();
    build(&store, record("two"), &pages(1..=40)).unwrap();
    let file = File::open(pack_of(&store, &one)).unwrap();
    // Another process has it mapped, as a program has that runs from an image.
    let child = std::process::Command::new("python3")
        .args(["-c", MAPS_AND_WAITS])
        .stdin(file.as_fd().try_clone_to_owned().unwrap())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: there is no python3");
        return;
    };
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    assert_eq!(line, "mapped\n");
    store.remove(&[one.record.key]).unwrap();
    assert_eq!(clean(&store, &FREE).repacked, [0]);
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id().cast_signed()),
        nix::sys::signal::Signal::SIGUSR1,
    )
    .unwrap();
    line.clear();
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(line.trim_end(), sum(&pages(1..=200)));
}

/// Maps standard input, waits for a signal and prints the sum of the bytes of the pages.
const MAPS_AND_WAITS: &str = "\
import mmap, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
memory = mmap.mmap(0, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
print('mapped', flush=True)
signal.sigwait([signal.SIGUSR1])
print(sum(memory[4096:201 * 4096]))
";

fn sum(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>().to_string()
}

#[test]
fn damage_is_not_repacked() {
    let (_dir, store) = store();
    let one = build(&store, record("one"), &pages(1..=200)).unwrap();
    let two = build(&store, record("two"), &pages(1..=40)).unwrap();
    store.remove(&[one.record.key]).unwrap();
    let path = pack_of(&store, &two);
    let modified = path.metadata().unwrap().modified().unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"rot", offset_of(7)).unwrap();
    file.set_modified(modified).unwrap();
    let plan = plan_now(&store, &FREE);
    assert_eq!(plan.repacks.len(), 1);
    let cleaned = store.clean(&plan, &mut |_, _| {});
    let problem = cleaned.problem.unwrap().to_string();
    let expected = format!("the pack {} is damaged: pages are not what they were", path.display());
    assert_eq!(problem, expected);
    assert!(cleaned.repacked.is_empty());
    assert_clean(&store, &["two"]);
    // One that was touched is not ours to copy.
    file.set_modified(std::time::SystemTime::now()).unwrap();
    let cleaned = store.clean(&plan, &mut |_, _| {});
    assert!(cleaned.problem.is_none() && cleaned.repacked.is_empty());
}

#[test]
fn a_build_keeps_the_pages_that_it_is_about_to_use() {
    let (_dir, store) = store();
    let one = build(&store, record("one"), &pages(1..=200)).unwrap();
    build(&store, record("two"), &pages(1..=40)).unwrap();
    store.remove(&[one.record.key]).unwrap();
    let plan = plan_now(&store, &FREE);
    assert_eq!(plan.repacks.len(), 1);
    let mut ingest = store.begin(0).unwrap();
    ingest.add_run(ADDRESS, &pages(101..=150)).unwrap();
    let other = Store::open(store.dir()).unwrap();
    std::thread::scope(|scope| {
        // It waits for the build, and then sees what that uses.
        let cleaning = scope.spawn(move || {
            let pack = plan.repacks[0].pack;
            (other.repack(&pack).unwrap(), other.repack(&pack).unwrap())
        });
        std::thread::sleep(Duration::from_millis(50));
        let three = ingest.seal().unwrap().commit(record("three"), &Content::new(), &[]).unwrap();
        assert_eq!(three.new_bytes, 0);
        let (first, _) = cleaning.join().unwrap();
        assert_eq!(first, None);
        assert_eq!(read_back(&store, &three.id), pages(101..=150));
    });
}

#[test]
fn a_run_that_may_still_use_dead_pages_postpones() {
    let (_dir, store) = store();
    let one = build(&store, record("one"), &pages(1..=200)).unwrap();
    let two = build(&store, record("two"), &pages(1..=40)).unwrap();
    let pack = store.load_manifest::<Content>(&two.id).unwrap().packs[0].id;
    let run = RunStore::open(store.dir()).unwrap().unwrap();
    let freed = store.remove(&[one.record.key]).unwrap();
    assert!(freed.postponed);
    assert_eq!(store.repack(&pack).unwrap(), None);
    assert_eq!(read_back(&run, &one.id), pages(1..=200));
    drop(run);
    assert!(store.repack(&pack).unwrap().is_some());
    store.remove(&[]).unwrap();
    assert_clean(&store, &["two"]);
}

#[test]
fn images_of_format_1_are_counted_by_their_manifests() {
    let (_dir, store) = store();
    let one = build(&store, record("one"), &pages(1..=200)).unwrap();
    build(&store, record("two"), &pages(1..=40)).unwrap();
    store.index.execute("UPDATE image_packs SET pages = NULL", ()).unwrap();
    assert!(plan_now(&store, &FREE).is_empty());
    store.remove(&[one.record.key]).unwrap();
    let repacks = plan_now(&store, &FREE).repacks;
    assert_eq!((repacks[0].used, repacks[0].stored), (40, 200));
}

#[test]
fn the_next_automatic_gc_is_remembered_for_its_limit() {
    let (_dir, store) = store();
    let next = NextGc { after_ns: 7, above_bytes: 1 << 40 };
    assert_eq!(store.next_gc(10).unwrap(), None);
    store.set_next_gc(10, &next).unwrap();
    store.set_next_gc(u64::MAX, &next).unwrap();
    assert_eq!(store.next_gc(u64::MAX).unwrap(), Some(next));
    assert_eq!(store.next_gc(10).unwrap(), None);
    assert_eq!(store.indexed_bytes().unwrap(), 0);
    build(&store, record("one"), &pages(1..=2)).unwrap();
    assert_eq!(store.indexed_bytes().unwrap(), 4 + 3 * 4096 + 2 * 32 + 12);
}
