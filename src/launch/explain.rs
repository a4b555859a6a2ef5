//! What `pyrun` would do with a command line, and why: what `pyimg why` shows.
//!
//! It asks what `pyrun` asks ([`Situation`]), but does not stop at the first image that can be
//! used, and reads all files that `pyrun` would check while CRIU restores. Nothing is
//! started (but for `criu`'s answer to its version), decompressed or written; whether CRIU
//! manages to restore the image only a run can tell.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::choice::{self, Imported, Ranked};
use super::command_line::{CommandLine, Engine, Run};
use super::miss::Miss;
use super::situation::{Situation, check_criu, check_files, first_usable};
use super::source::Source;
use super::{find_interpreter, stdin_is_interactive};
use crate::criu::Criu;
use crate::engine::caller::Caller;
use crate::engine::{By, direct};
use crate::error::Result;
use crate::key::interpreter::{Found, Interpreter};
use crate::key::recipe::Recipe;
use crate::key::which::FileId;
use crate::manifest::Manifest;
use crate::store::{Files, Image, ImageId, Tier};

/// What `pyrun` would do.
#[derive(Debug)]
pub struct Explanation {
    /// What was asked for.
    pub line: CommandLine,
    /// The interpreter, if one was found for certain.
    pub interpreter: Option<Interpreter>,
    /// What the program imports, if that is known.
    pub imported: Option<Imported>,
    /// Why the last build for the program failed that nobody waited for, in one line.
    pub failed_build: Option<String>,
    /// The images of the interpreter: those that could serve this run, the best first, then
    /// those for other machines, options and variables.
    pub images: Vec<Examined>,
    /// The number of the image that the program would start from, or why it would be plain
    /// Python.
    pub outcome: Result<usize, Miss>,
}

/// An image, looked at in full.
#[derive(Debug)]
pub struct Examined {
    /// What it is called.
    pub name: String,
    /// How long its imports took in plain Python, in nanoseconds.
    pub import_ns: u64,
    /// How much of that the program would wait for in plain Python; none if not known.
    pub saves_ns: Option<u64>,
    /// How much longer it takes to begin from it than in bare Python, in nanoseconds.
    pub restore_ns: u64,
    /// What was preloaded; none if the image cannot be read.
    pub recipe: Option<Recipe>,
    /// Whether it has to be decompressed first.
    pub is_cold: bool,
    /// What would bring it back, or why it cannot be used.
    pub verdict: Result<By, Miss>,
}

/// Reads a command line as `pyrun` does.
///
/// # Errors
/// When `pyrun`'s own options are misused.
pub fn read(arguments: Vec<OsString>) -> Result<CommandLine> {
    CommandLine::parse(arguments, || stdin_is_interactive([false; 3]))
}

/// Explains a command line. `own` is the file that `pyrun` is.
pub fn explain(line: CommandLine, own: Option<FileId>) -> Explanation {
    let cwd = std::env::current_dir();
    let directory = cwd.as_deref().unwrap_or(Path::new("/"));
    let found = find_interpreter(&line, directory, "pyrun".as_ref(), own);
    let mut explanation = Explanation {
        line: line.clone(),
        interpreter: None,
        imported: None,
        failed_build: None,
        images: Vec::new(),
        outcome: Err(Miss::NoInterpreter),
    };
    match found {
        Found::Interpreter(interpreter) => {
            let interpreter = explanation.interpreter.insert(interpreter);
            let caller = Caller::read();
            match (&caller, &cwd) {
                (Ok(caller), Ok(cwd)) => match Situation::read(&line, interpreter, caller, cwd) {
                    Ok(situation) => explanation.look(&situation),
                    Err(miss) => explanation.outcome = Err(miss),
                },
                (Err(error), _) | (_, Err(error)) => {
                    explanation.outcome = Err(Miss::Unrestorable(error.to_string()));
                }
            }
        }
        Found::Doubt { exec, why, .. } => {
            explanation.outcome = Err(Miss::Interpreter { path: exec, why });
        }
        Found::Nothing => {}
    }
    if explanation.imported.is_none()
        && let Ok(run) = &line.run
    {
        explanation.imported = read_source(run, directory);
    }
    explanation
}

impl Explanation {
    /// Looks at all images.
    fn look(&mut self, situation: &Situation<'_>) {
        let store = &situation.store;
        self.failed_build = situation.remembered.failed_build().map(str::to_owned);
        let criu = Criu::find().map_err(|error| Miss::NoCriu(error.to_string()));
        let mut seen = BTreeSet::new();
        self.outcome = match situation.rank() {
            Ok(ranking) => {
                for image in &ranking.images {
                    seen.insert(image.id);
                    let verdict = situation.examine(image, &ranking.source).and_then(|chosen| {
                        let images = store.image_dir(&chosen.id);
                        check_files(&images, &chosen.manifest.files)?;
                        situation.evidence(&chosen).check()?;
                        let manifest = &chosen.manifest.content;
                        let refusal = match situation.engine {
                            Engine::Criu => None,
                            _ => match direct::examine(&images) {
                                Ok(()) => return Ok(By::Direct),
                                Err(refusal) => Some(refusal),
                            },
                        };
                        if let Some(why) = refusal.as_ref()
                            && situation.engine == Engine::Direct
                        {
                            return Err(Miss::Unrestorable(why.to_string()));
                        }
                        situation.suits_criu(manifest)?;
                        check_criu(criu.as_ref().map_err(Clone::clone)?, manifest)?;
                        Ok(By::Criu(refusal))
                    });
                    self.images.push(Examined::new(store, image, verdict));
                }
                self.imported = ranking.imported;
                let verdicts = self.images.iter().enumerate();
                first_usable(verdicts.map(|(at, image)| image.verdict.clone().map(|_| at)))
            }
            Err(miss) => Err(miss),
        };
        // What was left out: by the index, or all if the program itself is the obstacle.
        let obstacle = self.outcome.as_ref().err().cloned();
        for (image, miss) in situation.images_of_interpreter().unwrap_or_default() {
            if let Some(miss) = miss.or_else(|| obstacle.clone())
                && seen.insert(image.id)
            {
                self.images.push(Examined::unranked(store, &image, miss));
            }
        }
    }
}

impl Examined {
    fn new(store: &Files, image: &Ranked, verdict: Result<By, Miss>) -> Self {
        let (recipe, is_cold) = looked_up(store, &image.id);
        let Ranked { import_ns, saves_ns, restore_ns, .. } = *image;
        let name = image.name.clone();
        Self { name, import_ns, saves_ns, restore_ns, recipe, is_cold, verdict }
    }

    fn unranked(store: &Files, image: &Image, miss: Miss) -> Self {
        let (recipe, is_cold) = looked_up(store, &image.id);
        Self {
            name: image.record.name.clone(),
            import_ns: image.record.import_ns,
            saves_ns: None,
            restore_ns: choice::restore_ns(image.page_bytes),
            recipe,
            is_cold,
            verdict: Err(miss),
        }
    }
}

/// What the manifest of an image says besides, as far as it can be read.
fn looked_up(store: &Files, id: &ImageId) -> (Option<Recipe>, bool) {
    match store.load_manifest::<Manifest>(id) {
        Ok(manifest) => {
            let is_cold = store.tier(&manifest.packs) != Tier::Raw;
            (Some(manifest.content.recipe), is_cold)
        }
        Err(_) => (None, false),
    }
}

/// What the program imports, where no image was asked for its search path.
fn read_source(run: &Run, cwd: &Path) -> Option<Imported> {
    let nowhere: &[PathBuf] = &[];
    Source::of(run, cwd, nowhere).ok().and_then(|source| choice::imported(None, &source))
}
