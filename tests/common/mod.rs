//! What the integration tests share: the Pythons, a place of their own, and running programs.
//!
//! Each test binary has one [`Ground`]: a directory with a home, stores and a runtime
//! directory, so that nothing of the person's is read or changed. It is removed when the
//! test process ends, however it ends.
//!
//! A test that needs CRIU says `skipped: …` and passes where there is none, unless
//! `PYIMG_TEST_REQUIRE` names `criu` (or `root`, for what only root can set up).
//! `PYIMG_TEST_PYTHONS` limits the Pythons to those whose label contains one of its words,
//! `PYIMG_TEST_ENGINE` is the engine where a test asks for none ([`engine`]),
//! and `PYIMG_TEST_BINARIES` names a directory of other binaries to test.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub mod dice;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

/// How long any one program of a test may take before it counts as hanging.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often something that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(2);

// ---- What there is ----

/// Whether images can be built and restored here; if not, says so or fails.
pub fn criu() -> bool {
    static OBSTACLE: OnceLock<Option<String>> = OnceLock::new();
    let obstacle = OBSTACLE.get_or_init(|| {
        let doctor = pyimg(&ground().dir("no-store")).args(["doctor", "--json"]).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
        let failed = report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .find(|finding| finding["status"] == "failed" && finding["name"] != "python");
        failed
            .map(|finding| finding["detail"].to_string())
            .or_else(|| pythons().is_empty().then(|| "no CPython 3.9 to 3.13 was found".to_owned()))
    });
    available("criu", obstacle.as_deref())
}

/// Whether this is root; if not, says so or fails.
pub fn root() -> bool {
    available("root", (!geteuid().is_root()).then_some("this takes root to set up"))
}

fn available(what: &str, obstacle: Option<&str>) -> bool {
    let Some(obstacle) = obstacle else { return true };
    let required = std::env::var("PYIMG_TEST_REQUIRE").unwrap_or_default();
    assert!(!required.contains(what), "{what} is required, but {obstacle}");
    println!("skipped: {obstacle}");
    false
}

/// An interpreter to test with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    pub label: String,
    pub path: PathBuf,
    pub version: (u32, u32),
    pub numpy: bool,
}

/// The interpreters to test with: those that `scripts/setup --for test` made, else those
/// that are found, one of each minor version.
pub fn pythons() -> &'static [Python] {
    static PYTHONS: OnceLock<Vec<Python>> = OnceLock::new();
    PYTHONS.get_or_init(|| {
        let prepared = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-pythons");
        let mut found = Vec::new();
        for (label, directory) in children_of(&prepared) {
            found.extend(Python::examine(&label, &directory.join("bin/python")));
        }
        if found.is_empty() {
            let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
            let pyenv = std::env::var_os("PYENV_ROOT").map_or(home.join(".pyenv"), PathBuf::from);
            let mut places = vec![("system".to_owned(), PathBuf::from("/usr/bin/python3"))];
            places.extend(
                children_of(&pyenv.join("versions"))
                    .into_iter()
                    .map(|(version, directory)| (version, directory.join("bin/python3"))),
            );
            for (label, path) in places {
                let known =
                    |python: &Python| found.iter().any(|f: &Python| f.version == python.version);
                found.extend(Python::examine(&label, &path).filter(|python| !known(python)));
            }
        }
        if let Ok(wanted) = std::env::var("PYIMG_TEST_PYTHONS") {
            found
                .retain(|python| wanted.split_whitespace().any(|word| python.label.contains(word)));
        }
        found
    })
}

/// The oldest, the newest and one between them, for what need not be tried on all.
pub fn three_pythons() -> Vec<&'static Python> {
    let mut all: Vec<&Python> = pythons().iter().collect();
    all.sort_by_key(|python| python.version);
    let few: BTreeSet<usize> = [0, all.len() / 2, all.len().saturating_sub(1)].into();
    few.into_iter().filter_map(|at| all.get(at).copied()).collect()
}

/// The Python for what has nothing to do with its version: one with numpy if possible.
pub fn a_python() -> &'static Python {
    let all = pythons();
    all.iter().rfind(|python| python.numpy && python.version < (3, 13)).unwrap_or(&all[0])
}

impl Python {
    fn examine(label: &str, path: &Path) -> Option<Self> {
        let question = "import sys, importlib.util as u\n\
            print(sys.implementation.name, *sys.version_info[:2], u.find_spec('numpy') is not None)";
        let output = Command::new(path).args(["-c", question]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let ["cpython", major, minor, numpy] = words[..] else { return None };
        let version = (major.parse().ok()?, minor.parse().ok()?);
        ((3, 9)..=(3, 13)).contains(&version).then(|| Self {
            label: label.to_owned(),
            path: path.to_owned(),
            version,
            numpy: numpy == "True",
        })
    }
}

fn children_of(directory: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut children: Vec<(String, PathBuf)> = entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    children.sort();
    children
}

/// By which engine runs are hits where a test asks for none: `direct`, unless
/// `PYIMG_TEST_ENGINE` is another one. `pyrun` itself is told nothing in the first case: it must
/// choose that by itself.
pub fn engine() -> &'static str {
    static ENGINE: OnceLock<String> = OnceLock::new();
    ENGINE.get_or_init(|| std::env::var("PYIMG_TEST_ENGINE").unwrap_or_else(|_| "direct".into()))
}

/// Whether that is CRIU.
pub fn by_criu() -> bool {
    engine() == "criu"
}

// ---- A place ----

/// The directories of this test process.
#[derive(Debug)]
pub struct Ground {
    root: PathBuf,
    runtime: PathBuf,
    criu: Option<PathBuf>,
}

/// The ground of this test process.
pub fn ground() -> &'static Ground {
    static GROUND: OnceLock<Ground> = OnceLock::new();
    GROUND.get_or_init(|| {
        // Whoever started the tests may ignore these, as `nohup` and scripts do.
        for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
            pyimg::sys::set_disposition(signal as i32, false).unwrap();
        }
        let new = |parent: PathBuf| {
            tempfile::Builder::new().prefix("pyimg-test-").tempdir_in(parent).unwrap().keep()
        };
        let ground = Ground {
            root: new(std::env::temp_dir()),
            runtime: new("/dev/shm".into()),
            criu: pyimg::criu::Criu::find().ok().map(|criu| criu.binary().to_owned()),
        };
        remove_at_the_end([&ground.root, &ground.runtime]);
        for inner in ["home", "tmp"] {
            fs::create_dir(ground.root.join(inner)).unwrap();
        }
        ground
    })
}

/// Has another process remove these directories when this one has ended, however that
/// may come about: a pipe from us then reaches its end.
fn remove_at_the_end(directories: [&Path; 2]) {
    let janitor = Command::new("sh")
        .args(["-c", "trap '' INT QUIT TERM HUP; cat; chmod -R u+w \"$@\"; rm -rf \"$@\"", "sh"])
        .args(directories)
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    JANITOR.store(janitor.id() as usize, Ordering::Relaxed);
    std::mem::forget(janitor);
}

static JANITOR: AtomicUsize = AtomicUsize::new(0);

impl Ground {
    /// A new, empty directory whose name begins like this.
    pub fn dir(&self, name: &str) -> PathBuf {
        tempfile::Builder::new().prefix(name).tempdir_in(&self.root).unwrap().keep()
    }

    /// A path at which nothing is, in a directory of its own.
    pub fn no_file(&self, name: &str) -> PathBuf {
        self.dir("at").join(name)
    }

    /// A directory always called this, made if it is not there.
    pub fn fixed(&self, name: &str) -> PathBuf {
        let path = self.root.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// What is in the runtime directory and in the one for temporary files, but for what
    /// is meant to stay there: CRIU's cache and the park library.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let users = children_of(&self.runtime).into_iter().flat_map(|(_, user)| children_of(&user));
        let stays = |name: &str| name.starts_with("criu-") || name.starts_with("libpyimg_park-");
        let runtime = users.filter(|(name, _)| !stays(name));
        runtime.chain(children_of(&self.root.join("tmp"))).map(|(_, path)| path).collect()
    }

    /// Removes those.
    pub fn remove_leftovers(&self) {
        self.leftovers().iter().for_each(|path| fs::remove_dir_all(path).unwrap());
    }

    /// Gives a command this ground's environment and nothing else.
    pub fn clean<'a>(&self, command: &'a mut Command, store: &Path) -> &'a mut Command {
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.root.join("home"))
            .env("TMPDIR", self.root.join("tmp"))
            .env("LANG", "C.UTF-8")
            .env("TERM", "dumb")
            .env("XDG_RUNTIME_DIR", &self.runtime)
            .env("PYIMG_DIR", store)
            .env("PYIMG_TEST_WORTH", "any")
            .env("PYIMG_BUILD", "off");
        if let Some(criu) = &self.criu {
            command.env("PYIMG_CRIU", criu);
        }
        if let Some(engine) = std::env::var_os("PYIMG_TEST_ENGINE") {
            command.env("PYIMG_ENGINE", engine);
        }
        command
    }
}

/// The path of one of our binaries.
pub fn binary(name: &str) -> PathBuf {
    match (std::env::var_os("PYIMG_TEST_BINARIES"), name) {
        (Some(directory), _) => Path::new(&directory).join(name),
        (None, "pyimg") => env!("CARGO_BIN_EXE_pyimg").into(),
        (None, _) => env!("CARGO_BIN_EXE_pyrun").into(),
    }
}

/// `pyimg` with a store.
pub fn pyimg(store: &Path) -> Command {
    let mut command = Command::new(binary("pyimg"));
    ground().clean(&mut command, store).stdin(Stdio::null());
    command
}

/// A store with an image of one interpreter, and nobody else using it.
#[derive(Debug)]
pub struct Lab {
    pub python: Python,
    pub store: PathBuf,
    pub turn: Mutex<()>,
}

/// The name of a lab's image.
pub const IMAGE: &str = "image";

impl Lab {
    /// Builds the image of `recipe`.
    pub fn new(python: &Python, recipe: &str) -> Self {
        Self::with(python, &[recipe])
    }

    /// Builds an image with these arguments of `pyimg build`.
    pub fn with(python: &Python, arguments: &[&str]) -> Self {
        let store = ground().no_file("store");
        let lab = Self { python: python.clone(), store, turn: Mutex::new(()) };
        let built = lab.build(arguments);
        assert!(built.status.success(), "{}: cannot build: {}", python.label, built.stderr_text());
        lab
    }

    /// A lab with a store of its own that is as this one's is now.
    pub fn copy(&self) -> Self {
        let store = ground().no_file("store");
        let copied = Command::new("cp").arg("-a").args([&self.store, &store]).status().unwrap();
        assert!(copied.success());
        Self { python: self.python.clone(), store, turn: Mutex::new(()) }
    }

    /// The names of all images.
    pub fn names(&self) -> Vec<String> {
        let listed = run(pyimg(&self.store).args(["ls", "--json"])).success();
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let images = listed["images"].as_array().unwrap().iter();
        images.map(|image| image["name"].as_str().unwrap().to_owned()).collect()
    }

    /// What is wrong with the store, if anything: it verifies, and every image that is
    /// listed can be used and works.
    pub fn obstacle(&self) -> Option<String> {
        let verified = run(pyimg(&self.store).args(["verify", "--read-data"]));
        if verified.code() != 0 {
            return Some(format!("{}{}", verified.stdout_text(), verified.stderr_text()));
        }
        let program = "import json; print(json.dumps([6 * 7]))";
        self.names().into_iter().find_map(|name| {
            let output = run(self.pyrun().args(["--image", &name, "-c", program]));
            let right = output.stdout == b"[42]\n" && output.stderr == b"" && output.code() == 0;
            (!right).then(|| format!("{name}: {output:?}"))
        })
    }

    /// `pyimg build` for this interpreter; the image is called [`IMAGE`] if nothing else is
    /// said.
    pub fn build(&self, arguments: &[&str]) -> Output {
        let mut command = pyimg(&self.store);
        command.arg("build").arg("--python").arg(&self.python.path);
        if !arguments.contains(&"--name") {
            command.args(["--name", IMAGE]);
        }
        run(command.args(arguments))
    }

    /// `pyrun` with this interpreter and store.
    pub fn pyrun(&self) -> Command {
        self.environment(Command::new(binary("pyrun")))
    }

    /// The interpreter itself, in the same environment.
    pub fn plain(&self) -> Command {
        self.environment(Command::new(&self.python.path))
    }

    fn environment(&self, mut command: Command) -> Command {
        ground()
            .clean(&mut command, &self.store)
            .env("PYIMG_PYTHON", &self.python.path)
            .env("PYIMG_LOG", "miss")
            .stdin(Stdio::null());
        command
    }

    /// How often the images of the store have been used.
    pub fn uses(&self) -> u64 {
        let images = children_of(&self.store.join("images"));
        images.iter().map(|(_, image)| image.join("uses").metadata().map_or(0, |m| m.len())).sum()
    }

    /// `pyrun` with this engine, whatever that of all the tests is.
    pub fn pyrun_by(&self, engine: &str) -> Command {
        let mut command = self.pyrun();
        command.env("PYIMG_ENGINE", engine);
        command
    }

    /// Runs `pyrun` and requires that the image was used, once, and by the engine that it is to
    /// be by.
    #[track_caller]
    pub fn hit(&self, arguments: &[&str]) -> Output {
        self.hit_of(self.pyrun().args(arguments))
    }

    /// The same of a command of [`Self::pyrun`].
    #[track_caller]
    pub fn hit_of(&self, command: &mut Command) -> Output {
        self.hit_by(engine(), command)
    }

    /// The same of an image that CRIU alone can bring back: it holds more than memory and
    /// threads, such as an open file.
    #[track_caller]
    pub fn hit_without_plan(&self, arguments: &[&str]) -> Output {
        let by = if by_criu() { "(criu)" } else { "(criu: " };
        self.hit_said(by, self.pyrun().args(arguments))
    }

    /// Runs a command of [`Self::pyrun`] that must be a hit by this engine; with CRIU in place of
    /// the one that is chosen first comes the reason for that, as in `criu: it has timers`.
    #[track_caller]
    pub fn hit_by(&self, by: &str, command: &mut Command) -> Output {
        self.hit_said(&format!("({by})"), command)
    }

    #[track_caller]
    fn hit_said(&self, by: &str, command: &mut Command) -> Output {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.uses();
        let mut output = run(command.env("PYIMG_LOG", "debug"));
        let what = format!("{}: {command:?}: {output:?}", self.python.label);
        assert_eq!(self.uses(), before + 1, "a miss: {what}");
        let hit = output.take_hit().unwrap_or_else(|| panic!("no hit is said: {what}"));
        assert!(hit.contains(by), "not by {by}: {what}");
        output
    }

    /// Runs `pyrun` and returns the reason for which the image was not used.
    pub fn miss(&self, arguments: &[&str]) -> (String, Output) {
        self.miss_of(self.pyrun().args(arguments))
    }

    /// Runs a command of [`Self::pyrun`] that must miss; the reason is taken out of its
    /// standard error.
    pub fn miss_of(&self, command: &mut Command) -> (String, Output) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.uses();
        let mut output = run(command);
        assert_eq!(self.uses(), before, "{}: {command:?} was a hit", self.python.label);
        let reason = output.take_miss().unwrap_or_else(|| panic!("no reason in {output:?}"));
        (reason, output)
    }
}

/// The labs of a test binary: one for each of these Pythons, built by several at once.
pub fn labs(pythons: Vec<&Python>, recipe: &str) -> Vec<Lab> {
    std::thread::scope(|scope| {
        let building: Vec<_> = pythons
            .into_iter()
            .map(|python| scope.spawn(move || Lab::new(python, recipe)))
            .collect();
        building.into_iter().map(|lab| lab.join().unwrap()).collect()
    })
}

/// The one lab of a test binary whose tests take turns, and this test's turn; none without
/// CRIU.
pub fn lab_in_turn(recipe: &str) -> Option<(&'static Lab, MutexGuard<'static, ()>)> {
    static LAB: OnceLock<Lab> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    if !criu() {
        return None;
    }
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    Some((LAB.get_or_init(|| Lab::new(a_python(), recipe)), turn))
}

// ---- Running ----

/// How a program ended and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The exit status, or the negative number of the signal.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| -self.status.signal().unwrap_or(0))
    }

    /// Takes the one line out of standard error that tells why there was a miss.
    pub fn take_miss(&mut self) -> Option<String> {
        self.take_line("pyrun: miss: ")
    }

    /// Takes the one line out of standard error that tells by which image and engine it was a hit.
    pub fn take_hit(&mut self) -> Option<String> {
        self.take_line("pyrun: hit: ")
    }

    fn take_line(&mut self, start: &str) -> Option<String> {
        let text = self.stderr_text();
        let (found, rest): (Vec<&str>, Vec<&str>) =
            text.split_inclusive('\n').partition(|line| line.starts_with(start));
        let [found] = found[..] else { return None };
        self.stderr = rest.concat().into_bytes();
        Some(found.trim_start_matches(start).trim_end().to_owned())
    }

    /// Standard output of a program that must have succeeded.
    pub fn success(&self) -> String {
        assert!(
            self.status.success(),
            "{}\n{}{}",
            self.status,
            self.stdout_text(),
            self.stderr_text()
        );
        self.stdout_text()
    }
}

/// Runs a command to its end; its output goes through files, so that a process that it
/// leaves behind keeps nobody waiting.
pub fn run(command: &mut Command) -> Output {
    run_while(command, |_| {})
}

/// Runs a command and does something while it runs.
pub fn run_while(command: &mut Command, act: impl FnOnce(Pid)) -> Output {
    let new_file = || tempfile::tempfile_in(&ground().root).unwrap();
    let (stdout, stderr) = (new_file(), new_file());
    let mut child = command
        .stdout(stdout.try_clone().unwrap())
        .stderr(stderr.try_clone().unwrap())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    act(Pid::from_raw(child.id().cast_signed()));
    let status = end_of(&mut child).unwrap_or_else(|| panic!("{command:?} hangs"));
    Output { status, stdout: contents(stdout), stderr: contents(stderr) }
}

fn contents(mut file: File) -> Vec<u8> {
    use std::io::{Read as _, Seek as _};
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Waits for a child to end; kills it if it does not.
pub fn end_of(child: &mut Child) -> Option<ExitStatus> {
    let mut status = None;
    let ended = eventually(|| {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    if !ended {
        let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
        let _ = child.wait();
    }
    status
}

/// Waits until something holds; false if it does not within [`PATIENCE`].
pub fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}

/// The processes that have this store in their environment.
pub fn processes_of(store: &Path) -> Vec<(i32, String)> {
    let variable = [b"PYIMG_DIR=", store.as_os_str().as_encoded_bytes()].concat();
    let uses_it = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|entry| entry == variable)
    };
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(uses_it).map(|pid| (pid, name_of(pid))).collect()
}

/// The children of this process, whoever has left them to it, but for the janitor.
pub fn children() -> Vec<(i32, String)> {
    let janitor = JANITOR.load(Ordering::Relaxed) as i32;
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let texts =
        tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    let text: String = texts.collect::<Vec<_>>().join(" ");
    let pids = text.split_whitespace().filter_map(|pid| pid.parse().ok());
    pids.filter(|&pid| pid != janitor).map(|pid| (pid, name_of(pid))).collect()
}

fn name_of(pid: i32) -> String {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let state = read("stat").rsplit(')').next().unwrap_or_default().chars().nth(1).unwrap_or('?');
    let arguments = read("cmdline").replace('\0', " ");
    format!("{} ({state}) in {} of {arguments:?}", read("comm").trim(), read("wchan"))
}

/// Every file below a directory with its contents; of compiled Python files only the name,
/// since they hold times.
pub fn files_below(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for (_, path) in children_of(directory) {
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            let compiled = path.extension() == Some(OsStr::new("pyc"));
            let bytes = if compiled { Vec::new() } else { fs::read(&path).unwrap_or_default() };
            found.push((path, bytes));
        }
    }
    found
}
