//! Numbers for tests, the same for the same seed.

/// SplitMix64: reproducible, and enough to choose test cases.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) const fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next() as u8)
    }
}

/// The seeds of a test that lives through many: these, or those that `KUSABI_SEEDS=from..to` names.
pub(crate) fn seeds(otherwise: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(named) = std::env::var("KUSABI_SEEDS") else {
        return otherwise;
    };
    let range = named.split_once("..").and_then(|(from, to)| {
        let (from, to) = (from.parse().ok()?, to.parse().ok()?);
        Some(from..to)
    });
    range.unwrap_or_else(|| panic!("KUSABI_SEEDS={named} is not of the form from..to"))
}
