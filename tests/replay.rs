//! Runs that are like one before begin with a replay of it, and nobody can tell.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::Duration;

use common::{IMAGE, Lab, Output, ground, labs, pythons, run};

const RECIPE: &str = "import argparse, asyncio, json, logging, subprocess, sys, threading";

fn all() -> &'static [Lab] {
    static LABS: OnceLock<Vec<Lab>> = OnceLock::new();
    LABS.get_or_init(|| labs(pythons().iter().collect(), RECIPE))
}

/// A lab of this test's own.
fn own() -> Lab {
    all()[all().len() - 1].copy()
}

/// Whether there can be replays at all.
fn possible() -> bool {
    if common::by_criu() {
        eprintln!("skipped: there are no replays of runs by CRIU");
        return false;
    }
    common::criu()
}

/// The marks of a run, which has to be one of `PYIMG_LOG=phases`; nothing if plain Python was
/// run. They are taken out of what it said.
fn marks(output: &mut Output) -> Vec<String> {
    let text = output.stderr_text();
    let (line, rest) = text.split_once('\n').unwrap_or_else(|| panic!("no marks: {output:?}"));
    let said: serde_json::Value = serde_json::from_str(line).unwrap();
    output.stderr = rest.as_bytes().to_vec();
    if said["outcome"] != "hit" {
        return Vec::new();
    }
    let marks = said["marks"].as_array().unwrap().iter();
    marks.map(|mark| mark[0].as_str().unwrap().to_owned()).collect()
}

fn is_replay(marks: &[String]) -> bool {
    marks.iter().any(|mark| mark == "facts")
}

/// Runs a command; whether that was a replay, and what it said.
fn run_it(command: &mut Command) -> (bool, Output) {
    let mut output = run(command.env("PYIMG_LOG", "phases"));
    let marks = marks(&mut output);
    assert!(!marks.is_empty(), "a miss: {command:?}");
    (is_replay(&marks), output)
}

/// Runs a command that has a replay. One run in a hundred cannot make it, since an address is
/// taken.
fn replayed(command: &mut Command) -> Option<Output> {
    (0..4).map(|_| run_it(command)).find_map(|(is_replay, output)| is_replay.then_some(output))
}

/// Runs a command until it is a replay.
#[track_caller]
fn until_replayed(command: &mut Command) -> Output {
    for _ in 0..8 {
        let (is_replay, output) = run_it(command);
        if is_replay {
            return output;
        }
        // What was changed a moment ago is no good for a replay.
        sleep(Duration::from_millis(100));
    }
    panic!("it is never a replay: {command:?}");
}

fn script(name: &str, text: &str) -> PathBuf {
    let path = ground().dir("scripts").join(name);
    fs::write(&path, text).unwrap();
    path
}

fn replays(lab: &Lab) -> Vec<PathBuf> {
    let entries = fs::read_dir(lab.store.join("replays")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// A store with one replay: the command that has it, and its file.
fn one_replay() -> (Lab, Command, PathBuf) {
    let lab = own();
    let mut command = lab.pyrun();
    command.args(["-c", "import json; print(json.dumps(1))"]);
    until_replayed(&mut command);
    let path = replays(&lab).remove(0);
    (lab, command, path)
}

/// Everything that a program can see of how it was started.
const LOOK: &str = "\
import json, os, signal, sys, threading
def status(*names):
    lines = open('/proc/self/status').read().splitlines()
    return [line for line in lines if line.split(':')[0] in names]
print(json.dumps({
    'argv': sys.argv, 'orig_argv': getattr(sys, 'orig_argv', None), 'path0': sys.path[0],
    'environment': {k: v for k, v in os.environ.items() if not k.startswith('PYIMG_')},
    'order': [name for name in os.environ if not name.startswith('PYIMG_')],
    'cwd': os.getcwd(), 'file': globals().get('__file__'), 'name': __name__,
    'parent': os.getppid(), 'group': os.getpgrp(), 'session': os.getsid(0),
    'status': status('Umask', 'SigBlk', 'SigIgn', 'SigCgt', 'Uid', 'Gid', 'CapEff', 'NoNewPrivs'),
    'nice': os.nice(0), 'descriptors': sorted(os.listdir('/proc/self/fd')),
    'threads': threading.active_count(), 'flags': str(sys.flags),
    'command': open('/proc/self/cmdline').read().split('\\0')[1:],
    'stdin': sys.stdin.read(), 'executable': sys.executable,
}, indent=1))
sys.exit(7)
";

#[test]
fn the_program_is_the_same() {
    if !possible() {
        return;
    }
    let program = script("look.py", LOOK);
    for lab in all() {
        for form in [vec![program.to_str().unwrap()], vec!["-c", LOOK]] {
            let command = |plain: bool, words: &[&str]| {
                let mut command = if plain { lab.plain() } else { lab.pyrun() };
                command.args(&form).args(words).current_dir(ground().fixed("here"));
                command.env("PYIMG_LOG", "phases").env("WORD", "ä \u{1f40d} b");
                command
            };
            let one = until_replayed(&mut command(false, &["a"]));
            let plain = run(&mut command(true, &["a"]));
            assert_eq!(one.stdout_text(), plain.stdout_text(), "{}", lab.python.label);
            assert_eq!((one.code(), one.stderr_text()), (7, String::new()));
            // The program's words are its own.
            let long = "x".repeat(50_000);
            for words in [&[][..], &["one", "", "--image", "-c", "ü"], &["pip"], &[long.as_str()]]
            {
                let again = replayed(&mut command(false, words)).expect("a replay");
                let plain = run(&mut command(true, words));
                assert_eq!(again.stdout_text(), plain.stdout_text(), "{}", lab.python.label);
            }
            // More than there is room for is for the long way.
            let huge = "y".repeat(120_000);
            let words = [huge.as_str(), huge.as_str(), huge.as_str()];
            let (is_replay, again) = run_it(&mut command(false, &words));
            assert!(!is_replay);
            assert_eq!(again.stdout_text(), run(&mut command(true, &words)).stdout_text());
        }
    }
}

/// What the caller gives is the caller's of this run, not of the one that was written down.
#[test]
fn the_process_is_the_callers() {
    if !possible() {
        return;
    }
    let lab = own();
    let program = script("look.py", LOOK);
    let in_bash = |around: &str, plain: bool| {
        let inner = if plain { lab.plain() } else { lab.pyrun() };
        let mut command = Command::new("bash");
        command.env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        // Bash adds to the environment, and this takes that away again.
        let script = around.replace("\"$@\"", "env -u PWD -u SHLVL -u _ -u OLDPWD \"$@\"");
        command.args(["-c", &script, "bash"]).arg(inner.get_program()).arg(&program);
        command.env("PYIMG_LOG", "phases").stdin(Stdio::null());
        command
    };
    until_replayed(&mut in_bash("exec \"$@\"", false));
    for (around, replays) in [
        ("umask 027; exec \"$@\"", true),
        ("trap '' USR1 HUP; exec \"$@\"", true),
        ("exec nice -n 3 \"$@\"", true),
        ("exec 7</dev/null 824</dev/null; exec \"$@\"", true),
        ("exec <&-; exec \"$@\"", false),
        ("exec setpriv --no-new-privs \"$@\"", true),
        ("ulimit -n 40; exec \"$@\"", true),
        ("ulimit -s 256; exec \"$@\"", true),
        ("ulimit -f 100000; exec \"$@\"", false),
        // Where addresses are not random they are those of the image.
        ("exec setarch -R \"$@\"", false),
        ("exec timeout 20 \"$@\"", true),
        ("echo in | \"$@\"", true),
    ] {
        let mut outputs = Vec::new();
        for plain in [false, true] {
            let output = match (plain, replays) {
                (true, _) => run(&mut in_bash(around, true)),
                (false, true) => replayed(&mut in_bash(around, false)).expect(around),
                (false, false) => {
                    let (is_replay, output) = run_it(&mut in_bash(around, false));
                    assert!(!is_replay, "{around}");
                    output
                }
            };
            let seen: Result<serde_json::Value, _> = serde_json::from_str(&output.stdout_text());
            outputs.push((
                output.code(),
                seen.ok().map(|mut seen| {
                    seen["parent"].take();
                    seen["group"].take();
                    seen
                }),
            ));
        }
        assert_eq!(outputs[0], outputs[1], "{around}");
    }
}

/// What is plain Python is so without a second look, until anything changes.
#[test]
fn a_miss_is_repeated_as_well() {
    if !possible() {
        return;
    }
    let lab = own();
    let program = script(
        "other.py",
        "import colorsys, os, sys\nprint(sys.argv[1:], sys.orig_argv[1:] if hasattr(sys, 'orig_argv') else 0, os.getppid(), os.environ['WORD'])\n",
    );
    let command = |plain: bool, words: &[&str]| {
        let mut command = if plain { lab.plain() } else { lab.pyrun() };
        command.arg(&program).args(words).env("WORD", "ü").env("PYIMG_LOG", "phases");
        command
    };
    // Its outcome, and whether that was a replay.
    let outcome = |command: &mut Command| {
        let mut output = run(command);
        let line = output.stderr_text();
        let (line, rest) = line.split_once('\n').unwrap();
        let said: serde_json::Value = serde_json::from_str(line).unwrap();
        let is_replay = said["marks"].as_array().unwrap().iter().any(|mark| mark[0] == "facts");
        output.stderr = rest.as_bytes().to_vec();
        (said["outcome"].as_str().unwrap().to_owned(), is_replay, output)
    };
    let until_replayed = |command: &mut Command| {
        let tries = (0..10).map(|_| {
            sleep(Duration::from_millis(100));
            outcome(command)
        });
        tries.into_iter().find(|(_, is_replay, _)| *is_replay).expect("a replay")
    };
    let (why, _, output) = until_replayed(&mut command(false, &["a"]));
    assert_eq!(why, "not-covered");
    assert_eq!(output, run(&mut command(true, &["a"])));
    let words = ["", "two words", "-c"];
    let (_, is_replay, output) = outcome(&mut command(false, &words));
    assert!(is_replay);
    assert_eq!(output, run(&mut command(true, &words)));
    let misses = |lab: &Lab| {
        let text = run(common::pyimg(&lab.store).args(["stats", "--json"])).success();
        let stats: serde_json::Value = serde_json::from_str(&text).unwrap();
        stats["misses"].as_u64().unwrap()
    };
    let before = misses(&lab);
    assert!(outcome(&mut command(false, &["a"])).1);
    assert_eq!(misses(&lab), before + 1);

    // What it imports now is in the image.
    fs::write(&program, "import json, sys\nprint(sys.argv[1:])\n").unwrap();
    assert_eq!(outcome(&mut command(false, &["a"])).0, "hit");
    fs::write(&program, "import colorsys\nprint(1)\n").unwrap();
    assert_eq!(outcome(&mut command(false, &["a"])).0, "not-covered");

    // An image that is built is seen.
    let program = ["-c", "import colorsys; print('c')"];
    let mut other = lab.pyrun();
    other.args(program).env("PYIMG_LOG", "phases");
    assert_eq!(until_replayed(&mut other).0, "not-covered");
    assert_eq!(lab.build(&["import colorsys", "--name", "other"]).code(), 0);
    assert_eq!(outcome(&mut other).0, "hit");

    // The engine is off.
    let mut off = lab.pyrun();
    off.args(program).env("PYIMG_LOG", "phases").env("PYIMG_ENGINE", "off");
    let (why, _, output) = until_replayed(&mut off);
    assert_eq!((why.as_str(), output.stdout_text().as_str()), ("engine-off", "c\n"));
}

/// Whatever has changed, the next run is as plain Python would be.
#[test]
fn a_change_is_seen() {
    if !possible() {
        return;
    }
    let lab = own();
    let directory = ground().dir("program");
    let program = directory.join("program.py");
    let text = "import json, sys\nprint(json.__name__, sys.flags.optimize, 'one')\n";
    fs::write(&program, text).unwrap();
    let command = || {
        let mut command = lab.pyrun();
        command.arg(&program).current_dir(&directory);
        command
    };
    let again = |text: &str| {
        let output = until_replayed(&mut command());
        assert_eq!(output.stdout_text(), text);
    };
    // Once a minute one is written anew: that is not waited for here.
    let forget = || replays(&lab).iter().for_each(|path| fs::remove_file(path).unwrap());
    again("json 0 one\n");

    fs::write(&program, text.replace("one", "two")).unwrap();
    let (is_replay, output) = run_it(&mut command());
    assert_eq!((is_replay, output.stdout_text().as_str()), (false, "json 0 two\n"));
    forget();
    again("json 0 two\n");

    // Another environment is another run.
    let (is_replay, output) = run_it(command().env("MORE", "1"));
    assert_eq!((is_replay, output.stdout_text().as_str()), (false, "json 0 two\n"));
    assert!(replayed(&mut command()).is_some(), "the first one is still there");
    assert!(!run_it(command().current_dir("/")).0);

    // A module beside the program comes before the image's.
    fs::write(directory.join("json.py"), "").unwrap();
    let mut output = run(command().env("PYIMG_LOG", "phases"));
    assert!(marks(&mut output).is_empty(), "a miss");
    assert_eq!(output.stdout_text(), "json 0 two\n");
    fs::remove_file(directory.join("json.py")).unwrap();
    forget();
    again("json 0 two\n");

    // A store that others may write to is not trusted, nor such a replay.
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&lab.store, 0o777);
    let mut output = run(command().env("PYIMG_LOG", "phases"));
    assert!(marks(&mut output).is_empty(), "a miss");
    mode(&lab.store, 0o700);
    forget();
    again("json 0 two\n");
    let one = replays(&lab).remove(0);
    mode(&one, 0o622);
    assert!(!run_it(&mut command()).0);
    mode(&one, 0o600);
    assert!(replayed(&mut command()).is_some());

    // Nor is there one without an image.
    assert_eq!(run(common::pyimg(&lab.store).args(["rm", IMAGE])).code(), 0);
    let mut output = run(command().env("PYIMG_LOG", "phases"));
    assert!(marks(&mut output).is_empty(), "a miss");
    assert_eq!(output.stdout_text(), "json 0 two\n");
}

#[test]
fn it_can_be_turned_off() {
    if !possible() {
        return;
    }
    let lab = own();
    let command = || {
        let mut command = lab.pyrun();
        command.args(["-c", "import json; print(1)"]).env("PYIMG_REPLAY", "off");
        command
    };
    for _ in 0..6 {
        assert!(!run_it(&mut command()).0);
        sleep(Duration::from_millis(60));
    }
    assert_eq!(replays(&lab), [""; 0].map(PathBuf::from));
}

/// A replay is a file of memory: wherever it is damaged, it is none.
#[test]
fn a_damaged_one_is_none() {
    if !possible() {
        return;
    }
    let (_lab, mut command, path) = one_replay();
    let whole = fs::read(&path).unwrap();
    let mut check = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let (is_replay, output) = run_it(&mut command);
        assert!(!is_replay, "{what}");
        assert_eq!(output.stdout_text(), "1\n", "{what}: {output:?}");
    };
    for number in 0..60 {
        let at = number * (whole.len() - 1) / 59;
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (number % 8);
        check(&damaged, &format!("a bit of byte {at}"));
    }
    for length in [0, 1, 24, 700, 4096, whole.len() - 1, whole.len() - 32] {
        check(&whole[..length], &format!("{length} bytes"));
    }
    check(&[&whole[..], &[0; 32]].concat(), "more bytes");
    fs::write(&path, &whole).unwrap();
    assert!(replayed(&mut command).is_some(), "whole again");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(!run_it(&mut command).0, "a directory");
    fs::remove_dir(&path).unwrap();
    let elsewhere = ground().no_file("replay");
    fs::write(&elsewhere, &whole).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert!(!run_it(&mut command).0, "a link");
}

/// The checksum of a replay (`replay_checksum`), for a test that changes what it is of.
fn checksum(bytes: &[u8]) -> u64 {
    let mix = |a: u64, b: u64| (a ^ b).rotate_left(29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut lanes = [1, 2, 3, 4];
    for words in bytes.as_chunks::<32>().0 {
        for (lane, word) in lanes.iter_mut().zip(words.as_chunks::<8>().0) {
            *lane = mix(*lane, u64::from_le_bytes(*word));
        }
    }
    mix(mix(lanes[0], lanes[1]), mix(lanes[2], lanes[3]))
}

/// A machine may be moved to another one while it runs, and the image's libraries have chosen
/// their code by what the processor can do.
#[test]
fn another_processor() {
    /// Where `processor` is in `struct replay`, and how long.
    const PROCESSOR: std::ops::Range<usize> = 136..168;
    if !possible() {
        return;
    }
    let (_lab, mut command, path) = one_replay();
    let whole = fs::read(&path).unwrap();
    let mut is_made = |at: Option<usize>| {
        let mut bytes = whole.clone();
        if let Some(at) = at {
            bytes[at] ^= 1;
        }
        let sum = checksum(&bytes[24..]);
        bytes[16..24].copy_from_slice(&sum.to_le_bytes());
        fs::write(&path, bytes).unwrap();
        let (is_replay, output) = run_it(&mut command);
        assert_eq!(output.stdout_text(), "1\n", "{output:?}");
        is_replay
    };
    assert!(is_made(None));
    // Its model, and features of both leaves.
    for at in [PROCESSOR.start, PROCESSOR.start + 8, PROCESSOR.end - 12, PROCESSOR.end - 1] {
        assert!(!is_made(Some(at)), "byte {at}");
    }
    assert!(is_made(None));
}

/// Before the point of no return a step that fails is undone, and the run goes the long way;
/// after it the process becomes plain Python, or ends with a message.
#[test]
fn a_step_that_fails() {
    if !possible() {
        return;
    }
    let lab = own();
    let program = "import json, sys; print(sys.argv, sorted({'json'} & set(sys.modules)))";
    // Each of them is another environment, and so has a replay of its own.
    let failing = |variable: &str, step: usize| {
        let mut command = lab.pyrun();
        command.args(["-c", program, "a", "two words"]).env(variable, step.to_string());
        let mut outputs = Vec::new();
        for _ in 0..8 {
            let mut output = run(command.env("PYIMG_LOG", "phases"));
            let is_last = output.stderr_text().contains("no such step");
            outputs.push((is_replay(&marks(&mut output)), output.clone()));
            if outputs.last().unwrap().0 || is_last {
                break;
            }
            let count = replays(&lab).len();
            if count > 0 && outputs.len() > 5 {
                break;
            }
            sleep(Duration::from_millis(60));
        }
        outputs.pop().unwrap()
    };
    let expected = "['-c', 'a', 'two words'] ['json']\n";
    for (variable, replayed) in
        [("PYIMG_TEST_REPLAY_EARLY_STEP", false), ("PYIMG_TEST_REPLAY_STEP", true)]
    {
        for step in [0, 3, 8, 15] {
            let (is_replay, output) = failing(variable, step);
            assert_eq!(output.stdout_text(), expected, "{variable}={step}: {output:?}");
            assert_eq!((output.code(), is_replay), (0, replayed), "{variable}={step}: {output:?}");
        }
    }
    let mut command = lab.pyrun();
    command.args(["-c", program]).env("PYIMG_TEST_REPLAY_STEP", "4");
    command.env("PYIMG_TEST_RESCUE", "off");
    let ended = (0..8).map(|_| {
        sleep(Duration::from_millis(60));
        run(command.env("PYIMG_LOG", "phases"))
    });
    let ended = ended.into_iter().find(|output| output.code() != 0).expect("it fails in the end");
    assert_eq!(ended.code(), 124, "{ended:?}");
    let said = "pyrun: error: the program's image could not be mapped, nor plain Python started\n";
    assert!(ended.stderr_text().ends_with(said), "{ended:?}");
}

/// A replay is a run like any other: it is counted, said and forgotten.
#[test]
fn it_is_recorded() {
    if !possible() {
        return;
    }
    let lab = own();
    let mut command = lab.pyrun();
    command.args(["-c", "import json, sys; print(sys.argv[1:])"]);
    until_replayed(&mut command);
    let stats = || -> serde_json::Value {
        let text = run(common::pyimg(&lab.store).args(["stats", "--json"])).success();
        serde_json::from_str(&text).unwrap()
    };
    let (before, uses) = (stats(), lab.uses());
    let replays = (0..5).filter(|number| run_it(command.arg(number.to_string())).0).count();
    assert!(replays > 3, "{replays} of 5");
    let after = stats();
    assert_eq!(lab.uses(), uses + 5);
    let hits = |stats: &serde_json::Value| stats["hits"].as_u64().unwrap();
    assert_eq!(hits(&after), hits(&before) + 5, "{after}");
    let log = fs::read_to_string(lab.store.join("runs/log")).unwrap();
    let last: serde_json::Value =
        serde_json::from_str(log.lines().rfind(|line| !line.is_empty()).unwrap()).unwrap();
    let now = pyimg::store::now_ns();
    let at = last["at_ns"].as_i64().unwrap();
    assert!(at < now && at > now - 60_000_000_000, "{last}");
    let took = last["hit"]["restore_ns"].as_u64().unwrap();
    assert!(took > 10_000 && took < 60_000_000_000, "{last}");
    assert_eq!(last["hit"]["engine"], "direct");

    // It says what it is asked to say, once.
    let mut said = lab.pyrun();
    said.args(["-c", "import json"]).env("PYIMG_LOG", "debug");
    for _ in 0..6 {
        let output = run(&mut said);
        assert_eq!(output.stderr_text(), format!("pyrun: hit: {IMAGE} (direct)\n"));
        sleep(Duration::from_millis(60));
    }
    assert!(self::replays(&lab).len() > 1);
    assert_eq!(lab.obstacle(), None);
    for path in self::replays(&lab) {
        use std::os::unix::fs::MetadataExt as _;
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        // Values of the environment are not written down.
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(8).any(|part| part == b"C.UTF-8\0"), "LANG's value");
    }
}

#[test]
fn many_at_once_and_in_a_row() {
    if !possible() {
        return;
    }
    let lab = own();
    let mut command = lab.pyrun();
    let program = "import json, os, sys; sys.stdin.read(); print(os.getpid())";
    command.args(["-c", program]).stdin(Stdio::null());
    until_replayed(&mut command);
    let mut replayed = 0;
    for _ in 0..200 {
        replayed += u32::from(run_it(&mut command).0);
    }
    // Another address may be taken now and then.
    assert!(replayed > 190, "{replayed} of 200");
    command.env("PYIMG_LOG", "phases");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let all: Vec<_> = (0..100).map(|_| command.spawn().unwrap()).collect();
    for child in all {
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{pid}\n"), "{output:?}");
    }
}
