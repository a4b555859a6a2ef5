//! Starts the interpreter that is to become an image.
//!
//! It is the user's own interpreter with its own `main` and flags, started on a script
//! that does not exist, with the park library preloaded: when the interpreter opens that
//! script it is fully initialised and has no frame on its stack, and the library takes
//! over (`park/park.c`). Address space layout and hash seed are fixed, so that two
//! builds of one recipe have most of their pages in common.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::personality::{self, Persona};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{Pid, getsid};

use super::terminal::Terminal;
use crate::criu::RuntimeDir;
use crate::key::recipe::Recipe;

/// The park library, built from `park/*.c`.
static LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libpyimg_park.so"));
/// What it runs inside the interpreter: one text, in this order.
static INSIDE: &str = concat!(
    include_str!("park/inside/kept.py"),
    include_str!("park/inside/recipe.py"),
    include_str!("park/inside/observed.py"),
    include_str!("park/inside/generators.py"),
    include_str!("park/inside/outcome.py"),
    include_str!("park/inside/parking.py"),
    include_str!("park/inside/woken.py"),
);

/// How the names of its files begin; a part of its hash follows.
const LIBRARY_NAME: &str = "libpyimg_park-";

/// A path that no file has; the interpreter is started on it.
const SENTINEL: &str = "/proc/self/pyimg/park.py";

/// What to start.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// The interpreter, as it is to be called.
    pub executable: &'a Path,
    /// Its options.
    pub flags: &'a [String],
    /// What to preload.
    pub recipe: &'a Recipe,
    /// The hash seed, between 1 and 4294967295.
    pub hash_seed: u32,
    /// Where the park library's file may be put, if not in the runtime directory.
    pub scratch: &'a Path,
    /// The runtime directory.
    pub runtime: &'a RuntimeDir,
    /// Its standard descriptors.
    pub terminal: &'a Terminal,
}

/// An interpreter that runs a recipe. Dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Interpreter {
    process: Process,
    /// Our end of the socket.
    pub socket: OwnedFd,
    /// Inode of its end.
    pub socket_inode: u32,
    library: Option<PathBuf>,
}

/// How it came into being.
#[derive(Debug)]
pub enum Process {
    /// Started.
    Spawned(Child),
    /// Restored from an image, as our child.
    Restored(Pid),
}

impl Interpreter {
    /// Starts the interpreter.
    ///
    /// # Errors
    /// When it cannot be started, with the system's reason.
    pub fn spawn(spawn: &Spawn<'_>) -> io::Result<Self> {
        let library = place_library(spawn)?;

        let (socket, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let socket_inode = inode(&theirs)?;
        // JSON made of strings and lists of strings is a literal in Python as well.
        let recipe = serde_json::to_string(spawn.recipe).map_err(io::Error::other)?;
        let mut inside = std::fs::File::from(memfd_create(c"pyimg-inside", MFdFlags::MFD_CLOEXEC)?);
        write!(inside, "RECIPE = {recipe}\n{INSIDE}")?;
        // What our caller has open has no place in an image.
        crate::sys::keep_descriptors_from_children()?;
        for descriptor in [theirs.as_fd(), inside.as_fd()] {
            fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }

        let mut preload = library.clone().into_os_string();
        if let Some(previous) = std::env::var_os("LD_PRELOAD").filter(|value| !value.is_empty()) {
            preload.push(":");
            preload.push(previous);
        }
        let park: OsString =
            format!("{},{},{SENTINEL}", theirs.as_raw_fd(), inside.as_raw_fd()).into();
        let before = personality::get()?;
        personality::set(before | Persona::ADDR_NO_RANDOMIZE)?;
        let mut command = Command::new(spawn.executable);
        // CRIU dumps no member of a session whose leader it cannot see, as where a shell in
        // a container was started from outside.
        if getsid(None)?.as_raw() == 0 {
            crate::sys::in_own_session(&mut command);
        }
        spawn.terminal.give(&mut command)?;
        let child = command
            .args(spawn.flags)
            .arg(SENTINEL)
            .env("LD_PRELOAD", preload)
            .env("PYIMG_PARK", park)
            .env("PYTHONHASHSEED", spawn.hash_seed.to_string())
            .spawn();
        personality::set(before)?;
        let process = Process::Spawned(child?);
        Ok(Self { process, socket, socket_inode, library: Some(library) })
    }

    /// One that was restored.
    pub fn new(process: Process, socket: OwnedFd, socket_inode: u32) -> Self {
        Self { process, socket, socket_inode, library: None }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        match &self.process {
            Process::Spawned(child) => child.id(),
            Process::Restored(pid) => pid.as_raw().unsigned_abs(),
        }
    }

    /// The park library's file, if it is mapped from there.
    pub fn library(&self) -> Option<&Path> {
        self.library.as_deref()
    }

    /// Waits for it to end.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        match &mut self.process {
            Process::Spawned(child) => child.wait(),
            Process::Restored(pid) => crate::sys::end_of_child(pid.as_raw()),
        }
    }
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        let _ = match &mut self.process {
            Process::Spawned(child) => child.kill(),
            Process::Restored(pid) => kill(*pid, Signal::SIGKILL).map_err(io::Error::from),
        };
        let _ = self.wait();
    }
}

/// Puts the park library where it can be loaded from. Its path is the same in every
/// build where that is possible, since the dynamic linker keeps it in memory.
fn place_library(spawn: &Spawn<'_>) -> io::Result<PathBuf> {
    let forbids_code = statvfs(spawn.runtime.path())?.flags().contains(FsFlags::ST_NOEXEC);
    let directory = if forbids_code { spawn.scratch } else { spawn.runtime.path() };
    let hash = blake3::hash(LIBRARY).to_hex();
    let library = directory.join(format!("{LIBRARY_NAME}{}.so", &hash[..16]));
    if std::fs::read(&library).is_ok_and(|there| there == LIBRARY) {
        return Ok(library);
    }
    remove_old_libraries(directory);
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(LIBRARY)?;
    file.persist(&library)?;
    Ok(library)
}

/// Removes the libraries of other versions, once they have been there for a day.
fn remove_old_libraries(directory: &Path) {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_library = entry.file_name().to_string_lossy().starts_with(LIBRARY_NAME);
        let placed = entry.metadata().and_then(|found| found.modified());
        let is_old = placed.is_ok_and(|at| at.elapsed().is_ok_and(|since| since > DAY));
        if is_library && is_old {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn inode(descriptor: impl AsFd) -> io::Result<u32> {
    let inode = nix::sys::stat::fstat(descriptor)?.st_ino;
    // Sockets are numbered with 32 bits, and CRIU keeps no more of it.
    u32::try_from(inode).map_err(io::Error::other)
}
