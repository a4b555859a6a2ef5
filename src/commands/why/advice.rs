//! What would make a run a hit, or why nothing would: advice for each reason.
//!
//! Where a build helps, the command is spelled out, quoted for a shell. It is made from the
//! program, or from the recipe of the image that has become stale.

use std::fmt;
use std::path::Path;

use crate::commands::build;
use crate::key::interpreter::Interpreter;
use crate::key::recipe::Recipe;
use crate::launch::command_line::{Program, Run};
use crate::launch::explain::{Examined, Explanation};
use crate::launch::miss::Miss;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Advice {
    /// In words.
    pub text: String,
    /// The command, if there is one.
    pub command: Option<String>,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match &self.command {
            Some(command) => write!(f, ":\n{command}"),
            None => Ok(()),
        }
    }
}

/// What would help, if anything can be done, or need be.
pub(super) fn of(explanation: &Explanation) -> Option<Advice> {
    let miss = explanation.outcome.as_ref().err()?;
    let text = |text: &str| Some(Advice { text: text.to_owned(), command: None });
    let with = |text: &str, command: Option<String>| {
        command.map(|command| Advice { text: text.to_owned(), command: Some(command) })
    };
    let anew = || with("build an image", for_program(explanation));
    match miss {
        Miss::NoStore(_) | Miss::NoImage(_) | Miss::NotCovered => {
            match imports_nothing(explanation) {
                true => text("there is nothing to do: it imports nothing that an image could hold"),
                false => anew(),
            }
        }
        Miss::HostDiffers(_) | Miss::FlagsDiffer { .. } | Miss::EnvironmentDiffers(_) => {
            with("build an image for this", for_program(explanation))
        }
        Miss::Evidence(changed) if changed.is_of_surroundings() => {
            let another = image_of(explanation, miss).and_then(|image| {
                let recipe = image.recipe.as_ref()?;
                let run = explanation.line.run.as_ref().ok()?;
                command(explanation.interpreter.as_ref()?, run, recipe, None)
            });
            with("build another image, for this", another).or_else(anew)
        }
        Miss::Evidence(_)
        | Miss::InterpreterChanged(_)
        | Miss::Damaged(_)
        | Miss::CriuDiffers { .. } => {
            let stale = image_of(explanation, miss);
            let again = stale.and_then(|image| of_recipe(explanation, image));
            with("build the image again", again).or_else(anew)
        }
        Miss::NotSeen { directory, .. } if directory.is_file() => {
            text("run the archive by the path that its image was built from: its modules show it")
        }
        Miss::NotSeen { .. } => anew(),
        Miss::NotWorthIt { .. } => text(
            "there is nothing to do: plain Python is as quick; --image NAME uses it all the same",
        ),
        Miss::Shadowed { .. } => text(
            "rename that file, if it is not meant to be imported; else no image that holds the module can be used",
        ),
        Miss::ImageNotFound(_) => with("see which images there are", Some("pyimg ls".into())),
        Miss::NoCriu(_) | Miss::CriuFailed(_) => {
            with("see what is missing", Some("pyimg doctor".into()))
        }
        Miss::EngineOff => text("leave --engine off out, or unset PYIMG_ENGINE"),
        Miss::EngineUnknown(_) => text("unset PYIMG_ENGINE, or set it to auto"),
        Miss::Interactive => text("there is nothing to do: a prompt is always plain Python"),
        Miss::Flag(_) => text("leave the option out; with it, it is always plain Python"),
        Miss::Environment(_) => text("unset the variable; with it, it is always plain Python"),
        Miss::NoInterpreter => text("install Python, or set PYIMG_PYTHON to an interpreter"),
        Miss::Interpreter { .. } => text("set PYIMG_PYTHON to the interpreter that it leads to"),
        Miss::Unseen => text("name an image: --image NAME, or PYIMG_IMAGE"),
        _ => None,
    }
}

/// The image that cannot be used for this reason.
fn image_of<'a>(explanation: &'a Explanation, miss: &Miss) -> Option<&'a Examined> {
    explanation.images.iter().find(|image| image.verdict.as_ref() == Err(miss))
}

/// Whether it is known that the program imports nothing.
fn imports_nothing(explanation: &Explanation) -> bool {
    explanation.imported.as_ref().is_some_and(|imported| imported.modules.is_empty())
}

/// The command that builds an image for the program.
fn for_program(explanation: &Explanation) -> Option<String> {
    let run = explanation.line.run.as_ref().ok()?;
    let recipe = match &run.program {
        Program::Module(name) => Recipe::Module { modules: vec![name.to_str()?.to_owned()] },
        Program::Script(path) => Recipe::Script { script: path.clone() },
        Program::Command(_) | Program::Stdin { .. } => {
            let modules = &explanation.imported.as_ref()?.modules;
            let names: Vec<&str> = modules.iter().map(String::as_str).collect();
            if names.is_empty() {
                return None;
            }
            Recipe::Code { code: format!("import {}", names.join(", ")) }
        }
    };
    command(explanation.interpreter.as_ref()?, run, &recipe, None)
}

/// The command that builds an image again.
fn of_recipe(explanation: &Explanation, image: &Examined) -> Option<String> {
    let run = explanation.line.run.as_ref().ok()?;
    // That of a grown image says from what it grew, but not what that is called now.
    let recipe = image.recipe.as_ref().filter(|recipe| recipe.parent().is_none())?;
    command(explanation.interpreter.as_ref()?, run, recipe, Some(&image.name))
}

/// A command that builds: under this name, which another image may have had.
fn command(
    interpreter: &Interpreter,
    run: &Run,
    recipe: &Recipe,
    name: Option<&str>,
) -> Option<String> {
    let own = |text: &str| text.to_owned();
    let path = |path: &Path| path.to_str().map(str::to_owned);
    let mut words = vec![own("pyimg"), own("build")];
    match recipe {
        // It would be taken for an option.
        Recipe::Code { code } if code.starts_with('-') => return None,
        Recipe::Code { code } => words.push(code.clone()),
        Recipe::Module { modules } => {
            words.extend(modules.iter().flat_map(|module| [own("-m"), module.clone()]));
        }
        Recipe::Script { script } => words.extend([own("--script"), path(script)?]),
        Recipe::Grown { .. } => return None,
    }
    if let Some(name) = name {
        words.extend([own("--name"), own(name), own("--force")]);
    }
    if build::interpreter(None, recipe.script()).ok().as_deref() != Some(&*interpreter.invoked) {
        words.extend([own("--python"), path(&interpreter.invoked)?]);
    }
    let flags = run.flags.canonical();
    if !flags.is_empty() {
        words.push(own("--"));
        words.extend(flags);
    }
    shlex::try_join(words.iter().map(String::as_str)).ok()
}
