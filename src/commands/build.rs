//! `pyimg build`: makes an image.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::origin::Origin;
use super::phases::{Phases, Stopwatch};
use super::{ImageView, gc};
use crate::capture::{self, Failure, Identity, Interrupted, Phase, Plan, Terminal};
use crate::cli::Build;
use crate::criu::{self, Criu};
use crate::engine::caller::Caller;
use crate::engine::namespaced;
use crate::error::{Error, Result};
use crate::key::evidence::{Evidence, Surroundings, surroundings_difference};
use crate::key::flags::Flags;
use crate::key::host::Host;
use crate::key::inspect::{self, Inspected};
use crate::key::interpreter::{Found, Search};
use crate::key::python_env::PythonEnv;
use crate::key::recipe::Recipe;
use crate::manifest::{self, Manifest, Python};
use crate::store::{self, Digest, FileState, Image, ImageKey, ImageRecord, Store, Tier};
use crate::ui::{Printer, human};

/// Images of one recipe, for other variables, directories or terminals, beyond which a build takes
/// the place of one of them: where a variable is another one in each session there is no end.
const MOST_ALIKE: usize = 16;

/// What `pyimg build --json` prints.
#[derive(Debug, Serialize)]
struct Answer {
    /// Whether the image was built now; false if it was there already, unchanged.
    built: bool,
    /// How long it took, in milliseconds.
    took_ms: u64,
    /// How long its parts took, in milliseconds; null if it was not built now.
    phases_ms: Option<Phases>,
    /// The image.
    image: ImageView,
}

/// Runs the command.
///
/// # Errors
/// When there is no image at the end.
pub fn run(args: &Build, printer: &Printer) -> Result<()> {
    let start = Instant::now();
    let recipe = args.recipe()?;
    if let Recipe::Script { script } = &recipe
        && !script.exists()
    {
        return Err(Error::usage(format!("there is no script {}", script.display())));
    }
    if let Some(name) = &args.name {
        store::check_name(name)?;
    }
    let origin = args.from.as_deref().map(Origin::find).transpose()?;
    let named = args.python.as_deref().map(|named| interpreter(Some(named), None)).transpose()?;
    let (flags, executable, recipe) = match &origin {
        Some(origin) => {
            (origin.flags(&args.flags)?, origin.executable(named)?, origin.recipe(recipe))
        }
        None => {
            // As for a run: a console script's own interpreter is the one that finds its modules.
            let executable = named.map_or_else(|| interpreter(None, recipe.script()), Ok)?;
            (Flags::for_build(&args.flags)?, executable, recipe)
        }
    };
    let python_env = PythonEnv::of_this_process(&flags).map_err(|why| {
        Error::environment(format!("no image can be built while {why}"))
            .hint("unset the variable and build again")
    })?;
    let python = inspect::inspect(&executable)?;
    let criu = Criu::find()?;
    let version = criu.version()?;
    if version < criu::OLDEST_VERSION {
        return Err(Error::environment(format!(
            "CRIU {version} at {} is too old",
            criu.binary().display()
        ))
        .hint(format!(
            "CRIU {} or newer is needed; scripts/setup installs it",
            criu::OLDEST_VERSION
        )));
    }

    let credentials = Caller::read()
        .map_err(|error| Error::environment("cannot read /proc/self/status").because(error))?
        .credentials;
    if criu.needs_namespace() {
        // From here on in there; the process that we were ends as we shall.
        namespaced::move_in().map_err(|error| {
            Error::environment("no image can be built in a user namespace")
                .because(error)
                .hint(criu::set_capability(criu.binary()))
        })?;
    }
    let terminal = Terminal::in_place_of(&args.terminals)
        .map_err(|error| Error::environment("cannot open a terminal").because(error))?;
    let store = Store::open(&store::default_dir()?)?;
    let host = Host::read();
    let record = record(&store, &recipe, &flags, &python_env, &host, &executable, &python)?;
    let record = with_key(ImageRecord { criu: version.to_string(), ..record }, &recipe);
    if let Some(origin) = &origin {
        origin.check(&python_env, &host, &record)?;
    }
    let interrupted = Interrupted::watch()
        .map_err(|error| Error::failed("cannot watch for signals").because(error))?;
    let _alone = wait_for_others(&store, &record.key, &interrupted, printer)?;
    let images = store.images()?;
    let alike: Vec<&Image> =
        images.iter().filter(|image| is_alike(&store, image, &record, &recipe)).collect();
    if let Some(name) = &args.name {
        check_chosen_name(&store, name, args.force, &alike)?;
    }
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let now = Surroundings {
        environment: &environment,
        directory: &std::env::current_dir().unwrap_or_default(),
        terminals: terminal.seen(),
    };
    let fits = |image: &&&Image| {
        surroundings_difference(&image.record.surroundings, now).is_none()
            && is_unchanged(&store, image, &credentials)
    };
    if let Some(image) = alike.iter().find(fits).filter(|_| !args.force) {
        if args.name.as_ref().is_some_and(|wanted| *wanted != image.record.name) {
            return Err(Error::failed(format!(
                "this image is there already, as {:?}",
                image.record.name
            ))
            .hint("use it under that name, or rename it by building it again with --force"));
        }
        let image = match args.store {
            Some(tier) => moved(&store, image, tier.into())?,
            None => Image::clone(image),
        };
        return answer(args, printer, start, None, image);
    }
    let progress = printer.progress();
    let watch = Stopwatch::new(&*progress);
    let seed = hash_seed(&store.secret()?);
    let scratch = tempfile::Builder::new()
        .prefix("pyimg-")
        .tempdir()
        .map_err(|error| Error::failed("cannot create a temporary directory").because(error))?;
    let plan = Plan {
        executable: &executable,
        flags: &flags,
        recipe: &recipe,
        hash_seed: seed,
        scratch: scratch.path(),
        terminal: &terminal,
    };
    let parent = origin.as_ref().map(Origin::open).transpose()?;
    let dumped = capture::dump(&plan, parent, &criu, &interrupted, &|phase| watch.phase(phase))
        .map_err(failed)?;
    watch.phase(Phase::Storing);
    let base = recipe.default_name(&python.version.to_string());
    let examined = dumped.examine(Identity {
        record,
        python: Python {
            version: python.version.to_string(),
            executable: executable.clone(),
            real: python.real.clone(),
            suffixes: python.suffixes.clone(),
        },
        interpreter_files: own_files(&python),
        criu: version.to_string(),
        credentials,
        recipe,
    })?;
    let (name, naming) = match (&args.name, store.by_key(&examined.key())?) {
        (Some(name), _) => (name.clone(), None),
        (None, Some(before)) => (before.record.name, None),
        (None, None) => match one_too_many(&alike) {
            Some(old) => (old.record.name.clone(), None),
            None => made_up_name(&store, &base, &interrupted)?,
        },
    };
    // What has the name makes room: with --force any image, else one of the same recipe.
    let holder = store.by_name(&name)?.map(|image| image.record.key);
    let may_go = |key: &ImageKey| args.force || alike.iter().any(|image| image.record.key == *key);
    let replaced: Vec<ImageKey> = holder.into_iter().filter(may_go).collect();
    let stored = examined.store(&store, name, &replaced, &interrupted)?;
    drop(naming);
    let phases = watch.stop();
    let image = match args.store.map(|tier| moved(&store, &stored.image, tier.into())) {
        Some(Ok(image)) => image,
        Some(Err(error)) => {
            // It is stored all the same, and usable.
            printer.warning(&format!("the image was not moved to another tier: {error}"));
            store.by_key(&stored.image.record.key)?.unwrap_or(stored.image)
        }
        None => stored.image,
    };
    drop(progress);
    let built = image.record.key;
    answer(args, printer, start, Some(phases), image)?;
    gc::after_build(&store, &built, printer);
    Ok(())
}

/// An image, moved to a tier.
fn moved(store: &Store, image: &Image, tier: Tier) -> Result<Image> {
    if image.tier != tier {
        store.move_to(&image.id, tier)?;
    }
    Ok(store.by_key(&image.record.key)?.unwrap_or_else(|| image.clone()))
}

fn answer(
    args: &Build,
    printer: &Printer,
    start: Instant,
    phases: Option<Phases>,
    image: Image,
) -> Result<()> {
    let took = start.elapsed();
    if args.json {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        return printer.json(&Answer {
            built: phases.is_some(),
            took_ms,
            phases_ms: phases,
            image: ImageView::from(&image),
        });
    }
    let name = &image.record.name;
    if phases.is_some() {
        printer.note(&format!(
            "built {name}: {} of memory, {} of it new to the store; its imports take {}, the build took {}",
            human::size(image.page_bytes),
            human::size(image.new_bytes),
            human::duration(Duration::from_nanos(image.record.import_ns)),
            human::duration(took),
        ));
    } else {
        printer.note(&format!("{name} is there already and unchanged; --force builds it again"));
    }
    Ok(())
}

/// Waits while another process builds the same image, which is then there.
fn wait_for_others(
    store: &Store,
    key: &ImageKey,
    interrupted: &Interrupted,
    printer: &Printer,
) -> Result<Option<store::BuildLock>> {
    let mut told = false;
    store.lock_build(key, &mut || {
        if !std::mem::replace(&mut told, true) {
            printer.note("waiting for another pyimg that builds the same image");
        }
        capture::check_interrupt(interrupted)
    })
}

/// The interpreter that was named, or else the one that `pyrun` would find.
pub(super) fn interpreter(named: Option<&Path>, script: Option<&Path>) -> Result<PathBuf> {
    let variable = |name: &str| match (name, named) {
        // What is named on the command line is looked up as PYIMG_PYTHON is.
        ("PYIMG_PYTHON", Some(named)) => Some(named.into()),
        _ => std::env::var_os(name),
    };
    let cwd = std::env::current_dir()
        .map_err(|error| Error::failed("the current directory is gone").because(error))?;
    let search = Search {
        variable: &variable,
        cwd: &cwd,
        script,
        arguments: &[],
        invoked_as: OsStr::new("pyimg"),
        own: None,
    };
    let found = match search.find() {
        Found::Interpreter(interpreter) => interpreter.invoked,
        Found::Doubt { exec, .. } => exec,
        Found::Nothing => {
            return Err(Error::environment("no python3 found on PATH")
                .hint("install Python 3.9 to 3.13, or name one with --python"));
        }
    };
    std::path::absolute(&found).map_err(|error| {
        Error::usage(format!("{} is no path of an interpreter", found.display())).because(error)
    })
}

/// The interpreter's binary and its library.
fn own_files(python: &Inspected) -> Vec<PathBuf> {
    std::iter::once(&python.real).chain(&python.libraries).cloned().collect()
}

/// What the index says of the image, but for the key, CRIU, and what only the build can tell.
fn record(
    store: &Store,
    recipe: &Recipe,
    flags: &Flags,
    python_env: &PythonEnv,
    host: &Host,
    executable: &Path,
    python: &Inspected,
) -> Result<ImageRecord> {
    let text = |path: &Path| {
        path.to_str().map(str::to_owned).ok_or_else(|| {
            Error::environment(format!("the path {} is not UTF-8", path.display()))
                .hint("use an interpreter under another path")
        })
    };
    let interpreter = interpreter_hash(store, &own_files(python))?;
    Ok(ImageRecord {
        key: ImageKey::new([0; 32]),
        name: String::new(),
        python: python.version.to_string(),
        executable: text(executable)?,
        real_executable: text(&python.real)?,
        interpreter,
        kernel: host.kernel.clone(),
        glibc: host.libc.clone(),
        cpu: host.processor.clone(),
        flags: flags.to_string(),
        python_env: python_env.canonical(),
        recipe: recipe.text(),
        modules: Vec::new(),
        import_ns: 0,
        import_times: String::new(),
        criu: String::new(),
        surroundings: String::new(),
    })
}

/// The record with the recipe's key: whatever makes two images the same, each part with its
/// length before it. The image's own is known when it was made
/// ([`crate::capture::Examined::key`]).
///
/// CRIU is among that: once there is a new one, an image is built anew when it is asked for.
/// Runs are content with an older CRIU's image; see `launch::situation`.
fn with_key(mut record: ImageRecord, recipe: &Recipe) -> ImageRecord {
    let mut hasher = blake3::Hasher::new();
    for part in [
        record.interpreter.hex().as_str(),
        &record.executable,
        &record.real_executable,
        &record.kernel,
        &record.glibc,
        &record.cpu,
        &record.criu,
        &record.flags,
        &record.python_env,
        &recipe.identity(),
    ] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    record.key = hasher.finalize().into();
    record
}

/// The hash of the interpreter's files. That of each file is remembered as long as the
/// file does not change, since reading them takes longer than all else here.
fn interpreter_hash(store: &Store, files: &[PathBuf]) -> Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    for path in files {
        let unreadable = |error: std::io::Error| {
            Error::failed(format!("cannot read {}", path.display())).because(error)
        };
        let state = FileState::of(&path.metadata().map_err(unreadable)?);
        let name = path.to_string_lossy();
        let hash = match store.interpreter_hash(&name, &state)? {
            Some(hash) => hash,
            None => {
                let mut one = blake3::Hasher::new();
                let file = std::fs::File::open(path).map_err(unreadable)?;
                one.update_reader(file).map_err(unreadable)?;
                let hash: Digest = one.finalize().into();
                store.set_interpreter_hash(&name, &state, &hash)?;
                hash
            }
        };
        hasher.update(hash.as_bytes());
    }
    Ok(hasher.finalize().into())
}

/// Whether an image is of the same recipe on the same machine: one of several, if what it holds
/// depends on variables, the working directory or terminals.
fn is_alike(store: &Store, image: &Image, record: &ImageRecord, recipe: &Recipe) -> bool {
    let known = &image.record;
    let reads_alike = known.recipe == record.recipe
        && known.executable == record.executable
        && known.flags == record.flags
        && known.python_env == record.python_env
        && known.real_executable == record.real_executable
        && known.interpreter == record.interpreter
        && known.kernel == record.kernel
        && known.glibc == record.glibc
        && known.cpu == record.cpu
        && known.criu == record.criu;
    // The texts of two recipes may be the same. Of an image that is damaged nothing more is known.
    reads_alike
        && store
            .load_manifest::<Manifest>(&image.id)
            .map_or(true, |manifest| manifest.content.recipe == *recipe)
}

/// The image to make room for another one of the same recipe, if there are many already: the one
/// that was not used for the longest time, but none that is pinned.
fn one_too_many<'a>(alike: &[&'a Image]) -> Option<&'a Image> {
    let used = |image: &Image| image.last_used_ns.unwrap_or(0).max(image.created_ns);
    let oldest = || alike.iter().filter(|image| !image.pinned).min_by_key(|image| used(image));
    (alike.len() >= MOST_ALIKE).then(oldest).flatten().copied()
}

/// A name that was chosen by the user must be free, or be that of an image of the same recipe, or
/// be given up by --force.
fn check_chosen_name(store: &Store, name: &str, force: bool, alike: &[&Image]) -> Result<()> {
    let is_another = |other: &Image| alike.iter().all(|image| image.record.key != other.record.key);
    match store.by_name(name)?.filter(is_another) {
        Some(other) if !force => Err(Error::failed(format!(
            "the name {name:?} is taken by the image of {:?} (Python {})",
            other.record.recipe, other.record.python
        ))
        .hint(format!("choose another name, or replace it: --force, or `pyimg rm {name}` first"))),
        _ => Ok(()),
    }
}

/// A name that is free, and stays so for this build as long as it holds the lock: others that
/// make a name of the same beginning wait.
fn made_up_name(
    store: &Store,
    base: &str,
    interrupted: &Interrupted,
) -> Result<(String, Option<store::BuildLock>)> {
    let stands_for_name = ImageKey::from(blake3::hash(format!("name {base}").as_bytes()));
    let lock = store.lock_build(&stands_for_name, &mut || capture::check_interrupt(interrupted))?;
    let mut name = base.to_owned();
    for number in 2.. {
        if store.by_name(&name)?.is_none() {
            break;
        }
        name = format!("{base}-{number}");
    }
    Ok((name, lock))
}

/// Whether an image can still be used as it is, by who has these credentials. If it is compressed
/// all of it is read, since what cannot be brought back is to be built again.
fn is_unchanged(store: &Store, image: &Image, credentials: &str) -> bool {
    let Ok(manifest) = store.load_manifest::<Manifest>(&image.id) else { return false };
    let directory = store.image_dir(&image.id);
    let evidence = manifest::read_evidence(&directory);
    manifest.content.credentials == credentials
        && store::check_files(&directory, &manifest.files).is_ok()
        && evidence.is_ok_and(|bytes| {
            Evidence::parse(&bytes).is_ok_and(|evidence| evidence.first_change().is_none())
        })
        && store.cold_packs_are_sound(&manifest.packs)
}

/// The hash seed of all images of a store: secret, and one, so that images share pages.
fn hash_seed(secret: &[u8; 32]) -> u32 {
    let hash = blake3::keyed_hash(secret, b"hash seed");
    let word = hash.as_bytes().first_chunk::<4>().expect("a hash has 32 bytes");
    u32::from_le_bytes(*word).max(1)
}

fn failed(failure: Failure) -> Error {
    match failure {
        Failure::Error(error) => error,
        Failure::Python(status) => {
            let how = match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit status {code}"),
                (None, Some(signal)) => format!("signal {signal}"),
                (None, None) => "no status".to_owned(),
            };
            Error::failed(format!("the recipe did not run to its end ({how}); nothing was stored"))
        }
    }
}
