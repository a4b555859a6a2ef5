//! What a run finds: its options, variables and store, and the images it may begin from.
//!
//! `pyrun` goes through the images and starts from the first that can be used; `pyimg why`
//! looks at all of them and says what it found ([`super::explain`]). Both ask here, so that
//! the one explains what the other does. Nothing is started or changed here.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::choice::{Chosen, Ranked, Ranking, Wanted};
use super::command_line::{CommandLine, Engine, Program, Run};
use super::decision::{Basis, Decision};
use super::miss::Miss;
use super::prefetch::Prefetch;
use super::refuted::Refuted;
use super::remembered::Remembered;
use super::source::Source;
use crate::criu::{Criu, Version};
use crate::engine;
use crate::engine::caller::Caller;
use crate::key::evidence::{Evidence, Found, LookedThrough, Surroundings, Survey};
use crate::key::host::Host;
use crate::key::interpreter::{Interpreter, Origin};
use crate::key::python_env::{PythonEnv, with_changes};
use crate::manifest::{self, Manifest};
use crate::store::{self, FileInfo, FileState, Image, Reader, RunFiles};
use crate::{sys, trace};

/// A run that an image may serve, and all that decides which.
#[derive(Debug)]
pub(super) struct Situation<'a> {
    /// What is to run.
    pub run: &'a Run,
    /// With which interpreter.
    pub interpreter: Interpreter,
    /// What this process has from its caller.
    pub caller: &'a Caller,
    /// The working directory.
    pub cwd: &'a Path,
    /// The program's environment.
    pub environment: Vec<(OsString, OsString)>,
    python_env: PythonEnv,
    python_path: Vec<PathBuf>,
    /// The files of the store.
    pub store: RunFiles,
    index: OnceCell<Reader>,
    /// What is known of the program from earlier runs.
    pub remembered: Remembered,
    /// The image that the user named, if one was.
    named: Option<Image>,
    /// What is to bring an image back.
    pub engine: Engine,
}

impl<'a> Situation<'a> {
    /// Looks around. Whoever names an image means its interpreter, also if the image cannot
    /// be used: `interpreter` becomes that.
    ///
    /// # Errors
    /// When no image can serve the run, whatever there is in the store.
    pub fn read(
        line: &'a CommandLine,
        interpreter: &mut Interpreter,
        caller: &'a Caller,
        cwd: &'a Path,
    ) -> Result<Self, Miss> {
        let run = line.run.as_ref().map_err(Clone::clone)?;
        let options = line.options.clone().or_environment(|name| std::env::var_os(name))?;
        if options.engine == Some(Engine::Off) {
            return Err(Miss::EngineOff);
        }
        let environment = with_changes(std::env::vars_os(), &interpreter.environment);
        let python_env =
            PythonEnv::read(environment.iter().map(|(name, value)| (name, value)), &run.flags)
                .map_err(Miss::Environment)?;
        let dir = store::default_dir().map_err(|error| Miss::Store(error.to_string()))?;
        let store = RunFiles::open(&dir).map_err(|error| Miss::Store(error.to_string()))?;
        let (store, index) = (store.ok_or(Miss::NoStore(dir))?, OnceCell::new());
        trace::reached("store");
        let engine = options.engine.unwrap_or(Engine::Auto);
        if let Some(why) = obstacle(caller).filter(|_| engine == Engine::Criu) {
            return Err(Miss::Unrestorable(why.into()));
        }
        let python_path = python_path(run, cwd, &environment);
        let named = options.image.map(|name| named_image(open_index(&store, &index)?, &name));
        let named = named.transpose()?;
        if let Some(image) = &named {
            *interpreter = interpreter_of(&image.record.executable)?;
        }
        let interpreter = interpreter.clone();
        let remembered = Remembered::of(store.records(), run, &interpreter, cwd);
        Ok(Self {
            run,
            interpreter,
            caller,
            cwd,
            environment,
            python_env,
            python_path,
            store,
            index,
            remembered,
            named,
            engine,
        })
    }

    /// The index of the store, opened when it is first asked for.
    ///
    /// # Errors
    /// When there is none that can be read.
    fn index(&self) -> Result<&Reader, Miss> {
        open_index(&self.store, &self.index)
    }

    /// The images to begin from, the best first.
    ///
    /// # Errors
    /// Why there is none.
    pub fn rank(&self) -> Result<Ranking, Miss> {
        match &self.named {
            Some(image) => self.wanted().only(image),
            None => self.wanted().rank(self.index()?),
        }
    }

    /// What an earlier run has decided, if that still holds.
    pub fn decided(&self, basis: &str) -> Option<Decision> {
        Decision::read(self.remembered.decision()?, basis, self.surroundings())
    }

    /// What this run has decided, for the next one, if that can be kept; the first images of the
    /// ranking are refuted.
    pub fn decide(
        &self,
        basis: String,
        ranking: &Ranking,
        refuted: Vec<Refuted>,
    ) -> Option<Decision> {
        let settled = self.store.index_state().is_settled(store::now_ns());
        settled.then(|| Decision::of(basis, ranking, refuted)).flatten()
    }

    /// What a decision of this run is made of, to be asked for before anything else is read.
    ///
    /// Of a program that is a file, but no directory, or a text or module; nothing of one that
    /// is not the same when it is run again, or of an image that the user named.
    pub fn basis(&self) -> Option<String> {
        let file = match &self.run.program {
            Program::Script(path) => {
                let found = self.cwd.join(path).metadata().ok()?;
                Some(FileState::of(&found)).filter(|_| found.is_file())?.into()
            }
            _ => None,
        };
        let basis = Basis {
            program: self.remembered.id().filter(|_| self.named.is_none())?,
            file,
            index: self.store.index_state(),
            host: &Host::read(),
            python_env: &self.python_env.canonical(),
            cwd: self.cwd,
            remembered: self.remembered.modules(),
        };
        Some(basis.hash())
    }

    /// Looks closely at an image, but not yet at its files: that is for [`check_criu`],
    /// [`check_files`] and [`ImageEvidence::check`].
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn examine(&self, image: &Ranked, source: &Source) -> Result<Chosen, Miss> {
        let chosen = self.wanted().examine(&self.store, image, source)?;
        if self.engine == Engine::Criu {
            self.suits_criu(&chosen.manifest.content)?;
        }
        Ok(chosen)
    }

    /// Whether a process that CRIU restores from this image can be what the caller would be.
    pub fn suits_criu(&self, image: &Manifest) -> Result<(), Miss> {
        if let Some(why) = obstacle(self.caller) {
            return Err(Miss::Unrestorable(why.into()));
        }
        suits(image, self.caller)
    }

    /// What the imports of an image depended on.
    pub fn evidence(&self, chosen: &Chosen) -> ImageEvidence<'_> {
        ImageEvidence {
            directory: self.store.image_dir(&chosen.id),
            file: chosen
                .manifest
                .files
                .iter()
                .find(|file| file.name == manifest::EVIDENCE)
                .cloned(),
            looked_through: self.store.looked_through(&chosen.id),
            surroundings: self.surroundings(),
        }
    }

    /// What the run is to do about pages that the program will write: nothing if CRIU is to
    /// restore it.
    pub fn prefetch(&self, chosen: &Chosen) -> Prefetch {
        match self.remembered.id().filter(|_| self.engine != Engine::Criu) {
            Some(program) => Prefetch::of(&self.store.records(), program, &chosen.id),
            None => Prefetch::default(),
        }
    }

    /// What of the run, besides files, the imports of an image may have depended on.
    pub fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            environment: &self.environment,
            directory: self.cwd,
            terminals: Surroundings::own_terminals(),
        }
    }

    /// The directories of `PYTHONPATH`, where it counts.
    pub fn python_path(&self) -> &[PathBuf] {
        &self.python_path
    }

    /// Whether the user has named the image.
    pub fn is_named(&self) -> bool {
        self.named.is_some()
    }

    /// Until when what is known of the pages that the program writes is relied upon, in
    /// nanoseconds since 1970.
    pub fn pages_known_until(&self, chosen: &Chosen) -> Option<i64> {
        Prefetch::known_until(&self.store.records(), self.remembered.id()?, &chosen.id)
    }

    /// All images of the interpreter, the newest first, each with what of it does not fit
    /// this run; or only the one that the user named.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn images_of_interpreter(&self) -> Result<Vec<(Image, Option<Miss>)>, Miss> {
        match &self.named {
            Some(image) => Ok(vec![(image.clone(), None)]),
            None => self.wanted().images_of_interpreter(self.index()?, &Host::read()),
        }
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            run: self.run,
            interpreter: &self.interpreter,
            python_env: &self.python_env,
            python_path: &self.python_path,
            cwd: self.cwd,
            remembered: self.remembered.modules(),
            surroundings: self.surroundings(),
        }
    }
}

/// The first of these that can be used; they are tried one after the other, as long as
/// another one may do what the last could not.
///
/// # Errors
/// With the first reason: what is wrong with the best image says more than that there is no
/// other.
pub(super) fn first_usable<T>(tries: impl IntoIterator<Item = Result<T, Miss>>) -> Result<T, Miss> {
    let mut first_miss = None;
    for tried in tries {
        match tried {
            Err(miss) if miss.is_of_one_image() => first_miss = first_miss.or(Some(miss)),
            usable_or_final => return usable_or_final,
        }
    }
    Err(first_miss.unwrap_or(Miss::NotCovered))
}

/// What this process has that no restored one would, being another process.
fn obstacle(caller: &Caller) -> Option<&'static str> {
    let own_pid = std::process::id().to_string();
    let is_own_pid = |value: OsString| value == *own_pid;
    [
        (!caller.is_scheduled_ordinarily, "the scheduling policy is not the ordinary one"),
        (caller.has_children, "there are children from before"),
        (caller.has_timer, "a timer is running"),
        (caller.is_subreaper, "orphans are to become children of this process"),
        (caller.refuses_huge_pages, "there are to be no transparent huge pages"),
        (caller.has_securebits, "securebits are set"),
        (std::env::var_os("LISTEN_PID").is_some_and(is_own_pid), "LISTEN_PID names this process"),
    ]
    .into_iter()
    .find_map(|(is_so, why)| is_so.then_some(why))
}

/// The directories of `PYTHONPATH`, where it counts.
fn python_path(run: &Run, cwd: &Path, environment: &[(OsString, OsString)]) -> Vec<PathBuf> {
    let list = environment.iter().find(|(name, _)| name == "PYTHONPATH");
    match list {
        Some((_, list)) if !run.flags.ignores_environment() => {
            std::env::split_paths(list).map(|path| cwd.join(path)).collect()
        }
        _ => Vec::new(),
    }
}

fn open_index<'a>(store: &RunFiles, index: &'a OnceCell<Reader>) -> Result<&'a Reader, Miss> {
    if let Some(reader) = index.get() {
        return Ok(reader);
    }
    let opened = store.open_index().map_err(|error| Miss::Store(error.to_string()))?;
    let reader = opened.ok_or_else(|| Miss::NoStore(store.dir().to_owned()))?;
    Ok(index.get_or_init(|| reader))
}

fn named_image(store: &Reader, name: &OsStr) -> Result<Image, Miss> {
    let image = name.to_str().map(|name| store.by_name(name)).transpose();
    let image = image.map_err(|error| Miss::Store(error.to_string()))?.flatten();
    image.ok_or_else(|| Miss::ImageNotFound(name.to_owned()))
}

/// The interpreter of an image that was named.
fn interpreter_of(executable: &str) -> Result<Interpreter, Miss> {
    let invoked = PathBuf::from(executable);
    let real = invoked.canonicalize().map_err(|_| Miss::InterpreterChanged(invoked.clone()))?;
    Ok(Interpreter { invoked, real, origin: Origin::Image, environment: Vec::new() })
}

/// Whether a process of this image can be what the caller would be.
fn suits(image: &Manifest, caller: &Caller) -> Result<(), Miss> {
    if image.credentials != caller.credentials {
        let why = "the image was built with other user or group ids or capabilities";
        return Err(Miss::Unrestorable(why.into()));
    }
    // The main thread gets the caller's mask; the others have been there before.
    if caller.blocked_signals != 0 && image.process.threads.len() > 1 {
        let why = "signals are blocked, which they are not in the threads of the image";
        return Err(Miss::Unrestorable(why.into()));
    }
    Ok(())
}

/// Whether this CRIU is to restore an image: one of the same or of a newer version than that
/// which dumped it. CRIU reads what its older versions have written; what a newer one has
/// written it would read as well, and perhaps leave out what it does not know.
///
/// # Errors
/// Why not.
pub(super) fn check_criu(criu: &Criu, image: &Manifest) -> Result<(), Miss> {
    let Ok(dumped_by) = image.criu.parse::<Version>() else { return Ok(()) };
    let here = engine::criu::version(criu).map_err(|error| Miss::CriuFailed(error.to_string()))?;
    match here < dumped_by {
        true => Err(Miss::CriuDiffers { image: image.criu.clone(), here: here.to_string() }),
        false => Ok(()),
    }
}

/// Whether the files of an image are whole.
///
/// # Errors
/// What is not.
pub(super) fn check_files(images: &Path, files: &[FileInfo]) -> Result<(), Miss> {
    let whole = store::check_files(images, files);
    whole.map_err(|error| Miss::Damaged(error.to_string()))
}

/// The evidence of an image, yet to be looked at.
#[derive(Debug)]
pub(super) struct ImageEvidence<'a> {
    directory: PathBuf,
    /// None if it is of a version of which only that is known.
    file: Option<FileInfo>,
    looked_through: PathBuf,
    surroundings: Surroundings<'a>,
}

impl ImageEvidence<'_> {
    /// Whether everything that the image's imports depended on is as it was. If so, gives
    /// what is to be noted of directories that were looked through.
    ///
    /// # Errors
    /// What is not.
    pub fn check(&self) -> Result<Option<Vec<u8>>, Miss> {
        self.check_beside(|| ()).map(|((), news)| news)
    }

    /// The same, by another thread, while something else is done, whose result is given with it;
    /// or where that would be no help, one after the other. If the evidence does not hold, the
    /// other may not have been done. The thread has everything that it needs: where it would have
    /// to ask for memory, each would wait for the other.
    ///
    /// # Errors
    /// As for [`Self::check`].
    pub fn check_beside<T>(&self, other: impl FnOnce() -> T) -> Result<(T, Option<Vec<u8>>), Miss> {
        /// Bytes of evidence, of some hundred names, below which a thread would cost more than it
        /// saves: some 100 us.
        const FEW: usize = 10_000;
        let bytes = self.read()?;
        let evidence = Evidence::parse(&bytes).map_err(|error| self.damaged(error))?;
        let mut known = LookedThrough::read(&self.looked_through);
        trace::reached("read");
        if let Some(changed) = evidence.difference(self.surroundings) {
            return Err(Miss::Evidence(changed));
        }
        let survey = Survey::of(&evidence);
        if bytes.len() < FEW || !sys::has_other_processors() {
            return match Found::first(survey.look(&mut known)) {
                Some(changed) => Err(Miss::Evidence(changed)),
                None => Ok((other(), known.to_json())),
            };
        }
        let look = || survey.look(&mut known);
        let (looked, (done, own)) = sys::beside(look, || (other(), survey.help()));
        // Without a thread nobody has looked at directories that are listed.
        let found = looked.unwrap_or_else(|| survey.look(&mut known));
        match Found::first(own.into_iter().chain(found)) {
            Some(changed) => Err(Miss::Evidence(changed)),
            None => Ok((done, known.to_json())),
        }
    }

    /// The bytes of the evidence, which must be what the manifest says.
    fn read(&self) -> Result<Vec<u8>, Miss> {
        match &self.file {
            Some(file) => store::read_file(&self.directory, file)
                .map_err(|error| Miss::Damaged(error.to_string())),
            None => manifest::read_evidence(&self.directory).map_err(|error| self.damaged(error)),
        }
    }

    fn damaged(&self, error: io::Error) -> Miss {
        let directory = self.directory.display();
        Miss::Damaged(format!("cannot read the evidence in {directory}: {error}"))
    }
}
