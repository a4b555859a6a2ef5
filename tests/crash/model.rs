//! A disk that keeps only what it was told to keep.
//!
//! It replays the recorder's log. What was written into a file is durable once that file
//! was synced after it; that a name came, went or moved, once the directory was synced in
//! which it now is. (Syncing a file says nothing about its name, and `fdatasync` nothing
//! about its time of writing and mode.) At a power cut everything durable is there, and of
//! the rest any part, in any order, in sectors of 512 bytes. A rename happens whole or not
//! at all. An operation that failed has changed nothing. After a sync of a file that failed,
//! what was written before may be lost even if a later sync succeeds, as Linux has it.

use std::collections::{BTreeMap, HashMap};

use crate::common::dice::Dice;
use crate::recorder::Record;
use crate::tree::{Node, Tree};

const SECTOR: usize = 512;
const FALLOCATE_PUNCH_HOLE: u32 = 2;
const FALLOCATE_ZERO_RANGE: u32 = 16;

/// The number of a file or a directory.
type Id = usize;
/// The directory that the recorder watches.
const ROOT: Id = 0;

#[derive(Debug, Clone)]
enum Object {
    Directory { mode: u32, names: BTreeMap<String, Id> },
    File { mode: u32, modified_ns: i64, bytes: Vec<u8> },
}

#[derive(Debug, Clone)]
enum Change {
    Bind { directory: Id, name: String, object: Id },
    Unbind { directory: Id, name: String },
    Move { from: (Id, String), to: (Id, String), object: Id },
    Write { object: Id, at: usize, bytes: Vec<u8> },
    Clear { object: Id, from: usize, to: usize },
    Resize { object: Id, length: usize },
    Modified { object: Id, ns: i64 },
    Mode { object: Id, mode: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// It may be lost.
    Pending,
    Durable,
    /// A sync of the file has failed: no later one makes it durable.
    Forsaken,
}

/// What is left of what is not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Survivors {
    Nothing,
    Everything,
    /// Names, and files as long as they were when they were synced last.
    Names,
    /// Names, and zeroes in place of what was written at the end of files.
    NamesAndZeroes,
    /// Names, and of each write the first half.
    NamesAndHalves,
    /// What is in files, but no name.
    Contents,
    /// All up to some moment.
    Early(u64),
    /// Any part, by this seed.
    Any(u64),
}

impl Survivors {
    /// All kinds, with so many seeds from `seed` on for those that have one.
    pub fn all(seed: u64, seeds: u64) -> Vec<Self> {
        use Survivors::*;
        let mut all = vec![Nothing, Everything, Names, NamesAndZeroes, NamesAndHalves, Contents];
        all.extend((seed..seed + seeds).flat_map(|seed| [Early(seed), Any(seed)]));
        all
    }
}

/// The disk.
#[derive(Debug, Clone)]
pub struct Disk {
    /// What was durable at first, and all objects, as they were created.
    base: Vec<Object>,
    /// As it is for those who look while the machine runs.
    present: Vec<Object>,
    changes: Vec<(Change, Hold)>,
    by_inode: HashMap<u64, Id>,
}

impl Disk {
    /// A disk that holds this durably. Inodes are learnt as they come up in the log.
    pub fn new(tree: &Tree) -> Self {
        let mut objects = vec![Object::Directory { mode: 0o700, names: BTreeMap::new() }];
        for (path, node) in &tree.0 {
            let object = match node.clone() {
                Node::Directory { mode } => Object::Directory { mode, names: BTreeMap::new() },
                Node::File { mode, modified_ns, bytes } => {
                    Object::File { mode, modified_ns, bytes }
                }
            };
            let (parent, name) = place(&objects, path);
            objects.push(object);
            let new = objects.len() - 1;
            names(&mut objects, parent).insert(name, new);
        }
        let (base, present) = (objects.clone(), objects);
        Self { base, present, changes: Vec::new(), by_inode: HashMap::new() }
    }

    /// Follows one operation; `false` if it changed nothing.
    pub fn follow(&mut self, record: &Record) -> bool {
        let before = self.changes.len();
        if record.op == b'S' || record.op == b'F' {
            return self.sync(record);
        }
        if record.error != 0 || record.injected {
            return false;
        }
        match record.op {
            b'C' => {
                let object = Object::File {
                    mode: record.mode,
                    modified_ns: record.modified_ns,
                    bytes: Vec::new(),
                };
                self.create(record, object);
            }
            b'D' => {
                let object = Object::Directory { mode: record.mode, names: BTreeMap::new() };
                self.create(record, object);
            }
            b'L' => {
                let object = self.lookup(&record.path).unwrap();
                let (directory, name) = place(&self.present, &record.other);
                self.push(Change::Bind { directory, name, object });
            }
            b'U' => {
                self.know(record.inode, &record.path);
                let (directory, name) = place(&self.present, &record.path);
                self.push(Change::Unbind { directory, name });
            }
            b'R' => {
                assert_eq!(record.mode & !1, 0, "an exchange is not modelled");
                self.know(record.inode, &record.other);
                let object = self.lookup(&record.path).unwrap();
                let from = place(&self.present, &record.path);
                let to = place(&self.present, &record.other);
                self.push(Change::Move { from, to, object });
            }
            _ => self.follow_content(record),
        }
        self.changes.len() > before
    }

    fn follow_content(&mut self, record: &Record) {
        let object = self.object(record);
        let (at, length) = (record.at as usize, record.length as usize);
        match record.op {
            b'W' => self.push(Change::Write { object, at, bytes: record.data.clone() }),
            b'T' => self.push(Change::Resize { object, length: at }),
            b'A' if record.mode & (FALLOCATE_PUNCH_HOLE | FALLOCATE_ZERO_RANGE) != 0 => {
                self.push(Change::Clear { object, from: at, to: at + length });
            }
            b'A' => {
                let Object::File { bytes, .. } = &self.present[object] else { unreachable!() };
                let length = bytes.len().max(at + length);
                self.push(Change::Resize { object, length });
            }
            b'M' => return self.push(Change::Mode { object, mode: record.mode }),
            b't' => {}
            op => unreachable!("{op}"),
        }
        self.push(Change::Modified { object, ns: record.modified_ns });
    }

    fn create(&mut self, record: &Record, object: Object) {
        self.base.push(object.clone());
        self.present.push(object);
        let object = self.present.len() - 1;
        self.by_inode.insert(record.inode, object);
        let (directory, name) = place(&self.present, &record.path);
        self.push(Change::Bind { directory, name, object });
    }

    fn push(&mut self, change: Change) {
        apply(&mut self.present, &change);
        self.changes.push((change, Hold::Pending));
    }

    /// What an operation is about: known by its inode since it was created, even if it
    /// has no name any more; else by its name.
    fn object(&mut self, record: &Record) -> Id {
        if let Some(known) = self.by_inode.get(&record.inode) {
            return *known;
        }
        let found = self.lookup(&record.path);
        let found = found.unwrap_or_else(|| panic!("{} was created unseen", record.path));
        self.by_inode.insert(record.inode, found);
        found
    }

    /// Remembers the inode of what may lose its name.
    fn know(&mut self, inode: u64, path: &str) {
        if let Some(known) = self.lookup(path) {
            self.by_inode.insert(inode, known);
        }
    }

    fn lookup(&self, path: &str) -> Option<Id> {
        if path == "." {
            return Some(ROOT);
        }
        let (directory, name) = place(&self.present, path);
        let Object::Directory { names, .. } = &self.present[directory] else { return None };
        names.get(&name).copied()
    }

    fn sync(&mut self, record: &Record) -> bool {
        let failed = record.error != 0;
        let synced = match failed {
            true => self.lookup(&record.path),
            false => Some(self.object(record)),
        };
        let Some(synced) = synced else { return false };
        if failed && matches!(self.present[synced], Object::Directory { .. }) {
            return false;
        }
        let mut changed = false;
        for (change, hold) in &mut self.changes {
            let covered = match change {
                Change::Bind { directory, .. } | Change::Unbind { directory, .. } => {
                    *directory == synced
                }
                Change::Move { to, .. } => to.0 == synced,
                Change::Write { object, .. }
                | Change::Clear { object, .. }
                | Change::Resize { object, .. } => *object == synced,
                Change::Modified { object, .. } | Change::Mode { object, .. } => {
                    *object == synced && record.op == b'S'
                }
            };
            if covered && *hold == Hold::Pending {
                *hold = if failed { Hold::Forsaken } else { Hold::Durable };
                changed = true;
            }
        }
        changed
    }

    /// What is there for those who look while the machine runs.
    pub fn present(&self) -> Tree {
        tree(&self.present)
    }

    /// What there is after a power cut now.
    pub fn after_power_cut(&self, survivors: Survivors) -> Tree {
        let mut objects = self.base.clone();
        let mut dice = match survivors {
            Survivors::Early(seed) | Survivors::Any(seed) => Dice(seed),
            _ => Dice(0),
        };
        let moment = dice.roll(self.changes.len() + 1);
        for (number, (change, hold)) in self.changes.iter().enumerate() {
            let is_name =
                matches!(change, Change::Bind { .. } | Change::Unbind { .. } | Change::Move { .. });
            let whole = match survivors {
                _ if *hold == Hold::Durable => true,
                Survivors::Everything => true,
                Survivors::Nothing => false,
                Survivors::Names => is_name,
                Survivors::NamesAndZeroes | Survivors::NamesAndHalves => match change {
                    Change::Write { object, at, bytes } => {
                        let half = bytes.len() / 2 / SECTOR * SECTOR;
                        let halves = survivors == Survivors::NamesAndHalves;
                        write_part(&mut objects[*object], *at, bytes, |sector| {
                            halves && sector * SECTOR < half
                        });
                        false
                    }
                    _ => true,
                },
                Survivors::Contents => !is_name,
                Survivors::Early(_) => number < moment,
                Survivors::Any(_) => match (dice.roll(3), change) {
                    (0, _) => true,
                    (1, Change::Write { object, at, bytes }) => {
                        let mut sectors = Dice(dice.next());
                        write_part(&mut objects[*object], *at, bytes, |_| sectors.roll(2) == 0);
                        false
                    }
                    _ => false,
                },
            };
            if whole {
                apply(&mut objects, change);
            }
        }
        tree(&objects)
    }
}

/// The directory that a path leads into, and the last name of the path.
fn place(objects: &[Object], path: &str) -> (Id, String) {
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut directory = ROOT;
    for parent in parents.split('/').filter(|parent| !parent.is_empty()) {
        let Object::Directory { names, .. } = &objects[directory] else { panic!("{path}") };
        directory = *names.get(parent).unwrap_or_else(|| panic!("{path} was created unseen"));
    }
    (directory, name.to_owned())
}

fn names(objects: &mut [Object], directory: Id) -> &mut BTreeMap<String, Id> {
    match &mut objects[directory] {
        Object::Directory { names, .. } => names,
        Object::File { .. } => panic!("a file is no directory"),
    }
}

fn apply(objects: &mut [Object], change: &Change) {
    match change {
        Change::Bind { directory, name, object } => {
            names(objects, *directory).insert(name.clone(), *object);
        }
        Change::Unbind { directory, name } => {
            names(objects, *directory).remove(name);
        }
        Change::Move { from, to, object } => {
            let source = names(objects, from.0);
            if source.get(&from.1) == Some(object) {
                source.remove(&from.1);
            }
            names(objects, to.0).insert(to.1.clone(), *object);
        }
        Change::Write { object, at, bytes } => {
            write_part(&mut objects[*object], *at, bytes, |_| true);
        }
        change => match (change, &mut objects[id_of(change)]) {
            (Change::Clear { from, to, .. }, Object::File { bytes, .. }) => {
                let end = (*to).min(bytes.len());
                bytes[(*from).min(end)..end].fill(0);
            }
            (Change::Resize { length, .. }, Object::File { bytes, .. }) => {
                resize(bytes, *length);
            }
            (Change::Modified { ns, .. }, Object::File { modified_ns, .. }) => *modified_ns = *ns,
            (Change::Mode { mode: new, .. }, Object::File { mode, .. })
            | (Change::Mode { mode: new, .. }, Object::Directory { mode, .. }) => *mode = *new,
            _ => {}
        },
    }
}

fn id_of(change: &Change) -> Id {
    match change {
        Change::Clear { object, .. }
        | Change::Resize { object, .. }
        | Change::Modified { object, .. }
        | Change::Mode { object, .. }
        | Change::Write { object, .. } => *object,
        Change::Bind { directory, .. } | Change::Unbind { directory, .. } => *directory,
        Change::Move { to, .. } => to.0,
    }
}

/// Writes some sectors; the file gets as long as with all of them, with zeroes where
/// nothing was.
fn write_part(object: &mut Object, at: usize, new: &[u8], mut kept: impl FnMut(usize) -> bool) {
    let Object::File { bytes, .. } = object else { return };
    let length = bytes.len().max(at + new.len());
    resize(bytes, length);
    for (number, sector) in new.chunks(SECTOR).enumerate() {
        if kept(number) {
            let from = at + number * SECTOR;
            bytes[from..from + sector.len()].copy_from_slice(sector);
        }
    }
}

/// As `Vec::resize` with zeroes, which is slow unless it is compiled with optimisation.
fn resize(bytes: &mut Vec<u8>, length: usize) {
    let mut new = vec![0; length];
    let kept = bytes.len().min(length);
    new[..kept].copy_from_slice(&bytes[..kept]);
    *bytes = new;
}

fn tree(objects: &[Object]) -> Tree {
    fn add(objects: &[Object], directory: Id, path: &str, tree: &mut Tree) {
        let Object::Directory { names, .. } = &objects[directory] else { return };
        for (name, id) in names {
            let path = format!("{path}{name}");
            let node = match objects[*id].clone() {
                Object::Directory { mode, .. } => Node::Directory { mode },
                Object::File { mode, modified_ns, bytes } => {
                    Node::File { mode, modified_ns, bytes }
                }
            };
            tree.0.insert(path.clone(), node);
            add(objects, *id, &format!("{path}/"), tree);
        }
    }
    let mut found = Tree::default();
    add(objects, ROOT, "", &mut found);
    found
}
