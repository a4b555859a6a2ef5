-- Format 2. How much of a pack an image uses, so that cleaning up can tell which packs are
-- mostly dead without reading every manifest; and when it last tried in vain.

-- Distinct pages of the pack that the image uses; not known (NULL) for images of format 1.
ALTER TABLE image_packs ADD COLUMN pages INTEGER;

-- The last automatic gc that could not bring the store below its limit; at most one row.
CREATE TABLE vain_gc (
    number   INTEGER PRIMARY KEY CHECK (number = 1),
    ended_ns INTEGER NOT NULL,
    bytes    INTEGER NOT NULL -- what the store took up then, as the index knows it
) STRICT;
