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

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::failure::{damaged, sql};
use super::layout::Layout;
use crate::error::{Error, Result};

/// One file per version, in order; never changed once released.
const MIGRATIONS: [&str; 1] = [include_str!("../../migrations/0001-first.sql")];

/// The format that this program writes.
pub const FORMAT: u32 = MIGRATIONS.len() as u32;

/// Says whose SQLite file this is (`file` shows it): "pyim".
const APPLICATION: i32 = i32::from_be_bytes(*b"pyim");

/// How long a change waits for another one to commit.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a run waits for a commit before it does without the store.
const PATIENCE_OF_A_RUN: Duration = Duration::from_millis(50);

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
    let index = connect(layout, flags, PATIENCE)?;
    let settings = || {
        index.pragma_update(None, "foreign_keys", true)?;
        // Also syncs the directory after deleting the journal: without that, a
        // removal could come back after its files are gone.
        index.pragma_update(None, "synchronous", "EXTRA")
    };
    settings().map_err(sql(layout.root()))?;
    let state = state(&index, layout.root())?;
    Ok((index, state))
}

/// Opens the index for reading only.
pub(super) fn open_to_read(layout: &Layout) -> Result<(Connection, State)> {
    let index = connect(layout, OpenFlags::SQLITE_OPEN_READ_ONLY, PATIENCE_OF_A_RUN)?;
    let state = state(&index, layout.root())?;
    Ok((index, state))
}

fn connect(layout: &Layout, flags: OpenFlags, patience: Duration) -> Result<Connection> {
    // No locks inside: a connection is used by one thread.
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connect = || {
        let index = Connection::open_with_flags(layout.index(), flags)?;
        index.busy_timeout(patience)?;
        Ok(index)
    };
    connect().map_err(sql(layout.root()))
}

/// Tells what an index is; a newer one, and what is no index of ours, are errors.
pub(super) fn state(index: &Connection, root: &Path) -> Result<State> {
    let number = |name| index.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let application = number("application_id").map_err(sql(root))?;
    let version = number("user_version").map_err(sql(root))?;
    match (application, u32::try_from(version)) {
        (0, Ok(0)) => Ok(State::Empty),
        (APPLICATION, Ok(version)) if version == FORMAT => Ok(State::Current),
        (APPLICATION, Ok(version)) if version > FORMAT => Err(newer(root, version)),
        (APPLICATION, Ok(version)) if version > 0 => Ok(State::Old(version)),
        _ => Err(damaged(root, "its index is not one of pyimg's")),
    }
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
    let migrate = |change: &Transaction| {
        MIGRATIONS[applied..].iter().try_for_each(|migration| change.execute_batch(migration))?;
        change.pragma_update(None, "application_id", APPLICATION)?;
        change.pragma_update(None, "user_version", FORMAT)
    };
    change(index, root, |change| migrate(change).map_err(sql(root)))
}

/// Runs one transaction that may write; an error undoes it.
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
    Ok(done)
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
