//! What `pyimg` says to its user: help, tables, errors, JSON. The images in these stores
//! were made by hand; nothing is restored from them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pyimg::key::evidence::Evidence;
use pyimg::key::host::Host;
use pyimg::key::recipe::Recipe;
use pyimg::manifest::{EVIDENCE, Manifest, Memory, Process, Python, Thread};
use pyimg::store::{Digest, ImageKey, ImageRecord, Outcome, PAGE, ProgramId, RunRecord, Store};
use tempfile::TempDir;

/// A home, with a store that need not be there.
struct World {
    directory: TempDir,
    /// A runtime directory of its own, so that nothing is left behind.
    runtime: TempDir,
}

impl World {
    fn new() -> Self {
        let runtime = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self { directory: tempfile::tempdir().unwrap(), runtime: runtime.unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn store(&self) -> PathBuf {
        self.path("store")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pyimg"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.directory.path())
            .env("XDG_RUNTIME_DIR", self.runtime.path())
            .env("PYIMG_DIR", self.store())
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.said(self.command(arguments).output().unwrap())
    }

    fn said(&self, output: Output) -> Said {
        let Host { kernel, libc, processor } = Host::read();
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(self.directory.path().to_str().unwrap(), "[HOME]")
                .replace(&kernel, "[KERNEL]")
                .replace(&libc, "[LIBC]")
                .replace(&processor, "[CPU]")
        };
        Said {
            status: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Stores an image by hand: `pages` pages of its own, and a module file as evidence.
    fn add_image(&self, name: &str, recipe: &str, pages: u8) {
        let module = self.path(&format!("{name}.py"));
        fs::write(&module, "x = 1\n").unwrap();
        let store = Store::open(&self.store()).unwrap();
        let mut ingest = store.begin(0).unwrap();
        for page in 0..pages {
            let bytes: Vec<u8> = (0..PAGE).map(|at| page ^ name.as_bytes()[0] ^ at as u8).collect();
            ingest.add_run(0x10_0000 + u64::from(page) * PAGE as u64, &bytes).unwrap();
        }
        let mut sealed = ingest.seal().unwrap();
        sealed.add_file("core-1.img", b"a core").unwrap();
        let evidence = Evidence::record([module], []).unwrap();
        sealed.add_file(EVIDENCE, &evidence.to_bytes()).unwrap();
        sealed.commit(record(name, recipe), &manifest(recipe), &[]).unwrap();
    }
}

fn record(name: &str, recipe: &str) -> ImageRecord {
    let Host { kernel, libc, processor } = Host::read();
    let hash = |text: &str| *blake3::hash(text.as_bytes()).as_bytes();
    ImageRecord {
        key: ImageKey::new(hash(name)),
        name: name.into(),
        python: "3.11.7".into(),
        executable: "/opt/python/bin/python3".into(),
        real_executable: "/opt/python/bin/python3.11".into(),
        interpreter: Digest::new(hash("an interpreter")),
        // As if it were built under another kernel.
        kernel: if name == "foreign" { "another".into() } else { kernel },
        glibc: libc,
        cpu: processor,
        flags: "-O -X utf8".into(),
        python_env: String::new(),
        recipe: recipe.into(),
        modules: ["numpy", "pandas", "typing"].map(Into::into).into(),
        import_ns: 412_345_678,
        import_times: "numpy 100000000 typing\npandas 300000000 numpy\ntyping 12345678\n".into(),
        criu: "4.1.1".into(),
        surroundings: String::new(),
    }
}

fn manifest(recipe: &str) -> Manifest {
    let site = PathBuf::from("/opt/python/lib/site-packages");
    let modules = [("numpy", Some(site.clone())), ("pandas", Some(site.clone())), ("typing", None)];
    Manifest {
        recipe: Recipe::Code { code: recipe.into() },
        python: Python {
            version: "3.11.7".into(),
            executable: "/opt/python/bin/python3".into(),
            real: "/opt/python/bin/python3.11".into(),
            suffixes: vec![".so".into()],
        },
        criu: "4.1.1".into(),
        process: Process { threads: vec![Thread { id: 77, id_address: 0x7000 }], socket: 4711 },
        modules: BTreeMap::from(modules.map(|(name, origin)| (name.into(), origin))),
        search_path: vec![site],
        local_modules: BTreeMap::new(),
        credentials: pyimg::engine::caller::Caller::read().unwrap().credentials,
        import_ns: 412_345_678,
        absent_modules: Vec::new(),
        doubts: Vec::new(),
        memory: Memory {
            mapped_pages: 3,
            copied_pages: 1,
            mappings: 2,
            zeroing_allocator: Some("jemalloc in libfast.so".into()),
        },
    }
}

/// What a command said, with what differs from run to run replaced.
#[derive(Debug, PartialEq)]
struct Said {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, stdout, stderr } = self;
        let status = status.map_or_else(|| "a signal".into(), |status| status.to_string());
        write!(f, "exit status: {status}\n--- stdout\n{stdout}--- stderr\n{stderr}")
    }
}

macro_rules! assert_said {
    ($name:literal, $said:expr) => {
        insta::with_settings!({
            omit_expression => true,
            filters => [
                (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[TIME]"),
                (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "[TIME]"),
                (r"\b[0-9a-f]{64}\b", "[HEX]"),
                (r"BUILT +LAST", "BUILT  LAST"),
                (r"(just now|\d+ (second|minute)s? ago)( +)?", "[AGE]  "),
                (r"\[AGE\]  \)", "[AGE])"),
                (r#"("(file_bytes|freed_bytes|bytes)": )\d+"#, "$1[SIZE]"),
                (r"further [\d.]+ k?B in", "further [SIZE] in"),
                (r"\([\d.]+ k?B freed\)", "([SIZE] freed)"),
            ],
        }, { insta::assert_snapshot!($name, $said) })
    };
}

#[test]
fn help() {
    let world = World::new();
    assert_said!("help", world.run(&["--help"]));
    assert_said!("help-short", world.run(&["-h"]));
    for command in [
        "build",
        "ls",
        "show",
        "rm",
        "pin",
        "unpin",
        "gc",
        "verify",
        "why",
        "stats",
        "dir",
        "doctor",
        "completions",
    ] {
        let said = world.run(&[command, "--help"]);
        assert_eq!(said.status, Some(0));
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!(format!("help-{command}"), said);
        });
    }
}

#[test]
fn wrong_usage() {
    let world = World::new();
    assert_said!("usage-none", world.run(&[]));
    assert_said!("usage-build-without-recipe", world.run(&["build"]));
    assert_said!("usage-build-two-recipes", world.run(&["build", "import re", "-m", "black"]));
    assert_said!("usage-rm-without-image", world.run(&["rm"]));
    assert_said!("usage-unknown-command", world.run(&["lst"]));
    assert_said!("usage-unknown-option", world.run(&["ls", "--jsno"]));
    assert_said!("usage-unknown-shell", world.run(&["completions", "tcsh"]));
}

#[test]
fn no_store_yet() {
    let world = World::new();
    assert_said!("empty-ls", world.run(&["ls"]));
    assert_said!("empty-ls-json", world.run(&["ls", "--json"]));
    assert_said!("empty-show", world.run(&["show", "data"]));
    assert_said!("empty-rm", world.run(&["rm", "data"]));
    assert_said!("empty-stats", world.run(&["stats"]));
    assert_said!("empty-stats-json", world.run(&["stats", "--json"]));
    assert_said!("empty-dir", world.run(&["dir"]));
    assert_said!("empty-dir-json", world.run(&["dir", "--json"]));
    let quiet = world.run(&["ls", "--quiet"]);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    assert!(!world.store().exists(), "looking makes no store");
}

#[test]
fn images_are_listed_and_shown() {
    let world = World::new();
    world.add_image("data", "import numpy, pandas", 4);
    world.add_image("web", "import flask\nimport a_module_with_a_long_name, another", 2);
    assert_said!("ls", world.run(&["ls"]));
    assert_said!("ls-json", world.run(&["ls", "--json"]));
    assert_said!("show", world.run(&["show", "data"]));
    assert_said!("show-json", world.run(&["show", "data", "--json"]));
    let key = blake3::hash(b"data").to_hex();
    assert_eq!(world.run(&["show", &key[..8]]), world.run(&["show", "data"]));
    assert_said!("show-nearly", world.run(&["show", "date"]));
    assert_said!("show-unknown", world.run(&["show", "qqq"]));
}

#[test]
fn what_was_saved_is_told() {
    let world = World::new();
    world.add_image("data", "import numpy, pandas", 1);
    assert_said!("stats-none", world.run(&["stats"]));
    let store = Store::open(&world.store()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let at_ns = i64::try_from(now.as_nanos()).unwrap();
    let run = |program: u8, what: &str, outcome: Outcome| {
        let program = (program > 0).then(|| ProgramId::new([program; 32]));
        store.records().add_run(&RunRecord { at_ns, program, what: what.into(), outcome });
    };
    let by =
        |engine: Option<&str>, why: Option<&str>, image: &str, restore_ms: u64, import_ms: u64| {
            let (restore_ns, import_ns) = (restore_ms * 1_000_000, import_ms * 1_000_000);
            let (engine, engine_reason) = (engine.map(Into::into), why.map(Into::into));
            Outcome::Hit { image: image.into(), restore_ns, import_ns, engine, engine_reason }
        };
    let miss = |code: &str| Outcome::Miss(code.into());
    run(1, "-m black", by(Some("direct"), None, "data", 2, 412));
    run(1, "-m black", by(Some("criu"), Some("there is no memory for it"), "data", 14, 412));
    run(1, "-m black", miss("module-changed"));
    run(
        2,
        "-c import re; print(re.compile('a pattern that is long'))",
        by(None, None, "bare", 12, 4),
    );
    run(2, "-c import re", by(Some("criu"), Some("it has no plan"), "old", 12, 40));
    run(2, "-c import re", by(Some("criu"), Some("it has no plan"), "old", 12, 40));
    run(2, "-c import re", by(Some("criu"), None, "old", 12, 40));
    run(3, "/usr/bin/http", miss("no-image"));
    run(3, "/usr/bin/http", miss("no-image"));
    run(0, "-", miss("no-image"));
    run(0, "", miss("interactive"));
    assert_said!("stats", world.run(&["stats"]));
    assert_said!("stats-json", world.run(&["stats", "--json"]));
    let said = world.run(&["stats", "--reset"]);
    assert!(said.stderr.ends_with("from now on runs are counted anew\n"), "{said}");
    assert_eq!(world.run(&["stats"]).stdout, "");
    drop(store);
    fs::remove_dir_all(world.store().join("runs")).unwrap();
    fs::write(world.store().join("runs"), "").unwrap();
    assert_said!("stats-reset-fails", world.run(&["stats", "--reset"]));
}

#[test]
fn an_image_whose_modules_changed_says_so() {
    let world = World::new();
    world.add_image("data", "import data", 1);
    fs::write(world.path("data.py"), "x = 22\n").unwrap();
    let said = world.run(&["show", "data"]);
    assert!(said.stdout.contains("no: [HOME]/data.py has changed\n"), "{said}");
    let said = world.run(&["show", "data", "--json"]);
    assert!(said.stdout.contains("\"obstacle\": \"[HOME]/data.py has changed\",\n"), "{said}");
    assert!(said.stdout.contains("\"changed\": \"[HOME]/data.py has changed\"\n"), "{said}");
}

#[test]
fn an_image_of_another_machine_says_so() {
    let world = World::new();
    world.add_image("foreign", "import foreign", 1);
    let said = world.run(&["show", "foreign"]);
    assert!(said.stdout.contains("no: it was built with another kernel\n"), "{said}");
}

#[test]
fn a_damaged_image_says_so() {
    let world = World::new();
    world.add_image("data", "import data", 1);
    for image in fs::read_dir(world.store().join("images")).unwrap() {
        fs::write(image.unwrap().path().join("core-1.img"), "cut").unwrap();
    }
    assert_said!("show-damaged", world.run(&["show", "data"]));
    assert_eq!(world.run(&["ls"]).status, Some(0), "the others can still be seen");
    assert_eq!(world.run(&["rm", "data"]).status, Some(0), "it can be removed");
}

#[test]
fn images_are_removed_all_or_none() {
    let world = World::new();
    for name in ["data", "web", "tools"] {
        world.add_image(name, "import re", 2);
    }
    let before = world.run(&["ls"]);
    assert_said!("rm-one-unknown", world.run(&["rm", "data", "wab", "tools"]));
    assert_eq!(world.run(&["ls"]), before);
    assert_said!("rm", world.run(&["rm", "data", "web", "data"]));
    assert_said!("rm-json", world.run(&["rm", "tools", "--json"]));
    assert_said!("rm-emptied", world.run(&["ls"]));
}

#[test]
fn stores_that_cannot_be_used() {
    let world = World::new();
    fs::write(world.path("file"), "").unwrap();
    let run = |dir: &str| {
        let output = world.command(&["ls"]).env("PYIMG_DIR", world.path(dir)).output();
        world.said(output.unwrap())
    };
    assert_said!("store-is-a-file", run("file"));
    assert_said!("store-below-a-file", run("file/store"));

    world.add_image("data", "import re", 1);
    let index = rusqlite::Connection::open(world.store().join("index.sqlite")).unwrap();
    index.pragma_update(None, "user_version", 99).unwrap();
    drop(index);
    assert_said!("store-newer-format", run("store"));

    fs::write(world.store().join("index.sqlite"), "nonsense ".repeat(1000)).unwrap();
    assert_said!("store-damaged", run("store"));
}

#[test]
fn a_store_of_somebody_else() {
    let world = World::new();
    world.add_image("data", "import re", 1);
    if std::os::unix::fs::chown(world.store(), Some(12345), None).is_err() {
        eprintln!("skipped: only root can give a directory away");
        return;
    }
    let said = world.run(&["ls"]);
    assert_eq!(said.status, Some(2));
    let start = "error: [HOME]/store belongs to another user (uid 12345";
    assert!(said.stderr.starts_with(start), "{said}");
}

#[test]
fn a_store_that_is_read_only() {
    use std::os::unix::fs::PermissionsExt as _;

    let world = World::new();
    world.add_image("data", "import re", 1);
    let mode = |mode| {
        fs::set_permissions(world.store(), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o500);
    if File::create(world.store().join("tmp-file")).is_ok() {
        mode(0o700);
        eprintln!("skipped: root may write everywhere");
        return;
    }
    let (listed, removed) = (world.run(&["ls"]), world.run(&["rm", "data"]));
    mode(0o700);
    assert_eq!(listed.status, Some(0), "{listed}");
    assert_eq!(removed.status, Some(2), "{removed}");
    assert!(removed.stderr.contains("hint: set PYIMG_DIR"), "{removed}");
}

#[test]
fn colours_only_where_they_are_wanted() {
    let world = World::new();
    let has_colour = |arguments: &[&str], variable: Option<&str>| {
        let mut command = world.command(arguments);
        command.envs(variable.map(|name| (name, "1")));
        let said = world.said(command.output().unwrap());
        assert_eq!(said.status, Some(1));
        said.stderr.contains('\u{1b}')
    };
    let wanted = ["--color", "always", "show", "x"];
    assert!(has_colour(&wanted, None));
    assert!(has_colour(&wanted, Some("NO_COLOR")), "the option is stronger");
    assert!(!has_colour(&["show", "x"], None));
    assert!(has_colour(&["show", "x"], Some("CLICOLOR_FORCE")));
    assert!(!has_colour(&["show", "x", "--color", "never"], Some("CLICOLOR_FORCE")));
}

#[test]
fn output_that_nobody_reads_is_no_error() {
    let world = World::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = world.command(&["dir"]).stdout(writer).stderr(Stdio::piped()).output();
    assert_eq!(world.said(output.unwrap()).to_string(), "exit status: 0\n--- stdout\n--- stderr\n");

    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = world.command(&["dir"]).stdout(full).stderr(Stdio::piped()).output();
    assert_said!("stdout-full", world.said(output.unwrap()));
}

#[test]
fn the_doctor_names_what_is_missing() {
    let world = World::new();
    let mut command = world.command(&["doctor", "--json"]);
    command.env("PATH", "/nonexistent").env("PYIMG_CRIU", "/nonexistent/criu");
    let said = world.said(command.output().unwrap());
    assert_eq!(said.status, Some(2), "{said}");
    let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(report["pythons"], serde_json::json!([]));
    let names: Vec<_> = report["findings"].as_array().unwrap().iter().map(|f| &f["name"]).collect();
    let expected =
        ["criu", "privilege", "kernel", "runtime-directory", "direct", "store", "python"];
    assert_eq!(names, expected);
    for missing in ["criu", "python"] {
        let findings = report["findings"].as_array().unwrap();
        let finding = findings.iter().find(|finding| finding["name"] == missing).unwrap();
        assert_eq!(finding["status"], "failed");
        assert!(finding["fix"].is_string(), "{finding}");
    }
    assert!(said.stderr.starts_with("error: images cannot be built or used here: criu"), "{said}");
    assert!(!world.store().exists());
}

#[test]
fn the_doctor_agrees_with_itself() {
    let world = World::new();
    let (text, json) = (world.run(&["doctor"]), world.run(&["doctor", "--json"]));
    assert_eq!(text.status, json.status);
    let report: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let failed = |finding: &&serde_json::Value| finding["status"] == "failed";
    let failed = report["findings"].as_array().unwrap().iter().filter(failed).count();
    assert_eq!(json.status, Some(if failed == 0 { 0 } else { 2 }), "{json}");
    assert_eq!(report["ok"], failed == 0);
    assert_eq!(text.stdout.lines().filter(|line| line.starts_with("failed ")).count(), failed);
}

#[test]
fn checked_in_completions_are_current() {
    let world = World::new();
    let files = [("bash", "pyimg.bash"), ("zsh", "_pyimg"), ("fish", "pyimg.fish")];
    for (shell, name) in files {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions").join(name);
        let file = fs::read_to_string(&path).unwrap_or_default();
        let generated = world.run(&["completions", shell]).stdout;
        assert!(file == generated, "completions/{name} is not current: run `make generate`");
    }
}

#[test]
fn man_pages() {
    let world = World::new();
    let directory = world.path("man");
    fs::create_dir(&directory).unwrap();
    let said = world.run(&["man", directory.to_str().unwrap()]);
    assert_eq!(said.to_string(), "exit status: 0\n--- stdout\n--- stderr\n");
    let names = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    let expected = [
        "pyimg-build.1",
        "pyimg-completions.1",
        "pyimg-dir.1",
        "pyimg-doctor.1",
        "pyimg-gc.1",
        "pyimg-ls.1",
        "pyimg-pin.1",
        "pyimg-rm.1",
        "pyimg-show.1",
        "pyimg-stats.1",
        "pyimg-unpin.1",
        "pyimg-verify.1",
        "pyimg-why.1",
        "pyimg.1",
        "pyrun.1",
    ];
    assert_eq!(names, expected);
    assert_said!("man-no-directory", world.run(&["man", "nonexistent"]));
}
