//! Another kernel, C library or processor than the image was built on.

use std::process::Command;

use crate::common;
use crate::world::World;

/// A module that looks at the machine.
fn world() -> World {
    let mut world = World::new();
    world.write("lib/m.py", "import os\nVALUE = os.uname().release\n");
    world.imports("import m", "print(m.VALUE)");
    world.build();
    let pair = world.run();
    assert!(pair.is_hit(), "{}", pair.verdict);
    assert_eq!(pair.difference(), None);
    world
}

/// The index is made to say that the image comes from elsewhere, as if the store lay in a
/// home directory that several machines share.
#[test]
fn an_image_of_another_machine() {
    if !common::criu() {
        return;
    }
    let mut world = world();
    for column in ["kernel", "glibc", "cpu"] {
        let index = || rusqlite::Connection::open(world.lab.store.join("index.sqlite")).unwrap();
        let here: String = index()
            .query_row(&format!("SELECT {column} FROM images"), [], |row| row.get(0))
            .unwrap();
        let set = |value: &str| {
            let changed = index().execute(&format!("UPDATE images SET {column} = ?1"), [value]);
            assert_eq!(changed.unwrap(), 1);
        };
        set(&format!("{here}x"));
        let pair = world.run();
        assert_eq!(pair.difference(), None, "{column}");
        assert!(!pair.is_hit(), "{column}: {}", pair.verdict);
        set(&here);
        assert!(world.run().is_hit(), "{column}, as it was");
    }
    world.finish();
}

/// The kernel itself can claim to be another one.
#[test]
fn another_kernel() {
    if !common::criu() {
        return;
    }
    let around = ["setarch", "x86_64", "--uname-2.6"];
    if Command::new(around[0]).args(&around[1..]).arg("true").status().is_err() {
        println!("skipped: no setarch");
        return;
    }
    let mut world = world();
    let before = world.run().plain;
    let pair = world.run_within(&around);
    assert_eq!(pair.difference(), None);
    assert_ne!(pair.plain, before, "the test is wrong: it is the same kernel");
    let pair = world.run();
    assert!(pair.is_hit(), "as it was: {}", pair.verdict);
    world.finish();
}

/// The C library can be made to do without some of the processor's features.
#[test]
fn another_processor() {
    if !common::criu() {
        return;
    }
    let mut world = world();
    world.set("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable");
    let pair = world.run();
    assert_eq!(pair.difference(), None);
    assert!(!pair.is_hit(), "{}", pair.verdict);
    world.unset("GLIBC_TUNABLES");
    assert!(world.run().is_hit(), "as it was");
    world.finish();
}
