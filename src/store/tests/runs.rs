//! The log of runs and its tally.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::{files_in, store};
use crate::store::{Depth, Outcome, ProgramId, RunRecord, Store, Tally, verify};

fn program(number: u32) -> ProgramId {
    blake3::hash(&number.to_le_bytes()).into()
}

fn hit(at_ns: i64, number: u32, image: &str) -> RunRecord {
    let image = image.into();
    let (engine, engine_reason) = (Some("direct".into()), None);
    let outcome = Outcome::Hit { image, restore_ns: 10, import_ns: 300, engine, engine_reason };
    RunRecord { at_ns, program: Some(program(number)), what: format!("-m {number}"), outcome }
}

fn by_criu(at_ns: i64, reason: Option<String>) -> RunRecord {
    let mut run = hit(at_ns, 1, "data");
    if let Outcome::Hit { engine, engine_reason, .. } = &mut run.outcome {
        (*engine, *engine_reason) = (Some("criu".into()), reason);
    }
    run
}

fn miss(at_ns: i64, what: &str, code: &str) -> RunRecord {
    RunRecord { at_ns, program: None, what: what.into(), outcome: Outcome::Miss(code.into()) }
}

fn counted(tally: &Tally) -> (u64, u64) {
    (tally.all.hits, tally.all.missed())
}

fn files(store: &Store) -> Vec<String> {
    files_in(&store.layout.runs())
}

#[test]
fn runs_are_counted_by_reason_program_and_image() {
    let (_dir, store) = store();
    assert_eq!(store.tally().unwrap(), Tally::default());
    let records = store.records();
    for run in [
        hit(5_000, 1, "data"),
        hit(7_000, 1, "web"),
        hit(6_000, 2, "data"),
        miss(8_000, "-", "no-image"),
        miss(9_000, "-", "no-image"),
        miss(4_000, "", "flag"),
    ] {
        records.add_run(&run);
    }
    let tally = store.tally().unwrap();
    assert_eq!((tally.since_ns, tally.all.last_ns), (5_000, 9_000));
    assert_eq!(counted(&tally), (3, 3));
    assert_eq!(tally.all.misses, BTreeMap::from([("flag".into(), 1), ("no-image".into(), 2)]));
    assert_eq!((tally.all.import_ns, tally.all.restore_ns, tally.all.saved_ns()), (900, 30, 870));
    let one = &tally.programs[&program(1).hex()];
    assert_eq!((one.what.as_str(), one.counts.hits, one.counts.last_ns), ("-m 1", 2, 7_000));
    assert_eq!(tally.programs["-"].counts.missed(), 2);
    assert_eq!(tally.images["data"].hits, 2);

    // Whether it is added up does not show.
    store.fold_runs().unwrap();
    assert_eq!(files(&store), ["tally.json"]);
    let again = store.tally().unwrap();
    assert_eq!(
        (again.all, again.programs, again.images),
        (tally.all, tally.programs, tally.images)
    );
    records.add_run(&hit(10_000, 1, "data"));
    store.fold_runs().unwrap();
    records.add_run(&hit(11_000, 1, "data"));
    assert_eq!(counted(&store.tally().unwrap()), (5, 3));

    store.reset_tally().unwrap();
    assert_eq!(files(&store), ["tally.json"]);
    let tally = store.tally().unwrap();
    assert_eq!(counted(&tally), (0, 0));
    assert!(tally.since_ns > 1_600_000_000_000_000_000 && tally.programs.is_empty());
    let since = tally.since_ns;
    records.add_run(&hit(since + 5, 1, "data"));
    let tally = store.tally().unwrap();
    assert_eq!((tally.since_ns, counted(&tally)), (since, (1, 0)));
}

#[test]
fn hits_are_counted_by_engine_and_why() {
    let (_dir, store) = store();
    let records = store.records();
    records.add_run(&hit(1, 1, "data"));
    records.add_run(&by_criu(2, None));
    records.add_run(&by_criu(3, Some("it has no plan".into())));
    // As it was written when there was but one engine.
    let mut log = fs::File::options().append(true).open(store.layout.run_log()).unwrap();
    let old = r#"{"at_ns":4,"what":"x","hit":{"image":"data","restore_ns":9,"import_ns":99}}"#;
    writeln!(log, "{old}").unwrap();
    let engines = BTreeMap::from([("criu".into(), 2), ("direct".into(), 1)]);
    let reasons = BTreeMap::from([("it has no plan".into(), 1)]);
    for folded in [false, true] {
        if folded {
            store.fold_runs().unwrap();
        }
        let tally = store.tally().unwrap();
        for counts in [&tally.all, &tally.images["data"]] {
            assert_eq!((counts.hits, &counts.engines), (4, &engines));
            assert_eq!(counts.engine_reasons, reasons);
        }
    }

    // A tally of that time, too.
    let text = fs::read_to_string(store.layout.tally()).unwrap();
    let mut before: serde_json::Value = serde_json::from_str(&text).unwrap();
    for field in ["engines", "engine_reasons"] {
        before["all"].as_object_mut().unwrap().remove(field).unwrap();
    }
    fs::write(store.layout.tally(), before.to_string()).unwrap();
    let tally = store.tally().unwrap();
    assert_eq!((tally.all.hits, tally.all.engines.len()), (4, 0));
    assert_eq!(tally.images["data"].engines, engines);

    // Reasons that name a size are many.
    for number in 0..100 {
        records.add_run(&by_criu(5, Some(format!("its data of {number} bytes is over the limit"))));
    }
    store.fold_runs().unwrap();
    records.add_run(&by_criu(6, Some("one more".into())));
    let tally = store.tally().unwrap();
    assert_eq!(tally.all.engines["criu"], 101);
    assert_eq!((tally.all.engine_reasons.len(), tally.all.engine_reasons[""]), (17, 85));
    assert_eq!(tally.images["data"].engine_reasons.values().sum::<u64>(), 102);
}

#[test]
fn each_run_counts_once_wherever_adding_up_is_cut_off() {
    let (_dir, store) = store();
    let records = store.records();
    let (log, tally) = (store.layout.run_log(), store.layout.tally());
    records.add_run(&hit(1, 1, "data"));
    store.fold_runs().unwrap();
    let old = fs::read(&tally).unwrap();
    records.add_run(&hit(2, 1, "data"));
    let line = fs::read(&log).unwrap();
    let number = 1;
    let moved = store.layout.numbered_run_log(number);

    // The log has been renamed, and the tally is still the old one.
    fs::rename(&log, &moved).unwrap();
    assert_eq!(counted(&store.tally().unwrap()), (2, 0));
    records.add_run(&hit(3, 1, "data"));
    assert_eq!(counted(&store.tally().unwrap()), (3, 0));
    store.fold_runs().unwrap();
    assert_eq!(
        (files(&store), counted(&store.tally().unwrap())),
        (vec!["tally.json".into()], (3, 0))
    );

    // The tally is the new one, and the log is still there.
    fs::write(&moved, &line).unwrap();
    assert_eq!(counted(&store.tally().unwrap()), (3, 0));
    store.tidy_records(None);
    assert_eq!(
        (files(&store), counted(&store.tally().unwrap())),
        (vec!["tally.json".into()], (3, 0))
    );

    // The tally was damaged: what it had counted is lost, and not counted from elsewhere.
    fs::write(&moved, &line).unwrap();
    for damaged in [&b""[..], &old[..old.len() - 1], b"[]", &[0; 64]] {
        fs::write(&tally, damaged).unwrap();
        records.add_run(&hit(4, 1, "data"));
        assert_eq!(counted(&store.tally().unwrap()).0, 1);
        store.reset_tally().unwrap();
        fs::write(&moved, &line).unwrap();
        assert_eq!(counted(&store.tally().unwrap()), (0, 0));
    }
}

#[test]
fn what_is_no_whole_record_is_passed_over() {
    let (_dir, store) = store();
    let records = store.records();
    records.add_run(&hit(1, 1, "data"));
    let mut log = fs::File::options().append(true).open(store.layout.run_log()).unwrap();
    let whole = serde_json::to_vec(&hit(2, 2, "data")).unwrap();
    let odd = [
        &b"\n{\"at_ns\":1"[..],
        &whole[..whole.len() - 1],
        b"\n\0\0\0\0",
        b"\xff\xfe\n",
        b"{\"at_ns\":1,\"what\":\"\"}\n",
        b"{\"at_ns\":1,\"what\":\"\",\"miss\":3}\n[]",
    ];
    for part in odd {
        log.write_all(part).unwrap();
        records.add_run(&miss(3, "-", "no-image"));
    }
    assert_eq!(counted(&store.tally().unwrap()), (1, odd.len() as u64));
    // What is written by a later version is counted as far as it is understood.
    log.write_all(b"\n{\"at_ns\":9,\"what\":\"x\",\"miss\":\"new\",\"more\":[1]}\n").unwrap();
    assert_eq!(store.tally().unwrap().all.misses["new"], 1);
}

#[test]
fn runs_at_once_lose_nothing() {
    let (_dir, store) = store();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let records = store.records();
            scope.spawn(move || {
                for at in 0..100 {
                    records.add_run(&hit(at, number, "data"));
                }
            });
        }
    });
    let tally = store.tally().unwrap();
    assert_eq!(counted(&tally), (800, 0));
    assert!(tally.programs.values().all(|program| program.counts.hits == 100));
}

#[test]
fn the_log_and_the_tally_are_bounded() {
    let (_dir, store) = store();
    let records = store.records();
    store.tidy_records(None);
    assert_eq!(files(&store), [""; 0]);
    for number in 0..1_600 {
        records.add_run(&hit(i64::from(number) + 1, number, &format!("image{number}")));
    }
    assert_eq!(files(&store), ["log"]);
    store.tidy_records(None);
    assert_eq!(files(&store), ["tally.json"], "a log of that size is added up");
    for number in 1_600..2_000 {
        records.add_run(&hit(i64::from(number) + 1, number, &format!("image{number}")));
    }
    let tally = store.tally().unwrap();
    assert_eq!((tally.programs.len(), tally.images.len()), (1_000, 1_000));
    assert_eq!(counted(&tally), (2_000, 0));
    assert_eq!((tally.programs[""].counts.hits, tally.images[""].hits), (1_001, 1_001));
    assert!(tally.images.contains_key("image1999") && !tally.images.contains_key("image3"));
    assert_eq!(tally.programs.values().map(|one| one.counts.hits).sum::<u64>(), 2_000);

    let log = fs::File::options().append(true).open(store.layout.run_log()).unwrap();
    log.set_len((8 << 20) + 1).unwrap();
    records.add_run(&hit(1, 1, "data"));
    assert_eq!(log.metadata().unwrap().len(), (8 << 20) + 1);
}

#[test]
fn where_nothing_can_be_written_nothing_is() {
    let (_dir, store) = store();
    let records = store.records();
    fs::remove_dir(store.layout.runs()).unwrap();
    fs::write(store.layout.runs(), "").unwrap();
    records.add_run(&hit(1, 1, "data"));
    store.tidy_records(None);
    assert_eq!(store.tally().unwrap(), Tally::default());
    let error = store.fold_runs().unwrap_err().to_string();
    assert!(error.contains(store.layout.runs().to_str().unwrap()), "{error}");

    fs::remove_file(store.layout.runs()).unwrap();
    records.add_run(&hit(1, 1, "data"));
    let log = store.layout.run_log();
    let mode = |path: &PathBuf| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&store.layout.runs()), mode(&log)), (0o700, 0o600));
    fs::set_permissions(&log, PermissionsExt::from_mode(0o622)).unwrap();
    records.add_run(&hit(2, 1, "data"));
    assert_eq!(store.tally().unwrap(), Tally::default(), "others could have written it");
    fs::remove_file(&log).unwrap();
    std::os::unix::fs::symlink(store.layout.secret(), &log).unwrap();
    let secret = store.secret().unwrap();
    records.add_run(&hit(2, 1, "data"));
    assert_eq!(store.secret().unwrap(), secret);
}

#[test]
fn verifying_knows_the_records() {
    let (_dir, store) = store();
    let look = || verify(store.dir(), Depth::Data, &|_, _| {}).unwrap().unwrap();
    store.records().add_run(&hit(1, 1, "data"));
    store.fold_runs().unwrap();
    store.records().add_run(&hit(1, 1, "data"));
    fs::copy(store.layout.run_log(), store.layout.numbered_run_log(7)).unwrap();
    let report = look();
    assert!(report.findings.is_empty() && report.leftovers.is_empty(), "{report:?}");
    fs::set_permissions(store.layout.tally(), PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(store.layout.runs().join("log.07"), "").unwrap();
    fs::write(store.layout.programs().join("x"), "").unwrap();
    let kinds: Vec<_> = look().findings.iter().map(|finding| finding.kind.name()).collect();
    assert_eq!(kinds, ["unknown-file", "unknown-file", "wrong-mode"]);
}
