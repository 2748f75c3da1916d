#!/usr/bin/env python3
"""Writes freshness.json: an independent reading of freshness.md.

It shares no code with the Rust crates. All private keys here are test vectors: never use them.
Run: python3 freshness.py (in this directory); the result is checked in.
"""
import json
from trust import H, Key, certificate, epoch_set, header, header_hash, set_hash, u


def tree(leaves):
    """RFC 6962, section 2.1, with our labels."""
    if len(leaves) == 1:
        return H(b"kusabi.nonce.leaf.v1", leaves[0])
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return H(b"kusabi.nonce.node.v1", tree(leaves[:k]), tree(leaves[k:]))


def path(place, leaves):
    """RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if place < k:
        return path(place, leaves[:k]) + [tree(leaves[k:])]
    return path(place - k, leaves[k:]) + [tree(leaves[:k])]


def main():
    org = b"an organisation."
    chain = H(b"a chain for test vectors")
    officers = [Key("officer 0")]

    def ledger(n):
        keys = [Key(f"vote {n} {i}") for i in range(n)]
        set_ = epoch_set(3, [(org, 1, officers)], [(key, org) for key in keys])
        head = header(41, H(b"state"), H(b"ops"), 5, 3, set_, 300, H(b"parent"))
        anchor = chain + u(3, 8) + set_hash(set_) + u(40, 8) + H(b"seen") + H(b"recovery")
        return keys, set_, head, anchor

    def receipt(keys, set_, head, nonces, place, signers, kind=0x203, purpose=64, version=1, height=41, count=None, epoch=3):
        payload = (u(version, 1) + u(epoch, 8) + set_hash(set_) + u(height, 8) + header_hash(chain, head) + tree(nonces)
                   + u(len(nonces) if count is None else count, 4))
        votes = certificate(keys, signers, lambda key: key.state(chain, purpose, kind, payload))
        return payload + votes + u(place, 4) + b"".join(path(place, nonces))

    good = []
    for n, signers, count, places in ((1, [0], 1, [0]), (4, [0, 2], 5, range(5)), (4, [0, 1, 2, 3], 8, [0, 7]),
                                      (7, [1, 3, 6], 37, [0, 31, 32, 36]), (16, [0, 3, 5, 8, 11, 15], 1000, [511, 512, 999])):
        keys, set_, head, anchor = ledger(n)
        nonces = [H(b"nonce", u(i, 4)) for i in range(count)]
        for place in places:
            good.append({"set": set_, "anchor": anchor, "nonce": nonces[place],
                         "receipt": receipt(keys, set_, head, nonces, place, signers),
                         "height": 41, "header hash": header_hash(chain, head)})

    keys, set_, head, anchor = ledger(4)
    nonces = [H(b"nonce", u(i, 4)) for i in range(5)]
    make = lambda **changed: receipt(**{**dict(keys=keys, set_=set_, head=head, nonces=nonces, place=2, signers=[0, 2]), **changed})
    refused = [
        ["Version", make(version=2)], ["Height", make(height=2**48)], ["Count", make(count=0)], ["Count", make(count=2**16 + 1)],
        ["Place", make(count=2)],
        ["Votes(TooFew)", make(signers=[1])],
        # Signed as another kind of statement, and by the same keys in another role.
        ["Votes(Signature)", make(kind=0x200)], ["Votes(Signature)", make(purpose=65)],
        ["Votes(SetSize)", make(keys=keys + [Key("vote 4 4")])],
        ["Anchor(Epoch)", make(epoch=4)], ["Anchor(Set)", make(set_=ledger(7)[1])],
        # As high as the floor, with another header there.
        ["Anchor(Fork)", make(height=40)],
        ["Nonce", make(place=3)],
    ]

    # A courier's tree: its root is what validators have as a nonce.
    carried = []
    for count, places in ((1, [0]), (2, [0, 1]), (5, range(5)), (300, [0, 255, 256, 299])):
        asked = [H(b"a device", u(i, 4)) for i in range(count)]
        for place in places:
            among = nonces[:2] + [tree(asked)] + nonces[2:]
            carried.append({"nonce": asked[place], "root": tree(asked),
                            "branch": u(count, 4) + u(place, 4) + b"".join(path(place, asked)),
                            "receipt": make(nonces=among, place=2)})
    branches = [["Count", u(0, 4) + u(0, 4)], ["Count", u(2**16 + 1, 4) + u(0, 4)], ["Place", u(2, 4) + u(2, 4) + H(b"")],
                ["Wire(Short)", u(2, 4) + u(1, 4)], ["Wire(Trailing)", u(1, 4) + u(0, 4) + H(b"")]]
    value = {
        "warning": "the keys of these vectors are derived from their labels: never use them",
        "chain": chain, "good": good, "set": set_, "anchor": anchor, "nonce": nonces[2],
        "refused": refused, "carried": carried, "refused branches": branches,
    }
    with open("freshness.json", "w") as f:
        json.dump(value, f, indent=1, default=bytes.hex)
        f.write("\n")


if __name__ == "__main__":
    main()
