#!/usr/bin/env python3
"""Writes device.json: vectors of spec/device-protocol.md, made without kusabi's code.

Needs the package `cryptography`. Every private key here is a test key.
"""
import hashlib
import hmac
import json
import pathlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def cbor(value):
    """RFC 8949, 4.2.1, for what the protocol has."""
    def head(major, number):
        for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
            if number < 24:
                return bytes([major << 5 | number])
            if number < 1 << 8 * size:
                return bytes([major << 5 | code]) + number.to_bytes(size, "big")
    if value is None:
        return b"\xf6"
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, dict):
        return head(5, len(value)) + b"".join(cbor(key) + cbor(one) for key, one in value.items())
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    return head(4, len(value)) + b"".join(cbor(element) for element in value)


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def hkdf(salt, ikm, *infos):
    prk = hmac.new(salt, ikm, hashlib.sha256).digest()
    return hmac.new(prk, b"".join(infos) + b"\x01", hashlib.sha256).digest()


class Curve25519:
    suite, name, algorithm = 1, b"25519", -8

    @classmethod
    def sign(cls, seed, message):
        return ed25519.Ed25519PrivateKey.from_private_bytes(cls.derive(seed)[0]).sign(message)

    @staticmethod
    def derive(seed):
        sign = hkdf(b"kusabi.suite1.v1", seed, b"sign")
        return sign, hkdf(b"kusabi.suite1.v1", seed, b"agree")

    @staticmethod
    def public(scalar):
        return x25519.X25519PrivateKey.from_private_bytes(scalar).public_key().public_bytes_raw()

    @staticmethod
    def dh(scalar, public):
        key = x25519.X25519PrivateKey.from_private_bytes(scalar)
        return key.exchange(x25519.X25519PublicKey.from_public_bytes(public))

    @classmethod
    def keys(cls, seed):
        sign, agree = cls.derive(seed)
        key = ed25519.Ed25519PrivateKey.from_private_bytes(sign).public_key().public_bytes_raw()
        return key + cls.public(agree)


class P256:
    suite, name, algorithm = 2, b"P256", -7

    @classmethod
    def sign(cls, seed, message):
        algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        r, s = decode_dss_signature(cls.key(cls.derive(seed)[0]).sign(message, algorithm))
        return r.to_bytes(32, "big") + min(s, P256_ORDER - s).to_bytes(32, "big")

    @staticmethod
    def derive(seed):
        def scalar(label):
            for counter in range(256):
                value = hkdf(b"kusabi.suite2.v1", seed, label, bytes([counter]))
                if 0 < int.from_bytes(value, "big") < P256_ORDER:
                    return value
        return scalar(b"sign"), scalar(b"agree")

    @staticmethod
    def key(scalar):
        return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())

    @classmethod
    def public(cls, scalar):
        key = cls.key(scalar).public_key()
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    @classmethod
    def dh(cls, scalar, public):
        peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
        return cls.key(scalar).exchange(ec.ECDH(), peer)

    @classmethod
    def keys(cls, seed):
        compressed = [
            cls.key(scalar).public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
            for scalar in cls.derive(seed)
        ]
        return b"".join(compressed)


class Noise:
    """SymmetricState (Noise revision 34, 5.2)."""

    def __init__(self, curve, prologue):
        name = b"Noise_IK_" + curve.name + b"_AESGCM_SHA256"
        self.h = name.ljust(32, b"\0") if len(name) <= 32 else sha(name)
        self.ck, self.k, self.n = self.h, None, 0
        self.mix_hash(prologue)

    def mix_hash(self, data):
        self.h = sha(self.h, data)

    def two(self, ikm):
        temp = hmac.new(self.ck, ikm, hashlib.sha256).digest()
        one = hmac.new(temp, b"\x01", hashlib.sha256).digest()
        return one, hmac.new(temp, one + b"\x02", hashlib.sha256).digest()

    def mix_key(self, ikm):
        self.ck, self.k = self.two(ikm)
        self.n = 0

    def seal(self, plaintext):
        if self.k is None:
            sealed = plaintext
        else:
            nonce = bytes(4) + self.n.to_bytes(8, "big")
            sealed = AESGCM(self.k).encrypt(nonce, plaintext, self.h)
            self.n += 1
        self.mix_hash(sealed)
        return sealed


def receipt(about, at, content, org):
    """spec/evidence.md, "Receipts"."""
    text = {"about": about, **at, "content": content, "kusabi": "receipt-1", "organisation": org.hex()}
    return json.dumps(text, sort_keys=True, separators=(",", ":"))


def signed(curve, seed, chain, signer, purpose, text):
    """With the signature of an evidence bundle (RFC 9052, 4.4)."""
    protected = {1: curve.algorithm, 4: signer, 258: -16, "kusabi": [1, chain, purpose, 0x0300]}
    to_sign = cbor(["Signature1", cbor(protected), b"", sha(text.encode())])
    return curve.sign(seed, to_sign)


def case(curve):
    chain, org = sha(b"chain"), sha(b"org")[:16]
    seeds = {name: sha(b"seed", name.encode()) for name in ("device", "server", "next")}
    ephemeral = {name: sha(b"ephemeral", name.encode()) for name in ("device", "server")}
    ids = {name: sha(b"id", name.encode())[:16] for name in ("device", "server", "next")}
    handles = {name: sha(b"kusabi.handle.v1", i) for name, i in ids.items()}
    agree = {name: curve.derive(seed)[1] for name, seed in seeds.items()}
    static = {name: curve.public(scalar) for name, scalar in agree.items()}
    cookie = sha(b"cookie")[:16]
    prologue = b"kusabi.device.v1" + chain + bytes([curve.suite]) + handles["server"] + cookie

    floor = [3, 70_000]
    hello = cbor([0, handles["device"], floor])
    noise = Noise(curve, prologue)
    noise.mix_hash(static["server"])
    e = curve.public(ephemeral["device"])
    noise.mix_hash(e)
    noise.mix_key(curve.dh(ephemeral["device"], static["server"]))
    one = e + noise.seal(static["device"])
    noise.mix_key(curve.dh(agree["device"], static["server"]))
    one += noise.seal(hello)

    session, common, proof = sha(b"session")[:16], sha(b"common"), b"a proof"
    welcome = cbor([0, session, common, proof])
    re = curve.public(ephemeral["server"])
    noise.mix_hash(re)
    noise.mix_key(curve.dh(ephemeral["server"], e))
    noise.mix_key(curve.dh(ephemeral["server"], static["device"]))
    two = re + noise.seal(welcome)
    split = noise.two(b"")
    keys = {
        way: hkdf(noise.h, split[0] + split[1] + common, b"kusabi.session.v1 " + way.encode())
        for way in ("device", "server")
    }

    def sealed(way, counter, plaintext):
        nonce = bytes(4) + counter.to_bytes(8, "big")
        ad = session + counter.to_bytes(8, "big")
        return AESGCM(keys[way]).encrypt(nonce, plaintext, ad)

    tasks = [(9, "done", "update", b"r" * 32), (10, "refused-unproven", "rotate", None)]
    answered = []
    for order, outcome, task, what in tasks:
        content = {"device": handles["device"].hex(), "order": order, "outcome": outcome, "server": handles["server"].hex(),
                   "task": task, "what": what and what.hex()}
        words = receipt("order", {"at_height": floor[1]}, content, org)
        signature = signed(curve, seeds["device"], chain, handles["device"], 2, words)
        answered.append({"text": words, "signature": signature})
    at_ms = 1_700_000_000_000
    outcomes = [{"order": order, "outcome": outcome, "signature": sha(told["signature"]).hex()}
                for (order, outcome, _, _), told in zip(tasks, answered)]
    statement = b"a signed statement".ljust(245, b".")
    heard = []
    for about, content in (("outcomes", {"outcomes": outcomes}),
                           ("report", {"statement": sha(statement).hex()})):
        content["device"] = handles["device"].hex()
        words = receipt(about, {"at_height": floor[1], "at_ms": at_ms}, content, org)
        signature = signed(curve, seeds["server"], chain, handles["server"], 4, words)
        heard.append({"text": words, "signature": signature})

    request = cbor([[7, b"v" * 16, b"n" * 16], floor,
                    [1, [b"i" * 32, None, 12, 1], 300, [[9, 1, answered[0]["signature"]],
                                                   [10, 3, answered[1]["signature"]]]]])
    reply = cbor([[b"\x02a step"], [1, 1800, [[9, 1, b"r" * 32], [10, 2, b"o" * 32], [11, 3],
                                              [12, 4, b"s" * 32]], b"a checkpoint",
                                 [at_ms, heard[0]["signature"]]]])
    asks = cbor([None, floor, [6, b"n" * 32]])
    where, moved = cbor([None, floor, [7]]), cbor([[], [8, "https://devices.example"]])
    carried = cbor([[], [7, b"r" * 121, bytes(3) + b"\x02" + bytes(4) + b"d" * 32, b"a proof"]])
    new_keys = curve.keys(seeds["next"])
    context = chain + org + bytes([2, curve.suite]) + new_keys.ljust(66, b"\0")
    binding = hmac.new(ids["next"], b"kusabi.binding.v1" + context, hashlib.sha256).digest()[:16]
    entry = [handles["next"], 2, curve.suite, new_keys, binding, None]
    return {
        "suite": curve.suite, "chain": chain, "org": org, "cookie": cookie,
        "device_seed": seeds["device"], "server_seed": seeds["server"], "next_seed": seeds["next"],
        "device_ephemeral": ephemeral["device"], "server_ephemeral": ephemeral["server"],
        "device_handle": handles["device"], "server_handle": handles["server"],
        "next_id": ids["next"], "session": session, "common_key": common,
        "hello": cbor([1, 1, curve.suite, cookie, one]),
        "hello_payload": hello, "welcome": cbor([1, 1, two]), "welcome_payload": welcome,
        "handshake_hash": noise.h,
        "request_plaintext": request,
        "request": cbor([1, 2, session, 1, sealed("device", 1, request)]),
        "reply_plaintext": reply,
        "reply": cbor([1, 2, sealed("server", 1, reply)]),
        "fresh_request": asks, "fresh_reply": carried,
        "where_request": where, "moved_reply": moved,
        "answered": answered, "statement": statement, "at_ms": at_ms, "heard": heard,
        "activate": cbor([2, org, [handles["device"], 1], entry]),
        "supersede": cbor([3, org, [handles["device"], 1], entry]),
    }


def text(value):
    if isinstance(value, list):
        return [{name: text(one) for name, one in element.items()} for element in value]
    return value.hex() if isinstance(value, bytes) else value


cases = [{name: text(value) for name, value in case(curve).items()} for curve in (Curve25519, P256)]
path = pathlib.Path(__file__).with_name("device.json")
path.write_text(json.dumps({"cases": cases}, indent=1) + "\n")
