//! What a run that found no image does for those to come: it asks for an image to be built,
//! or tells the user what to build.
//!
//! It does neither itself. `pyimg consider` looks at the program, and builds, in a process of
//! its own, which is nobody's child: started twice over, in a session of its own, with none of
//! the caller's descriptors, so that neither the program nor who waits for it can notice it.
//! What it finds is in the program's memory ([`Outlook`]) at the next run. Here is only decided
//! whether to start it, which costs a run some hundred microseconds, and a miss on which
//! nothing is to be done a few; whatever is in doubt is not done, and silently.

use std::ffi::{CString, OsStr, OsString};
use std::io::IsTerminal as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{
    AccessFlags, access, execve, getegid, geteuid, getgid, getpid, getppid, getuid, setsid,
};

use super::command_line::{Program as Source, Run};
use super::miss::Miss;
use super::remembered::Counted;
use super::say;
use crate::config::{Config, Policy};
use crate::key::evidence::Surroundings;
use crate::key::interpreter::Interpreter;
use crate::key::python_env::with_changes;
use crate::key::recipe::Recipe;
use crate::key::which;
use crate::store::{self, Outlook, Program, ProgramId, Verdict};

/// Imports that take less are not worth an image, in nanoseconds.
pub const WORTHWHILE_NS: u64 = 100_000_000;

/// Misses in a row after which the user is told what would help, and before which the
/// program has been looked at.
pub const TOLD_AFTER: u32 = 3;
const LOOKED_AT_AFTER: u32 = 2;

/// Builds for one program within an hour after which no more is tried: what its image depends
/// on changes again and again.
const BUILDS_PER_HOUR: usize = 5;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How often, and how many times, what is left behind looks whether its parent is gone.
const PARENT_LOOK: Duration = Duration::from_millis(1);
const PARENT_LOOKS: u32 = 10_000;

/// Numbers of the resource limits that would be a build's as well: processor time, size of
/// files, of the heap, of all memory.
const LIMITS: [usize; 4] = [
    libc::RLIMIT_CPU as usize,
    libc::RLIMIT_FSIZE as usize,
    libc::RLIMIT_DATA as usize,
    libc::RLIMIT_AS as usize,
];

/// A run that is about to be plain Python.
#[derive(Debug)]
pub struct Missed<'a> {
    /// What is to run.
    pub run: &'a Run,
    /// With which interpreter.
    pub interpreter: &'a Interpreter,
    /// Where.
    pub cwd: &'a Path,
    /// Why it found no image.
    pub miss: &'a Miss,
    /// The image that would have been taken, had nothing changed since it was built.
    pub stale: Option<&'a str>,
    /// What is remembered of the program, if this miss counts.
    pub counted: Option<Counted>,
}

impl Missed<'_> {
    /// Whether there is nothing to be done, nor will be at the next miss.
    pub fn is_idle(&self) -> bool {
        let Some(Counted { program, .. }) = &self.counted else {
            return !matches!(self.miss, Miss::NoStore(_));
        };
        let verdict = program.outlook.as_ref().map(|outlook| outlook.verdict);
        let is_unfit = self.stale.is_some() || matches!(self.miss, Miss::Evidence(_));
        match Config::read().map(|config| config.build) {
            Ok(Policy::Off) => program.misses >= TOLD_AFTER,
            Ok(Policy::Ask) if verdict == Some(Verdict::Advised) && !program.told => false,
            Ok(_) => {
                // What has begun will soon end.
                !matches!(verdict, None | Some(Verdict::Begun))
                    && !is_due(program, store::now_ns(), is_unfit)
            }
            Err(_) => false,
        }
    }

    /// Does what the user has configured.
    pub fn follow_up(self) {
        // Without a store nothing is remembered, and it is not for a run to make one.
        let is_first = matches!(self.miss, Miss::NoStore(_));
        if self.counted.is_none() && !is_first {
            return;
        }
        let Ok(config) = Config::read() else { return };
        match (config.build, &self.counted) {
            (Policy::Off, _) | (Policy::Ask, None) => {}
            (Policy::Ask, Some(counted)) => {
                tell(counted);
                if counted.program.misses >= LOOKED_AT_AFTER {
                    self.look_at(&counted.id, &counted.program);
                }
            }
            (Policy::Auto, Some(counted)) => {
                // Few texts after -c are ever run again.
                let is_text = matches!(self.run.program, Source::Command(_));
                if counted.program.misses >= if is_text { LOOKED_AT_AFTER } else { 1 } {
                    self.look_at(&counted.id, &counted.program);
                }
            }
            (Policy::Auto, None) => {
                let Some(id) = ProgramId::of(self.run, self.interpreter, self.cwd) else { return };
                let program = Program::new(self.run, self.interpreter, self.cwd);
                self.look_at(&id, &program);
            }
        }
    }

    /// Has the program looked at, unless that was done or cannot be done here.
    fn look_at(&self, id: &ProgramId, program: &Program) {
        // Where looking never comes to anything, it is tried ever more seldom.
        let is_turn = program.outlook.is_some() || program.misses < 4;
        let is_elsewhere =
            matches!(self.miss, Miss::Evidence(changed) if changed.is_of_surroundings());
        if program.recipe.is_null()
            || !(is_turn || program.misses.is_power_of_two())
            || !is_due(program, store::now_ns(), self.stale.is_some() || is_elsewhere)
            || !is_possible()
        {
            return;
        }
        let Some(pyimg) = pyimg() else { return };
        let Ok(memory) = serde_json::to_string(program) else { return };
        let mut arguments: Vec<OsString> =
            ["consider", "--program", &id.hex(), "--memory", &memory].map(OsString::from).into();
        if let Some(stale) = self.stale {
            arguments.extend(["--stale", stale].map(OsString::from));
        }
        arguments.extend(is_elsewhere.then(|| "--elsewhere".into()));
        let terminals = (0..).zip(Surroundings::own_terminals()).filter(|(_, is_one)| *is_one);
        arguments.extend(terminals.map(|(number, _)| format!("--terminals={number}").into()));
        start(pyimg, arguments, &self.interpreter.environment);
    }
}

/// Tells the user what would help, once, if somebody is there to read it.
fn tell(counted: &Counted) {
    let Counted { records, id, program } = counted;
    let Some(outlook) = &program.outlook else { return };
    let takes = program.import_ns.unwrap_or_default();
    let is_due = !program.told
        && program.misses >= TOLD_AFTER
        && outlook.verdict == Verdict::Advised
        && !outlook.command.is_empty()
        && takes >= WORTHWHILE_NS
        && outlook.state == state_of(program);
    if !is_due || !std::io::stderr().is_terminal() {
        return;
    }
    records.put_program(id, &Program { told: true, ..program.clone() });
    let takes = takes / 1_000_000;
    let help = match &outlook.renews {
        Some(image) => format!("its image {image} is stale; to build it again: "),
        None => "to start it from an image: ".to_owned(),
    };
    let what = &program.what;
    say(&format!("pyrun: hint: {what}: imports take about {takes} ms; {help}{}", outlook.command));
}

/// Whether there is anything new to find out about a program. `is_unfit` says that its image had
/// been good until now, or is in other surroundings.
pub fn is_due(program: &Program, now_ns: i64, is_unfit: bool) -> bool {
    let Some(outlook) = &program.outlook else { return true };
    let ago = |span: Duration| now_ns.saturating_sub(span.as_nanos() as i64);
    if outlook.builds_since(ago(HOUR)) >= BUILDS_PER_HOUR {
        return false;
    }
    let quiet = match outlook.verdict {
        // What has begun may have been killed.
        Verdict::Begun => 20 * MINUTE,
        Verdict::Built if is_unfit => return true,
        Verdict::Built | Verdict::Disturbed => MINUTE,
        Verdict::Advised | Verdict::NotWorthIt | Verdict::NoHelp | Verdict::Failed => DAY,
    };
    outlook.at_ns <= ago(quiet)
        || outlook.at_ns > now_ns
        || (outlook.at_ns > 0 && outlook.verdict != Verdict::Begun && is_another(program, outlook))
}

fn is_another(program: &Program, outlook: &Outlook) -> bool {
    outlook.state != state_of(program)
}

/// The state of the files that a program is first of all: its interpreter and its script. What
/// was found out about it holds as long as this stays the same.
pub fn state_of(program: &Program) -> u64 {
    let mut hasher = blake3::Hasher::new();
    let script = match program.recipe() {
        Some(Recipe::Script { script }) => Some(script),
        _ => None,
    };
    for path in [Some(PathBuf::from(&program.executable)), script].into_iter().flatten() {
        if let Ok(found) = path.metadata() {
            for number in
                [found.size(), found.ino(), found.mtime() as u64, found.mtime_nsec() as u64]
            {
                hasher.update(&number.to_le_bytes());
            }
        }
        hasher.update(b"\0");
    }
    let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Whether a process may be left behind here that builds an image with profit.
fn is_possible() -> bool {
    // A process that is nobody's child becomes that of whoever adopts such: not this program.
    let adopts = getpid().as_raw() == 1 || nix::sys::prctl::get_child_subreaper().unwrap_or(true);
    // The end of our own child is not to be seen by the program.
    let notices = SigSet::thread_get_mask().map_or(true, |mask| mask.contains(Signal::SIGCHLD));
    let is_limited = crate::sys::resource_limits().map_or(true, |limits| {
        LIMITS.iter().any(|&number| limits.get(number).is_none_or(|limit| limit.0 != u64::MAX))
    });
    let is_somebody_else = getuid() != geteuid() || getgid() != getegid();
    if adopts || notices || is_limited || is_somebody_else {
        return false;
    }
    let Ok(dir) = store::default_dir() else { return false };
    // The store, or the nearest directory in which it would be made.
    let Some(dir) = dir.ancestors().find(|dir| dir.exists()) else { return false };
    let is_own = dir.metadata().is_ok_and(|found| found.uid() == geteuid().as_raw());
    is_own && access(dir, AccessFlags::W_OK).is_ok()
}

/// The `pyimg` beside this `pyrun`, else the one on `PATH`.
fn pyimg() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let beside = own.with_file_name("pyimg");
    if which::executable(&beside).is_some() {
        return Some(beside);
    }
    let path = std::env::var_os("PATH");
    which::all(OsStr::new("pyimg"), path.as_deref())
        .map(|(path, _)| path)
        .find(|path| path.is_absolute())
}

/// Starts a program that nobody waits for, and that nobody can tell to have come from here.
fn start(program: PathBuf, arguments: Vec<OsString>, changes: &[(OsString, OsString)]) {
    let c_string = |text: OsString| CString::new(text.into_vec()).ok();
    let argv = std::iter::once(program.clone().into_os_string()).chain(arguments).map(c_string);
    let environment = with_changes(std::env::vars_os(), changes).into_iter();
    let environment = environment.map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        c_string(name)
    });
    let (Some(program), Some(argv), Some(environment)) = (
        c_string(program.into_os_string()),
        argv.collect::<Option<Vec<CString>>>(),
        environment.collect::<Option<Vec<CString>>>(),
    ) else {
        return;
    };
    // What others have locked would stay so in a copy of this process.
    if std::fs::read_dir("/proc/self/task").map_or(2, Iterator::count) != 1 {
        return;
    }
    match crate::sys::fork_into(0) {
        Ok(Some(child)) => _ = crate::sys::end_of_child(child),
        Err(_) => {}
        Ok(None) => {
            // In no moment is it in the program's process group or has it a file of it open.
            let detached = setsid().is_ok() && crate::sys::forget_caller().is_ok();
            let parent = getpid();
            if detached && matches!(crate::sys::fork_into(0), Ok(None)) && setsid().is_ok() {
                // It is nobody's child as soon as this parent is gone, which is about to end.
                for _ in 0..PARENT_LOOKS {
                    if getppid() != parent {
                        break;
                    }
                    std::thread::sleep(PARENT_LOOK);
                }
                let _ = execve(&program, &argv, &environment);
            }
            crate::sys::exit_now(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000_000_000;

    fn program(verdict: Verdict, age: Duration) -> Program {
        let at_ns = NOW - age.as_nanos() as i64;
        let mut program = Program { executable: "/proc/self/exe".into(), ..Program::default() };
        let state = state_of(&program);
        program.outlook = Some(Outlook { at_ns, state, verdict, ..Outlook::default() });
        program
    }

    #[test]
    fn what_was_found_holds_for_a_while() {
        let due = |verdict, age| is_due(&program(verdict, age), NOW, false);
        assert!(is_due(&Program::default(), NOW, false));
        assert!(!due(Verdict::Begun, MINUTE) && due(Verdict::Begun, HOUR));
        for verdict in [Verdict::Built, Verdict::Disturbed] {
            assert!(!due(verdict, MINUTE / 2) && due(verdict, 2 * MINUTE), "{verdict:?}");
        }
        for verdict in [Verdict::Advised, Verdict::NotWorthIt, Verdict::NoHelp, Verdict::Failed] {
            assert!(!due(verdict, 23 * HOUR) && due(verdict, 25 * HOUR), "{verdict:?}");
        }
        let mut ahead = program(Verdict::Failed, MINUTE);
        ahead.outlook.as_mut().unwrap().at_ns = NOW + 1;
        assert!(is_due(&ahead, NOW, false), "the clock was set back");
    }

    #[test]
    fn another_state_counts_at_once() {
        let mut changed = program(Verdict::Failed, MINUTE);
        changed.outlook.as_mut().unwrap().state ^= 1;
        assert!(is_due(&changed, NOW, false));
        let mut begun = program(Verdict::Begun, MINUTE);
        begun.outlook.as_mut().unwrap().state ^= 1;
        assert!(!is_due(&begun, NOW, false), "somebody is at it");
        let stale = program(Verdict::Built, MINUTE / 2);
        assert!(is_due(&stale, NOW, true));
    }

    #[test]
    fn what_changes_all_the_time_is_left_alone() {
        let mut program = program(Verdict::Built, MINUTE / 2);
        let outlook = program.outlook.as_mut().unwrap();
        (0..5).for_each(|number| outlook.add_build(NOW - number * MINUTE.as_nanos() as i64));
        assert!(!is_due(&program, NOW, true));
        assert!(is_due(&program, NOW + 2 * HOUR.as_nanos() as i64, true));
    }

    #[test]
    fn the_state_is_that_of_interpreter_and_script() {
        let dir = tempfile::tempdir().unwrap();
        let (python, script) = (dir.path().join("python"), dir.path().join("x.py"));
        let recipe = Recipe::Script { script: script.clone() };
        let program = Program {
            executable: python.display().to_string(),
            recipe: serde_json::to_value(recipe).unwrap(),
            ..Program::default()
        };
        let mut states = vec![state_of(&program)];
        for (path, text) in [(&python, "a"), (&script, "a"), (&script, "ab"), (&python, "abc")] {
            std::fs::write(path, text).unwrap();
            states.push(state_of(&program));
            assert_eq!(states.last(), Some(&state_of(&program)));
        }
        states.sort_unstable();
        states.dedup();
        assert_eq!(states.len(), 5);
    }
}
