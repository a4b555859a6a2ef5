//! Writes down what a run comes to, for the next one that is like it ([`crate::replay`]).
//!
//! That is done when nothing new was decided, learnt or noticed: then the next run would do
//! the same. All that this one has looked at goes in as a claim. What was changed a moment ago
//! is no good for that, since a further change might not show.

use std::ffi::OsString;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::choice::Chosen;
use super::command_line::{CommandLine, Run as Wanted};
use super::miss::Miss;
use super::program::what;
use super::refuted::Refuted;
use super::remembered::Start;
use super::shadow;
use super::situation::Situation;
use super::source::{Form, Source};
use crate::engine::direct;
use crate::engine::request::{Request, Sections};
use crate::image::plan;
use crate::key::evidence::{Changed, Claims, Evidence, LookedThrough, State, What};
use crate::key::interpreter::{GUARD, Interpreter, Origin};
use crate::key::python_env::with_changes;
use crate::manifest;
use crate::replay::{End, Kept, Records, Replay, Run, Strings};
use crate::store::{self, Outcome, ProgramId, RunRecord};

/// How long ago the last change of anything must have been: times have the kernel's ticks, of at
/// most 10 ms.
const TICKS_NS: i64 = 50_000_000;
/// Variables that are not the process's own at most: shims set six.
const MOST_VARIABLES: usize = 16;
/// How long a miss stays one: then it is seen whether an image is to be built.
const MISSES_FOR: Duration = Duration::from_mins(10);

/// A run that may have a replay.
pub(super) struct Course<'a> {
    pub run: &'a Run,
    pub start: &'a Start,
    pub interpreter: &'a Interpreter,
    /// Paths that were looked at to find that.
    pub looked: &'a [PathBuf],
    pub cwd: &'a Path,
    pub records: store::Records,
    /// What is said on standard error.
    pub said: String,
}

/// What a run from an image has come to, by the engine that becomes the program.
pub(super) struct Hit<'a> {
    pub situation: &'a Situation<'a>,
    pub chosen: &'a Chosen,
    pub source: &'a Source,
    pub request: &'a Request,
    /// Memory that the program will write to.
    pub prefetched: &'a [Range<u64>],
}

/// A run that is plain Python, and what it comes to is no news.
pub(super) struct Settled<'a> {
    pub line: &'a CommandLine,
    pub miss: &'a Miss,
    /// Against which images something speaks; nothing if none were looked at.
    pub decided: Option<&'a [Refuted]>,
    /// The program, if it is recorded that it was run.
    pub program: Option<ProgramId>,
}

impl Course<'_> {
    /// Writes the replay of this run from an image, where there can be one and it is needed. It is
    /// silent: where it fails the next run is looked at anew.
    pub fn keep_hit(&self, hit: &Hit<'_>) {
        if hit.is_settled() && self.is_wanted() {
            self.put(self.of_hit(hit));
        }
    }

    /// The same of a run that is plain Python, if it is wanted.
    pub fn keep_miss(&self, settled: &Settled<'_>) {
        self.put(self.of_miss(settled));
    }

    /// Whether a replay of this run is to be written.
    pub fn is_wanted(&self) -> bool {
        // By which tests have something else fail, or be another machine.
        let of_tests = ["PYIMG_TEST_HOST", "PYIMG_TEST_STEP", "PYIMG_TEST_EARLY_STEP"];
        let is_odd = |name: &str| std::env::var_os(name).is_some();
        let is_any_odd =
            is_odd(GUARD) || cfg!(debug_assertions) && of_tests.into_iter().any(is_odd);
        !is_any_odd && self.records.wants_replay(&self.run.name) && self.records.has_replays()
    }

    fn put(&self, bytes: Option<Vec<u8>>) {
        if let Some(bytes) = bytes {
            self.records.put_replay(&self.run.name, &bytes);
        }
    }

    fn of_hit(&self, hit: &Hit<'_>) -> Option<Vec<u8>> {
        let Hit { situation, chosen, request, prefetched, .. } = hit;
        let records = &self.records;
        let images = situation.store.image_dir(&chosen.id);
        let plan = direct::read_plan(&images).ok()?;
        let bytes = manifest::read_evidence(&images).ok()?;
        let evidence = Evidence::parse(&bytes).ok()?;
        let packs = chosen.manifest.packs.iter().map(|pack| situation.store.pack_path(&pack.id));
        let packs: Vec<String> =
            packs.map(|path| path.into_os_string().into_string().ok()).collect::<Option<_>>()?;
        let packs: Vec<&str> = packs.iter().map(String::as_str).collect();
        let program = situation.remembered.id()?;
        let mut kept = Kept::default();
        let image = direct::again(
            &plan,
            &packs,
            &images.join(direct::PAGES),
            &records.lock_path(),
            request.blocked_signals,
            prefetched,
            &mut kept,
        )
        .ok()?;
        let now = store::now_ns();
        let until = match prefetched {
            [] => after(now, store::GOOD_FOR),
            _ => situation.pages_known_until(chosen)?,
        };
        let Sections { bytes: head, argv, orig_argv, environment, last } =
            request.sections(&direct::IN_PLACE);
        let words = self.without_arguments(situation.run, [argv, orig_argv])?;
        let [argv, orig_argv] = words;
        let environment = self.variables(environment)?;
        let outcome = Outcome::Hit {
            image: chosen.name.clone(),
            restore_ns: Records::TOOK,
            import_ns: chosen.saves_ns.unwrap_or(chosen.manifest.content.import_ns),
            engine: Some(crate::engine::By::Direct.name().into()),
            engine_reason: None,
        };
        let replay = Replay {
            time: time(now, until),
            terminals: evidence.terminals_wanted(),
            no_pip: self.is_shim(),
            parts: image.parts,
            code: image.code,
            claims: self.claims_of_hit(hit, &evidence)?,
            descriptors: image.descriptors,
            strings: Strings { head, argv, orig_argv, environment, last },
            records: Records {
                line: self.line(Some(*program), situation.run, outcome)?,
                uses: bytes_of(&records.uses_path(&chosen.id)),
                program: bytes_of(&records.program_path(program)),
                ..self.records("hit")
            },
            end: End::Image(image.copied),
        };
        replay.to_bytes(kept)
    }

    fn of_miss(&self, settled: &Settled<'_>) -> Option<Vec<u8>> {
        let Settled { line, miss, decided, program } = settled;
        let wanted = line.run.as_ref().ok()?;
        let now = store::now_ns();
        let mut paths = self.looked_at(wanted);
        let mut until = after(now, MISSES_FOR);
        let mut last = Vec::new();
        if let Some(refuted) = decided {
            let id = ProgramId::of(wanted, self.interpreter, self.cwd)?;
            paths.extend(self.records.of_store());
            paths.extend(self.records.of_program(&id));
            for refuted in *refuted {
                match refuted.changed() {
                    Changed::File { path, .. } => paths.push(path.clone()),
                    _ => return None,
                }
                until = until.min(refuted.holds_until());
            }
            last.push(self.of_own_file(&id)?);
        }
        let invoked = self.interpreter.invoked.as_os_str();
        let own = std::iter::once(invoked).chain(line.python.iter().map(OsString::as_os_str));
        let words = own.map(|word| word.as_bytes().to_vec()).collect();
        let [orig_argv] = self.without_arguments(wanted, [words])?;
        let environment = with_changes(std::env::vars_os(), &self.interpreter.environment);
        let environment = environment
            .into_iter()
            .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
        let program_path = program.map(|id| bytes_of(&self.records.program_path(&id)));
        let replay = Replay {
            time: time(now, until),
            terminals: [None; 3],
            no_pip: self.is_shim(),
            parts: Vec::new(),
            code: Vec::new(),
            claims: [self.claims(paths)?, last].concat(),
            descriptors: Default::default(),
            strings: Strings {
                orig_argv,
                environment: self.variables(environment.collect())?,
                ..Strings::default()
            },
            records: Records {
                line: self.line(
                    ProgramId::of(wanted, self.interpreter, self.cwd),
                    wanted,
                    Outcome::Miss(miss.code().into()),
                )?,
                uses: Vec::new(),
                program: program_path.unwrap_or_default(),
                ..self.records(miss.code())
            },
            end: End::Plain(bytes_of(&self.interpreter.invoked)),
        };
        replay.to_bytes(Kept::default())
    }

    /// Whether a shim of pyenv's has led to the interpreter: one of its hooks looks at arguments.
    fn is_shim(&self) -> bool {
        self.interpreter.origin == Origin::Shim
    }

    /// The beginning of what is recorded.
    fn records(&self, outcome: &'static str) -> Records {
        Records {
            log: bytes_of(&self.records.log_path()),
            line: Vec::new(),
            uses: Vec::new(),
            program: Vec::new(),
            said: self.said.as_bytes().to_vec(),
            outcome,
        }
    }

    /// What any run looks at.
    fn looked_at(&self, wanted: &Wanted) -> Vec<PathBuf> {
        // That a name leads to the working directory is all that anybody wants to know of that,
        // and its name is part of the replay's.
        let looked = self.looked.iter().filter(|path| *path != self.cwd);
        let script = wanted.script().map(|script| self.cwd.join(script));
        looked.cloned().chain([self.interpreter.invoked.clone()]).chain(script).collect()
    }

    /// What has to be so for the next run from this image to come to the same.
    fn claims_of_hit(&self, hit: &Hit<'_>, evidence: &Evidence<'_>) -> Option<Vec<Claims>> {
        let Hit { situation, chosen, source, .. } = hit;
        let content = &chosen.manifest.content;
        let program = situation.remembered.id()?;
        let records = &self.records;
        let mut paths = self.looked_at(situation.run);
        paths.extend(records.of_store());
        paths.extend(records.of_program(program));
        paths.extend(records.of_image(
            &chosen.id,
            [plan::FILE, manifest::EVIDENCE, direct::PAGES],
            chosen.manifest.packs.iter().map(|pack| pack.id),
        ));
        for directory in source.first_path.iter().chain(situation.python_path()) {
            let (modules, absent) = (&content.modules, &content.absent_modules);
            if !shadow::is_clear(directory, modules, absent) {
                return None;
            }
            paths.push(directory.clone());
        }
        let mut claims = self.claims(paths)?;
        for place in &content.search_path {
            let what = match place.metadata() {
                Ok(found) if found.is_dir() => What::Present,
                Ok(_) => return None,
                Err(_) => What::Absent,
            };
            claims.push(Claims::one(place, what));
        }
        claims.push(self.of_own_file(program)?);
        let known = LookedThrough::read(&situation.store.looked_through(&chosen.id));
        claims.extend(evidence.claims(&known)?);
        Some(claims)
    }

    /// Claims about these paths as they are and were when the run began; none if something was
    /// changed too short a time ago.
    fn claims(&self, paths: Vec<PathBuf>) -> Option<Vec<Claims>> {
        let exe = Path::new("/proc/self/exe");
        let own = State::of(&nix::sys::stat::stat(exe).ok()?);
        let mut claims = vec![Claims::one(exe, What::File(own))];
        for path in paths {
            claims.extend(Claims::of(&self.cwd.join(path)).ok()?);
        }
        let begun = self.start.at_ns();
        let is_old = |claims: &Claims| claims.last_change().saturating_add(TICKS_NS) < begun;
        claims.iter().all(is_old).then_some(claims)
    }

    /// The program's own file, to which each run gives its time.
    fn of_own_file(&self, program: &ProgramId) -> Option<Claims> {
        let path = self.records.program_path(program);
        let state = State::of(&nix::sys::stat::lstat(&path).ok()?);
        Some(Claims::one(&path, What::Inode(state)))
    }

    /// Words without the program's arguments, which they end with.
    fn without_arguments<const N: usize>(
        &self,
        wanted: &Wanted,
        mut all: [Vec<Vec<u8>>; N],
    ) -> Option<[Vec<Vec<u8>>; N]> {
        let count = self.run.arguments;
        if wanted.arguments.len() != count {
            return None;
        }
        for words in &mut all {
            words.truncate(words.len().checked_sub(count)?);
        }
        Some(all)
    }

    /// Each variable by its number among the process's own, if it is one of them: values are not
    /// to be written down.
    fn variables(&self, environment: Vec<Vec<u8>>) -> Option<Vec<Result<usize, Vec<u8>>>> {
        let mut own = self.run.environment.iter().enumerate();
        let variables: Vec<Result<usize, Vec<u8>>> = environment
            .into_iter()
            .map(|pair| {
                let mut rest = own.clone();
                match rest.find(|(_, entry)| **entry == pair) {
                    Some((number, _)) => {
                        own = rest;
                        Ok(number)
                    }
                    None => Err(pair),
                }
            })
            .collect();
        let others = variables.iter().filter(|variable| variable.is_err()).count();
        (others <= MOST_VARIABLES).then_some(variables)
    }

    /// What the run adds to the log.
    fn line(
        &self,
        program: Option<ProgramId>,
        wanted: &Wanted,
        outcome: Outcome,
    ) -> Option<Vec<u8>> {
        let at_ns = i64::try_from(Records::TIME).ok()?;
        let record = RunRecord { at_ns, program, what: what(wanted, self.cwd), outcome };
        Some([b"\n", serde_json::to_vec(&record).ok()?.as_slice(), b"\n"].concat())
    }
}

impl Hit<'_> {
    /// Whether the next run would do the same.
    fn is_settled(&self) -> bool {
        let recording = self.request.recording.as_ref();
        recording.is_some_and(|recording| !recording.outdated && recording.pages.is_none())
            && matches!(self.source.form, Form::Command | Form::Module | Form::File)
    }
}

fn after(now_ns: i64, span: Duration) -> i64 {
    now_ns.saturating_add(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
}

fn time(from_ns: i64, until_ns: i64) -> Range<u64> {
    let unsigned = |ns: i64| u64::try_from(ns).unwrap_or_default();
    unsigned(from_ns)..unsigned(until_ns)
}

fn bytes_of(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}
