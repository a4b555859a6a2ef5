//! Everything that can be wrong with a store, done to a [`Lab`], and by which names it is found.

use std::fs::{self, File};
use std::os::unix::fs::symlink;

use super::lab::{Lab, flip, set_mode};

/// A way to damage a lab, and what is found then, without reading data and with.
pub(super) type Damage = (
    &'static str,
    fn(&Lab),
    &'static [(&'static str, &'static str)],
    &'static [(&'static str, &'static str)],
);

/// One or more of every kind.
pub(super) const DAMAGES: &[Damage] = &[
    (
        "no index",
        |lab| fs::remove_file(lab.path.join("index.sqlite")).unwrap(),
        &[("index-missing", "")],
        &[],
    ),
    (
        "an index that is none",
        |lab| fs::write(lab.path.join("index.sqlite"), [0x55; 8192]).unwrap(),
        &[("index-damaged", "")],
        &[],
    ),
    (
        "an empty index",
        |lab| fs::write(lab.path.join("index.sqlite"), b"").unwrap(),
        &[("index-damaged", "")],
        &[],
    ),
    (
        "half an index",
        |lab| {
            let index = File::options().write(true).open(lab.path.join("index.sqlite")).unwrap();
            index.set_len(4096).unwrap();
        },
        &[("index-damaged", "")],
        &[],
    ),
    (
        "a link in place of the index",
        |lab| {
            let index = lab.path.join("index.sqlite");
            fs::rename(&index, lab.path.parent().unwrap().join("elsewhere")).unwrap();
            symlink(lab.path.parent().unwrap().join("elsewhere"), index).unwrap();
        },
        &[("wrong-type", "")],
        &[],
    ),
    (
        "an image without a directory",
        |lab| fs::remove_dir_all(lab.file(2, "")).unwrap(),
        &[("image-missing", "three")],
        &[],
    ),
    (
        "no manifest",
        |lab| fs::remove_file(lab.file(2, "manifest.json")).unwrap(),
        &[("manifest-missing", "three")],
        &[],
    ),
    (
        "another manifest",
        |lab| flip(&lab.file(2, "manifest.json"), 30, 1),
        &[("manifest-damaged", "three")],
        &[],
    ),
    (
        "an index that says something else",
        |lab| sql(lab, "UPDATE images SET name = 'x' WHERE name = 'three'"),
        &[("manifest-disagrees", "x")],
        &[],
    ),
    (
        "an index with another recipe",
        |lab| sql(lab, "UPDATE images SET recipe = 'x' WHERE name = 'three'"),
        &[("manifest-disagrees", "three")],
        &[],
    ),
    (
        "an image without its packs",
        |lab| sql(lab, "DELETE FROM image_packs WHERE image = 3"),
        &[("manifest-disagrees", "three")],
        &[],
    ),
    (
        "a file less",
        |lab| fs::remove_file(lab.file(2, "core-1.img")).unwrap(),
        &[("image-file-missing", "three")],
        &[],
    ),
    (
        "no uses",
        |lab| fs::remove_file(lab.file(2, "uses")).unwrap(),
        &[("image-file-missing", "three")],
        &[],
    ),
    (
        "a longer file",
        |lab| fs::write(lab.file(2, "core-1.img"), b"corex").unwrap(),
        &[("image-file-changed", "three")],
        &[],
    ),
    (
        "another file",
        |lab| fs::write(lab.file(2, "core-1.img"), b"kore").unwrap(),
        &[],
        &[("image-file-changed", "three")],
    ),
    (
        "no pack",
        |lab| fs::remove_file(&lab.packs[0][0]).unwrap(),
        &[("pack-missing", "one two")],
        &[],
    ),
    (
        "a shorter pack",
        |lab| File::options().write(true).open(&lab.packs[2][0]).unwrap().set_len(9000).unwrap(),
        &[("pack-changed", "three")],
        &[],
    ),
    (
        "a pack that was written again",
        |lab| {
            let bytes = fs::read(&lab.packs[2][0]).unwrap();
            fs::write(&lab.packs[2][0], bytes).unwrap();
        },
        &[("pack-changed", "three")],
        &[],
    ),
    ("another header", |lab| flip(&lab.packs[2][0], 9, 1), &[("pack-damaged", "three")], &[]),
    (
        "something behind the header",
        |lab| flip(&lab.packs[2][0], 2000, 1),
        &[("pack-damaged", "three")],
        &[],
    ),
    (
        "another table",
        |lab| flip(&lab.packs[2][0], 4096 * 22 + 5, 1),
        &[("pack-damaged", "three")],
        &[("pack-damaged", "three"), ("page-damaged", "three")],
    ),
    (
        "another anchor",
        |lab| {
            let last = fs::metadata(&lab.packs[2][0]).unwrap().len() as usize - 1;
            flip(&lab.packs[2][0], last, 1);
        },
        &[("pack-damaged", "three")],
        &[],
    ),
    (
        "another page",
        |lab| flip(&lab.packs[0][0], 4096 * 7 + 1000, 4),
        &[],
        &[("page-damaged", "one two")],
    ),
    (
        "no secret",
        |lab| fs::remove_file(lab.path.join("secret")).unwrap(),
        &[("secret-damaged", "")],
        &[],
    ),
    (
        "half a secret",
        |lab| fs::write(lab.path.join("secret"), [1; 16]).unwrap(),
        &[("secret-damaged", "")],
        &[],
    ),
    (
        "no lock",
        |lab| fs::remove_file(lab.path.join("runs.lock")).unwrap(),
        &[("lock-missing", "")],
        &[],
    ),
    (
        "no tmp",
        |lab| fs::remove_dir(lab.path.join("tmp")).unwrap(),
        &[("directory-missing", "")],
        &[],
    ),
    (
        "no packs",
        |lab| fs::remove_dir_all(lab.path.join("packs")).unwrap(),
        &[
            ("pack-missing", "one two"),
            ("pack-missing", "two"),
            ("pack-missing", "three"),
            ("directory-missing", ""),
        ],
        &[],
    ),
    (
        "a stranger",
        |lab| fs::write(lab.path.join("thesis.txt"), b"").unwrap(),
        &[("unknown-file", "")],
        &[],
    ),
    (
        "a stranger among packs",
        |lab| fs::write(lab.path.join("packs/x.pack"), b"").unwrap(),
        &[("unknown-file", "")],
        &[],
    ),
    (
        "a stranger in an image",
        |lab| fs::write(lab.file(2, "x"), b"").unwrap(),
        &[("unknown-file", "three")],
        &[],
    ),
    (
        "a link in place of a pack",
        |lab| {
            let pack = &lab.packs[2][0];
            fs::rename(pack, lab.path.parent().unwrap().join("elsewhere")).unwrap();
            symlink(lab.path.parent().unwrap().join("elsewhere"), pack).unwrap();
        },
        &[("wrong-type", "three")],
        &[],
    ),
    (
        "a link in place of the images",
        |lab| {
            let images = lab.path.join("images");
            fs::rename(&images, lab.path.parent().unwrap().join("elsewhere")).unwrap();
            symlink(lab.path.parent().unwrap().join("elsewhere"), images).unwrap();
        },
        &[("wrong-type", "")],
        &[],
    ),
    (
        "a directory in place of a file",
        |lab| {
            fs::remove_file(lab.file(2, "core-1.img")).unwrap();
            fs::create_dir(lab.file(2, "core-1.img")).unwrap();
        },
        &[("wrong-type", "three")],
        &[],
    ),
    (
        "a pipe in place of a lock",
        |lab| {
            fs::remove_file(lab.path.join("changes.lock")).unwrap();
            let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
            nix::unistd::mkfifo(&lab.path.join("changes.lock"), mode).unwrap();
        },
        &[("wrong-type", "")],
        &[],
    ),
    (
        "a pack that others may write",
        |lab| set_mode(&lab.packs[2][0], 0o666),
        &[("wrong-mode", "three")],
        &[],
    ),
    (
        "an image that others may read",
        |lab| set_mode(&lab.file(2, ""), 0o755),
        &[("wrong-mode", "three")],
        &[],
    ),
    (
        "an index that others may read",
        |lab| set_mode(&lab.path.join("index.sqlite"), 0o644),
        &[("wrong-mode", "")],
        &[],
    ),
    ("a store that others may enter", |lab| set_mode(&lab.path, 0o755), &[("wrong-mode", "")], &[]),
];

/// Changes the index behind the store's back.
fn sql(lab: &Lab, change: &str) {
    let index = rusqlite::Connection::open(lab.path.join("index.sqlite")).unwrap();
    index.execute_batch(change).unwrap();
}
