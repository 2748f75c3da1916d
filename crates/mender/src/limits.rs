//! How much of anything an artifact may have.

/// Bounds on an artifact. [`Limits::default`] leaves room for what fleets use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Largest artifact, in bytes.
    pub artifact_bytes: u64,
    /// Most payloads.
    pub payloads: usize,
    /// Most files in all payloads together.
    pub files: usize,
    /// Largest payload file once it is decompressed, in bytes.
    pub file_bytes: u64,
    /// Most bytes of all payload files together, decompressed.
    pub payload_bytes: u64,
    /// Longest manifest, in bytes. It is held in memory.
    pub manifest_bytes: u64,
    /// Most state scripts.
    pub scripts: usize,
    /// Largest state script, in bytes.
    pub script_bytes: u64,
    /// Longest JSON document of the header, in bytes. Each is held in memory.
    pub json_bytes: u64,
    /// Most values in all JSON documents of the header together: objects, arrays, and what is in them. All are held in memory.
    pub json_values: usize,
    /// How deep arrays and objects of meta-data may lie in each other.
    pub json_depth: usize,
    /// Most device types, and most provides, depends and cleared names of a payload, each.
    pub entries: usize,
    /// Longest name of a script or payload file, and longest text of a header (names, keys and values), in bytes.
    pub text_bytes: usize,
    /// Memory that an xz stream may ask for, in bytes: its dictionary and one MiB at most.
    pub xz_memory_bytes: u64,
    /// Binary logarithm of the largest zstd window, in bytes.
    pub zstd_window_log: u32,
}

impl Default for Limits {
    /// An artifact of 64 GiB, 1,024 files of 64 GiB and as much together, 16 payloads, 128 scripts of 4 MiB, JSON of 256 KiB, 4,096 values
    /// and 16 levels; of xz what `xz -9` makes (64 MiB), of zstd what mender-artifact makes at best (32 MiB).
    fn default() -> Self {
        Self {
            artifact_bytes: 64 << 30,
            payloads: 16,
            files: 1024,
            file_bytes: 64 << 30,
            payload_bytes: 64 << 30,
            manifest_bytes: 512 << 10,
            scripts: 128,
            script_bytes: 4 << 20,
            json_bytes: 256 << 10,
            json_values: 4096,
            json_depth: 16,
            entries: 256,
            text_bytes: 256,
            xz_memory_bytes: 66 << 20,
            zstd_window_log: 25,
        }
    }
}
