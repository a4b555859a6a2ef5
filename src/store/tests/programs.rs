//! What is remembered of programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{files_in, store};
use crate::store::layout::Layout;
use crate::store::{Depth, Program, ProgramId, Records, verify};

fn id(first: u8, number: u8) -> ProgramId {
    let mut bytes = [0; 32];
    (bytes[0], bytes[31]) = (first, number);
    ProgramId::new(bytes)
}

fn program(what: &str) -> Program {
    Program {
        what: what.into(),
        executable: "/venv/bin/python".into(),
        flags: "-B".into(),
        recipe: serde_json::json!({ "kind": "module", "modules": ["black"] }),
        misses: 2,
        import_ns: Some(260_000_000),
        ..Program::default()
    }
}

fn findings(dir: &Path) -> usize {
    let report = verify(dir, Depth::Data, &|_, _| {}).unwrap().unwrap();
    assert_eq!(report.leftovers, [""; 0].map(std::path::PathBuf::from));
    report.findings.len()
}

#[test]
fn what_is_put_is_read() {
    let (_dir, store) = store();
    let records = Records::of(store.dir()).unwrap();
    let (one, two) = (id(7, 1), id(7, 2));
    assert_eq!(store.program(&one), None);
    records.put_program(&one, &program("-m black"));
    records.put_program(&two, &program("-m other"));
    let read = store.program(&one).unwrap();
    assert!(read.last_run_ns > 1_600_000_000_000_000_000);
    assert_eq!(read, Program { last_run_ns: read.last_run_ns, ..program("-m black") });

    fs::write(records.modules_path(&one), "black\nclick\n").unwrap();
    let modules = store.program(&one).unwrap().modules.unwrap();
    assert_eq!(modules.into_iter().collect::<Vec<_>>(), ["black", "click"]);
    fs::write(records.modules_path(&one), "").unwrap();
    assert_eq!(store.program(&one).unwrap().modules, Some([].into()));

    records.put_program(&one, &Program { misses: 3, told: true, ..program("-m black") });
    let read = store.program(&one).unwrap();
    assert!(read.told && read.misses == 3 && read.modules.is_some());
    let all: Vec<_> = records.programs().into_iter().map(|(id, _)| id).collect();
    assert_eq!(all, [one, two]);
    records.touch_program(&two);
    let all: Vec<_> = records.programs().into_iter().map(|(id, _)| id).collect();
    assert_eq!(all, [two, one]);

    let (shelf, file) = (store.layout.shelf(&one), store.layout.program(&one));
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&shelf), mode(&file)), (0o700, 0o600));
    fs::set_permissions(records.modules_path(&one), PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(findings(store.dir()), 0);
}

#[test]
fn what_is_not_sound_is_not_remembered() {
    let (_dir, store) = store();
    let (records, one) = (store.records(), id(1, 1));
    records.put_program(&one, &program("-m black"));
    let path = store.layout.program(&one);
    let whole = fs::read(&path).unwrap();
    for damaged in [&b""[..], &[0; 100], &whole[..whole.len() - 1], b"[]", b"{\"misses\":-1}"] {
        fs::write(&path, damaged).unwrap();
        assert_eq!(store.program(&one), None, "{damaged:?}");
    }
    // A field that is not known yet, or no more, is no damage.
    let text = r#"{"what":"x","executable":"/p","flags":"","new":1}"#;
    fs::write(&path, text).unwrap();
    assert_eq!(store.program(&one).unwrap().what, "x");
    fs::write(&path, [b' '; 70_000]).unwrap();
    assert_eq!(store.program(&one), None);
    fs::write(&path, &whole).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o622)).unwrap();
    assert_eq!(store.program(&one), None);
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert_eq!(store.program(&one), None);
    records.put_program(&one, &program("-m black"));
    assert!(store.program(&one).is_some() && path.symlink_metadata().unwrap().is_file());
    let huge = Program { what: "x".repeat(70_000), ..Program::default() };
    records.put_program(&one, &huge);
    assert_eq!(store.program(&one).unwrap().what, "-m black");
}

#[test]
fn where_nothing_can_be_written_nothing_is() {
    let (dir, store) = store();
    assert!(Records::of(&dir.path().join("none")).is_none());
    assert!(Records::of(dir.path()).is_none(), "that is no store");
    let (records, one) = (store.records(), id(1, 1));
    fs::remove_dir_all(store.layout.programs()).unwrap();
    fs::write(store.layout.programs(), "").unwrap();
    records.put_program(&one, &program("x"));
    records.touch_program(&one);
    records.make_room_for_program(&one);
    records.forget_programs_before(i64::MAX);
    assert_eq!((store.program(&one), records.programs()), (None, Vec::new()));
    fs::remove_file(store.layout.programs()).unwrap();
    records.put_program(&one, &program("x"));
    assert!(store.program(&one).is_some(), "a store of before has no directory for programs");
}

#[test]
fn a_shelf_holds_so_many() {
    let (_dir, store) = store();
    let records = store.records();
    let time = |number: u8| SystemTime::now() - Duration::from_secs(3600 - u64::from(number));
    for number in 0..60 {
        let id = id(9, number);
        records.make_room_for_program(&id);
        records.put_program(&id, &program("x"));
        fs::write(records.modules_path(&id), "re\n").unwrap();
        let file = fs::File::options().append(true).open(store.layout.program(&id)).unwrap();
        file.set_modified(time(number)).unwrap();
    }
    let left: Vec<_> = records.programs().into_iter().map(|(id, _)| id.as_bytes()[31]).collect();
    assert_eq!(left, (20..60).rev().collect::<Vec<_>>());
    assert_eq!(files_in(&store.layout.shelf(&id(9, 0))).len(), 80);
}

#[test]
fn what_is_not_run_any_more_is_forgotten() {
    let (_dir, store) = store();
    let records = store.records();
    let (old, new, gone) = (id(1, 1), id(1, 2), id(2, 1));
    let age = |path: &Path, hours: u64| {
        let file = fs::File::options().append(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600 * hours)).unwrap();
    };
    for id in [&old, &new, &gone] {
        records.put_program(id, &program("x"));
        fs::write(records.modules_path(id), "re\n").unwrap();
    }
    age(&store.layout.program(&old), 48);
    fs::remove_file(store.layout.program(&gone)).unwrap();
    let unfinished = [1, 2].map(|process| {
        let path = Layout::unfinished(&records.modules_path(&new), process);
        fs::write(&path, "").unwrap();
        path
    });
    age(&unfinished[0], 2);
    let day = Duration::from_secs(24 * 3600);
    let before = (SystemTime::now() - day).duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(records.forget_programs_before(before.as_nanos() as i64), 1);
    let modules = records.modules_path(&new);
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let left = [name(&store.layout.program(&new)), name(&modules), name(&unfinished[1])];
    assert_eq!(files_in(&store.layout.shelf(&new)), left);
    assert_eq!(files_in(&store.layout.shelf(&gone)), [""; 0]);
}
