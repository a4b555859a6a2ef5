//! What is remembered of programs: a small file for each, which its next run reads.
//!
//! It is only ever a help: to choose an image, to see what is worth building. So it is
//! written by runs, without a lock and without a sync, and nobody is told when that fails;
//! of two runs at once the later one wins. A file is made beside its place and renamed, so
//! whoever reads finds one of them whole; what a power cut leaves is no JSON, and nothing
//! is remembered then.
//!
//! The modules lie in a file of their own, because it is the program itself that writes
//! them when it ends (`src/capture/park/record.c`).
//!
//! Programs are spread over 256 directories, shelves, of which each holds so many and no
//! more: a new one takes the place of the one that has not been run for the longest time.
//! So their number is bounded without anybody who cleans up.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use serde::{Deserialize, Serialize};

use super::access;
use super::ids::ProgramId;
use super::layout::{self, Layout, OnShelf};
use super::outlook::Outlook;
use super::{Files, Reader};

/// Programs on one shelf; all of them together are at most 256 times as many.
const ON_A_SHELF: usize = 40;

/// Bytes of a file about a program that are read; there are never more.
const LONGEST: u64 = 1 << 16;

/// How old something unfinished is when its writer must have been killed.
const UNFINISHED_FOR: Duration = Duration::from_secs(3600);

/// What is remembered of a program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// What it is, for people: `-m black`, `/usr/bin/http`, the beginning of a `-c` text. One
    /// line without control characters.
    pub what: String,
    /// The interpreter, as it is started.
    pub executable: String,
    /// The interpreter's flags, in one spelling.
    pub flags: String,
    /// What to build an image for it from, or null; the store does not look into it.
    #[serde(default)]
    pub recipe: serde_json::Value,
    /// What its last run has decided, or null; the store does not look into it.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub decision: serde_json::Value,
    /// The top-level modules that it needed when it last ended after a run from an image;
    /// `None` if it never has.
    #[serde(skip)]
    pub modules: Option<BTreeSet<String>>,
    /// Runs in a row that found no image and would have found a better one built for it, as
    /// far as their number matters.
    #[serde(default)]
    pub misses: u32,
    /// How long its imports take, as far as is known, in nanoseconds.
    #[serde(default)]
    pub import_ns: Option<u64>,
    /// Whether its user has been told what would help.
    #[serde(default)]
    pub told: bool,
    /// What was found about it when nobody waited, if anybody has looked since its last run
    /// from an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlook: Option<Outlook>,
    /// When it was last run, in nanoseconds since 1970: the file's time of writing.
    #[serde(skip)]
    pub last_run_ns: i64,
}

/// What runs write into a store besides bringing packs back: programs and the log of runs.
///
/// It needs no index and no lock, so that a miss can be recorded that came before the store
/// was opened, or because it could not be.
#[derive(Debug, Clone)]
pub struct Records {
    pub(super) layout: Layout,
}

impl Records {
    /// The records of the store in `dir`; `None` if there is none that could be relied upon.
    pub fn of(dir: &Path) -> Option<Self> {
        let layout = Layout::new(dir);
        access::check(dir, &fs::metadata(dir).ok()?).ok()?;
        access::trusted_file(&layout.index()).ok()?;
        Some(Self { layout })
    }

    /// What is remembered of a program; `None` if nothing is, or nothing that is sound.
    pub fn program(&self, id: &ProgramId) -> Option<Program> {
        let (text, last_run_ns) = read(&self.layout.program(id))?;
        let program: Program = serde_json::from_str(&text).ok()?;
        let modules = read(&self.layout.modules(id)).map(|(names, _)| listed(&names));
        Some(Program { modules, last_run_ns, ..program })
    }

    /// Remembers this of a program, all but its modules, as of a run just now. Where that
    /// cannot be written nothing is, and that is no error.
    pub fn put_program(&self, id: &ProgramId, program: &Program) {
        let path = self.layout.program(id);
        let Ok(text) = serde_json::to_vec(program) else { return };
        if text.len() as u64 > LONGEST || put(&path, &text).is_ok() {
            return;
        }
        // The first of its shelf, or of all.
        let shelf = self.layout.shelf(id);
        for dir in [self.layout.programs(), shelf] {
            if access::private_dir(&dir).is_err() {
                return;
            }
        }
        let _ = put(&path, &text);
    }

    /// Remembers that a program was run just now.
    pub fn touch_program(&self, id: &ProgramId) {
        let file = OpenOptions::new()
            .append(true)
            .custom_flags(O_NOFOLLOW | O_NONBLOCK)
            .open(self.layout.program(id));
        let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// Makes room on a program's shelf before it is remembered for the first time.
    pub fn make_room_for_program(&self, id: &ProgramId) {
        let shelf = self.layout.shelf(id);
        let mut programs: Vec<(i64, ProgramId)> = Vec::new();
        let ids: Vec<ProgramId> = entries(&shelf).filter_map(program_id).collect();
        if ids.len() < ON_A_SHELF {
            return;
        }
        for id in ids {
            let written = fs::symlink_metadata(self.layout.program(&id));
            programs.push((written.map_or(0, |found| modified_ns(&found)), id));
        }
        programs.sort_unstable();
        let over = programs.len() + 1 - ON_A_SHELF;
        programs.iter().take(over).for_each(|(_, id)| self.forget_program(id));
    }

    /// Forgets a program.
    pub fn forget_program(&self, id: &ProgramId) {
        let Self { layout } = self;
        for path in
            [layout.program(id), layout.modules(id), layout.pages(id), layout.seen_pages(id)]
        {
            let _ = fs::remove_file(path);
        }
    }

    /// Where a program writes its modules when it ends: a name per line, sorted.
    pub fn modules_path(&self, id: &ProgramId) -> PathBuf {
        self.layout.modules(id)
    }

    /// Where a program writes which pages it has written, if it is asked to.
    pub fn seen_pages_path(&self, id: &ProgramId) -> PathBuf {
        self.layout.seen_pages(id)
    }

    /// What a program has written there, and it is not there any more.
    pub fn take_seen_pages(&self, id: &ProgramId) -> Option<String> {
        let path = self.layout.seen_pages(id);
        let (text, _) = read(&path)?;
        fs::remove_file(path).ok()?;
        Some(text)
    }

    /// What is known of the pages that a program writes.
    pub fn pages(&self, id: &ProgramId) -> Option<String> {
        read(&self.layout.pages(id)).map(|(text, _)| text)
    }

    /// Puts what is known of them.
    pub fn put_pages(&self, id: &ProgramId, text: &str) {
        let _ = put(&self.layout.pages(id), text.as_bytes());
    }

    /// All programs that are remembered, those that were run last first.
    pub fn programs(&self) -> Vec<(ProgramId, Program)> {
        let ids = self
            .shelves()
            .flat_map(|shelf| entries(&shelf).filter_map(program_id).collect::<Vec<_>>());
        let mut programs: Vec<_> =
            ids.filter_map(|id| self.program(&id).map(|program| (id, program))).collect();
        programs.sort_by_key(|(id, program)| (std::cmp::Reverse(program.last_run_ns), *id));
        programs
    }

    /// Forgets programs that have not been run since then, and removes what is left of
    /// others: modules of programs that are forgotten, files whose writers were killed.
    /// Returns how many programs were forgotten.
    pub fn forget_programs_before(&self, time_ns: i64) -> u64 {
        let mut forgotten = 0;
        let now_ns = now_ns();
        for shelf in self.shelves() {
            for name in entries(&shelf) {
                let path = shelf.join(&name);
                let Ok(found) = fs::symlink_metadata(&path) else { continue };
                let written_ns = modified_ns(&found);
                let gone = match layout::on_shelf(&name) {
                    Some(OnShelf::Program(id)) if written_ns < time_ns => {
                        forgotten += 1;
                        self.forget_program(&id);
                        continue;
                    }
                    Some(OnShelf::Modules(id) | OnShelf::Pages(id)) => {
                        !self.layout.program(&id).exists()
                    }
                    Some(OnShelf::Unfinished) => {
                        let age = now_ns.saturating_sub(written_ns);
                        age > UNFINISHED_FOR.as_nanos() as i64
                    }
                    _ => false,
                };
                if gone {
                    let _ = fs::remove_file(path);
                }
            }
        }
        forgotten
    }

    /// The directories that there are of those that programs are spread over.
    fn shelves(&self) -> impl Iterator<Item = PathBuf> {
        let programs = self.layout.programs();
        entries(&programs)
            .filter(|name| layout::is_shelf(name))
            .map(move |name| programs.join(name))
    }
}

impl Files {
    /// What runs write into this store.
    pub fn records(&self) -> Records {
        Records { layout: self.layout.clone() }
    }
}

impl Reader {
    /// What is remembered of a program: [`Records::program`].
    pub fn program(&self, id: &ProgramId) -> Option<Program> {
        self.records().program(id)
    }
}

fn program_id(name: String) -> Option<ProgramId> {
    match layout::on_shelf(&name) {
        Some(OnShelf::Program(id)) => Some(id),
        _ => None,
    }
}

fn entries(dir: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// The modules of a list, a name per line.
fn listed(names: &str) -> BTreeSet<String> {
    names.lines().filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A small file that may be trusted, and when it was written.
fn read(path: &Path) -> Option<(String, i64)> {
    let (bytes, found) = access::read_trusted(path, LONGEST + 1)?;
    let text = String::from_utf8(bytes).ok().filter(|text| text.len() as u64 <= LONGEST)?;
    Some((text, modified_ns(&found)))
}

/// Puts a small file into its place at once.
pub(super) fn put(path: &Path, text: &[u8]) -> io::Result<()> {
    let unfinished = Layout::unfinished(path, std::process::id());
    let file = match access::create_private(&unfinished) {
        // Of a process with this number that was killed.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&unfinished)?;
            access::create_private(&unfinished)
        }
        created => created,
    };
    let written = file.and_then(|mut file: File| file.write_all(text));
    let put = written.and_then(|()| swap(&unfinished, path));
    // If there was a file it is the old one that has this name now.
    let _ = fs::remove_file(&unfinished);
    put
}

/// Gives a file its name, exchanging it with the one that has it. A rename that replaces a
/// file writes the new one out on ext4 (`auto_da_alloc`), which can take milliseconds.
fn swap(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_EXCHANGE) {
        Ok(()) => Ok(()),
        // There is none yet, or the file system cannot.
        Err(_) => fs::rename(from, to),
    }
}

fn modified_ns(found: &fs::Metadata) -> i64 {
    found.mtime().saturating_mul(1_000_000_000).saturating_add(found.mtime_nsec())
}

/// The time, in nanoseconds since 1970.
pub fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}
