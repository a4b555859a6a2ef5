//! A program begins once, whatever is killed and whatever is missing: what goes wrong before it
//! begins makes it plain Python, and after that it is never run again.
//!
//! What may be killed are the processes that bring an image back by CRIU; who becomes the program
//! is alone. What may be missing, and limits, are the same for both.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use common::dice::{self, Dice};
use common::{IMAGE, Lab, Output, ground, processes_of};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// The first thing that it does is to add a line to the file that it is given.
const PROGRAM: &str = "\
import os, sys
file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(file, b'once\\n')
import json, signal, time
how = sys.argv[2]
if how == 'sleeps': time.sleep(.01)
if how == 'dies': os.kill(os.getpid(), signal.SIGKILL)
if how == 'crashes': os.kill(os.getpid(), signal.SIGSEGV)
os._exit(3)";

/// The lab that they share, one test at a time: they wait for whatever ends, and clean up.
fn lab() -> Option<(&'static Lab, MutexGuard<'static, ()>)> {
    common::lab_in_turn("import json, signal, time")
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// CRIU, and who helps it.
    Criu,
    /// The process that was restored or is being restored.
    Program,
    /// `pyrun` itself.
    Pyrun,
    /// `pyrun` that becomes the program.
    Both,
    Nobody,
}

/// How often the program has begun.
fn beginnings(file: &Path) -> usize {
    fs::read_to_string(file).unwrap_or_default().lines().count()
}

fn command(lab: &Lab, engine: &str, file: &Path, how: &str) -> Command {
    let mut command = lab.pyrun_by(engine);
    command.args(["--image", IMAGE, "-c", PROGRAM]).arg(file).arg(how);
    command
}

fn children_of(pid: Pid) -> Vec<Pid> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
}

fn is_criu(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim() == "criu"
}

/// Kills a descendant of `pyrun`, if there is one of that kind.
fn kill_below(pyrun: Pid, victim: Victim, dice: &mut Dice) -> bool {
    let mut found = vec![pyrun];
    for at in 0.. {
        let Some(&pid) = found.get(at) else { break };
        found.extend(children_of(pid));
    }
    let wanted = |pid: &Pid| is_criu(*pid) == (victim == Victim::Criu);
    let found: Vec<Pid> = found[1..].iter().copied().filter(wanted).collect();
    !found.is_empty() && kill(found[dice.roll(found.len())], Signal::SIGKILL).is_ok()
}

/// Whether a child of ours is a zombie.
fn has_ended(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with('Z'))
}

/// Runs it once and kills that long after it was started, or as soon as there is somebody to kill.
fn one(lab: &Lab, how: &str, victim: Victim, moment: Duration, dice: &mut Dice) -> (Output, usize) {
    let file = ground().no_file("lines");
    let engine = if victim == Victim::Both { "direct" } else { "criu" };
    let output = common::run_while(&mut command(lab, engine, &file, how), |pyrun| {
        let start = Instant::now();
        // There may be nobody to kill yet.
        while victim != Victim::Nobody && !has_ended(pyrun) {
            let killed = start.elapsed() >= moment
                && match victim {
                    Victim::Pyrun | Victim::Both => kill(pyrun, Signal::SIGKILL).is_ok(),
                    _ => kill_below(pyrun, victim, dice),
                };
            if killed {
                break;
            }
            std::thread::sleep(Duration::from_micros(if moment.is_zero() { 0 } else { 100 }));
        }
    });
    // All of them are children of ours by now, also who is about to become CRIU and has no
    // environment at that moment.
    let ended = common::eventually(|| {
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status.pid().is_some())
        {
        }
        common::children().is_empty()
    });
    assert!(ended, "{:?}", common::children());
    assert_eq!(processes_of(&lab.store), []);
    (output, beginnings(&file))
}

/// Between the fork and the `exec` of CRIU, among others, where libcriu itself errs.
#[test]
fn killed_as_soon_as_there_is_somebody_to_kill() {
    let Some((lab, _turn)) = lab() else { return };
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let mut dice = Dice(dice::seed());
    for _ in 0..200 {
        let (output, count) = one(lab, "ends", Victim::Program, Duration::ZERO, &mut dice);
        // Whoever is slow may meet the program itself.
        let is_right = (output.code(), count) == (3, 1) || (output.code() == -9 && count <= 1);
        assert!(is_right, "began {count} times: {output:?}");
        ground().remove_leftovers();
    }
}

#[test]
fn killed_at_random() {
    let Some((lab, _turn)) = lab() else { return };
    let required = std::env::var("PYIMG_TEST_REQUIRE").is_ok_and(|what| what.contains("criu"));
    let rounds = if required || std::env::var_os("CI").is_some() { 600 } else { 150 };
    // Whoever loses its parent becomes a child of ours, where it is waited for.
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let mut dice = Dice(dice::seed());
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..rounds {
        let (how, alone) =
            [("ends", 3), ("sleeps", 3), ("dies", -9), ("crashes", -11)][dice.roll(4)];
        let victims = [
            Victim::Criu,
            Victim::Criu,
            Victim::Program,
            Victim::Pyrun,
            Victim::Both,
            Victim::Nobody,
        ];
        let victim = victims[dice.roll(victims.len())];
        let moment = Duration::from_micros(dice.roll(40_000) as u64);
        let (output, count) = one(lab, how, victim, moment, &mut dice);
        let code = output.code();
        let what = format!("{how}, {victim:?} killed: ended with {code}, began {count} times");
        assert!(count <= 1, "{what}");
        if code == alone && code != -9 || victim == Victim::Nobody {
            // Nobody was killed, or somebody whose part the program can do without.
            assert_eq!((code, count), (alone, 1), "{what}");
        } else {
            assert_eq!(code, -9, "{what}: {output:?}");
        }
        *seen.entry((format!("{victim:?}"), code, count)).or_insert(0) += 1;
        ground().remove_leftovers();
    }
    println!("{seen:?}");
}

/// Runs it in Bash, as the script's `"$@"`.
#[track_caller]
fn begins_once(lab: &Lab, script: &str) {
    for engine in ["direct", "auto", "criu"] {
        begins_once_by(lab, engine, script);
    }
}

#[track_caller]
fn begins_once_by(lab: &Lab, engine: &str, script: &str) {
    let file = ground().no_file("lines");
    let inner = command(lab, engine, &file, "ends");
    let mut command = Command::new("bash");
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["-c", script, "bash"]).arg(inner.get_program()).args(inner.get_args());
    command.current_dir(ground().dir("place")).stdin(Stdio::null());
    let output = common::run(&mut command);
    assert_eq!((output.code(), beginnings(&file)), (3, 1), "{engine}: {script}: {output:?}");
}

#[test]
fn begun_once_whatever_cannot_be_done() {
    let Some((lab, _turn)) = lab() else { return };
    for script in [
        // What the process that was restored cannot take over.
        "mkdir -p gone; cd gone; rmdir ../gone; \"$@\"",
        "LC_ALL=C \"$@\"",
        // Limits.
        "ulimit -f 1; \"$@\"",
        "ulimit -n 20; \"$@\"",
        // No place to work in.
        "XDG_RUNTIME_DIR=/proc \"$@\"",
        "PYIMG_CRIU=/bin/false \"$@\"",
        "PYIMG_CRIU=/bin/true \"$@\"",
    ] {
        begins_once(lab, script);
    }
    if common::root() {
        let full = "mkdir -p full; export XDG_RUNTIME_DIR=$PWD/full; exec unshare -m bash -c \
            'mount -t tmpfs -o size=4k,mode=700 none full && head -c 4096 /dev/zero > full/x; \"$@\"' bash \"$@\"";
        begins_once(lab, full);
    }
}

#[test]
fn a_file_of_the_image_that_is_missing_or_cut_off() {
    let Some((lab, _turn)) = lab() else { return };
    let image = fs::read_dir(lab.store.join("images")).unwrap().next().unwrap().unwrap().path();
    let packs = fs::read_dir(lab.store.join("packs")).unwrap();
    let files: Vec<PathBuf> = fs::read_dir(&image)
        .unwrap()
        .chain(packs)
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && path.file_name().is_some_and(|name| name != "uses"))
        .collect();
    assert!(files.len() > 8, "{files:?}");
    for path in files {
        for cut in [false, true] {
            let lab = lab.copy();
            let path =
                lab.store.join(path.strip_prefix(image.ancestors().nth(2).unwrap()).unwrap());
            if cut {
                let half = path.metadata().unwrap().len() / 2;
                fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                    .unwrap();
                fs::File::options().write(true).open(&path).unwrap().set_len(half).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
            for engine in ["auto", "criu"] {
                let file = ground().no_file("lines");
                let output = common::run(&mut command(&lab, engine, &file, "ends"));
                assert_eq!(
                    (output.code(), beginnings(&file)),
                    (3, 1),
                    "{engine}: {} {cut}: {output:?}",
                    path.display()
                );
            }
        }
    }
}
