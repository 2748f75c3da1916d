#!/usr/bin/env python3
"""Writes trust.json: an independent reading of proof.md, with a small prover for paths.

It shares no code with the Rust crates. All private keys here are test vectors: never use them.
Run: python3 trust.py (in this directory); the result is checked in.
"""
import hashlib, json
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

RAW = serialization.Encoding.Raw, serialization.PublicFormat.Raw


def H(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def u(n, size):
    return n.to_bytes(size, "big")


class Key:
    def __init__(self, label):
        self.seed = H(b"kusabi test vector key", label.encode())
        self.private = ed25519.Ed25519PrivateKey.from_private_bytes(self.seed)
        self.public = self.private.public_key().public_bytes(*RAW)
        self.encoded = b"\x01" + self.public + b"\0"
        self.handle = H(b"kusabi.bare-key.v1", self.encoded)

    def state(self, chain, purpose, kind, payload):
        return self.private.sign(b"kusabi.statement.v1" + chain + self.handle + u(purpose, 1) + u(kind, 2) + H(payload))


def signatories(k, keys):
    return u(k, 1) + u(len(keys), 1) + b"".join(sorted(key.encoded for key in keys))


def epoch_set(epoch, organisations, validators):
    """organisations: (id, k, officers), validators: (key, organisation id)."""
    organisations = sorted(organisations, key=lambda o: o[0])
    index = {o[0]: i for i, o in enumerate(organisations)}
    return (b"\x01" + u(epoch, 8) + u(len(organisations), 1) + u(len(validators), 1)
            + b"".join(o[0] + signatories(o[1], o[2]) for o in organisations)
            + b"".join(v.public + u(index[o], 1) for v, o in sorted(validators, key=lambda v: v[0].public)))


def set_hash(s):
    return H(b"kusabi.set.v1", s)


def header(height, state_root, ops_root, ops_end, epoch, set_, view, parent, next_set=None):
    return (u(1, 2) + u(height, 8) + u(0, 8) + u(1_700_000_000_000, 8) + parent + state_root + ops_root + u(0, 8) + u(ops_end, 8)
            + H(b"kusabi.body.v1") + u(epoch, 8) + set_hash(set_) + u(view, 8) + u(view - 1, 8) + b"\0"
            + (b"\0" if next_set is None else b"\1" + set_hash(next_set)))


def header_hash(chain, h):
    return H(b"kusabi.header.v1", chain, h)


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def certificate(keys, signers, sign):
    keys = sorted(keys, key=lambda k: k.public)
    bits = sum(1 << i for i in signers)
    return u(len(keys), 1) + u(bits, 2) + b"".join(sign(keys[i]) for i in sorted(signers))


def finalize_message(chain, epoch, view, parent_view, hash_):
    ns = b"kusabi.consensus.v1" + chain + b"_FINALIZE"
    return varint(len(ns)) + ns + varint(epoch) + varint(view) + varint(parent_view) + hash_


# The log and its bitmap, with every node kept: slow and plain.
class Log:
    def __init__(self, operations, active):
        self.operations, self.n = operations, len(operations)
        bits = [0] * (-(-self.n // 256) * 256)
        for i in active:
            bits[i] = 1
        self.chunks = [bytes(sum(bits[c + 8 * b + i] << i for i in range(8)) for b in range(32)) for c in range(0, len(bits), 256)]

    def node(self, height, first, grafted=True):
        position = u(2 * first - first.bit_count() + 2 ** (height + 1) - 2, 8)
        if height == 0:
            return H(position, self.operations[first])
        half = 1 << height - 1
        d = H(position, self.node(height - 1, first, grafted), self.node(height - 1, first + half, grafted))
        chunk = self.chunks[first >> 8]
        return H(chunk, d) if grafted and height == 8 and any(chunk) else d

    def peaks(self):
        first, out = 0, []
        for height in range(62, -1, -1):
            if self.n >> height & 1:
                out.append((height, first))
                first += 1 << height
        return out

    def tree_root(self, inactive, grafted):
        digests = [self.node(h, f, grafted) for h, f in self.peaks()]
        return H(b"\0\1", u(self.n, 8), u(inactive, 8) if inactive else b"", self.bag(digests, inactive))

    @staticmethod
    def bag(entries, inactive):
        acc, rest = entries[0], entries[1:]
        for _ in range(inactive - 1):
            acc, rest = H(acc, rest[0]), rest[1:]
        if not rest:
            return acc
        bag = rest[-1]
        for entry in reversed(rest[:-1]):
            bag = H(entry, bag)
        return H(acc, bag)

    def roots(self, inactive):
        ops = self.tree_root(inactive, False)
        partial = u(self.n % 256, 8) + H(self.chunks[-1]) if self.n % 256 else b""
        return ops, H(ops, self.tree_root(inactive, True), partial)

    def path(self, location, inactive):
        peaks = self.peaks()
        at = next(i for i, (h, f) in enumerate(peaks) if f <= location < f + (1 << h))
        digest = [self.node(h, f) for h, f in peaks]
        out, fold = [], min(inactive, at)
        if fold:
            acc = digest[0]
            for d in digest[1:fold]:
                acc = H(acc, d)
            out.append(acc)
        out += digest[fold:at]
        listed = max(0, inactive - at - 1)
        after = digest[at + 1:]
        out += after[:listed]
        if after[listed:]:
            bag = after[-1]
            for d in reversed(after[listed:-1]):
                bag = H(d, bag)
            out.append(bag)
        height, first = peaks[at]
        left, right = [], []
        while height:
            height -= 1
            half = 1 << height
            if location >= first + half:
                left.append(self.node(height, first))
                first += half
            else:
                right.append(self.node(height, first + half))
        out += left + right[::-1]
        partial = b"\1" + H(self.chunks[-1]) if self.n % 256 else b"\0"
        return u(location, 8) + self.chunks[location >> 8] + u(inactive, 1) + partial + u(len(out), 1) + b"".join(out)


def row(i):
    return (H(b"row", u(i, 4)) * 6)


def key(i):
    return H(b"key", u(i, 4))


def main():
    org = lambda name: H(b"kusabi.org.v1", name)[:16]
    officers = {o: [Key(f"officer {o} {i}") for i in range(3)] for o in "abc"}
    organisations = [(org(o.encode()), 2, officers[o]) for o in "abc"]
    sets, votes = [], []
    for epoch in range(2):
        keys = [Key(f"vote {epoch} {i}") for i in range(4)]
        votes.append(keys)
        sets.append(epoch_set(epoch, organisations, [(k, org(b"abc"[i % 3:i % 3 + 1])) for i, k in enumerate(keys)]))
    recovery_keys = sorted((Key(f"recovery {i}") for i in range(3)), key=lambda k: k.encoded)
    recovery_set = signatories(2, recovery_keys)
    chain = H(b"a chain for test vectors")
    recovery_hash = H(b"kusabi.recovery.v1", recovery_set)
    anchor = chain + u(0, 8) + set_hash(sets[0]) + u(0, 8) + bytes(32) + recovery_hash

    last = H(b"last header")
    nodes_hash = H(b"kusabi.appointed.nodes.v1", b"a list of nodes")
    appointed = b"\x01" + u(0, 8) + set_hash(sets[0]) + nodes_hash + u(len(sets[1]), 2) + sets[1]
    payload = appointed + u(40, 8) + last
    node = Key("node of vote 1 2")
    next_keys = u(1, 8) + votes[1][2].public + node.public
    handover = payload + certificate(votes[0], [0, 1, 3], lambda k: k.state(chain, 64, 0x200, payload))
    by_org = sorted((org(o.encode()), sorted(officers[o], key=lambda k: k.encoded)) for o in "abc")
    officers_signed = u(4, 1) + b"".join(
        u(o, 1) + u(i, 1) + by_org[o][1][i].state(chain, 6, 0x202, appointed) for o in (0, 2) for i in (0, 2))
    handover += officers_signed
    after_handover = chain + u(1, 8) + set_hash(sets[1]) + u(40, 8) + last + recovery_hash

    fresh = epoch_set(7, organisations, [(Key("vote 7 0"), org(b"a"))])
    def recover(from_height, parent_height, epoch=7):
        fresh = epoch_set(epoch, organisations, [(Key("vote 7 0"), org(b"a"))])
        payload = b"\x01" + u(from_height, 8) + u(parent_height, 8) + last + H(b"nodes") + u(len(fresh), 2) + fresh
        return payload + recovery_set + u(2, 1) + b"".join(
            u(i, 1) + recovery_keys[i].state(chain, 66, 0x201, payload) for i in (0, 1))

    recovery, farthest = recover(5000, 40), recover(40 + 2**40, 40, 2**56)
    refused_recoveries = [["From", recover(40, 40)], ["From", recover(39, 40)], ["TooFar", recover(41 + 2**40, 40)],
                          ["TooFar", recover(2**48 - 1, 40)], ["Height", recover(2**48, 40)],
                          ["EpochTooFar", recover(5000, 40, 2**56 + 1)], ["EpochTooFar", recover(5000, 40, 2**64 - 1)]]
    # What a device at these floors makes of a handover that ends epoch 0 at height 40.
    floor = lambda epoch, height, hash_: chain + u(epoch, 8) + set_hash(sets[epoch]) + u(height, 8) + hash_ + recovery_hash
    floors = [[None, floor(0, 39, H(b"seen"))], [None, floor(0, 40, last)], [None, floor(0, 40, bytes(32))],
              ["Fork", floor(0, 40, H(b"seen"))], ["Fork", floor(0, 41, H(b"seen"))],
              ["Fork", floor(0, 2**48 - 1, bytes(32))], ["Epoch", floor(1, 39, H(b"seen"))]]
    bad_anchors = [["Height", floor(0, 2**48, last)]]
    # A recovery sets the floor, wherever it stood: also where it was lifted as high as can be.
    before_recovery = [floor(0, 39, H(b"seen")), floor(0, 4999, H(b"seen")), floor(0, 2**48 - 1, H(b"seen")),
                       floor(1, 41, H(b"seen")), floor(1, 2**48 - 1, bytes(32))]
    after_recovery = chain + u(7, 8) + set_hash(fresh) + u(4999, 8) + bytes(32) + recovery_hash

    proofs = []
    for n, location, inactive in ((1, 0, 0), (7, 2, 0), (255, 200, 0), (256, 255, 0), (257, 3, 0), (257, 256, 1), (700, 300, 0), (700, 699, 2), (1024, 513, 0)):
        update = lambda i: b"\xd2" + key(i) + row(i) + key(i + 1)
        log = Log([update(i) for i in range(n)], [i for i in range(n) if i % 3 or i == location])
        ops_root, state_root = log.roots(inactive)
        h = header(41, state_root, ops_root, n, 0, sets[0], 300, last)
        message = finalize_message(chain, 0, 300, 299, header_hash(chain, h))
        checkpoint = u(1, 1) + h + u(300, 8) + u(299, 8) + certificate(votes[0], [0, 2, 3], lambda k: k.private.sign(message))
        path = log.path(location, inactive)
        proofs.append({
            "key": key(location), "row": row(location),
            "presence": b"\x01\x01" + checkpoint + path + row(location) + key(location + 1),
            "absence": b"\x01\x02" + checkpoint + path + key(location) + row(location) + key(location + 1),
        })
    # An empty ledger: the last commit, alive by itself.
    commits = [b"\xd3\0" + bytes(192) + u(i, 8) + bytes(55) for i in range(3)]
    log = Log(commits, [2])
    ops_root, state_root = log.roots(0)
    h = header(41, state_root, ops_root, 3, 0, sets[0], 300, last)
    message = finalize_message(chain, 0, 300, 299, header_hash(chain, h))
    checkpoint = u(1, 1) + h + u(300, 8) + u(299, 8) + certificate(votes[0], [0, 1, 2, 3], lambda k: k.private.sign(message))

    value = {
        "warning": "the keys of these vectors are derived from their labels: never use them",
        "chain": chain, "epoch sets": sets, "anchor": anchor,
        "header": h, "header hash": header_hash(chain, h), "finalize message": message,
        "appointment": appointed + officers_signed, "handover": handover, "after handover": after_handover,
        "next keys": {"present": votes[0][2].public, "epoch": 1, "vote key": votes[1][2].public, "node key": node.public,
                      "signature": votes[0][2].state(chain, 64, 0x205, next_keys)},
        "recovery": recovery, "before recovery": before_recovery, "after recovery": after_recovery, "farthest recovery": farthest,
        "refused recoveries": refused_recoveries, "floors": floors, "refused anchors": bad_anchors,
        "proofs": proofs, "empty": b"\x01\x03" + checkpoint + log.path(2, 0) + b"\0",
    }
    with open("trust.json", "w") as f:
        json.dump(value, f, indent=1, default=bytes.hex)
        f.write("\n")


if __name__ == "__main__":
    main()
