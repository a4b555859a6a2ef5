//! Where everything in a store lies: `store-layout.md` as paths.
//!
//! No other module puts a path of the store together. Nothing here touches the
//! file system.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::ids::{ImageId, PackId, ProgramId};
use crate::error::{Error, Result};

/// The entries of a store's own directory. A directory that holds anything
/// else, and no index, is not a store and is left alone.
pub(super) const ENTRIES: [&str; 13] = [
    "index.sqlite",
    "index.sqlite-journal",
    "changes.lock",
    "builds.lock",
    "runs.lock",
    "secret",
    "packs",
    "images",
    "programs",
    "runs",
    "replays",
    "tmp",
    "quarantine",
];

/// The name of an image's manifest in its directory.
pub(super) const MANIFEST: &str = "manifest.json";

/// The name of the file in an image's directory that grows by a byte per use.
pub(super) const USES: &str = "uses";

/// The name of the file in an image's directory in which runs note what they have found
/// unchanged; it may be missing.
pub(super) const LOOKED_THROUGH: &str = "looked-through";

const PACK_SUFFIX: &str = ".pack";

/// What the name of a pack's file ends with besides, if it is compressed.
const COLD_SUFFIX: &str = ".zst";

/// The log that runs are appended to.
const RUN_LOG: &str = "log";

/// What came of the runs of earlier logs.
const TALLY: &str = "tally.json";

const PROGRAM_SUFFIX: &str = ".json";

/// What the name of a program's list of modules ends with.
const MODULES_SUFFIX: &str = ".modules";

/// What the name of the list of pages that a program writes ends with.
const PAGES_SUFFIX: &str = ".pages";

/// What the name of the list of pages that its last run has written ends with.
const SEEN_PAGES_SUFFIX: &str = ".seen";

/// What the name of a file among the programs ends with while it is being written.
const UNFINISHED_SUFFIX: &str = ".new";

const REASON_SUFFIX: &str = ".reason";

/// The store's directory: `$PYIMG_DIR`, else `$XDG_CACHE_HOME/pyimg`, else
/// `~/.cache/pyimg`. An error if none of the three variables is set.
pub fn default_dir() -> Result<PathBuf> {
    dir_from(|name| std::env::var_os(name))
}

fn dir_from(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = set("PYIMG_DIR") {
        return std::path::absolute(&dir).map_err(|error| {
            Error::environment(format!("cannot tell where PYIMG_DIR ({}) is", dir.display()))
                .because(error)
        });
    }
    // The XDG specification: a relative path there is to be ignored.
    if let Some(cache) = set("XDG_CACHE_HOME").filter(|cache| cache.is_absolute()) {
        return Ok(cache.join("pyimg"));
    }
    match set("HOME").filter(|home| home.is_absolute()) {
        Some(home) => Ok(home.join(".cache/pyimg")),
        None => Err(Error::environment("cannot tell where the store is: HOME is not set")
            .hint("set PYIMG_DIR to a directory of your own")),
    }
}

/// The paths of one store.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub fn new(root: &Path) -> Self {
        // Paths of packs go into images, so they must not depend on where we are.
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        Self { root }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn index(&self) -> PathBuf {
        self.root.join("index.sqlite")
    }

    pub fn changes_lock(&self) -> PathBuf {
        self.root.join("changes.lock")
    }

    pub fn builds_lock(&self) -> PathBuf {
        self.root.join("builds.lock")
    }

    pub fn runs_lock(&self) -> PathBuf {
        self.root.join("runs.lock")
    }

    pub fn secret(&self) -> PathBuf {
        self.root.join("secret")
    }

    pub fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// The place in the quarantine for what is called `name` and was set aside as number
    /// `number` of that name, and the place for the reason.
    pub fn quarantined(&self, name: &str, number: u32) -> (PathBuf, PathBuf) {
        let name = match number {
            0 => name.to_owned(),
            number => format!("{name}.{number}"),
        };
        let dir = self.quarantine();
        (dir.join(&name), dir.join(name + REASON_SUFFIX))
    }

    /// SQLite's own, beside the index.
    pub fn journal(&self) -> PathBuf {
        self.root.join("index.sqlite-journal")
    }

    pub fn packs(&self) -> PathBuf {
        self.root.join("packs")
    }

    pub fn pack(&self, id: &PackId) -> PathBuf {
        self.packs().join(format!("{id:#}{PACK_SUFFIX}"))
    }

    /// The same pack, compressed.
    pub fn cold_pack(&self, id: &PackId) -> PathBuf {
        self.packs().join(format!("{id:#}{PACK_SUFFIX}{COLD_SUFFIX}"))
    }

    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub fn image(&self, id: &ImageId) -> PathBuf {
        self.images().join(id.hex())
    }

    pub fn manifest(&self, id: &ImageId) -> PathBuf {
        self.image(id).join(MANIFEST)
    }

    pub fn uses(&self, id: &ImageId) -> PathBuf {
        self.image(id).join(USES)
    }

    pub fn looked_through(&self, id: &ImageId) -> PathBuf {
        self.image(id).join(LOOKED_THROUGH)
    }

    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    pub fn run_log(&self) -> PathBuf {
        self.runs().join(RUN_LOG)
    }

    /// A log that is being added to the tally.
    pub fn numbered_run_log(&self, number: u64) -> PathBuf {
        self.runs().join(format!("{RUN_LOG}.{number}"))
    }

    pub fn tally(&self) -> PathBuf {
        self.runs().join(TALLY)
    }

    pub fn replays(&self) -> PathBuf {
        self.root.join("replays")
    }

    pub fn replay(&self, name: &str) -> PathBuf {
        self.replays().join(name)
    }

    pub fn programs(&self) -> PathBuf {
        self.root.join("programs")
    }

    /// One of the directories that programs are spread over: that of this program.
    pub fn shelf(&self, id: &ProgramId) -> PathBuf {
        self.programs().join(format!("{:02x}", id.as_bytes()[0]))
    }

    pub fn program(&self, id: &ProgramId) -> PathBuf {
        self.shelf(id).join(id.hex() + PROGRAM_SUFFIX)
    }

    /// The list of pages that each run of the program writes.
    pub fn pages(&self, id: &ProgramId) -> PathBuf {
        self.shelf(id).join(id.hex() + PAGES_SUFFIX)
    }

    /// The list of pages that the program itself writes at its end.
    pub fn seen_pages(&self, id: &ProgramId) -> PathBuf {
        self.shelf(id).join(id.hex() + SEEN_PAGES_SUFFIX)
    }

    /// The list of modules that the program itself writes at its end.
    pub fn modules(&self, id: &ProgramId) -> PathBuf {
        self.shelf(id).join(id.hex() + MODULES_SUFFIX)
    }

    /// Where a process writes a file that is to take the place of one of a program's. The
    /// park library puts this path together too, for the list of modules.
    pub fn unfinished(path: &Path, process: u32) -> PathBuf {
        let mut path = path.as_os_str().to_owned();
        path.push(format!(".{process}{UNFINISHED_SUFFIX}"));
        path.into()
    }
}

/// What a file on a shelf of programs is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnShelf {
    Program(ProgramId),
    Modules(ProgramId),
    Pages(ProgramId),
    /// It was being written, and perhaps still is.
    Unfinished,
}

/// What a file among the records of runs is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OfRuns {
    Log,
    Numbered(u64),
    Tally,
}

/// What the file of this name among the records of runs is.
pub(super) fn of_runs(name: &str) -> Option<OfRuns> {
    match name {
        RUN_LOG => Some(OfRuns::Log),
        TALLY => Some(OfRuns::Tally),
        _ => {
            let number: u64 = name.strip_prefix(RUN_LOG)?.strip_prefix('.')?.parse().ok()?;
            // One number, one spelling.
            (name == format!("{RUN_LOG}.{number}")).then_some(OfRuns::Numbered(number))
        }
    }
}

/// Whether this is the name of a directory that programs are spread over.
pub(super) fn is_shelf(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether this is the name of a replay, or of one that is being written.
pub(super) fn is_replay(name: &str) -> bool {
    let is_one = |name: &str| {
        name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let unfinished = name.strip_suffix(UNFINISHED_SUFFIX).and_then(|name| name.rsplit_once('.'));
    is_one(name)
        || unfinished.is_some_and(|(of, process)| is_one(of) && process.parse::<u32>().is_ok())
}

/// What the file of this name on a shelf is.
pub(super) fn on_shelf(name: &str) -> Option<OnShelf> {
    if let Some(id) = name.strip_suffix(PROGRAM_SUFFIX) {
        return id.parse().ok().map(OnShelf::Program);
    }
    if let Some(id) = name.strip_suffix(MODULES_SUFFIX) {
        return id.parse().ok().map(OnShelf::Modules);
    }
    for suffix in [PAGES_SUFFIX, SEEN_PAGES_SUFFIX] {
        if let Some(id) = name.strip_suffix(suffix) {
            return id.parse().ok().map(OnShelf::Pages);
        }
    }
    let (of, process) = name.strip_suffix(UNFINISHED_SUFFIX)?.rsplit_once('.')?;
    let is_number = !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit());
    let is_ours = !matches!(on_shelf(of), None | Some(OnShelf::Unfinished));
    (is_number && is_ours).then_some(OnShelf::Unfinished)
}

/// Where the file of an image's uses lies, seen from the directory of all images: the
/// short way for whoever looks at thousands.
pub(super) fn uses_of(id: &ImageId) -> PathBuf {
    let mut path = id.hex();
    path.push('/');
    path.push_str(USES);
    path.into()
}

/// The pack whose file, compressed or not, has this name.
pub(super) fn pack_of(file_name: &str) -> Option<PackId> {
    cold_pack_of(file_name).or_else(|| file_name.strip_suffix(PACK_SUFFIX)?.parse().ok())
}

/// The pack whose compressed file has this name.
pub(super) fn cold_pack_of(file_name: &str) -> Option<PackId> {
    file_name.strip_suffix(COLD_SUFFIX)?.strip_suffix(PACK_SUFFIX)?.parse().ok()
}

/// Whether a file in the quarantine tells why another is there.
pub(super) fn is_reason(file_name: &str) -> bool {
    file_name.ends_with(REASON_SUFFIX)
}

/// Whether `name` may be a file of an image: it names something right inside
/// the image's directory and nothing that the store keeps there itself.
pub(super) fn is_file_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
    !name.is_empty()
        && name.len() <= 128
        && !name.starts_with('.')
        && name.bytes().all(plain)
        && name != MANIFEST
        && name != USES
        && name != LOOKED_THROUGH
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(variables: &[(&str, &str)]) -> Result<PathBuf> {
        dir_from(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_first_variable_that_is_set_decides() {
        let all = [("PYIMG_DIR", "/s"), ("XDG_CACHE_HOME", "/c"), ("HOME", "/h")];
        assert_eq!(dir(&all).unwrap(), Path::new("/s"));
        assert_eq!(dir(&all[1..]).unwrap(), Path::new("/c/pyimg"));
        assert_eq!(dir(&all[2..]).unwrap(), Path::new("/h/.cache/pyimg"));
        let odd = [("PYIMG_DIR", ""), ("XDG_CACHE_HOME", "cache"), ("HOME", "/h")];
        assert_eq!(dir(&odd).unwrap(), Path::new("/h/.cache/pyimg"));
        assert!(dir(&[("PYIMG_DIR", "s")]).unwrap().is_absolute());
    }

    #[test]
    fn no_home_is_an_error_that_says_what_to_set() {
        let error = dir(&[]).unwrap_err();
        assert_eq!(error.to_string(), "cannot tell where the store is: HOME is not set");
        assert_eq!(error.hint_text(), Some("set PYIMG_DIR to a directory of your own"));
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn names_of_files_cannot_lead_out() {
        for good in ["core-12.img", "pages-1.img", "a", "files.img", "libstdc++"] {
            assert!(is_file_name(good), "{good}");
        }
        let long = "a".repeat(129);
        for bad in
            ["", ".", "..", ".x", "a/b", "/a", "a\0", "ä", "manifest.json", "uses", &long, "a b"]
        {
            assert!(!is_file_name(bad), "{bad}");
        }
    }

    #[test]
    fn what_lies_on_a_shelf_is_known_by_its_name() {
        let (layout, id) = (Layout::new(Path::new("/s")), ProgramId::new([0xa7; 32]));
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(is_shelf(&name(&layout.shelf(&id))));
        assert!(!is_shelf("A7") && !is_shelf("a") && !is_shelf("a7a"));
        let (program, modules) = (layout.program(&id), layout.modules(&id));
        assert_eq!(program, Path::new(&format!("/s/programs/a7/{}.json", "a7".repeat(32))));
        assert_eq!(on_shelf(&name(&program)), Some(OnShelf::Program(id)));
        assert_eq!(on_shelf(&name(&modules)), Some(OnShelf::Modules(id)));
        for pages in [layout.pages(&id), layout.seen_pages(&id)] {
            assert_eq!(on_shelf(&name(&pages)), Some(OnShelf::Pages(id)));
        }
        for path in [&program, &modules] {
            let unfinished = name(&Layout::unfinished(path, 4711));
            assert_eq!(on_shelf(&unfinished), Some(OnShelf::Unfinished));
            assert_eq!(on_shelf(&format!("{unfinished}.1.new")), None);
        }
        for other in ["", "x.json", "a.1.new", ".new", &format!("{}.new", name(&program))] {
            assert_eq!(on_shelf(other), None, "{other}");
        }
    }

    #[test]
    fn the_records_of_runs_are_known_by_their_names() {
        let layout = Layout::new(Path::new("/s"));
        let of = |path: PathBuf| of_runs(path.file_name().unwrap().to_str().unwrap());
        assert_eq!(of(layout.run_log()), Some(OfRuns::Log));
        assert_eq!(of(layout.numbered_run_log(12)), Some(OfRuns::Numbered(12)));
        assert_eq!(of(layout.tally()), Some(OfRuns::Tally));
        for other in ["", "log.", "log.01", "log.+1", "log1", "log.-1", "tally"] {
            assert_eq!(of_runs(other), None, "{other}");
        }
    }

    #[test]
    fn a_pack_is_known_by_its_file_name() {
        let id = PackId::new([3; 32]);
        let path = Layout::new(Path::new("/s")).pack(&id);
        assert_eq!(pack_of(path.file_name().unwrap().to_str().unwrap()), Some(id));
        let cold = Layout::new(Path::new("/s")).cold_pack(&id);
        let cold = cold.file_name().unwrap().to_str().unwrap();
        assert_eq!((pack_of(cold), cold_pack_of(cold)), (Some(id), Some(id)));
        assert_eq!(cold_pack_of(path.file_name().unwrap().to_str().unwrap()), None);
        assert_eq!(pack_of(&id.hex()), None);
        assert_eq!(pack_of("x.pack"), None);
    }
}
