//! That no image ever serves something stale, shown by trying.
//!
//! Each test makes a small tree of files, builds an image of it, changes one thing as a
//! person, an editor or a package manager would, and then runs one program with `pyrun` and
//! with `python`: what they print must be the same. Nothing is said here about how a change
//! is noticed, nor that it must be a miss. The opposite is tested too: after a change that
//! concerns nobody the image must still be used, else all of this would prove nothing.
//!
//! - [`sources`]: modules, packages, compiled files
//! - [`binaries`]: extension modules, shared libraries, the interpreter
//! - [`installed`]: packages that pip installs, metadata, `.pth` files, `pyvenv.cfg`
//! - [`data`], [`listings`]: what modules read while they are imported
//! - [`absent`], [`shadows`], [`paths`]: what was looked for in vain, what stands in front of
//!   something else, archives and namespace packages
//! - [`effects`]: what imports do to the process, which the program must find done
//! - [`variables`], [`machine`]: environment variables, kernel, processor
//! - [`grown`]: images that grow from others
//! - [`random`]: hundreds of changes in a row
//! - [`doubts`]: what makes an image doubtful

#[path = "../common/mod.rs"]
mod common;

mod absent;
mod binaries;
mod data;
mod doubts;
mod effects;
mod grown;
mod installed;
mod listings;
mod machine;
mod paths;
mod random;
mod shadows;
mod sources;
mod terminals;
mod tools;
mod variables;
mod world;
