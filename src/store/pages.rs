//! Pages: cutting memory into them and naming each by its blake3.
//!
//! The one place where the store spends processor time by the byte, so it uses
//! all processors for long runs.

use std::num::NonZero;
use std::sync::LazyLock;
use std::thread;

use super::ids::PageHash;

/// The size of a page in bytes, on every machine this runs on.
pub const PAGE: usize = 4096;

/// Fewer pages of zeroes in a row are written like others: a hole keeps the kernel from keeping
/// what is around it together.
pub(super) const LEAST_HOLE: usize = 16;

static ZERO_PAGE: [u8; PAGE] = [0; PAGE];

static ZERO_HASH: LazyLock<PageHash> = LazyLock::new(|| blake3::hash(&ZERO_PAGE).into());

/// Below this many pages (about 1 ms of work) another thread costs more than it
/// brings.
const WORTH_A_THREAD: usize = 512;

/// The hash of a page of zeroes.
pub(super) fn zero_hash() -> PageHash {
    *ZERO_HASH
}

/// The hashes of the pages in `bytes`, whose length is a multiple of [`PAGE`].
pub(super) fn hash(bytes: &[u8]) -> Vec<PageHash> {
    let pages = bytes.len() / PAGE;
    let threads = match pages / WORTH_A_THREAD {
        0 => 1,
        most => thread::available_parallelism().map_or(1, NonZero::get).min(most).min(8),
    };
    if threads == 1 {
        return hash_here(bytes).collect();
    }
    let share = pages.div_ceil(threads) * PAGE;
    thread::scope(|scope| {
        let (first, rest) = bytes.split_at(share);
        let others: Vec<_> = rest
            .chunks(share)
            .map(|part| scope.spawn(|| hash_here(part).collect::<Vec<_>>()))
            .collect();
        let mut hashes = Vec::with_capacity(pages);
        hashes.extend(hash_here(first));
        for other in others {
            // Hashing cannot panic; if it ever does, so does the caller.
            hashes.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        hashes
    })
}

fn hash_here(bytes: &[u8]) -> impl Iterator<Item = PageHash> {
    bytes.chunks_exact(PAGE).map(hash_one)
}

/// The hash of one page.
pub(super) fn hash_one(page: &[u8]) -> PageHash {
    match page == ZERO_PAGE {
        true => zero_hash(), // comparing stops at the first other byte, hashing never does
        false => blake3::hash(page).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_change_nothing() {
        let pages = 3 * WORTH_A_THREAD + 7;
        let mut bytes = vec![0; pages * PAGE];
        for (number, page) in bytes.chunks_exact_mut(PAGE).enumerate().skip(1) {
            page[number % PAGE] = (number % 251) as u8;
        }
        let one: Vec<_> = hash_here(&bytes).collect();
        assert_eq!(hash(&bytes), one);
        assert_eq!(one[0], zero_hash());
        assert_eq!(one[5], PageHash::from(blake3::hash(&bytes[5 * PAGE..6 * PAGE])));
        assert!(hash(&[]).is_empty());
    }
}
