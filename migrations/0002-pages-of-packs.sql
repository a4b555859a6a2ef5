-- Format 2. How much of a pack an image uses, so that cleaning up can tell which packs are
-- mostly dead without reading every manifest; and when a build looks again for room.

-- Distinct pages of the pack that the image uses; not known (NULL) for images of format 1.
ALTER TABLE image_packs ADD COLUMN pages INTEGER;

-- What the last automatic gc found out; at most one row.
CREATE TABLE next_gc (
    number      INTEGER PRIMARY KEY CHECK (number = 1),
    max_bytes   INTEGER NOT NULL, -- the limit that it had to keep; under another the row says nothing
    after_ns    INTEGER NOT NULL, -- the next one may run from this time on,
    above_bytes INTEGER NOT NULL  -- or once the index counts more bytes than this
) STRICT;
