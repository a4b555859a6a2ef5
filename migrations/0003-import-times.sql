-- Format 3. What a run needs to choose the image that saves most, without reading manifests.

-- A line for each top-level module: its name, the nanoseconds that its own import took, and the
-- modules that it imports (src/manifest/times.rs). Empty for images of formats 1 and 2.
ALTER TABLE images ADD COLUMN import_times TEXT NOT NULL DEFAULT '';

-- The version of CRIU that dumped the image; empty for images of formats 1 and 2.
ALTER TABLE images ADD COLUMN criu TEXT NOT NULL DEFAULT '';
