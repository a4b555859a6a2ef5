//! The recorder of file operations: `recorder.c`, compiled by the system's `cc`, and its log.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// One operation, as `recorder.c` writes it.
#[derive(Debug, Clone)]
pub struct Record {
    pub op: u8,
    /// Whether it was made to fail, or cut short.
    pub injected: bool,
    pub error: i32,
    pub inode: u64,
    pub at: i64,
    pub length: i64,
    pub modified_ns: i64,
    pub mode: u32,
    pub path: String,
    pub other: String,
    pub data: Vec<u8>,
}

/// An operation that is to fail, and how: see `recorder.c`.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub number: u32,
    pub kind: &'static str,
}

/// All kinds of faults.
pub const KINDS: [&str; 3] = ["eio", "short", "full"];

/// Where the recorder lies, compiled once for this test process.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let library = crate::common::ground().no_file("recorder.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/recorder.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
            .args([&library, &source])
            .output()
            .expect("the crash tests need a C compiler called cc, as building pyimg does");
        let text = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "cc cannot compile {}: {text}", source.display());
        library
    })
}

/// Has a command record what it does below a directory.
pub fn record(command: &mut Command, below: &Path, log: &Path, fault: Option<Fault>) {
    command
        .env("LD_PRELOAD", library())
        .env("RECORDER_BELOW", fs::canonicalize(below).unwrap())
        .env("RECORDER_LOG", log);
    if let Some(Fault { number, kind }) = fault {
        command.env("RECORDER_FAIL", format!("{number} {kind}"));
    }
}

/// What was recorded.
pub fn read(log: &Path) -> Vec<Record> {
    let bytes = fs::read(log).expect("the recorder has written nothing");
    let mut rest = bytes.as_slice();
    let mut records = Vec::new();
    while !rest.is_empty() {
        records.push(next(&mut rest));
    }
    records
}

fn next(rest: &mut &[u8]) -> Record {
    let mut take = |length: usize| {
        let (taken, after) = rest.split_at(length);
        *rest = after;
        taken.to_vec()
    };
    let head = take(56);
    let u32_at = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_ne_bytes(head[at..at + 8].try_into().unwrap());
    let mut text = |length: u32| String::from_utf8(take(length as usize)).unwrap();
    Record {
        op: head[0],
        injected: head[1] != 0,
        error: u32_at(4).cast_signed(),
        inode: u64_at(8),
        at: u64_at(16).cast_signed(),
        length: u64_at(24).cast_signed(),
        modified_ns: u64_at(32).cast_signed(),
        mode: u32_at(52),
        path: text(u32_at(40)),
        other: text(u32_at(44)),
        data: take(u32_at(48) as usize),
    }
}
