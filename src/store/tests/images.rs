//! Images: finding, replacing, removing, and what goes wrong with them.

use std::fs;
use std::sync::Barrier;
use std::thread;

use super::*;

#[test]
fn what_was_recorded_comes_back() {
    let (_dir, store) = store();
    let stored = build(&store, record("one"), &pages(1..=3)).unwrap();
    assert_eq!(stored.record, record("one"));
    let reader = RunStore::open(store.dir()).unwrap().unwrap();
    assert_eq!(reader.images().unwrap(), std::slice::from_ref(&stored));
    assert_eq!(reader.by_name("one").unwrap(), Some(stored.clone()));
    assert_eq!(reader.by_key(&stored.record.key).unwrap(), Some(stored.clone()));
    assert_eq!(reader.by_name("on").unwrap(), None);
    let manifest = reader.load_manifest::<Content>(&stored.id).unwrap();
    assert_eq!(manifest.record, stored.record);
    assert_eq!(manifest.content["words"], "few");
    assert_eq!(manifest.created_ns, stored.created_ns);
    assert_eq!(manifest.files[0].blake3, Digest::from(blake3::hash(b"core")));
    assert_eq!(fs::read(reader.image_dir(&stored.id).join("core-1.img")).unwrap(), b"core");
}

#[test]
fn candidates_fit_in_everything_and_the_newest_is_first() {
    let (_dir, store) = store();
    build(&store, record("one"), &pages([1])).unwrap();
    build(&store, record("two"), &pages([2])).unwrap();
    let wanted = record("");
    let names = |query: CandidateQuery| {
        let found = store.candidates(&query).unwrap();
        found.into_iter().map(|candidate| candidate.name).collect::<Vec<_>>()
    };
    assert_eq!(names(query(&wanted)), ["two", "one"]);
    let (right, wrong) = (Digest::new([1; 32]), Digest::new([2; 32]));
    let base = query(&wanted);
    assert_eq!(names(CandidateQuery { glibc: None, ..base }).len(), 2);
    assert_eq!(names(CandidateQuery { interpreter: Some(&right), ..base }).len(), 2);
    assert_eq!(names(CandidateQuery { interpreter: Some(&wrong), ..base }).len(), 0);
    for other in [
        CandidateQuery { executable: "x", ..base },
        CandidateQuery { kernel: "x", ..base },
        CandidateQuery { glibc: Some("x"), ..base },
        CandidateQuery { cpu: "x", ..base },
        CandidateQuery { flags: "x", ..base },
        CandidateQuery { python_env: "x", ..base },
    ] {
        assert_eq!(names(other), [""; 0]);
    }
    let found = store.candidates(&query(&wanted)).unwrap().remove(1);
    assert_eq!(found.modules, ["numpy", "re"]);
    assert_eq!(found.import_ns, 260_000_000);
    assert_eq!(found.import_times, record("").import_times);
    assert_eq!(found.page_bytes, PAGE as u64);
    assert_eq!(found.key, record("one").key);
}

#[test]
fn an_image_is_found_by_name_or_key() {
    let (_dir, store) = store();
    let one = build(&store, record("one"), &pages([1])).unwrap();
    let key = one.record.key.hex();
    assert_eq!(store.find("one").unwrap(), one);
    assert_eq!(store.find(&key).unwrap(), one);
    assert_eq!(store.find(&key[..5]).unwrap(), one);
    for unknown in [&key[..3], "two", "", "%", "ffff"] {
        let error = store.find(unknown).unwrap_err();
        assert_eq!(error.to_string(), format!("there is no image {unknown:?}"));
        assert_eq!(error.hint_text(), Some("`pyimg ls` lists the images"));
        assert_eq!(error.exit_code(), 1);
    }
    let mut twin = record("twin");
    let mut bytes = *one.record.key.as_bytes();
    bytes[31] ^= 1;
    twin.key = ImageKey::new(bytes);
    build(&store, twin.clone(), &pages([2])).unwrap();
    let error = store.find(&key[..12]).unwrap_err();
    let said = format!(
        "{:?} begins the keys of one ({}) and twin ({})",
        &key[..12],
        one.record.key,
        twin.key
    );
    assert_eq!(error.to_string(), said);
    // A name that looks like a key is a name first.
    let mut odd = record("odd");
    odd.name = key[..8].to_owned();
    let odd = build(&store, odd, &pages([3])).unwrap();
    assert_eq!(store.find(&key[..8]).unwrap(), odd);
}

#[test]
fn a_name_is_taken_once() {
    let (_dir, store) = store();
    let one = build(&store, record("one"), &pages([1])).unwrap();
    let mut other = record("other");
    other.name = "one".into();
    let error = build(&store, other.clone(), &pages([2])).unwrap_err();
    let key = one.record.key;
    assert_eq!(
        error.to_string(),
        format!("the name \"one\" is taken by the image {key} of \"import this\"")
    );
    let hint = "choose another name with --name, or `pyimg rm one` first";
    assert_eq!(error.hint_text(), Some(hint));
    assert_clean(&store, &["one"]);
    // Unless the caller says that it makes room.
    let mut ingest = store.begin(0).unwrap();
    ingest.add_run(ADDRESS, &pages([2])).unwrap();
    let sealed = ingest.seal().unwrap();
    sealed.commit(other.clone(), &Content::new(), &[key]).unwrap();
    assert_eq!(store.images().unwrap()[0].record.key, other.key);
    assert_clean(&store, &["one"]);
}

#[test]
fn the_same_key_replaces() {
    let (_dir, store) = store();
    let one = build(&store, record("one"), &pages(1..=30)).unwrap();
    let mut again = record("one");
    again.name = "renamed".into();
    let two = build(&store, again, &pages(31..=60)).unwrap();
    assert_ne!(one.id, two.id);
    assert_clean(&store, &["renamed"]);
    assert!(!store.image_dir(&one.id).exists());
}

#[test]
fn bad_names_are_refused_and_leave_nothing() {
    let (_dir, store) = store();
    let error = build(&store, record("a/b"), &pages([1])).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let mut odd = record("one");
    odd.modules.push("a\nb".into());
    let error = build(&store, odd, &pages([1])).unwrap_err();
    assert_eq!(error.to_string(), "a module cannot be called \"a\\nb\"");
    let mut sealed = store.begin(0).unwrap().seal().unwrap();
    let error = sealed.add_file("../evil", b"").unwrap_err();
    assert_eq!(error.to_string(), "an image cannot hold a file \"../evil\"");
    drop(sealed);
    assert_clean(&store, &[]);
}

#[test]
fn a_build_that_is_given_up_leaves_nothing() {
    let (_dir, store) = store();
    let mut ingest = store.begin(0).unwrap();
    ingest.add_run(ADDRESS, &pages(1..=30)).unwrap();
    assert_eq!(files_in(&store.dir().join("tmp")).len(), 1);
    drop(ingest);
    assert_clean(&store, &[]);
    let mut ingest = store.begin(0).unwrap();
    ingest.add_run(ADDRESS, &pages(1..=30)).unwrap();
    drop(ingest.seal().unwrap());
    assert_clean(&store, &[]);
}

#[test]
fn leftovers_of_a_crash_are_ignored_and_swept() {
    let (_dir, store) = store();
    let one = build(&store, record("one"), &pages(1..=30)).unwrap();
    let left = store.dir().join("tmp/build-x");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("pack"), b"half").unwrap();
    let image = store.dir().join("images").join("ab".repeat(32));
    fs::create_dir(&image).unwrap();
    fs::write(image.join("manifest.json"), b"{").unwrap();
    let pack = store.dir().join("packs").join(format!("{}.pack", "cd".repeat(32)));
    fs::write(&pack, b"x").unwrap();
    let removed = store.dir().join("tmp/removed-x.pack");
    fs::write(&removed, b"x").unwrap();
    let foreign = store.dir().join("packs/README");
    fs::write(&foreign, b"not ours").unwrap();
    assert_eq!(store.images().unwrap(), std::slice::from_ref(&one));
    // The next build clears what cannot be of use, the next removal the rest.
    drop(store.begin(0).unwrap());
    assert!(!left.exists());
    let freed = store.remove(&[]).unwrap();
    assert_eq!((freed.images, freed.packs, freed.postponed), (0, 1, false));
    assert!(!image.exists() && !pack.exists() && !removed.exists());
    assert_eq!(fs::read(&foreign).unwrap(), b"not ours");
    assert_eq!(store.images().unwrap(), [one]);
}

#[test]
fn removing_takes_what_nobody_else_uses() {
    let (_dir, store) = store();
    let one = build(&store, record("one"), &pages(1..=100)).unwrap();
    let two = build(&store, record("two"), &pages((1..=50).chain(901..=950))).unwrap();
    let freed = store.remove(&[one.record.key]).unwrap();
    assert_eq!((freed.images, freed.packs), (1, 0));
    assert!(freed.bytes > 0);
    assert_eq!(read_back(&store, &two.id), pages((1..=50).chain(901..=950)));
    assert_clean(&store, &["two"]);
    let freed = store.remove(&[two.record.key, one.record.key]).unwrap();
    assert_eq!((freed.images, freed.packs), (1, 2));
    assert!(freed.bytes > 150 * 4096);
    assert_clean(&store, &[]);
}

#[test]
fn a_run_keeps_what_it_found() {
    let (_dir, store) = store();
    let one = build(&store, record("one"), &pages(1..=10)).unwrap();
    let run = RunStore::open(store.dir()).unwrap().unwrap();
    assert_eq!(run.candidates(&query(&record(""))).unwrap().len(), 1);
    let dir = store.dir();
    thread::scope(|scope| {
        let removal = scope.spawn(|| Store::open(dir).unwrap().remove(&[one.record.key]));
        while store.by_key(&one.record.key).unwrap().is_some() {
            thread::yield_now();
        }
        // Taken out of the index, but still there for who found it before.
        assert_eq!(read_back(&run, &one.id), pages(1..=10));
        let later = RunStore::open(store.dir()).unwrap().unwrap();
        assert_eq!(later.candidates(&query(&record(""))).unwrap(), []);
        drop(later); // it may have come before the lock was renewed
        thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(read_back(&run, &one.id), pages(1..=10));
        drop(run);
        let freed = removal.join().unwrap().unwrap();
        assert_eq!((freed.packs, freed.postponed), (1, false));
    });
    assert_clean(&store, &[]);
}

#[test]
fn uses_are_counted() {
    let (_dir, store) = store();
    let one = build(&store, record("one"), &pages([1])).unwrap();
    assert_eq!((one.hits, one.last_used_ns), (0, None));
    let run = RunStore::open(store.dir()).unwrap().unwrap();
    (0..3).for_each(|_| run.note_use(&one.id));
    let found = store.find("one").unwrap();
    assert_eq!(found.hits, 3);
    assert!(found.last_used_ns.unwrap() >= one.created_ns);
    run.note_use(&ImageId::new([9; 32])); // no such image: nothing happens
    assert_clean(&store, &["one"]);
}

#[test]
fn pins_and_hashes_are_kept() {
    let (_dir, store) = store();
    let one = build(&store, record("one"), &pages([1])).unwrap();
    assert!(store.set_pinned(&one.record.key, true).unwrap());
    assert!(store.find("one").unwrap().pinned);
    assert!(store.set_pinned(&one.record.key, false).unwrap());
    assert!(!store.find("one").unwrap().pinned);
    assert!(!store.set_pinned(&ImageKey::new([5; 32]), true).unwrap());
    let state = FileState::of(&fs::metadata("/proc/self/exe").unwrap());
    let hash = Digest::new([8; 32]);
    assert_eq!(store.interpreter_hash("/x", &state).unwrap(), None);
    store.set_interpreter_hash("/x", &state, &Digest::new([7; 32])).unwrap();
    store.set_interpreter_hash("/x", &state, &hash).unwrap();
    assert_eq!(store.interpreter_hash("/x", &state).unwrap(), Some(hash));
    let run = RunStore::open(store.dir()).unwrap().unwrap();
    assert_eq!(run.interpreter_hash("/x", &state).unwrap(), Some(hash));
    for changed in [
        FileState { device: !state.device, ..state },
        FileState { inode: state.inode + 1, ..state },
        FileState { size: state.size + 1, ..state },
        FileState { mtime_ns: state.mtime_ns + 1, ..state },
        FileState { ctime_ns: state.ctime_ns + 1, ..state },
    ] {
        assert_eq!(run.interpreter_hash("/x", &changed).unwrap(), None);
    }
}

#[test]
fn a_damaged_image_is_noticed_before_it_is_used() {
    let (_dir, store) = store();
    let one = build(&store, record("one"), &pages(1..=3)).unwrap();
    let load = || store.load_manifest::<Content>(&one.id);
    let pack = store.pack_path(&load().unwrap().packs[0].id);
    let dir = store.image_dir(&one.id);
    let fails = |path: &std::path::Path, damage: &dyn Fn(), expected: &str| {
        let (bytes, found) = (fs::read(path).unwrap(), fs::metadata(path).unwrap());
        damage();
        let error = load().unwrap_err().to_string();
        assert_eq!(error, expected.replace("PATH", &path.display().to_string()));
        let _ = fs::remove_file(path);
        fs::write(path, bytes).unwrap();
        fs::File::open(path).unwrap().set_modified(found.modified().unwrap()).unwrap();
        fs::set_permissions(path, found.permissions()).unwrap();
        load().unwrap();
    };
    let changed = "the pack PATH was changed";
    let cut = || fs::File::options().write(true).open(&pack).unwrap().set_len(4096).unwrap();
    fails(&pack, &cut, changed);
    // Other bytes in the same number, written later.
    let rewrite = || {
        let bytes = fs::read(&pack).unwrap();
        fs::write(&pack, bytes).unwrap();
    };
    fails(&pack, &rewrite, changed);
    let remove = || fs::remove_file(&pack).unwrap();
    fails(&pack, &remove, "cannot read PATH: No such file or directory (os error 2)");
    let link = || {
        fs::rename(&pack, dir.join("x")).unwrap();
        std::os::unix::fs::symlink(dir.join("x"), &pack).unwrap();
    };
    fails(&pack, &link, "PATH is not a regular file");
    let core = dir.join("core-1.img");
    let longer = || fs::write(&core, b"corex").unwrap();
    fails(&core, &longer, "the file PATH was changed");
    let manifest = dir.join("manifest.json");
    let rot = || {
        let mut bytes = fs::read(&manifest).unwrap();
        bytes[20] ^= 1;
        fs::write(&manifest, bytes).unwrap();
    };
    fails(&manifest, &rot, "the manifest PATH is damaged: it was changed");
    let mode = || {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&pack, fs::Permissions::from_mode(0o666)).unwrap();
    };
    fails(&pack, &mode, "other users may write to PATH (mode 0666)");
}

#[test]
fn builds_removals_and_runs_at_once() {
    fn look(dir: &Path) -> Result<()> {
        let run = RunStore::open(dir)?.unwrap();
        for candidate in run.candidates(&query(&record("")))? {
            read_back(&run, &candidate.id);
        }
        Ok(())
    }
    let (_dir, store) = store();
    let dir = store.dir();
    let start = Barrier::new(6);
    let rounds = 12;
    thread::scope(|scope| {
        for builder in 0..3_u32 {
            let start = &start;
            scope.spawn(move || {
                let store = Store::open(dir).unwrap();
                start.wait();
                for round in 0..rounds {
                    // Half of the pages are everybody's.
                    let own = 1000 * (1 + builder);
                    let memory = pages((1..=40).chain(own..own + 20 + round));
                    let name = format!("image-{builder}-{}", round % 3);
                    let image = build(&store, record(&name), &memory).unwrap();
                    assert_eq!(read_back(&store, &image.id), memory);
                    if round % 4 == 3 {
                        store.remove(&[image.record.key]).unwrap();
                    }
                }
            });
        }
        for _ in 0..3 {
            scope.spawn(|| {
                start.wait();
                for _ in 0..100 {
                    if let Err(error) = look(dir) {
                        // On a slow disk a commit takes longer than runs wait.
                        assert!(error.to_string().ends_with("is being changed by another process"));
                    }
                }
            });
        }
    });
    store.remove(&[]).unwrap();
    let mut names: Vec<_> =
        store.images().unwrap().into_iter().map(|image| image.record.name).collect();
    let names_ref: Vec<_> = names.iter().map(String::as_str).collect();
    assert_clean(&store, &names_ref);
    names.sort();
    names.dedup();
    assert!(!names.is_empty());
}

#[test]
fn a_pin_stays_over_a_rebuild() {
    let (_dir, store) = store();
    build(&store, record("one"), &pages([1])).unwrap();
    build(&store, record("two"), &pages([2])).unwrap();
    assert!(store.set_pinned(&record("one").key, true).unwrap());
    let rebuilt = build(&store, record("one"), &pages([3])).unwrap();
    assert!(rebuilt.pinned && store.by_name("one").unwrap().unwrap().pinned);
    assert!(!build(&store, record("two"), &pages([4])).unwrap().pinned);

    // Another recipe that takes the name is what the person meant by that name.
    let mut other = record("one");
    other.key = ImageKey::new([5; 32]);
    let mut ingest = store.begin(0).unwrap();
    ingest.add_run(ADDRESS, &pages([5])).unwrap();
    let sealed = ingest.seal().unwrap();
    let stored = sealed.commit(other, &Content::new(), &[record("one").key]).unwrap();
    assert!(stored.pinned);
}

#[test]
fn files_are_compared_apart() {
    let (_dir, store) = store();
    let ingest = store.begin(0).unwrap();
    let mut sealed = ingest.seal().unwrap();
    let sizes = [("core-1.img", 50_010), ("mm-1.img", 100_000), ("pages-1.img", 5 << 20)];
    for (name, bytes) in sizes {
        sealed.add_file(name, &vec![1; bytes]).unwrap();
    }
    let content = Content::from([("words".into(), "few".into())]);
    let image = sealed.commit(record("one"), &content, &[]).unwrap();
    let (directory, files) =
        (store.image_dir(&image.id), store.load_manifest::<Content>(&image.id).unwrap().files);
    let rot = |name: &str| {
        let file = fs::File::options().write(true).open(directory.join(name)).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"rot", 50_000).unwrap();
    };
    let changed = |name| format!("the file {} was changed", directory.join(name).display());
    let check = || check_files(&directory, &files).map_err(|error| error.to_string());
    rot("pages-1.img");
    check().unwrap();
    rot("mm-1.img");
    store.load_manifest::<Content>(&image.id).unwrap();
    assert_eq!(check().unwrap_err(), changed("mm-1.img"));
    rot("core-1.img");
    let error = store.load_manifest::<Content>(&image.id).unwrap_err();
    assert_eq!(error.to_string(), changed("core-1.img"));
    store.load_for_run::<Content>(&image.id).unwrap();
    assert_eq!(check().unwrap_err(), changed("core-1.img"));
}
