//! `pyimg show`: everything about one image.

use std::time::Duration;

use serde::Serialize;

use super::view::{ImageView, since, timestamp};
use super::{existing_store, find};
use crate::cli;
use crate::engine::caller::Caller;
use crate::error::{Error, Result};
use crate::key;
use crate::key::host::Host;
use crate::key::recipe::Recipe;
use crate::manifest::{self, Doubt, Manifest};
use crate::store::{self, Image, ImageRecord, PAGE, Tier};
use crate::ui::tables::facts;
use crate::ui::{Printer, human};

/// Columns that a list of names may take.
const WIDTH: usize = 76;

/// `pyimg show --json`
#[derive(Debug, Serialize)]
struct Details {
    #[serde(flatten)]
    image: ImageView,
    /// The recipe of the image that it was grown from; null if it was not.
    grown_from: Option<String>,
    /// Why no run can use it; null if runs can.
    obstacle: Option<String>,
    /// This build of the image, 64 hex digits: names its directory.
    id: String,
    /// Directory of the image's own files; what is not UTF-8 is replaced.
    directory: String,
    /// The interpreter's binary, behind all links.
    real_executable: String,
    /// blake3 of that binary.
    interpreter_blake3: String,
    /// The kernel that it was built under; it is used under no other.
    kernel: String,
    /// The C library, likewise.
    glibc: String,
    /// The processor's features, likewise.
    cpu: String,
    /// The environment variables that Python reads at its start, in one spelling.
    python_env: String,
    /// Version of the CRIU that dumped it.
    criu: String,
    /// `sys.path` without the program's own entry; what is not UTF-8 is replaced.
    search_path: Vec<String>,
    /// How its memory comes back.
    memory: Memory,
    /// Threads of the process.
    threads: usize,
    /// What it depended on.
    evidence: Evidence,
    /// What its modules did while they were imported that every run shares.
    doubts: Vec<Doubt>,
    /// The files that hold its memory, shared with other images.
    packs: Vec<Pack>,
}

#[derive(Debug, Serialize)]
struct Memory {
    /// Bytes that are mapped from packs, and read when they are needed.
    mapped_bytes: u64,
    /// Bytes that are copied at every start.
    copied_bytes: u64,
    /// Mappings of the process.
    mappings: u64,
    /// The allocator because of which memory is copied, and where it was found; or null.
    zeroing_allocator: Option<String>,
}

#[derive(Debug, Serialize)]
struct Evidence {
    /// How many files it depends on.
    files: usize,
    /// How many directories are looked through if they change.
    directories: usize,
    /// The environment variables that were read.
    variables: Vec<String>,
    /// Whether all of them were gone through.
    all_variables: bool,
    /// The working directory, if it was asked for, or null.
    working_directory: Option<String>,
    /// The standard descriptors of which it was asked whether they are terminals.
    terminals: Vec<&'static str>,
    /// What is not as it was on disk, the first of it; null if all is.
    changed: Option<String>,
}

#[derive(Debug, Serialize)]
struct Pack {
    /// blake3 of what it holds.
    id: String,
    /// Its size on disk.
    bytes: u64,
}

pub(super) fn run(args: &cli::Show, printer: &Printer) -> Result<()> {
    let store = existing_store()?;
    let image = find(store.as_ref(), &args.image)?;
    // Without a store nothing can have been found.
    let Some(store) = store else { return Ok(()) };
    let damaged = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::failed(format!("the image {:?} is damaged", image.record.name))
            .because(cause)
            .hint("build it again with `pyimg build --force`, or remove it with `pyimg rm`")
    };
    let manifest: store::Manifest<Manifest> =
        store.load_manifest(&image.id).map_err(|error| damaged(error.into()))?;
    let directory = store.image_dir(&image.id);
    let evidence = manifest::read_evidence(&directory).map_err(|error| damaged(error.into()))?;
    let evidence =
        key::evidence::Evidence::parse(&evidence).map_err(|error| damaged(error.into()))?;
    let directory = directory.display().to_string();
    let evidence = Evidence {
        files: evidence.len(),
        directories: evidence.listings(),
        variables: evidence.variables(),
        all_variables: evidence.needs_all_variables(),
        working_directory: evidence.working_directory().map(|path| path.display().to_string()),
        terminals: evidence.terminals(),
        changed: evidence.first_change().map(|change| change.to_string()),
    };
    let details = Details::new(&image, &manifest, evidence, directory);
    if args.json { printer.json(&details) } else { printer.data(&text(&image, &details)) }
}

impl Details {
    fn new(
        image: &Image,
        stored: &store::Manifest<Manifest>,
        evidence: Evidence,
        directory: String,
    ) -> Self {
        let (record, manifest) = (&image.record, &stored.content);
        let bytes = |pages: u64| pages * PAGE as u64;
        Self {
            image: image.into(),
            grown_from: manifest.recipe.parent().map(Recipe::text),
            obstacle: foreign(record, &Host::read())
                .or_else(|| evidence.changed.clone())
                .or_else(|| of_others(manifest)),
            id: image.id.hex(),
            directory,
            real_executable: record.real_executable.clone(),
            interpreter_blake3: record.interpreter.hex(),
            kernel: record.kernel.clone(),
            glibc: record.glibc.clone(),
            cpu: record.cpu.clone(),
            python_env: record.python_env.clone(),
            criu: manifest.criu.clone(),
            search_path: manifest.search_path.iter().map(|dir| dir.display().to_string()).collect(),
            memory: Memory {
                mapped_bytes: bytes(manifest.memory.mapped_pages),
                copied_bytes: bytes(manifest.memory.copied_pages),
                mappings: manifest.memory.mappings,
                zeroing_allocator: manifest.memory.zeroing_allocator.clone(),
            },
            threads: manifest.process.threads.len(),
            evidence,
            doubts: manifest.doubts.clone(),
            packs: stored
                .packs
                .iter()
                .map(|pack| Pack { id: pack.id.hex(), bytes: pack.bytes })
                .collect(),
        }
    }
}

fn text(image: &Image, details: &Details) -> String {
    let view = &details.image;
    let Details { memory, evidence, .. } = details;
    let mut interpreter = view.executable.clone();
    if details.real_executable != view.executable {
        interpreter += &format!("\n{}", details.real_executable);
    }
    let mut depends = human::count(evidence.files as u64, "file");
    let directories = if evidence.directories == 1 { "directory" } else { "directories" };
    depends += &format!(", {} {directories}", evidence.directories);
    if evidence.all_variables {
        depends += "\nall environment variables";
    } else if !evidence.variables.is_empty() {
        depends += &format!("\n{}", wrap(&evidence.variables));
    }
    if let Some(directory) = &evidence.working_directory {
        depends += &format!("\nthe working directory {directory}");
    }
    if !evidence.terminals.is_empty() {
        let descriptors = evidence.terminals.join(", ");
        depends += &format!("\nwhether these are terminals: {descriptors}");
    }
    let doubts: Vec<String> =
        details.doubts.iter().map(|doubt| format!("{} {}", doubt.module, doubt.what)).collect();
    let used = image.last_used_ns.map_or_else(
        || "never".into(),
        |ns| format!("{}, {} in all", moment(ns), human::count(image.hits, "time")),
    );
    facts(&[
        ("name", view.name.clone()),
        (
            "recipe",
            details.grown_from.as_ref().map_or_else(
                || view.recipe.clone(),
                |parent| format!("{}\ngrown from {parent:?}", view.recipe),
            ),
        ),
        (
            "usable",
            details.obstacle.as_ref().map_or_else(|| "yes".into(), |why| format!("no: {why}")),
        ),
        ("python", format!("{}\n{interpreter}", view.python)),
        ("flags", none_if_empty(&view.flags)),
        ("environment", none_if_empty(&details.python_env)),
        ("import time", human::duration(Duration::from_nanos(view.import_ns))),
        ("modules", wrap(&view.modules)),
        ("depends on", depends),
        ("doubts", none_if_empty(&doubts.join("\n"))),
        (
            "size",
            format!(
                "{}, of which {} were new to the store\nfurther {} in files of its own",
                human::size(view.size_bytes),
                human::size(view.new_bytes),
                human::size(view.file_bytes)
            ),
        ),
        ("tier", tier(view.tier).into()),
        (
            "memory",
            format!(
                "{} mapped, {} copied at every start, {}{}",
                human::size(memory.mapped_bytes),
                human::size(memory.copied_bytes),
                human::count(memory.mappings, "mapping"),
                memory
                    .zeroing_allocator
                    .as_ref()
                    .map_or_else(String::new, |name| format!("\ncopied because of {name}"))
            ),
        ),
        ("threads", details.threads.to_string()),
        ("built", moment(image.created_ns)),
        ("built with", format!("CRIU {}, {}\n{}", details.criu, details.glibc, details.kernel)),
        ("last used", used),
        ("pinned", if image.pinned { "yes" } else { "no" }.into()),
        ("key", view.key.clone()),
        ("directory", details.directory.clone()),
    ])
}

/// What is different about the machine that it was built on.
pub(super) fn foreign(record: &ImageRecord, here: &Host) -> Option<String> {
    let built = Host {
        kernel: record.kernel.clone(),
        libc: record.glibc.clone(),
        processor: record.cpu.clone(),
    };
    built.difference(here).map(|what| format!("it was built with another {what}"))
}

/// Why an image is not for who asks, if so.
fn of_others(manifest: &Manifest) -> Option<String> {
    let here = Caller::read().ok()?;
    let differ = here.credentials != manifest.credentials;
    differ.then(|| "it was built with other user or group ids or capabilities".into())
}

fn tier(tier: Tier) -> &'static str {
    match tier {
        Tier::Raw => "raw",
        Tier::Zstd => "zstd: compressed until the next run",
    }
}

fn none_if_empty(text: &str) -> String {
    if text.is_empty() { "none".into() } else { text.into() }
}

fn moment(ns: i64) -> String {
    let time = timestamp(ns);
    format!("{} ({})", time.strftime("%Y-%m-%d %H:%M:%S UTC"), human::age(since(ns)))
}

/// Names in lines that are not too long.
fn wrap(names: &[String]) -> String {
    let mut text = String::new();
    let mut column = 0;
    for (number, name) in names.iter().enumerate() {
        let comma = if number + 1 < names.len() { "," } else { "" };
        let width = name.chars().count() + comma.len();
        if column > 0 && column + 1 + width > WIDTH {
            text.push('\n');
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text += name;
        text += comma;
        column += width;
    }
    none_if_empty(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_take_several_lines() {
        let names: Vec<String> = (0..40).map(|n| format!("module{n}")).collect();
        let text = wrap(&names);
        assert!(text.lines().count() > 4);
        assert!(
            text.lines().all(|line| line.len() <= WIDTH && line.len() > 60 || line.ends_with("39"))
        );
        assert_eq!(text.replace('\n', " "), names.join(", "));
        assert_eq!(wrap(&[]), "none");
    }
}
