//! New pids for a restored process.
//!
//! CRIU gives a process the pids that its images say. An image that is to run many
//! times at once, or while something else has taken the pid it was dumped with, gets
//! fresh ones: the process tree is rewritten, and images that carry a pid in their
//! name are found under new names. Its session and process group are those of whoever
//! restores it, as for a process that a shell has just started.

use std::collections::BTreeMap;

use nix::unistd::{Pid, getpgrp, getsid};

use crate::image::file::{Image, Malformed};
use crate::image::message::Pstree;

/// The session and the process group that a process belongs to. 0 stands for one whose
/// leader is outside of the pid namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// The session.
    pub session: u32,
    /// The process group.
    pub group: u32,
}

impl Job {
    /// That of this process.
    pub fn own() -> Self {
        let number = |pid: Pid| pid.as_raw().unsigned_abs();
        Self { session: number(getsid(None).unwrap_or(Pid::from_raw(0))), group: number(getpgrp()) }
    }
}

/// Old thread ids and the new ones that replace them, and the new process's job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renumbering {
    pairs: BTreeMap<u32, u32>,
    job: Job,
}

impl Renumbering {
    /// Pairs each thread of an image with a new id.
    ///
    /// # Panics
    /// When there are not as many new ids as threads.
    pub fn new(threads: &[u32], fresh: &[u32], job: Job) -> Self {
        assert_eq!(threads.len(), fresh.len(), "one new id for each thread");
        Self { pairs: threads.iter().copied().zip(fresh.iter().copied()).collect(), job }
    }

    /// The new id of a thread.
    pub fn new_id(&self, old: u32) -> Option<u32> {
        self.pairs.get(&old).copied()
    }

    /// The process tree with the new ids.
    ///
    /// # Errors
    /// When it cannot be read or names a thread that has no new id.
    pub fn pstree(&self, bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut image: Image<Pstree> = Image::parse(bytes)?;
        let new = |old: u32| {
            self.new_id(old)
                .ok_or_else(|| Malformed::new(format!("thread {old} is not known to the image")))
        };
        for process in &mut image.entries {
            process.set_pid(new(process.pid())?);
            for thread in &mut process.threads {
                *thread = new(*thread)?;
            }
            process.set_sid(self.job.session);
            process.set_pgid(self.job.group);
        }
        Ok(image.to_bytes())
    }

    /// The name under which CRIU will look for an image that had this name.
    pub fn file_name(&self, name: &str) -> String {
        let parts = name.strip_suffix(".img").and_then(|stem| stem.rsplit_once('-'));
        let numbered = ["core", "mm", "pagemap", "ids", "fs", "timens", "rlimit", "seccomp"];
        match parts {
            Some((kind, number)) if numbered.contains(&kind) => match number.parse() {
                Ok(old) => self
                    .new_id(old)
                    .map_or_else(|| name.to_owned(), |new| format!("{kind}-{new}.img")),
                Err(_) => name.to_owned(),
            },
            _ => name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_and_the_names_follow() {
        let mut process = Pstree::new();
        process.set_pid(100);
        process.set_ppid(0);
        process.set_pgid(100);
        process.set_sid(7);
        process.threads = vec![100, 101];
        let bytes = Image { magic: 5, entries: vec![process] }.to_bytes();

        let renumbering =
            Renumbering::new(&[100, 101], &[2000, 2001], Job { session: 9, group: 12 });
        let image: Image<Pstree> = Image::parse(&renumbering.pstree(&bytes).unwrap()).unwrap();
        let process = image.single().unwrap();
        assert_eq!((process.pid(), process.pgid(), process.sid()), (2000, 12, 9));
        assert_eq!(process.threads, [2000, 2001]);

        assert_eq!(renumbering.file_name("core-101.img"), "core-2001.img");
        assert_eq!(renumbering.file_name("mm-100.img"), "mm-2000.img");
        assert_eq!(renumbering.file_name("pages-1.img"), "pages-1.img");
        assert_eq!(renumbering.file_name("fdinfo-100.img"), "fdinfo-100.img");
        assert_eq!(renumbering.file_name("files.img"), "files.img");
    }

    #[test]
    fn a_thread_without_a_new_id_is_an_error() {
        let mut process = Pstree::new();
        process.set_pid(1);
        process.set_ppid(0);
        process.set_pgid(1);
        process.set_sid(1);
        process.threads = vec![1, 2];
        let bytes = Image { magic: 5, entries: vec![process] }.to_bytes();
        let error =
            Renumbering::new(&[1], &[9], Job { session: 1, group: 1 }).pstree(&bytes).unwrap_err();
        assert_eq!(error.what, "thread 2 is not known to the image");
    }
}
