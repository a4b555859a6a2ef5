//! Chance that can be repeated.

/// The seed for this test: another one each time, unless `PYIMG_CRASH_SEED` gives the one
/// that a failure has printed.
pub fn seed() -> u64 {
    let given = std::env::var("PYIMG_CRASH_SEED").ok();
    let seed = given.map_or_else(|| std::process::id().into(), |seed| seed.parse().unwrap());
    println!("PYIMG_CRASH_SEED={seed}");
    seed
}

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        (self.next() % sides as u64) as usize
    }
}
