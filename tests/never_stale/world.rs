//! A tree of files, an image of what is in it, and a program that tells what it sees.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{self, IMAGE, Lab, Output, Python, ground, pyimg, run};

/// What plain Python must say after a change, and whether the image must still be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// Something else than before: if not, the test would test nothing.
    New,
    /// The same as before; the image may be used or not.
    Same,
    /// Either: it depends on whether two moments lie in one second, for instance.
    Any,
    /// The same as before, and the image must be used: the change concerns nobody.
    Hit,
}

/// A change: how a person would call it, what it leads to, and how it is done.
pub type Change<'a> = (&'a str, Says, &'a dyn Fn(&mut World));

/// How a program went with `pyrun`, beside `python`.
#[derive(Debug)]
pub struct Pair {
    /// What `pyrun` said of itself: `hit: …` or `miss: …`.
    pub verdict: String,
    /// What came of it.
    pub ours: Output,
    /// What plain Python did.
    pub plain: Output,
}

impl Pair {
    /// Whether an image was used.
    pub fn is_hit(&self) -> bool {
        self.verdict.starts_with("hit: ")
    }

    /// How the two differ, if they do.
    pub fn difference(&self) -> Option<String> {
        (self.ours != self.plain).then(|| {
            let (plain, ours) = (shown(&self.plain), shown(&self.ours));
            format!("{}\n  python: {plain}\n  pyrun:  {ours}", self.verdict)
        })
    }
}

/// A place where things change.
pub struct World {
    /// The interpreter and the store.
    pub lab: Lab,
    /// The tree; all relative paths are below it.
    pub root: PathBuf,
    /// What the image is made of, as code; or a script, if it begins with `--script=`.
    pub recipe: String,
    /// Arguments of `python` and `pyrun`.
    pub program: Vec<OsString>,
    /// Variables, for building and running.
    pub variables: Vec<(OsString, OsString)>,
    /// The working directory of runs and builds.
    pub cwd: PathBuf,
    faults: Vec<String>,
}

impl World {
    /// An empty tree, for the usual Python; `lib` in it is on `PYTHONPATH`.
    pub fn new() -> Self {
        Self::of(common::a_python().clone())
    }

    /// An empty tree for this interpreter.
    pub fn of(python: Python) -> Self {
        let root = ground().dir("world");
        let cwd = root.join("cwd");
        let store = ground().no_file("store");
        let lab = Lab { python, store, turn: Default::default() };
        let mut world = Self {
            lab,
            recipe: String::new(),
            program: Vec::new(),
            variables: Vec::new(),
            cwd,
            root,
            faults: Vec::new(),
        };
        world.empty();
        world.search(&["lib"]);
        world
    }

    /// Takes everything out of the tree.
    fn empty(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
        fs::create_dir_all(self.root.join("cwd")).unwrap();
        self.cwd = self.root.join("cwd");
    }

    /// Sets `PYTHONPATH` to these directories of the tree, which are made.
    pub fn search(&mut self, directories: &[&str]) {
        let paths: Vec<PathBuf> = directories.iter().map(|name| self.path(name)).collect();
        for path in &paths {
            fs::create_dir_all(path).unwrap();
        }
        self.set("PYTHONPATH", std::env::join_paths(paths).unwrap());
    }

    /// The recipe, and the program that begins with it: `-c`.
    pub fn imports(&mut self, recipe: &str, print: &str) {
        self.recipe = recipe.to_owned();
        self.program = ["-c".into(), format!("{recipe}\n{print}").into()].into();
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.unset(name);
        self.variables.push((name.into(), value.as_ref().to_owned()));
    }

    /// Removes a variable.
    pub fn unset(&mut self, name: &str) {
        self.variables.retain(|(known, _)| known != name);
    }

    // ---- Files ----

    /// A path in the tree.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a file where it lies: the same inode, if there was one.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    /// Writes a file where it lies and puts its time of writing back.
    pub fn write_unnoticed(&self, name: &str, contents: impl AsRef<[u8]>) {
        let before = modified(&self.path(name));
        self.write(name, contents);
        self.touch(name, before);
    }

    /// Puts another file in the place of one, as package managers and editors do.
    pub fn replace(&self, name: &str, contents: impl AsRef<[u8]>) {
        let new = format!("{name}.new~");
        self.write(&new, contents);
        self.rename(&new, name);
    }

    /// Replaces a file by one of the same time.
    pub fn replace_unnoticed(&self, name: &str, contents: impl AsRef<[u8]>) {
        let new = format!("{name}.new~");
        self.write(&new, contents);
        self.touch(&new, modified(&self.path(name)));
        self.rename(&new, name);
    }

    /// Sets the time of writing of a file or directory.
    pub fn touch(&self, name: &str, time: std::time::SystemTime) {
        fs::File::open(self.path(name)).unwrap().set_modified(time).unwrap();
    }

    /// Moves the time of writing by so many seconds.
    pub fn shift(&self, name: &str, seconds: i64) {
        let by = std::time::Duration::from_secs(seconds.unsigned_abs());
        let before = modified(&self.path(name));
        self.touch(name, if seconds < 0 { before - by } else { before + by });
    }

    /// Does something in a directory and puts the directory's time back, as copying a tree
    /// with its times does (`cp -a`, `rsync -a`, `tar`).
    pub fn unnoticed_in(&self, directory: &str, act: impl FnOnce(&Self)) {
        let before = modified(&self.path(directory));
        act(self);
        self.touch(directory, before);
    }

    /// Renames; what has the new name goes.
    pub fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Removes a file or a directory with all that is in it.
    pub fn remove(&self, name: &str) {
        let path = self.path(name);
        if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }

    /// Makes a symbolic link, or lets the one that is there lead to something else.
    pub fn link(&self, to: &str, name: &str) {
        let new = self.path(format!("{name}.new~"));
        fs::create_dir_all(new.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(to, &new).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    /// Makes a directory.
    pub fn mkdir(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    /// Copies a file into the tree, as a new one.
    pub fn put(&self, from: &Path, name: &str) {
        self.replace(name, fs::read(from).unwrap());
        fs::set_permissions(self.path(name), fs::metadata(from).unwrap().permissions()).unwrap();
    }

    // ---- Runs ----

    fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.cwd)
    }

    /// `pyimg build` of the recipe, with these further options.
    pub fn try_build(&self, options: &[&str]) -> Output {
        let mut command = pyimg(&self.lab.store);
        command.arg("build").args(["--name", IMAGE]).args(options);
        match self.recipe.strip_prefix("--script=") {
            Some(script) => command.args(["--script", script]),
            None => command.arg(&self.recipe),
        };
        command.arg("--python").arg(&self.lab.python.path);
        run(self.environment(&mut command))
    }

    /// Builds the image anew.
    #[track_caller]
    pub fn build(&self) {
        self.try_build(&["--force"]).success();
    }

    /// Plain Python, here.
    pub fn plain(&self) -> Command {
        let mut command = self.lab.plain();
        command.env("PYIMG_LOG", "debug");
        self.environment(&mut command);
        command
    }

    /// Runs Python code in the tree for what it does.
    #[track_caller]
    pub fn python(&self, code: &str) -> String {
        run(self.plain().args(["-c", code]).current_dir(&self.root)).success()
    }

    /// The program, first by `pyrun`, for plain Python may write compiled files.
    pub fn run(&self) -> Pair {
        self.run_beside(&[], None)
    }

    /// The same, started by a command such as `setarch`.
    pub fn run_within(&self, around: &[&str]) -> Pair {
        self.run_beside(around, None)
    }

    /// The same; what plain Python does may be known already.
    fn run_beside(&self, around: &[&str], known: Option<&Output>) -> Pair {
        let with = |command: Command| {
            let mut words = around.iter().map(OsString::from).collect::<Vec<_>>();
            words.push(command.get_program().to_owned());
            let mut whole = Command::new(&words[0]);
            whole.args(&words[1..]).args(&self.program).stdin(std::process::Stdio::null());
            whole.env_clear();
            whole.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            self.environment(whole.env("PYIMG_LOG", "debug"));
            run(&mut whole)
        };
        let mut ours = with(self.lab.pyrun());
        let text = ours.stderr_text();
        let is_own = |line: &&str| line.starts_with("pyrun: ");
        let (own, rest): (Vec<&str>, Vec<&str>) = text.split_inclusive('\n').partition(is_own);
        let verdict = match own[..] {
            [line] => line.trim_start_matches("pyrun: ").trim_end().to_owned(),
            _ => format!("not one verdict but {own:?}"),
        };
        ours.stderr = rest.concat().into_bytes();
        let plain = known.cloned().unwrap_or_else(|| with(self.lab.plain()));
        Pair { verdict, ours, plain }
    }

    /// Tries all changes, each on a tree and an image that are new; those that must be hits
    /// one after the other on the same. Fails with all that was wrong.
    #[track_caller]
    pub fn try_all(&mut self, setup: impl Fn(&mut Self), changes: &[Change<'_>]) {
        let original = self.variables.clone();
        let mut plain = None;
        let mut is_fresh = false;
        for (what, says, act) in changes {
            if !is_fresh {
                self.empty();
                self.variables.clone_from(&original);
                setup(self);
                self.build();
                // What plain Python says of the same tree is the same each time.
                let pair = self.run_beside(&[], plain.as_ref());
                if !pair.is_hit() || pair.difference().is_some() {
                    self.fault("before", what, &pair);
                }
                plain = Some(pair.plain);
            }
            let before = plain.clone().expect("it was run");
            act(self);
            let pair = self.run();
            self.judge(what, *says, &before, &pair);
            is_fresh = *says == Says::Hit && pair.is_hit();
        }
        self.finish();
    }

    /// The same in one tree and with one image: for changes that can be taken back, each of
    /// which begins where the one before has ended.
    pub fn try_next(&mut self, changes: &[Change<'_>]) {
        let mut before = self.run();
        if let Some(difference) = before.difference() {
            self.faults.push(format!("before: {difference}"));
        }
        for (what, says, act) in changes {
            act(self);
            let pair = self.run();
            self.judge(what, *says, &before.plain, &pair);
            before = pair;
        }
    }

    /// Whether the run after a change was as it must be.
    fn judge(&mut self, what: &str, says: Says, before: &Output, pair: &Pair) {
        if pair.difference().is_some() {
            self.fault("stale", what, pair);
        }
        let is_same = pair.plain == *before;
        match says {
            Says::New if is_same => {
                self.fault("the test is wrong: nothing has changed", what, pair)
            }
            Says::Same | Says::Hit if !is_same => {
                self.fault("the test is wrong: something has changed", what, pair);
            }
            Says::Hit if !pair.is_hit() => self.fault("no hit", what, pair),
            _ => {}
        }
    }

    fn fault(&mut self, kind: &str, what: &str, pair: &Pair) {
        let difference = pair.difference();
        let detail =
            difference.unwrap_or_else(|| format!("{}, {}", pair.verdict, shown(&pair.plain)));
        self.faults.push(format!("{kind}: {what}: {detail}"));
    }

    /// Fails if anything was wrong.
    #[track_caller]
    pub fn finish(&mut self) {
        let faults = std::mem::take(&mut self.faults);
        let _ = fs::remove_dir_all(&self.root);
        let _ = fs::remove_dir_all(&self.lab.store);
        assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
    }
}

/// An output in one line.
fn shown(output: &Output) -> String {
    let code = output.code();
    let error = if output.stderr.is_empty() { String::new() } else { output.stderr_text() };
    format!("{code} {:?} {}", output.stdout_text(), error.trim_end().replace('\n', "\n          "))
}

/// The time of writing.
pub fn modified(path: &Path) -> std::time::SystemTime {
    fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).modified().unwrap()
}
