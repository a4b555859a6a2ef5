//! What runs leave behind for later ones: hits and misses, and what programs needed. None
//! of it may be noticed by a program.

mod common;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::{Lab, Output, a_python, criu, engine, eventually, ground, labs, pyimg, root, run};
use pyimg::key::interpreter::{Interpreter, Origin};
use pyimg::launch::command_line::{CommandLine, Run};
use pyimg::store::{Program, ProgramId, Records};
use serde_json::Value;

/// What the image of the tests holds.
const RECIPE: &str = "import json, decimal";

/// A lab with a store of its own.
fn lab() -> Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| Lab::new(a_python(), RECIPE)).copy()
}

/// What is looked at after runs.
trait Remembering {
    fn stats(&self) -> Value;
    fn id(&self, arguments: &[&str]) -> ProgramId;
    fn program(&self, arguments: &[&str]) -> Option<Program>;
    fn modules(&self, arguments: &[&str]) -> Option<Vec<String>>;
    fn modules_file(&self, arguments: &[&str]) -> PathBuf;
    fn sound(&self);
}

impl Remembering for Lab {
    fn stats(&self) -> Value {
        let said = run(pyimg(&self.store).args(["stats", "--json"])).success();
        serde_json::from_str(&said).unwrap()
    }

    /// The program of these arguments, run from here.
    fn id(&self, arguments: &[&str]) -> ProgramId {
        let line = CommandLine::parse(arguments.iter().map(OsString::from), || false).unwrap();
        let run: Run = line.run.unwrap();
        let invoked = self.python.path.clone();
        let real = invoked.canonicalize().unwrap();
        let python = Interpreter { invoked, real, origin: Origin::Named, environment: Vec::new() };
        ProgramId::of(&run, &python, &std::env::current_dir().unwrap()).unwrap()
    }

    fn program(&self, arguments: &[&str]) -> Option<Program> {
        Records::of(&self.store).unwrap().program(&self.id(arguments))
    }

    fn modules(&self, arguments: &[&str]) -> Option<Vec<String>> {
        Some(self.program(arguments)?.modules?.into_iter().collect())
    }

    fn modules_file(&self, arguments: &[&str]) -> PathBuf {
        Records::of(&self.store).unwrap().modules_path(&self.id(arguments))
    }

    /// That nothing is wrong with the store, and nothing unfinished is left in it.
    fn sound(&self) {
        let verified = run(pyimg(&self.store).args(["verify", "--json"]));
        assert_eq!(verified.code(), 0, "{}", verified.stdout_text());
        let unfinished = |path: &Path| path.extension().is_some_and(|end| end == "new");
        let files = common::files_below(&self.store.join("programs"));
        let left: Vec<_> = files.iter().filter(|(path, _)| unfinished(path)).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn script(name: &str, text: &str) -> String {
    let path = ground().dir("script").join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

// ---- The log ----

#[test]
fn hits_and_misses_are_counted_with_their_reasons() {
    if !criu() {
        return;
    }
    let lab = lab();
    assert_eq!(
        (lab.stats()["since"].clone(), lab.stats()["runs"].clone()),
        (Value::Null, 0.into())
    );
    let program = script("program.py", "import json, sys\nprint(sys.argv[1:])\n");
    lab.hit(&[&program, "a"]);
    lab.hit(&[&program, "b"]);
    lab.hit(&["-c", "import decimal"]);
    lab.miss(&["-c", "import sqlite3"]);
    lab.miss(&["-O", "-c", "import json"]);
    lab.miss(&["--engine", "off", &program]);
    lab.miss(&["-V"]);
    let stats = lab.stats();
    let of = |field: &str| stats[field].clone();
    assert_eq!((of("runs"), of("hits"), of("misses")), (7.into(), 3.into(), 4.into()));
    let reasons = serde_json::json!({
        "engine-off": 1, "flag": 1, "flags-differ": 1, "not-covered": 1
    });
    assert_eq!(of("misses_by_reason"), reasons);
    assert_eq!(of("hits_by_engine"), serde_json::json!({ engine(): 3 }));
    assert_eq!(of("engine_reasons"), serde_json::json!({}));
    let number = |value: &Value| value.as_i64().unwrap();
    assert_eq!(number(&of("saved_ns")), number(&of("import_ns")) - number(&of("restore_ns")));
    assert!(number(&of("restore_ns")) > 0);
    let listed = run(pyimg(&lab.store).args(["ls", "--json"])).success();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    // Each program waits for what it imports itself, and no more.
    let all_imports = 3 * number(&listed["images"][0]["import_ns"]);
    assert!((1..=all_imports).contains(&number(&of("import_ns"))), "{stats}");
    assert_eq!(
        (&stats["images"][0]["image"], &stats["images"][0]["hits"]),
        (&"image".into(), &3.into())
    );
    let first = &stats["programs"][0];
    assert_eq!(first["id"], lab.id(&[&program]).hex());
    assert_eq!((&first["program"], &first["hits"]), (&Value::from(program.as_str()), &2.into()));
    assert_eq!(first["misses_by_reason"], serde_json::json!({ "engine-off": 1 }));

    let said = run(pyimg(&lab.store).args(["stats", "--reset", "--json"])).success();
    let reset: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&reset["runs"], &reset["reset"]), (&7.into(), &true.into()));
    assert_eq!(lab.stats()["runs"], 0);
    lab.hit(&[&program]);
    assert_eq!(lab.stats()["runs"], 1);
    lab.sound();
}

#[test]
fn hits_are_counted_by_engine() {
    if !criu() {
        return;
    }
    let lab = lab();
    let program = ["-c", "import json"];
    for engine in ["direct", "criu"] {
        lab.hit_by(engine, lab.pyrun().args(["--engine", engine]).args(program));
    }
    let stats = lab.stats();
    assert_eq!(stats["hits_by_engine"], serde_json::json!({ "criu": 1, "direct": 1 }));
    assert_eq!(stats["images"][0]["hits_by_engine"], stats["hits_by_engine"]);
    assert_eq!(stats["engine_reasons"], serde_json::json!({}), "it was asked for");
    lab.sound();

    // Something open takes CRIU.
    let lab = Lab::new(&lab.python, "import json, select; json.kept = select.epoll()");
    run(lab.pyrun().args(["--engine", "auto"]).args(program)).success();
    let stats = lab.stats();
    assert_eq!(stats["hits_by_engine"], serde_json::json!({ "criu": 1 }));
    let reasons = stats["programs"][0]["engine_reasons"].as_object().unwrap();
    let told: Vec<_> =
        reasons.iter().map(|(why, count)| (why.ends_with(" is open"), count)).collect();
    assert_eq!(told, [(true, &1.into())], "{reasons:?}");
    lab.sound();
}

#[test]
fn runs_at_once_are_all_counted() {
    if !criu() {
        return;
    }
    let lab = lab();
    let mut runs: Vec<_> = (0..24)
        .map(|number| {
            let text = if number % 2 == 0 { "import json" } else { "import sqlite3" };
            lab.pyrun().args(["-c", text]).env_remove("PYIMG_LOG").spawn().unwrap()
        })
        .collect();
    assert!(runs.iter_mut().all(|run| common::end_of(run).unwrap().success()));
    let stats = lab.stats();
    assert_eq!(stats["runs"], 24);
    assert_eq!(stats["hits"], lab.uses());
    lab.sound();
}

#[test]
fn where_there_is_no_store_none_is_made() {
    if !criu() {
        return;
    }
    let lab = Lab {
        python: a_python().clone(),
        store: ground().no_file("store"),
        turn: Default::default(),
    };
    lab.miss(&["-c", "import json"]).1.success();
    assert!(!lab.store.exists());
    // Nor is anything put into a directory that is none.
    let other = ground().dir("other");
    let output = run(lab.pyrun().args(["-c", "import json"]).env("PYIMG_DIR", &other));
    output.success();
    assert_eq!(fs::read_dir(&other).unwrap().count(), 0);
}

// ---- What is known of a program ----

#[test]
fn misses_in_a_row_are_counted_until_there_is_a_hit() {
    if !criu() {
        return;
    }
    let lab = lab();
    let arguments = ["-c", "import sqlite3, bisect"];
    for misses in 1..=3 {
        lab.miss(&arguments).1.success();
        assert_eq!(lab.program(&arguments).unwrap().misses, misses);
    }
    // No image would have been a hit here.
    lab.miss(&[&["--engine", "off"], &arguments[..]].concat());
    let program = lab.program(&arguments).unwrap();
    assert_eq!((program.misses, program.import_ns, program.modules), (3, None, None));
    assert_eq!(program.what, "-c import sqlite3, bisect");
    let recipe = Program { recipe: program.recipe.clone(), ..Program::default() }.recipe().unwrap();
    lab.build(&["--name", "other", &recipe.text()]).success();
    lab.hit(&arguments);
    let program = lab.program(&arguments).unwrap();
    assert_eq!((program.misses, program.import_ns.is_some()), (0, true));
    assert!(program.modules.unwrap().contains("sqlite3"));
    lab.miss(&["-O", "-c", arguments[1]]);
    assert_eq!(lab.program(&arguments).unwrap().misses, 0, "those are other flags");
    lab.sound();
}

#[test]
fn a_program_writes_down_what_it_needed() {
    if !criu() {
        return;
    }
    let pythons = common::pythons().iter().collect();
    for lab in labs(pythons, RECIPE) {
        let names = script("modules.txt", "wave, colorsys");
        let text = format!(
            "import json, sys\n\
             for name in open({names:?}).read().split(', '):\n    __import__(name)\n\
             import xml.dom\n"
        );
        let program = script("program.py", &text);
        let arguments = [program.as_str()];
        lab.hit(&arguments);
        let needed = |more: &[&str]| {
            let all = [&["json", "sys", "xml"], more].concat();
            all.into_iter().map(str::to_owned).collect::<BTreeSet<_>>()
        };
        let has = |more: &[&str]| {
            let modules = lab.modules(&arguments).unwrap_or_default();
            let modules: BTreeSet<String> = modules.into_iter().collect();
            let label = &lab.python.label;
            assert!(modules.is_superset(&needed(more)), "{label}: {modules:?}");
            modules
        };
        let modules = has(&["wave", "colorsys"]);
        assert!(!modules.contains("decimal"), "the image's, not the program's: {modules:?}");
        assert!(!modules.iter().any(|name| name.contains('.') || name == "__main__"));
        let file = lab.modules_file(&arguments);
        let state = || file.metadata().map(|found| (found.ino(), found.mtime_nsec())).unwrap();
        let before = state();
        lab.hit(&arguments);
        assert_eq!(state(), before, "{}: it is written anew for nothing", lab.python.label);
        fs::write(&names, "wave").unwrap();
        lab.hit(&arguments);
        assert!(!has(&["wave"]).contains("colorsys"));

        // From an image that holds more, what it holds counts as before.
        lab.build(&["--name", "more", "import json, wave, xml.dom"]).success();
        lab.hit(&["--image", "more", &program]);
        assert!(!has(&["wave"]).contains("decimal"));
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o600);
        lab.sound();
    }
}

#[test]
fn it_is_written_however_a_program_ends_of_itself() {
    if !criu() {
        return;
    }
    let lab = lab();
    let ends = [
        ("", 0),
        ("sys.exit(3)", 3),
        ("1/0", 1),
        ("atexit.register(lambda: __import__('colorsys'))", 0),
        // The slow end, for there is another thread.
        ("threading.Thread(target=time.sleep, args=[100], daemon=True).start()", 0),
        ("os.umask(0o777)", 0),
        ("os.close(0); os.close(1); os.close(2)", 0),
        ("os.chdir('/'); os.environ.clear()", 0),
        ("sys.modules.clear()", 0),
        ("sys.modules.pop('json'); sys.modules.pop('decimal'); import json, wave", 0),
        ("sys.modules['odd\\nname'] = sys; sys.modules['\\udc80'] = sys; sys.modules[1] = 2", 0),
    ];
    for (end, code) in ends {
        let text = format!("import json, sys, os, atexit, threading, time, quopri\n{end}");
        let arguments = ["-c", text.as_str()];
        let output = lab.hit(&arguments);
        assert_eq!(output.code(), code, "{end}: {output:?}");
        let modules = lab.modules(&arguments).unwrap_or_else(|| panic!("{end}: nothing written"));
        let emptied = end.contains("clear()") && end.contains("modules");
        let has = |name: &str| modules.iter().any(|module| module == name);
        assert!(has("json") && has("quopri") != emptied, "{end}: {modules:?}");
        assert_eq!(has("colorsys"), end.contains("colorsys"), "{end}: {modules:?}");
        assert_eq!(has("wave"), end.contains("wave"), "{end}: {modules:?}");
        let mode = lab.modules_file(&arguments).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{end}");
    }
    lab.sound();
}

#[test]
fn nothing_is_written_otherwise() {
    if !criu() {
        return;
    }
    let lab = lab();
    let ends = [
        ("os._exit(4)", 4),
        ("os.kill(os.getpid(), 9)", -9),
        ("os.execv('/bin/true', ['true'])", 0),
        // Only a child that was forked comes to an end of that kind.
        ("if os.fork():\n    os.wait()\n    os._exit(0)\nimport wave", 0),
        ("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))", 0),
        ("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))", 0),
        ("for n in range(2000): sys.modules[f'm{n}'] = sys", 0),
    ];
    for (end, code) in ends {
        let text = format!("import json, sys, os, quopri\n{end}");
        let output = lab.hit(&["-c", &text]);
        assert_eq!((output.code(), output.stderr_text()), (code, String::new()), "{end}");
        assert!(lab.program(&["-c", &text]).is_some());
        assert_eq!(lab.modules(&["-c", &text]), None, "{end}");
    }
    // What a run from before knew stays then.
    let text = "import json, os, quopri\nif os.path.exists('/dev/shm'): import wave\n";
    lab.hit(&["-c", text]);
    let program = Records::of(&lab.store).unwrap().modules_path(&lab.id(&["-c", text]));
    let known = fs::read(&program).unwrap();
    let killed = format!("{text}os.kill(os.getpid(), 15)");
    lab.hit(&["-c", &killed]);
    assert_eq!(fs::read(&program).unwrap(), known);
    lab.sound();
}

#[test]
fn a_program_sees_nothing_of_it() {
    if !criu() {
        return;
    }
    let lab = lab();
    let text = "import json, os, sys\n\
        print(sorted(os.listdir('/proc/self/fd')), sorted(os.environ), sys.argv)\n\
        print('programs/' in open('/proc/self/cmdline').read() + open('/proc/self/maps').read())\n";
    let program = script("program.py", text);
    let plain = run(lab.plain().arg(&program)).success();
    for _ in 0..2 {
        assert_eq!(lab.hit(&[&program]).success(), plain);
    }
    assert!(lab.modules(&[&program]).is_some());
}

#[test]
fn where_it_cannot_be_written_a_program_runs_no_less() {
    if !criu() {
        return;
    }
    let lab = lab();
    let program = script("program.py", "import json, wave\nprint(6 * 7)\n");
    let good = |output: Output| {
        assert_eq!((output.success().as_str(), output.stderr_text().as_str()), ("42\n", ""));
    };
    good(lab.hit(&[&program]));
    let file = lab.modules_file(&[&program]);
    // Something lies in its way.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    good(lab.hit(&[&program]));
    assert!(file.is_file(), "an empty directory is replaced");
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/dev/null", &file).unwrap();
    good(lab.hit(&[&program]));
    assert!(file.symlink_metadata().unwrap().is_file(), "a link is replaced, not followed");
    for inner in ["programs", "runs"] {
        fs::remove_dir_all(lab.store.join(inner)).unwrap();
        fs::write(lab.store.join(inner), "").unwrap();
    }
    good(lab.hit(&[&program]));
    lab.miss(&["-O", &program]).1.success();
    assert!(lab.store.join("programs").is_file());
    let stats = run(pyimg(&lab.store).args(["stats", "--json"])).success();
    assert_eq!(serde_json::from_str::<Value>(&stats).unwrap()["runs"], 0);
    // The store is taken away while the program runs.
    let text = format!("import json, shutil, wave; shutil.rmtree({:?}); print(42)", lab.store);
    good(run(lab.pyrun().args(["-c", &text])));
    assert!(!lab.store.exists());
}

#[test]
fn a_program_that_has_given_up_its_rights_ends_as_it_would() {
    if !criu() || !root() {
        return;
    }
    let lab = lab();
    let text = "import json, os, wave\nos.setgid(65534); os.setuid(65534)\nprint(os.getuid())";
    assert_eq!(lab.hit(&["-c", text]).success(), "65534\n");
    assert_eq!(lab.modules(&["-c", text]), None);
    lab.sound();
}

#[test]
fn in_a_namespace_it_is_the_same() {
    if !criu() {
        return;
    }
    let lab = lab();
    let text = "import json, wave";
    let mut command = lab.pyrun();
    let output = run(command.args(["-c", text]).env("PYIMG_USERNS", "1"));
    if output.clone().take_miss().is_some() {
        println!("skipped: no image can be restored in a namespace");
        return;
    }
    output.success();
    assert!(lab.modules(&["-c", text]).unwrap().contains(&"wave".into()));
    lab.sound();
}

#[test]
fn cleaning_up_forgets_what_is_not_run_any_more() {
    if !criu() {
        return;
    }
    let lab = lab();
    let (old, new) = (["-c", "import json, wave"], ["-c", "import json, colorsys"]);
    for arguments in [old, new] {
        lab.hit(&arguments);
        assert!(eventually(|| lab.modules(&arguments).is_some()));
    }
    let file = lab.modules_file(&old).with_extension("json");
    let touched = Command::new("touch").args(["-d", "40 days ago"]).arg(&file).status().unwrap();
    assert!(touched.success());
    let clean = |more: &[&str]| {
        run(pyimg(&lab.store).arg("gc").args(more)).success();
    };
    clean(&["--dry-run"]);
    assert!(lab.program(&old).is_some());
    clean(&[]);
    assert_eq!((lab.program(&old), lab.modules_file(&old).exists()), (None, false));
    assert!(lab.modules(&new).is_some());
    assert_eq!(lab.stats()["hits"], 2);
    lab.sound();
}
