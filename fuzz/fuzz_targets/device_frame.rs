//! Frames of the device protocol, and the payloads inside.
#![no_main]

use kusabi_core::cbor::{ToCbor, decode_canonical};
use kusabi_core::protocol::frame::{AnswerFrame, RequestFrame};
use kusabi_core::protocol::hello::{Hello, Welcome};
use kusabi_core::protocol::reply::Reply;
use kusabi_core::protocol::request::Request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut out = [0; 16_384];
    if let Ok(frame) = RequestFrame::decode(bytes) {
        let len = frame.encode(&mut out).unwrap();
        assert_eq!(&out[..len], bytes);
    }
    if let Ok(frame) = AnswerFrame::decode(bytes) {
        let len = frame.encode(&mut out).unwrap();
        assert_eq!(&out[..len], bytes);
    }
    if let Ok(hello) = decode_canonical::<Hello<'_>>(bytes) {
        assert_eq!(hello.to_cbor_vec(), bytes);
    }
    if let Ok(welcome) = decode_canonical::<Welcome<'_>>(bytes) {
        assert_eq!(welcome.to_cbor_vec(), bytes);
    }
    if let Ok(request) = decode_canonical::<Request<'_>>(bytes) {
        assert_eq!(request.to_cbor_vec(), bytes);
    }
    if let Ok(reply) = decode_canonical::<Reply<'_>>(bytes) {
        assert_eq!(reply.to_cbor_vec(), bytes);
    }
});
