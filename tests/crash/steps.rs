//! What is done to a store in the tests, through its public API, and what must be there
//! before and after.
//!
//! Images are tiny: what makes stores differ is the order of writing, not the size. A
//! step runs in a process of its own, which is this test binary, called with the test
//! [`child`] alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use pyimg::error::{Error, Result};
use pyimg::store::gc::Limits;
use pyimg::store::{
    self, Depth, Digest, Done, FileState, Finding, Image, ImageKey, ImageRecord, Outcome, PAGE,
    Program, ProgramId, Reader, RunRecord, RunStore, Source, Store, offset_of,
};
use rusqlite::Connection;
use serde::de::IgnoredAny;

use crate::common;
use crate::recorder::{self, Fault, Record};

/// Where the store is, below the directory that is watched: its parent is made too.
pub const STORE: &str = "cache/pyimg";

/// Something that is done to the store.
pub struct Step {
    pub name: &'static str,
    /// What is done behind the store's back before, durably.
    pub before: Option<fn(&Path, &mut Expected)>,
    pub run: fn(&Path) -> Result<()>,
    /// What it makes of what is there.
    pub effect: fn(&mut Expected),
}

/// What an image holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub pages: Vec<u32>,
    pub pinned: bool,
    /// False if a file of it was damaged: a run must refuse it.
    pub whole: bool,
}

/// What there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// The images that are listed; `None` where there is no store.
    pub images: Option<BTreeMap<&'static str, Content>>,
    /// Whether it was damaged as a whole: runs do without it until it is mended.
    pub refused: bool,
    /// How many runs may have been counted: of what runs write all may be lost, but nothing
    /// counts twice.
    pub runs: u64,
}

/// All steps, in an order in which each finds what it needs.
pub const STEPS: &[Step] = &[
    Step {
        name: "create",
        before: None,
        run: |store| Store::open(store).map(drop),
        effect: |expected| expected.images = Some(BTreeMap::new()),
    },
    Step {
        name: "build",
        before: None,
        run: |store| build(store, "one", 1..=24, &[]),
        effect: |expected| built(expected, "one", 1..=24),
    },
    Step {
        name: "build-sharing",
        before: None,
        run: |store| build(store, "two", (1..=24).chain(101..=108), &[]),
        effect: |expected| built(expected, "two", (1..=24).chain(101..=108)),
    },
    Step {
        name: "build-nothing-new",
        before: None,
        run: |store| build(store, "three", 1..=20, &[]),
        effect: |expected| built(expected, "three", 1..=20),
    },
    Step {
        name: "use",
        before: None,
        run: |store| {
            let run = RunStore::open(store)?.expect("there is a store");
            run.note_use(&run.find("one")?.id);
            Ok(())
        },
        effect: |_| (),
    },
    Step { name: "record", before: None, run: record, effect: |expected| expected.runs = 3 },
    Step {
        name: "add-up",
        before: None,
        run: |store| Store::open(store)?.fold_runs(),
        effect: |_| (),
    },
    Step {
        name: "count-anew",
        before: None,
        run: |store| Store::open(store)?.reset_tally(),
        effect: |expected| expected.runs = 0,
    },
    Step {
        name: "pin",
        before: None,
        run: |store| {
            let store = Store::open(store)?;
            assert!(store.set_pinned(&key("two"), true)?);
            let state = FileState { device: 1, inode: 2, size: 3, mtime_ns: 4, ctime_ns: 5 };
            store.set_interpreter_hash("/usr/bin/python3", &state, &Digest::new([7; 32]))
        },
        effect: |expected| image(expected, "two").pinned = true,
    },
    Step {
        name: "build-again",
        before: None,
        run: |store| build(store, "one", 201..=220, &[]),
        effect: |expected| built(expected, "one", 201..=220),
    },
    Step {
        name: "build-in-place-of-another",
        before: None,
        run: |store| build(store, "four", 301..=320, &["three"]),
        effect: |expected| {
            images(expected).remove("three");
            built(expected, "four", 301..=320);
        },
    },
    Step {
        name: "build-mends-a-pack",
        before: Some(|store, expected| {
            touch_packs_of(store, "four");
            image(expected, "four").whole = false;
        }),
        run: |store| build(store, "five", 301..=320, &[]),
        effect: |expected| {
            image(expected, "four").whole = true;
            built(expected, "five", 301..=320);
        },
    },
    Step {
        name: "remove",
        before: None,
        run: |store| remove(store, &["one", "four"]),
        effect: |expected| {
            images(expected).retain(|name, _| !["one", "four"].contains(name));
        },
    },
    Step {
        name: "build-what-was-removed",
        before: None,
        run: |store| build(store, "one", 201..=220, &[]),
        effect: |expected| built(expected, "one", 201..=220),
    },
    Step {
        name: "build-big",
        before: None,
        run: |store| build(store, "big", 401..=480, &[]),
        effect: |expected| built(expected, "big", 401..=480),
    },
    Step {
        name: "build-a-part",
        before: None,
        run: |store| build(store, "part", 401..=420, &[]),
        effect: |expected| built(expected, "part", 401..=420),
    },
    Step {
        name: "remove-big",
        before: None,
        run: |store| remove(store, &["big"]),
        effect: |expected| drop(images(expected).remove("big")),
    },
    Step {
        name: "gc",
        before: None,
        run: |store| clean(store, &["five"]),
        effect: |expected| drop(images(expected).remove("five")),
    },
    Step {
        name: "build-what-was-dropped",
        before: None,
        run: |store| build(store, "big", 401..=480, &[]),
        effect: |expected| built(expected, "big", 401..=480),
    },
    Step { name: "freeze", before: None, run: freeze, effect: |_| () },
    Step {
        name: "build-on-what-is-cold",
        before: None,
        run: |store| build(store, "cold", 401..=440, &[]),
        effect: |expected| built(expected, "cold", 401..=440),
    },
    Step {
        name: "thaw",
        before: None,
        run: |store| {
            let run = RunStore::open(store)?.expect("there is a store");
            run.images()?.iter().try_for_each(|image| thaw(&run, image))
        },
        effect: |_| (),
    },
    Step { name: "freeze-again", before: None, run: freeze, effect: |_| () },
    Step {
        name: "remove-what-is-cold",
        before: None,
        run: |store| remove(store, &["big", "cold"]),
        effect: |expected| {
            images(expected).retain(|name, _| !["big", "cold"].contains(name));
        },
    },
    Step {
        name: "thaw-again",
        before: None,
        run: |store| {
            let run = RunStore::open(store)?.expect("there is a store");
            run.images()?.iter().try_for_each(|image| thaw(&run, image))
        },
        effect: |_| (),
    },
    Step {
        name: "migrate",
        before: Some(|store, _| make_older(store)),
        run: |store| Store::open(store).map(drop),
        effect: |_| (),
    },
    Step {
        name: "repair-times",
        before: Some(|store, expected| {
            touch_packs_of(store, "two");
            image(expected, "two").whole = false;
        }),
        run: mend,
        effect: |expected| image(expected, "two").whole = true,
    },
    Step {
        name: "repair-a-page",
        before: Some(|store, expected| {
            damage_packs_of(store, "one");
            image(expected, "one").whole = false;
        }),
        run: mend,
        effect: |expected| drop(images(expected).remove("one")),
    },
    Step {
        name: "repair-what-is-missing",
        before: Some(|store, expected| {
            fs::set_permissions(store.join("images"), fs::Permissions::from_mode(0o755)).unwrap();
            fs::remove_file(store.join("runs.lock")).unwrap();
            fs::remove_file(store.join("secret")).unwrap();
            expected.refused = true;
        }),
        run: mend,
        effect: |expected| expected.refused = false,
    },
    Step {
        name: "repair-the-index",
        before: Some(|store, expected| {
            fs::write(store.join("index.sqlite"), "hello").unwrap();
            expected.refused = true;
        }),
        run: mend,
        effect: |expected| {
            expected.refused = false;
            // Only the index knew.
            image(expected, "two").pinned = false;
        },
    },
    Step {
        name: "remove-all",
        before: None,
        run: |store| remove(store, &["one", "two", "part", "big"]),
        effect: |expected| images(expected).clear(),
    },
];

fn images(expected: &mut Expected) -> &mut BTreeMap<&'static str, Content> {
    expected.images.as_mut().expect("there is a store")
}

fn image<'a>(expected: &'a mut Expected, name: &str) -> &'a mut Content {
    images(expected).get_mut(name).expect("there is such an image")
}

fn built(expected: &mut Expected, name: &'static str, pages: impl IntoIterator<Item = u32>) {
    let content = Content { pages: pages.into_iter().collect(), pinned: false, whole: true };
    images(expected).insert(name, content);
}

fn key(name: &str) -> ImageKey {
    blake3::hash(name.as_bytes()).into()
}

/// Stores an image that differs from others by its name and its pages.
fn build(
    store: &Path,
    name: &str,
    numbers: impl IntoIterator<Item = u32>,
    replaced: &[&str],
) -> Result<()> {
    let text = |text: &str| text.to_owned();
    let record = ImageRecord {
        key: key(name),
        name: text(name),
        python: text("3.11.7"),
        executable: text("/usr/bin/python3"),
        real_executable: text("/usr/bin/python3.11"),
        interpreter: Digest::new([1; 32]),
        kernel: text("Linux 6.18"),
        glibc: text("2.36"),
        cpu: text("avx2"),
        flags: text(""),
        python_env: text(""),
        recipe: text("import this"),
        modules: vec![text("this")],
        import_ns: 1_000_000,
        // What a store of the first format could not hold: one is made of this.
        import_times: text(""),
        criu: text(""),
        surroundings: String::new(),
    };
    let store = Store::open(store)?;
    let bytes = pages(numbers);
    let mut ingest = store.begin(bytes.len() as u64)?;
    ingest.add_run(ADDRESS, &bytes)?;
    let mut sealed = ingest.seal()?;
    for file in ["core-1.img", "files.img"] {
        sealed.add_file(file, format!("{file} of {name}").repeat(100).as_bytes())?;
    }
    let replaced: Vec<_> = replaced.iter().map(|name| key(name)).collect();
    sealed.commit(record, &"content", &replaced).map(drop)
}

/// Records three runs, and a program, unless some are counted.
fn record(store: &Path) -> Result<()> {
    let store = RunStore::open(store)?.expect("there is a store");
    if store.tally()?.all.hits > 0 {
        return Ok(());
    }
    let (records, id) = (store.records(), ProgramId::new([7; 32]));
    for at_ns in 1..=3 {
        let image = "one".into();
        let (engine, engine_reason) = (Some("direct".into()), None);
        let outcome = Outcome::Hit { image, restore_ns: 1, import_ns: 2, engine, engine_reason };
        let what = "-m one".into();
        records.add_run(&RunRecord { at_ns, program: Some(id), what, outcome });
        let misses = at_ns as u32;
        records.put_program(&id, &Program { what: "-m one".into(), misses, ..Program::default() });
    }
    records.touch_program(&id);
    Ok(())
}

fn remove(store: &Path, names: &[&str]) -> Result<()> {
    let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
    Store::open(store)?.remove(&keys).map(drop)
}

/// Cleans up, with these images taken for stale.
fn clean(store: &Path, stale: &[&str]) -> Result<()> {
    let store = Store::open(store)?;
    let survey = store.survey()?;
    let why = |name: &String| stale.contains(&name.as_str()).then(|| "it is".to_owned());
    let stale: Vec<_> = survey.images.iter().map(|image| why(&image.image.record.name)).collect();
    let limits = Limits { now_ns: 0, max_bytes: None, unused_for: None, cold_after: None };
    let plan = store.plan(&survey, &stale, &limits, None);
    store.clean(&plan, &mut |_, _| ()).problem.map_or(Ok(()), Err)
}

/// Makes a store one of the first format: another index, with all in it that it could hold
/// then.
fn make_older(store: &Path) {
    let (index, new) = (store.join("index.sqlite"), store.join("newer"));
    fs::rename(&index, &new).unwrap();
    let migration = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/0001-first.sql");
    fs::write(&index, b"").unwrap();
    fs::set_permissions(&index, fs::Permissions::from_mode(0o600)).unwrap();
    let old = Connection::open(&index).unwrap();
    old.execute_batch(&fs::read_to_string(migration).unwrap()).unwrap();
    old.execute("ATTACH ? AS new", [new.to_str().unwrap()]).unwrap();
    let application: i32 =
        old.query_row("PRAGMA new.application_id", (), |row| row.get(0)).unwrap();
    let words = |query: &str| -> Vec<String> {
        let mut query = old.prepare(query).unwrap();
        query.query_map((), |row| row.get(0)).unwrap().map(|word| word.unwrap()).collect()
    };
    for table in words("SELECT name FROM main.sqlite_schema WHERE type = 'table'") {
        let columns = words(&format!("SELECT name FROM pragma_table_info('{table}')")).join(", ");
        let copy =
            format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}");
        old.execute(&copy, ()).unwrap();
    }
    old.pragma_update(None, "application_id", application).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    fs::remove_file(new).unwrap();
}

/// Makes all packs cold.
fn freeze(store: &Path) -> Result<()> {
    let store = Store::open(store)?;
    let mut packs = BTreeSet::new();
    for image in store.images()? {
        let manifest = store.load_manifest::<IgnoredAny>(&image.id)?;
        packs.extend(manifest.packs.iter().map(|pack| pack.id));
    }
    let packs: Vec<_> = packs.into_iter().collect();
    store.freeze(&packs, &mut |_| ()).map(drop)
}

/// Brings an image back, as a run does.
fn thaw(store: &Reader, image: &Image) -> Result<()> {
    let manifest = store.load_manifest::<IgnoredAny>(&image.id)?;
    store.thaw(&manifest.packs, Duration::from_secs(5))
}

/// Repairs what is damaged; nothing may be left that is.
fn mend(store: &Path) -> Result<()> {
    let repaired = store::repair(store, Depth::Data, &|_, _| ())?.expect("there is a store");
    let failed = repaired.actions.iter().find(|action| action.done == Done::Failed);
    match failed.map(|action| action.detail.clone()) {
        Some(detail) => Err(Error::failed(detail)),
        None if repaired.report.findings.is_empty() => Ok(()),
        None => Err(Error::failed(format!("{:?} is left", repaired.report.findings))),
    }
}

/// Changes a page in each pack of an image, which nobody but who reads it can see.
fn damage_packs_of(store: &Path, name: &str) {
    let store = Store::open(store).unwrap();
    let id = store.find(name).unwrap().id;
    for pack in store.load_manifest::<IgnoredAny>(&id).unwrap().packs {
        let file = fs::File::options().write(true).open(store.pack_path(&pack.id)).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.write_all_at(b"other", offset_of(2)).unwrap();
        file.set_modified(modified).unwrap();
    }
}

/// Makes the packs of an image look as if somebody had written to them.
fn touch_packs_of(store: &Path, name: &str) {
    let store = Store::open(store).unwrap();
    let id = store.find(name).unwrap().id;
    for pack in store.load_manifest::<IgnoredAny>(&id).unwrap().packs {
        let file = fs::File::options().write(true).open(store.pack_path(&pack.id)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    }
}

/// Where the memory of the images stands.
const ADDRESS: u64 = 0x5555_5555_4000;

fn pages(numbers: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let page = |number: u32| {
        let mut page = vec![number as u8; PAGE];
        page[..4].copy_from_slice(&number.to_le_bytes());
        page
    };
    numbers.into_iter().map(page).collect::<Vec<_>>().concat()
}

// ---- In a process of its own ----

const STEP: &str = "PYIMG_CRASH_STEP";
const AT: &str = "PYIMG_CRASH_STORE";

/// How a step ended in its own process.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub text: String,
    pub records: Vec<Record>,
}

/// The process of a step on the store below a directory.
pub fn command(step: &Step, below: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "steps::child", "--nocapture", "--test-threads=1", "--quiet"])
        .env(STEP, step.name)
        .env(AT, below.join(STORE));
    command
}

/// Runs a step on the store below a directory, recorded.
pub fn run(step: &Step, below: &Path, fault: Option<Fault>) -> Ended {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = command(step, below);
    recorder::record(&mut command, below, log.path(), fault);
    let output = common::run(&mut command);
    Ended { code: output.code(), text: output.stderr_text(), records: recorder::read(log.path()) }
}

/// Not a test of its own: the process of a step, if one is asked for.
#[test]
fn child() {
    let Ok(wanted) = std::env::var(STEP) else { return };
    let step = STEPS.iter().find(|step| step.name == wanted).expect("there is such a step");
    let store = std::env::var_os(AT).expect("the store is named");
    let code = match (step.run)(Path::new(&store)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            error.exit_code()
        }
    };
    std::process::exit(code.into());
}

// ---- Looking ----

/// Whether a store is sound and what it lists is right: what is wrong otherwise. One of
/// `allowed` must be there; its number is returned.
pub fn check(store: &Path, allowed: &[&Expected]) -> Result<usize, String> {
    // As a run does, which must cope with whatever a crash has left.
    let open = || RunStore::open(store).map_err(|error| format!("a run: {error}"));
    let run = match open() {
        // It leaves this to others.
        Err(error) if error.contains("still has format 1") => {
            Store::open(store).map_err(|error| format!("migrating: {error}"))?;
            open()?
        }
        Err(error) => {
            let refused = allowed.iter().position(|expected| expected.refused);
            return refused.ok_or(error);
        }
        Ok(run) => run,
    };
    let Some(run) = run else {
        let none = allowed.iter().position(|expected| expected.images.is_none());
        return none.ok_or_else(|| "there is no store".to_owned());
    };
    let counted = run.tally().map_err(|error| format!("counting runs: {error}"))?.all.hits;
    let most = allowed.iter().map(|expected| expected.runs).max().unwrap_or(0);
    if counted > most {
        return Err(format!("{counted} runs are counted, and there were {most}"));
    }
    let found = verify(store)?;
    let listed = look(&run, allowed)?;
    drop(run);
    let whole = |expected: &&Expected| {
        !expected.refused && expected.images.iter().flatten().all(|(_, content)| content.whole)
    };
    if allowed.iter().all(whole) && !found.is_empty() {
        return Err(format!("verifying: {found:?}"));
    }
    let matches = |expected: &&Expected| {
        expected.images.as_ref().is_some_and(|images| {
            let same = |(name, pinned): (&String, &bool)| {
                images.get(name.as_str()).is_some_and(|content| content.pinned == *pinned)
            };
            images.len() == listed.len() && listed.iter().all(same)
        })
    };
    allowed.iter().position(matches).ok_or_else(|| format!("listed: {listed:?}"))
}

/// What `pyimg verify` finds.
fn verify(store: &Path) -> Result<Vec<Finding>, String> {
    let report = store::verify(store, Depth::Data, &|_, _| ());
    let report = report.map_err(|error| format!("verifying: {error}"))?;
    Ok(report.ok_or("verifying: there is no store")?.findings)
}

/// The images of a store, and whether each is pinned.
fn look(store: &Reader, allowed: &[&Expected]) -> Result<BTreeMap<String, bool>, String> {
    let mut listed = BTreeMap::new();
    for image in store.images().map_err(|error| format!("listing: {error}"))? {
        let name = image.record.name.clone();
        let possible: Vec<_> =
            allowed.iter().filter_map(|state| state.images.as_ref()?.get(name.as_str())).collect();
        match read_back(store, &image) {
            Ok(bytes) => {
                let same = |content: &&Content| {
                    !content.whole || pages(content.pages.iter().copied()) == bytes
                };
                if !possible.iter().copied().any(|content| same(&content)) {
                    return Err(format!("{name} has other pages"));
                }
            }
            Err(_) if possible.iter().any(|content| !content.whole) => {}
            Err(error) => return Err(format!("{name}: {error}")),
        }
        listed.insert(name, image.pinned);
    }
    Ok(listed)
}

/// The memory of an image, put together as a run would map it; all its files are read.
fn read_back(store: &Reader, image: &Image) -> Result<Vec<u8>, String> {
    let manifest =
        store.load_manifest::<IgnoredAny>(&image.id).map_err(|error| error.to_string())?;
    for file in &manifest.files {
        let bytes = fs::read(store.image_dir(&image.id).join(&file.name)).unwrap();
        if Digest::from(blake3::hash(&bytes)) != file.blake3 {
            return Err(format!("{} has another content", file.name));
        }
    }
    thaw(store, image).map_err(|error| error.to_string())?;
    let packs: Vec<_> =
        manifest.packs.iter().map(|pack| fs::read(store.pack_path(&pack.id)).unwrap()).collect();
    let mut bytes = Vec::new();
    for extent in &manifest.extents {
        let length = extent.pages as usize * PAGE;
        match extent.source {
            Source::Zero => bytes.resize(bytes.len() + length, 0),
            Source::Pack { pack, first_page } => {
                let at = offset_of(first_page) as usize;
                bytes.extend_from_slice(&packs[pack as usize][at..at + length]);
            }
        }
    }
    Ok(bytes)
}

/// Does the step again, which must succeed, clears up, and looks for anything that is
/// there too much.
pub fn do_again(store: &Path, step: &Step, after: &Expected) -> Result<(), String> {
    (step.run)(store).map_err(|error| format!("again: {error}"))?;
    let open = Store::open(store).map_err(|error| format!("opening: {error}"))?;
    open.remove(&[]).map_err(|error| format!("clearing up: {error}"))?;
    check(store, &[after]).map_err(|error| format!("cleared up: {error}"))?;
    let (mut packs, mut images) = (BTreeSet::new(), BTreeSet::new());
    for image in open.images().unwrap() {
        let manifest = open.load_manifest::<IgnoredAny>(&image.id);
        let manifest = manifest.map_err(|error| error.to_string())?;
        packs.extend(manifest.packs.iter().map(|pack| format!("{:#}.pack", pack.id)));
        images.insert(image.id.hex());
    }
    for (inner, wanted) in [("packs", packs), ("images", images), ("tmp", BTreeSet::new())] {
        let found = names_in(&store.join(inner));
        if found != wanted {
            return Err(format!("{inner}: there is {found:?}, not {wanted:?}"));
        }
    }
    let modes = fs::symlink_metadata(store).unwrap().mode() & 0o7777;
    if modes != 0o700 {
        return Err(format!("the store has mode {modes:o}"));
    }
    Ok(())
}

fn names_in(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    let name = |name: String| name.trim_end_matches(".zst").to_owned();
    entries.map(|entry| name(entry.unwrap().file_name().into_string().unwrap())).collect()
}
