//! What makes an image doubtful: some of it is told, some of it is refused.

use crate::common::{self, IMAGE, pyimg, run};
use crate::world::World;

/// The image of a package `p` whose module `p.doubtful` does this while it is imported.
fn world(code: &str) -> World {
    let mut world = World::new();
    world.write("lib/p/__init__.py", "from . import doubtful\n");
    world.write("lib/p/doubtful.py", code);
    world.imports("import p", "print(p.doubtful.VALUE)");
    world.mkdir("tmp");
    world.set("TMPDIR", world.path("tmp"));
    world
}

#[test]
fn a_temporary_directory_is_refused() {
    if !common::criu() {
        return;
    }
    for code in [
        "import tempfile; VALUE = tempfile.mkdtemp()",
        "import tempfile; _kept = tempfile.TemporaryDirectory(); VALUE = _kept.name",
        "import os, tempfile; number, VALUE = tempfile.mkstemp(); os.close(number)",
    ] {
        let mut world = world(code);
        let output = world.try_build(&[]);
        assert_eq!(output.code(), 1, "{code}: {}", output.stderr_text());
        assert!(output.stderr_text().contains("p.doubtful"), "{code}: {}", output.stderr_text());
        let pair = world.run();
        // Each run has a directory of its own; that both are plain Python is all there is.
        assert!(!pair.is_hit(), "{code}: {}", pair.verdict);
        assert_eq!(pair.ours.code(), 0, "{code}");
        world.finish();
    }
}

/// One that is gone again when the import ends is no concern.
#[test]
fn a_temporary_directory_that_is_removed() {
    if !common::criu() {
        return;
    }
    let mut world = world(
        "import tempfile\nwith tempfile.TemporaryDirectory() as d:\n\
         \x20   with open(d + '/file', 'w') as file: file.write('1')\n\
         \x20   VALUE = open(d + '/file').read()\n",
    );
    world.build();
    let pair = world.run();
    assert_eq!(pair.difference(), None);
    world.finish();
}

/// `doubts` of `pyimg show --json`, and what `pyimg show` prints.
fn doubts(world: &World) -> (Vec<(String, String)>, String) {
    let show = |options: &[&str]| {
        run(pyimg(&world.lab.store).args(["show", IMAGE]).args(options)).success()
    };
    let shown: serde_json::Value = serde_json::from_str(&show(&["--json"])).unwrap();
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let doubts = shown["doubts"].as_array().expect("`doubts` is an array").iter();
    let doubts = doubts.map(|doubt| (text(&doubt["what"]), text(&doubt["module"])));
    (doubts.collect(), show(&[]))
}

#[test]
fn doubts_are_told() {
    if !common::criu() {
        return;
    }
    for (code, word) in [
        ("import subprocess; VALUE = subprocess.run(['true']).returncode", "process"),
        ("import os; VALUE = os.system('true')", "process"),
        ("import os; VALUE = os.popen('echo').read()", "process"),
        ("import socket; s = socket.socket(); s.close(); VALUE = 1", "socket"),
        ("import time; VALUE = time.time() > 0", "time"),
        ("import time; VALUE = time.time_ns() > 0", "time"),
        ("import datetime; VALUE = datetime.datetime.now().year > 0", "time"),
        ("import os; VALUE = os.getuid()", "user"),
    ] {
        let mut world = world(code);
        world.build();
        let (doubts, text) = doubts(&world);
        let found =
            doubts.iter().find(|(what, module)| what.contains(word) && module == "p.doubtful");
        let Some((what, module)) = found else { panic!("{code}: no {word} in {doubts:?}") };
        assert!(text.contains(what), "{code}: {text}");
        assert!(text.contains(module), "{code}: {text}");
        // It is told, no more: the image is used.
        let pair = world.run();
        assert!(pair.is_hit(), "{code}: {}", pair.verdict);
        assert_eq!(pair.difference(), None, "{code}");
        world.finish();
    }
}

#[test]
fn a_quiet_module_has_no_doubts() {
    if !common::criu() {
        return;
    }
    let mut world = world("import re, json\nVALUE = re.sub('a', 'b', json.dumps('a'))\n");
    world.build();
    let (doubts, _) = doubts(&world);
    assert_eq!(doubts, []);
    world.finish();
}
