//! The SQLite file: opening it, its versions, its transactions.
//!
//! It uses a rollback journal, not WAL: a reader then needs no second file and
//! no write access, so it works as it is on a read-only file system. Commits are
//! rare and take milliseconds; a reader that meets one waits for it.
//!
//! The version is SQLite's `user_version` and counts the migrations applied. It
//! is the version of the whole store: packs and manifests that an older program
//! cannot read come with a migration, even an empty one.
//!
//! What the tables mean is not known here: see [`super::images`].

use std::path::Path;
use std::time::Duration;

use rusqlite::ffi::SQLITE_READONLY_ROLLBACK;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction, TransactionBehavior};

use super::durable;
use super::failure::{damaged, free_bytes, sql};
use super::ids::{ImageId, ImageKey};
use super::layout::Layout;
use crate::error::{Error, Result};

/// One file per version, in order; never changed once released.
const MIGRATIONS: [&str; 4] = [
    include_str!("../../migrations/0001-first.sql"),
    include_str!("../../migrations/0002-pages-of-packs.sql"),
    include_str!("../../migrations/0003-import-times.sql"),
    include_str!("../../migrations/0004-surroundings.sql"),
];

/// The format that this program writes.
pub const FORMAT: u32 = MIGRATIONS.len() as u32;

/// Says whose SQLite file this is (`file` shows it): "pyim".
const APPLICATION: i32 = i32::from_be_bytes(*b"pyim");

/// How long a change waits for another one to commit.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a run asks again while somebody commits, and after what pause. In
/// all it waits for less time than the imports would take that it wants to save.
const TRIES_OF_A_RUN: i32 = 400;
const PAUSE_OF_A_RUN: Duration = Duration::from_micros(500);

/// More than the journal of any removal takes, in bytes.
const ROOM_FOR_A_JOURNAL: u64 = 4 << 20;

/// What the index file turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Just created, or its creation was cut off: it holds nothing.
    Empty,
    /// Of an older format.
    Old(u32),
    /// Ready.
    Current,
}

/// Opens the index for changes, creating an empty one where none is. What it
/// holds is checked, not changed.
pub(super) fn open(layout: &Layout) -> Result<(Connection, State)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let index = connect(layout, flags)?;
    let settings = || {
        index.busy_timeout(PATIENCE)?;
        index.pragma_update(None, "foreign_keys", true)?;
        index.pragma_update(None, "synchronous", "FULL")
    };
    settings().map_err(sql(layout.root()))?;
    let state = state(&index, layout.root())?;
    Ok((index, state))
}

/// Opens the index for reading only. If a change was cut off by a crash, that is
/// undone first, which takes the right to write.
pub(super) fn open_to_read(layout: &Layout) -> Result<(Connection, State)> {
    let wait = |tries| {
        std::thread::sleep(PAUSE_OF_A_RUN);
        tries < TRIES_OF_A_RUN
    };
    let index = connect_to_read(layout, |index| index.busy_handler(Some(wait)));
    let (index, numbers) = index.map_err(sql(layout.root()))?;
    let state = state_of(numbers, layout.root())?;
    Ok((index, state))
}

/// The index, and its [`numbers`].
fn connect_to_read(
    layout: &Layout,
    set_patience: impl Fn(&Connection) -> rusqlite::Result<()>,
) -> rusqlite::Result<(Connection, (i32, i32))> {
    let open = |flags| {
        let index = connect_to(&layout.index(), flags)?;
        set_patience(&index)?;
        let numbers = numbers(&index)?;
        Ok::<_, rusqlite::Error>((index, numbers))
    };
    match open(OpenFlags::SQLITE_OPEN_READ_ONLY) {
        Err(error)
            if error.sqlite_error().map(|error| error.extended_code)
                == Some(SQLITE_READONLY_ROLLBACK) =>
        {
            open(OpenFlags::SQLITE_OPEN_READ_WRITE)
        }
        opened => opened,
    }
}

fn connect(layout: &Layout, flags: OpenFlags) -> Result<Connection> {
    connect_to(&layout.index(), flags).map_err(sql(layout.root()))
}

fn connect_to(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    // No locks inside: a connection is used by one thread.
    Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// What a close look at the index found.
#[derive(Debug)]
pub(super) enum Examined {
    /// It holds nothing: just created, or its creation was cut off.
    Empty,
    /// It cannot be relied upon, for these reasons.
    Damaged(Vec<String>),
    /// It is sound, and this is it, in a transaction that sees one state of it.
    Sound(Connection),
}

/// Reads all of the index, which must be there, and checks it against itself. A newer
/// format, an older one, and not being allowed to read are errors.
pub(super) fn examine(layout: &Layout) -> Result<Examined> {
    let root = layout.root();
    match examined(layout) {
        Ok((_, version)) if version > FORMAT => Err(newer(root, version)),
        Ok((_, version)) if version != FORMAT && version != 0 => Err(older(root, version)),
        Ok((examined, _)) => Ok(examined),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::ReadOnly) => {
                Err(sql(root)(error))
            }
            Some(ErrorCode::CannotOpen) if !may_read(&layout.index()) => Err(sql(root)(error)),
            _ => Ok(Examined::Damaged(vec![error.to_string()])),
        },
    }
}

fn may_read(path: &Path) -> bool {
    // Opening and closing the file would give up the locks of other connections of
    // this process, as POSIX has it.
    nix::unistd::access(path, nix::unistd::AccessFlags::R_OK).is_ok()
}

/// The index and its version.
fn examined(layout: &Layout) -> rusqlite::Result<(Examined, u32)> {
    let damaged = |reason: &str| Ok((Examined::Damaged(vec![reason.to_owned()]), FORMAT));
    let (index, _) = connect_to_read(layout, |index| index.busy_timeout(PATIENCE))?;
    // One state of it from here on. Nothing but reading goes on in between, so that
    // whoever wants to commit meanwhile waits for milliseconds.
    index.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; BEGIN")?;
    let (application, version) = numbers(&index)?;
    match (application, u32::try_from(version)) {
        (0, Ok(0)) if schema(&index)?.is_empty() => return Ok((Examined::Empty, 0)),
        (APPLICATION, Ok(version)) if version > 0 && version != FORMAT => {
            return Ok((Examined::Empty, version));
        }
        (APPLICATION, Ok(FORMAT)) => {}
        _ => return damaged("it is not one of pyimg's"),
    }
    let journal: String = index.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if journal != "delete" {
        return damaged("it claims to have another kind of journal");
    }
    let mut fresh = Connection::open_in_memory()?;
    let change = fresh.transaction()?;
    migrations(&change, 0)?;
    change.commit()?;
    if schema(&index)? != schema(&fresh)? {
        return damaged("its tables are not pyimg's");
    }
    let mut problems: Vec<String> = index
        .prepare("PRAGMA integrity_check(10)")?
        .query_map((), |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    problems.retain(|problem| problem != "ok");
    let broken: u64 =
        index.query_row("SELECT count(*) FROM pragma_foreign_key_check", (), |row| row.get(0))?;
    if broken > 0 {
        problems.push(format!("{broken} of its references lead nowhere"));
    }
    match problems.is_empty() {
        true => Ok((Examined::Sound(index), FORMAT)),
        false => Ok((Examined::Damaged(problems), FORMAT)),
    }
}

/// What can still be read of the images in an index.
#[derive(Debug, Default)]
pub(super) struct Salvaged {
    /// What there is of each.
    pub images: Vec<SalvagedImage>,
    /// Whether these are all, as far as SQLite can tell.
    pub complete: bool,
}

/// What can be read of one.
#[derive(Debug)]
pub(super) struct SalvagedImage {
    pub id: ImageId,
    pub key: ImageKey,
    pub name: String,
    pub recipe: String,
    pub pinned: bool,
}

/// Reads what can still be read of a damaged index.
pub(super) fn salvage(layout: &Layout) -> Salvaged {
    let mut salvaged = Salvaged::default();
    let read = |images: &mut Vec<SalvagedImage>| -> rusqlite::Result<()> {
        let (index, _) = connect_to_read(layout, |index| index.busy_timeout(PATIENCE))?;
        index.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON")?;
        let mut rows = index.prepare("SELECT id, key, name, recipe, pinned FROM images")?;
        let mut rows = rows.query(())?;
        while let Some(row) = rows.next()? {
            images.push(SalvagedImage {
                id: ImageId::new(row.get(0)?),
                key: ImageKey::new(row.get(1)?),
                name: row.get(2)?,
                recipe: row.get(3)?,
                pinned: row.get(4)?,
            });
        }
        Ok(())
    };
    salvaged.complete = read(&mut salvaged.images).is_ok();
    salvaged
}

/// Everything that an index is made of, in its own words.
fn schema(index: &Connection) -> rusqlite::Result<Vec<[String; 4]>> {
    let text = |row: &Row, at: usize| -> rusqlite::Result<String> {
        Ok(row.get::<_, Option<String>>(at)?.unwrap_or_default())
    };
    index
        .prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name")?
        .query_map((), |row| Ok([text(row, 0)?, text(row, 1)?, text(row, 2)?, text(row, 3)?]))?
        .collect()
}

/// Makes a new index at `path`, which is an empty file, and fills it; it is durable on
/// return, but for its name.
pub(super) fn create(
    path: &Path,
    root: &Path,
    fill: impl FnOnce(&Connection) -> Result<()>,
) -> Result<()> {
    let mut index = connect_to(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(sql(root))?;
    index.pragma_update(None, "foreign_keys", true).map_err(sql(root))?;
    migrate(&mut index, root, State::Empty)?;
    change(&index, root, |change| fill(change))
}

/// Tells what an index is; a newer one, and what is no index of ours, are errors.
pub(super) fn state(index: &Connection, root: &Path) -> Result<State> {
    state_of(numbers(index).map_err(sql(root))?, root)
}

fn state_of((application, version): (i32, i32), root: &Path) -> Result<State> {
    match (application, u32::try_from(version)) {
        (0, Ok(0)) => Ok(State::Empty),
        (APPLICATION, Ok(version)) if version == FORMAT => Ok(State::Current),
        (APPLICATION, Ok(version)) if version > FORMAT => Err(newer(root, version)),
        (APPLICATION, Ok(version)) if version > 0 => Ok(State::Old(version)),
        _ => Err(damaged(root, "its index is not one of pyimg's")),
    }
}

/// The application id and the version.
fn numbers(index: &Connection) -> rusqlite::Result<(i32, i32)> {
    let number = |name| index.pragma_query_value(None, name, |row| row.get(0));
    Ok((number("application_id")?, number("user_version")?))
}

pub(super) fn older(root: &Path, version: u32) -> Error {
    Error::environment(format!(
        "the store {} still has format {version}, now it is {FORMAT}",
        root.display()
    ))
    .hint("any pyimg command, `pyimg ls` for one, brings it up to date")
}

fn newer(root: &Path, version: u32) -> Error {
    Error::environment(format!(
        "the store {} has format {version}, this pyimg knows formats up to {FORMAT}",
        root.display()
    ))
    .hint("use a newer pyimg, or another store: set PYIMG_DIR")
}

/// Brings an index to the current format, in one transaction.
pub(super) fn migrate(index: &mut Connection, root: &Path, from: State) -> Result<()> {
    let applied = match from {
        State::Current => return Ok(()),
        State::Empty => 0,
        State::Old(version) => version as usize,
    };
    change(index, root, |change| migrations(change, applied).map_err(sql(root)))
}

/// Applies all migrations but the first ones, which have been.
fn migrations(change: &Transaction, applied: usize) -> rusqlite::Result<()> {
    MIGRATIONS[applied..].iter().try_for_each(|migration| change.execute_batch(migration))?;
    change.pragma_update(None, "application_id", APPLICATION)?;
    change.pragma_update(None, "user_version", FORMAT)
}

/// Runs one transaction that may write; an error undoes it. On return it is
/// durable.
pub(super) fn change<T>(
    index: &Connection,
    root: &Path,
    body: impl FnOnce(&Transaction) -> Result<T>,
) -> Result<T> {
    // A method on `&mut Connection` would keep nested transactions out at compile
    // time; here SQLite refuses them, and there are none.
    let change = Transaction::new_unchecked(index, TransactionBehavior::Immediate);
    let change = change.map_err(sql(root))?;
    let done = body(&change)?;
    change.commit().map_err(sql(root))?;
    // The commit is the deletion of the journal. Until that is durable a power
    // cut can undo it, and the files of removed images must not be gone by then.
    // SQLite would do this too (synchronous = EXTRA), but with all readers shut
    // out meanwhile.
    durable::sync_dir(root)?;
    Ok(done)
}

/// Runs one transaction that takes things out. It works on a full disk too, where
/// there is no room for a journal: then it is kept in memory, and a crash in these
/// milliseconds would damage the index, which is no reason to keep a disk full.
pub(super) fn shrink<T>(
    index: &Connection,
    root: &Path,
    body: impl FnOnce(&Transaction) -> Result<T>,
) -> Result<T> {
    let set_journal = |mode| {
        index.pragma_update_and_check(None, "journal_mode", mode, |_| Ok(())).map_err(sql(root))
    };
    if free_bytes(root).is_none_or(|free| free >= ROOM_FOR_A_JOURNAL) {
        return change(index, root, body);
    }
    set_journal("MEMORY")?;
    let done = change(index, root, body);
    set_journal("DELETE")?;
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        (dir, layout)
    }

    #[test]
    fn an_empty_index_is_brought_to_the_current_format() {
        let (_dir, layout) = empty();
        let (mut index, state) = open(&layout).unwrap();
        assert_eq!(state, State::Empty);
        migrate(&mut index, layout.root(), state).unwrap();
        assert_eq!(open(&layout).unwrap().1, State::Current);
        assert_eq!(open_to_read(&layout).unwrap().1, State::Current);
        let broken: i64 = index
            .query_row("SELECT count(*) FROM pragma_foreign_key_check", (), |row| row.get(0))
            .unwrap();
        assert_eq!(broken, 0);
    }

    #[test]
    fn a_newer_index_is_refused_with_both_numbers() {
        let (_dir, layout) = empty();
        let (mut index, state) = open(&layout).unwrap();
        migrate(&mut index, layout.root(), state).unwrap();
        index.pragma_update(None, "user_version", FORMAT + 6).unwrap();
        for error in [open(&layout).unwrap_err(), open_to_read(&layout).unwrap_err()] {
            let store = layout.root().display();
            let expected = format!(
                "the store {store} has format {}, this pyimg knows formats up to {FORMAT}",
                FORMAT + 6
            );
            assert_eq!(error.to_string(), expected);
            assert_eq!(error.exit_code(), 2);
            assert!(error.hint_text().unwrap().contains("newer pyimg"));
        }
    }

    #[test]
    fn what_is_no_index_is_called_damaged() {
        let (_dir, layout) = empty();
        std::fs::write(layout.index(), "hello".repeat(1000)).unwrap();
        let error = open(&layout).unwrap_err();
        assert!(error.to_string().contains("is damaged: its index cannot be read"), "{error}");
        assert!(error.hint_text().unwrap().contains("`rm -r "));
        std::fs::remove_file(layout.index()).unwrap();
        Connection::open(layout.index()).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
        Connection::open(layout.index()).unwrap().pragma_update(None, "user_version", 1).unwrap();
        let error = open(&layout).unwrap_err();
        assert!(error.to_string().ends_with("is damaged: its index is not one of pyimg's"));
    }

    #[test]
    fn a_change_that_was_cut_off_is_undone_by_the_next_reader() {
        let (_dir, layout) = empty();
        let (mut index, state) = open(&layout).unwrap();
        migrate(&mut index, layout.root(), state).unwrap();
        let (_copy_dir, copy) = empty();
        // A change too big for the cache is in the file before it is committed.
        index.pragma_update(None, "cache_size", 1).unwrap();
        let change = index.transaction().unwrap();
        for number in 0..500_u32 {
            let path = format!("{number}{}", "x".repeat(500));
            let row = "INSERT INTO interpreters VALUES (?, 1, 1, 1, 1, 1, zeroblob(32))";
            change.execute(row, [path]).unwrap();
        }
        let journal = |layout: &Layout| layout.root().join("index.sqlite-journal");
        std::fs::copy(layout.index(), copy.index()).unwrap();
        std::fs::copy(journal(&layout), journal(&copy)).unwrap();
        drop(change);
        let size = |layout: &Layout| std::fs::metadata(layout.index()).unwrap().len();
        assert!(size(&copy) > 200_000);
        let (read, state) = open_to_read(&copy).unwrap();
        assert_eq!(state, State::Current);
        let count = "SELECT count(*) FROM interpreters";
        assert_eq!(read.query_row(count, (), |row| row.get::<_, i64>(0)).unwrap(), 0);
        assert!(!journal(&copy).exists() && size(&copy) < 200_000);
    }

    #[test]
    fn an_error_undoes_the_change() {
        let (_dir, layout) = empty();
        let (mut index, state) = open(&layout).unwrap();
        migrate(&mut index, layout.root(), state).unwrap();
        let root = layout.root();
        let insert =
            "INSERT INTO packs (id, pages, bytes, modified_ns) VALUES (zeroblob(32), 1, 1, 1)";
        let failed: Result<()> = change(&index, root, |change| {
            change.execute(insert, ()).map_err(sql(root))?;
            Err(Error::failed("no"))
        });
        failed.unwrap_err();
        let count = |index: &Connection| {
            index.query_row("SELECT count(*) FROM packs", (), |row| row.get::<_, i64>(0)).unwrap()
        };
        assert_eq!(count(&index), 0);
        change(&index, root, |change| change.execute(insert, ()).map_err(sql(root))).unwrap();
        assert_eq!(count(&index), 1);
    }
}
