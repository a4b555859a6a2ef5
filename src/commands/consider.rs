//! `pyimg consider`: what is started by a run that found no image, and that nobody waits for.
//!
//! It looks at the program: how long do its imports take, and which command would build an
//! image that helps. Under the policy `auto` it builds that image, if it would save enough, as
//! `pyimg build` in a child process that ends with this one. What it finds is put into the
//! program's memory, where `pyrun` reads it. It says nothing, changes nothing else, and at
//! any time there is one of it for each store.
//!
//! [`crate::launch::background`] decides whether it is started.

use std::ffi::OsString;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::build;
use crate::cli::Consider;
use crate::config::{Config, Policy, Priority};
use crate::error::{Error, Result};
use crate::key::flags::Flags;
use crate::key::recipe::Recipe;
use crate::launch::background::{WORTHWHILE_NS, is_due, state_of};
use crate::launch::reach::{Reach, SearchPath};
use crate::manifest::Manifest;
use crate::store::{self, ImageKey, Outlook, Program, ProgramId, Store, Verdict, now_ns};

/// How long a build may take, and how long it may take to end when it is told to.
const BUILD: Duration = Duration::from_secs(600);
const LAST_WORDS: Duration = Duration::from_secs(20);

/// How long all of this may take, in seconds.
const ALL: u32 = 20 * 60;

/// How long is waited before a build that was disturbed is tried again.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

/// How often it is looked whether a build has ended.
const LOOK: Duration = Duration::from_millis(50);

/// Characters of the reason for a failure that are kept.
const LONGEST_REASON: usize = 300;

/// How many images the estimate of import times is compared with, how long their imports must
/// take for that, in nanoseconds, and how far it may be off.
const IMAGES: usize = 3;
const LEAST_NS: u64 = 20_000_000;
const FARTHEST: f64 = 4.0;

/// Runs the command.
///
/// # Errors
/// When nothing was found out; nobody is told.
pub fn run(args: &Consider) -> Result<()> {
    // Whatever hangs: it ends.
    nix::unistd::alarm::set(ALL);
    let config = Config::read()?;
    if config.build == Policy::Off || !is_quiet_place() {
        return Ok(());
    }
    if config.build_priority == Priority::Low {
        crate::sys::yield_to_others();
    }
    let id: ProgramId = args
        .program
        .parse()
        .map_err(|_| Error::usage(format!("{:?} is no id of a program", args.program)))?;
    let memory: Program = serde_json::from_str(&args.memory)
        .map_err(|error| Error::usage("this is no memory of a program").because(error))?;
    let store = match config.build {
        Policy::Auto => Store::open(&store::default_dir()?)?,
        _ => super::existing_store()?.ok_or_else(|| Error::failed("there is no store"))?,
    };
    let alone = ImageKey::from(blake3::hash(b"pyimg consider"));
    let taken = || Err(Error::failed("another program is being considered"));
    let Some(_alone) = store.lock_build(&alone, &mut { taken })? else { return Ok(()) };
    let program = store.program(&id).unwrap_or(memory);
    if !is_due(&program, now_ns(), args.stale.is_some() || args.elsewhere) {
        return Ok(());
    }
    let terminals = &args.terminals;
    Consideration { store, id, program, config, terminals }.run(args.stale.as_deref())
}

/// Whether this process is alone: nobody waits for it or looks into it, and what the kernel
/// says of users and processes is what it means.
fn is_quiet_place() -> bool {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let parent = nix::unistd::getppid().as_raw();
    // Some adopt orphans in order to wait for them.
    let is_adopted = parent == 1 || read(&format!("/proc/{parent}/comm")).trim() == "systemd";
    let map = read("/proc/self/uid_map");
    let is_mapped = map.split_whitespace().ne(["0", "0", "4294967295"]);
    let status = read("/proc/self/status");
    let is_traced = !status
        .lines()
        .any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() == "0"));
    is_adopted && !is_mapped && !is_traced
}

/// A program that is being considered.
struct Consideration<'a> {
    store: Store,
    id: ProgramId,
    program: Program,
    config: Config,
    /// Which standard descriptors of its last run were terminals.
    terminals: &'a [u8],
}

/// A build that would help.
#[derive(Debug)]
struct Way {
    /// The arguments of `pyimg`.
    arguments: Vec<OsString>,
    /// The image that it makes anew.
    renews: Option<String>,
}

impl Consideration<'_> {
    fn run(&mut self, stale: Option<&str>) -> Result<()> {
        let recipe = self.program.recipe().ok_or_else(|| Error::failed("there is no recipe"))?;
        let mut outlook = Outlook {
            at_ns: now_ns(),
            state: state_of(&self.program),
            builds_ns: self.program.outlook.take().unwrap_or_default().builds_ns,
            ..Outlook::default()
        };
        self.put(&outlook, None);
        let renewal = stale.and_then(|name| self.renewal(name));
        // An image that was used until now has been measured.
        let measured = renewal.as_ref().map(|(_, import_ns)| *import_ns);
        let import_ns = measured.map_or_else(|| self.estimate(&recipe), Ok)?;
        let is_worth_it =
            import_ns >= WORTHWHILE_NS || renewal.is_some() && self.config.build == Policy::Auto;
        let own = Way { arguments: self.arguments(&recipe, &[])?, renews: None };
        let ways: Vec<Way> = renewal.map(|(way, _)| way).into_iter().chain([own]).collect();
        outlook.command = typed(&ways[0].arguments);
        outlook.renews = ways[0].renews.clone();
        if is_worth_it && self.config.build == Policy::Auto && self.has_room()? {
            self.build(&ways, &mut outlook, import_ns);
            return Ok(());
        }
        outlook.verdict = if is_worth_it { Verdict::Advised } else { Verdict::NotWorthIt };
        self.put(&outlook, Some(import_ns));
        Ok(())
    }

    /// Builds in one of these ways, the first that works.
    fn build(&self, ways: &[Way], outlook: &mut Outlook, import_ns: u64) {
        outlook.add_build(now_ns());
        self.put(outlook, Some(import_ns));
        for way in ways {
            outlook.command = typed(&way.arguments);
            outlook.renews.clone_from(&way.renews);
            match build_patiently(&way.arguments, self.terminals) {
                Ok(is_new) => {
                    outlook.verdict = if is_new { Verdict::Built } else { Verdict::NoHelp };
                    outlook.failure = None;
                    break;
                }
                Err(why) => {
                    let disturbed = is_disturbance(&why);
                    outlook.verdict = if disturbed { Verdict::Disturbed } else { Verdict::Failed };
                    outlook.failure = Some(why);
                }
            }
        }
        outlook.at_ns = now_ns();
        self.put(outlook, Some(import_ns));
    }

    /// Puts what was found into the program's memory, in which runs may have changed the rest
    /// meanwhile.
    fn put(&self, outlook: &Outlook, import_ns: Option<u64>) {
        let records = self.store.records();
        let known = records.program(&self.id);
        if known.is_none() {
            records.make_room_for_program(&self.id);
        }
        let mut program = known.unwrap_or_else(|| self.program.clone());
        // What has changed is worth being told again.
        let before = program.outlook.as_ref();
        program.told &= before.is_none_or(|before| before.state == outlook.state);
        program.outlook = Some(outlook.clone());
        program.import_ns = import_ns.or(program.import_ns);
        records.put_program(&self.id, &program);
    }

    /// How an image that has become stale is built again, and how long its imports take.
    fn renewal(&self, name: &str) -> Option<(Way, u64)> {
        let image = self.store.by_name(name).ok()??;
        let manifest = self.store.load_manifest::<Manifest>(&image.id).ok()?;
        // One that was grown would have to be grown again, from a parent that is stale as well.
        let recipe = Some(manifest.content.recipe).filter(|recipe| recipe.parent().is_none())?;
        if image.record.executable != self.program.executable {
            return None;
        }
        let arguments = self.arguments(&recipe, &["--force", "--name", name]).ok()?;
        Some((Way { arguments, renews: Some(name.to_owned()) }, image.record.import_ns))
    }

    /// The arguments of `pyimg` that build an image of a recipe for this program.
    fn arguments(&self, recipe: &Recipe, options: &[&str]) -> Result<Vec<OsString>> {
        let mut arguments: Vec<OsString> = vec!["build".into()];
        arguments.extend(options.iter().map(OsString::from));
        let executable = Path::new(&self.program.executable);
        if build::interpreter(None, recipe.script()).ok().as_deref() != Some(executable) {
            arguments.extend(["--python".into(), executable.into()]);
        }
        match recipe {
            Recipe::Code { code } => arguments.push(code.into()),
            Recipe::Module { modules } => {
                arguments.extend(modules.iter().flat_map(|module| ["-m".into(), module.into()]));
            }
            Recipe::Script { script } => arguments.extend(["--script".into(), script.into()]),
            Recipe::Grown { .. } => return Err(Error::failed("it takes more than one command")),
        }
        let flags = Flags::of_text(&self.program.flags)?.canonical();
        if !flags.is_empty() {
            arguments.push("--".into());
            arguments.extend(flags.into_iter().map(OsString::from));
        }
        Ok(arguments)
    }

    /// How long the recipe's imports probably take, in nanoseconds: a guess, set right by what
    /// images of the same interpreter have taken.
    fn estimate(&self, recipe: &Recipe) -> Result<u64> {
        let flags = Flags::of_text(&self.program.flags)?;
        let executable = Path::new(&self.program.executable);
        let search_path = SearchPath::ask(executable, &flags.canonical())
            .map_err(|error| Error::failed("where modules lie is not known").because(error))?;
        let cwd = std::env::current_dir().ok().filter(|_| !flags.safe_path());
        let guess = |recipe: &Recipe| Reach::of(recipe, &search_path, cwd.as_deref()).import_ns();
        let images = self.store.images()?;
        let alike = images.iter().rev().filter(|image| {
            image.record.executable == self.program.executable && image.record.import_ns >= LEAST_NS
        });
        let off = alike.take(IMAGES).filter_map(|image| {
            let manifest = self.store.load_manifest::<Manifest>(&image.id).ok()?;
            let guessed = guess(&manifest.content.recipe);
            (guessed >= LEAST_NS).then(|| image.record.import_ns as f64 / guessed as f64)
        });
        let mut off: Vec<f64> = off.collect();
        off.sort_by(f64::total_cmp);
        let off = off.get(off.len() / 2).map_or(1.0, |off| off.clamp(1.0 / FARTHEST, FARTHEST));
        Ok((guess(recipe) as f64 * off) as u64)
    }

    /// Whether the store may grow: either builds keep it within its limit, or it is.
    fn has_room(&self) -> Result<bool> {
        Ok(match self.config.max_size {
            Some(most) if !self.config.auto_gc => self.store.indexed_bytes()? < most,
            Some(0) => false,
            _ => true,
        })
    }
}

/// Runs `pyimg build`, again if what it imports is changed meanwhile: it is likely that the
/// program, which was started at the same time, has just written its byte code.
fn build_patiently(arguments: &[OsString], terminals: &[u8]) -> Result<bool, String> {
    for pause in PAUSES {
        match build_now(arguments, terminals) {
            Err(why) if is_disturbance(&why) => std::thread::sleep(pause),
            ended => return ended,
        }
    }
    build_now(arguments, terminals)
}

/// Whether a build that failed for this reason may succeed right afterwards.
fn is_disturbance(why: &str) -> bool {
    why.ends_with("while the image was being built") || why == "interrupted"
}

/// Runs `pyimg build` as if on these terminals. Returns whether an image was built that was not
/// there, or why not.
fn build_now(arguments: &[OsString], terminals: &[u8]) -> Result<bool, String> {
    let cannot = |error: std::io::Error| format!("it cannot be tried: {error}");
    let pyimg: PathBuf = std::env::current_exe().map_err(cannot)?;
    let new_file = || tempfile::tempfile().map_err(cannot);
    let (mut stdout, mut stderr) = (new_file()?, new_file()?);
    let mut command = Command::new(pyimg);
    let (first, rest) = arguments.split_at(1);
    command.args(first).arg("--json");
    command.args(terminals.iter().map(|number| format!("--terminals={number}"))).args(rest);
    command.stdin(std::process::Stdio::null());
    command.stdout(stdout.try_clone().map_err(cannot)?);
    command.stderr(stderr.try_clone().map_err(cannot)?);
    // Told to end, it ends what it has started and removes what it has written.
    crate::sys::in_company(&mut command, libc::SIGTERM);
    let mut child = command.spawn().map_err(cannot)?;
    let status = end_of(&mut child).map_err(cannot)?;
    let read = |file: &mut std::fs::File| {
        let mut bytes = Vec::new();
        let _ = file.rewind().and_then(|()| file.take(1 << 20).read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    };
    match status {
        Some(status) if status.success() => {
            // What modules print stands before it.
            let said = read(&mut stdout);
            let begin = said.rfind("\n{").map_or(0, |at| at + 1);
            let answer: serde_json::Value =
                serde_json::from_str(&said[begin..]).unwrap_or_default();
            Ok(answer["built"] != false)
        }
        Some(_) => Err(reason(&read(&mut stderr))),
        None => Err(format!("it took longer than {} s", BUILD.as_secs())),
    }
}

/// Waits for a build to end; none if it had to be ended.
fn end_of(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let wait = |child: &mut Child, patience: Duration| {
        let start = Instant::now();
        loop {
            match child.try_wait()? {
                None if start.elapsed() < patience => std::thread::sleep(LOOK),
                ended => return Ok::<_, std::io::Error>(ended),
            }
        }
    };
    if let Some(status) = wait(child, BUILD)? {
        return Ok(Some(status));
    }
    let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
    if wait(child, LAST_WORDS)?.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    Ok(None)
}

/// The line of what a failed build has said that tells why.
fn reason(said: &str) -> String {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().rfind(|line| line.starts_with("error:"));
    // When an import fails, Python's own last line says more than ours about it.
    let line = match error {
        Some(line) if !line.contains("the recipe did not run") => {
            line.trim_start_matches("error:").trim()
        }
        _ => lines().rfind(|line| !line.starts_with("hint:")).unwrap_or("it failed"),
    };
    line.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect()
}

/// The command as it is typed into a shell.
fn typed(arguments: &[OsString]) -> String {
    let mut text = String::from("pyimg");
    for argument in arguments {
        text.push(' ');
        // What no shell can be given stands as it is; nobody's files are called so.
        let argument = argument.to_string_lossy();
        text.push_str(&shlex::try_quote(&argument).unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_typed() {
        let arguments =
            ["build", "--script", "/srv/my tool.py", "import a, b", "-m", "x.y", "it's"];
        let arguments = arguments.map(OsString::from);
        let expected = r#"pyimg build --script '/srv/my tool.py' 'import a, b' -m x.y "it's""#;
        assert_eq!(typed(&arguments), expected);
    }

    #[test]
    fn the_reason_of_a_failure_is_one_line() {
        let refused = "warning: noise\nerror: cannot build an image: a thread runs\nhint: do not\n";
        assert_eq!(reason(refused), "cannot build an image: a thread runs");
        assert_eq!(reason(""), "it failed");
        assert_eq!(reason("Traceback\nModuleNotFoundError: x\n\n"), "ModuleNotFoundError: x");
        assert_eq!(reason(&format!("error: {}", "x".repeat(1000))).len(), LONGEST_REASON);
    }
}
