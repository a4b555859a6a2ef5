//! `pyimg why`: what `pyrun` would do with a command line, and why.

mod advice;

use std::ffi::OsStr;
use std::time::Duration;

use serde::Serialize;

use crate::cli;
use crate::engine::By;
use crate::error::Result;
use crate::key::which::FileId;
use crate::launch::choice::KnownFrom;
use crate::launch::command_line::{Program, Run};
use crate::launch::explain::{self, Examined, Explanation};
use crate::launch::miss::Miss;
use crate::ui::tables::{Align, facts, with_head};
use crate::ui::{Printer, human};

/// Characters of what a program imports, and of a program that is a text.
const WIDTH: usize = 100;

/// `pyimg why --json`
#[derive(Debug, Serialize)]
struct Answer {
    /// `hit` or `miss`.
    outcome: &'static str,
    /// The image that the program would start from; null if it would be plain Python.
    image: Option<String>,
    /// Why it would be plain Python; null if not.
    reason: Option<Reason>,
    /// What would help; null if there is nothing to do.
    advice: Option<String>,
    /// The command that would help; null if none would.
    command: Option<String>,
    /// The interpreter; null if none was found for certain.
    interpreter: Option<Interpreter>,
    /// What would be run; null if no image could run it.
    program: Option<ProgramView>,
    /// Why the last build in the background for this program failed; null if none did.
    failed_build: Option<String>,
    /// The images of the interpreter, the best first.
    images: Vec<ImageView>,
}

#[derive(Debug, Serialize)]
struct Reason {
    /// A stable name.
    code: &'static str,
    /// The same for people.
    text: String,
}

#[derive(Debug, Serialize)]
struct Interpreter {
    /// As it is started.
    executable: String,
    /// The binary behind all links.
    real_executable: String,
    /// By what it was found.
    found: String,
}

#[derive(Debug, Serialize)]
struct ProgramView {
    /// `command`, `module`, `script` or `stdin`.
    kind: &'static str,
    /// The text, the module or the path; null for standard input.
    text: Option<String>,
    /// The top-level modules that it imports; null if not known.
    imports: Option<Vec<String>>,
    /// `last-run` or `source`; null if not known.
    known_from: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct ImageView {
    /// What it is called.
    name: String,
    /// Whether it could serve this run.
    usable: bool,
    /// Why not; null if it could.
    reason: Option<Reason>,
    /// What would bring it back: `direct` or `criu`; null if it is not usable.
    engine: Option<&'static str>,
    /// Why that is not `direct`; null if it is, or `criu` was asked for.
    engine_reason: Option<String>,
    /// How long the program's imports take in plain Python, as far as the image has them;
    /// null if that was not measured.
    saves_ns: Option<u64>,
    /// How much longer a program takes to begin from it than in bare Python.
    restore_ns: u64,
    /// How long all of its imports took.
    import_ns: u64,
    /// Whether it has to be decompressed first.
    compressed: bool,
}

pub(super) fn run(args: &cli::Why, printer: &Printer) -> Result<()> {
    let line = explain::read(args.arguments.clone())?;
    // `pyrun` lies beside us, and does not take itself for an interpreter.
    let pyrun = std::env::current_exe().ok().map(|own| own.with_file_name("pyrun"));
    let explanation = explain::explain(line, pyrun.as_deref().and_then(FileId::of));
    if args.json {
        printer.json(&Answer::new(&explanation))
    } else {
        printer.data(&text(&explanation))
    }
}

impl Answer {
    fn new(explanation: &Explanation) -> Self {
        let image = explanation.outcome.as_ref().ok().map(|at| &explanation.images[*at]);
        let advice = advice::of(explanation);
        Self {
            outcome: if image.is_some() { "hit" } else { "miss" },
            image: image.map(|image| image.name.clone()),
            reason: explanation.outcome.as_ref().err().map(Reason::from),
            command: advice.as_ref().and_then(|advice| advice.command.clone()),
            advice: advice.map(|advice| advice.text),
            interpreter: explanation.interpreter.as_ref().map(|found| Interpreter {
                executable: found.invoked.display().to_string(),
                real_executable: found.real.display().to_string(),
                found: found.origin.to_string(),
            }),
            program: explanation.line.run.as_ref().ok().map(|run| {
                let imported = explanation.imported.as_ref();
                let (kind, text) = program(run);
                ProgramView {
                    kind,
                    text: text.map(|text| text.display().to_string()),
                    imports: imported.map(|imported| imported.modules.iter().cloned().collect()),
                    known_from: imported.map(|imported| match imported.from {
                        KnownFrom::LastRun => "last-run",
                        KnownFrom::Source => "source",
                    }),
                }
            }),
            failed_build: explanation.failed_build.clone(),
            images: explanation.images.iter().map(ImageView::from).collect(),
        }
    }
}

impl From<&Miss> for Reason {
    fn from(miss: &Miss) -> Self {
        Self { code: miss.code(), text: miss.to_string() }
    }
}

impl From<&Examined> for ImageView {
    fn from(image: &Examined) -> Self {
        Self {
            name: image.name.clone(),
            usable: image.verdict.is_ok(),
            reason: image.verdict.as_ref().err().map(Reason::from),
            engine: image.verdict.as_ref().ok().map(By::name),
            engine_reason: image
                .verdict
                .as_ref()
                .ok()
                .and_then(By::refusal)
                .map(ToString::to_string),
            saves_ns: image.saves_ns,
            restore_ns: image.restore_ns,
            import_ns: image.import_ns,
            compressed: image.is_cold,
        }
    }
}

/// Which kind of program it is, and its text or name.
fn program(run: &Run) -> (&'static str, Option<&OsStr>) {
    match &run.program {
        Program::Command(text) => ("command", Some(text)),
        Program::Module(name) => ("module", Some(name)),
        Program::Script(path) => ("script", Some(path.as_os_str())),
        Program::Stdin { .. } => ("stdin", None),
    }
}

fn text(explanation: &Explanation) -> String {
    let mut lines = vec![("python", python(explanation))];
    if let Ok(run) = &explanation.line.run {
        lines.push(("program", program_text(run)));
        lines.push(("imports", imports(explanation)));
    }
    lines.push(("result", result(explanation)));
    if let Some(why) = explanation.failed_build.as_ref().filter(|_| explanation.outcome.is_err()) {
        lines.push(("build", format!("failed in the background: {why}")));
    }
    if let Some(advice) = advice::of(explanation) {
        lines.push(("advice", advice.to_string()));
    }
    let mut text = facts(&lines);
    if !explanation.images.is_empty() {
        text.push_str("\n\n");
        text.push_str(&table(explanation));
    }
    text
}

fn python(explanation: &Explanation) -> String {
    let Some(found) = &explanation.interpreter else { return "not certain".into() };
    let (invoked, real) = (found.invoked.display(), found.real.display());
    let links = if found.invoked == found.real { String::new() } else { format!("\n{real}") };
    format!("{invoked}, {}{links}", found.origin)
}

fn program_text(run: &Run) -> String {
    let (kind, text) = program(run);
    let text = text.map(|text| human::shorten(&text.to_string_lossy(), WIDTH));
    match (kind, text) {
        ("command", Some(text)) => format!("-c {text}"),
        ("module", Some(name)) => format!("-m {name}"),
        (_, Some(path)) => path,
        (_, None) => "standard input".into(),
    }
}

fn imports(explanation: &Explanation) -> String {
    let Some(imported) = &explanation.imported else { return "not known".into() };
    let from = match imported.from {
        KnownFrom::LastRun => "seen in its last run",
        KnownFrom::Source => "by its source",
    };
    if imported.modules.is_empty() {
        return format!("nothing ({from})");
    }
    let names: Vec<&str> = imported.modules.iter().map(String::as_str).collect();
    format!("{} ({from})", human::shorten(&names.join(", "), WIDTH))
}

fn result(explanation: &Explanation) -> String {
    let at = match &explanation.outcome {
        Ok(at) => *at,
        Err(miss) => return format!("plain Python: {miss}"),
    };
    let image = &explanation.images[at];
    let compressed = if image.is_cold { ", which is decompressed first" } else { "" };
    format!("from the image {}{compressed}; {}", image.name, saving(image))
}

/// What a run would save.
fn saving(image: &Examined) -> String {
    let time = |ns| human::duration(Duration::from_nanos(ns));
    match image.saves_ns {
        Some(saves) => format!("saves about {}", time(saves.saturating_sub(image.restore_ns))),
        None => format!("saves at most {}", time(image.import_ns)),
    }
}

fn table(explanation: &Explanation) -> String {
    let head = [
        ("IMAGE", Align::Left),
        ("IMPORTS", Align::Right),
        ("RESTORE", Align::Right),
        ("VERDICT", Align::Left),
    ];
    let time = |ns| human::duration(Duration::from_nanos(ns));
    let rows = explanation.images.iter().enumerate().map(|(at, image)| {
        let verdict = match &image.verdict {
            Ok(by) if explanation.outcome.as_ref() == Ok(&at) => format!("taken ({by})"),
            Ok(by) => format!("usable ({by})"),
            Err(Miss::NotCovered) => "it holds nothing that the program imports".to_owned(),
            Err(miss) => miss.to_string(),
        };
        let saves = image.saves_ns.map_or_else(|| format!("<{}", time(image.import_ns)), time);
        [image.name.clone(), saves, format!("+{}", time(image.restore_ns)), verdict]
    });
    with_head(head, &rows.collect::<Vec<_>>())
}
