//! The same program by plain Python and from an image, side by side.
//!
//! Both run in a directory of the same name with the same files in it; what they print, how
//! they end and what they write must be the same to the byte.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::PoisonError;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{IMAGE, Lab, Output, binary, eventually, files_below, ground, run_while};

/// The file by which a program says that it has come so far.
pub const READY: &str = "ready";
/// Python code that says so.
pub const SAY_READY: &str = "open('ready', 'w').close()";

/// One program and what is around it.
#[derive(Debug, Clone, Default)]
pub struct Case {
    name: String,
    arguments: Vec<OsString>,
    files: Vec<(PathBuf, Vec<u8>)>,
    stdin: Option<Vec<u8>>,
    environment: Vec<(OsString, OsString)>,
    shell: Option<String>,
    signal: Option<Signal>,
    since: (u32, u32),
    miss: Option<String>,
    ends: Option<i32>,
}

impl Case {
    fn new(name: &str) -> Self {
        Self { name: name.replace(['/', ' '], "-"), ..Self::default() }
    }

    /// `-c CODE`
    pub fn code(name: &str, code: &str) -> Self {
        Self::new(name).arguments(["-c", code])
    }

    /// `script.py` with this text.
    pub fn script(name: &str, text: &str) -> Self {
        Self::new(name).arguments(["script.py"]).file("script.py", text)
    }

    /// Any arguments.
    pub fn of<A: Into<OsString>>(name: &str, arguments: impl IntoIterator<Item = A>) -> Self {
        Self::new(name).arguments(arguments)
    }

    /// Further arguments.
    pub fn arguments<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// A file in the working directory.
    pub fn file(mut self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        self.files.push((path.into(), contents.as_ref().to_vec()));
        self
    }

    /// A regular file on standard input.
    pub fn stdin(mut self, contents: impl AsRef<[u8]>) -> Self {
        self.stdin = Some(contents.as_ref().to_vec());
        self
    }

    /// A further environment variable.
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// A Bash script around it, where `"$@"` is the command. What it prints is compared too.
    pub fn shell(mut self, script: &str) -> Self {
        self.shell = Some(script.to_owned());
        self
    }

    /// A signal to be sent once the program has said that it is ready.
    pub fn signal(mut self, signal: Signal) -> Self {
        self.signal = Some(signal);
        self
    }

    /// The first Python that can run it.
    pub fn since(mut self, major: u32, minor: u32) -> Self {
        self.since = (major, minor);
        self
    }

    /// The image cannot be used, for this reason.
    pub fn misses(mut self, reason: &str) -> Self {
        self.miss = Some(reason.to_owned());
        self
    }

    /// How it ends with either: an exit status, or the negative number of a signal.
    pub fn ends(mut self, code: i32) -> Self {
        self.ends = Some(code);
        self
    }

    /// Runs it on both sides and tells how they differ, if they do.
    fn difference(&self, lab: &Lab) -> Option<String> {
        if lab.python.version < self.since {
            return None;
        }
        let place = ground().fixed("sides").join(&lab.python.label).join(&self.name);
        let plain = self.side(lab, &place, &[lab.python.path.clone().into()]);
        let ours: [OsString; 3] = [binary("pyrun").into(), "--image".into(), IMAGE.into()];
        let before = lab.uses();
        let (mut output, files) = self.side(lab, &place, &ours);
        let hits = lab.uses() - before;

        let mut found = Vec::new();
        let missed = output.take_miss();
        match (&self.miss, &missed) {
            (None, None) if hits > 0 => {}
            (None, None) => found.push("a miss that gave no reason".to_owned()),
            (None, Some(reason)) => found.push(format!("a miss: {reason}")),
            (Some(wanted), Some(reason)) if hits == 0 && reason.contains(wanted) => {}
            (Some(wanted), _) => found.push(format!("wanted a miss ({wanted}), got {missed:?}")),
        }
        if let Some(code) = self.ends
            && plain.0.code() != code
        {
            found.push(format!("the test is wrong: plain Python ended with {}", plain.0.code()));
        }
        if plain.0.code() != output.code() {
            found.push(format!("ended with {}, plain with {}", output.code(), plain.0.code()));
        }
        for (what, plain, ours) in [
            ("standard output", &plain.0.stdout, &output.stdout),
            ("standard error", &plain.0.stderr, &output.stderr),
        ] {
            if plain != ours {
                found.push(format!(
                    "{what}\n--- plain\n{}\n--- pyrun\n{}",
                    shown(plain),
                    shown(ours)
                ));
            }
        }
        if plain.1 != files {
            let names = |files: &[(PathBuf, Vec<u8>)]| {
                files
                    .iter()
                    .map(|(path, bytes)| format!("{} {}", path.display(), shown(bytes)))
                    .collect::<Vec<_>>()
            };
            found.push(format!(
                "files\n--- plain\n{:#?}\n--- pyrun\n{:#?}",
                names(&plain.1),
                names(&files)
            ));
        }
        (!found.is_empty())
            .then(|| format!("{} on {}: {}", self.name, lab.python.label, found.join("\n")))
    }

    fn side(
        &self,
        lab: &Lab,
        place: &Path,
        program: &[OsString],
    ) -> (Output, Vec<(PathBuf, Vec<u8>)>) {
        let _ = fs::remove_dir_all(place);
        fs::create_dir_all(place).unwrap();
        for (path, contents) in &self.files {
            let path = place.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        let mut words = Vec::new();
        if let Some(script) = &self.shell {
            words.extend(["bash", "-c", script, "bash"].map(OsString::from));
        }
        words.extend_from_slice(program);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(&self.arguments);
        let plain = lab.plain();
        command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(place).env("PWD", place);
        match &self.stdin {
            Some(contents) => {
                let path = ground().no_file("stdin");
                fs::write(&path, contents).unwrap();
                command.stdin(fs::File::open(path).unwrap());
            }
            None => {
                command.stdin(std::process::Stdio::null());
            }
        }
        let output = run_while(&mut command, |pid| self.send_signal(place, pid));
        (output, files_below(place))
    }

    fn send_signal(&self, place: &Path, pid: Pid) {
        let Some(signal) = self.signal else { return };
        eventually(|| place.join(READY).exists());
        // From saying that it is ready to sleeping takes it a moment.
        std::thread::sleep(std::time::Duration::from_millis(20));
        let _ = kill(pid, signal);
    }
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(4000) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], bytes.len()),
        None => text.into_owned(),
    }
}

/// Runs the cases with each lab and reports all that differ.
pub fn compare(labs: &[&Lab], cases: &[Case]) {
    let mut differences = Vec::new();
    for lab in labs {
        let _turn = lab.turn.lock().unwrap_or_else(PoisonError::into_inner);
        differences.extend(cases.iter().filter_map(|case| case.difference(lab)));
    }
    assert!(
        differences.is_empty(),
        "{} of {} differ\n\n{}",
        differences.len(),
        cases.len() * labs.len(),
        differences.join("\n\n")
    );
}
