//! What runs leave behind: who may read and write it, and whether it is the store's. What it
//! says is nobody's business here, since nothing depends on it.

use std::path::Path;

use super::super::entries::Type;
use super::super::finding::Subject;
use super::{Survey, paths_in};
use crate::store::layout;

impl Survey<'_> {
    /// Looks at what is remembered of programs: what it says is nobody's business, only who
    /// may read and write it.
    pub(super) fn programs(&mut self) {
        let programs = self.layout.programs();
        if self.entry(&programs, Type::Directory).flatten().is_none() {
            return;
        }
        self.unknown(&programs, Subject::Store, &[], layout::is_shelf);
        for shelf in
            paths_in(&programs).into_iter().filter(|path| is_called(path, layout::is_shelf))
        {
            if self.entry(&shelf, Type::Directory).flatten().is_none() {
                continue;
            }
            let known = |name: &str| layout::on_shelf(name).is_some();
            self.unknown(&shelf, Subject::Store, &[], known);
            for path in paths_in(&shelf).into_iter().filter(|path| is_called(path, known)) {
                // It may be replaced or removed meanwhile.
                self.entry(&path, Type::File);
            }
        }
    }

    /// Likewise what runs begin with that are like one before.
    pub(super) fn replays(&mut self) {
        let replays = self.layout.replays();
        if self.entry(&replays, Type::Directory).flatten().is_none() {
            return;
        }
        self.unknown(&replays, Subject::Store, &[], layout::is_replay);
        for path in paths_in(&replays).into_iter().filter(|path| is_called(path, layout::is_replay))
        {
            self.entry(&path, Type::File);
        }
    }

    /// Likewise the records of runs.
    pub(super) fn runs(&mut self) {
        let runs = self.layout.runs();
        if self.entry(&runs, Type::Directory).flatten().is_none() {
            return;
        }
        let known = |name: &str| layout::of_runs(name).is_some();
        self.unknown(&runs, Subject::Store, &[], known);
        for path in paths_in(&runs).into_iter().filter(|path| is_called(path, known)) {
            self.entry(&path, Type::File);
        }
    }
}

fn is_called(path: &Path, known: impl Fn(&str) -> bool) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(known)
}
