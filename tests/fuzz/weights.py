"""Files in the .safetensors format, as they should be and as they should not."""

import json
import math
import struct

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "C64": 8}
Entries = dict[str, tuple[str, list[int]]]  # kind of number and shape, by name


def make_file(chance, entries: Entries, metadata=None) -> bytes:
    """A right file with these tensors, of small random numbers."""
    header, body = {"__metadata__": metadata} if metadata is not None else {}, b""
    for name, (dtype, shape) in entries.items():
        count = math.prod(shape)
        content = struct.pack(f"<{count}f", *[chance.uniform(-1, 1) for _ in range(count)]) if dtype == "F32" else None
        content = content if content is not None else bytes(count * SIZES[dtype])
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(content)]}
        body += content
    return join(header, body)


def join(header, body: bytes) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text)) + text + body


def lie(chance, content: bytes) -> bytes:
    """A file whose header says what is not so."""
    length = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    names = [name for name in header if name != "__metadata__"] or ["x"]
    entry = header.setdefault(chance.choice(names), {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]})
    odd = [-1, 0, 1, 2**31, 2**63, 2**64, 1.5, "1", None, [], {}, True, 10**30]
    ways = {
        "length": lambda: (
            struct.pack("<Q", chance.choice([0, 1, length + 9, 2**20, 2**40, 2**63, 2**64 - 1])) + content[8:]
        ),
        "dtype": lambda: entry.update(dtype=chance.choice([*SIZES, "F4", "Q8", "", None, 5])),
        "shape": lambda: entry.update(shape=chance.choice([chance.sample(odd, 2), "ab", None, [], [2**62, 4], [0]])),
        "offsets": lambda: entry.update(
            data_offsets=chance.choice([chance.sample(odd, 2), [0, 4], [4, 0], [0], "ab", None])
        ),
        "shifted": lambda: entry.update(data_offsets=[place + 4 for place in entry["data_offsets"]]),
        "missing": lambda: entry.pop(chance.choice(sorted(entry))),
        "more": lambda: entry.update(more=1),
        "no entry": lambda: header.update({chance.choice(names): chance.choice(odd)}),
        "metadata": lambda: header.update(__metadata__=chance.choice([*odd, {"a": 1}, {"a": {"b": "c"}}, {"a": None}])),
        "huge name": lambda: header.update({"x" * 10**6: entry}),
        "many": lambda: header.update({f"lora_{n}.alpha": entry for n in range(3000)}),
        "twice": lambda: join(json.dumps(header)[:-1] + f", {json.dumps(names[0])}: {json.dumps(entry)}}}", body),
        "deep": lambda: join("[" * 20_000 + "]" * 20_000, body),
        "list": lambda: join([header], body),
        "text": lambda: join("lora", body),
        "latin": lambda: struct.pack("<Q", 6) + b'{"\xe9":' + body,
        "short": lambda: join(header, body[: chance.randrange(len(body) + 1)]),
        "long": lambda: join(header, body + bytes(chance.randrange(1, 50))),
    }
    made = ways[chance.choice(sorted(ways))]()
    return made if isinstance(made, bytes) else join(header, body)


FOREIGN = (
    b"",
    b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",  # a pickle
    b"PK\3\4" + bytes(60),  # a pickle of torch's
    b"<!doctype html><html>Please log in</html>",
    b"GGUF" + bytes(60),
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    bytes(7),
    bytes(4000),
    b"\xff" * 64,
)
