//! The direct engine: `pyrun` becomes the program.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use common::{IMAGE, Lab, Output, ground, labs, pythons, run};

/// Modules with state of their own, and numpy with its threads.
const RECIPE: &str = "\
import asyncio, json, logging, os, ssl, subprocess, sys, threading
try:
    import numpy
except ImportError:
    pass";

fn all() -> &'static [Lab] {
    static LABS: OnceLock<Vec<Lab>> = OnceLock::new();
    LABS.get_or_init(|| labs(pythons().iter().collect(), RECIPE))
}

fn one() -> &'static Lab {
    &all()[all().len() - 1]
}

/// `pyrun` with this engine.
fn pyrun(lab: &Lab, engine: &str) -> Command {
    let mut command = lab.pyrun();
    command.args(["--image", IMAGE, "--engine", engine]).env("PYIMG_LOG", "debug");
    command
}

/// Runs it directly.
#[track_caller]
fn direct(lab: &Lab, arguments: &[&str]) -> Output {
    taken_out(run(pyrun(lab, "direct").args(arguments)), "pyrun: hit: image (direct)")
}

/// What it said without the line of the log, which has to be there.
#[track_caller]
fn taken_out(mut output: Output, line: &str) -> Output {
    let text = output.stderr_text();
    assert!(text.contains(&format!("{line}\n")), "{line} is not in {output:?}");
    output.stderr = text.replacen(&format!("{line}\n"), "", 1).into_bytes();
    output
}

/// The command in Bash, as the script's `"$@"`.
fn in_bash(lab: &Lab, engine: &str, script: &str, arguments: &[&str]) -> Output {
    let inner = pyrun(lab, engine);
    let mut command = Command::new("bash");
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["-c", script, "bash"]).arg(inner.get_program()).args(inner.get_args());
    run(command.args(arguments).current_dir(ground().dir("place")).stdin(Stdio::null()))
}

#[test]
fn it_is_the_same_process() {
    if !common::criu() {
        return;
    }
    let program = "import os, json; print(os.getpid(), os.getppid(), os.getpgrp(), os.getsid(0)); \
        print(open('/proc/self/comm').read().strip(), os.listdir('/proc/self/task')[0] == str(os.getpid())); \
        print(open('/proc/self/cmdline').read().split(chr(0))[-4:-1]); os.wait()";
    for lab in all() {
        let script = "echo $$ $PPID $(ps -o pgid= -o sid= $$); (sleep .3; exit 5) & exec \"$@\"";
        let output = in_bash(lab, "direct", script, &["-c", program, "one", "two words"]);
        let output = taken_out(output, "pyrun: hit: image (direct)");
        let text = output.success();
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], lines[1], "{text}");
        assert!(lines[2][0].starts_with("python") && lines[2][1] == "True", "{text}");
        assert!(text.ends_with("'one', 'two words']\n"), "{text}");
    }
}

#[test]
fn it_ends_by_itself() {
    if !common::criu() {
        return;
    }
    let lab = one();
    let ends = |code: &str| direct(lab, &["-c", &format!("import json\n{code}")]).code();
    assert_eq!(ends("raise SystemExit(7)"), 7);
    assert_eq!(ends("import os, signal; os.kill(os.getpid(), signal.SIGTERM)"), -15);
    assert_eq!(ends("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"), -9);
    assert_eq!(ends("raise KeyboardInterrupt"), -2);
    assert_eq!(ends("import os; os._exit(3)"), 3);
}

#[test]
fn nothing_is_writable_and_executable_and_nothing_of_the_launcher_is_left() {
    if !common::criu() {
        return;
    }
    let program = "import json\nfor line in open('/proc/self/maps'): print(line, end='')";
    for lab in all() {
        let maps = direct(lab, &["-c", program]).success();
        for line in maps.lines() {
            let address = u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
            let protection = line.split(' ').nth(1).unwrap();
            assert!(!(protection.contains('w') && protection.contains('x')), "{line}");
            assert!(!line.ends_with("pyrun"), "{line}");
            assert!(!(0x1000_0000_0000..0x4000_0000_0000).contains(&address), "{line}");
        }
        assert!(maps.contains("[stack]") && maps.contains("[vdso]"), "{maps}");
    }
}

#[test]
fn no_descriptor_is_left_and_none_is_lost() {
    if !common::criu() {
        return;
    }
    let program = "import os, json; print(sorted(int(n) for n in os.listdir('/proc/self/fd')))";
    let script = "exec 7</dev/null 824</dev/null; exec \"$@\"";
    let found = in_bash(one(), "direct", script, &["-c", program]);
    let found = taken_out(found, "pyrun: hit: image (direct)").success();
    let plain = in_bash(one(), "off", script, &["-c", program]);
    assert_eq!(found, plain.stdout_text());
    assert!(found.contains(" 7, ") && found.contains(" 824]"), "{found}");
}

#[test]
fn threads_go_on() {
    if !common::criu() {
        return;
    }
    let program = "import os, threading, json, numpy as np\n\
        before = len(os.listdir('/proc/self/task'))\n\
        a = np.arange(250000.).reshape(500, 500)\n\
        expected = [[sum(range(3))]]\n\
        t = [threading.Thread(target=lambda: a @ a) for _ in range(4)]\n\
        [x.start() for x in t]; [x.join() for x in t]\n\
        print(before, (np.ones((600, 600)) @ np.ones((600, 600))).sum())\n\
        names = {open(f'/proc/self/task/{n}/comm').read().strip() for n in os.listdir('/proc/self/task')}\n\
        print(len(names))";
    for lab in all().iter().filter(|lab| lab.python.numpy) {
        let text = direct(lab, &["-c", program]).success();
        let threads: usize = text.split(' ').next().unwrap().parse().unwrap();
        let processors = std::thread::available_parallelism().unwrap().get();
        assert!(threads >= processors.min(2), "{}: {text}", lab.python.label);
        assert!(text.contains(" 216000000.0\n"), "{text}");
    }
}

#[test]
fn surroundings_that_the_other_engine_refuses() {
    if !common::criu() {
        return;
    }
    let lab = one();
    let exec = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])";
    let python = lab.python.path.display();
    for (script, code, expected) in [
        (
            format!(
                "exec {python} -c 'import signal; signal.setitimer(signal.ITIMER_REAL, 50); {exec}' \"$@\""
            ),
            "import signal; print(signal.getitimer(signal.ITIMER_REAL)[0] > 1)",
            "True",
        ),
        (
            format!(
                "exec {python} -c 'import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [10]); {exec}' \"$@\""
            ),
            "import os; print({open(f'/proc/self/task/{n}/status').read().split('SigBlk:')[1].split()[0] for n in os.listdir('/proc/self/task')})",
            "{'0000000000000200'}",
        ),
        (
            "sh -c '(sleep .1; exit 3) & exec \"$@\"' sh \"$@\"".to_owned(),
            "import os; print(os.wait()[1] >> 8)",
            "3",
        ),
        (
            "sh -c 'export LISTEN_PID=$$; exec \"$@\"' sh \"$@\"".to_owned(),
            "import os; print(os.environ['LISTEN_PID'] == str(os.getpid()))",
            "True",
        ),
        (
            "exec chrt --batch 0 \"$@\"".to_owned(),
            "import os; print(os.sched_getscheduler(0))",
            "3",
        ),
        (
            "exec setarch -R \"$@\"".to_owned(),
            "print(open('/proc/self/personality').read().strip())",
            "00040000",
        ),
        ("exec setpriv --no-new-privs \"$@\"".to_owned(), "print(1)", "1"),
        (
            "ulimit -s 256; exec \"$@\"".to_owned(),
            "import threading; t = threading.Thread(target=print, args=(1,)); t.start(); t.join()",
            "1",
        ),
        ("ulimit -s unlimited; exec \"$@\"".to_owned(), "print(1)", "1"),
        ("exec unshare -Ur \"$@\"".to_owned(), "import os; print(os.getuid())", "0"),
    ] {
        let output = in_bash(lab, "direct", &script, &["-c", &format!("import json\n{code}")]);
        let output = taken_out(output, "pyrun: hit: image (direct)");
        assert_eq!(output.success(), format!("{expected}\n"), "{script}");
    }
    if common::root() {
        let script = "exec unshare -pf --mount-proc \"$@\"";
        let output = in_bash(lab, "direct", script, &["-c", "import json, os; print(os.getpid())"]);
        assert_eq!(taken_out(output, "pyrun: hit: image (direct)").success(), "1\n");
    }
}

#[test]
fn what_it_refuses_is_left_to_the_other() {
    if !common::criu() {
        return;
    }
    let lab = one();
    let program = ["-c", "import json; print(json.dumps(1))"];
    let limit = "ulimit -d 20000; exec \"$@\"";
    let refused = in_bash(lab, "direct", limit, &program);
    let text = refused.stderr_text();
    assert!(
        text.starts_with("pyrun: miss: its data of ")
            && text.contains(" is over the limit of 20480000"),
        "{text}"
    );
    assert_eq!(refused.stdout_text(), "1\n");
    // CRIU can bring back what is open as well.
    let lab = Lab::new(&lab.python, "import json, select; json.kept = select.epoll()");
    let output = run(pyrun(&lab, "auto").args(program));
    let is_open = |text: &str| text.starts_with("descriptor ") && text.ends_with(" is open");
    let said = output.stderr_text();
    let why =
        said.strip_prefix("pyrun: hit: image (criu: ").and_then(|text| text.strip_suffix(")\n"));
    assert!(why.is_some_and(is_open), "{said}");
    assert_eq!(output.stdout_text(), "1\n");
    let output = run(pyrun(&lab, "direct").args(program));
    let said = output.stderr_text();
    assert!(
        said.strip_prefix("pyrun: miss: ").is_some_and(|text| is_open(text.trim_end())),
        "{said}"
    );
    assert_eq!(output.stdout_text(), "1\n");
}

/// Whichever step fails after the point of no return, plain Python runs; and if not even that can
/// be started, it ends with a message and a status of its own.
#[test]
fn a_step_that_fails() {
    if !common::criu() {
        return;
    }
    let lab = one();
    let program =
        ["-c", "import json, sys; print(sys.argv, 'json' in sys.modules)", "a", "two words"];
    let fail = |variable: &str, step: usize| {
        let mut command = pyrun(lab, "direct");
        command.env(variable, step.to_string()).args(program);
        run(&mut command)
    };
    // Before that point it is a miss like any other.
    let text = fail("PYIMG_TEST_EARLY_STEP", 0).stderr_text();
    assert!(text.starts_with("pyrun: miss: "), "{text}");
    for variable in ["PYIMG_TEST_EARLY_STEP", "PYIMG_TEST_STEP"] {
        let mut failed = 0;
        for step in (0..).step_by(3) {
            let output = fail(variable, step);
            let said = output.stdout_text();
            assert_eq!(said, "['-c', 'a', 'two words'] True\n", "{variable}={step}: {output:?}");
            // Beyond the last nothing fails.
            if output.stderr_text().contains("no such step") {
                break;
            }
            assert_eq!(output.code(), 0, "{variable}={step}: {output:?}");
            failed += 1;
        }
        assert!(failed > 0, "{variable}");
    }
    let mut command = pyrun(lab, "direct");
    command.env("PYIMG_TEST_STEP", "5").env("PYIMG_TEST_RESCUE", "off").args(program);
    let output = run(&mut command);
    assert_eq!(output.code(), 124, "{output:?}");
    let said = "pyrun: error: the program's image could not be mapped, nor plain Python started\n";
    assert!(output.stderr_text().ends_with(said), "{output:?}");
}

#[test]
fn many_at_once_and_in_a_row() {
    if !common::criu() {
        return;
    }
    let lab = one();
    for number in 0..100 {
        let text = number.to_string();
        let program = ["-c", "import json, sys; print(json.dumps(sys.argv[1]))", &text];
        assert_eq!(direct(lab, &program).success(), format!("\"{number}\"\n"));
    }
    let program = "import json, os, sys; sys.stdin.read(); print(os.getpid())";
    let mut all = Vec::new();
    for _ in 0..100 {
        let mut command = pyrun(lab, "direct");
        command.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped());
        all.push(command.stderr(Stdio::piped()).spawn().unwrap());
    }
    let pids: BTreeSet<String> = all
        .into_iter()
        .map(|child| {
            let pid = child.id().to_string();
            let output = child.wait_with_output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), pid, "{output:?}");
            pid
        })
        .collect();
    assert_eq!(pids.len(), 100);
}

/// What the store knows of the pages that the program on this lab's shelves writes, and what its
/// last run has written down.
fn pages_known(lab: &Lab) -> (Vec<String>, usize) {
    let (mut known, mut seen) = (Vec::new(), 0);
    for shelf in fs::read_dir(lab.store.join("programs")).unwrap() {
        for file in fs::read_dir(shelf.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            match path.extension().and_then(|ending| ending.to_str()) {
                Some("pages") => known.push(fs::read_to_string(path).unwrap()),
                Some("seen") => seen += 1,
                _ => {}
            }
        }
    }
    (known, seen)
}

/// Two runs show which pages a program writes, the others have them ready; of a program that
/// writes others each time none are; and a child of it tells nothing.
#[test]
fn the_pages_that_a_program_writes_are_learnt() {
    if !common::criu() {
        return;
    }
    let image = "import json; json.held = [bytearray(b'y') * (1 << 20) for _ in range(8)]";
    let steady = "import json, os, sys; print(json.dumps(7)); sys.stdout.flush(); os.wait() if os.fork() else print('child')";
    let unsteady = "\
import json, sys
with open(sys.argv[1], 'a+') as runs:
    runs.seek(0)
    number = len(runs.read())
    runs.write('x')
for part in json.held[number * 2:number * 2 + 2]:
    part[:] = b'x' * len(part)
print(number)";
    for program in [steady, unsteady] {
        let lab = Lab::new(pythons().last().unwrap(), image);
        let counter = ground().no_file("runs");
        let (mut outputs, mut after) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            outputs.push(direct(&lab, &["-c", program, counter.to_str().unwrap()]).success());
            after.push(pages_known(&lab));
        }
        assert_eq!(after[0].0, [""; 0], "the first run knows nothing");
        assert_eq!(after[0].1, 1);
        assert!(after[1].0[0].lines().count() > 10, "{after:?}");
        assert_eq!(after[1].1, 1);
        let learnt = &after[2].0[0];
        assert!(learnt.lines().next().unwrap().contains(" 2 "), "{learnt}");
        assert_eq!(after[2].1, 0, "nothing more is to be learnt");
        assert_eq!(after[3], after[2]);
        if program == unsteady {
            assert_eq!(learnt.lines().count(), 1, "{learnt}");
            assert_eq!(outputs, ["0\n", "1\n", "2\n", "3\n"]);
        } else {
            assert!(learnt.lines().count() > 10, "{learnt}");
            assert!(outputs.iter().all(|output| output == "7\nchild\n"), "{outputs:?}");
        }
    }
}
