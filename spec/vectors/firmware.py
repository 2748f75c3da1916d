#!/usr/bin/env python3
"""Writes firmware.json: an independent reading of firmware.md.

It shares no code with the Rust crates; the prover of paths is that of trust.py. All private keys here are test vectors: never
use them.
Run: python3 firmware.py (in this directory); the result is checked in.
"""
import hashlib, io, json, tarfile
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

import trust
from trust import H, u

RAW = serialization.Encoding.Raw, serialization.PublicFormat.Raw
COMPRESSED = serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
P256_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

CHAIN, OTHER_CHAIN = H(b"a chain for firmware"), H(b"another chain")
ORG, OTHER_ORG = (H(b"kusabi.org.v1", name)[:16] for name in (b"cameras", b"others"))


def head(major, number):
    for info, size, limit in ((number, 0, 24), (24, 1, 2**8), (25, 2, 2**16), (26, 4, 2**32), (27, 8, 2**64)):
        if number < limit:
            return u(major << 5 | info, 1) + (u(number, size) if size else b"")


def cbor(value):
    if value is None:
        return b"\xf6"
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    return head(4, len(value)) + b"".join(map(cbor, value))


class Key:
    """A key of suite 1 or 2 with its handle."""

    def __init__(self, label, suite=1):
        self.suite, self.seed = suite, H(b"kusabi firmware vector seed", label.encode())
        self.handle = H(b"kusabi.handle.v1", H(label.encode())[:16])
        salt = b"kusabi.suite%d.v1" % suite
        derive = lambda info: HKDF(hashes.SHA256(), 32, salt, info).derive(self.seed)
        if suite == 1:
            self.private = ed25519.Ed25519PrivateKey.from_private_bytes(derive(b"sign"))
            agree = x25519.X25519PrivateKey.from_private_bytes(derive(b"agree"))
            self.keys = b"".join(k.public_key().public_bytes(*RAW) for k in (self.private, agree)) + b"\0\0"
        else:
            scalar = lambda info: ec.derive_private_key(int.from_bytes(derive(info + b"\0"), "big"), ec.SECP256R1())
            self.private = scalar(b"sign")
            self.keys = b"".join(k.public_key().public_bytes(*COMPRESSED) for k in (self.private, scalar(b"agree")))

    def sign(self, message):
        if self.suite == 1:
            return self.private.sign(message)
        r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
        return u(r, 32) + u(min(s, P256_N - s), 32)

    def state(self, purpose, kind, payload, chain=CHAIN):
        return self.sign(b"kusabi.statement.v1" + chain + self.handle + u(purpose, 1) + u(kind, 2) + H(payload))


# Rows (ledger.md)
def pad(row):
    return row + bytes(192 - len(row))


def record(key, purpose=3, status=1, reason=0, version=1, registered=5, ended=0, since=0, owner=ORG):
    return b"".join([u(1, 1), u(1, 1), u(purpose, 1), u(key.suite, 1), u(status, 1), u(reason, 1), u(version, 4), u(registered, 6),
                     u(ended, 6), u(since, 6), owner, key.keys, bytes(32), bytes([7]) * 16, bytes(32), bytes(2)])


def policy(k=2, n=3, org=ORG):
    return pad(u(3, 1) + u(1, 1) + u(1, 4) + org + u(k, 1) + u(n, 1))


def release(digest, counter=7, published=20, withdrawn=0, org=ORG):
    return pad(u(4, 1) + u(1, 1) + u(2 if withdrawn else 1, 4) + org + digest + u(2 if withdrawn else 1, 1) + u(published, 6)
               + u(withdrawn, 6) + u(counter, 8))


def state_key(kind, name):
    return H(b"kusabi.state.v1", u(kind, 1), name)


VOTES = [trust.Key(f"firmware vote {i}") for i in range(4)]
SET = trust.epoch_set(0, [(ORG, 1, [trust.Key("firmware officer")])], [(key, ORG) for key in VOTES])


def anchor(chain=CHAIN):
    return chain + u(0, 8) + trust.set_hash(SET) + u(0, 8) + u(0, 8) + bytes(32) + H(b"recovery")


class State:
    """A ledger's state: every row as one operation that is current."""

    def __init__(self, rows, height=41, chain=CHAIN):
        rows = {H(b"someone else"): bytes([1]) * 192, H(b"and another"): bytes([2]) * 192} | rows
        self.rows = sorted(rows.items())
        following = [key for key, _ in self.rows[1:]] + [self.rows[0][0]]
        self.entries = [(key, row, after) for (key, row), after in zip(self.rows, following)]
        log = trust.Log([b"\xd2" + b"".join(entry) for entry in self.entries], range(len(rows)))
        self.log = log
        ops_root, state_root = log.roots(0)
        h = trust.header(height, state_root, ops_root, len(rows), 0, SET, 300, H(b"parent"))
        self.header_hash = trust.header_hash(chain, h)
        message = trust.finalize_message(chain, 0, 300, 299, self.header_hash)
        self.checkpoint = (u(1, 1) + h + u(300, 8) + u(299, 8)
                           + trust.certificate(VOTES, [0, 2, 3], lambda k: k.private.sign(message)))

    def prove(self, wanted):
        for at, (key, row, after) in enumerate(self.entries):
            if key == wanted:
                return b"\1\1" + self.checkpoint + self.log.path(at, 0) + row + after
        for at, (key, row, after) in enumerate(self.entries):
            if key < wanted < after or after <= key and (wanted > key or wanted < after):
                return b"\1\2" + self.checkpoint + self.log.path(at, 0) + key + row + after


# Manifests
def content(label, size=1000):
    return [size, H(label.encode())]


def manifest(version=1, org=ORG, name="camera-os", release="2.4.1", channel="stable", counter=7, minimum=6, targets=None,
             payloads=None, documents=None):
    targets = [["cam-a", content("inventory a"), 3], ["cam-b", None, 1]] if targets is None else targets
    payloads = [["boot.bin", "raw", content("boot", 70000), None],
                ["rootfs.tar", "tar", content("rootfs", 2**32), content("chunks", 500)]] if payloads is None else payloads
    documents = [["sbom", content("sbom", 20000)]] if documents is None else documents
    return [version, org, name, release, channel, counter, minimum, targets, payloads, documents]


def signed(bytes_, keys, chain=CHAIN, purpose=3, kind=0x500, version=1):
    keys = sorted(keys, key=lambda key: key.handle)
    return cbor([version, bytes_, [[key.handle, key.state(purpose, kind, bytes_, chain)] for key in keys]])


one = ["a.bin", "raw", content("a"), None]
manifests = [
    manifest(),
    manifest(counter=0, minimum=0, documents=[]),
    manifest(counter=2**64 - 1, minimum=2**64 - 1, name="A" * 64, release="1.0+build_5-rc.2", channel="0"),
    manifest(targets=[[f"type-{i:02}", content("i", 2**24), 0xFFFF] for i in range(32)],
             payloads=[[f"p{i}", "raw", content(f"{i}", 2**40), content("c", 2**26)] for i in range(16)],
             documents=[[f"d{i}", content(f"d{i}")] for i in range(8)]),
    manifest(targets=[["t", None, 0b101], ["u", None, 0b110]], payloads=[["c", "x", content("c", 1), None], ["a", "x", content("a"), None],
                                                                         ["b", "x", content("b"), None]]),
]
good = cbor(manifest())
refused_manifests = [
    ("Version", manifest(version=2)),
    ("Label", manifest(name="")),
    ("Label", manifest(name="a" * 65)),
    ("Label", manifest(name="-a")),
    ("Label", manifest(name="..")),
    ("Label", manifest(release="1/2")),
    ("Label", manifest(channel="st able")),
    ("Label", manifest(channel="\u5b89")),
    ("Label", manifest(channel="a\n")),
    ("Counter", manifest(counter=5, minimum=6)),
    ("Cbor(OutOfBounds)", manifest(targets=[])),
    ("Cbor(OutOfBounds)", manifest(payloads=[])),
    ("Cbor(OutOfBounds)", manifest(targets=[[f"type-{i:02}", None, 3] for i in range(33)])),
    ("Cbor(OutOfBounds)", manifest(payloads=[[f"p{i}", "raw", content("x"), None] for i in range(17)])),
    ("Cbor(OutOfBounds)", manifest(documents=[[f"d{i}", content("d")] for i in range(9)])),
    ("Cbor(OutOfBounds)", manifest(org=ORG[:15])),
    ("Cbor(OutOfBounds)", manifest(targets=[["t", None, 2**16]], payloads=[one])),
    ("Order", manifest(targets=[["b", None, 3], ["a", None, 3]])),
    ("Order", manifest(targets=[["a", None, 3], ["a", None, 3]])),
    ("Order", manifest(documents=[["sbom", content("1")], ["notes", content("2")]])),
    ("Order", manifest(documents=[["sbom", content("1")], ["sbom", content("2")]])),
    ("SameName", manifest(payloads=[one, one])),
    ("Taken", manifest(targets=[["a", None, 1]])),
    ("Taken", manifest(targets=[["a", None, 3], ["b", None, 0]])),
    ("Taken", manifest(targets=[["a", None, 7]])),
    ("Size", manifest(payloads=[["a", "raw", content("a", 0), None], one])),
    ("Size", manifest(payloads=[["a", "raw", content("a", 2**40 + 1), None], one])),
    ("Size", manifest(payloads=[["a", "raw", content("a"), content("c", 2**26 + 1)], one])),
    ("Size", manifest(targets=[["a", content("a", 2**24 + 1), 3]])),
    ("Zero", manifest(payloads=[["a", "raw", [5, bytes(32)], None], one])),
    ("Cbor(ArrayLength)", manifest() + [0]),
    ("Cbor(ArrayLength)", manifest()[:-1]),
    ("Cbor(Type)", manifest(name=5)),
    ("Cbor(Trailing)", good + b"\0"),
    ("Cbor(Short)", good[:-1]),
    ("Cbor(Short)", b""),
    ("Cbor(NotShortest)", b"\x98\x0a" + good[1:]),
    ("Cbor(NotShortest)", good.replace(cbor("camera-os"), b"\x78\x09camera-os")),
    ("Cbor(Type)", b"\x9f" + good[1:] + b"\xff"),
]

A, B, C, D = Key("art a"), Key("art b", 2), Key("art c"), Key("art d")
SIGNED = signed(good, [A, B])
DIGEST = H(good)
two = [[key.handle, bytes(64)] for key in sorted([A, B], key=lambda key: key.handle)]
refused_signed = [
    ("Version", signed(good, [A], version=2)),
    ("Order", cbor([1, good, two[::-1]])),
    ("Order", cbor([1, good, [two[0], two[0]]])),
    ("Cbor(OutOfBounds)", cbor([1, good, []])),
    ("Cbor(OutOfBounds)", cbor([1, good, [[H(u(i, 1)), bytes(64)] for i in range(17)]])),
    ("Cbor(OutOfBounds)", cbor([1, good, [[A.handle, bytes(63)]]])),
    ("Cbor(OutOfBounds)", cbor([1, good, [[A.handle[:31], bytes(64)]]])),
    ("Cbor(OutOfBounds)", cbor([1, b"", two])),
    ("Cbor(Trailing)", cbor([1, good + b"\0", two])),
    ("Cbor(Trailing)", SIGNED + b"\0"),
    ("Cbor(Type)", cbor([1, manifest(), two])),
]

# Whether a device installs: each case is a ledger, proofs and a device.
DEVICE = {"org": ORG, "type": "cam-a", "channel": "stable", "counter": 7, "channel_minimum": 0, "floor": 41}


def ledger(digest=DIGEST, keys=(A, B, C), row=None, policy_row=None, records=None, **options):
    rows = {state_key(4, ORG + digest): release(digest) if row is None else row,
            state_key(3, ORG): policy() if policy_row is None else policy_row}
    rows |= {state_key(1, key.handle): record(key) for key in keys}
    for key, changed in (records or {}).items():
        rows[state_key(1, key.handle)] = changed
    return State({key: row for key, row in rows.items() if row != b""}, **options)


def case(result, text, message=SIGNED, signers=(A, B), state=None, digest=DIGEST, chain=CHAIN, proofs=None, **device):
    state = ledger() if state is None else state
    wanted = [state_key(4, ORG + digest), state_key(3, ORG)]
    wanted += [state_key(1, key.handle) for key in sorted(signers, key=lambda key: key.handle)]
    return {"text": text, "result": result, "signed": message, "anchor": "own" if chain == CHAIN else "other",
            "proofs": [(key, state.prove(key)) for key in (proofs or wanted)], "device": DEVICE | device}


def other(message=None, **changes):
    """A release with another manifest, signed and published."""
    changed = cbor(manifest(**changes))
    return {"message": signed(changed, [A, B]), "digest": H(changed),
            "state": ledger(H(changed), row=release(H(changed), changes.get("counter", 7)))}


revoked = dict(status=4, version=2)
cases = [
    case("ok", "signed by two of three"),
    case("ok", "another type, another payload", type="cam-b"),
    case("ok", "signed by all three", signed(good, [A, B, C]), (A, B, C)),
    case("ok", "a device that has never committed", counter=0, floor=0),
    case("ok", "the channel's minimum reached", channel_minimum=7),
    case("ok", "a key that ended after the release was published",
         state=ledger(records={A: record(A, status=3, version=2, ended=21)})),
    case("ok", "a key found compromised since after that",
         state=ledger(records={A: record(A, reason=1, version=3, status=4, ended=30, since=21)})),
    case("ok", "a key registered at the height of publication", state=ledger(records={A: record(A, registered=20)})),
    case("ok", "fewer keys left than the policy asks for", state=ledger(policy_row=policy(2, 1))),
    case("ForeignOrganisation", "another organisation's release", org=OTHER_ORG),
    case("DeviceType", "a type that the release does not name", type="cam-c"),
    case("Channel", "a beta release", **other(channel="beta")),
    case("CounterBelowDevice", "an old release with a known hole", counter=8),
    case("CounterBelowChannel", "below the channel's minimum", channel_minimum=8),
    case("ProofCount", "a proof too few", proofs=[state_key(4, ORG + DIGEST), state_key(3, ORG), state_key(1, A.handle)]),
    case("ProofCount", "a proof too many", signers=(A, B, C)),
    case("BelowFloor", "proofs older than what the device saw", floor=42),
    case("OtherProof", "the proof of another release row",
         proofs=[state_key(4, OTHER_ORG + DIGEST)] + [state_key(3, ORG)] + [state_key(1, k.handle) for k in sorted([A, B], key=lambda k: k.handle)]),
    case("OtherProof", "the policy of another organisation",
         proofs=[state_key(4, ORG + DIGEST), state_key(3, OTHER_ORG)] + [state_key(1, k.handle) for k in sorted([A, B], key=lambda k: k.handle)]),
    case("OtherProof", "the signers' proofs in another order",
         proofs=[state_key(4, ORG + DIGEST), state_key(3, ORG)] + [state_key(1, k.handle) for k in sorted([A, B], key=lambda k: k.handle)][::-1]),
    case("Unlisted", "signed and never published", state=ledger(row=b"")),
    case("Unlisted", "a row with another digest", state=ledger(row=release(H(b"other")))),
    case("Unlisted", "a row of another organisation", state=ledger(row=release(DIGEST, org=OTHER_ORG))),
    case("Row", "a row that is no release", state=ledger(row=policy())),
    case("Withdrawn", "withdrawn", state=ledger(row=release(DIGEST, withdrawn=30))),
    case("RowCounter", "published with another counter", state=ledger(row=release(DIGEST, counter=8))),
    case("NoPolicy", "no policy", state=ledger(policy_row=b"")),
    case("NoPolicy", "a row of another organisation's policy", state=ledger(policy_row=policy(org=OTHER_ORG))),
    case("Row", "a row that is no policy", state=ledger(policy_row=release(DIGEST))),
    case("UnknownSigner", "a signer without a record", signed(good, [A, D]), (A, D)),
    case("SignerPurpose", "a writer's signature", state=ledger(records={A: record(A, purpose=5)})),
    case("ForeignSigner", "a release key of another organisation", state=ledger(records={A: record(A, owner=OTHER_ORG)})),
    case("SignerNotValid", "a key registered later", state=ledger(records={A: record(A, registered=21)})),
    case("SignerNotValid", "a key that ended before", state=ledger(records={A: record(A, status=3, version=2, ended=20)})),
    case("SignerNotValid", "a key compromised since before",
         state=ledger(records={A: record(A, reason=1, version=3, status=4, ended=30, since=20)})),
    case("Row", "a row that is no record", state=ledger(records={A: policy()})),
    case("Signatures(TooFew)", "one of two", signed(good, [A]), (A,)),
    case("Signatures(TooFew)", "the policy asks for three by now", state=ledger(policy_row=policy(3, 3))),
    case("Signatures(Signature)", "signed for another chain", signed(good, [A, B], OTHER_CHAIN)),
    case("Signatures(Signature)", "signed as a writer", signed(good, [A, B], purpose=5)),
    case("Signatures(Signature)", "signed as a transaction", signed(good, [A, B], kind=0x108)),
    case("Signatures(Signature)", "a good pair, and a third that is not",
         cbor([1, good, [[k.handle, k.state(3, 0x500, good) if k is not C else bytes(64)] for k in sorted([A, B, C], key=lambda k: k.handle)]]),
         (A, B, C)),
]
twin = Key("art a")
twin.handle = H(b"art a under another handle")
cases.append(case("SameKey", "one key under two handles", signed(good, [A, twin]), (A, twin), ledger(keys=(A, twin))))
foreign = ledger(chain=OTHER_CHAIN)
cases.append(case("OtherChain", "proofs of another chain, and a device that once trusted it", state=foreign, chain=OTHER_CHAIN))


# Releases with their payloads, for whoever installs them: the second one is bad, the third closes a hole, the fourth needs both.
def tar(files):
    """files: (name, content or "-> target", mode)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, body, mode in files:
            info = tarfile.TarInfo(name)
            info.mode = mode
            if body is None:
                info.type = tarfile.DIRTYPE
            elif body.startswith(b"-> "):
                info.type, info.linkname = tarfile.SYMTYPE, body[3:].decode()
            else:
                info.size = len(body)
            archive.addfile(info, io.BytesIO(body or b""))
    whole = out.getvalue().rstrip(b"\0")
    return whole + bytes(-len(whole) % 512 + 1024)


def update(version, counter, minimum, payloads):
    contents = [(name, form, body) for name, form, body in payloads]
    m = cbor(manifest(release=version, counter=counter, minimum=minimum, targets=[["cam-a", None, (1 << len(contents)) - 1]], documents=[],
                      payloads=[[name, form, [len(body), H(body)], None] for name, form, body in contents]))
    made = case("ok", version, signed(m, [A, B]), state=ledger(H(m), row=release(H(m), counter)), digest=H(m), counter=0)
    return made | {"payloads": [body for _, _, body in contents]}


rootfs = lambda verdict: tar([("./", None, 0o755), ("./bin/", None, 0o755), ("./bin/camera", b"camera " + verdict, 0o755),
                              ("./bin/cam", b"-> camera", 0o777), ("./etc/deep/er/conf", b"conf of " + verdict, 0o600)])
updates = [
    update("good-1", 0, 0, [("rootfs.tar", "tar", rootfs(b"good one"))]),
    update("bad-2", 3, 3, [("rootfs.tar", "tar", rootfs(b"bad two"))]),
    update("good-3", 3, 2, [("rootfs.tar", "tar", rootfs(b"good three")), ("model.bin", "raw", bytes(range(256)) * 20)]),
]


# Inventories
def component(name, kind=1, size=10, version=None, label=None):
    return [name, version, kind, size, H((label or name).encode())]


def inventory(components, version=1, count=None):
    return cbor(version) + b"".join(map(cbor, components)) + cbor(len(components) if count is None else count)


plain = [component("bin/busybox", 2, 900000), component("bin/sh", 4, 7), component("etc/passwd"), component("libc6", 5, 3, "2.36-9"),
         component("usr/bin/sudo", 3), component("zz kernel", 6, 2**40)]
inventories = [
    inventory([]), inventory(plain), inventory([component("a" * 1024, size=2**63 - 1, version="v" * 64)]),
    inventory([component(" "), component("%0A"), component("%25"), component("%E6%A5%94/a"), component("a"), component("a b"), component("a-b"),
               component("a/b"), component("~")]),
    inventory([component(f"f{i:04}") for i in range(300)]),
]
x = component("x")
refused_inventories = [
    ("Version", inventory([], 2)), ("Count", inventory([x], count=2)), ("Count", inventory([x], count=0)),
    ("Order", inventory([component("b"), component("a")])), ("Order", inventory([x, x])), ("Order", inventory([component("a/b"), component("a-b")])),
    ("Name", inventory([component("")])), ("Name", inventory([component("a" * 1025)])), ("Name", inventory([component("\u6954")])),
    ("Name", inventory([component("a\n")])), ("Name", inventory([component("%")])), ("Name", inventory([component("%4")])),
    ("Name", inventory([component("%41")])), ("Name", inventory([component("%e6")])), ("Name", inventory([component("%GG")])),
    ("Name", inventory([component("\x7f")])),
    ("ComponentVersion", inventory([component("x", version="")])), ("ComponentVersion", inventory([component("x", version="v" * 65)])),
    ("ComponentVersion", inventory([component("x", version="1 2")])),
    ("Kind", inventory([component("x", 0)])), ("Kind", inventory([component("x", 7)])), ("Kind", inventory([component("x", 256)])),
    ("Size", inventory([component("x", size=2**63)])),
    ("Cbor(ArrayLength)", inventory([x + [0]])), ("Cbor(ArrayLength)", inventory([x[:-1]])),
    ("Cbor(OutOfBounds)", inventory([x[:-1] + [bytes(31)]])), ("Cbor(Type)", cbor(1) + b"\x20"),
    ("Cbor(NotShortest)", cbor(1) + cbor(x) + b"\x18\x01"), ("Cbor(NotShortest)", cbor(1) + b"\x98\x05" + cbor(x)[1:] + cbor(1)),
    ("Trailing", inventory([x]) + b"\0"), ("Trailing", inventory([x]) + cbor(component("y"))), ("Short", inventory([x])[:-1]), ("Short", b""),
    ("Short", inventory(plain)[:50]), ("Cbor(Type)", cbor(1) + b"\x9f" + cbor(x)[1:] + b"\xff" + cbor(1)), ("Cbor(Type)", b"\x81" + inventory([])),
]
changed = [component("bin/busybox", 2, 900000, label="malware"), component("bin/sh", 4, 7), component("etc/passwd", 3),
           component("libc6", 5, 3, "2.36-10"), component("tmp/x"), component("zz kernel", 6, 2**40 + 1)]


def differences(expected, actual):
    expected, actual = ({c[0]: c for c in side} for side in (expected, actual))
    out = []
    for name in sorted(set(expected) | set(actual), key=str.encode):
        e, a = expected.get(name), actual.get(name)
        if e != a:
            out.append(["missing" if a is None else "unexpected" if e is None else "changed", name])
    return out


pairs = [(plain, plain), (plain, changed), (changed, plain), ([], plain), (plain, []), ([], [])]

# Inventory statements
ACT, ACT2 = Key("act"), Key("act 2", 2)
HANDSHAKE, NONCE = H(b"handshake"), H(b"nonce")
whole = inventory(plain)


def statement(version=1, digest=H(whole), size=len(whole), count=len(plain), height=40, handshake=HANDSHAKE, nonce=NONCE):
    return (u(version, 1) + digest + u(size, 8) + u(count, 4) + DIGEST + u(height, 8) + H(b"header") + handshake + nonce)


def claim(result, text, key=ACT, message=None, kind=0x501, purpose=2, chain=CHAIN, row=None, wanted=None, content_=whole, not_before=40,
          handshake=HANDSHAKE, nonce=NONCE, height=41):
    message = statement() if message is None else message
    row = record(key, 2) if row is None else row
    state = State({state_key(1, key.handle): row} if row != b"" else {}, height)
    wanted = wanted or state_key(1, key.handle)
    return {"text": text, "result": result, "signed": message + key.state(purpose, kind, message, chain), "signer": key.handle,
            "proof": (wanted, state.prove(wanted)), "not_before": not_before, "handshake": handshake, "nonce": nonce, "inventory": content_}


claims = [
    claim("ok", "an order's answer"), claim("ok", "P-256", ACT2), claim("ok", "nobody asked", message=statement(nonce=bytes(32)), nonce=bytes(32)),
    claim("ok", "at the proof's height", message=statement(height=41)),
    claim("Version", "another version", message=statement(2)),
    claim("TooLarge", "two gigabytes", message=statement(size=2**31)), claim("TooLarge", "nothing", message=statement(size=0)),
    claim("TooMany", "too many components", message=statement(count=2**17 + 1)),
    claim("Height", "a height out of range", message=statement(height=2**48)),
    claim("Wire(Trailing)", "a byte more", message=statement() + b"\0"), claim("Wire(Short)", "a byte less", message=statement()[:-1]),
    claim("OtherSession", "replayed in another session", handshake=H(b"other")),
    claim("OtherOrder", "replayed for another order", nonce=H(b"other")),
    claim("OtherOrder", "without the order's nonce", message=statement(nonce=bytes(32))),
    claim("Old", "signed before what was asked", not_before=41), claim("Future", "above the proof", message=statement(height=42)),
    claim("OtherProof", "the proof of another key", wanted=H(b"someone else")),
    claim("UnknownSigner", "no record", row=b""), claim("Row", "no record's row", row=policy()),
    claim("SignerPurpose", "a factory key", row=record(ACT, 1)),
    claim("SignerNotValid", "a superseded key", row=record(ACT, 2, status=3, version=2, ended=41)),
    claim("SignerNotValid", "a compromised key", row=record(ACT, 2, reason=1, status=4, version=3, ended=41, since=9)),
    claim("Signature", "another kind", kind=0x500), claim("Signature", "another purpose", purpose=8),
    claim("Signature", "another chain", chain=OTHER_CHAIN),
    claim("Signature", "another key", row=record(ACT2, 2)),
    claim("OtherContent", "another inventory", content_=inventory(changed)),
    claim("OtherContent", "another number", message=statement(count=5)), claim("OtherContent", "another size", message=statement(size=5)),
]


proofs = []


def shared(key, proof):
    """Many cases have the same proofs: each stands once."""
    if (key, proof) not in proofs:
        proofs.append((key, proof))
    return proofs.index((key, proof))


for install in cases:
    install["proofs"] = [shared(*proof) for proof in install["proofs"]]
for install in updates:
    install["proofs"] = [shared(*proof) for proof in install["proofs"]]
for one_claim in claims:
    one_claim["proof"] = shared(*one_claim["proof"])


def refused(cases):
    return [{"error": error, "bytes": value if isinstance(value, bytes) else cbor(value)} for error, value in cases]


value = {
    "warning": "the keys of these vectors are derived from their labels: never use them",
    "chain": CHAIN, "epoch set": SET,
    "manifests": [{"bytes": cbor(m), "digest": H(cbor(m)), "state_key": state_key(4, ORG + H(cbor(m))),
                   "statement": b"kusabi.statement.v1" + CHAIN + A.handle + b"\3\5\0" + H(cbor(m))} for m in manifests],
    "refused_manifests": refused(refused_manifests),
    "signer": A.handle, "seeds": [{"suite": k.suite, "seed": k.seed, "handle": k.handle} for k in (A, B)],
    "signed": SIGNED, "refused_signed": refused(refused_signed),
    "proofs": [{"key": key, "proof": proof} for key, proof in proofs],
    "anchors": {"own": anchor(CHAIN), "other": anchor(OTHER_CHAIN)}, "installs": cases, "updates": updates,
    "inventories": [{"bytes": b, "digest": H(b)} for b in inventories], "refused_inventories": refused(refused_inventories),
    "differences": [{"expected": inventory(e), "actual": inventory(a), "differences": differences(e, a)} for e, a in pairs],
    "act": {"suite": 1, "seed": ACT.seed, "handle": ACT.handle}, "claims": claims,
}
with open("firmware.json", "w") as file:
    json.dump(value, file, indent=1, default=bytes.hex)
    file.write("\n")
