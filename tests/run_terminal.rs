//! Programs from an image on a real terminal: keys, job control, window size.
//!
//! A shell with job control leads the session, as it does where a person sits. Every
//! scenario is played with plain Python first, which shows that the test is right.

mod common;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use common::{IMAGE, Lab, binary, end_of, eventually, ground, labs, processes_of};
use nix::pty::{Winsize, openpty};

fn all() -> &'static [Lab] {
    static LABS: OnceLock<Vec<Lab>> = OnceLock::new();
    LABS.get_or_init(|| labs(common::three_pythons(), "import json, signal, os, threading"))
}

/// Plays a scenario with plain Python and with each image.
fn play(scenario: impl Fn(&mut Terminal)) {
    if !common::criu() {
        return;
    }
    for lab in all() {
        let _turn = lab.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        scenario(&mut Terminal::new(lab, "python", lab.python.path.to_str().unwrap()));
        let before = lab.uses();
        let engine = common::engine();
        let pyrun = format!("{} --engine {engine} --image {IMAGE}", binary("pyrun").display());
        scenario(&mut Terminal::new(lab, "pyrun", &pyrun));
        assert!(lab.uses() > before, "all of them were misses");
        assert!(
            eventually(|| processes_of(&lab.store).is_empty()),
            "{:?}",
            processes_of(&lab.store)
        );
    }
}

/// A terminal with a shell on it.
struct Terminal {
    shell: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    /// How much of the screen has been looked at.
    seen: usize,
    side: String,
    slave: PathBuf,
    place: PathBuf,
}

impl Terminal {
    fn new(lab: &Lab, side: &str, program: &str) -> Self {
        let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let slave = nix::unistd::ttyname(&pty.slave).unwrap();
        let mut command = Command::new("setsid");
        let plain = lab.plain();
        command.args(["--ctty", "bash", "--norc", "--noprofile", "--noediting", "-i"]);
        command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let place = ground().dir("terminal");
        command.env("P", program).env("PS1", "$ ").env("HISTFILE", "").current_dir(&place);
        command.stdin(pty.slave.try_clone().unwrap());
        command.stdout(pty.slave.try_clone().unwrap());
        let shell = command.stderr(pty.slave).spawn().unwrap();
        let screen = Arc::new(Mutex::new(Vec::new()));
        let mut master = File::from(pty.master);
        let keyboard = master.try_clone().unwrap();
        let shown = Arc::clone(&screen);
        // Ends with an error when the last process has left the terminal.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = master.read(&mut bytes) {
                shown.lock().unwrap().extend_from_slice(&bytes[..length]);
            }
        });
        let side = format!("{side} {}", lab.python.label);
        let mut terminal = Self { shell, keyboard, screen, seen: 0, side, slave, place };
        terminal.line(
            "stty -echo; set -m; bind 'set enable-bracketed-paste off' 2>/dev/null; echo star''ted",
        );
        terminal.expect("started\r\n");
        terminal
    }

    /// Presses keys, no sooner after what was seen last than a person could: a program is
    /// not yet waiting when it has just said that it will.
    fn keys(&mut self, keys: &str) {
        std::thread::sleep(Duration::from_millis(100));
        self.type_ahead(keys);
    }

    fn type_ahead(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Types a line for the shell or the program.
    fn line(&mut self, line: &str) {
        self.type_ahead(&format!("{line}\n"));
    }

    /// Puts a program into a file and runs it in the foreground.
    fn program(&mut self, text: &str) {
        self.script(text);
        self.line("$P program.py");
    }

    fn script(&mut self, text: &str) {
        std::fs::write(self.place.join("program.py"), text).unwrap();
    }

    /// Waits for a text to appear after what was waited for last; gives what is before it.
    #[track_caller]
    fn expect(&mut self, wanted: &str) -> String {
        let mut found = None;
        let appears = eventually(|| {
            let screen = self.screen.lock().unwrap();
            let new = String::from_utf8_lossy(&screen[self.seen..]).into_owned();
            found = new.find(wanted).map(|at| (new[..at].to_owned(), at + wanted.len()));
            found.is_some()
        });
        let screen = String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned();
        assert!(appears, "{}: no {wanted:?} on the screen:\n{screen}", self.side);
        let (before, length) = found.unwrap();
        self.seen += length;
        before
    }

    /// The status that the shell saw.
    #[track_caller]
    fn status(&mut self, wanted: i32) {
        self.line("echo status $?.");
        self.answers("status ", &wanted.to_string());
    }

    /// Waits for a question's text; what follows up to a full stop must be the answer.
    #[track_caller]
    fn answers(&mut self, question: &str, wanted: &str) {
        let before = self.expect(question);
        let answer = self.expect(".");
        assert_eq!(answer, wanted, "{}: {before}", self.side);
    }

    fn resize(&self, rows: u16, columns: u16) {
        // In one step: stty changes rows and columns one after the other.
        let resize = "import fcntl, struct, sys, termios\n\
                      size = struct.pack('HHHH', int(sys.argv[2]), int(sys.argv[3]), 0, 0)\n\
                      fcntl.ioctl(open(sys.argv[1]), termios.TIOCSWINSZ, size)";
        let status = Command::new("python3")
            .args(["-c", resize])
            .arg(&self.slave)
            .args([rows.to_string(), columns.to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// Makes the kernel do what it does when a terminal is closed, as only root can.
    fn hang_up(&self) {
        let hang_up = "import fcntl, os, sys\n\
                       TIOCVHANGUP = 0x5437\n\
                       fcntl.ioctl(os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY), TIOCVHANGUP)";
        let status = Command::new("python3").args(["-c", hang_up]).arg(&self.slave).status();
        assert!(status.unwrap().success());
    }

    fn shell_is_alive(&self) -> bool {
        Path::new(&format!("/proc/{}", self.shell.id())).exists()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.shell_is_alive() {
            let _ = self.keyboard.write_all(b"\x04exit\nexit\n");
        }
        let ended = end_of(&mut self.shell);
        if !std::thread::panicking() {
            assert!(ended.is_some(), "{}: the shell does not end", self.side);
        }
    }
}

#[test]
fn it_is_a_terminal() {
    play(|terminal| {
        terminal.program(
            "import os, sys\n\
             print(*(s.isatty() for s in (sys.stdin, sys.stdout, sys.stderr)), sys.stdout.line_buffering, os.ttyname(0) == os.ttyname(2))\n\
             print(os.get_terminal_size().columns, os.tcgetpgrp(0) == os.getpgrp(), open('/dev/tty').isatty())\n\
             print(os.getppid() > 1, input('name? '))\n",
        );
        terminal.expect("True True True True True\r\n100 True True\r\n");
        terminal.expect("name? ");
        terminal.line("somebody");
        terminal.expect("True somebody\r\n");
        terminal.status(0);
    });
}

#[test]
fn end_of_input() {
    play(|terminal| {
        terminal.program("import sys\nprint('read')\nprint(len(sys.stdin.read()))");
        terminal.expect("read\r\n");
        terminal.line("abc");
        terminal.keys("\x04");
        terminal.expect("4\r\n");
        terminal.status(0);
    });
}

#[test]
fn interrupt_key() {
    play(|terminal| {
        terminal.program("import time\nprint('sleeping')\ntime.sleep(60)");
        terminal.expect("sleeping\r\n");
        terminal.keys("\x03");
        terminal.expect("KeyboardInterrupt");
        terminal.expect("$ ");
        terminal.status(130);

        // One key is one interrupt, not one from the terminal and one passed on.
        terminal.program(
            "import time\nfor n in range(2):\n    try:\n        print('sleeping', n)\n        time.sleep(1 if n else 60)\n    except KeyboardInterrupt:\n        print('interrupted', n)\nprint('over')",
        );
        terminal.expect("sleeping 0\r\n");
        terminal.keys("\x03");
        let between = terminal.expect("over\r\n");
        assert!(
            between.contains("interrupted 0") && !between.contains("interrupted 1"),
            "{between}"
        );
        terminal.status(0);

        terminal.program("import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('sleeping')\ntime.sleep(.3)\nprint('survived')");
        terminal.expect("sleeping\r\n");
        terminal.keys("\x03");
        terminal.expect("survived\r\n");
        terminal.status(0);

        // A shell script ends with the program that was interrupted.
        terminal.script("import time\nprint('sleeping')\ntime.sleep(60)");
        terminal.line("bash -c '$P program.py; echo not reached'");
        terminal.expect("sleeping\r\n");
        terminal.keys("\x03");
        let after = terminal.expect("$ ");
        assert!(!after.contains("not reached"), "{after}");
        terminal.status(130);
    });
}

#[test]
fn interrupt_while_reading() {
    play(|terminal| {
        terminal.program(
            "try:\n    input('name? ')\nexcept KeyboardInterrupt:\n    print('interrupted')",
        );
        terminal.expect("name? ");
        terminal.keys("\x03");
        terminal.expect("interrupted\r\n");
        terminal.status(0);
    });
}

#[test]
fn quit_key() {
    play(|terminal| {
        terminal.line("ulimit -c 0");
        terminal.program("import time\nprint('sleeping')\ntime.sleep(60)");
        terminal.expect("sleeping\r\n");
        terminal.keys("\x1c");
        terminal.expect("Quit");
        terminal.status(131);
    });
}

#[test]
fn suspend_and_continue() {
    play(|terminal| {
        terminal.program(
            "import sys, time\nprint('reading')\nfor line in sys.stdin: print('line', line.strip())\nprint('over')",
        );
        terminal.expect("reading\r\n");
        for round in ["one", "two"] {
            terminal.keys("\x1a");
            terminal.expect("Stopped");
            terminal.expect("$ ");
            terminal.line("jobs -s | grep -c program.py; echo the shell has the terminal");
            terminal.expect("1\r\nthe shell has the terminal\r\n");
            terminal.line("fg");
            terminal.expect("program.py\r\n");
            terminal.line(round);
            terminal.expect(&format!("line {round}\r\n"));
        }
        terminal.keys("\x04");
        terminal.expect("over\r\n");
        terminal.status(0);
    });
}

#[test]
fn suspended_program_stands_still_and_goes_on_in_the_background() {
    play(|terminal| {
        terminal.program(
            "import time, os, signal\n\
             continued = []\n\
             def note(*_):\n    continued.append(1); print('continued', flush=True)\n\
             signal.signal(signal.SIGCONT, note)\n\
             print('counting')\n\
             while not os.path.exists('enough'):\n    time.sleep(.02); open('count', 'a').write('.')\n\
             print('over, continued', len(continued))",
        );
        terminal.expect("counting\r\n");
        terminal.keys("\x1a");
        terminal.expect("Stopped");
        terminal.line("a=$(wc -c <count); sleep .3; b=$(wc -c <count); echo moved $((b - a)).");
        terminal.answers("moved ", "0");
        terminal.line("bg");
        terminal.expect("continued\r\n");
        terminal.line(
            "sleep .3; a=$(wc -c <count); sleep .3; b=$(wc -c <count); ((b > a)) && echo it moves",
        );
        terminal.expect("it moves\r\n");
        terminal.line("touch enough; wait; echo status of the job $?.");
        // Once: by the shell, or by whoever stands between, and not by both.
        terminal.expect("over, continued 1\r\n");
        terminal.answers("status of the job ", "0");
    });
}

#[test]
fn stops_itself() {
    play(|terminal| {
        terminal
            .program("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nprint('continued')");
        terminal.expect("Stopped");
        terminal.line("fg");
        terminal.expect("continued\r\n");
        terminal.status(0);
    });
}

#[test]
fn killed_while_stopped() {
    play(|terminal| {
        terminal.program("import time\nprint('sleeping')\ntime.sleep(60)");
        terminal.expect("sleeping\r\n");
        terminal.keys("\x1a");
        terminal.expect("Stopped");
        terminal.line("kill %1; sleep .3; true");
        terminal.expect("Terminated");
    });
}

#[test]
fn background_program_must_not_read() {
    play(|terminal| {
        terminal.script("print('got', input())");
        terminal.line(
            "$P program.py & sleep .1; while jobs -r | grep -q program; do sleep .02; done; jobs",
        );
        terminal.expect("Stopped");
        terminal.line("fg");
        terminal.expect("program.py\r\n");
        terminal.line("a line");
        terminal.expect("got a line\r\n");
        terminal.status(0);
    });
}

#[test]
fn background_program_keeps_the_shell_usable() {
    play(|terminal| {
        terminal.script("import os, time\nwhile not os.path.exists('enough'): time.sleep(.02)\nprint('over')\nexit(4)");
        terminal.line("$P program.py & echo in the background");
        terminal.expect("in the background\r\n");
        terminal.line("touch enough; wait $!; echo status of the job $?.");
        terminal.expect("over\r\n");
        terminal.answers("status of the job ", "4");
        // Ctrl-C is for the foreground, not for the job.
        terminal.line("rm enough; $P program.py & echo in the foreground; sleep 60");
        terminal.expect("in the foreground\r\n");
        terminal.keys("\x03");
        terminal.line("touch enough; wait $!; echo status of the job $?.");
        terminal.expect("over\r\n");
        terminal.answers("status of the job ", "4");
    });
}

#[test]
fn window_size() {
    play(|terminal| {
        terminal.program(
            "import os, signal, time\n\
             def f(*a): os.write(1, b'now %d %d\\n' % os.get_terminal_size())\n\
             signal.signal(signal.SIGWINCH, f)\nprint('before', *os.get_terminal_size())\nprint(input())\nprint('over')",
        );
        terminal.expect("before 100 30\r\n");
        terminal.resize(40, 120);
        terminal.expect("now 120 40\r\n");
        terminal.resize(20, 70);
        terminal.expect("now 70 20\r\n");
        terminal.line("");
        let between = terminal.expect("over\r\n");
        assert!(!between.contains("now"), "each change is told once: {between}");
        terminal.status(0);
    });
}

#[test]
fn terminal_that_goes_away() {
    play(|terminal| {
        terminal.program("import os, time\nopen('pid', 'w').write(str(os.getpid()))\nprint('sleeping')\ntime.sleep(60)");
        terminal.expect("sleeping\r\n");
        let pid = std::fs::read_to_string(terminal.place.join("pid")).unwrap();
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(terminal.shell.id().cast_signed()),
            nix::sys::signal::Signal::SIGHUP,
        );
        let process = PathBuf::from(format!("/proc/{pid}"));
        assert!(eventually(|| !process.exists()), "{}: the program lives on", terminal.side);
        assert!(end_of(&mut terminal.shell).is_some());
    });
}

#[test]
fn terminal_that_goes_away_from_its_leader() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can hang a terminal up");
        return;
    }
    play(|terminal| {
        terminal.script("import os, time\nopen('pid', 'w').write(str(os.getpid()))\nprint('sleeping', os.getsid(0) in (os.getpid(), os.getppid()))\ntime.sleep(60)");
        terminal.line("exec $P program.py");
        terminal.expect("sleeping True\r\n");
        let pid = std::fs::read_to_string(terminal.place.join("pid")).unwrap();
        terminal.hang_up();
        assert!(end_of(&mut terminal.shell).is_some(), "{}: the leader lives on", terminal.side);
        let process = PathBuf::from(format!("/proc/{pid}"));
        assert!(eventually(|| !process.exists()), "{}: the program lives on", terminal.side);
    });
}

#[test]
fn terminal_settings_are_the_programs() {
    play(|terminal| {
        terminal.program(
            "import sys, termios, tty\nold = termios.tcgetattr(0)\nprint('press')\ntty.setraw(0)\n\
             key = sys.stdin.read(1)\ntermios.tcsetattr(0, termios.TCSADRAIN, old)\nprint('key', repr(key))",
        );
        terminal.expect("press\r\n");
        // In raw mode this is a character, not an interrupt.
        terminal.keys("\x03");
        terminal.expect("key '\\x03'\r\n");
        terminal.status(0);
    });
}

#[test]
fn pipelines_in_the_foreground() {
    play(|terminal| {
        terminal.script("import sys\nfor line in sys.stdin: print(line.strip().upper(), sys.stdin.isatty(), sys.stdout.isatty())");
        terminal.line("printf 'b\\na\\n' | $P program.py | sort; echo ${PIPESTATUS[@]}");
        terminal.expect("A False False\r\nB False False\r\n0 0 0\r\n");
        terminal.line("$P -c 'print(1 / 0)' 2>&1 | tail -1");
        terminal.expect("ZeroDivisionError: division by zero\r\n");
        terminal.script("import time\nprint('sleeping', flush=True)\ntime.sleep(60)");
        terminal.line("$P program.py | cat");
        terminal.expect("sleeping\r\n");
        terminal.keys("\x03");
        terminal.expect("KeyboardInterrupt");
        terminal.expect("$ ");
    });
}

#[test]
fn prompts_are_plain_python() {
    if !common::criu() {
        return;
    }
    for lab in all() {
        let mut terminal =
            Terminal::new(lab, "pyrun", &format!("{} --image {IMAGE}", binary("pyrun").display()));
        terminal.line("PYTHON_BASIC_REPL=1 $P -q");
        terminal.expect("pyrun: miss: interactive use\r\n");
        terminal.expect(">>> ");
        terminal.line("print(6 * 7)");
        terminal.expect("42\r\n");
        terminal.line("exit(3)");
        terminal.status(3);
        terminal.line("PYTHON_BASIC_REPL=1 $P -i -c 'x = 5'");
        terminal.expect("pyrun: miss: interactive use\r\n");
        terminal.expect(">>> ");
        terminal.line("print('x is', x); exit()");
        terminal.expect("x is 5\r\n");
        terminal.status(0);
    }
}
