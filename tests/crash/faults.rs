//! Any operation fails: the disk is full, or broken.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::model::{Disk, Survivors};
use crate::power::{Done, history};
use crate::recorder::{Fault, KINDS};
use crate::{in_parallel, scratch, steps, store_in};

/// Each step, with each of its operations failing in each way.
#[test]
fn any_operation_fails() {
    let cases: Vec<_> = history().iter().flat_map(|done| KINDS.map(|kind| (done, kind))).collect();
    let failed = Mutex::new(BTreeMap::new());
    in_parallel(&cases, |(done, kind)| {
        let counts = every_fault(done, kind);
        failed.lock().unwrap().insert((done.step.name, *kind), counts);
    });
    for ((step, kind), (faults, errors)) in failed.into_inner().unwrap() {
        println!("{step}, {kind}: {faults} faults, {errors} of them an error");
    }
}

/// How many faults there were, and how many made the step fail.
fn every_fault(done: &Done, kind: &'static str) -> (u32, u32) {
    let (mut faults, mut errors) = (0, 0);
    for number in 1.. {
        // As long as nothing has failed, the operations are those of the history.
        let operation = done.records.get(number as usize - 1).map(|record| record.op);
        let possible = match (kind, operation) {
            ("short", Some(operation)) => operation == b'W',
            // The disk was full before, too, if this takes no room.
            ("full", Some(operation)) => !matches!(operation, b'U' | b'M' | b't'),
            _ => true,
        };
        if possible {
            match fault(done, Fault { number, kind }) {
                None => break,
                Some(failed) => errors += u32::from(failed),
            }
            faults += 1;
        }
    }
    (faults, errors)
}

/// Whether the step failed; `None` if it ended before the fault.
fn fault(done: &Done, fault: Fault) -> Option<bool> {
    let directory = scratch();
    done.tree_before.write(directory.path());
    let store = store_in(directory.path());
    let ended = steps::run(done.step, directory.path(), Some(fault));
    let injected = ended.records.iter().any(|record| record.injected);
    let reached = ended.records.len() >= fault.number as usize;
    let case = || format!("{}, {} at {}: {}", done.step.name, fault.kind, fault.number, ended.text);
    if !injected {
        // Not every operation fails in every way.
        assert_eq!(ended.code, 0, "{}", case());
        return reached.then_some(false);
    }
    let failed = ended.code != 0;
    if failed {
        assert!(matches!(ended.code, 1 | 2), "{}: exit {}", case(), ended.code);
        let names_it = ended.text.contains(directory.path().to_str().unwrap());
        let blames = ended.text.contains("damaged") && !done.before.refused;
        assert!(names_it && !blames, "{}", case());
    }
    let allowed: &[_] = if failed { &[&done.before, &done.after] } else { &[&done.after] };
    let wrong = |error: String| -> String { panic!("{}: {error}", case()) };
    steps::check(&store, allowed).map_err(wrong).unwrap();
    steps::do_again(&store, done.step, &done.after).map_err(wrong).unwrap();
    // What was not synced because of the fault may be lost besides.
    let mut disk = Disk::new(&done.tree_before);
    for record in &ended.records {
        disk.follow(record);
    }
    let survivors = [Survivors::Nothing, Survivors::Names, Survivors::Contents];
    let directory = scratch();
    disk.after_power_cut(survivors[fault.number as usize % 3]).write(directory.path());
    let store = store_in(directory.path());
    let checked = steps::check(&store, allowed);
    checked.unwrap_or_else(|error| panic!("{}, then a power cut: {error}", case()));
    Some(failed)
}
