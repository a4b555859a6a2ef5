//! Which slots of a pack are in use: a set of page numbers, kept as ranges, since images
//! use pages by the extent.
//!
//! Pure; it knows nothing of files.

use std::ops::Range;

use super::manifest::{Extent, Source};

/// A set of slots of one pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Slots {
    /// Ascending, not empty, not touching one another.
    ranges: Vec<Range<u64>>,
}

impl Slots {
    /// The slots that these extents use of the pack that they count as number `pack`.
    pub fn of(extents: &[Extent], pack: usize) -> Self {
        extents
            .iter()
            .filter_map(|extent| match extent.source {
                Source::Pack { pack: number, first_page } if number as usize == pack => {
                    Some(first_page..first_page + extent.pages)
                }
                _ => None,
            })
            .collect()
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// The ranges that they make up, ascending.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// Whether all of `others` are among them.
    pub fn contains(&self, others: &Self) -> bool {
        others.ranges.iter().all(|other| {
            let at = self.ranges.partition_point(|range| range.end < other.end);
            self.ranges.get(at).is_some_and(|range| range.start <= other.start)
        })
    }

    /// Whether this slot is among them.
    pub fn has(&self, slot: u64) -> bool {
        let at = self.ranges.partition_point(|range| range.end <= slot);
        self.ranges.get(at).is_some_and(|range| range.start <= slot)
    }

    /// Adds those of another set.
    pub fn add(&mut self, others: Self) {
        *self = std::mem::take(&mut self.ranges).into_iter().chain(others.ranges).collect();
    }
}

impl FromIterator<Range<u64>> for Slots {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut all: Vec<_> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        all.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::with_capacity(all.len());
        for range in all {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Self { ranges: merged }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn only_extents_of_the_pack_count() {
        let extent = |pages, source| Extent { address: 0, pages, source };
        let of = |pack, first_page| Source::Pack { pack, first_page };
        let extents = [
            extent(3, of(0, 5)),
            extent(4, of(1, 0)),
            extent(9, Source::Zero),
            extent(2, of(0, 8)),
            extent(2, of(0, 6)),
        ];
        assert_eq!(Slots::of(&extents, 0).ranges(), std::slice::from_ref(&(5..10)));
        assert_eq!(Slots::of(&extents, 1).len(), 4);
        assert_eq!(Slots::of(&extents, 2), Slots::default());
    }

    fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
        proptest::collection::vec((0_u64..60, 0_u64..9).prop_map(|(at, n)| at..at + n), 0..8)
    }

    proptest! {
        #[test]
        fn they_are_a_set(one in ranges(), two in ranges()) {
            let set = |ranges: &[Range<u64>]| -> BTreeSet<u64> {
                ranges.iter().cloned().flatten().collect()
            };
            let (a, b): (Slots, Slots) = (one.clone().into_iter().collect(), two.clone().into_iter().collect());
            prop_assert_eq!(set(a.ranges()), set(&one));
            prop_assert_eq!(a.len(), set(&one).len() as u64);
            prop_assert_eq!(a.contains(&b), set(&one).is_superset(&set(&two)));
            let mut both = a;
            both.add(b);
            prop_assert_eq!(set(both.ranges()), &set(&one) | &set(&two));
        }
    }
}
