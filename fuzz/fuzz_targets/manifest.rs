//! Manifests and signed manifests: one encoding, and lists that say what they say twice.
#![no_main]

use kusabi_core::release::{Manifest, ManifestParts, PayloadParts, ReleaseDraft, TargetParts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(draft) = ReleaseDraft::resume(bytes) {
        assert_eq!(draft.encode().unwrap(), bytes);
    }
    let Ok(manifest) = Manifest::decode(bytes) else {
        return;
    };
    let parts = ManifestParts {
        org: manifest.org(),
        name: manifest.name().to_string(),
        version: manifest.version().to_string(),
        channel: manifest.channel().to_string(),
        counter: manifest.counter(),
        minimum_counter: manifest.minimum_counter(),
        targets: manifest
            .targets()
            .map(|target| TargetParts {
                device_type: target.device_type.to_string(),
                inventory: target.inventory,
                payloads: manifest
                    .payloads_of(&target)
                    .map(|taken| manifest.payloads().position(|one| one == taken).unwrap())
                    .collect(),
            })
            .collect(),
        payloads: manifest
            .payloads()
            .map(|payload| PayloadParts {
                name: payload.name.to_string(),
                format: payload.format.to_string(),
                content: payload.content,
                chunk_index: payload.chunk_index,
            })
            .collect(),
        documents: manifest
            .documents()
            .map(|document| (document.kind.to_string(), document.content))
            .collect(),
    };
    assert_eq!(parts.encode().unwrap(), bytes);
});
