//! `pyrun`: runs a program from an image, or else with plain Python.
//!
//! In order: what was asked for ([`command_line`]), which interpreter that means, whether an
//! image fits ([`choice`], with [`imports`] and [`shadow`]), and then an engine ([`start`]) or
//! `exec`.
//! Any doubt on the way is a [`miss::Miss`], and a miss is the interpreter with the same
//! arguments, in this very process. After the program has started there is no way back.

mod archive;
pub mod background;
pub mod choice;
pub mod command_line;
mod decision;
pub mod explain;
pub mod imports;
pub mod miss;
mod prefetch;
pub mod program;
pub mod reach;
mod refuted;
pub mod remembered;
mod replays;
mod rescue;
pub mod shadow;
mod situation;
mod source;
mod start;

use std::ffi::{CString, OsStr, OsString};
use std::io::Write as _;
use std::ops::Range;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use background::Missed;
use choice::{Chosen, Ranked};
use command_line::{CommandLine, Program, Run};
use decision::Decision;
use miss::Miss;
use refuted::Refuted;
use remembered::Start;
use replays::{Course, Hit, Settled};
use situation::{Situation, first_usable};
use source::{Form, Source};
use start::Prepared;

use crate::engine::By;
use crate::engine::caller::{self, Caller, Closed};
use crate::engine::request::{Kind, Request};
use crate::engine::supervise;
use crate::key::interpreter::{Found, GUARD, Interpreter, Search};
use crate::key::looked;
use crate::key::python_env::with_changes;
use crate::key::which::FileId;
use crate::replay;
use crate::store::{self, Records};
use crate::trace;

/// Exit status when there is no interpreter at all, as a shell has it.
const NOT_FOUND: i32 = 127;
/// Exit status when the interpreter cannot be executed, as a shell has it.
const NOT_EXECUTABLE: i32 = 126;

/// Runs `pyrun` with the process's arguments; returns only if nothing could be run.
pub fn main() -> i32 {
    let start = Start::now();
    let begun = trace::now();
    crate::sys::expect_a_short_life();
    let Ok(closed) = caller::fill_standard_descriptors() else { return NOT_EXECUTABLE };
    let caller = Caller::read();
    // Our files count for the caller's limit of file sizes (`RLIMIT_FSIZE`); beyond it a
    // write is to fail, and not to end us. CPython ignores the signal as well.
    let was_ignored = crate::sys::is_ignored(libc::SIGXFSZ);
    let _ = crate::sys::set_disposition(libc::SIGXFSZ, true);
    let become_python =
        |executable: &Path, line: &CommandLine, changes: &[(OsString, OsString)]| {
            let _ = crate::sys::set_disposition(libc::SIGXFSZ, was_ignored);
            plain(executable, &line.python, changes)
        };
    let mut arguments = std::env::args_os();
    let invoked_as = arguments.next().unwrap_or_default();
    let line = match CommandLine::parse(arguments, || stdin_is_interactive(closed)) {
        Ok(line) => line,
        Err(error) => {
            say(&format!("error: {error}"));
            if let Some(hint) = error.hint_text() {
                say(&format!("hint: {hint}"));
            }
            return i32::from(error.exit_code());
        }
    };
    let log = Log::of_environment(begun);
    let cwd = std::env::current_dir();
    let own = std::env::current_exe().ok().as_deref().and_then(FileId::of);
    let directory = cwd.as_deref().unwrap_or(Path::new("/"));
    let replay = replay::run();
    let (found, looked) = looked::during(|| find_interpreter(&line, directory, &invoked_as, own));
    let interpreter = match found {
        Found::Interpreter(interpreter) => interpreter,
        Found::Doubt { exec, why, guard } => {
            let miss = Miss::Interpreter { path: exec.clone(), why };
            log.miss(&miss);
            remembered::note_miss(&start, &line, None, cwd.as_deref().ok(), &miss);
            return become_python(&exec, &line, &[(GUARD.into(), guard)]);
        }
        Found::Nothing => {
            log.miss(&Miss::NoInterpreter);
            say("error: no python3 found on PATH");
            say("hint: install Python, or set PYIMG_PYTHON to an interpreter");
            return NOT_FOUND;
        }
    };
    trace::reached("interpreter");
    rescue::arm(
        interpreter.invoked.clone(),
        line.python.clone(),
        interpreter.environment.clone(),
        move || drop(crate::sys::set_disposition(libc::SIGXFSZ, was_ignored)),
    );
    let mut launch = Launch {
        line: &line,
        interpreter,
        looked,
        log,
        start,
        replay,
        stale: None,
        decision: None,
        decided: None,
    };
    let outcome = match (&caller, &cwd) {
        (Ok(caller), Ok(cwd)) => launch.run_from_image(caller, cwd),
        (Err(error), _) | (_, Err(error)) => Err(Miss::Unrestorable(error.to_string())),
    };
    match outcome {
        Ok(status) => supervise::end_like(status),
        Err(miss) => {
            launch.log.miss(&miss);
            let interpreter = &launch.interpreter;
            let cwd = cwd.as_deref().ok();
            let decision = launch.decision.as_ref();
            let counted = remembered::note_miss(
                &launch.start,
                &line,
                Some((interpreter, decision)),
                cwd,
                &miss,
            );
            if let (Ok(run), Some(cwd)) = (&line.run, cwd) {
                let stale = launch.stale.as_deref();
                let missed = Missed { run, interpreter, cwd, miss: &miss, stale, counted };
                launch.keep_miss(&miss, &missed, launch.log.of_miss(&miss));
                missed.follow_up();
            }
            become_python(&interpreter.invoked, &line, &interpreter.environment)
        }
    }
}

/// One run, once it is known what is to run with which interpreter.
struct Launch<'a> {
    line: &'a CommandLine,
    interpreter: Interpreter,
    /// Where it was looked for.
    looked: Vec<PathBuf>,
    log: Log,
    start: Start,
    /// What the next run begins with that is like this one, if there can be such a thing.
    replay: Option<replay::Run>,
    /// The image that would have been the first choice, had nothing changed since it was built.
    stale: Option<String>,
    /// What was decided, if that is news.
    decision: Option<Decision>,
    /// What speaks against images, if an earlier run has decided that none is used.
    decided: Option<Vec<Refuted>>,
}

/// A program that has been started from an image.
struct Started {
    program: Prepared,
    chosen: Chosen,
    request: Request,
    /// Memory that the program will write to.
    prefetched: Vec<Range<u64>>,
}

impl Launch<'_> {
    /// What there may be a replay of.
    fn course<'a>(
        &'a self,
        run: &'a replay::Run,
        interpreter: &'a Interpreter,
        cwd: &'a Path,
        records: Records,
        said: String,
    ) -> Course<'a> {
        let Self { start, looked, .. } = self;
        Course { run, start, interpreter, looked, cwd, records, said }
    }

    /// Writes down that this run is plain Python, for the next one, if that is no news: nothing
    /// was looked at but the command line and the interpreter, or what was decided before, and
    /// nothing is to be done about it.
    fn keep_miss(&self, miss: &Miss, missed: &Missed<'_>, said: String) {
        let (Some(run), Ok(dir)) = (&self.replay, store::default_dir()) else { return };
        let is_known = matches!(miss, Miss::EngineOff) || self.decided.is_some();
        if !is_known || self.decision.is_some() {
            return;
        }
        let Some(records) = Records::of(&dir) else { return };
        let course = self.course(run, missed.interpreter, missed.cwd, records, said);
        if !course.is_wanted() || !missed.is_idle() {
            return;
        }
        let program = missed.counted.as_ref().map(|counted| counted.id);
        let decided = self.decided.as_deref();
        course.keep_miss(&Settled { line: self.line, miss, decided, program });
    }

    /// Runs the program from an image and says how it ended.
    fn run_from_image(&mut self, caller: &Caller, cwd: &Path) -> Result<ExitStatus, Miss> {
        let situation = Situation::read(self.line, &mut self.interpreter, caller, cwd)?;
        let mut tried = None;
        let basis = situation.basis();
        if let Some(decision) = basis.as_ref().and_then(|basis| situation.decided(basis)) {
            trace::reached("decided");
            self.stale = decision.stale().map(str::to_owned);
            let ranking = match decision.ranking(situation.remembered.modules()) {
                Ok(ranking) => ranking,
                Err(miss) => {
                    self.decided = Some(decision.refuted().to_vec());
                    return Err(miss);
                }
            };
            let image = &ranking.images[0];
            match self.start_from(&situation, image, &ranking.source) {
                Ok(started) => {
                    let again = decision.refuted().is_empty().then_some(&ranking.source);
                    return Ok(self.follow(started, situation, None, again));
                }
                Err(miss) if miss.is_of_one_image() => tried = Some((image.id, miss)),
                Err(miss) => return Err(miss),
            }
        }
        let ranking = situation.rank()?;
        // Nothing once there was something else against an image.
        let mut refuted = Some(Vec::new());
        let tries = ranking.images.iter().map(|image| {
            let tried = match &tried {
                Some((id, miss)) if *id == image.id => Err(miss.clone()),
                _ => self.start_from(&situation, image, &ranking.source),
            };
            match &tried {
                Err(Miss::Evidence(changed)) => {
                    let found = Refuted::by(changed, situation.surroundings());
                    refuted.iter_mut().for_each(|refuted| refuted.push(found.clone()));
                }
                Err(_) if image.against.is_none() => refuted = None,
                _ => {}
            }
            tried
        });
        let outcome = first_usable(tries);
        let decision = basis.zip(refuted);
        let decision =
            decision.and_then(|(basis, refuted)| situation.decide(basis, &ranking, refuted));
        match outcome {
            Ok(started) => {
                let again = situation.is_named().then_some(&ranking.source);
                Ok(self.follow(started, situation, decision, again))
            }
            Err(miss) => {
                self.decision = decision;
                Err(miss)
            }
        }
    }

    /// Runs the program from this image.
    fn start_from(
        &mut self,
        situation: &Situation<'_>,
        image: &Ranked,
        source: &Source,
    ) -> Result<Started, Miss> {
        let chosen = situation.examine(image, source)?;
        trace::reached("chosen");
        let mut request = request(self, situation, source.form)
            .map_err(|error| Miss::Unrestorable(error.to_string()))?;
        request.recording = situation.remembered.recording(&chosen, source);
        let mut prefetch = situation.prefetch(&chosen);
        if let Some(recording) = &mut request.recording {
            recording.pages = prefetch.learn.take();
        }
        let started = start::start(situation, &chosen, &request, &prefetch.ranges);
        if let Err(Miss::Evidence(changed)) = &started
            && !changed.is_of_surroundings()
        {
            self.stale.get_or_insert_with(|| chosen.name.clone());
        }
        Ok(Started { program: started?, chosen, request, prefetched: prefetch.ranges })
    }

    /// Stands by a program that has started. Nothing is a miss any more. What was decided is kept
    /// if it is news; if it is not, the source of the program is given, and the next run may
    /// begin with a replay of this one.
    fn follow(
        &self,
        started: Started,
        situation: Situation<'_>,
        decision: Option<Decision>,
        again: Option<&Source>,
    ) -> ExitStatus {
        let Started { program, chosen, request, prefetched } = started;
        trace::reached("started");
        let restore = self.start.elapsed();
        let (program, by) = match program {
            Prepared::Running(program, by) => (Ok(program), by),
            Prepared::Direct(ready) => (Err(ready), By::Direct),
        };
        self.log.hit(&chosen.name, &by);
        if program.is_ok() {
            // Whoever reads what the program writes must see the end when it closes its output.
            crate::sys::let_go_of(request.descriptors.iter().map(|inherited| inherited.number));
        }
        situation.store.note_use(&chosen.id);
        situation.remembered.note_hit(&self.start, restore, &chosen, &by, decision.as_ref());
        if let (Err(_), Some(source), Some(replay)) = (&program, again, &self.replay) {
            let course = self.course(
                replay,
                &situation.interpreter,
                situation.cwd,
                situation.store.records(),
                self.log.of_hit(&chosen.name, &by),
            );
            course.keep_hit(&Hit {
                situation: &situation,
                chosen: &chosen,
                source,
                request: &request,
                prefetched: &prefetched,
            });
        }
        drop(request);
        trace::finish("hit");
        let program = match program {
            Ok(program) => program,
            Err(ready) => ready.become_the_program(),
        };
        // A lock is held until here: from now on the image may be removed.
        drop(situation);
        match program.wait() {
            Ok(status) => status,
            Err(error) => {
                say(&format!("error: cannot wait for the program: {error}"));
                std::process::exit(1)
            }
        }
    }
}

/// Finds the interpreter of a run.
fn find_interpreter(
    line: &CommandLine,
    cwd: &Path,
    invoked_as: &OsStr,
    own: Option<FileId>,
) -> Found {
    let search = Search {
        variable: &|name| std::env::var_os(name),
        cwd,
        script: line.run.as_ref().ok().and_then(Run::script),
        arguments: &line.python,
        invoked_as,
        own,
    };
    search.find()
}

fn request(launch: &Launch<'_>, situation: &Situation<'_>, form: Form) -> std::io::Result<Request> {
    let Situation { run, caller, cwd, environment, .. } = situation;
    let kind = match form {
        Form::Command => Kind::Command,
        Form::Module => Kind::Module,
        Form::File => Kind::Script,
        Form::Stdin => Kind::Stdin,
        Form::Archive => Kind::Directory,
    };
    let text = match &run.program {
        Program::Command(text) | Program::Module(text) => text.clone(),
        Program::Script(path) => path.into(),
        Program::Stdin { .. } => OsString::new(),
    };
    let invoked = launch.interpreter.invoked.clone().into_os_string();
    Ok(Request {
        kind,
        text,
        argv: run.argv(),
        orig_argv: std::iter::once(invoked).chain(launch.line.python.iter().cloned()).collect(),
        environment: environment.clone(),
        cwd: cwd.to_path_buf(),
        umask: caller.umask,
        ignored_signals: caller.ignored_signals,
        blocked_signals: caller.blocked_signals,
        nice: caller.nice,
        limits: caller.limits.clone(),
        personality: caller.personality,
        recording: None,
        descriptors: caller::inherited_descriptors()?,
    })
}

/// Whether Python, given no program, would prompt: on a terminal, and on a closed standard
/// input, where it has rules of its own.
fn stdin_is_interactive(closed: Closed) -> bool {
    use std::io::IsTerminal as _;
    closed[0] || std::io::stdin().is_terminal()
}

/// Becomes the interpreter; returns only if that fails.
fn plain(executable: &Path, arguments: &[OsString], changes: &[(OsString, OsString)]) -> i32 {
    let c_string = |text: OsString| CString::new(text.into_vec()).unwrap_or_default();
    let program = c_string(executable.as_os_str().to_owned());
    let argv: Vec<CString> =
        std::iter::once(program.clone()).chain(arguments.iter().cloned().map(c_string)).collect();
    let environment: Vec<CString> = with_changes(std::env::vars_os(), changes)
        .into_iter()
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            c_string(name)
        })
        .collect();
    let Err(error) = nix::unistd::execve(&program, &argv, &environment);
    say(&format!("error: cannot execute {}: {error}", executable.display()));
    if error == nix::Error::ENOENT { NOT_FOUND } else { NOT_EXECUTABLE }
}

/// Writes a line to standard error, at once, since the program may write there as well.
///
/// Where that is full or broken nobody can be told, and the program is to run all the
/// same; `eprintln!` would panic, and SIGPIPE would end us.
fn say(line: &str) {
    let ignored = crate::sys::is_ignored(libc::SIGPIPE);
    let _ = crate::sys::set_disposition(libc::SIGPIPE, true);
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
    let _ = crate::sys::set_disposition(libc::SIGPIPE, ignored);
}

/// What `PYIMG_LOG` asks for: one line on standard error for hits, for misses, for both.
#[derive(Debug, Clone, Copy)]
struct Log {
    hits: bool,
    misses: bool,
}

impl Log {
    fn of_environment(begun: u64) -> Self {
        let value = std::env::var_os("PYIMG_LOG");
        let is = |word: &str| value.as_deref() == Some(OsStr::new(word));
        if is("phases") {
            trace::start(begun);
        }
        Self { hits: is("hit") || is("debug"), misses: is("miss") || is("debug") }
    }

    /// What is said of a hit: a line, or nothing.
    fn of_hit(self, image: &str, by: &By) -> String {
        if self.hits { format!("pyrun: hit: {image} ({by})\n") } else { String::new() }
    }

    fn hit(self, image: &str, by: &By) {
        let line = self.of_hit(image, by);
        if !line.is_empty() {
            say(line.trim_end());
        }
    }

    /// What is said of a miss: a line, or nothing.
    fn of_miss(self, miss: &Miss) -> String {
        if self.misses { format!("pyrun: miss: {miss}\n") } else { String::new() }
    }

    fn miss(self, miss: &Miss) {
        let line = self.of_miss(miss);
        if !line.is_empty() {
            say(line.trim_end());
        }
        trace::finish(miss.code());
    }
}
