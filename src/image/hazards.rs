//! Which memory must stay anonymous.
//!
//! In mapping form a dumped region comes back as a private mapping of a pack. That
//! is the same bytes, but not the same kind of memory, and a few users of memory
//! can tell the difference:
//!
//! - After `MADV_DONTNEED` a private file mapping shows the file again, where anonymous
//!   memory shows zeros. jemalloc, mimalloc and tcmalloc rely on the zeros (glibc and
//!   CPython's allocator do not), so where one of them is in the process, its
//!   regions cannot be told from others and all of them stay anonymous.
//! - Most advice (`madvise`) exists for anonymous memory only.
//! - A region that is grown with `mremap` would run on into whatever follows in the
//!   pack, or past its end (`SIGBUS`). glibc does that to a chunk that it allocated
//!   with `mmap` when such a chunk is reallocated; each has a recognisable header. The last
//!   page of such a chunk stays anonymous, so that it is two mappings: then `mremap` fails
//!   (`EFAULT`), and glibc allocates another chunk and copies. A chunk of one page is
//!   anonymous as a whole.
//! - The main stack grows downwards, which a file mapping cannot.
//!
//! And some memory must not come back at all: what fork wipes is secret to one process,
//! such as the state of a random generator, and runs must not share it any more than
//! forked processes. From glibc 2.41 and Linux 6.11 on `getrandom` itself has such a state,
//! and without it begins anew.

use memchr::memmem;

use crate::image::PAGE_SIZE;
use crate::image::message::Vma;

/// `status` bits of CRIU's `vma_entry` (`criu/include/image.h`).
pub mod status {
    /// Ordinary memory; always set for what is dumped here.
    pub const REGULAR: u32 = 1 << 0;
    /// The main stack.
    pub const STACK: u32 = 1 << 1;
    /// The `brk` heap.
    pub const HEAP: u32 = 1 << 5;
    /// A private mapping of a file.
    pub const FILE_PRIVATE: u32 = 1 << 6;
    /// Private anonymous memory.
    pub const ANON_PRIVATE: u32 = 1 << 9;
    /// What the kernel provides (vsyscall, vdso, vvar), AIO rings, shadow stacks and guard
    /// regions: their kinds must not change.
    pub const SPECIAL: u32 = 1 << 2 | 1 << 3 | 1 << 12 | 1 << 13 | 1 << 15 | 1 << 16;
}

/// `MADV_WIPEONFORK` of `madvise(2)`, as a bit of a VMA's `madv`.
pub const WIPE_ON_FORK: u64 = 1 << 18;

/// `MAP_GROWSDOWN` of `mmap(2)`.
const MAP_GROWSDOWN: u32 = 0x100;

/// Advice (`madvise(2)`, one bit each) that a private file mapping takes as well:
/// MADV_DONTFORK (10), MADV_NOHUGEPAGE (15), MADV_DONTDUMP (16).
const HARMLESS_ADVICE: u64 = 1 << 10 | 1 << 15 | 1 << 16;

/// Text that is in every build of an allocator which relies on zeros after
/// `MADV_DONTNEED`: the prefixes of its own messages and its public names.
const ALLOCATORS: [&str; 3] = ["<jemalloc>", "mimalloc: ", "tcmalloc"];

/// The name of the allocator that is part of this code, if one of those is.
pub fn allocator_in(code: &[u8]) -> Option<&'static str> {
    ALLOCATORS.into_iter().find(|name| memmem::find(code, name.as_bytes()).is_some())
}

/// Whether a region comes back empty, as in a forked process.
pub fn is_wiped(vma: &Vma) -> bool {
    vma.madv() & WIPE_ON_FORK != 0
}

/// Whether a whole region must stay anonymous, whatever it contains.
pub fn stays_anonymous(vma: &Vma, zeroing_allocator: bool) -> bool {
    let anonymous = vma.status() & status::ANON_PRIVATE != 0;
    let heap = vma.status() & status::HEAP != 0;
    vma.flags() & MAP_GROWSDOWN != 0
        || vma.status() & (status::STACK | status::SPECIAL) != 0
        || vma.madv() & !HARMLESS_ADVICE != 0
        || (zeroing_allocator && anonymous && !heap)
}

/// The length in bytes of glibc's mmapped chunk that begins with this page, if one does.
///
/// `malloc_chunk` begins with two words: the size of the previous chunk, zero for a
/// mapped chunk without alignment padding, and its own size, a multiple of the page
/// size, with `IS_MMAPPED` (2) as the only flag (glibc `malloc/malloc.c`). Other data
/// that happens to look like this has a page copied for nothing, which does no harm.
pub fn mmapped_chunk(page: &[u8], room: u64) -> Option<u64> {
    let word = |at: usize| {
        page.get(at..at + 8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")))
    };
    let (previous, size) = (word(0)?, word(8)?);
    let length = size & !7;
    (previous == 0 && size & 7 == 2 && length > 0 && length % PAGE_SIZE == 0 && length <= room)
        .then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vma(status: u32, flags: u32, madv: u64) -> Vma {
        let mut vma = Vma::new();
        vma.set_status(status | status::REGULAR);
        vma.set_flags(flags);
        vma.set_madv(madv);
        vma
    }

    #[test]
    fn ordinary_memory_may_be_mapped() {
        assert!(!stays_anonymous(&vma(status::ANON_PRIVATE, 0x22, 0), false));
        assert!(!stays_anonymous(&vma(status::HEAP | status::ANON_PRIVATE, 0x22, 0), true));
        assert!(!stays_anonymous(&vma(status::FILE_PRIVATE, 2, 1 << 16), true));
        assert!(!is_wiped(&vma(status::ANON_PRIVATE, 0x22, 1 << 16)));
    }

    #[test]
    fn each_hazard_is_seen() {
        assert!(stays_anonymous(&vma(status::ANON_PRIVATE, 0x22, WIPE_ON_FORK), false));
        assert!(is_wiped(&vma(status::ANON_PRIVATE, 0x22, WIPE_ON_FORK | 1 << 16)));
        assert!(stays_anonymous(&vma(status::ANON_PRIVATE, 0x122, 0), false));
        assert!(stays_anonymous(&vma(status::STACK, 0x22, 0), false));
        assert!(stays_anonymous(&vma(status::ANON_PRIVATE, 0x22, 0), true));
    }

    #[test]
    fn allocators_are_known_by_their_messages() {
        assert_eq!(allocator_in(b"\0<jemalloc>: Error\0"), Some("<jemalloc>"));
        assert_eq!(allocator_in(b"\0mimalloc: warning: \0"), Some("mimalloc: "));
        assert_eq!(allocator_in(b"\0malloc(): corrupted\0"), None);
    }

    #[test]
    fn a_mapped_chunk_is_known_by_its_header() {
        let mut page = [0_u8; 4096];
        page[8..16].copy_from_slice(&(0x21000_u64 | 2).to_le_bytes());
        assert_eq!(mmapped_chunk(&page, 0x21000), Some(0x21000));
        assert_eq!(mmapped_chunk(&page, 0x20000), None, "it must fit into the region");
        page[8] |= 1;
        assert_eq!(mmapped_chunk(&page, 0x21000), None, "an ordinary chunk");
        assert_eq!(mmapped_chunk(&page[..12], 0x21000), None);
    }
}
