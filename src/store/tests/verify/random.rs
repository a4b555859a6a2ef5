//! Damage by chance: any byte of any file of the store.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::super::lab::memory;
use super::*;

/// What runs and builds see of a store, as far as it must not be wrong: all images as they
/// were stored, with their memory. Pins, uses and the remembered hashes are not in it.
fn seen(lab: &Lab) -> Result<Vec<(Image, Vec<u8>)>> {
    let run = RunStore::open(&lab.path)?.unwrap();
    let wanted = record("");
    let mut seen = Vec::new();
    assert_eq!(run.candidates(&query(&wanted))?.len(), lab.images.len());
    for mut image in run.images()? {
        let manifest = run.load_manifest::<Content>(&image.id)?;
        assert_eq!(manifest.content["words"], "few");
        assert_eq!(fs::read(run.image_dir(&image.id).join("core-1.img")).unwrap(), b"core");
        (image.pinned, image.hits, image.last_used_ns) = (false, 0, None);
        let memory = read_back(&run, &image.id);
        seen.push((image, memory));
    }
    Ok(seen)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Some bits of any file are turned over, and nothing tells but the content. Verifying
    /// finds it, or it does not matter: then the store gives back what was stored.
    #[test]
    fn no_flip_that_matters_is_missed(
        file in 0_usize..1000, at in 0_usize..1_000_000, bits in 1_u8..=255,
    ) {
        thread_local! {
            static LAB: Lab = Lab::new();
        }
        LAB.with(|lab| {
            let mut files: Vec<_> = walkdir::WalkDir::new(&lab.path)
                .sort_by_file_name()
                .into_iter()
                .flatten()
                .filter(|entry| entry.file_type().is_file() && entry.metadata().unwrap().len() > 0)
                .map(|entry| entry.path().to_owned())
                .collect();
            // Most of the bytes are pages; the index is where the interesting ones are.
            files.extend(vec![lab.path.join("index.sqlite"); files.len()]);
            let path = &files[file % files.len()];
            let (good, found) = (fs::read(path).unwrap(), fs::metadata(path).unwrap());
            let at = at % good.len();
            flip(path, at, bits);
            let report = verify(&lab.path, Depth::Data, &|_, _| ());
            let missed = match &report {
                Ok(Some(report)) => report.findings.is_empty(),
                Ok(None) | Err(_) => false,
            };
            let result = if !missed {
                Ok(())
            } else {
                let name = path.strip_prefix(&lab.path).unwrap().display();
                match std::panic::catch_unwind(|| seen(lab)) {
                    Ok(Ok(seen)) => {
                        let all = lab.images.iter().cloned().enumerate();
                        let expected: Vec<_> = all.map(|(at, image)| (image, memory(at))).collect();
                        let same = seen == expected;
                        if same { Ok(()) } else { Err(format!("{name} at {at} ^ {bits}: other images")) }
                    }
                    other => Err(format!("{name} at {at} ^ {bits}: {other:?}")),
                }
            };
            fs::write(path, good).unwrap();
            File::options().write(true).open(path).unwrap().set_modified(found.modified().unwrap()).unwrap();
            for odd in ["index.sqlite-wal", "index.sqlite-shm"] {
                let _ = fs::remove_file(lab.path.join(odd));
            }
            result.map_err(TestCaseError::fail)
        })?;
    }
}

proptest! {
    /// A manifest may be anything at all, as long as its name is its hash: it is read or
    /// refused, and what is read leads nowhere but into its own directory and its packs.
    #[test]
    fn any_manifest_is_read_or_refused(
        cuts in proptest::collection::vec((0_usize..4000, "[\\PC]{0,12}|[0-9]{1,20}|\\[|\\{|null|\\.\\./"), 0..4),
        names in proptest::collection::vec("[a-z./\u{0}-]{0,8}", 0..3),
        extents in proptest::collection::vec((0_u64.., 0_u64.., 0_u32..3, 0_u64..), 0..4),
        pages in 0_u64..,
    ) {
        let pack = PackInfo { id: PackId::new([1; 32]), pages, bytes: 1, modified_ns: 1 };
        let (created_ns, none) = (1, Content::new());
        let mut manifest = crate::store::manifest::Manifest::new(record("x"), created_ns, none);
        manifest.packs = vec![pack];
        let digest = Digest::new([1; 32]);
        manifest.files = names
            .into_iter()
            .map(|name| FileInfo { name, bytes: u64::MAX, blake3: digest })
            .collect();
        manifest.extents = extents
            .into_iter()
            .map(|(address, pages, pack, first_page)| Extent {
                address, pages, source: Source::Pack { pack, first_page },
            })
            .collect();
        let mut bytes = manifest.to_bytes().unwrap().0;
        for (at, text) in cuts {
            let at = at % bytes.len();
            let end = bytes.len().min(at + text.len());
            bytes.splice(at..end, text.bytes());
        }
        let id = blake3::hash(&bytes).into();
        let parsed = crate::store::manifest::parse::<Content>(&bytes, &id);
        let Ok(manifest) = parsed else { return Ok(()) };
        let (_, _) = (manifest.page_bytes(), manifest.file_bytes());
        let dir = Path::new("/store/images/x");
        for file in &manifest.files {
            let path = dir.join(&file.name);
            prop_assert_eq!(path.parent(), Some(dir));
            prop_assert!(file.name != "..");
        }
        for extent in &manifest.extents {
            if let Source::Pack { pack, first_page } = extent.source {
                prop_assert!(first_page + extent.pages <= manifest.packs[pack as usize].pages);
            }
        }
    }

    /// The index may say anything that its tables can hold: it is compared with the manifests,
    /// and a repair makes it right.
    #[test]
    fn any_index_is_seen_through(
        column in 0_usize..22,
        number in proptest::num::i64::ANY,
        text in "[a-z/.]{0,70}",
        row in 1_u32..4,
    ) {
        let columns = [
            "created_ns", "pages", "new_pages", "file_bytes", "import_ns", "name", "python",
            "executable", "real_executable", "kernel", "glibc", "cpu", "flags", "python_env",
            "recipe", "modules", "import_times", "criu", "key", "id", "interpreter", "number",
        ];
        let lab = Lab::new();
        let index = rusqlite::Connection::open(lab.path.join("index.sqlite")).unwrap();
        let value: Box<dyn rusqlite::ToSql> = match column {
            0..5 | 21 => Box::new(number),
            5..18 => Box::new(text),
            _ => Box::new(*blake3::hash(&number.to_le_bytes()).as_bytes()),
        };
        let change = format!("UPDATE images SET {} = ? WHERE number = ?", columns[column]);
        let _ = index.execute(&change, rusqlite::params![value, row]);
        drop(index);
        let found = verify(&lab.path, Depth::Tables, &|_, _| ()).map(|report| report.unwrap());
        match found {
            Ok(report) if report.findings.is_empty() => {
                let seen = seen(&lab).unwrap();
                prop_assert!(seen.len() == 3);
                for (image, bytes) in seen {
                    let at = lab.images.iter().position(|own| *own == image).unwrap();
                    prop_assert!(bytes == memory(at));
                }
            }
            // Numbers that are none: the index itself cannot be read as rows.
            found => {
                drop(found);
                let repaired = repair(&lab.path, Depth::Tables, &|_, _| ()).unwrap().unwrap();
                prop_assert_eq!(repaired.report.findings, []);
                prop_assert_eq!(repaired.lost, []);
                prop_assert_eq!(Store::open(&lab.path).unwrap().images().unwrap(), lab.images.clone());
            }
        }
    }
}
