use std::ffi::OsStr;

use super::*;

/// An archive that Python makes, for what Rust's library would not.
fn by_python(code: &str) -> Option<(tempfile::TempDir, PathBuf)> {
    let python = crate::key::interpreter::for_tests()?;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.zip");
    let code = format!("import sys, zipfile as z\np = sys.argv[1]\n{code}");
    let status = std::process::Command::new(python)
        .args([OsStr::new("-c"), code.as_ref(), path.as_ref()])
        .status();
    assert!(status.unwrap().success());
    Some((directory, path))
}

#[test]
fn what_python_wrote() {
    let Some((_directory, path)) = by_python(
        r"
with z.ZipFile(p, 'w', z.ZIP_DEFLATED) as f:
    f.writestr('a.py', 'import b')
    f.writestr('p/q/c.py', 'x' * 100000)
    f.writestr('\u00e9.py', '')
    f.writestr('d/', '')
    f.comment = b'hello'",
    ) else {
        return;
    };
    let archive = Archive::at(&path).unwrap().expect("an archive");
    let at = |name: &str| path.join(name);
    assert_eq!(archive.text(&at("a.py"), 1000), Ok(Some(b"import b".to_vec())));
    assert_eq!(archive.text(&at("p/q/c.py"), 1000), Ok(Some(vec![b'x'; 1000])));
    assert_eq!(archive.text(&at("p/q/c.py"), 1_000_000).unwrap().unwrap().len(), 100_000);
    assert_eq!(archive.text(&at("b.py"), 1000), Ok(None));
    assert!(archive.has_file(&at("\u{e9}.py")));
    assert!(["", "p", "p/q", "d"].into_iter().all(|name| archive.has_directory(&at(name))));
    assert!(!archive.has_directory(&at("a.py")) && !archive.has_file(&at("p")));
    assert!(!archive.has_file(Path::new("/a.py")));
}

#[test]
fn what_is_unusual_is_an_error() {
    let trouble = |code: &str| {
        let (_directory, path) = by_python(code)?;
        let text =
            |archive: Option<Archive>| archive.expect("an archive").text(&path.join("a.py"), 1000);
        let error = Archive::at(&path).and_then(text).unwrap_err();
        Some(error.split(": ").next().unwrap().to_owned())
    };
    let changed = |change: &str| {
        trouble(&format!(
            r"
with z.ZipFile(p, 'w') as f: f.writestr('a.py', 'import b')
b = bytearray(open(p, 'rb').read())
entry, end = b.rfind(b'PK\1\2'), b.rfind(b'PK\5\6')
{change}
open(p, 'wb').write(b)"
        ))
    };
    let many = "with z.ZipFile(p, 'w') as f:\n for n in range(9000): f.writestr(str(n), '')";
    for (found, wanted) in [
        (trouble(many), "is a zip archive of 9000 entries, which are too many"),
        (
            trouble("with z.ZipFile(p, 'w', z.ZIP_BZIP2) as f: f.writestr('a.py', 'x')"),
            "is a zip archive in which a.py is compressed unusually",
        ),
        (changed("b[entry + 8] |= 1"), "is a zip archive in which a.py is encrypted"),
        (changed("b[end + 10] = 2"), "is a zip archive of 1 entries that says it has 2"),
        (changed("b[entry + 10] = 8"), "is a zip archive in which a.py is broken"),
        (changed("b[entry + 45] = 1"), "is a zip archive in which a.py is broken"),
        (changed("b[entry + 29] = 99"), "is a zip archive that cannot be read"),
    ] {
        assert!(found.as_deref().is_none_or(|found| found == wanted), "{found:?}, not {wanted}");
    }
}
