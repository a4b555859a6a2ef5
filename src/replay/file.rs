//! A replay as a file: `struct replay` of `first/first.h`, and what that refers to.
//!
//! It is mapped at one address, always, so what refers to something is an address. The launcher's
//! memory while the process becomes the program is around it:
//!
//! | from | what |
//! | --- | --- |
//! | [`PLACE`] | a page for the code of the steps, a page for its stack |
//! | [`DATA`] | the file |
//! | `PLACE` + 4 MB | room for the request |
//! | [`ASIDE_AT`] | the kernel's pages while all else is unmapped |

use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;

use super::first;
use crate::image::PAGE_SIZE;
use crate::key::evidence::{Claim, Claims, State, What};

/// The first address.
pub const PLACE: u64 = 0x2000_0000_0000;
/// Where the file is.
pub const DATA: u64 = PLACE + 2 * PAGE_SIZE;
const ROOM_AT: u64 = PLACE + (4 << 20);
const ROOM: u64 = 512 << 10;
/// Where the kernel's pages go.
pub const ASIDE_AT: u64 = ROOM_AT + ROOM;
/// Bytes of all that.
pub const SIZE: u64 = (4 << 20) + 2 * ROOM;
/// All its addresses.
pub const WHOLE: Range<u64> = PLACE..PLACE + SIZE;
/// Files at most.
const MOST_FILES: usize = 256;
/// Parts of what the kernel provides, at most.
const MOST_PARTS: usize = 4;

/// The memory that a replay is mapped as.
#[derive(Debug)]
pub struct Kept {
    bytes: Vec<u8>,
}

impl Default for Kept {
    fn default() -> Self {
        let header = first::size_of_header() as usize;
        Self { bytes: vec![0; header] }
    }
}

impl Kept {
    /// Puts bytes there and says at which address they will be: a multiple of 16.
    pub fn put(&mut self, bytes: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(16), 0);
        let at = DATA + self.bytes.len() as u64;
        self.bytes.extend(bytes);
        at
    }

    fn put_words(&mut self, words: &[u64]) -> u64 {
        self.put(words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>().as_slice())
    }

    /// A string with a zero behind it.
    pub fn put_string(&mut self, string: &[u8]) -> u64 {
        self.put(&[string, b"\0"].concat())
    }

    fn put_bytes(&mut self, bytes: &[u8]) -> [u64; 2] {
        [self.put(bytes), bytes.len() as u64]
    }
}

/// Files that are opened, in this order.
#[derive(Debug, Clone, Default)]
pub struct Descriptors {
    /// Their paths.
    pub paths: Vec<Vec<u8>>,
    /// Which of them is locked.
    pub lock: usize,
    /// Which of them is the binary that the process is to show, and where its descriptor goes.
    pub executable: Option<(usize, u64)>,
}

/// The image, compiled: what is at which address.
#[derive(Debug, Clone, Copy, Default)]
pub struct Copied {
    /// The steps that map it.
    pub early: u64,
    /// Those after which the process is the program.
    pub late: u64,
    /// Those of them that close the files.
    pub closes: u64,
    /// Those for when one fails.
    pub rescue: u64,
    /// Address and length of the request, two words.
    pub request: u64,
    /// Bytes of address space and of data that there must be.
    pub limits: [u64; 2],
    /// Signals that are blocked, one bit each.
    pub blocked: u64,
}

/// The strings of a request that do not change.
#[derive(Debug, Clone, Default)]
pub struct Strings {
    /// What it begins with.
    pub head: Vec<u8>,
    /// The beginning of `sys.argv`.
    pub argv: Vec<Vec<u8>>,
    /// The beginning of `sys.orig_argv`.
    pub orig_argv: Vec<Vec<u8>>,
    /// Each variable: its number among the process's own, or else its text.
    pub environment: Vec<Result<usize, Vec<u8>>>,
    /// What it ends with.
    pub last: Vec<Vec<u8>>,
}

/// What is recorded of a run.
#[derive(Debug, Clone)]
pub struct Records {
    /// The log of runs.
    pub log: Vec<u8>,
    /// What is added to it, with [`Self::TIME`] and, of a hit, [`Self::TOOK`] for two numbers.
    pub line: Vec<u8>,
    /// The file that grows by a byte for each use of the image; empty if there is none.
    pub uses: Vec<u8>,
    /// The file of the program, whose time is that of its last run; empty if it is to be left.
    pub program: Vec<u8>,
    /// What is said on standard error.
    pub said: Vec<u8>,
    /// What came of it, for benchmarks.
    pub outcome: &'static str,
}

impl Records {
    /// Stands for when the run began, in nanoseconds since 1970.
    pub const TIME: u64 = 7_777_777_777_777_777_771;
    /// Stands for how long it took to start the program, in nanoseconds.
    pub const TOOK: u64 = 7_777_777_777_777_777_773;

    /// The line with 20 characters for each number, and where they are.
    fn line(&self) -> Option<(Vec<u8>, usize, usize)> {
        let place =
            |line: &[u8], number: u64| memchr::memmem::find(line, number.to_string().as_bytes());
        let mut line = self.line.clone();
        for number in [Self::TIME, Self::TOOK] {
            // It has 19 digits.
            if let Some(at) = place(&line, number) {
                line.insert(at, b' ');
            }
        }
        let at = |number| place(&line, number).map(|at| at - 1);
        let (time, took) = (at(Self::TIME)?, at(Self::TOOK).unwrap_or_default());
        Some((line, time, took))
    }
}

/// All of a replay but the image.
#[derive(Debug)]
pub struct Replay {
    /// From when on and until when it may be made, in nanoseconds since 1970.
    pub time: Range<u64>,
    /// Whether standard input, output and error have to be terminals, where that matters.
    pub terminals: [Option<bool>; 3],
    /// Whether the program's arguments must not speak of pip.
    pub no_pip: bool,
    /// What the kernel provides: where each part is, counted from its code, and its size.
    pub parts: Vec<(i64, u64)>,
    /// The kernel's code.
    pub code: Vec<u8>,
    /// What has to be so.
    pub claims: Vec<Claims>,
    /// The files.
    pub descriptors: Descriptors,
    /// The request; for plain Python only the arguments and variables of it count.
    pub strings: Strings,
    /// What is recorded.
    pub records: Records,
    /// What the process is to become.
    pub end: End,
}

/// What the process is to become.
#[derive(Debug)]
pub enum End {
    /// The program, from this image.
    Image(Copied),
    /// Plain Python: the path of the interpreter.
    Plain(Vec<u8>),
}

impl Replay {
    /// The bytes of the file, given what of it is put together already; nothing if it would be
    /// too large.
    pub fn to_bytes(&self, mut kept: Kept) -> Option<Vec<u8>> {
        if self.parts.len() > MOST_PARTS || self.descriptors.paths.len() > MOST_FILES {
            return None;
        }
        let [places, place_count, facts, fact_count] = self.put_claims(&mut kept);
        let paths = self.descriptors.paths.iter();
        let files: Vec<u64> = paths.map(|path| kept.put_string(path)).collect();
        let files = kept.put_words(&files);
        let joined = |strings: &[Vec<u8>]| -> Vec<u8> {
            strings.iter().flat_map(|string| [string.as_slice(), b"\0"].concat()).collect()
        };
        let Strings { head, argv, orig_argv, environment, last } = &self.strings;
        let texts = [head.clone(), joined(argv), joined(orig_argv), joined(last)];
        let texts = texts.map(|text| kept.put_bytes(&text));
        let variables: Vec<u64> = environment
            .iter()
            .map(|variable| match variable {
                Ok(number) => *number as u64,
                Err(text) => kept.put_string(text),
            })
            .collect();
        let variables = kept.put_words(&variables);
        let Records { log, uses, program, said, .. } = &self.records;
        let (line, time_at, took_at) = self.records.line()?;
        let paths = [log, uses, program].map(|path| kept.put_string(path));
        let line = kept.put_bytes(&line);
        let said = kept.put_bytes(said);
        let outcome = kept.put_string(self.records.outcome.as_bytes());
        let (image, execute) = match &self.end {
            End::Image(image) => (*image, 0),
            End::Plain(path) => (Copied::default(), kept.put_string(path)),
        };
        let code = kept.put_bytes(&self.code);
        let [no, yes, any] = [0, 1, 2];
        let mut flags = self.terminals.map(|wanted| match wanted {
            Some(is_one) => {
                if is_one {
                    yes
                } else {
                    no
                }
            }
            None => any,
        });
        let mut small: Vec<u8> = flags.iter_mut().map(|flag| *flag).collect();
        small.push(u8::from(self.no_pip));
        small.extend((self.parts.len() as u32).to_le_bytes());
        let small = u64::from_le_bytes(small.try_into().ok()?);
        let mut parts: Vec<u64> =
            self.parts.iter().flat_map(|(from, size)| [from.cast_unsigned(), *size]).collect();
        parts.resize(2 * MOST_PARTS, 0);
        let (executable, at) = self.descriptors.executable.unwrap_or_default();
        let counts = argv.len() as u64 | (orig_argv.len() as u64) << 32;

        let mut words = vec![self.time.start, self.time.end, image.blocked];
        words.extend(image.limits);
        words.push(small);
        words.extend(parts);
        words.extend(first::processor());
        words.extend(code);
        words.extend([places, place_count, facts, fact_count, files]);
        words.extend([self.descriptors.paths.len() as u64, self.descriptors.lock as u64]);
        words.extend([image.early, image.late, image.closes, image.rescue, at, executable as u64]);
        words.push(image.request);
        words.extend(texts.as_flattened());
        words.extend([counts, variables, environment.len() as u64]);
        words.extend(paths);
        words.extend(line);
        words.extend([time_at as u64, took_at as u64]);
        words.extend(said);
        words.extend([outcome, execute]);
        finish(kept, &words)
    }

    /// Places, each with an address of its path, and numbers of its first fact and of how many;
    /// then facts. Gives the address and number of each.
    fn put_claims(&self, kept: &mut Kept) -> [u64; 4] {
        let mut names = Vec::new();
        let mut facts = Vec::new();
        let mut places = Vec::new();
        for Claims { path, claims } in &self.claims {
            let path = kept.put_string(path.as_os_str().as_bytes());
            places.extend(path.to_le_bytes());
            places.extend((facts.len() as u32).to_le_bytes());
            places.extend((claims.len() as u32).to_le_bytes());
            for Claim { name, what } in claims {
                facts.push((names.len() as u32, *what));
                names.extend(name);
                names.push(0);
            }
        }
        let names = (kept.put(&names) - DATA) as u32;
        let count = facts.len() as u64;
        let facts: Vec<u8> =
            facts.into_iter().flat_map(|(name, what)| fact(names + name, what)).collect();
        [kept.put(&places), self.claims.len() as u64, kept.put(&facts), count]
    }
}

/// `struct fact`.
fn fact(name: u32, what: What) -> Vec<u8> {
    let none = State { size: 0, mtime: 0, ctime: 0, inode: 0 };
    let (kind, state) = match what {
        What::File(state) => (0_u32, state),
        What::Link(state) => (1, state),
        What::Present => (2, none),
        What::Absent => (3, none),
        What::Directory(state) => (4, state),
        What::Inode(state) => (5, state),
    };
    let mut bytes = [name.to_le_bytes(), kind.to_le_bytes()].concat();
    let State { size, mtime, ctime, inode } = state;
    bytes.extend([size, mtime, ctime].into_iter().flat_map(i64::to_le_bytes));
    bytes.extend(inode.to_le_bytes());
    bytes
}

/// Puts the header in its place: magic, length and checksum of what follows, then these words.
fn finish(kept: Kept, words: &[u64]) -> Option<Vec<u8>> {
    /// Bytes before what the checksum is of.
    const BEFORE: usize = 24;
    let mut bytes = kept.bytes;
    let body = (bytes.len() - BEFORE).next_multiple_of(32);
    bytes.resize(BEFORE + body, 0);
    assert_eq!(BEFORE + words.len() * 8, first::size_of_header() as usize, "struct replay");
    for (place, word) in bytes[BEFORE..].chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let sum = first::checksum_of(&bytes[BEFORE..]);
    for (place, word) in
        bytes.chunks_exact_mut(8).zip([first::magic(), (BEFORE + body) as u64, sum])
    {
        place.copy_from_slice(&word.to_le_bytes());
    }
    (DATA + bytes.len() as u64 <= ROOM_AT).then_some(bytes)
}
