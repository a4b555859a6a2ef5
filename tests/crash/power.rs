//! The power fails.

use std::collections::HashSet;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use crate::common::dice;
use crate::model::{Disk, Survivors};
use crate::recorder::Record;
use crate::steps::{self, Expected, STEPS, Step};
use crate::tree::Tree;
use crate::{in_parallel, scratch, store_in};

/// A step as it was once done, without any fault.
pub struct Done {
    pub step: &'static Step,
    pub tree_before: Tree,
    pub before: Expected,
    pub after: Expected,
    pub records: Vec<Record>,
    pub tree_after: Tree,
}

/// All steps, done one after the other.
pub fn history() -> &'static [Done] {
    static HISTORY: OnceLock<Vec<Done>> = OnceLock::new();
    HISTORY.get_or_init(|| {
        let directory = scratch();
        let mut expected = Expected::default();
        let one = |step: &'static Step| {
            if let Some(before) = step.before {
                before(&store_in(directory.path()), &mut expected);
            }
            let tree_before = Tree::read(directory.path());
            let before = expected.clone();
            let ended = steps::run(step, directory.path(), None);
            assert_eq!(ended.code, 0, "{}: {}", step.name, ended.text);
            (step.effect)(&mut expected);
            // Looking at it may change it, as runs do.
            let tree_after = Tree::read(directory.path());
            let copy = scratch();
            tree_after.write(copy.path());
            steps::check(&store_in(copy.path()), &[&expected]).unwrap();
            let (after, records) = (expected.clone(), ended.records);
            Done { step, tree_before, before, after, records, tree_after }
        };
        STEPS.iter().map(one).collect()
    })
}

/// The recorder must see everything, or the other tests would show nothing.
#[test]
fn what_was_recorded_is_what_there_is() {
    for done in history() {
        let mut disk = Disk::new(&done.tree_before);
        assert_eq!(disk.present(), done.tree_before);
        for record in &done.records {
            disk.follow(record);
        }
        let differences = disk.present().differences(&done.tree_after);
        assert!(differences.is_empty(), "{}: {differences:#?}", done.step.name);
    }
}

/// A state of the disk after a power cut, with what may be there.
struct Cut {
    tree: Tree,
    /// Which step, after how many of its operations, and what survived.
    moment: (&'static Step, usize, Survivors),
    allowed: Vec<&'static Expected>,
    after: &'static Expected,
}

#[test]
fn a_power_cut_after_any_operation() {
    let seed = dice::seed();
    let mut disk = Disk::new(&history()[0].tree_before);
    let mut cuts = Vec::new();
    for done in history() {
        if done.step.before.is_some() {
            disk = Disk::new(&done.tree_before);
        }
        let mut seen = HashSet::new();
        for (number, record) in done.records.iter().enumerate() {
            let last = number + 1 == done.records.len();
            if !disk.follow(record) && !last {
                continue;
            }
            // Once the command is done, so is what it was for.
            let allowed = match last {
                true => vec![&done.after],
                false => vec![&done.before, &done.after],
            };
            for survivors in Survivors::all(seed, 3) {
                let tree = disk.after_power_cut(survivors);
                if seen.insert((last, tree.essence())) {
                    let moment = (done.step, number + 1, survivors);
                    cuts.push(Cut { tree, moment, allowed: allowed.clone(), after: &done.after });
                }
            }
        }
    }
    println!("{} states", cuts.len());
    let wrong = AtomicUsize::new(0);
    in_parallel(&cuts, |cut| {
        if let Err(error) = check(cut) {
            let (step, number, survivors) = &cut.moment;
            println!("{}, operation {number}, {survivors:?}: {error}", step.name);
            wrong.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert_eq!(wrong.into_inner(), 0, "states of {} are wrong", cuts.len());
}

/// That the test above would notice a sync that is missing, by leaving out one after the
/// other of those that storing an image has.
#[test]
fn no_sync_is_superfluous() {
    let done = history().iter().find(|done| done.step.name == "build-sharing").unwrap();
    let is_sync = |record: &&Record| matches!(record.op, b'S' | b'F');
    let syncs = done.records.iter().filter(is_sync).count();
    let numbers: Vec<_> = (0..syncs).collect();
    let unnoticed = Mutex::new(Vec::new());
    in_parallel(&numbers, |left_out| {
        let mut disk = Disk::new(&done.tree_before);
        let mut seen = HashSet::new();
        let mut number = 0;
        for (at, record) in done.records.iter().enumerate() {
            if is_sync(&record) {
                number += 1;
                if number == left_out + 1 {
                    continue;
                }
            }
            disk.follow(record);
            let last = at + 1 == done.records.len();
            let allowed = if last { vec![&done.after] } else { vec![&done.before, &done.after] };
            for survivors in Survivors::all(1, 3) {
                let tree = disk.after_power_cut(survivors);
                let moment = (done.step, at, survivors);
                let after = &done.after;
                if number > *left_out && seen.insert((last, tree.essence())) {
                    let cut = Cut { tree, moment, allowed: allowed.clone(), after };
                    if check(&cut).is_err() {
                        return;
                    }
                }
            }
        }
        let path = &done.records.iter().filter(is_sync).nth(*left_out).unwrap().path;
        unnoticed.lock().unwrap().push(path.clone());
    });
    // Nobody relies on the count of uses, and SQLite syncs its journal once more than a disk
    // like this needs.
    let mut unnoticed = unnoticed.into_inner().unwrap();
    unnoticed.retain(|path| !path.ends_with("/uses") && !path.ends_with("/index.sqlite-journal"));
    assert_eq!(unnoticed, [""; 0]);
}

fn check(cut: &Cut) -> Result<(), String> {
    let directory = scratch();
    cut.tree.write(directory.path());
    let store = store_in(directory.path());
    steps::check(&store, &cut.allowed)?;
    steps::do_again(&store, cut.moment.0, cut.after)?;
    fs::remove_dir_all(directory.path()).map_err(|error| error.to_string())
}
