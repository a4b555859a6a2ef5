//! Images that are built, or advised, because programs found none: `build = "off"`, `"ask"`
//! and `"auto"`.
//!
//! The programs import a package that takes long enough for an image to be worth it. Where a
//! test looks at a build, its imports wait at a gate, which they know by being in another
//! session than the test; so nothing here depends on how quick anything is.

mod common;

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Output, a_python, binary, eventually, files_below, ground, processes_of, pyimg, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};
use serde_json::Value;

/// Modules of the package: so many that reading them tells that importing takes long.
const MODULES: usize = 450;

/// A directory with programs, in which they run, and a store.
struct Place {
    directory: PathBuf,
    store: PathBuf,
}

impl Place {
    fn new() -> Self {
        let place = Self { directory: ground().dir("auto"), store: ground().no_file("store") };
        let package = place.directory.join("many");
        fs::create_dir(&package).unwrap();
        let names: Vec<String> = (0..MODULES).map(|number| format!("m{number}")).collect();
        for name in &names {
            fs::write(package.join(format!("{name}.py")), "VALUE = 'first'\n").unwrap();
        }
        let text = format!("import time\ntime.sleep(0.2)\nfrom . import {}\n", names.join(", "));
        fs::write(package.join("__init__.py"), text).unwrap();
        fs::write(package.join("__main__.py"), PROGRAM).unwrap();
        place.write("program.py", PROGRAM);
        let session = getsid(None).unwrap();
        place.write(
            "gate.py",
            &format!(
                "import many, os, time\n\
                 while os.getsid(0) != {session} and not os.path.exists('open'):\n    time.sleep(0.01)\n"
            ),
        );
        place.write("gated.py", "import gate\nprint('ran')\n");
        // Byte code that is written while an image is built would disturb that.
        run(place.of(&a_python().path, "off").args(["-c", "import gate"])).success();
        // An empty store, for nothing is remembered without one.
        run(place.of(&binary("pyimg"), "off").args(["build", "pass", "--name", "bare"])).success();
        place
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.join(name), text).unwrap();
    }

    fn of(&self, program: &Path, policy: &str) -> Command {
        let mut command = Command::new(program);
        ground()
            .clean(&mut command, &self.store)
            .env("PYIMG_PYTHON", &a_python().path)
            .env("PYIMG_LOG", "debug")
            .env("PYIMG_BUILD", policy)
            .env("PYIMG_BUILD_PRIORITY", "normal")
            .current_dir(&self.directory)
            .stdin(Stdio::null());
        command
    }

    fn pyrun(&self, policy: &str) -> Command {
        self.of(&binary("pyrun"), policy)
    }

    /// Runs a program, and waits until nothing that came of it runs any more.
    fn run(&self, policy: &str, arguments: &[&str]) -> Output {
        let output = run(self.pyrun(policy).args(arguments));
        self.wait();
        output
    }

    /// A run that is a hit, or one that is not; gives what the program printed.
    #[track_caller]
    fn hit(&self, policy: &str, arguments: &[&str]) -> String {
        let output = self.run(policy, arguments);
        let said = output.stderr_text();
        assert!(said.contains("pyrun: hit: "), "{arguments:?}: {said}\n{}", self.memory());
        output.success()
    }

    #[track_caller]
    fn miss(&self, policy: &str, arguments: &[&str]) -> String {
        let output = self.run(policy, arguments);
        let said = output.stderr_text();
        assert!(said.contains("pyrun: miss: "), "{arguments:?}: {said}");
        output.success()
    }

    #[track_caller]
    fn wait(&self) {
        let ended = eventually(|| processes_of(&self.store).is_empty());
        assert!(ended, "{:?}", processes_of(&self.store));
    }

    /// What the store remembers of the program that was run.
    fn memory(&self) -> Value {
        let programs = files_below(&self.store.join("programs"));
        let programs =
            programs.iter().filter(|(path, _)| path.extension() == Some("json".as_ref()));
        let mut programs = programs.map(|(_, text)| serde_json::from_slice(text).unwrap());
        let only = programs.next().unwrap_or_default();
        assert_eq!(programs.next(), None, "there are several");
        only
    }

    fn images(&self) -> Vec<String> {
        let listed = run(pyimg(&self.store).args(["ls", "--json"])).success();
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let names = listed["images"].as_array().unwrap().iter();
        names.map(|image| image["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The processes of builds that nobody waits for: those of `pyimg consider`, and others.
    fn builders(&self) -> (Vec<i32>, Vec<i32>) {
        let is_consider = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|&byte| byte == 0).any(|word| word == b"consider")
        };
        let pids = processes_of(&self.store).into_iter().map(|(pid, _)| pid);
        pids.partition(is_consider)
    }

    /// Waits until a build stands at the gate; gives its processes.
    #[track_caller]
    fn at_the_gate(&self) -> (Vec<i32>, Vec<i32>) {
        let mut found = Default::default();
        let stands = eventually(|| {
            found = self.builders();
            found.0.len() == 1 && found.1.len() == 2
        });
        assert!(stands, "{found:?}");
        found
    }

    /// Nothing is left behind, and the store is whole.
    #[track_caller]
    fn is_clean(&self) {
        self.wait();
        let verified = run(pyimg(&self.store).args(["verify", "--read-data"]));
        assert_eq!(verified.code(), 0, "{}{}", verified.stdout_text(), verified.stderr_text());
    }
}

const PROGRAM: &str = "import many\nprint(many.m0.VALUE)\n";

#[test]
fn the_next_run_is_fast_and_so_again_after_a_change() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    assert_eq!(place.miss("auto", &["program.py"]), "first\n");
    assert_eq!(place.hit("auto", &["program.py"]), "first\n");
    assert_eq!(place.hit("auto", &["-m", "many"]), "first\n", "that needs none of its own");
    let images = place.images();
    assert_eq!(images.len(), 2, "{images:?}");
    place.write("many/m0.py", "VALUE = 'second, and longer'\n");
    assert_eq!(place.miss("auto", &["program.py"]), "second, and longer\n");
    assert_eq!(place.hit("auto", &["program.py"]), "second, and longer\n");
    assert_eq!(place.images(), images, "it was built again under its name");
    place.is_clean();
}

#[test]
fn texts_and_the_first_run_of_all() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    // Whoever wants images to be built wants the store to be made.
    fs::remove_dir_all(&place.store).unwrap();
    let text = ["-c", "import many; print(many.m1.VALUE)"];
    assert_eq!(place.miss("ask", &text), "first\n");
    assert!(!place.store.exists());
    assert_eq!(place.miss("auto", &["-m", "many"]), "first\n");
    assert_eq!(place.hit("auto", &["-m", "many"]), "first\n");
    let name = place.images().remove(0);
    run(pyimg(&place.store).args(["rm", &name])).success();
    fs::remove_dir_all(place.store.join("programs")).unwrap();
    place.miss("auto", &text);
    assert!(place.memory()["outlook"].is_null(), "few texts are run again");
    place.miss("auto", &text);
    place.hit("auto", &text);
    place.is_clean();
}

#[test]
fn an_image_of_the_users_is_built_again_under_its_name() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    let build = ["build", "import many, json", "--name", "mine"];
    run(place.of(&binary("pyimg"), "off").args(build)).success();
    place.hit("auto", &["program.py"]);
    place.write("many/m0.py", "VALUE = 'second, and longer'\n");
    place.miss("auto", &["program.py"]);
    assert_eq!(place.memory()["outlook"]["renews"], "mine");
    assert_eq!(place.hit("auto", &["program.py"]), "second, and longer\n");
    assert_eq!(place.images(), ["bare", "mine"]);
}

/// Runs with standard error on a terminal; gives what stands there.
fn on_a_terminal(place: &Place, policy: &str, arguments: &[&str]) -> String {
    let mut command = place.pyrun(policy);
    command.env("PYIMG_LOG", "").args(arguments);
    screen_of(place, command)
}

fn screen_of(place: &Place, mut command: Command) -> String {
    let pty = nix::pty::openpty(None, None).unwrap();
    command.stdout(Stdio::null()).stderr(pty.slave);
    let mut child = command.spawn().unwrap();
    // The last descriptor of that side that is ours.
    drop(command);
    let mut screen = Vec::new();
    // An error says that nobody has the terminal open any more.
    let _ = File::from(pty.master).read_to_end(&mut screen);
    assert!(common::end_of(&mut child).unwrap().success());
    place.wait();
    String::from_utf8(screen).unwrap()
}

#[test]
fn there_is_an_image_for_each_of_the_surroundings_that_count() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    place.write("asks.py", "import many, os, sys\nANSWER = sys.stderr.isatty(), os.getcwd()\n");
    let program = "import asks, os, sys\nsys.stderr.write(f'{asks.ANSWER == (sys.stderr.isatty(), os.getcwd())}\\n')\n";
    place.write("program.py", program);
    let program = place.directory.join("program.py").display().to_string();
    let elsewhere = ground().dir("elsewhere");
    let ways = [(true, &place.directory), (false, &place.directory), (true, &elsewhere)];
    let run_in = |(terminal, directory): (bool, &Path)| {
        let mut command = place.pyrun("auto");
        command.arg(&program).current_dir(directory);
        let said = match terminal {
            true => screen_of(&place, command),
            false => run(&mut command).stderr_text(),
        };
        place.wait();
        assert!(said.contains("True"), "{terminal} {directory:?}: {said}");
        said.contains("pyrun: hit: ")
    };
    for (terminal, directory) in ways {
        assert!(!run_in((terminal, directory)));
        assert!(run_in((terminal, directory)), "{terminal} {directory:?}: {}", place.memory());
    }
    for (terminal, directory) in ways {
        assert!(run_in((terminal, directory)), "{terminal} {directory:?}");
    }
    assert_eq!(place.images().len(), 1 + ways.len());
    place.is_clean();
}

#[test]
fn what_would_help_is_told_once_and_only_on_a_terminal() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    assert_eq!(on_a_terminal(&place, "ask", &["program.py"]), "");
    assert_eq!(on_a_terminal(&place, "ask", &["program.py"]), "");
    for _ in 0..2 {
        let said = place.run("ask", &["program.py"]).stderr_text();
        assert!(!said.contains("hint"), "{said}");
    }
    let screen = on_a_terminal(&place, "ask", &["program.py"]);
    let hint = screen.strip_suffix("\r\n").unwrap_or_else(|| panic!("{screen:?}"));
    assert!(hint.starts_with("pyrun: hint: ") && !hint.contains('\n'), "{hint}");
    let (_, command) = hint.split_once("from an image: ").unwrap_or_else(|| panic!("{hint}"));
    let script = place.directory.join("program.py");
    assert!(command.ends_with(&format!("--script {}", script.display())), "{command}");
    assert_eq!(on_a_terminal(&place, "ask", &["program.py"]), "");
    assert_eq!(place.images(), ["bare"]);

    // What was told helps, and once things have changed it is told again.
    let path = format!("{}:/usr/bin:/bin", binary("pyimg").parent().unwrap().display());
    let sh = |command: &str| {
        run(place.of(Path::new("sh"), "ask").env("PATH", &path).args(["-c", command])).success()
    };
    sh(command);
    place.hit("ask", &["program.py"]);
    place.write("many/m0.py", "VALUE = 'second, and longer'\n");
    place.miss("ask", &["program.py"]);
    place.miss("ask", &["program.py"]);
    let screen = on_a_terminal(&place, "ask", &["program.py"]);
    assert!(screen.contains("is stale; to build it again: pyimg build --force"), "{screen}");
    sh(screen.trim_end().split_once("again: ").unwrap().1);
    assert_eq!(place.hit("ask", &["program.py"]), "second, and longer\n");
}

#[test]
fn off_is_off() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    for _ in 0..4 {
        assert_eq!(on_a_terminal(&place, "off", &["program.py"]), "");
    }
    for _ in 0..2 {
        place.miss("nonsense", &["program.py"]);
    }
    assert!(place.memory()["outlook"].is_null());
    assert_eq!((place.memory()["misses"].clone(), place.images()), (6.into(), vec!["bare".into()]));
}

#[test]
fn what_imports_little_gets_no_image() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    place.write("small.py", "import many_not, json\n");
    place.write("many_not.py", "");
    for _ in 0..3 {
        place.miss("auto", &["small.py"]);
    }
    let memory = place.memory();
    assert_eq!(memory["outlook"]["verdict"], "not-worth-it", "{memory}");
    assert_eq!(place.images(), ["bare"]);
}

#[test]
fn nobody_notices() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    let pyrun = binary("pyrun");
    // The pipe is read to its end, and the shell waits for all that it has started, while a
    // build is going on.
    let shell = format!(
        "P={}; $P gated.py | cat; $P gated.py 2>&1 | cat; $P gated.py & wait; echo over",
        pyrun.display()
    );
    let output = run(place.of(Path::new("sh"), "auto").args(["-c", &shell]));
    assert!(output.success().ends_with("ran\nover\n"), "{output:?}");
    let (consider, others) = place.at_the_gate();
    let own = getsid(None).unwrap();
    for &pid in consider.iter().chain(&others) {
        assert_ne!(getsid(Some(Pid::from_raw(pid))).unwrap(), own);
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let open: Vec<PathBuf> =
            descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
        assert!(!open.iter().any(|file| file.to_string_lossy().starts_with("pipe:")), "{open:?}");
    }
    assert!(common::children().iter().all(|(pid, _)| !consider.contains(pid)));
    // Another program does not begin a second build.
    place.write("other.py", "import gate\nprint('other')\n");
    run(place.pyrun("auto").arg("other.py")).success();
    assert_eq!(place.at_the_gate(), (consider, others));
    place.write("open", "");
    place.wait();
    assert_eq!(place.images().len(), 2);
    place.is_clean();
}

#[test]
fn it_yields_to_all_others_and_leaves_nothing_when_it_is_killed() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    run(place.pyrun("auto").env("PYIMG_BUILD_PRIORITY", "low").arg("gated.py")).success();
    let (consider, others) = place.at_the_gate();
    for pid in consider.iter().chain(&others) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // The nice value and the policy, which are fields 19 and 41 of proc(5).
        assert_eq!((fields[16], fields[38]), ("19", "5"), "{stat}");
    }
    kill(Pid::from_raw(consider[0]), Signal::SIGKILL).unwrap();
    place.is_clean();
    assert_eq!(place.images(), ["bare"]);
    assert_eq!(place.memory()["outlook"]["verdict"], "begun");
}

#[test]
fn what_cannot_be_built_is_not_tried_at_every_run() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    place.write(
        "busy.py",
        "import many, threading, time\n\
         threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n",
    );
    place.write("program.py", "import busy\nprint('ran')\n");
    let builds = || {
        let memory = place.memory();
        assert_eq!(memory["outlook"]["verdict"], "failed", "{memory}");
        assert!(memory["outlook"]["failure"].as_str().unwrap().contains("thread"), "{memory}");
        memory["outlook"]["builds_ns"].as_array().unwrap().len()
    };
    for _ in 0..3 {
        assert_eq!(place.miss("auto", &["program.py"]), "ran\n");
        assert_eq!(builds(), 1);
    }
    place.write("program.py", "import busy\nprint('changed')\n");
    assert_eq!(place.miss("auto", &["program.py"]), "changed\n");
    assert_eq!(builds(), 2);
    assert_eq!(place.images(), ["bare"]);
    let mut why = place.of(&binary("pyimg"), "off");
    let said = run(why.args(["why", "program.py"])).success();
    assert!(said.contains("failed in the background: "), "{said}");
    place.is_clean();
}

#[test]
fn where_it_would_be_noticed_or_limited_nothing_is_started() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    let mut limited = place.of(Path::new("sh"), "auto");
    limited.args(["-c", "ulimit -v 100000000; exec \"$0\" program.py"]).arg(binary("pyrun"));
    run(&mut limited).success();
    // It would become a child of the program. By CRIU no image can serve that run, so that it
    // does not count.
    let adopting = "import ctypes, os, sys\n\
                    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n\
                    os.execv(sys.argv[1], sys.argv[1:])";
    let mut adopter = place.of(&a_python().path, "auto");
    adopter.args(["-c", adopting]).arg(binary("pyrun")).arg("program.py");
    run(&mut adopter).success();
    let mut blocking = place.of(&a_python().path, "auto");
    let block = "import os, signal, sys\n\
                 signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])\n\
                 os.execv(sys.argv[1], sys.argv[1:])";
    blocking.args(["-c", block]).arg(binary("pyrun")).arg("program.py");
    run(&mut blocking).success();
    place.wait();
    let memory = place.memory();
    let counted = if common::by_criu() { 2 } else { 3 };
    assert_eq!((&memory["misses"], &memory["outlook"]), (&counted.into(), &Value::Null));
    // Somewhere else it is done.
    let mut elsewhere = place.pyrun("auto");
    elsewhere.arg("program.py").process_group(0);
    run(&mut elsewhere).success();
    place.wait();
    place.hit("auto", &["program.py"]);
}
