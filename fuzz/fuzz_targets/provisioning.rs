//! Provisioning files. The input is a body: the first line and the check go before it, or nothing would get past them.
#![no_main]

use kusabi_core::crypto::sha256;
use kusabi_core::device::{Kept, Provisioning};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let _ = Provisioning::decode(body);
    let check = sha256(&[b"kusabi.device.v1", body]);
    let file = [b"kusabi-device-v1\n", check.as_slice(), body].concat();
    let Ok(provisioning) = Provisioning::decode(&file) else {
        return;
    };
    let mut out = [0; Provisioning::LEN_MAX];
    let len = provisioning.encode(&mut out).unwrap();
    assert_eq!(&out[..len], file);
    // A seed of suite 2 may be none.
    if let (Ok(kept), Some(Ok(_))) = (
        provisioning.kept(),
        provisioning.key.as_ref().map(|key| key.soft_key()),
    ) {
        let mut out = [0; Kept::LEN_MAX];
        let len = kept.encode(&mut out).unwrap();
        assert_eq!(Kept::decode(&out[..len]), Ok(kept));
    }
});
