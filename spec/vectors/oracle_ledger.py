#!/usr/bin/env python3
"""Writes rows.json and transactions.json: an independent reading of ledger.md.

It shares no code with the Rust crates and uses the standard library alone. The signatures are arbitrary bytes: decoding
does not verify them.
Run: python3 oracle_ledger.py (in this directory); the result is checked in.
"""
import hashlib, json


def H(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def u(size, value):
    return value.to_bytes(size, "big")


def pad(row):
    assert len(row) <= 192
    return row + bytes(192 - len(row))


def state_key(kind, name):
    return H(b"kusabi.state.v1", u(1, kind), name)


ED25519 = bytes.fromhex("1b853d683ec6bb1281289654aa9df8284fda6a8ae75d025ee71c8d0340613959")
X25519 = u(1, 9) + bytes(31)
NAME = b"cameras"
ORG = H(b"kusabi.org.v1", NAME)[:16]
FIRST = H(b"kusabi.org.v1", b"first")[:16] + bytes(16)
HANDLE, OTHER, DIGEST = H(b"handle"), H(b"other handle"), H(b"digest")
CHAIN, BINDING, METADATA = H(b"chain"), H(b"binding")[:16], H(b"metadata")


def record(purpose=2, suite=1, status=1, reason=0, version=1, registered=10, ended=0, since=0, keys=None,
           predecessor=bytes(32), tail=bytes(2)):
    keys = ED25519 + X25519 + bytes(2) if keys is None else keys
    return b"".join([u(1, 1), u(1, 1), u(1, purpose), u(1, suite), u(1, status), u(1, reason), u(4, version),
                     u(6, registered), u(6, ended), u(6, since), ORG, keys, predecessor, BINDING, METADATA, tail])


FOREIGN = u(1, 1) + u(2, 294) + DIGEST + bytes(31)
def ledger(ends):
    return pad(u(1, 7) + u(1, 1) + u(4, 2) + u(8, 3) + H(b"set") + H(b"recovery") + u(6, 4000) + ends)


def organisation(end):
    return pad(u(1, 2) + u(1, 1) + u(4, 3) + ORG + u(1, len(NAME)) + NAME.ljust(32, b"\0") + u(1, 2) + u(1, 3) + u(6, 4)
               + u(6, 5) + u(6, 2**48 - 1) + u(6, 7) + u(4, 16) + u(4, 16) + end)


def seats(*numbers):
    return bytes(sum(1 << n % 8 for n in numbers if n // 8 == byte) for byte in range(32))


def members(version=1, given=1, heartbeat=1000, longest=60000, seats=b"\1" + bytes(31), newest=bytes(32)):
    return pad(u(1, 8) + u(1, 1) + u(4, version) + u(2, given) + u(4, heartbeat) + u(4, longest) + seats + newest)


def proposal(proposed=20, carried=0, expires=2**41, identifier=DIGEST, previous=bytes(32), yes=bytes(32), no=bytes(32)):
    return pad(u(1, 9) + u(1, 1) + u(6, proposed) + u(6, carried) + u(6, expires) + ORG + identifier + previous + yes + no)


rows = [
    ("active record", 1, HANDLE, record()),
    ("spent record", 1, HANDLE, record(purpose=1, status=2, version=2, ended=11)),
    ("superseded record", 1, HANDLE, record(status=3, version=2, ended=2**48 - 1, predecessor=OTHER)),
    ("revoked record", 1, HANDLE, record(status=4, reason=2, version=2, ended=11)),
    ("compromised record", 1, HANDLE, record(status=4, reason=1, version=3, ended=11, since=5)),
    ("foreign record", 1, HANDLE, record(suite=15, keys=FOREIGN)),
    ("organisation", 2, ORG, pad(u(1, 2) + u(1, 1) + u(4, 3) + ORG + u(1, len(NAME)) + NAME.ljust(32, b"\0") + u(1, 2)
                                 + u(1, 3) + u(6, 4) + u(6, 5) + u(6, 2**48 - 1) + u(6, 7) + u(4, 16) + u(4, 16))),
    ("art policy", 3, ORG, pad(u(1, 3) + u(1, 1) + u(4, 1) + ORG + u(1, 2) + u(1, 3))),
    ("release", 4, ORG + DIGEST, pad(u(1, 4) + u(1, 1) + u(4, 1) + ORG + DIGEST + u(1, 1) + u(6, 8) + u(6, 0)
                                     + u(8, 2**64 - 1))),
    ("withdrawn release", 4, ORG + DIGEST, pad(u(1, 4) + u(1, 1) + u(4, 2) + ORG + DIGEST + u(1, 2) + u(6, 8) + u(6, 9)
                                               + u(8, 0))),
    ("anchor", 5, DIGEST, pad(u(1, 5) + u(1, 1) + u(1, 2) + u(1, 0) + u(6, 9) + ORG + HANDLE + DIGEST)),
    ("blob part", 6, DIGEST + u(2, 258), pad(u(1, 6) + u(1, 1) + u(1, 160) + u(1, 0) + bytes([7]) * 160)),
    ("short blob part", 6, DIGEST + u(2, 0), pad(u(1, 6) + u(1, 1) + u(1, 1) + u(1, 0) + bytes([7]))),
    ("ledger", 7, b"", pad(u(1, 7) + u(1, 1) + u(4, 2) + u(8, 3) + H(b"set") + H(b"recovery") + u(6, 4000))),
    ("ledger of an epoch that ends", 7, b"", ledger(u(6, 5000) + H(b"next set"))),
    ("record that moved", 1, HANDLE, record(version=3, predecessor=FIRST, tail=b"\2\1")),
    ("record that moved and came back", 1, HANDLE, record(version=3, predecessor=ORG + bytes(16), tail=b"\2\1")),
    ("record that follows and moved", 1, HANDLE, record(version=2, predecessor=OTHER, tail=b"\1\0")),
    ("spent record that moved", 1, HANDLE,
     record(purpose=1, status=2, version=3, ended=11, predecessor=FIRST, tail=b"\1\1")),
    ("member", 2, ORG, organisation(u(2, 256) + u(6, 0) + u(6, 0) + u(6, 2**41))),
    ("frozen guest", 2, ORG, organisation(u(2, 0) + u(6, 0) + u(6, 2**41))),
    ("removed organisation", 2, ORG, organisation(u(2, 0) + u(6, 77) + u(6, 0))),
    ("members", 8, b"", members(given=256, seats=seats(0, 9, 255), newest=DIGEST)),
    ("members of a new ledger", 8, b"", members()),
    ("proposal", 9, DIGEST, proposal(yes=seats(1), no=seats(200), previous=H(b"previous"))),
    ("carried proposal", 9, DIGEST, proposal(carried=20, yes=seats(0, 1))),
]
bad_rows = [
    ("Kind", pad(u(1, 10) + u(1, 1))),
    ("Version", pad(u(1, 3) + u(1, 2) + u(4, 1) + ORG + u(1, 2) + u(1, 3))),
    ("Reserved", record(version=2, predecessor=FIRST[:31] + b"\1", tail=b"\1\1")),
    ("Value", record(version=2, predecessor=FIRST, tail=b"\1\2")),
    ("Contradiction", record(tail=b"\0\1")),
    ("Contradiction", record(predecessor=FIRST, tail=b"\0\1")),
    ("Contradiction", record(version=2, tail=b"\1\0")),
    ("Value", record(purpose=64)),
    ("Value", record(suite=3)),
    ("Value", record(status=0)),
    ("Value", record(reason=5)),
    ("Key", record(keys=ED25519 + X25519 + b"\0\1")),
    ("Key", record(keys=ED25519 + bytes(34))),
    ("Contradiction", record(ended=11)),
    ("Contradiction", record(since=11)),
    ("Contradiction", record(reason=1)),
    ("Contradiction", record(registered=0)),
    ("Contradiction", record(status=2, version=2, ended=11)),
    *(("Contradiction", record(purpose=purpose, status=3, version=2, ended=11)) for purpose in (1, 3, 4, 5, 6, 7)),
    ("Contradiction", record(status=4, version=2, ended=9)),
    ("Contradiction", record(status=4, version=3, ended=11)),
    ("Contradiction", ledger(u(6, 5000) + bytes(32))),
    ("Contradiction", ledger(u(6, 0) + H(b"next set"))),
    ("Contradiction", record(version=2)),
    ("Contradiction", record(predecessor=FIRST, tail=b"\1\1")),
    ("Contradiction", record(purpose=8, version=2, predecessor=FIRST, tail=b"\1\1")),
    ("Value", organisation(u(2, 257) + u(6, 0) + u(6, 0))),
    ("Contradiction", organisation(u(2, 1) + u(6, 77) + u(6, 0))),
    ("Contradiction", members(seats=bytes(32))),
    ("Contradiction", members(seats=seats(1))),
    ("Contradiction", members(given=257, seats=seats(0))),
    ("Contradiction", members(given=17, seats=seats(*range(17)))),
    ("Contradiction", members(heartbeat=0)),
    ("Contradiction", members(heartbeat=60001)),
    ("Contradiction", members(version=0)),
    ("Contradiction", proposal(proposed=0)),
    ("Contradiction", proposal(carried=19)),
    ("Contradiction", proposal(identifier=bytes(32))),
    ("Contradiction", proposal(yes=seats(3), no=seats(3))),
]


def head(major, number):
    for info, size, limit in ((number, 0, 24), (24, 1, 2**8), (25, 2, 2**16), (26, 4, 2**32), (27, 8, 2**64)):
        if number < limit:
            return u(1, major << 5 | info) + u(size, number) if size else u(1, major << 5 | info)


def cbor(value):
    if value is None:
        return b"\xf6"
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value)) + value.encode()
    return head(4, len(value)) + b"".join(map(cbor, value))


def entry(handle, purpose, metadata=None):
    return [handle, purpose, 1, ED25519 + X25519, BINDING, metadata]


LOW, HIGH = sorted([HANDLE, OTHER])
OTHER_ORG = H(b"kusabi.org.v1", b"newcomer")[:16]
SIGNATURE = bytes([6]) * 64
P256_G = bytes.fromhex("036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296")  # SEC 2: the base point
OFFICERS = [entry(LOW, 6), [HIGH, 6, 2, P256_G + P256_G, BINDING, None]]
ADMIT = [0, "newcomer", 2, [[officer, SIGNATURE] for officer in OFFICERS], 1000, 1]


def proposed(*acts, expires=2**41):
    return cbor([1, ORG, expires, list(acts)])


EVERY = proposed(ADMIT, [1, H(b"1")[:16]], [2, H(b"2")[:16]], [3, H(b"3")[:16], 2**48 - 1], [4, H(b"4")[:16]],
                 [5, H(b"5")[:16]], [6, 1000])
SPKI = bytes([1]) + bytes(range(200))
actions = [
    [0, b"document", [entry(HIGH, 6), entry(LOW, 6)]],
    [1, ORG, [entry(LOW, 1), [HIGH, 8, 15, SPKI, BINDING, METADATA]]],
    [2, ORG, [LOW, 1], entry(HIGH, 2)],
    [3, ORG, [LOW, 1], entry(HIGH, 8, METADATA)],
    [4, ORG, [[LOW, 1], [HIGH, 2]], 1, 2**48 - 1, 16],
    [4, ORG, [[LOW, 2**32 - 1]], 0, None, 1],
    [5, ORG, 300, entry(LOW, 5)],
    [6, ORG, [LOW, 1]],
    [7, ORG, 0, 1, [entry(LOW, 3)], [], 2],
    [7, ORG, 70000, 8, [], [[LOW, 1]], 16],
    [8, ORG, 1, DIGEST, 2**64 - 1],
    [9, ORG, DIGEST, 1],
    [10, ORG, 1, DIGEST],
    [11, bytes(300), bytes(40)],
    [12, ORG, bytes(90), bytes(400), bytes(60)],
    [13, bytes(90), bytes(500), bytes(60)],
    [14, EVERY],
    [15, ORG, 0, proposed([6, 3600000]), 1],
    [15, ORG, 255, proposed([4, ORG]), 0],
    [16, ORG, 70000, 15],
    [17, ORG, OTHER_ORG, [[LOW, 1], [HIGH, 2]]],
]


def transaction(action, signers=()):
    return cbor([1, CHAIN, action, [[handle, bytes([n]) * 64] for n, handle in enumerate(signers)]])


good = []
for action in actions:
    signers = [] if action[0] in (11, 13) else [LOW, HIGH]
    data = transaction(action, signers)
    statement = b"kusabi.statement.v1" + CHAIN + LOW + u(1, 5) + u(2, 0x100 + action[0]) + H(cbor(action))
    good.append({"code": action[0], "bytes": data.hex(), "id": H(b"kusabi.tx.v1", data).hex(),
                 "statement": statement.hex()})

plain = actions[7]
bad_transactions = [
    ("Cbor", transaction(plain) + b"\0"),
    ("NotCanonical", b"\x98\x04" + transaction(plain)[1:]),
    ("Cbor", cbor([1, CHAIN, plain])),
    ("Cbor", transaction([6, ORG, [LOW, 1], 0])),
    ("Version", cbor([2, CHAIN, plain, []])),
    ("Action", transaction([18, ORG])),
    ("Cbor", transaction([14, ORG])),
    ("Cbor", transaction([14, EVERY + b"\0"])),
    ("Cbor", transaction([14, ORG, EVERY])),
    ("NotCanonical", transaction([14, b"\x98\x04" + EVERY[1:]])),
    ("Version", transaction([14, cbor([2, ORG, 1, [[6, 1000]]])])),
    ("Value", transaction([14, proposed([6, 1000], expires=2**48)])),
    ("Count", transaction([14, proposed()])),
    ("Count", transaction([14, proposed(*([1, H(u(1, n))[:16]] for n in range(9)))])),
    ("Order", transaction([14, proposed([1, ORG], [4, ORG])])),
    ("Order", transaction([14, proposed([6, 1000], [6, 2000])])),
    ("Order", transaction([14, proposed(ADMIT, [4, OTHER_ORG])])),
    ("Action", transaction([14, proposed([7, ORG])])),
    ("Cbor", transaction([14, proposed([1, ORG, 1])])),
    ("Value", transaction([14, proposed([6, 999])])),
    ("Value", transaction([14, proposed([3, ORG, 2**48])])),
    ("Value", transaction([14, proposed([0, "Newcomer", *ADMIT[2:]])])),
    ("Value", transaction([14, proposed([0, "newcomer", 3, *ADMIT[3:]])])),
    ("Value", transaction([14, proposed([0, "newcomer", 0, *ADMIT[3:]])])),
    ("Count", transaction([14, proposed([0, "newcomer", 1, [], 1000, 1])])),
    ("Order", transaction([14, proposed([0, "newcomer", 1, ADMIT[3][::-1], 1000, 1])])),
    ("Purpose", transaction([14, proposed([0, "newcomer", 1, [[entry(LOW, 5), SIGNATURE]], 1000, 1])])),
    ("Value", transaction([14, proposed([*ADMIT[:5], 2])])),
    ("Order", transaction([14, proposed(ADMIT, [0, "second", 1, [[entry(LOW, 6), SIGNATURE]], 1000, 1])])),
    ("Order", transaction([14, proposed(ADMIT, [0, "second", 1, [[entry(H(b"third"), 6), SIGNATURE]], 1000, 0])])),
    ("Order", transaction([14, proposed([0, "newcomer", 1, [[entry(LOW, 6), SIGNATURE], [entry(HIGH, 6), SIGNATURE]], 1000, 1])])),
    ("Order", transaction([14, proposed([0, "newcomer", 1, [
        [entry(LOW, 6), SIGNATURE], [[HIGH, 6, 1, ED25519 + bytes(32), BINDING, None], SIGNATURE]], 1000, 1])])),
    ("Cbor", transaction([15, ORG, EVERY, 1])),
    ("Value", transaction([15, ORG, 256, EVERY, 1])),
    ("Value", transaction([15, ORG, 0, EVERY, 2])),
    ("Value", transaction([16, ORG, 1, 0])),
    ("Value", transaction([16, ORG, 1, 16])),
    ("Value", transaction([17, ORG, ORG, [[LOW, 1]]])),
    ("Count", transaction([17, ORG, OTHER_ORG, []])),
    ("Order", transaction([17, ORG, OTHER_ORG, [[HIGH, 1], [LOW, 1]]])),
    ("Zero", transaction([17, ORG, OTHER_ORG, [[LOW, 0]]])),
    ("Cbor", transaction([12, ORG, bytes(90), bytes(400)])),
    ("Count", transaction(actions[15], [LOW])),
    ("Count", transaction([1, ORG, []])),
    ("Count", transaction(plain, [H(u(1, n)) for n in range(81)])),
    ("Count", transaction(actions[13], [LOW])),
    ("Order", transaction(plain, [HIGH, LOW])),
    ("Order", transaction(plain, [LOW, LOW])),
    ("Order", transaction([1, ORG, [entry(LOW, 1), entry(LOW, 2)]])),
    ("Purpose", transaction([1, ORG, [entry(LOW, 5)]])),
    ("Purpose", transaction([5, ORG, 1, entry(LOW, 3)])),
    *(("Purpose", transaction([3, ORG, [LOW, 1], entry(HIGH, purpose)])) for purpose in (1, 3, 4, 5, 6, 7)),
    ("Suite", transaction([1, ORG, [[LOW, 1, 15, SPKI, BINDING, None]]])),
    ("Suite", transaction([2, ORG, [LOW, 1], [HIGH, 2, 15, SPKI, BINDING, None]])),
    ("Key", transaction([1, ORG, [[LOW, 1, 1, bytes(65), BINDING, None]]])),
    ("Key", transaction([1, ORG, [[LOW, 1, 2, bytes(64), BINDING, None]]])),
    ("Key", transaction([1, ORG, [[LOW, 8, 15, bytes([4]) * 50, BINDING, None]]])),
    ("Key", transaction([1, ORG, [[LOW, 8, 15, bytes([3]) * 45, BINDING, None]]])),
    ("Key", transaction([1, ORG, [[LOW, 8, 15, bytes([2]) * 92, BINDING, None]]])),
    ("Zero", transaction([6, ORG, [LOW, 0]])),
    ("Zero", transaction([6, ORG, [bytes(32), 1]])),
    ("Zero", transaction([1, ORG, [entry(LOW, 1, bytes(32))]])),
    ("Value", transaction([4, ORG, [[LOW, 1]], 4, None, 1])),
    ("Value", transaction([4, ORG, [[LOW, 1]], 0, 2**48, 1])),
    ("Value", transaction([7, ORG, 0, 9, [], [], 1])),
    ("Value", transaction([4, ORG, [[LOW, 1]], 0, None, 0])),
    ("Value", transaction([4, ORG, [[LOW, 1]], 0, None, 17])),
    ("Value", transaction([7, ORG, 0, 1, [], [], 0])),
    ("Value", transaction([7, ORG, 0, 1, [], [], 17])),
    ("Cbor", transaction([4, ORG, [[LOW, 1]], 0, None])),
    ("Cbor", transaction([7, ORG, 0, 1, [], []])),
    ("Value", transaction([10, ORG, 3, DIGEST])),
    ("TooLong", bytes(2**20 + 1)),
]


# Of the form that the format asks for, but with a point that is none or of small order: they decode, and go no further.
P256_NO_POINT = b"\x02" + b"\xff" * 32          # x is not below p
SPKI_ED25519 = bytes.fromhex("302a300506032b6570032100")                                      # RFC 8410
SPKI_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")             # RFC 5480
unkeyed = [
    transaction([1, ORG, [[HIGH, purpose, suite, keys, BINDING, None]]], [LOW])
    for purpose, suite, keys in [
        (1, 1, bytes(32) + X25519),                             # Ed25519: order 4
        (1, 1, u(1, 1) + bytes(31) + X25519),                   # Ed25519: the neutral element
        (1, 1, u(1, 2) + bytes(31) + X25519),                   # Ed25519: no point has this y
        (1, 1, ED25519 + bytes(32)),                            # X25519: order 2
        (1, 2, P256_NO_POINT + P256_G),
        (1, 2, P256_G + P256_NO_POINT),
        (1, 2, b"\x04" + P256_G[1:] + P256_G),                  # no tag of a compressed point
        (8, 15, u(1, 3) + SPKI_ED25519 + bytes(32)),
        (8, 15, u(1, 2) + SPKI_P256 + b"\x04" + P256_G[1:] + bytes(32)),
    ]
]


def refused(cases):
    # The one that is long for its length alone is written as its length.
    return [{"error": error, "zeros": len(data)} if len(data) > 100000 else {"error": error, "bytes": data.hex()}
            for error, data in cases]


def write(name, content):
    with open(name, "w") as file:
        json.dump(content, file, indent=1)
        file.write("\n")


write("rows.json", {
    "rows": [{"name": name, "key": state_key(kind, key).hex(), "kind": kind, "key_name": key.hex(), "bytes": row.hex()}
             for name, kind, key, row in rows],
    "refused": refused(bad_rows),
})
WISH = cbor([1, "newcomer", 2, OFFICERS])
write("transactions.json", {"proposal": {"bytes": EVERY.hex(), "id": H(b"kusabi.proposal.v1", EVERY).hex(),
                                         "officer": LOW.hex(),
                                         "admission": (b"kusabi.statement.v1" + CHAIN + LOW + u(1, 6) + u(2, 0x204)
                                                       + H(WISH)).hex()},
                            "chain": CHAIN.hex(), "signer": LOW.hex(), "purpose": 5, "transactions": good,
                            "refused": refused(bad_transactions), "unkeyed": [data.hex() for data in unkeyed]})
