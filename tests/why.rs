//! `pyimg why` says what `pyrun` does, and why.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Lab, Output, ground, pyimg, run};
use serde_json::Value;

/// A store with some images, and a directory to run programs in.
struct Place {
    lab: Lab,
    cwd: PathBuf,
}

/// What both commands are to find: variables, a standard input.
type Setting<'a> = &'a dyn Fn(&mut Command);

impl Place {
    fn new() -> Self {
        let cwd = ground().dir("cwd");
        fs::write(cwd.join("module.py"), "VALUE = 1\n").unwrap();
        let python = common::a_python().clone();
        let lab = Lab { python, store: ground().no_file("store"), turn: Default::default() };
        Self { lab, cwd }
    }

    fn with_images() -> Self {
        let place = Self::new();
        place.build(&["import json, decimal", "--name", "numbers"]);
        place.build(&["import csv", "--name", "optimised", "--", "-O"]);
        place
    }

    fn build(&self, arguments: &[&str]) {
        let mut command = pyimg(&self.lab.store);
        command.args(["build", "--python"]).arg(&self.lab.python.path).args(arguments);
        run(command.current_dir(&self.cwd)).success();
    }

    fn why(&self, arguments: &[&str], setting: Setting) -> Output {
        let mut command = pyimg(&self.lab.store);
        command.env("PYIMG_PYTHON", &self.lab.python.path).current_dir(&self.cwd);
        command.arg("why").args(arguments);
        setting(&mut command);
        run(&mut command)
    }

    fn json(&self, arguments: &[&str], setting: Setting) -> Value {
        let arguments: Vec<&str> = std::iter::once("--json").chain(arguments.to_vec()).collect();
        serde_json::from_str(&self.why(&arguments, setting).success()).unwrap()
    }

    /// Asks, then runs; the answer must be what happened.
    #[track_caller]
    fn agrees(&self, arguments: &[&str], setting: Setting) -> Value {
        let said = self.json(arguments, setting);
        let mut command = self.lab.pyrun();
        command.env("PYIMG_LOG", "debug").current_dir(&self.cwd).args(arguments);
        setting(&mut command);
        let output = run(&mut command).stderr_text();
        let happened = output.lines().find_map(|line| line.strip_prefix("pyrun: ")).unwrap();
        let explained = match &said["image"] {
            Value::String(name) => {
                let images = said["images"].as_array().unwrap();
                let image = images.iter().find(|image| image["name"] == **name).unwrap();
                let engine = image["engine"].as_str().unwrap();
                let reason = image["engine_reason"].as_str().map(|why| format!(": {why}"));
                format!("hit: {name} ({engine}{})", reason.unwrap_or_default())
            }
            _ => format!("miss: {}", said["reason"]["text"].as_str().unwrap()),
        };
        assert_eq!(explained, happened);
        said
    }

    /// The text with what differs from machine to machine taken out.
    fn text(&self, arguments: &[&str], setting: Setting) -> String {
        let output = self.why(arguments, setting);
        let python = &self.lab.python.path;
        let text = format!(
            "exit status: {}\n--- stdout\n{}--- stderr\n{}",
            output.code(),
            output.stdout_text(),
            output.stderr_text()
        );
        let real = python.canonicalize().unwrap();
        // Where it is no link there is no second line.
        let text = text.replace(&format!("\n         {}", real.display()), "");
        text.replace(python.to_str().unwrap(), "[PYTHON]")
            .replace(self.cwd.to_str().unwrap(), "[CWD]")
            .replace(self.lab.store.to_str().unwrap(), "[STORE]")
    }
}

fn nothing(_: &mut Command) {}

macro_rules! assert_said {
    ($name:literal, $text:expr) => {
        insta::with_settings!({
            omit_expression => true,
            filters => [
                (r" *<?\b\d+(\.\d+)? (us|ms|s)\b", " [TIME]"),
                (r" *\+ *\[TIME\] +", " +[TIME] "),
                (r" taken \((direct|criu)\)", " taken ([ENGINE])"),
                (r"IMAGE +IMPORTS +RESTORE +VERDICT", "IMAGE IMPORTS RESTORE VERDICT"),
            ],
        }, { insta::assert_snapshot!($name, $text) })
    };
}

/// Its exit status, its name for the reason, and the command that it advises.
fn reason(said: &Value) -> (&str, Option<&str>) {
    (said["reason"]["code"].as_str().unwrap_or_default(), said["command"].as_str())
}

#[test]
fn without_any_image() {
    let place = Place::new();
    assert_said!("why-no-store", place.text(&["-c", "import json, decimal"], &nothing));
    assert_said!("why-imports-nothing", place.text(&["-c", "pass"], &nothing));
    assert!(!place.lab.store.exists(), "asking makes no store");
    for (arguments, code) in [
        (&["-c", "pass"][..], "no-store"),
        (&["-i", "-c", "pass"], "interactive"),
        (&["-X", "importtime", "-c", "pass"], "flag"),
        (&["--engine", "off", "-c", "pass"], "engine-off"),
        (&["--image", "x", "-c", "pass"], "no-store"),
        (&["-m", "this"], "no-store"),
    ] {
        assert_eq!(reason(&place.agrees(arguments, &nothing)).0, code, "{arguments:?}");
    }
    let engine = |command: &mut Command| {
        command.env("PYIMG_ENGINE", "warp");
    };
    assert_eq!(reason(&place.agrees(&["-c", "pass"], &engine)).0, "engine-unknown");
    let seed = |command: &mut Command| {
        command.env("PYTHONHASHSEED", "1");
    };
    assert_eq!(reason(&place.agrees(&["-c", "pass"], &seed)).0, "environment");
}

#[test]
fn without_a_python() {
    let place = Place::new();
    let none = |command: &mut Command| {
        command.env_remove("PYIMG_PYTHON").env("PATH", "/nonexistent");
    };
    assert_said!("why-no-python", place.text(&["-c", "pass"], &none));
    let script = place.cwd.join("python3");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let doubtful = |command: &mut Command| {
        command.env("PYIMG_PYTHON", &script);
    };
    assert_said!("why-doubtful-python", place.text(&["-c", "pass"], &doubtful));
}

#[test]
fn used_wrongly() {
    let place = Place::new();
    assert_said!("why-usage", place.text(&["--image"], &nothing));
    assert_said!("why-usage-engine", place.text(&["--engine", "warp", "-c", "pass"], &nothing));
}

#[test]
fn programs_on_standard_input() {
    let place = Place::new();
    let said = |setting: Setting| {
        let said = place.json(&["-"], setting);
        (said["program"]["kind"].clone(), said["program"]["imports"].clone())
    };
    fs::write(place.cwd.join("program"), "import json\n").unwrap();
    let file = |command: &mut Command| {
        command.stdin(fs::File::open(place.cwd.join("program")).unwrap());
    };
    assert_eq!(said(&file), ("stdin".into(), vec!["json"].into()));
    assert_eq!(said(&nothing), ("stdin".into(), Value::Null));
}

#[test]
fn images_that_fit_and_others() {
    if !common::criu() {
        return;
    }
    let place = Place::with_images();
    let program = ["-c", "import json, decimal, csv"];
    assert_said!("why-hit", place.text(&program, &nothing));
    let said = place.agrees(&program, &nothing);
    assert_eq!(said["image"], "numbers");
    let verdicts: Vec<_> = said["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| {
            (image["name"].as_str().unwrap(), image["reason"]["code"].as_str().unwrap_or("usable"))
        })
        .collect();
    assert_eq!(verdicts, [("numbers", "usable"), ("optimised", "flags-differ")]);

    let said = place.agrees(&["-b", "-c", "import csv"], &nothing);
    assert_eq!(reason(&said).0, "flags-differ");
    assert!(reason(&said).1.unwrap().ends_with(" -- -b"), "{said}");
    let said = place.agrees(&["-c", "import a_module_of_no_image"], &nothing);
    assert_eq!(reason(&said), ("not-covered", Some("pyimg build 'import a_module_of_no_image'")));
    let said = place.agrees(&["--image", "optimised", "-O", "-c", "pass"], &nothing);
    assert_eq!(said["image"], "optimised");
    let said = place.agrees(&["--image", "optimised", "-c", "pass"], &nothing);
    assert_eq!(reason(&said).0, "flags-differ");
    assert_eq!(
        reason(&place.agrees(&["--image", "x", "-c", "pass"], &nothing)).0,
        "image-not-found"
    );
    let said = place.agrees(&["nonexistent.py"], &nothing);
    assert_eq!(reason(&said), ("program", None));
    let home = |command: &mut Command| {
        command.env("LC_ALL", "C");
    };
    assert_eq!(reason(&place.agrees(&["-c", "import json"], &home)).0, "environment-differs");
}

#[test]
fn what_has_changed_is_named() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    fs::write(place.cwd.join("two words.py"), "import module, json\n").unwrap();
    place.build(&["--script", "two words.py", "--name", "mine"]);
    let script = place.cwd.join("two words.py");
    let script = script.to_str().unwrap();
    assert_eq!(place.agrees(&[script], &nothing)["image"], "mine");
    fs::write(place.cwd.join("module.py"), "VALUE = 22\n").unwrap();
    assert_said!("why-changed", place.text(&[script], &nothing));
    let said = place.agrees(&[script], &nothing);
    let command = format!("pyimg build --script '{script}' --name mine --force");
    assert_eq!(reason(&said), ("file-changed", Some(command.as_str())));
    // The command does what it promises.
    let shell =
        format!("PATH={}:$PATH; {command}", common::binary("pyimg").parent().unwrap().display());
    let mut build = Command::new("/bin/sh");
    ground().clean(&mut build, &place.lab.store).env("PYIMG_PYTHON", &place.lab.python.path);
    run(build.args(["-c", &shell]).stdin(Stdio::null())).success();
    assert_eq!(place.agrees(&[script], &nothing)["image"], "mine");

    fs::write(place.cwd.join("json.py"), "").unwrap();
    let said = place.agrees(&[script], &nothing);
    assert_eq!(reason(&said).0, "shadowed");
    assert!(said["advice"].as_str().unwrap().starts_with("rename that file"), "{said}");
}

#[test]
fn an_image_for_another_value_of_a_variable() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    fs::write(place.cwd.join("modes.py"), "import json, os\nMODE = os.environ.get('MODE')\n")
        .unwrap();
    fs::write(place.cwd.join("program.py"), "import modes\n").unwrap();
    place.build(&["--script", "program.py", "--name", "mine"]);
    let said = place.agrees(&["program.py"], &|command| _ = command.env("MODE", "one"));
    let script = place.cwd.join("program.py");
    let command = format!("pyimg build --script {}", script.display());
    assert_eq!(reason(&said), ("variable-differs", Some(command.as_str())));
    assert_eq!(said["reason"]["text"], "the variable MODE has another value");
    assert!(
        said["advice"].as_str().unwrap().starts_with("build another image, for this"),
        "{said}"
    );
    let mut build = pyimg(&place.lab.store);
    build.args(["build", "--script"]).arg(&script).env("MODE", "one");
    run(build.env("PYIMG_PYTHON", &place.lab.python.path).current_dir(&place.cwd)).success();
    let said = place.agrees(&["program.py"], &|command| _ = command.env("MODE", "one"));
    assert_ne!(said["image"], "mine");
    assert_eq!(place.agrees(&["program.py"], &nothing)["image"], "mine");
}

#[test]
fn another_machine() {
    if !common::criu()
        || !cfg!(debug_assertions)
        || std::env::var_os("PYIMG_TEST_BINARIES").is_some()
    {
        return;
    }
    let place = Place::with_images();
    let program = ["-c", "import json"];
    for part in ["kernel", "libc", "processor"] {
        let other = |command: &mut Command| {
            command.env("PYIMG_TEST_HOST", part);
        };
        let said = place.agrees(&program, &other);
        assert_eq!(reason(&said), ("host-differs", Some("pyimg build 'import json'")), "{part}");
        assert_eq!(said["images"].as_array().unwrap().len(), 2);
    }
    // A build there makes another image, and each machine uses its own.
    let mut build = pyimg(&place.lab.store);
    build.args(["build", "import json", "--name", "other", "--python"]);
    build.arg(&place.lab.python.path).env("PYIMG_TEST_HOST", "processor");
    run(&mut build).success();
    let other = |command: &mut Command| {
        command.env("PYIMG_TEST_HOST", "processor");
    };
    assert_eq!(place.agrees(&program, &other)["image"], "other");
    assert_eq!(place.agrees(&program, &nothing)["image"], "numbers");
}

#[test]
fn an_image_of_a_newer_criu() {
    if !common::criu() {
        return;
    }
    let place = Place::with_images();
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let there = |command: &mut Command| {
        command.env("XDG_RUNTIME_DIR", runtime.path()).env("PYIMG_ENGINE", "criu");
    };
    let program = ["-c", "import json"];
    assert_eq!(place.agrees(&program, &there)["image"], "numbers");
    let known = version_file(runtime.path());
    assert!(fs::read_to_string(&known).unwrap().starts_with(|first: char| first.is_ascii_digit()));
    fs::write(&known, "99.1").unwrap();
    assert_eq!(
        place.agrees(&program, &there)["image"],
        "numbers",
        "it reads what older ones wrote"
    );
    fs::write(&known, "4.0").unwrap();
    let said = place.agrees(&program, &there);
    assert_eq!(reason(&said).0, "criu-differs");
    assert!(said["reason"]["text"].as_str().unwrap().ends_with(", newer than 4.0"), "{said}");
    let direct = |command: &mut Command| {
        command.env("XDG_RUNTIME_DIR", runtime.path()).env("PYIMG_ENGINE", "direct");
    };
    assert_eq!(place.agrees(&program, &direct)["image"], "numbers", "it takes no CRIU");
    fs::write(&known, "nonsense").unwrap();
    assert_eq!(place.agrees(&program, &there)["image"], "numbers", "then it is asked for again");
}

/// The file in which the version of CRIU is remembered.
fn version_file(runtime: &Path) -> PathBuf {
    let files = common::files_below(runtime).into_iter().map(|(path, _)| path);
    let mut files = files.filter(|path| path.file_name() == Some("version".as_ref()));
    files.next().unwrap()
}

#[test]
fn the_log_says_which_image_or_why_none() {
    if !common::criu() {
        return;
    }
    let lab = Lab::new(common::a_python(), "import json");
    let log = |value: &str, arguments: &[&str]| {
        run(lab.pyrun().env("PYIMG_LOG", value).args(arguments)).stderr_text()
    };
    let (hit, miss) = (["-c", "import json"], ["-c", "pass"]);
    let said = format!("pyrun: hit: image ({})\n", common::engine());
    assert_eq!(log("hit", &hit), said);
    assert_eq!(log("debug", &hit), said);
    assert_eq!(log("miss", &hit), "");
    assert_eq!(log("hit", &miss), "");
    let reason = "pyrun: miss: no image holds a module that the program imports\n";
    assert_eq!(log("miss", &miss), reason);
    assert_eq!(log("debug", &miss), reason);
    assert_eq!(log("", &miss), "");
    // For the benchmark: what was reached when, and nothing else.
    let begins =
        if common::by_criu() { "evidence restored started end" } else { "evidence started end" };
    for (arguments, outcome, reached) in
        [(&hit, "hit", begins), (&miss, "not-covered", "store end")]
    {
        let line = log("phases", arguments);
        let phases: serde_json::Value = serde_json::from_str(&line).expect(&line);
        assert_eq!(phases["outcome"], outcome, "{line}");
        let marks = phases["marks"].as_array().unwrap();
        for point in reached.split(' ') {
            assert!(marks.iter().any(|mark| mark[0] == point), "{point} is not in {line}");
        }
        assert!(
            marks.iter().all(|mark| mark[1].as_u64() >= marks[0][1].as_u64() && mark[2].is_u64()),
            "{line}"
        );
    }
    // Wherever standard error leads, the program runs.
    for redirection in ["2>/dev/full", "2>&-", "2> >(exit 1)"] {
        let script = format!("\"$@\" {redirection}; echo $?");
        for (arguments, log) in [(hit, "debug"), (miss, "debug"), (hit, "phases"), (miss, "phases")]
        {
            let mut command = Command::new("bash");
            ground().clean(&mut command, &lab.store);
            command.env("PYIMG_PYTHON", &lab.python.path).env("PYIMG_LOG", log);
            command.args(["-c", &script, "bash"]).arg(common::binary("pyrun")).args(arguments);
            assert_eq!(run(&mut command).stdout_text(), "0\n", "{redirection} {arguments:?} {log}");
        }
    }
}
