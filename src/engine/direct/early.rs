//! What of the image is mapped while this is still `pyrun`: all regions that lie where this
//! process has nothing, as most do. Another thread may look at the evidence meanwhile, and if
//! it does not hold, or anything else fails, they are unmapped again.

use std::io;
use std::ops::Range;
use std::os::fd::RawFd;

use super::area::Mapped;
use super::steps::protection_while_filled;
use crate::image::plan::Region;

/// The memory that was mapped. It is unmapped when dropped.
#[derive(Debug, Default)]
pub struct Early {
    /// In order; what touches is one.
    all: Vec<Mapped>,
}

impl Early {
    /// Maps a region, which comes behind those before it; false if there is something already.
    ///
    /// # Errors
    /// When it cannot be mapped.
    pub fn map(&mut self, region: &Region, descriptor: RawFd, offset: u64) -> io::Result<bool> {
        let Region { start, length, flags, .. } = *region;
        let protection = protection_while_filled(region);
        let Some(mapped) = Mapped::new(start, length, protection, flags, descriptor, offset)?
        else {
            return Ok(false);
        };
        let apart = match self.all.last_mut() {
            Some(last) => last.join(mapped),
            None => Some(mapped),
        };
        self.all.extend(apart);
        Ok(true)
    }

    /// Whether this address was mapped.
    pub fn has(&self, address: u64) -> bool {
        let after = self.all.partition_point(|mapped| mapped.range().start <= address);
        after > 0 && address < self.all[after - 1].range().end
    }

    /// These ranges with another one, which is none of them.
    pub fn and(&self, other: Range<u64>) -> Vec<Range<u64>> {
        let mut all: Vec<_> = self.all.iter().map(Mapped::range).collect();
        let at = all.partition_point(|range| range.start < other.start);
        all.insert(at, other);
        all
    }

    /// It is the program's from now on.
    pub fn keep(self) {
        self.all.into_iter().for_each(Mapped::keep);
    }
}
