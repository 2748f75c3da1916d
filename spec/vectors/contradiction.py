#!/usr/bin/env python3
"""Writes contradiction.json: an independent reading of contradiction.md.

It shares no code with the Rust crates. All private keys here are test vectors: never use them.
Run: python3 contradiction.py (in this directory); the result is checked in.
"""
import json
from trust import H, Key, certificate, epoch_set, finalize_message, header, header_hash, set_hash, signatories, u


def head(major, number):
    for info, size, limit in ((number, 0, 24), (24, 1, 2**8), (25, 2, 2**16), (26, 4, 2**32), (27, 8, 2**64)):
        if number < limit:
            return u(major << 5 | info, 1) + (u(number, size) if size else b"")


def cbor(value):
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    return head(4, len(value)) + b"".join(map(cbor, value))


NAMES = [b"acme", b"beta", b"corp", b"delta"]
IDS = {name: H(b"kusabi.org.v1", name)[:16] for name in NAMES}
OFFICERS = {name: Key(f"officer {name}") for name in NAMES}
VOTES = [{name: Key(f"vote {epoch} {name}") for name in NAMES} for epoch in range(2)]
OTHER_VOTES = {name: Key(f"other vote 1 {name}") for name in NAMES}
RECOVERY = [Key("recovery 0"), Key("recovery 1")]
RECOVERY_SET = signatories(1, RECOVERY)


def set_of(epoch, votes):
    return epoch_set(epoch, [(IDS[n], 1, [OFFICERS[n]]) for n in NAMES], [(votes[n], IDS[n]) for n in NAMES])


SETS = [set_of(epoch, votes) for epoch, votes in enumerate(VOTES)]
OTHER_SET = set_of(1, OTHER_VOTES)
DOCUMENT = cbor([1, "vectors", 1_700_000_000_000, [60_000], SETS[0], RECOVERY_SET,
                 [[n.decode(), 1_000] for n in sorted(NAMES, key=IDS.get)],
                 [[Key(f"node {i}").public, ""] for i in range(4)]])
CHAIN = H(b"kusabi.genesis.v1", DOCUMENT)


def quorum(votes, names, sign):
    order = sorted(votes.values(), key=lambda k: k.public)
    return certificate(order, sorted(order.index(votes[n]) for n in names), sign)


def block(height, fork, view, names, epoch=0):
    h = header(height, H(b"root"), H(b"ops"), 1, epoch, SETS[epoch], view, H(b"parent", fork))
    message = finalize_message(CHAIN, epoch, view, view - 1, header_hash(CHAIN, h))
    votes = quorum(VOTES[epoch], names, lambda k: k.private.sign(message))
    return header_hash(CHAIN, h), b"\0" + u(1, 1) + h + u(view, 8) + u(view - 1, 8) + votes


def handover(next_set, height, last, names):
    appointed = b"\x01" + u(0, 8) + set_hash(SETS[0]) + H(b"kusabi.appointed.nodes.v1", b"nodes") + u(len(next_set), 2) + next_set
    payload = appointed + u(height, 8) + last
    orgs = sorted(NAMES, key=IDS.get)[:3]
    officers = u(3, 1) + b"".join(u(i, 1) + u(0, 1) + OFFICERS[n].state(CHAIN, 6, 0x202, appointed) for i, n in enumerate(orgs))
    return b"\1" + payload + quorum(VOTES[0], names, lambda k: k.state(CHAIN, 64, 0x200, payload)) + officers


def recovery(next_set, signer):
    payload = b"\x01" + u(100, 8) + u(4, 8) + H(b"last") + H(b"nodes") + u(len(next_set), 2) + next_set
    order = sorted(RECOVERY, key=lambda k: k.encoded)
    return b"\2" + payload + RECOVERY_SET + u(1, 1) + u(order.index(signer), 1) + signer.state(CHAIN, 66, 0x201, payload)


def evidence(steps, one, other, version=1, chain=CHAIN, document=DOCUMENT):
    return cbor([version, chain, document, steps, sorted([one, other])])


def main():
    abc, bcd = NAMES[:3], NAMES[1:]
    last, seven = block(5, b"", 5, abc)[0], block(7, b"", 7, abc)[1]
    other = block(7, b"fork", 7, bcd)[1]
    walked = handover(SETS[1], 5, last, abc)
    good = [
        ("blocks", 0, bcd[:2], True, evidence([], seven, other)),
        ("blocks", 0, abc, True, evidence([], seven, block(7, b"fork", 7, abc)[1])),
        ("blocks", 0, bcd[:2], False, evidence([], seven, block(7, b"fork", 9, bcd)[1])),
        ("blocks", 1, bcd[:2], True, evidence([walked], block(7, b"", 7, abc, 1)[1], block(7, b"fork", 7, bcd, 1)[1])),
        ("steps", 0, bcd[:2], True, evidence([], walked, handover(OTHER_SET, 5, last, bcd))),
        ("steps", 0, bcd[:2], True, evidence([], walked, handover(SETS[1], 8, H(b"a later last"), bcd))),
        ("steps", 0, [], True, evidence([], recovery(SETS[1], RECOVERY[0]), recovery(OTHER_SET, RECOVERY[1]))),
        ("steps", 0, [], False, evidence([], walked, recovery(SETS[1], RECOVERY[0]))),
        ("beyond-end", 0, bcd[:2], False, evidence([], walked, block(6, b"", 6, bcd)[1])),
        ("beyond-end", 0, bcd[:2], False, evidence([], walked, block(5, b"fork", 6, bcd)[1])),
    ]
    pair = sorted([seven, other])
    refused = [
        ("Cbor", cbor([1, CHAIN, DOCUMENT, []])),
        ("Cbor", evidence([], seven, other) + b"\0"),
        ("Version", evidence([], seven, other, version=2)),
        ("Order", cbor([1, CHAIN, DOCUMENT, [], pair[::-1]])),
        ("Order", cbor([1, CHAIN, DOCUMENT, [], [seven, seven]])),
        ("OtherChain", evidence([], seven, other, chain=H(b"another"))),
        ("Verify", evidence([], seven, other, document=DOCUMENT[:-1] + b"\1")),
        # Two of four sign; a set that the steps do not lead to; a step that two sign.
        ("Verify", evidence([], seven, block(7, b"fork", 7, abc[:2])[1])),
        ("Verify", evidence([walked], seven, other)),
        ("Verify", evidence([handover(SETS[1], 5, last, abc[:2])], block(7, b"", 7, abc, 1)[1], block(7, b"fork", 7, bcd, 1)[1])),
        ("NoContradiction", evidence([], seven, block(7, b"", 7, bcd)[1])),
        ("NoContradiction", evidence([], seven, block(8, b"", 8, bcd)[1])),
        ("NoContradiction", evidence([], walked, block(5, b"", 5, bcd)[1])),
        ("NoContradiction", evidence([], walked, handover(SETS[1], 5, last, bcd))),
        ("NoContradiction", evidence([], recovery(SETS[1], RECOVERY[0]), block(200, b"", 200, bcd)[1])),
    ]
    value = {
        "warning": "the keys of these vectors are derived from their labels: never use them",
        "chain": CHAIN,
        "good": [{"kind": k, "epoch": e, "signed both": [n.decode() for n in both], "by itself": by, "bytes": b}
                 for k, e, both, by, b in good],
        "refused": [{"error": error, "bytes": b} for error, b in refused],
    }
    with open("contradiction.json", "w") as f:
        json.dump(value, f, indent=1, default=bytes.hex)
        f.write("\n")


if __name__ == "__main__":
    main()
