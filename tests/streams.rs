//! The standard streams of a program from an image, whatever they are connected to: as plain
//! Python has them, and without having been initialised anew where that is not needed.

mod common;

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{IMAGE, Lab, ground, pythons};
use nix::pty::openpty;

/// Writes to a file what the streams say of themselves, before and after they are used, and last
/// which objects are beneath them.
const CODE: &str = "\
import sys
def ask(function):
    try:
        return function()
    except OSError as error:
        return type(error).__name__
def said():
    for stream in streams:
        yield stream.name, stream.mode, stream.encoding, stream.errors, stream.newlines
        yield stream.line_buffering, stream.write_through, stream.closed
        for layer in stream, stream.buffer, stream.buffer.raw:
            yield layer.seekable(), layer.readable(), layer.writable(), layer.isatty()
            yield layer.fileno(), sys.getsizeof(layer), ask(layer.tell)
        raw = stream.buffer.raw
        yield raw.name, raw.mode, raw.closefd, raw._blksize
streams = sys.stdin, sys.stdout, sys.stderr
report = list(said())
report.append(sys.stdin.readline())
sys.stdout.write('first\\nsecond')
sys.stderr.write('third\\nfourth')
report += said()
if sys.stdout.seekable():
    sys.stdout.seek(3)
    sys.stdout.write('back')
    report.append(sys.stdout.tell())
with open(sys.argv[1], 'w') as file:
    print(*report, sep='\\n', file=file)
    print(*[id(stream.buffer.raw) for stream in streams], file=file)
";

/// What the streams are connected to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Pipe,
    Null,
    File,
    /// A file that is behind its beginning.
    Within,
    Terminal,
}

/// Runs the code with all three streams so; gives its report, what beneath the streams is, and
/// what is in the files then.
fn run(mut command: Command, kind: Kind, place: &Path) -> (String, String, Vec<Vec<u8>>) {
    let report = place.join("report");
    let paths = ["in", "out", "err"].map(|name| place.join(name));
    let mut kept: Vec<OwnedFd> = Vec::new();
    let mut connected = paths.iter().map(|path| match kind {
        Kind::Pipe => {
            let (read, mut write) = std::io::pipe().unwrap();
            if path.ends_with("in") {
                write.write_all(b"a line\n").unwrap();
                return Stdio::from(read);
            }
            kept.push(read.into());
            Stdio::from(write)
        }
        Kind::Null => Stdio::null(),
        Kind::File | Kind::Within => {
            fs::write(path, "123456\na line\nanother\n").unwrap();
            let mut file = File::options().read(true).write(true).open(path).unwrap();
            if kind == Kind::Within {
                file.seek(SeekFrom::Start(7)).unwrap();
            }
            Stdio::from(file)
        }
        Kind::Terminal => {
            let pty = openpty(None, None).unwrap();
            nix::unistd::write(&pty.master, b"a line\n").unwrap();
            kept.push(pty.master);
            Stdio::from(pty.slave)
        }
    });
    command.args(["-c", CODE]).arg(&report);
    command.stdin(connected.next().unwrap());
    command.stdout(connected.next().unwrap()).stderr(connected.next().unwrap());
    drop(connected);
    let status = command.status().unwrap();
    assert!(status.success(), "{kind:?}: {command:?}: {status}");
    let report = fs::read_to_string(&report).unwrap();
    let (report, objects) = report.trim_end().rsplit_once('\n').unwrap();
    let files = paths.iter().filter_map(|path| fs::read(path).ok()).collect();
    (report.into(), objects.into(), files)
}

#[test]
fn they_are_what_plain_python_has() {
    if !common::criu() {
        return;
    }
    for python in pythons() {
        let lab = Lab::new(python, "import json");
        let program = |mut command: Command, options: &[&str], kind| {
            command.args(options);
            run(command, kind, &ground().dir("place"))
        };
        let mut known = String::new();
        for kind in [Kind::Pipe, Kind::Null, Kind::File, Kind::Within, Kind::Terminal] {
            let uses = lab.uses();
            let (report, objects, files) = program(lab.pyrun(), &["--image", IMAGE], kind);
            assert_eq!(lab.uses(), uses + 1, "{}: {kind:?}: a miss", python.path.display());
            let right = program(lab.plain(), &[], kind);
            assert_eq!((report, files), (right.0, right.2), "{}: {kind:?}", python.path.display());
            // One that is initialised anew is another object.
            if kind == Kind::Pipe {
                known = objects;
            } else {
                assert_eq!(objects, known, "{}: {kind:?}", python.path.display());
            }
        }
    }
}
