#!/usr/bin/env python3
"""Writes identity.json, statements.json and evidence.json: an independent reading of identity.md and evidence.md.

It shares no code with the Rust crates: hashes from the standard library, curves from PyPI `cryptography` (48 or later),
bech32m and CBOR written out here. All private keys in these files are test vectors: never use them.
Run: python3 oracle.py (in this directory); the result is checked in.
"""
import hashlib, hmac, json
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

RAW = serialization.Encoding.Raw, serialization.PublicFormat.Raw
COMPRESSED = serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
SPKI = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
P256_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
WARNING = "all private keys here are test vectors: never use them"


def H(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# bech32m, BIP 350
CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def polymod(values):
    chk = 1
    for v in values:
        top = chk >> 25
        chk = (chk & 0x1FFFFFF) << 5 ^ v
        for i, g in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            chk ^= g if (top >> i) & 1 else 0
    return chk


def bech32(prefix, five_bit, constant=0x2BC830A3):
    expanded = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    mod = polymod(expanded + five_bit + [0] * 6) ^ constant
    checksum = [(mod >> 5 * (5 - i)) & 31 for i in range(6)]
    return prefix + "1" + "".join(CHARSET[d] for d in five_bit + checksum)


def five_bits(data, padding=0):
    bits = "".join(f"{b:08b}" for b in data)
    bits += f"{padding:0{-len(bits) % 5}b}" if len(bits) % 5 else ""
    return [int(bits[i : i + 5], 2) for i in range(0, len(bits), 5)]


# deterministic CBOR, RFC 8949 4.2.1; a map is a list of pairs and written in the order given
def head(major, n):
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if n < 24:
            return bytes([major << 5 | n])
        if n < 1 << 8 * size:
            return bytes([major << 5 | info]) + n.to_bytes(size, "big")


class Map(list):
    pass


class Tag(tuple):
    pass


def cbor(v):
    if isinstance(v, Map):
        return head(5, len(v)) + b"".join(cbor(k) + cbor(x) for k, x in v)
    if isinstance(v, Tag):
        return head(6, v[0]) + cbor(v[1])
    if isinstance(v, list):
        return head(4, len(v)) + b"".join(map(cbor, v))
    if isinstance(v, bytes):
        return head(2, len(v)) + v
    if isinstance(v, str):
        return head(3, len(v.encode())) + v.encode()
    return head(0, v) if v >= 0 else head(1, -1 - v)


def hkdf(salt, ikm, info):
    return HKDF(hashes.SHA256(), 32, salt, info).derive(ikm)


class Key:
    def __init__(self, suite, seed):
        self.suite, self.seed = suite, seed
        salt = b"kusabi.suite%d.v1" % suite
        if suite == 1:
            self.sign_key = ed25519.Ed25519PrivateKey.from_private_bytes(hkdf(salt, seed, b"sign"))
            self.agree_key = x25519.X25519PrivateKey.from_private_bytes(hkdf(salt, seed, b"agree"))
            self.signing = self.sign_key.public_key().public_bytes(*RAW)
            self.agreement = self.agree_key.public_key().public_bytes(*RAW)
            self.keys = self.signing + self.agreement + b"\0\0"
            self.verification = b"\1" + self.signing + b"\0"
        else:
            self.sign_key, self.agree_key = (self.scalar(salt, seed, i) for i in (b"sign", b"agree"))
            self.signing = self.sign_key.public_key().public_bytes(*COMPRESSED)
            self.agreement = self.agree_key.public_key().public_bytes(*COMPRESSED)
            self.keys = self.signing + self.agreement
            self.verification = b"\2" + self.signing

    @staticmethod
    def scalar(salt, seed, info):
        for counter in range(256):
            d = int.from_bytes(hkdf(salt, seed, info + bytes([counter])), "big")
            if 0 < d < P256_N:
                return ec.derive_private_key(d, ec.SECP256R1())

    def sign(self, message, high=False):
        if self.suite == 1:
            return self.sign_key.sign(message)
        der = self.sign_key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        r, s = decode_dss_signature(der)
        s = max(s, P256_N - s) if high else min(s, P256_N - s)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def agree(self, other):
        if self.suite == 1:
            return self.agree_key.exchange(other.agree_key.public_key())
        return self.agree_key.exchange(ec.ECDH(), other.agree_key.public_key())


def seed(label):
    return H(b"kusabi test vector seed ", label.encode())


def handle(kid):
    return H(b"kusabi.handle.v1", kid)


def org_id(name):
    return H(b"kusabi.org.v1", name.encode())[:16]


def statement(chain, signer, purpose, kind, payload):
    return b"kusabi.statement.v1" + chain + signer + bytes([purpose]) + kind.to_bytes(2, "big") + H(payload)


def write(name, value):
    with open(name, "w") as f:
        json.dump({"warning": WARNING, **value}, f, indent=1)
        f.write("\n")


ids = [bytes(16), bytes([255]) * 16, bytes(range(16)), H(b"kusabi test vector id")[:16]]
kid_text = bech32("kid", five_bits(ids[2]))
names = ["a", "0", "acme", "acme.example", "factory-7", "a" * 32]
suites = [(s, Key(s, seed(f"suite {s} {i}")), Key(s, seed(f"peer {s} {i}"))) for s in (1, 2) for i in range(3)]
chain = H(b"kusabi.genesis.v1", b"test vector chain")

# Points that decompress or not, found by trying: x^2 = (y^2 - 1) / (d y^2 + 1).
p = 2**255 - 19
d = -121665 * pow(121666, p - 2, p) % p


def decompresses(y):
    x2 = (y * y - 1) * pow(d * y * y + 1, p - 2, p) % p
    return x2 == 0 or pow(x2, (p - 1) // 2, p) == 1


no_point = next(y for y in range(2, 100) if not decompresses(y)).to_bytes(32, "little")
b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
q = 2**256 - 2**224 + 2**192 + 2**96 - 1
no_x = next(x for x in range(1, 100) if pow((x**3 - 3 * x + b) % q, (q - 1) // 2, q) != 1)
no_p256 = b"\2" + no_x.to_bytes(32, "big")
k1, k2 = suites[0][1], suites[3][1]
foreign_ed = k1.sign_key.public_key().public_bytes(*SPKI)
foreign_p256 = k2.sign_key.public_key().public_bytes(*SPKI)


def refused_keys():
    small = [0, 1, p - 1, p, p + 1]
    yield from ((1, k1.signing + (u).to_bytes(32, "little") + b"\0\0", "X25519") for u in small)
    yield from ((1, k1.signing + (u | 1 << 255).to_bytes(32, "little") + b"\0\0", "X25519") for u in small)
    yield 1, no_point + k1.agreement + b"\0\0", "Ed25519"
    # Small order: y = 0, 1, -1 and what is the same modulo p, with both signs.
    for y in small:
        for sign in (0, 1 << 255):
            yield 1, (y | sign).to_bytes(32, "little") + k1.agreement + b"\0\0", "Ed25519"
    yield 1, k1.keys[:65] + b"\1", "Padding"
    yield 1, k1.keys[:64] + b"\1\0", "Padding"
    yield 2, no_p256 + k2.agreement, "P256"
    yield 2, k2.signing + no_p256, "P256"
    for tag in (0, 1, 4, 5, 6, 7):
        yield 2, bytes([tag]) + k2.keys[1:], "P256"
    yield 2, b"\2" + q.to_bytes(32, "big") + k2.agreement, "P256"
    digest = H(foreign_ed)
    yield 15, b"\4" + b"\0\x2c" + digest + bytes(31), "Algorithm"
    yield 15, b"\0" + b"\0\x2c" + digest + bytes(31), "Algorithm"
    yield 15, b"\3" + b"\0\0" + digest + bytes(31), "Spki"
    yield 15, b"\1" + b"\x08\x01" + digest + bytes(31), "Spki"
    yield 15, b"\3" + b"\0\x2c" + digest + bytes(30) + b"\1", "Padding"


bound = [(ids[3], chain, org_id("acme"), purpose, key) for purpose, key in ((1, k1), (2, k1), (2, k2), (8, k2))]
bound.append((ids[3], bytes(32), org_id("acme"), 6, k1))

write("identity.json", {
    "ids": [{"id": i.hex(), "text": bech32("kid", five_bits(i)), "handle": handle(i).hex()} for i in ids],
    "refused_ids": [
        {"why": "bech32, not bech32m", "text": bech32("kid", five_bits(ids[2]), 1)},
        {"why": "another prefix", "text": bech32("kie", five_bits(ids[2]))},
        {"why": "15 bytes", "text": bech32("kid", five_bits(ids[2][:15]))},
        {"why": "17 bytes", "text": bech32("kid", five_bits(ids[2] + b"\0"))},
        {"why": "one character more", "text": bech32("kid", five_bits(ids[2]) + [0])},
        {"why": "padding bits 01", "text": bech32("kid", five_bits(ids[2], 1))},
        {"why": "padding bits 10", "text": bech32("kid", five_bits(ids[2], 2))},
        {"why": "mixed case", "text": kid_text[:10] + kid_text[10:].upper()},
        {"why": "no prefix", "text": kid_text[4:]},
        {"why": "empty", "text": ""},
        {"why": "a blank at the end", "text": kid_text + " "},
    ],
    "organisations": [{"name": n, "id": org_id(n).hex()} for n in names],
    "refused_names": ["", "a" * 33, ".a", "-a", "Acme", "ac me", "acme_x", "é", "a\n"],
    "suites": [{
        "suite": s, "seed": k.seed.hex(), "keys": k.keys.hex(), "verification_key": k.verification.hex(),
        "bare_handle": H(b"kusabi.bare-key.v1", k.verification).hex(),
        "peer_seed": o.seed.hex(), "shared_secret": k.agree(o).hex(),
    } for s, k, o in suites],
    "foreign": [
        {"algorithm": 3, "spki": foreign_ed.hex(), "keys": (b"\3\0\x2c" + H(foreign_ed) + bytes(31)).hex(), "verification_key": k1.verification.hex()},
        {"algorithm": 2, "spki": foreign_p256.hex(), "keys": (b"\2\0\x5b" + H(foreign_p256) + bytes(31)).hex(), "verification_key": k2.verification.hex()},
    ],
    "refused_keys": [{"suite": s, "keys": k.hex(), "error": e} for s, k, e in refused_keys()],
    "bindings": [{
        "id": i.hex(), "chain": c.hex(), "owner": o.hex(), "purpose": u, "suite": k.suite, "keys": k.keys.hex(),
        "binding": hmac.digest(i, b"kusabi.binding.v1" + c + o + bytes([u, k.suite]) + k.keys, "sha256")[:16].hex(),
    } for i, c, o, u, k in bound],
})

signed = []
for key in (k1, k2):
    for purpose, kind, payload in ((2, 0x0102, b""), (5, 0x0101, b"abc"), (6, 0x0200, bytes(1000)), (66, 0x0201, b"recovery")):
        st = statement(chain, handle(ids[3]), purpose, kind, payload)
        signed.append({
            "chain": chain.hex(), "handle": handle(ids[3]).hex(), "purpose": purpose, "kind": kind, "payload": payload.hex(),
            "statement": st.hex(), "suite": key.suite, "seed": key.seed.hex(), "verification_key": key.verification.hex(),
            "signature": key.sign(st).hex(),
            **({"high_s": key.sign(st, high=True).hex()} if key.suite == 2 else {}),
        })
write("statements.json", {"statements": signed})


def sig_structure(protected, payload):
    return cbor(["Signature1", protected, b"", payload])


def parts(key, purpose, file, walk, anchor, alg=None):
    alg = alg or (-8 if key.suite == 1 else -7)
    protected = Map([(1, alg), (4, handle(ids[3])), (258, -16), ("kusabi", [1, chain, purpose, 0x0300])])
    unprotected = Map()
    if walk:
        unprotected.append(("walk", walk))
    unprotected.append(("proof", b"a proof"))
    if anchor:
        unprotected.append(("anchor", anchor))
    unprotected.append(("genesis", b"a genesis document"))
    return protected, unprotected, H(file)


def bundle(key, protected, unprotected, payload):
    to_sign = sig_structure(cbor(protected), payload)
    signature = key.sign(to_sign)
    return to_sign, signature, cbor(Tag((18, [cbor(protected), unprotected, payload, signature])))


bundles = []
for key in (k1, k2):
    for walk, anchor in (([], None), ([b"\1handover", b"\2recovery"], b"another proof")):
        to_sign, signature, encoded = bundle(key, *parts(key, 8, b"a file", walk, anchor))
        bundles.append({
            "suite": key.suite, "seed": key.seed.hex(), "chain": chain.hex(), "handle": handle(ids[3]).hex(), "purpose": 8,
            "file": b"a file".hex(), "proof": b"a proof".hex(), "genesis": b"a genesis document".hex(),
            "walk": [w.hex() for w in walk], **({"anchor": anchor.hex()} if anchor else {}),
            "to_be_signed": to_sign.hex(), "signature": signature.hex(),
            "anchor_digest": H(b"kusabi.evidence.v1", to_sign, signature).hex(), "bundle": encoded.hex(),
        })


def refused_bundles():
    def with_(change, error, why, key=k1):
        protected, unprotected, payload = parts(key, 8, b"a file", [b"\1handover"], None)
        changed = change(Map(protected), Map(unprotected), payload)
        return {"why": why, "error": error, "bundle": bundle(key, *changed)[2].hex()}

    without = lambda m, name: Map(x for x in m if x[0] != name)
    put = lambda m, name, value: Map((k, value if k == name else v) for k, v in m)
    yield with_(lambda p, u, f: (Map(reversed(p)), u, f), "NotCanonical", "protected map in another order")
    yield with_(lambda p, u, f: (p, Map(reversed(u)), f), "NotCanonical", "unprotected map in another order")
    yield with_(lambda p, u, f: (without(p, 258), u, f), "NotCanonical", "no payload hash algorithm")
    yield with_(lambda p, u, f: (put(p, 258, -44), u, f), "NotCanonical", "another payload hash algorithm")
    yield with_(lambda p, u, f: (put(p, "kusabi", [2, chain, 8, 0x0300]), u, f), "NotCanonical", "another version")
    yield with_(lambda p, u, f: (put(p, "kusabi", [1, chain, 8, 0x0101]), u, f), "NotCanonical", "another kind of statement")
    yield with_(lambda p, u, f: (put(p, "kusabi", [1, chain, 9, 0x0300]), u, f), "Purpose", "a purpose that does not exist")
    yield with_(lambda p, u, f: (put(p, "kusabi", [1, chain, 66, 0x0300]), u, f), "Purpose", "a purpose without records")
    yield with_(lambda p, u, f: (put(p, "kusabi", [1, chain, 8]), u, f), "Header", "one fact less")
    yield with_(lambda p, u, f: (put(p, "kusabi", [1, chain[:31], 8, 0x0300]), u, f), "Header", "a short chain")
    yield with_(lambda p, u, f: (without(p, "kusabi"), u, f), "Header", "no facts")
    yield with_(lambda p, u, f: (without(p, 4), u, f), "Header", "no key identifier")
    yield with_(lambda p, u, f: (put(p, 4, handle(ids[3])[:31]), u, f), "Header", "a short key identifier")
    yield with_(lambda p, u, f: (without(p, 1), u, f), "Header", "no algorithm")
    yield with_(lambda p, u, f: (put(p, 1, -35), u, f), "Algorithm", "ES384")
    yield with_(lambda p, u, f: (Map(p + [("extra", 1)]), u, f), "NotCanonical", "one protected parameter more")
    yield with_(lambda p, u, f: (p, Map(u + [("zz", 1)]), f), "NotCanonical", "one unprotected parameter more")
    yield with_(lambda p, u, f: (p, put(u, "walk", []), f), "NotCanonical", "an empty walk")
    yield with_(lambda p, u, f: (p, put(u, "walk", [1]), f), "Header", "a walk of numbers")
    yield with_(lambda p, u, f: (p, without(u, "proof"), f), "Header", "no proof")
    yield with_(lambda p, u, f: (p, put(u, "proof", "a proof"), f), "Header", "a proof that is text")
    yield with_(lambda p, u, f: (p, without(u, "genesis"), f), "Header", "no genesis document")
    yield with_(lambda p, u, f: (p, u, f + b"\0"), "Header", "a payload of 33 bytes")
    protected, unprotected, payload = parts(k1, 8, b"a file", [], None)
    to_sign, signature, good = bundle(k1, protected, unprotected, payload)
    raw = lambda why, error, b: {"why": why, "error": error, "bundle": b.hex()}
    yield raw("no tag", "Cose", good[1:])
    yield raw("a byte after the end", "Cose", good + b"\0")
    yield raw("cut", "Cose", good[:-1])
    yield raw("tag in a longer form", "NotCanonical", b"\xd8\x12" + good[1:])
    body = [cbor(protected), unprotected, payload, signature]
    yield raw("indefinite array", "NotCanonical", b"\xd2\x9f" + b"".join(map(cbor, body)) + b"\xff")
    yield raw("signature of 63 bytes", "Header", cbor(Tag((18, body[:3] + [signature[:63]]))))
    long_key = b"\xa4\x18\x01" + cbor(protected)[2:]
    yield raw("protected label in a longer form", "NotCanonical", cbor(Tag((18, [long_key] + body[1:]))))


write("evidence.json", {"bundles": bundles, "refused": list(refused_bundles())})
