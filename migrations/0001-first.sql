-- Format 1. What the columns mean is said in store-layout.md and src/store/record.rs.
-- Everything here but `pinned` and `interpreters` can be made again from the manifests.

CREATE TABLE images (
    number          INTEGER PRIMARY KEY,
    key             BLOB    NOT NULL UNIQUE CHECK (length(key) = 32),
    id              BLOB    NOT NULL UNIQUE CHECK (length(id) = 32),
    name            TEXT    NOT NULL UNIQUE,
    created_ns      INTEGER NOT NULL,
    python          TEXT    NOT NULL,
    executable      TEXT    NOT NULL,
    real_executable TEXT    NOT NULL,
    interpreter     BLOB    NOT NULL CHECK (length(interpreter) = 32),
    kernel          TEXT    NOT NULL,
    glibc           TEXT    NOT NULL,
    cpu             TEXT    NOT NULL,
    flags           TEXT    NOT NULL,
    python_env      TEXT    NOT NULL,
    recipe          TEXT    NOT NULL,
    modules         TEXT    NOT NULL, -- one name per line
    import_ns       INTEGER NOT NULL,
    pages           INTEGER NOT NULL,
    new_pages       INTEGER NOT NULL,
    file_bytes      INTEGER NOT NULL,
    pinned          INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1))
) STRICT;

CREATE INDEX images_by_executable ON images (executable);

CREATE TABLE packs (
    number      INTEGER PRIMARY KEY,
    id          BLOB    NOT NULL UNIQUE CHECK (length(id) = 32),
    pages       INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL
) STRICT;

CREATE TABLE image_packs (
    image INTEGER NOT NULL REFERENCES images (number) ON DELETE CASCADE,
    pack  INTEGER NOT NULL REFERENCES packs (number),
    PRIMARY KEY (image, pack)
) STRICT, WITHOUT ROWID;

CREATE INDEX image_packs_by_pack ON image_packs (pack);

-- The hash of a big file that is hashed often; valid as long as all the rest is the same.
CREATE TABLE interpreters (
    path     TEXT    PRIMARY KEY,
    device   INTEGER NOT NULL,
    inode    INTEGER NOT NULL,
    size     INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    hash     BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT, WITHOUT ROWID;
