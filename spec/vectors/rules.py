#!/usr/bin/env python3
"""Writes rules.json: an independent reading of firmware.md, "Rules of the walk".

Run: python3 rules.py (in this directory); the result is checked in.
"""
import hashlib, json, re


def head(major, number):
    for info, size, limit in ((number, 0, 24), (24, 1, 2**8), (25, 2, 2**16), (26, 4, 2**32), (27, 8, 2**64)):
        if number < limit:
            return bytes([major << 5 | info]) + (number.to_bytes(size, "big") if size else b"")


def cbor(value):
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    return head(4, len(value)) + b"".join(map(cbor, value))


def one(name="cam-a", paths=("etc", "usr"), excluded=("etc/*.cache", "var")):
    return [name, list(paths), list(excluded)]


good = [
    [1, [one()]], [1, [one(paths=[""], excluded=[])]], [1, [one("cam-a"), one("cam-b", ["x"], [])]],
    [1, [one(paths=["a b", "a%0Ab", "a-b", "a/b", "b" * 256], excluded=["*", "*/*", "a/**/b", "c" * 256])]],
    [1, [one("t", [f"p{j:02}" for j in range(64)], [f"q{j:02}" for j in range(64)])] + [one(f"t{i:02}") for i in range(31)]],
]
refused = [
    ("Version", [2, [one()]]), ("Version", [0, [one()]]),
    ("Label", [1, [one("")]]), ("Label", [1, [one(".")]]), ("Label", [1, [one("a" * 65)]]),
    ("Path", [1, [one(paths=["/etc"])]]), ("Path", [1, [one(paths=["etc/"])]]), ("Path", [1, [one(paths=["a//b"])]]),
    ("Path", [1, [one(paths=[".."])]]), ("Path", [1, [one(paths=["a/../b"])]]), ("Path", [1, [one(paths=["a/./b"])]]),
    ("Path", [1, [one(paths=["", "etc"])]]), ("Path", [1, [one(paths=["a" * 257])]]), ("Path", [1, [one(paths=["%41"])]]),
    ("Path", [1, [one(paths=["\u6954"])]]), ("Path", [1, [one(excluded=[""])]]), ("Path", [1, [one(excluded=["../*"])]]),
    ("Path", [1, [one(excluded=["/var"])]]), ("Path", [1, [one(excluded=["a" * 257])]]),
    ("Order", [1, [one(paths=["usr", "etc"])]]), ("Order", [1, [one(paths=["etc", "etc"])]]),
    ("Order", [1, [one(excluded=["b", "a"])]]), ("Order", [1, [one("b"), one("a")]]), ("Order", [1, [one(), one()]]),
    ("Nested", [1, [one(paths=["etc", "etc/x"])]]), ("Nested", [1, [one(paths=["a", "a-b", "a/b"])]]),
    ("Cbor(OutOfBounds)", [1, []]), ("Cbor(OutOfBounds)", [1, [one(paths=[])]]),
    ("Cbor(OutOfBounds)", [1, [one(paths=[f"{i:02}" for i in range(65)])]]),
    ("Cbor(OutOfBounds)", [1, [one(excluded=[f"{i:02}" for i in range(65)])]]),
    ("Cbor(OutOfBounds)", [1, [one(f"t{i:02}") for i in range(33)]]),
    ("Cbor(ArrayLength)", [1, [one()], 0]), ("Cbor(ArrayLength)", [1, [one() + [0]]]), ("Cbor(Type)", 1),
    ("TooLong", [1, [one(f"t{i:02}", [f"{j:02}" + "p" * 200 for j in range(20)], []) for i in range(32)]]),
    ("Cbor(", cbor([1, [one()]])[:-1]), ("Cbor(", cbor([1, [one()]]) + b"\0"), ("Cbor(", b""),
    ("Cbor(", b"\x82\x18\x01" + cbor([one()])),
]


def matches(pattern, name):
    expression = "".join("[^/]*" if c == "*" else re.escape(c) for c in pattern)
    return re.fullmatch(expression, name, re.DOTALL) is not None


patterns = ["a", "*", "a/*", "*/b", "a*", "*a", "a*b", "*a*", "a*b*c", "a/*/c", "**", "a**b", "*.cache", "etc/*.cache", "x*x*x", "a/b%0A*"]
names = ["a", "b", "ab", "ba", "aab", "abab", "abc", "abbc", "axbxc", "a/b", "a/c", "a/b/c", "a//c", "b/b", "etc/x.cache", "etc/.cache",
         "etc/d/x.cache", "x", "xx", "xxx", "xaxbx", "a/b%0A", "a/b%0Ac", "a*b", "", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaab"]
value = {
    "rules": [{"bytes": cbor(rules), "types": [{"type": t, "paths": p, "excluded": e} for t, p, e in rules[1]]} for rules in good],
    "refused": [{"error": error, "bytes": rules if isinstance(rules, bytes) else cbor(rules)} for error, rules in refused],
    "patterns": [{"pattern": pattern, "names": [name for name in names if matches(pattern, name)]} for pattern in patterns],
    "names": names,
}
with open("rules.json", "w") as file:
    json.dump(value, file, indent=1, default=bytes.hex)
    file.write("\n")
