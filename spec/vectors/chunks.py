"""Writes chunks.json: an independent reading of firmware.md, "Chunk index".

Its own cutting by hand (any cut within the sizes is one), its own zstd frames (blocks of one repeated byte, RFC 8878), its own records.
Run: python3 chunks.py (in this directory); the result is checked in.
"""
import hashlib
import json

H = lambda *parts: hashlib.sha256(b"".join(parts)).digest()
u = lambda value, size: value.to_bytes(size, "big")
MAXIMUM = 16384


def noise(label, size):
    return b"".join(H(label.encode(), u(i, 4)) for i in range(size // 32 + 1))[:size]


def frame(byte, size):
    """A zstd frame: single segment, content size in 4 bytes, no checksum, one last block of `size` times `byte`."""
    return b"\x28\xb5\x2f\xfd" + b"\xa0" + size.to_bytes(4, "little") + (size << 3 | 1 << 1 | 1).to_bytes(3, "little") + bytes([byte])


def store(chunk):
    return frame(chunk[0], len(chunk)) if chunk == chunk[:1] * len(chunk) and len(chunk) > 13 else chunk


def head(pack, count, payload, version=1, cutter=1, sizes=(4096, 8192, MAXIMUM), pack_size=None, pack_digest=None):
    return (u(version, 1) + u(cutter, 1) + b"".join(u(size, 4) for size in sizes) + u(count, 4) + u(payload, 8)
            + u(len(pack) if pack_size is None else pack_size, 8) + (H(pack) if pack_digest is None else pack_digest))


def record(size, digest, offset, stored_size, stored_digest):
    return u(size, 4) + digest + u(offset, 8) + u(stored_size, 4) + stored_digest


def records(chunks):
    pack, places, out = b"", {}, []
    for chunk in chunks:
        if chunk not in places:
            stored = store(chunk)
            places[chunk] = (len(pack), len(stored), H(stored))
            pack += stored
        out.append((len(chunk), H(chunk), *places[chunk]))
    return pack, out


def index(chunks, change=None, **changes):
    pack, out = records(chunks)
    if change:
        at, what = change
        names = ("size", "digest", "offset", "stored_size", "stored_digest")
        one = dict(zip(names, out[at])) | what
        out[at] = tuple(one[name] for name in names)
    return head(pack, changes.pop("count", len(out)), changes.pop("payload", sum(map(len, chunks))), **changes) + b"".join(
        record(*one) for one in out)


zeros, ones, rough, tail = bytes(8192), b"\1" * MAXIMUM, noise("rough", 4096), noise("tail", 100)
sets = [[rough], [tail], [zeros, rough, ones, tail], [zeros, rough, zeros, zeros, rough, b"\2" * 4096], [b"\3" * 14]]
plain = sets[2]
pack, places = records(plain)
good = index(plain)
refused = [
    ("Version", index(plain, version=2)), ("Version", index(plain, version=0)), ("Cutter", index(plain, cutter=0)), ("Cutter", index(plain, cutter=2)),
    ("CutSizes", index(plain, sizes=(4096, 8191, MAXIMUM))), ("CutSizes", index(plain, sizes=(8192, 4096, MAXIMUM))),
    ("CutSizes", index(plain, sizes=(4096, 8192, 2**21))), ("CutSizes", index(plain, sizes=(2048, 8192, MAXIMUM))),
    ("CutSizes", index(plain, sizes=(4096, MAXIMUM, 8192))), ("CutSizes", index(plain, sizes=(0, 0, 0))),
    ("Count", index(plain, count=0)), ("Count", index(plain, count=3)), ("Count", index(plain, count=5)), ("Count", index(plain, count=2**17 + 1)),
    ("Count", good + b"\0"), ("Count", good[:-1]), ("Count", good[:66]), ("Short", good[:65]), ("Short", b""),
    ("OtherPayload", index(plain, payload=1)),
    ("Pack", index(plain, pack_size=0)), ("Pack", index(plain, pack_size=2**40 + 1)), ("Pack", index(plain, pack_digest=bytes(32))),
    ("ChunkSize", index([ones + b"\1"])), ("ChunkSize", index([tail, rough])), ("ChunkSize", index(plain, (3, {"size": 0}))),
    ("ChunkSize", index(plain, (0, {"size": 4095}))),
    ("Zero", index(plain, (1, {"digest": bytes(32)}))), ("Zero", index(plain, (0, {"stored_digest": bytes(32)}))),
    ("Stored", index(plain, (0, {"stored_size": 0}))), ("Stored", index(plain, (0, {"stored_size": 8193}))),
    ("Stored", index(plain, (1, {"stored_digest": H(b"other")}))), ("Stored", index(plain, (0, {"stored_size": 8192}))),
    ("Stored", index(plain, (0, {"stored_digest": H(zeros)}))),
    ("Offset", index(plain, (0, {"offset": 1}))), ("Offset", index(plain, (1, {"offset": places[1][2] + 1}))),
    ("Offset", index(plain, (1, {"offset": places[1][2] - 1}))), ("Offset", index(plain, (1, {"offset": 2**64 - 1}))),
    ("PackSize", index(plain, pack_size=len(pack) - 1)), ("PackSize", index(plain, pack_size=len(pack) + 1)),
    ("PayloadSize", index(plain, (2, {"size": MAXIMUM - 1}))), ("PayloadSize", index(plain, (0, {"size": 8193}))),
]
value = {
    "indexes": [{"index": index(chunks), "digest": H(index(chunks)), "payload": b"".join(chunks), "pack": records(chunks)[0],
                 "chunks": [[*map(int, (size, offset, stored))] for size, _, offset, stored, _ in records(chunks)[1]]} for chunks in sets],
    "payload_size": sum(map(len, plain)), "refused": [{"error": error, "bytes": value} for error, value in refused],
}
with open("chunks.json", "w") as file:
    json.dump(value, file, indent=1, default=bytes.hex)
    file.write("\n")
