//! What of the image is mapped while this is still `pyrun`: all regions that lie where this
//! process has nothing, as most do. Another thread may look at the evidence meanwhile, and if
//! it does not hold, or anything else fails, they are unmapped again.

use std::io;
use std::ops::Range;
use std::os::fd::RawFd;

use super::area;
use super::steps::protection_while_filled;
use crate::image::plan::Region;

/// The memory that was mapped. It is unmapped when dropped.
#[derive(Debug, Default)]
pub struct Early {
    /// In order; what touches is one.
    ranges: Vec<Range<u64>>,
}

impl Early {
    /// Maps a region, which comes behind those before it; false if there is something already.
    ///
    /// # Errors
    /// When it cannot be mapped.
    pub fn map(&mut self, region: &Region, descriptor: RawFd, offset: u64) -> io::Result<bool> {
        let Region { start, length, flags, .. } = *region;
        let protection = protection_while_filled(region);
        if !area::map_free(start, length, protection, flags, descriptor, offset)? {
            return Ok(false);
        }
        match self.ranges.last_mut().filter(|last| last.end == start) {
            Some(last) => last.end += length,
            None => self.ranges.push(start..start + length),
        }
        Ok(true)
    }

    /// Whether this address was mapped.
    pub fn has(&self, address: u64) -> bool {
        let after = self.ranges.partition_point(|range| range.start <= address);
        after > 0 && address < self.ranges[after - 1].end
    }

    /// These ranges with another one, which is none of them.
    pub fn and(&self, other: Range<u64>) -> Vec<Range<u64>> {
        let mut all = self.ranges.clone();
        let at = all.partition_point(|range| range.start < other.start);
        all.insert(at, other);
        all
    }

    /// It is the program's from now on.
    pub fn keep(mut self) {
        self.ranges.clear();
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        self.ranges.drain(..).for_each(area::unmap);
    }
}
