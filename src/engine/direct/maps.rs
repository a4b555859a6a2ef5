//! What is mapped into this process: where there is room, and where the kernel's own pages are.

use std::fs;
use std::io;

/// The mappings of this process.
#[derive(Debug, Default)]
pub struct Maps {
    /// First address of each, and the one after it, in order.
    pub all: Vec<(u64, u64)>,
    /// The kernel's variables (`[vvar]` and, from Linux 6.13 on, `[vvar_vclock]`), in order.
    pub variables: Vec<(u64, u64)>,
    /// The kernel's code (`[vdso]`).
    pub code: Option<(u64, u64)>,
}

impl Maps {
    /// Reads `/proc/self/maps`.
    ///
    /// # Errors
    /// When that cannot be read or understood.
    pub fn read() -> io::Result<Self> {
        Self::parse(&fs::read_to_string("/proc/self/maps")?)
            .ok_or_else(|| io::Error::other("/proc/self/maps cannot be understood"))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut maps = Self::default();
        for line in text.lines() {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let range = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
            maps.all.push(range);
            if rest.ends_with("[vvar]") || rest.ends_with("[vvar_vclock]") {
                maps.variables.push(range);
            } else if rest.ends_with("[vdso]") {
                maps.code = Some(range);
            }
        }
        Some(maps)
    }

    /// Whether nothing is mapped between two addresses.
    pub fn is_free(&self, start: u64, end: u64) -> bool {
        self.all.iter().all(|(first, after)| *after <= start || *first >= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_pages_are_found() {
        let text = "\
555555554000-555555555000 r-xp 00000000 08:01 12    /usr/bin/x y
7ffff7fc2000-7ffff7fc6000 r--p 00000000 00:00 0                          [vvar]
7ffff7fc6000-7ffff7fc8000 r--p 00000000 00:00 0                          [vvar_vclock]
7ffff7fc8000-7ffff7fca000 r-xp 00000000 00:00 0                          [vdso]
";
        let maps = Maps::parse(text).unwrap();
        assert_eq!(maps.all.len(), 4);
        assert_eq!(maps.variables.len(), 2);
        assert_eq!(maps.code, Some((0x7fff_f7fc_8000, 0x7fff_f7fc_a000)));
        assert!(maps.is_free(0x5555_5555_5000, 0x7fff_f7fc_2000));
        assert!(!maps.is_free(0x5555_5555_4000, 0x5555_5555_5000));
        assert!(Maps::parse("nonsense\n").is_none());
        assert!(Maps::read().unwrap().all.len() > 3);
    }
}
