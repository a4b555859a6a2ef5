//! Start Python programs from the memory image of a process that has already imported
//! what they need.
//!
//! `pyimg build "import numpy, pandas"` runs the user's own Python until its imports are
//! done, parks it, and has CRIU write out its memory; `pyrun`, called as `python` is,
//! brings that process back and lets it run the program. When in doubt `pyrun` runs plain
//! Python. This library is what both are made of; it promises nothing to other crates.
//!
//! # Words
//!
//! - *image*: a parked Python process, stored: its manifest, its process state, its pages
//! - *recipe*: what to preload
//! - *key*: what makes two processes the same image; *evidence*: the files that the imports
//!   depended on, each with the state that it had
//! - *park*: the point where the process waits to be dumped, and where it wakes
//! - *request*: what a run hands to the woken process
//! - *page*: 4 KiB of memory; *pack*: an immutable file of pages; *extent*: consecutive pages
//!   of an image that lie consecutively in one pack
//! - *engine*: what brings an image back
//! - *hit*, *miss*: `pyrun` used an image, or ran plain Python; every miss has a reason
//!
//! # Rooms
//!
//! Data goes one way. To build: recipe -> interpreter spawned -> imported -> parked ->
//! dumped -> typed image -> packs and manifest -> one SQLite commit. To run: command line ->
//! interpreter -> candidates -> evidence holds -> engine -> the user's program.
//!
//! | room | what it is for | whom it knows |
//! | --- | --- | --- |
//! | [`commands`], [`cli`], [`ui`] | `pyimg`: one file for each verb, its command line, how it speaks | everyone below |
//! | [`config`] | what a person has set for `pyimg`: file and variables | nobody |
//! | [`launch`] | `pyrun`: from a command line to an engine, or to plain Python | everyone below |
//! | [`capture`] | makes an image; `capture/park` runs inside the interpreter | everyone below |
//! | [`engine`] | brings an image back | [`criu`], [`image`], [`manifest`], [`replay`] |
//! | [`replay`] | a run that is like one before: the file of it, and the code that begins with it | [`image`], [`key`] |
//! | [`manifest`] | what an image says of itself | [`image`], [`key`] |
//! | [`store`] | images on disk, deduplicated by page | nobody: not CRIU, not Python |
//! | [`criu`] | libcriu: check, version, dump, restore | nobody: not Python, not SQL |
//! | [`image`] | CRIU's images as values, and what is done to them; no I/O | nobody |
//! | [`key`] | interpreter, host, variables, flags, recipe, evidence | nobody |
//! | [`error`], [`sys`], [`parallel`] | the one error type; the few unsafe system calls; all processors | nobody |
//! | [`trace`] | when a launch reached what, for a benchmark | nobody |
//!
//! `unsafe` is denied everywhere but in `criu/sys`, [`sys`], `replay/first`, `main` of `pyrun` and what is generated from CRIU's
//! protocol buffers in [`image`].

pub mod capture;
pub mod cli;
pub mod commands;
pub mod config;
pub mod criu;
pub mod engine;
pub mod error;
pub mod image;
pub mod key;
pub mod launch;
pub mod manifest;
pub mod parallel;
pub mod replay;
pub mod store;
pub mod sys;
pub mod trace;
pub mod ui;
