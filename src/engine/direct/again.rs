//! The steps of a run in a form that can be made again, for another process: what differs from one
//! to the next (descriptors, where the kernel's pages are, the request) is filled in by the code
//! that makes them (`replay/first/become.c`).

use std::ops::Range;
use std::path::Path;

use super::maps::Maps;
use super::steps::{self, Room, Steps, WORDS};
use super::{Refusal, area, check_kernel, handoff, limits, provided};
use crate::image::plan::{Plan, Source};
use crate::replay::{self, ASIDE_AT, Copied, Descriptors, Kept, PLACE};

impl Room for Kept {
    fn put(&mut self, bytes: &[u8]) -> u64 {
        Kept::put(self, bytes)
    }
}

/// The image as a replay has it.
#[derive(Debug)]
pub struct Again {
    /// Its steps, where they are.
    pub copied: Copied,
    /// The files that they need; packs first, then the plan's own.
    pub descriptors: Descriptors,
    /// What the kernel provides: where each part is, counted from its code, and its size.
    pub parts: Vec<(i64, u64)>,
    /// The kernel's code.
    pub code: Vec<u8>,
}

/// Puts the steps together; `packs`, `pages` and `lock` are paths, `blocked` the signals that the
/// process blocks.
///
/// # Errors
/// When there can be no replay.
pub fn again(
    plan: &Plan,
    packs: &[&str],
    pages: &Path,
    lock: &Path,
    blocked: u64,
    prefetched: &[Range<u64>],
    kept: &mut Kept,
) -> Result<Again, Refusal> {
    check_kernel()?;
    let whole = replay::WHOLE;
    if plan.regions.iter().any(|r| r.start < whole.end && r.start + r.length > whole.start) {
        return Err(Refusal("the place of replays is taken".into()));
    }
    let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
    let mut paths: Vec<Vec<u8>> = packs.iter().map(|path| path.as_bytes().to_vec()).collect();
    let own = paths.len();
    paths.extend(plan.files.iter().map(|file| file.path.as_bytes().to_vec()));
    let pages_file = paths.len();
    if !plan.copies.is_empty() {
        paths.push(bytes(pages));
    }
    let executable = paths.len();
    paths.push(plan.executable.as_bytes().to_vec());
    let lock_file = paths.len();
    paths.push(bytes(lock));

    let mut early = Steps::default();
    for region in &plan.regions {
        let (file, offset) = match region.source {
            Source::Zeros => (-1, 0),
            Source::Pack(number, offset) => (number as i32, offset),
            Source::File(number, offset) => ((own + number as usize) as i32, offset),
        };
        early.map_anew(region, file, offset);
    }
    early.fill(plan, pages_file as i32, kept, |_| true);
    early.prefetch(plan, prefetched);
    early.spoil("PYIMG_TEST_REPLAY_EARLY_STEP");
    early.end();

    let maps = Maps::read()?;
    let mut late = Steps::default();
    let (mut parts, mut back) = (Vec::new(), Vec::new());
    let mut aside = ASIDE_AT;
    let from = maps.code.map_or(0, |(start, _)| start);
    for ((start, end), target) in provided(plan, &maps)? {
        late.move_mapping(start, end - start, aside);
        parts.push((start.wrapping_sub(from).cast_signed(), end - start));
        back.push((aside, end - start, target));
        aside += super::pages(end - start);
    }
    late.unmap_all_but(&taken(plan, whole.clone()));
    back.into_iter().for_each(|(from, size, to)| late.move_mapping(from, size, to));
    let number = late.set_bounds(plan, executable as i32, kept);
    late.set_storage(plan.main.storage);
    late.set_alternate_stack(plan.main.alternate_stack, kept);
    let closes = late.len();
    (0..paths.len()).for_each(|file| late.close(file as i32));
    let handoff = handoff(plan, blocked, (0, 0), whole, kept);
    late.enter(plan.wake, handoff);
    late.spoil("PYIMG_TEST_REPLAY_STEP");
    // The code that makes them fills it in, unless it is 0.
    let mut rescue = steps::rescue_by([1; 3], blocked, kept);
    rescue.end();
    let late = kept.put(&late.to_bytes());
    let (address_space, data) = limits(plan);
    Ok(Again {
        copied: Copied {
            early: kept.put(&early.to_bytes()),
            late,
            closes: late + (closes * WORDS * 8) as u64,
            rescue: kept.put(&rescue.to_bytes()),
            // Behind its magic and the launcher's memory.
            request: handoff + 24,
            limits: [address_space + replay::SIZE, data + replay::SIZE],
            blocked,
        },
        descriptors: Descriptors {
            paths,
            lock: lock_file,
            executable: number.map(|at| (executable, at)),
        },
        parts,
        code: maps.code.map(area::code).unwrap_or_default().to_vec(),
    })
}

/// What is mapped when the last steps begin and is to stay, in order: all of the image, and the
/// launcher's memory.
fn taken(plan: &Plan, whole: Range<u64>) -> Vec<Range<u64>> {
    debug_assert_eq!(whole.start, PLACE);
    let mut all: Vec<Range<u64>> = Vec::new();
    for region in &plan.regions {
        let end = region.start + region.length;
        match all.last_mut() {
            Some(last) if last.end == region.start => last.end = end,
            _ => all.push(region.start..end),
        }
    }
    let at = all.partition_point(|range| range.start < whole.start);
    all.insert(at, whole);
    all
}
