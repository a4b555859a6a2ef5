//! The same image many times: at once, in a row, and killed; nothing stays behind.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use common::{IMAGE, Lab, children, end_of, eventually, ground, processes_of};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// The image, with threads of its own where numpy is there. These tests count what there
/// is, so they take turns.
fn lab() -> Option<(&'static Lab, MutexGuard<'static, ()>)> {
    // Whoever loses its parent becomes a child of ours, where it is seen.
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let recipe = "import json, os, sys\ntry:\n    import numpy\nexcept ImportError:\n    pass";
    common::lab_in_turn(recipe)
}

/// By the engine of the tests, and by no other in its place.
fn pyrun(lab: &Lab) -> Command {
    lab.pyrun_by(common::engine())
}

#[track_caller]
fn nothing_is_left(lab: &Lab) {
    assert!(eventually(|| processes_of(&lab.store).is_empty()), "{:?}", processes_of(&lab.store));
    assert_eq!(children(), [], "processes without a parent");
    assert!(ground().leftovers().is_empty(), "{:?}", ground().leftovers());
}

#[test]
fn fifty_at_once() {
    let Some((lab, _turn)) = lab() else { return };
    let before = lab.uses();
    let program = "import json, os, sys, threading\n\
        print(os.getpid(), threading.get_native_id(), flush=True)\nsys.stdin.read()\n\
        print(sum(range(1000)), json.dumps([1]))";
    let mut alive: Vec<_> = (0..50)
        .map(|_| {
            let mut command = pyrun(lab);
            command.args(["--image", IMAGE, "-c", program]);
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut pids = BTreeSet::new();
    let mut outputs = Vec::new();
    for child in &mut alive {
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let ids: Vec<i32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
        assert_eq!(ids[0], ids[1]);
        assert!(pids.insert(ids[0]), "pid {} twice", ids[0]);
        outputs.push(output);
    }
    // All of them are there, at the same time.
    for pid in &pids {
        kill(Pid::from_raw(*pid), None).unwrap();
    }
    for (mut child, output) in alive.into_iter().zip(outputs) {
        drop(child.stdin.take());
        assert_eq!(output.lines().map(Result::unwrap).collect::<Vec<_>>(), ["499500 [1]"]);
        let rest = child.wait_with_output().unwrap();
        assert!(rest.status.success(), "{}", String::from_utf8_lossy(&rest.stderr));
        assert_eq!(rest.stderr, b"", "a miss");
    }
    assert_eq!(lab.uses(), before + 50);
    nothing_is_left(lab);
}

#[test]
fn five_hundred_in_a_row() {
    let Some((lab, _turn)) = lab() else { return };
    let mut descriptors = BTreeSet::new();
    let mut pids = BTreeSet::new();
    let before = lab.uses();
    for round in 0..500 {
        let program =
            "import json, os\nprint(os.getpid(), *sorted(map(int, os.listdir('/proc/self/fd'))))";
        let output = common::run(pyrun(lab).args(["--image", IMAGE, "-c", program]));
        assert_eq!(output.stderr_text(), "", "round {round}");
        let text = output.success();
        let (pid, rest) = text.trim().split_once(' ').unwrap();
        pids.insert(pid.to_owned());
        descriptors.insert(rest.to_owned());
    }
    assert_eq!(lab.uses(), before + 500, "some were misses");
    assert_eq!(pids.len(), 500, "pids came twice");
    assert_eq!(descriptors.len(), 1, "descriptors of others: {descriptors:?}");
    nothing_is_left(lab);
}

/// By CRIU, they are two processes.
#[test]
fn killing_pyrun_kills_the_program() {
    let Some((lab, _turn)) = lab() else { return };
    for signal in [Signal::SIGKILL, Signal::SIGSEGV] {
        let ready = ground().no_file("ready");
        let program = format!(
            "import os, time; open({ready:?}, 'w').write(str(os.getpid())); time.sleep(60)"
        );
        let mut pyrun = lab.pyrun_by("criu");
        let mut child = pyrun.args(["--image", IMAGE, "-c", &program]).spawn().unwrap();
        let text = || std::fs::read_to_string(&ready).unwrap_or_default();
        assert!(eventually(|| !text().is_empty()));
        assert_ne!(text(), child.id().to_string(), "it was a miss");
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        end_of(&mut child).unwrap();
        let program = text().parse().unwrap();
        let gone = || {
            // It has become our child, and is to be waited for.
            let _ = waitpid(Pid::from_raw(program), Some(WaitPidFlag::WNOHANG));
            kill(Pid::from_raw(program), None).is_err()
        };
        assert!(eventually(gone), "{signal}: the program lives on");
        // Killed like this, pyrun cannot clean up; whoever comes next does not mind.
        assert!(processes_of(&lab.store).is_empty());
        assert_eq!(lab.hit(&["-c", "import json; print(1)"]).success(), "1\n");
    }
}

/// Who has become the program is who is killed, and whoever started it sees that.
#[test]
fn pyrun_that_is_the_program_is_killed_as_such() {
    let Some((lab, _turn)) = lab() else { return };
    let program = "import json, os, sys, time; print(os.getpid(), flush=True); time.sleep(60)";
    for signal in [Signal::SIGKILL, Signal::SIGSEGV, Signal::SIGTERM, Signal::SIGINT] {
        let mut pyrun = lab.pyrun_by("direct");
        pyrun.args(["--image", IMAGE, "-c", program]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = pyrun.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), child.id().to_string());
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        assert_eq!(end_of(&mut child).unwrap().signal(), Some(signal as i32));
        nothing_is_left(lab);
    }
}

/// Reaps a child that has ended, if there is one.
fn wait_for_any() -> bool {
    matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status.pid().is_some())
}

#[test]
fn killing_pyrun_at_any_moment_leaves_no_process() {
    let Some((lab, _turn)) = lab() else { return };
    let program = "import json, time; time.sleep(60)";
    for step in 0..40 {
        let mut child = pyrun(lab).args(["--image", IMAGE, "-c", program]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(step));
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).unwrap();
        end_of(&mut child).unwrap();
    }
    // Sometimes a CRIU waits for ever for a program that has died under it.
    let start = Instant::now();
    assert!(eventually(|| {
        while wait_for_any() {}
        let left = children();
        if start.elapsed() > Duration::from_secs(5) {
            for (criu, _) in left.iter().filter(|(_, name)| name.starts_with("criu")) {
                let _ = kill(Pid::from_raw(*criu), Signal::SIGKILL);
            }
        }
        left.is_empty() && processes_of(&lab.store).is_empty()
    }));
    // Nobody could remove what a restore was being made of.
    ground().remove_leftovers();
    assert_eq!(lab.hit(&["-c", "import json; print(1)"]).success(), "1\n");
}

#[test]
fn a_program_that_leaves_a_process_behind() {
    let Some((lab, _turn)) = lab() else { return };
    // As with plain Python, it lives on, and nobody waits for it.
    let program = "import json, subprocess; print(subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)";
    let start = Instant::now();
    let pid = lab.hit(&["-c", program]).success().trim().parse().unwrap();
    assert!(start.elapsed() < Duration::from_secs(30));
    let pid = Pid::from_raw(pid);
    kill(pid, Signal::SIGTERM).unwrap();
    waitpid(pid, None).unwrap();
    nothing_is_left(lab);
}

#[test]
fn processes_of_one_image_share_its_memory() {
    let Some((lab, _turn)) = lab() else { return };
    let program = "import json, sys; print(1, flush=True); sys.stdin.read()";
    let mut alive: Vec<_> = (0..10)
        .map(|_| {
            let mut command = pyrun(lab);
            command
                .args(["--image", IMAGE, "-c", program])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let mut memory = Vec::new();
    for child in &mut alive {
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    }
    for child in &alive {
        let path = format!("/proc/{}/task/{}/children", child.id(), child.id());
        let mut program = (!common::by_criu()).then_some(child.id());
        // For a moment CRIU is a child as well.
        assert!(eventually(|| {
            let below = || std::fs::read_to_string(&path).unwrap().trim().parse().ok();
            program = program.or_else(below);
            program.is_some()
        }));
        let program = program.unwrap();
        let text = std::fs::read_to_string(format!("/proc/{program}/smaps_rollup")).unwrap();
        let pss = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
        memory.push(pss.trim().trim_end_matches(" kB").parse::<u64>().unwrap());
    }
    for mut child in alive {
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
    memory.sort_unstable();
    assert!(memory[5] < 20_000, "kB each: {memory:?}");
    nothing_is_left(lab);
}

#[test]
fn pyrun_within_pyrun() {
    let Some((lab, _turn)) = lab() else { return };
    let before = lab.uses();
    let pyrun = common::binary("pyrun");
    // Each engine within each.
    let inner = "import json, os; print(os.getpid() != os.getppid(), json.dumps(3))";
    let engines = ["direct", "criu"];
    for (at, (outer, within)) in
        engines.iter().flat_map(|outer| engines.map(|within| (outer, within))).enumerate()
    {
        let program = format!(
            "import json, subprocess; print(subprocess.run([{pyrun:?}, '--engine', {within:?}, '-c', {inner:?}], capture_output=True, text=True))"
        );
        let output = common::run(lab.pyrun_by(outer).args(["-c", &program]));
        let text = output.success();
        assert!(text.contains("stdout='True 3\\n', stderr=''"), "{outer}, {within}: {text}");
        assert_eq!(lab.uses(), before + 2 * (at as u64 + 1), "{outer}, {within}");
        nothing_is_left(lab);
    }
}
