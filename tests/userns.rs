//! Images built and used by CRIU in a user namespace: by an ordinary user, on a machine where
//! it has no capability of its own.

#[path = "common/dice.rs"]
mod dice;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use dice::Dice;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, geteuid};
use pyimg::criu::Criu;
use tempfile::TempDir;

/// `nobody`.
const USER: u32 = 65534;
const PYTHON: &str = "/usr/bin/python3";
/// More than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A place where that user has the programs, a store with an image of `json`, and a
/// runtime directory.
struct World {
    directory: TempDir,
    runtime: TempDir,
    criu: Criu,
}

impl World {
    /// Nothing where such a user cannot be had; says why.
    fn new() -> Option<Self> {
        Self::try_new().map_err(|why| eprintln!("skipped: {why}")).ok()
    }

    fn try_new() -> Result<Self, String> {
        if !geteuid().is_root() {
            return Err("only root can become another user".into());
        }
        let criu = Criu::find().map_err(|error| {
            let required = std::env::var("PYIMG_TEST_REQUIRE").unwrap_or_default();
            assert_ne!(required, "criu", "{error}");
            error.to_string()
        })?;
        let tmp = tempfile::tempdir().map_err(|error| error.to_string())?;
        let runtime = tempfile::tempdir_in("/dev/shm").map_err(|error| error.to_string())?;
        let world = Self { directory: tmp, runtime, criu };
        let works = |what: &str, arguments: &[&str]| {
            let output = world.command(arguments).output();
            match output {
                Ok(output) if output.status.success() => Ok(()),
                Ok(output) => Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr))),
                Err(error) => Err(format!("{what}: {error}")),
            }
        };
        works("no setpriv", &["true"])?;
        works("no Python", &[PYTHON, "-c", "pass"])?;
        let binary = world.criu.binary().to_str().ok_or("CRIU's path is not UTF-8")?;
        works("CRIU is not for all users", &[binary, "--version"])?;
        let unshare = ["unshare", "--user", "--map-current-user", "--pid", "--fork"];
        works("no namespaces", &[&unshare[..], &["--mount-proc", "true"]].concat())?;
        world.fill();
        Ok(world)
    }

    fn fill(&self) {
        let path = |name: &str| self.directory.path().join(name);
        for directory in [self.directory.path(), self.runtime.path()] {
            chown(directory, Some(USER), Some(USER)).unwrap();
        }
        for (program, name) in
            [(env!("CARGO_BIN_EXE_pyimg"), "pyimg"), (env!("CARGO_BIN_EXE_pyrun"), "pyrun")]
        {
            fs::copy(program, path(name)).unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let built = self.pyimg(&["build", "import json", "--name", "j"]);
        assert!(built.status.success(), "{built:?}");
    }

    /// A command of that user. Privileges that CRIU's file may have do not count.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--"])
            .args(arguments)
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.directory.path().display()))
            .env("HOME", self.directory.path())
            .env("XDG_RUNTIME_DIR", self.runtime.path())
            .env("PYIMG_DIR", self.directory.path().join("store"))
            .env("PYIMG_CRIU", self.criu.binary())
            .env("PYIMG_PYTHON", PYTHON)
            .env("PYIMG_LOG", "debug")
            .env("PYIMG_ENGINE", "criu")
            .env("PYIMG_USERNS", "1")
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        command
    }

    fn pyimg(&self, arguments: &[&str]) -> Output {
        self.command(&[&["pyimg"], arguments].concat()).output().unwrap()
    }

    /// Runs a program and expects a hit.
    fn hit(&self, code: &str) -> (ExitStatus, String) {
        let output = self.command(&["pyrun", "-c", code]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("pyrun: hit: j"), "{said}");
        (output.status, String::from_utf8(output.stdout).unwrap())
    }

    /// Starts a program, which must print a line, and waits for that.
    fn start(&self, code: &str) -> (Child, BufReader<std::process::ChildStdout>) {
        let mut child = self
            .command(&["pyrun", "-c", code])
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        (child, output)
    }

    /// Waits until no process runs our programs any more.
    fn wait_for_silence(&self) {
        let ours = |link: &Path| {
            fs::read_link(link).is_ok_and(|exe| exe.starts_with(self.directory.path()))
        };
        wait_until("our processes are gone", || {
            let processes = fs::read_dir("/proc").unwrap().flatten();
            !processes.into_iter().any(|process| ours(&process.path().join("exe")))
        });
    }
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

#[test]
fn a_program_ends_as_outside() {
    let Some(world) = World::new() else { return };
    let (status, output) =
        world.hit("import json, os; print(os.getppid(), os.getuid(), os.getgid())");
    assert!(status.success());
    assert_eq!(output, "1 65534 65534\n");
    assert_eq!(world.hit("import json, sys; sys.exit(7)").0.code(), Some(7));
    assert_eq!(world.hit("import json; 1/0").0.code(), Some(1));
    assert_eq!(world.hit("import json, os; os.abort()").0.signal(), Some(6));
    assert_eq!(world.hit("import json, os; os.kill(os.getpid(), 9)").0.signal(), Some(9));
    world.wait_for_silence();
}

#[test]
fn a_program_has_no_capability_and_its_arguments() {
    let Some(world) = World::new() else { return };
    let code = "import json, sys; [print(*l.split()) for l in open('/proc/self/status') \
                if l.startswith('Cap') and not l.startswith('CapBnd')]";
    let none = ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"];
    let expected: String = none.iter().map(|set| format!("{set} 0000000000000000\n")).collect();
    assert_eq!(world.hit(code).1, expected);
    let output = world
        .command(&["pyrun", "-c", "import json, sys; print(sys.argv, sys.stdin.read())", "a b"])
        .stdin(fs::File::open("/dev/null").unwrap())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "['-c', 'a b'] \n");
}

#[test]
fn signals_reach_the_program() {
    let Some(world) = World::new() else { return };
    let (mut child, mut output) = world.start(
        // Neither buffers, which a handler may not enter twice, nor a pause that a signal
        // can slip in front of.
        "import json, os, signal, time\n\
         for s in (1, 2, 3, 10, 15): signal.signal(s, lambda s, f: os.write(1, b'%d\\n' % s))\n\
         os.write(1, b'ready\\n')\n\
         while True: time.sleep(0.01)",
    );
    for signal in [1, 2, 3, 10, 15] {
        kill(pid(&child), Signal::try_from(signal).unwrap()).unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{signal}\n"));
    }
    // One that nobody can catch takes the whole namespace along.
    child.kill().unwrap();
    assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
    assert_eq!(child.wait().unwrap().signal(), Some(9));

    let (mut child, _) =
        world.start("import json, signal; print('ready', flush=True); signal.pause()");
    kill(pid(&child), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    world.wait_for_silence();
}

#[test]
fn a_program_stops_and_goes_on() {
    let Some(world) = World::new() else { return };
    let (mut child, mut output) = world.start(
        "import json, os, signal; continued = []; \
         signal.signal(signal.SIGCONT, lambda *_: continued.append(1)); print('ready', flush=True); \
         [(os.kill(os.getpid(), signal.SIGSTOP), print(len(continued), flush=True)) for _ in 'abc']; \
         print('over')",
    );
    // The program is continued once, whether whoever does it means the process that it knows
    // or the whole group.
    let group = Pid::from_raw(-pid(&child).as_raw());
    for (round, whom) in [pid(&child), group, pid(&child)].into_iter().enumerate() {
        let stopped = waitpid(pid(&child), Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert_eq!(stopped, WaitStatus::Stopped(pid(&child), Signal::SIGSTOP));
        kill(whom, Signal::SIGCONT).unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{}\n", round + 1));
    }
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "over\n");
    assert!(child.wait().unwrap().success());
    world.wait_for_silence();
}

#[test]
fn what_is_left_in_the_background_goes_on() {
    let Some(world) = World::new() else { return };
    let file = world.directory.path().join("alive");
    let code = format!(
        "import json, subprocess; subprocess.Popen(['sh', '-c', 'sleep 1; echo > {}'], \
         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)",
        file.display()
    );
    let (status, _) = world.hit(&code);
    assert!(status.success());
    assert!(!file.exists(), "pyrun does not wait for it");
    wait_until("the process in the background goes on", || file.exists());
    world.wait_for_silence();
}

#[test]
fn twenty_at_once() {
    let Some(world) = World::new() else { return };
    let code = "import json, sys, time; time.sleep(0.2); print(sys.argv[1])";
    let children: Vec<Child> = (0..20)
        .map(|number: u32| {
            world
                .command(&["pyrun", "-c", code, &number.to_string()])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for (number, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{number}\n"), "{said}");
        assert!(said.contains("hit: j"), "{said}");
    }
    world.wait_for_silence();
    let left = fs::read_dir(world.runtime.path().join("pyimg-65534")).unwrap().flatten();
    let names: Vec<_> = left.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with("run-")), "{names:?}");
}

#[test]
fn without_a_namespace_it_is_plain_python() {
    let Some(world) = World::new() else { return };
    // CRIU's version is known from then on.
    world.hit("import json");
    // The user may have no other process than this one, hence none in a namespace.
    let code = "import json; print(json.dumps([1]))";
    let output = world.command(&["prlimit", "--nproc=1", "pyrun", "-c", code]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("miss: CRIU failed: in a user namespace: no new user namespace"),
        "{said}"
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), "[1]\n");
    assert!(output.status.success());

    let output = world
        .command(&["pyrun", "-c", "import json; print(json.dumps([1]))"])
        .env_remove("PYIMG_USERNS")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("miss: CRIU failed: CRIU lacks a privilege"), "{said}");
    // CRIU itself complains on standard output.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "[1]\n");
}

#[test]
fn a_build_is_interrupted_from_outside() {
    let Some(world) = World::new() else { return };
    let mut build = world
        .command(&["pyimg", "build", "open('begun', 'w'); import time; time.sleep(60)"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the recipe runs", || world.directory.path().join("begun").exists());
    kill(pid(&build), Signal::SIGINT).unwrap();
    let mut said = String::new();
    build.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "error: interrupted; nothing was stored\n");
    assert_eq!(build.wait().unwrap().code(), Some(1));
    world.wait_for_silence();
}

#[test]
fn an_image_grows_in_a_namespace() {
    let Some(world) = World::new() else { return };
    let grown = world.pyimg(&["build", "--from", "j", "import csv, json; print(1)", "--name", "g"]);
    assert!(grown.status.success(), "{grown:?}");
    assert_eq!(grown.stdout, b"1\n");
    let code = "import csv, json; print(json.dumps([csv.QUOTE_ALL]))";
    let output = world.command(&["pyrun", "-c", code]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("pyrun: hit: g"), "{said}");
    assert_eq!(output.stdout, b"[1]\n");
    world.wait_for_silence();
}

#[test]
fn doctor_names_both_ways() {
    let Some(world) = World::new() else { return };
    let doctor = |command: &mut Command| {
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (status, said) = doctor(&mut world.command(&["pyimg", "doctor"]));
    assert!(said.contains("user 65534, in a user namespace (PYIMG_USERNS=1)"), "{said}");
    assert_eq!(status, Some(0), "{said}");
    let mut command = world.command(&["pyimg", "doctor"]);
    let (status, said) = doctor(command.env_remove("PYIMG_USERNS"));
    assert!(said.contains("or set PYIMG_USERNS=1: user namespaces work here"), "{said}");
    assert_eq!(status, Some(2), "{said}");
}

/// Whichever process is killed, the one between the program and `pyrun` too.
#[test]
fn a_program_begins_at_most_once() {
    let Some(world) = World::new() else { return };
    let file = world.directory.path().join("lines");
    let code = "import os\nfile = os.open('lines', os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n\
                os.write(file, b'once\\n')\nimport json; os._exit(3)";
    let mut dice = Dice(dice::seed());
    for _ in 0..100 {
        let _ = fs::remove_file(&file);
        let mut child =
            world.command(&["pyrun", "-c", code]).stderr(Stdio::null()).spawn().unwrap();
        let (start, moment) = (Instant::now(), Duration::from_micros(dice.roll(60_000) as u64));
        while child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(200));
            let below = if start.elapsed() < moment { Vec::new() } else { below(pid(&child)) };
            if !below.is_empty() && kill(below[dice.roll(below.len())], Signal::SIGKILL).is_ok() {
                break;
            }
        }
        let status = child.wait().unwrap();
        world.wait_for_silence();
        let count = fs::read_to_string(&file).unwrap_or_default().lines().count();
        let fine = status.code() == Some(3) && count == 1
            || status.signal() == Some(Signal::SIGKILL as i32) && count <= 1;
        assert!(fine, "ended with {status}, began {count} times");
    }
}

/// The children of a process, and theirs.
fn below(process: Pid) -> Vec<Pid> {
    let path = format!("/proc/{process}/task/{process}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    let own = text.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap()));
    own.flat_map(|pid| std::iter::once(pid).chain(below(pid))).collect()
}
