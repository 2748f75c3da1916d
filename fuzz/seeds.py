#!/usr/bin/env python3
"""Writes corpus/<target>/: what the fuzz targets begin with, taken from spec/vectors.

Without it most targets reach the decoders' first refusals only. What is refused in the vectors goes in too: it lies next to what
is not. Needs nothing but Python; run it again after the vectors have changed.
"""
import hashlib
import io
import json
import pathlib
import struct
import tarfile

HERE = pathlib.Path(__file__).parent
VECTORS = HERE.parent / "spec" / "vectors"
ARTIFACTS = HERE.parent / "crates" / "mender" / "tests" / "data"


def vectors(name):
    return json.loads((VECTORS / f"{name}.json").read_text())


def hexes(value, *keys):
    """The bytes under these keys of every object inside."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in keys and isinstance(inner, str):
                yield bytes.fromhex(inner)
            else:
                yield from hexes(inner, *keys)
    elif isinstance(value, list):
        for inner in value:
            yield from hexes(inner, *keys)


def parts(fixed, *slices):
    """As the crate `arbitrary` takes a tuple apart: fixed fields, then slices, all but the last with their length at the end."""
    rest, lengths = b"", b""
    # The first slice's length stands last; each counts how much there is without its own bytes.
    for data in reversed(slices):
        if data is slices[-1]:
            rest = data
            continue
        body = data + rest
        size = 1 if len(body) + 1 <= 256 else 2
        rest = body + len(data).to_bytes(size, "big")
    return fixed + rest + lengths


def string(cbor):
    """The byte string that some CBOR begins with."""
    assert cbor[0] >> 5 == 2
    code = cbor[0] & 31
    size = {24: 1, 25: 2, 26: 4}.get(code, 0)
    length = int.from_bytes(cbor[1:1 + size], "big") if size else code
    return cbor[1 + size:1 + size + length]


def genesis_documents(transactions):
    """[1, chain, [0, document, …], …]"""
    for transaction in transactions:
        if transaction["code"] == 0:
            # Array, version, chain; array, action; document.
            yield string(bytes.fromhex(transaction["bytes"])[2 + 2 + 32 + 2:])


def short(text):
    return bytes([len(text)]) + text


def provisioning(trust, identity, device):
    """Bodies of provisioning files (spec/device-protocol.md)."""
    own = bytes.fromhex(trust["anchor"])
    suites = {1: [], 2: []}
    for case in identity["suites"]:
        suites[case["suite"]].append(bytes.fromhex(case["keys"]))
    for index, epoch_set in enumerate(map(bytes.fromhex, trust["epoch sets"])):
        anchor = [own, bytes.fromhex(trust["after handover"])][min(index, 1)]
        for suite, keys in suites.items():
            for count in (1, 4):
                server = bytes.fromhex(device["cases"][0]["server_handle"]) + bytes([suite]) + keys[0]
                server += short(b"https://kusabi.example:8443/door")
                body = anchor + struct.pack(">H", len(epoch_set)) + epoch_set
                body += bytes.fromhex(device["cases"][0]["org"]) + bytes([count == 4])
                body += short("セリアル 7".encode()) + bytes([count]) + server * count
                yield body + b"\0"
                yield body + bytes([1, 1, suite]) + bytes(range(16)) + bytes(range(32))


def corpus():
    identity, device, trust = vectors("identity"), vectors("device"), vectors("trust")
    firmware, rows, evidence = vectors("firmware"), vectors("rows"), vectors("evidence")
    transactions, statements = vectors("transactions"), vectors("statements")
    freshness, contradiction = vectors("freshness"), vectors("contradiction")
    quarter = bytes(36)
    epoch_sets = [bytes.fromhex(one) for one in trust["epoch sets"] + [firmware["epoch set"]]]
    proofs = list(hexes(firmware["proofs"], "proof"))

    for one in identity["ids"]:
        yield "id_text", one["text"].encode()
        yield "id_text", one["handle"].encode()
    for one in identity["refused_ids"]:
        yield "id_text", one["text"].encode()
    for one in identity["organisations"]:
        yield "id_text", one["name"].encode()
    signatures = [bytes.fromhex(one["signature"]) for one in statements["statements"]]
    for index, one in enumerate(identity["suites"] + identity["refused_keys"] + identity["foreign"]):
        keys = bytes.fromhex(one["keys"])
        suite = one.get("suite", 15)
        compact = keys[:64] if suite == 1 else keys
        yield "keys", bytes([suite]) + keys + signatures[index % len(signatures)] + compact
    for data in hexes(evidence, "bundle"):
        yield "evidence", data
    for data in hexes(contradiction, "bytes"):
        yield "contradiction", data
    for data in hexes(rows, "bytes"):
        yield "row", data
    for data in hexes(transactions, "bytes"):
        yield "tx", data
    for one in transactions["unkeyed"]:
        yield "tx", bytes.fromhex(one)
    for data in genesis_documents(transactions["transactions"]):
        yield "genesis", data
    for data in epoch_sets:
        yield "set", data
    yield "header", bytes.fromhex(trust["header"])
    anchors = [trust["anchor"], trust["after handover"], trust["after recovery"], *trust["before recovery"]]
    for one in anchors + list(firmware["anchors"].values()):
        yield "anchor", bytes.fromhex(one)
    handover, recovery = bytes.fromhex(trust["handover"]), bytes.fromhex(trust["recovery"])
    yield "handover", parts(quarter, handover, epoch_sets[0])
    yield "recovery", quarter + recovery
    for one in freshness["good"]:
        fixed = quarter + bytes.fromhex(one["nonce"])
        yield "freshness", parts(fixed, bytes.fromhex(one["receipt"]), bytes.fromhex(one["set"]))
    for one in freshness["carried"]:
        fixed = quarter + bytes.fromhex(one["nonce"])
        yield "freshness", parts(fixed, bytes.fromhex(one["branch"]), bytes.fromhex(freshness["set"]))
    for _, receipt in freshness["refused"]:
        fixed = quarter + bytes.fromhex(freshness["nonce"])
        yield "freshness", parts(fixed, bytes.fromhex(receipt), bytes.fromhex(freshness["set"]))
    for proof in proofs:
        end = checkpoint_end(proof)
        yield "proof", parts(bytes(8), proof[end:], proof)
        yield "checkpoint", parts(quarter, proof[2:end], epoch_sets[2])
    for data in hexes([firmware["manifests"], firmware["refused_manifests"]], "bytes"):
        yield "manifest", data
    for data in [bytes.fromhex(firmware["signed"]), *hexes(firmware["refused_signed"], "bytes")]:
        yield "manifest", data
    for cut in (1, 7, 255):
        for data in hexes([firmware["inventories"], firmware["refused_inventories"]], "bytes"):
            yield "inventory", bytes([cut]) + data
        for data in hexes(firmware["differences"], "expected", "actual"):
            yield "inventory", bytes([cut]) + data
    for data in hexes(firmware["claims"], "signed"):
        yield "inventory_statement", data
    for data in hexes(vectors("chunks"), "index", "bytes"):
        yield "chunk_index", data
    frames = ("hello", "hello_payload", "welcome", "welcome_payload", "request", "request_plaintext", "reply", "reply_plaintext",
              "fresh_request", "fresh_reply")
    for data in hexes(device, *frames):
        yield "device_frame", data
    for body in provisioning(trust, identity, device):
        yield "provisioning", body
        yield "device_state", state(body)
    for path in sorted(ARTIFACTS.glob("*.mender")):
        yield "mender", b"\0" + path.read_bytes()
        yield from (("mender", seed) for seed in members(path))


def members(path):
    """What stands in an artifact, with the byte that says what it is (fuzz_targets/mender.rs)."""
    compressions = {"tar": 0, "gz": 1, "xz": 2}
    with tarfile.open(path) as artifact:
        for member in artifact:
            content = artifact.extractfile(member).read()
            compression = compressions.get(member.name.rsplit(".")[-1], 0) << 4
            if member.name == "manifest":
                yield bytes([1]) + content
            if member.name == "manifest.sig":
                yield bytes([7]) + content
            if member.name.startswith("data/"):
                yield bytes([compression | 2]) + content
            if member.name.startswith(("data/", "header.")):
                if compression == 0:
                    yield bytes([3]) + content
                with tarfile.open(fileobj=io.BytesIO(content)) as inner:
                    for file in inner:
                        mode = {"header-info": 4, "headers/0000/type-info": 5, "headers/0000/meta-data": 6}.get(file.name)
                        if mode:
                            yield bytes([mode]) + inner.extractfile(file).read()


def checkpoint_end(proof):
    """Where the checkpoint ends that follows a proof's version and kind (spec/proof.md)."""
    at = 3
    for _ in range(proof[2]):
        at += 228 + 32 * proof[at + 227]
    signers = int.from_bytes(proof[at + 17:at + 19], "big")
    return at + 19 + 64 * bin(signers).count("1")


def state(body):
    """A device's state with the same trust and server."""
    length = struct.unpack(">H", body[144:146])[0]
    trust = body[:146 + length]
    rest = body[146 + length:]
    org, rest = rest[:16], rest[17:]
    rest = rest[1 + rest[0]:]
    server = rest[1:1 + 32 + 1 + 66]
    key = bytes(range(32))
    return b"\1" + trust + org + b"\1" + server + key + b"\2\0" + b"\1" + key + b"\2\1" + bytes(8 + 16) + b"\1" + bytes(16) + b"\1"


def main():
    written = {}
    for target, data in corpus():
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        written.setdefault(target, set()).add(data)
    for target in sorted(path.stem for path in (HERE / "fuzz_targets").glob("*.rs")):
        print(f"{target}: {len(written.get(target, ()))} seeds")


if __name__ == "__main__":
    main()
