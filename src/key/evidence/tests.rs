use super::*;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;

fn tree() -> (tempfile::TempDir, Evidence<'static>) {
    let directory = tempfile::tempdir().unwrap();
    let a = directory.path().join("a.py");
    let strange = directory.path().join(OsStr::from_bytes(b"strange-\xff.py"));
    fs::write(&a, "x = 1\n").unwrap();
    fs::write(&strange, "").unwrap();
    let absent = directory.path().join("absent.pyc");
    let evidence = Evidence::record([a, strange, absent], []).unwrap();
    (directory, evidence)
}

fn observed(observed: Observed) -> Evidence<'static> {
    observed_with(Evidence::default(), observed)
}

fn observed_with(evidence: Evidence, observed: Observed) -> Evidence<'static> {
    let nowhere =
        Surroundings { environment: &[], directory: Path::new("/"), terminals: [false; 3] };
    evidence.and(observed, nowhere).unwrap()
}

/// What is said of the first change.
fn said(evidence: &Evidence) -> Option<String> {
    evidence.first_change().map(|changed| changed.to_string())
}

#[test]
fn unchanged_files_hold() {
    let (_directory, evidence) = tree();
    assert_eq!(evidence.len(), 2);
    assert_eq!(evidence.first_change(), None);
}

#[test]
fn every_change_of_a_file_is_seen() {
    let changed = |what, change: &dyn Fn(&Path)| {
        let (directory, evidence) = tree();
        let path = directory.path().join("a.py");
        change(&path);
        assert_eq!(evidence.first_change(), Some(Changed::File { path, what }));
    };
    changed(Difference::Modified, &|a| fs::write(a, "x = 22\n").unwrap());
    changed(Difference::Modified, &|a| {
        let before = fs::metadata(a).unwrap().modified().unwrap();
        fs::write(a.with_file_name("new"), "x = 1\n").unwrap();
        fs::rename(a.with_file_name("new"), a).unwrap();
        File::options().write(true).open(a).unwrap().set_modified(before).unwrap();
    });
    // The same inode, size and modification time: only the time of change tells.
    changed(Difference::Modified, &|a| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let before = fs::metadata(a).unwrap().modified().unwrap();
        fs::write(a, "x = 2\n").unwrap();
        File::options().write(true).open(a).unwrap().set_modified(before).unwrap();
    });
    changed(Difference::Missing, &|a| fs::remove_file(a).unwrap());
    changed(Difference::Missing, &|a| fs::remove_dir_all(a.parent().unwrap()).unwrap());
}

#[test]
fn what_was_looked_for_in_vain_must_not_come() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("there")).unwrap();
    let evidence = observed(Observed {
        read: vec![path("there")],
        absent: vec![path("settings.cfg"), path("no/such/file")],
        ..Observed::default()
    });
    assert_eq!(said(&evidence), None);
    fs::create_dir_all(path("no/such")).unwrap();
    assert_eq!(said(&evidence), None);
    fs::write(path("no/such/file"), "").unwrap();
    assert_eq!(said(&evidence), Some(format!("{} is new", path("no/such/file").display())));
    fs::remove_dir(path("there")).unwrap();
    assert_eq!(said(&evidence), Some(format!("{} is missing", path("there").display())));
}

#[test]
fn a_new_path_file_is_seen_and_a_new_package_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let (site, later) = (directory.path().join("site"), directory.path().join("later"));
    fs::create_dir(&site).unwrap();
    let evidence = Evidence::record([], [site.clone(), later.clone()]).unwrap();
    fs::create_dir(site.join("package")).unwrap();
    assert_eq!(said(&evidence), None);
    fs::create_dir(&later).unwrap();
    assert_eq!(said(&evidence), Some(format!("{} has changed", later.display())));
    fs::remove_dir(&later).unwrap();
    fs::write(site.join("editable.pth"), "/srv\n").unwrap();
    assert_eq!(said(&evidence), Some(format!("{}/editable.pth has changed", site.display())));
}

#[test]
fn what_would_be_found_first_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let site = directory.path().to_owned();
    fs::write(site.join("b.py"), "").unwrap();
    let evidence = observed(Observed {
        modules: [(site.clone(), vec!["b".to_owned(), "a".to_owned()])].into(),
        ..Observed::default()
    });
    let harmless = ["c.py", "ab.py", "a.txt", "b.py.bak", "b-1.0.dist-info", "__pycache__"];
    for name in harmless {
        fs::write(site.join(name), "").unwrap();
        assert_eq!(said(&evidence), None, "{name}");
    }
    for name in ["a", "a.py", "a.pyc", "a.cpython-311-x86_64-linux-gnu.so", "b", "b.so"] {
        fs::write(site.join(name), "").unwrap();
        let expected = format!("{} has changed", site.join(name).display());
        assert_eq!(said(&evidence), Some(expected));
        fs::remove_file(site.join(name)).unwrap();
        assert_eq!(said(&evidence), None, "{name} has gone again");
    }
    fs::remove_file(site.join("b.py")).unwrap();
    assert_eq!(said(&evidence), Some(format!("{}/b.py has changed", site.display())));
}

#[test]
fn distributions_are_compared_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let site = directory.path().to_owned();
    let looked_for = |names: Vec<Option<String>>| {
        observed(Observed { distributions: [(site.clone(), names)].into(), ..Observed::default() })
    };
    let (one, all) = (looked_for(vec![Some("Zope.Interface".into())]), looked_for(vec![None]));
    fs::create_dir(site.join("zope")).unwrap();
    assert_eq!((said(&one), said(&all)), (None, None));
    fs::create_dir(site.join("other-1.0.dist-info")).unwrap();
    assert_eq!(said(&one), None);
    assert!(said(&all).is_some());
    fs::create_dir(site.join("zope_interface-1.0.dist-info")).unwrap();
    assert!(said(&one).is_some());
}

#[test]
fn a_listed_directory_counts_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let plugins = directory.path().to_owned();
    let evidence = observed(Observed { listed: vec![plugins.clone()], ..Observed::default() });
    assert_eq!(said(&evidence), None);
    fs::write(plugins.join("anything"), "").unwrap();
    assert_eq!(said(&evidence), Some(format!("{} has changed", plugins.display())));
}

#[test]
fn what_was_looked_through_is_remembered() {
    let directory = tempfile::tempdir().unwrap();
    let site = directory.path().join("site");
    fs::create_dir(&site).unwrap();
    let evidence = observed(Observed {
        modules: [(site.clone(), vec!["a".to_owned()])].into(),
        ..Observed::default()
    });
    let notes = directory.path().join("notes");
    let look = || {
        let mut known = LookedThrough::read(&notes);
        let change = evidence.check(&mut known);
        let text = known.to_json();
        if let Some(text) = &text {
            fs::write(&notes, text).unwrap();
        }
        (change.is_some(), text.is_some())
    };
    assert_eq!(look(), (false, false));
    fs::write(site.join("b.py"), "").unwrap();
    assert_eq!(look(), (false, false), "so soon after a change nothing is noted");
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(look(), (false, true));
    assert_eq!(look(), (false, false), "it is known");
    fs::write(site.join("a.py"), "").unwrap();
    assert_eq!(look(), (true, false));
    fs::write(&notes, "[1").unwrap();
    assert_eq!(look(), (true, false), "broken notes say nothing");
}

#[test]
fn variables_are_compared() {
    let environment = |variables: &[(&str, &str)]| -> Vec<(OsString, OsString)> {
        variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
    };
    let then = environment(&[("A", "1"), ("B", ""), ("PWD", "/x"), ("OTHER", "x")]);
    let record = |names: &[&str], all_variables| {
        let variables = names.iter().map(|name| (*name).to_owned()).collect();
        let observed = Observed { variables, all_variables, ..Observed::default() };
        let now =
            Surroundings { environment: &then, directory: Path::new("/x"), terminals: [false; 3] };
        Evidence::default().and(observed, now).unwrap()
    };
    let difference = |evidence: &Evidence, now: &[(&str, &str)]| {
        let environment = environment(now);
        let now = Surroundings {
            environment: &environment,
            directory: Path::new("/y"),
            terminals: [false; 3],
        };
        evidence.difference(now).map(|changed| changed.to_string())
    };
    let some = record(&["A", "B", "C", "PWD", "PYTHONPATH", "PYIMG_LOG"], false);
    assert_eq!(some.variables(), ["A", "B", "C"]);
    assert_eq!(difference(&some, &[("B", ""), ("A", "1"), ("D", "new")]), None);
    let told = |text: &str| Some(text.to_owned());
    let other = "the variable A has another value";
    assert_eq!(difference(&some, &[("A", "2"), ("B", "")]), told(other));
    let unset = "the variable B is not set any more";
    assert_eq!(difference(&some, &[("A", "1")]), told(unset));
    let new = "the variable C has another value";
    assert_eq!(difference(&some, &[("A", "1"), ("B", ""), ("C", "")]), told(new));

    let all = record(&[], true);
    let same = [("A", "1"), ("B", ""), ("OTHER", "x"), ("SSH_TTY", "/dev/pts/1"), ("_", "x")];
    assert_eq!(difference(&all, &same), None);
    let more = [("A", "1"), ("B", ""), ("OTHER", "x"), ("NEW", "")];
    assert_eq!(difference(&all, &more), told("the variable NEW has another value"));
}

#[test]
fn the_working_directory_counts_if_it_was_asked_for() {
    let here = Surroundings { environment: &[], directory: Path::new("/x"), terminals: [false; 3] };
    let there =
        Surroundings { environment: &[], directory: Path::new("/y"), terminals: [false; 3] };
    let record = |directory| {
        let observed = Observed { directory, ..Observed::default() };
        Evidence::default().and(observed, here).unwrap()
    };
    assert_eq!(record(false).difference(there), None);
    assert_eq!(record(true).difference(here), None);
    let changed = record(true).difference(there).unwrap().to_string();
    assert_eq!(changed, "the working directory was /x");
}

#[test]
fn surroundings_are_told_apart_by_their_text_too() {
    let at = |directory| Surroundings { environment: &[], directory, terminals: [true; 3] };
    for directory in [Path::new("/x"), Path::new(OsStr::from_bytes(b"/strange-\xff"))] {
        let observed = Observed { directory: true, terminals: [1].into(), ..Observed::default() };
        let evidence = Evidence::default().and(observed, at(directory)).unwrap();
        let text = evidence.of_surroundings();
        assert_eq!(surroundings_difference(&text, at(directory)), None);
        let other = surroundings_difference(&text, at(Path::new("/y")));
        assert_eq!(other, Some(Changed::WorkingDirectory(directory.into())));
    }
    assert_eq!(Evidence::default().of_surroundings(), "");
    let brief = surroundings_difference(r#"{"directory":"/x"}"#, at(Path::new("/x")));
    assert_eq!(brief, None);
}

#[test]
fn what_is_added_does_not_renew_what_is_known() {
    let (directory, evidence) = tree();
    let (a, b) = (directory.path().join("a.py"), directory.path().join("b.py"));
    fs::write(&a, "x = 22\n").unwrap();
    fs::write(&b, "").unwrap();
    let read = vec![a.clone(), b];
    let observed = Observed { read, sites: vec![directory.path().into()], ..Observed::default() };
    let more = observed_with(evidence, observed);
    assert_eq!(more.len(), 3);
    let changed = Changed::File { path: a, what: Difference::Modified };
    assert_eq!(more.first_change(), Some(changed));
}

#[test]
fn a_listing_that_has_changed_is_not_renewed_by_what_is_added() {
    let directory = tempfile::tempdir().unwrap();
    let site = directory.path().to_owned();
    let looking_for = |name: &str| Observed {
        modules: [(site.clone(), vec![name.to_owned()])].into(),
        ..Observed::default()
    };
    let evidence = observed(looking_for("a"));
    fs::write(site.join("b.py"), "").unwrap();
    let both = observed_with(evidence.clone(), looking_for("b"));
    assert_eq!(said(&both), None);
    fs::remove_file(site.join("b.py")).unwrap();
    assert_eq!(said(&both), Some(format!("{}/b.py has changed", site.display())));
    fs::write(site.join("a.py"), "").unwrap();
    let late = observed_with(evidence, looking_for("b"));
    assert_eq!(said(&late), Some(format!("{}/a.py has changed", site.display())));
}

#[test]
fn survives_being_kept() {
    let (directory, evidence) = tree();
    let path = |name: &str| directory.path().join(name);
    std::os::unix::fs::symlink("a.py", path("link.py")).unwrap();
    let more = Observed {
        read: vec![path(".")],
        links: vec![path("link.py")],
        absent: vec![path("absent.cfg")],
        modules: [(path(""), vec!["b".to_owned()])].into(),
        distributions: [(path(""), vec![Some("c".to_owned())])].into(),
        listed: vec![path("no-such")],
        variables: vec!["A".to_owned()],
        all_variables: true,
        directory: true,
        terminals: [2].into(),
        ..Observed::default()
    };
    let evidence = observed_with(evidence, more);
    let bytes = evidence.to_bytes();
    let again = Evidence::parse(&bytes).unwrap();
    assert_eq!(again, evidence);
    assert_eq!(again.first_change(), None);
    for length in 0..bytes.len() {
        assert!(Evidence::parse(&bytes[..length]).is_err(), "{length} of {}", bytes.len());
    }
    assert!(Evidence::parse(&[&bytes[..], b"\0"].concat()).is_err());
}

#[test]
fn evidence_of_another_version_never_holds() {
    let json = r#"{"version":2,"directories":[],"listings":[]}"#;
    for other in [json.as_bytes(), &[2, 0, 0, 0, 0, 0, 0], &[VERSION as u8 + 1, 7], &[200, 1]] {
        let evidence = Evidence::parse(other).unwrap();
        assert_eq!(evidence.first_change(), Some(Changed::Version), "{other:?}");
        let many = many::Many::default().first_change(other).unwrap();
        assert_eq!(many, Some(Changed::Version), "{other:?}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_evidence_or_damaged(bytes: Vec<u8>) {
        let _ = Evidence::parse(&bytes);
        let _ = Evidence::parse(&[&[VERSION as u8], &bytes[..]].concat());
    }
}
