//! The rows of the index: images, their packs, and hashes of interpreters.
//!
//! Only SQL, no files. Who calls the changing functions holds the locks and
//! has a transaction.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::failure::sql;
use super::gc::NextGc;
use super::ids::{Digest, ImageId, ImageKey, PackId};
use super::manifest::Extent;
use super::pack::PackInfo;
use super::pages::PAGE;
use super::record::{Candidate, CandidateQuery, FileState, Image, ImageRecord, Overview};
use super::slots::Slots;
use super::tier::Tier;
use crate::error::{Error, Result};

const COLUMNS: &str = "id, created_ns, pages, new_pages, file_bytes, pinned, key, name, python, \
     executable, real_executable, interpreter, kernel, glibc, cpu, flags, python_env, recipe, \
     modules, import_ns, import_times, criu, surroundings";

const PACK: &str = "id, pages, bytes, modified_ns";

/// The index of the store at `root`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Images<'a> {
    pub index: &'a Connection,
    pub root: &'a Path,
}

impl Images<'_> {
    /// The images for which a condition holds, the oldest first; their use is
    /// not in the index and left at none.
    fn select(&self, condition: &str, values: &[&dyn ToSql]) -> Result<Vec<Image>> {
        let query = format!("SELECT {COLUMNS} FROM images {condition} ORDER BY created_ns, number");
        self.rows(&query, values, image)
    }

    fn rows<T>(
        &self,
        query: &str,
        values: &[&dyn ToSql],
        read: impl FnMut(&Row) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let rows =
            || self.index.prepare_cached(query)?.query_map(values, read)?.collect::<Result<_, _>>();
        rows().map_err(sql(self.root))
    }

    /// All images.
    pub fn all(&self) -> Result<Vec<Image>> {
        self.select("", &[])
    }

    /// What a list says of all images, the oldest first; their use and tier are not in the
    /// index.
    pub fn overview(&self) -> Result<Vec<Overview>> {
        let query = "SELECT id, name, python, recipe, pages, import_ns, created_ns, pinned \
             FROM images ORDER BY created_ns, number";
        self.rows(query, &[], |row| {
            Ok(Overview {
                id: ImageId::new(row.get(0)?),
                name: row.get(1)?,
                python: row.get(2)?,
                recipe: row.get(3)?,
                page_bytes: row.get::<_, u64>(4)?.saturating_mul(PAGE as u64),
                import_ns: row.get(5)?,
                created_ns: row.get(6)?,
                pinned: row.get(7)?,
                tier: Tier::Raw,
                last_used_ns: None,
            })
        })
    }

    /// The ids of all images.
    pub fn ids(&self) -> Result<Vec<ImageId>> {
        self.rows("SELECT id FROM images", &[], |row| Ok(ImageId::new(row.get(0)?)))
    }

    /// The image with this key.
    pub fn by_key(&self, key: &ImageKey) -> Result<Option<Image>> {
        Ok(self.select("WHERE key = ?", &[key.as_bytes()])?.pop())
    }

    /// The image with exactly this name.
    pub fn by_name(&self, name: &str) -> Result<Option<Image>> {
        Ok(self.select("WHERE name = ?", &[&name])?.pop())
    }

    /// The images whose key begins with these hex digits.
    pub fn by_prefix(&self, digits: &str) -> Result<Vec<Image>> {
        let digits = digits.to_ascii_uppercase();
        self.select("WHERE substr(hex(key), 1, length(?1)) = ?1", &[&digits])
    }

    /// The images that fit what a run needs, the newest first.
    pub fn candidates(&self, wanted: &CandidateQuery) -> Result<Vec<Candidate>> {
        let query = "SELECT id, key, name, interpreter, modules, import_ns, import_times, surroundings, pages \
             FROM images \
             WHERE executable = ?1 AND flags = ?2 AND python_env = ?3 AND kernel = ?4 \
               AND (?5 IS NULL OR glibc = ?5) AND cpu = ?6 AND (?7 IS NULL OR interpreter = ?7) \
             ORDER BY created_ns DESC, number DESC";
        let CandidateQuery { executable, interpreter, kernel, glibc, cpu, flags, python_env } =
            wanted;
        let interpreter = interpreter.map(Digest::as_bytes);
        self.rows(
            query,
            &[executable, flags, python_env, kernel, glibc, cpu, &interpreter],
            |row| {
                Ok(Candidate {
                    id: ImageId::new(row.get(0)?),
                    key: ImageKey::new(row.get(1)?),
                    name: row.get(2)?,
                    interpreter: Digest::new(row.get(3)?),
                    modules: lines(row.get_ref(4)?.as_str()?),
                    import_ns: row.get(5)?,
                    import_times: row.get(6)?,
                    surroundings: row.get(7)?,
                    page_bytes: row.get::<_, u64>(8)?.saturating_mul(PAGE as u64),
                })
            },
        )
    }

    /// All packs, the oldest first.
    pub fn packs(&self) -> Result<Vec<PackInfo>> {
        self.rows(&format!("SELECT {PACK} FROM packs ORDER BY number"), &[], pack)
    }

    /// The pack with this id.
    pub fn pack(&self, id: &PackId) -> Result<Option<PackInfo>> {
        let query = format!("SELECT {PACK} FROM packs WHERE id = ?");
        Ok(self.rows(&query, &[id.as_bytes()], pack)?.pop())
    }

    /// The images that use a pack, the oldest first.
    pub fn users(&self, pack: &PackId) -> Result<Vec<ImageId>> {
        let query = "SELECT images.id FROM packs \
             JOIN image_packs ON image_packs.pack = packs.number \
             JOIN images ON images.number = image_packs.image \
             WHERE packs.id = ? ORDER BY images.number";
        self.rows(query, &[pack.as_bytes()], |row| Ok(ImageId::new(row.get(0)?)))
    }

    /// The packs that an image uses.
    pub fn packs_of(&self, id: &ImageId) -> Result<Vec<PackInfo>> {
        let query = format!(
            "SELECT {PACK} FROM packs WHERE number IN (SELECT pack FROM image_packs \
             WHERE image = (SELECT number FROM images WHERE id = ?))"
        );
        self.rows(&query, &[id.as_bytes()], pack)
    }

    /// Which image uses which pack, and how many of its pages: none if that is not known.
    pub fn uses_of_packs(&self) -> Result<Vec<(ImageId, PackId, Option<u64>)>> {
        let query = "SELECT images.id, packs.id, image_packs.pages FROM image_packs \
             JOIN packs ON packs.number = image_packs.pack \
             JOIN images ON images.number = image_packs.image";
        self.rows(query, &[], |row| {
            Ok((ImageId::new(row.get(0)?), PackId::new(row.get(1)?), row.get(2)?))
        })
    }

    /// What the store takes up as far as the index knows, in bytes: a little more than
    /// it takes on disk, since packs have holes.
    pub fn bytes(&self) -> Result<u64> {
        let query = "SELECT (SELECT coalesce(sum(bytes), 0) FROM packs) \
             + (SELECT coalesce(sum(file_bytes), 0) FROM images)";
        self.index.query_row(query, (), |row| row.get(0)).map_err(sql(self.root))
    }

    /// When the next automatic gc is due, for this limit.
    pub fn next_gc(&self, max_bytes: u64) -> Result<Option<NextGc>> {
        let query = "SELECT after_ns, above_bytes FROM next_gc WHERE max_bytes = ?";
        let read = |row: &Row| Ok(NextGc { after_ns: row.get(0)?, above_bytes: row.get(1)? });
        // SQLite's integers have a sign; only equality matters.
        Ok(self.rows(query, &[&max_bytes.cast_signed()], read)?.pop())
    }

    /// Remembers when the next automatic gc is due, for this limit.
    pub fn set_next_gc(&self, max_bytes: u64, next: &NextGc) -> Result<()> {
        let above_bytes = i64::try_from(next.above_bytes).unwrap_or(i64::MAX);
        let set = self.index.execute(
            "INSERT OR REPLACE INTO next_gc VALUES (1, ?, ?, ?)",
            params![max_bytes.cast_signed(), next.after_ns, above_bytes],
        );
        set.map(drop).map_err(sql(self.root))
    }

    /// Adds an image that uses these extents of these packs, which lie in the store.
    /// Its name and key must be free.
    pub fn insert(&self, image: &Image, packs: &[PackInfo], extents: &[Extent]) -> Result<()> {
        let record = &image.record;
        let insert = || {
            let query = format!("INSERT INTO images ({COLUMNS}) VALUES ({})", ["?"; 23].join(", "));
            self.index.execute(
                &query,
                params![
                    image.id.as_bytes(),
                    image.created_ns,
                    image.page_bytes / PAGE as u64,
                    image.new_bytes / PAGE as u64,
                    image.file_bytes,
                    image.pinned,
                    record.key.as_bytes(),
                    record.name,
                    record.python,
                    record.executable,
                    record.real_executable,
                    record.interpreter.as_bytes(),
                    record.kernel,
                    record.glibc,
                    record.cpu,
                    record.flags,
                    record.python_env,
                    record.recipe,
                    record.modules.join("\n"),
                    record.import_ns,
                    record.import_times,
                    record.criu,
                    record.surroundings,
                ],
            )?;
            let number = self.index.last_insert_rowid();
            for (at, pack) in packs.iter().enumerate() {
                self.index.execute(
                    "INSERT OR IGNORE INTO packs (id, pages, bytes, modified_ns) \
                     VALUES (?, ?, ?, ?)",
                    params![pack.id.as_bytes(), pack.pages, pack.bytes, pack.modified_ns],
                )?;
                self.index.execute(
                    "INSERT OR IGNORE INTO image_packs (image, pack, pages) \
                     SELECT ?, number, ? FROM packs WHERE id = ?",
                    params![number, Slots::of(extents, at).len(), pack.id.as_bytes()],
                )?;
            }
            Ok(())
        };
        insert().map_err(sql(self.root))
    }

    /// Takes an image out; false if there is none with this key.
    pub fn delete(&self, key: &ImageKey) -> Result<bool> {
        let deleted = self.index.execute("DELETE FROM images WHERE key = ?", [key.as_bytes()]);
        Ok(deleted.map_err(sql(self.root))? > 0)
    }

    /// Takes out the packs that no image uses.
    pub fn delete_unused_packs(&self) -> Result<()> {
        let unused = "DELETE FROM packs WHERE number NOT IN (SELECT pack FROM image_packs)";
        self.index.execute(unused, ()).map_err(sql(self.root))?;
        Ok(())
    }

    /// Pins or unpins; false if there is no image with this key.
    pub fn set_pinned(&self, key: &ImageKey, pinned: bool) -> Result<bool> {
        let query = "UPDATE images SET pinned = ? WHERE key = ?";
        let changed = self.index.execute(query, params![pinned, key.as_bytes()]);
        Ok(changed.map_err(sql(self.root))? > 0)
    }

    /// The remembered hash of a file, if the file is still in that state.
    pub fn interpreter(&self, path: &str, state: &FileState) -> Result<Option<Digest>> {
        let query = "SELECT hash FROM interpreters WHERE path = ? AND device = ? AND inode = ? \
             AND size = ? AND mtime_ns = ? AND ctime_ns = ?";
        let [device, inode, size] = state.numbers();
        let values = params![path, device, inode, size, state.mtime_ns, state.ctime_ns];
        let hash =
            || self.index.prepare_cached(query)?.query_row(values, |row| row.get(0)).optional();
        Ok(hash().map_err(sql(self.root))?.map(Digest::new))
    }

    /// Remembers the hash of a file in this state.
    pub fn set_interpreter(&self, path: &str, state: &FileState, hash: &Digest) -> Result<()> {
        let query = "INSERT OR REPLACE INTO interpreters VALUES (?, ?, ?, ?, ?, ?, ?)";
        let [device, inode, size] = state.numbers();
        let values =
            params![path, device, inode, size, state.mtime_ns, state.ctime_ns, hash.as_bytes()];
        self.index.execute(query, values).map_err(sql(self.root))?;
        Ok(())
    }
}

fn pack(row: &Row) -> rusqlite::Result<PackInfo> {
    Ok(PackInfo {
        id: PackId::new(row.get(0)?),
        pages: row.get(1)?,
        bytes: row.get(2)?,
        modified_ns: row.get(3)?,
    })
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn image(row: &Row) -> rusqlite::Result<Image> {
    Ok(Image {
        id: ImageId::new(row.get(0)?),
        created_ns: row.get(1)?,
        // An index may be damaged and say anything.
        page_bytes: row.get::<_, u64>(2)?.saturating_mul(PAGE as u64),
        new_bytes: row.get::<_, u64>(3)?.saturating_mul(PAGE as u64),
        file_bytes: row.get(4)?,
        pinned: row.get(5)?,
        tier: Tier::Raw,
        hits: 0,
        last_used_ns: None,
        record: ImageRecord {
            key: ImageKey::new(row.get(6)?),
            name: row.get(7)?,
            python: row.get(8)?,
            executable: row.get(9)?,
            real_executable: row.get(10)?,
            interpreter: Digest::new(row.get(11)?),
            kernel: row.get(12)?,
            glibc: row.get(13)?,
            cpu: row.get(14)?,
            flags: row.get(15)?,
            python_env: row.get(16)?,
            recipe: row.get(17)?,
            modules: lines(row.get_ref(18)?.as_str()?),
            import_ns: row.get(19)?,
            import_times: row.get(20)?,
            criu: row.get(21)?,
            surroundings: row.get(22)?,
        },
    })
}

/// The one image that a person means by a name or the first digits of a key.
pub(super) fn find(images: &Images, wanted: &str) -> Result<Image> {
    if let Some(image) = images.by_name(wanted)? {
        return Ok(image);
    }
    let is_prefix = wanted.len() >= 4 && wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut found = if is_prefix { images.by_prefix(wanted)? } else { Vec::new() };
    match (found.pop(), found.is_empty()) {
        (Some(image), true) => Ok(image),
        (None, _) => Err(Error::failed(format!("there is no image {wanted:?}"))
            .hint("`pyimg ls` lists the images")),
        (Some(last), false) => {
            found.push(last);
            let names: Vec<_> = found
                .iter()
                .map(|image| format!("{} ({})", image.record.name, image.record.key))
                .collect();
            Err(Error::failed(format!("{wanted:?} begins the keys of {}", names.join(" and ")))
                .hint("give the name, or more digits"))
        }
    }
}
