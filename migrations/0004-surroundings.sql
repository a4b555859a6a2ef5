-- Format 4. An image for each of the surroundings in which a recipe comes to something else. With
-- it, what imports depended on is no longer kept as JSON (src/key/evidence.rs).

-- What of the variables, the working directory and the terminals the imports have looked at, as
-- JSON (src/key/evidence/variables.rs). Empty if nothing, and for images of formats 1 to 3.
ALTER TABLE images ADD COLUMN surroundings TEXT NOT NULL DEFAULT '';
