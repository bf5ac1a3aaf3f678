"""A seeded generator of files that nobody should send: TOML, JSON, safetensors and logs, each drawn from a seed.

    for hostile in draw(count, seed): read(hostile, folder)

`read` hands a file to the readers of the program as its commands do. A reader may take it or refuse it with UserError;
whatever else it raises is a fault, and so are seconds or hundreds of megabytes.
"""

import json
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from atlas_ref.config import load_config
from atlas_ref.errors import UserError
from atlas_ref.reading import read_json
from atlas_ref.storage.checkpoint import open_checkpoint, read_tensors
from atlas_ref.storage.checkpoint_meta import digest
from atlas_ref.storage.metrics_log import read_metrics

SIZES = (0, 1, 7, 63, 1_000, 20_000, 60_000, 300_000)
TOKENS = (
    *"[]{},:=.'\"#\n\\-e1a \t\x00é🙂\ufeff",
    *(
        '"""',
        "'''",
        "\\u",
        "\\ud800",
        "\x1b[2J",
        "train",
        "model.memory",
        "nan",
        "0x",
        "1e999",
        "true",
        "null",
        "step",
        "\r\n",
    ),
)


class Hostile(NamedTuple):
    """A file: which reader it is for, how it came about, and what is in it."""

    kind: str
    what: str
    content: bytes


Make = Callable[[random.Random, int], bytes]

TOML: dict[str, Make] = {
    "dotted key": lambda draw, n: b".".join([b"a"] * (n + 1)) + b" = 1\n",
    "spaced dotted key": lambda draw, n: b" . ".join([b'"a"'] * (n + 1)) + b" = 1\n",
    "header": lambda draw, n: b"[" + b".".join([b"a"] * (n + 1)) + b"]\n",
    "many dotted keys": lambda draw, n: b"".join(b"a.b%d.c = 1\n" % i for i in range(n)),
    "many unknown keys": lambda draw, n: b"".join(b"k%d = 1\n" % i for i in range(n)),
    "many headers": lambda draw, n: b"".join(b"[t%d]\n" % i for i in range(n)),
    "long key": lambda draw, n: b"k" * (10 * n + 1) + b" = 1\n",
    "long quoted key": lambda draw, n: b'"' + b"k" * (n + 1) + b'" = 1\n',
    "long decimal": lambda draw, n: b"seed = 1" + b"7" * n + b"\n",
    "long hexadecimal": lambda draw, n: b"seed = 0x1" + b"f" * n + b"\n",
    "long float": lambda draw, n: b"x = 0." + b"1" * n + b"\n",
    "deep list": lambda draw, n: b"x = " + b"[" * n + b"]" * n + b"\n",
    "deep tables": lambda draw, n: b"x = " + b"{a=" * n + b"1" + b"}" * n + b"\n",
    "long list": lambda draw, n: b"x = [" + b"1," * n + b"]\n",
    "list of tables": lambda draw, n: b"x = [" + b"{a=1}," * n + b"]\n",
    "long text": lambda draw, n: b'x = "' + b"y" * n + b'"\n',
    "escapes": lambda draw, n: b'x = "' + b"\\n" * n + b'"\n',
    "open text": lambda draw, n: b'x = """' + b'\\"""' * n,
    "quotes": lambda draw, n: b'"' * n,
    "apostrophes": lambda draw, n: b"'" * n,
    "comment": lambda draw, n: b"#" * n + b"\n",
    "lines": lambda draw, n: b"\n" * n,
    "zeros": lambda draw, n: bytes(n),
}
JSON: dict[str, Make] = {
    "lists": lambda draw, n: b"[" + b"[]," * (30 * n) + b"[]]",
    "objects": lambda draw, n: b"[" + b'{"":0},' * (10 * n) + b"0]",
    "deep list": lambda draw, n: b"[" * n + b"]" * n,
    "deep objects": lambda draw, n: b'{"a":' * n + b"1" + b"}" * n,
    "closed too often": lambda draw, n: b"1" + b"]" * (30 * n),
    "keys": lambda draw, n: b"{" + b",".join(b'"k%d":1' % i for i in range(n)) + b"}",
    "a key twice": lambda draw, n: b'{"a":1,"a":' + b"1" * (1 + n % 4000) + b"}",
    "digits": lambda draw, n: b"[" + b"9" * (n + 1) + b"]",
    "float": lambda draw, n: b"[0." + b"1" * (n + 1) + b"]",
    "texts": lambda draw, n: b"[" + b'"ab",' * (10 * n) + b"0]",
    "long text": lambda draw, n: b'["' + b"x" * (100 * n) + b'"]',
    "wide text": lambda draw, n: '["🙂'.encode() + b"x" * (100 * n) + b'"]',
    "open text": lambda draw, n: b'["' + b'\\"' * (10 * n),
    "quotes": lambda draw, n: b'"' * (10 * n),
    "half a surrogate": lambda draw, n: b'{"a": "' + b"x" * n + b'\\ud800"}',
    "spaces": lambda draw, n: b" " * (100 * n) + b"1",
    "constants": lambda draw, n: b"[" + b"NaN," * n + b"1]",
}
ENTRY = b'"t%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
HEADERS: dict[str, Make] = {
    "tensors": lambda draw, n: b"{" + b",".join(ENTRY % i for i in range(n // 2)) + b"}",
    "metadata": lambda draw, n: b'{"__metadata__":{' + b",".join(b'"k%d":"v"' % i for i in range(n)) + b"}}",
    "axes": lambda draw, n: (
        b'{"a":{"dtype":"F32","shape":[' + b",".join([b"1"] * (n + 1)) + b'],"data_offsets":[0,4]}}'
    ),
    "size": lambda draw, n: b'{"a":{"dtype":"F32","shape":[%d],"data_offsets":[0,4]}}' % (2 ** (n % 200)),
    "name": lambda draw, n: b'{"' + b"x" * n + b'":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    **{name: make for name, make in JSON.items() if name in ("lists", "deep list", "deep objects", "digits", "quotes")},
}


def soup(draw: random.Random, size: int) -> bytes:
    """Return tokens of all formats in any order."""
    return "".join(draw.choices(TOKENS, k=min(size, 5_000))).encode(errors="replace")


def spoilt(draw: random.Random, content: bytes) -> bytes:
    """Return a file with some of its bytes changed, taken away or doubled."""
    spoilt = bytearray(content)
    for _ in range(draw.randint(0, 3)):
        if spoilt:
            place = draw.randrange(len(spoilt))
            spoilt[place : place + draw.randint(0, 4)] = draw.randbytes(draw.randint(0, 4))
    return bytes(spoilt)


def draw(count: int, seed: int) -> Iterator[Hostile]:
    """Yield `count` files; the n-th depends on the seed and n alone."""
    for number in range(count):
        chance = random.Random(f"{seed} {number}")
        kind = ("toml", "json", "meta", "safetensors", "log")[number % 5]
        makes = {"toml": TOML, "safetensors": HEADERS}.get(kind, JSON) | {"soup": soup}
        what, size = chance.choice(sorted(makes)), chance.choice(SIZES)
        content = spoilt(chance, makes[what](chance, size)) if chance.random() < 0.5 else makes[what](chance, size)
        yield Hostile(kind, f"{number}: {kind}, {what}, {size}", framed(kind, content, chance))


def framed(kind: str, content: bytes, chance: random.Random) -> bytes:
    """Return what a file of a kind has around it: a seal, the length of a header, a line break."""
    if kind == "safetensors":
        wrong = chance.choice((0, 0, 0, 1, -1, 2**40, 2**63))
        return struct.pack("<Q", max(0, len(content) + wrong)) + content + bytes(4)
    if kind == "meta" and chance.random() < 0.5:
        try:
            table = {"format": "atlas-checkpoint-1", "step": 1, "tokenizer": content[:1_000_000].decode()}
        except UnicodeDecodeError:
            return content
        return json.dumps({**table, "sha256": digest(table)}).encode()
    return b'{"step": 1}\n' + content + b"\n" if kind == "log" else content


def read(hostile: Hostile, folder: Path) -> str | None:
    """Let the program read a file; return the words in which it is refused, None when it is taken."""
    names = {"toml": "config.toml", "json": "env.json", "meta": "meta.json", "log": "metrics.jsonl"}
    path = folder / names.get(hostile.kind, "model.safetensors")
    path.write_bytes(hostile.content)
    readers: dict[str, Callable[[], object]] = {
        "toml": lambda: load_config(str(path)),
        "json": lambda: read_json(path),
        "meta": lambda: open_checkpoint(folder),
        "safetensors": lambda: read_tensors(path),
        "log": lambda: read_metrics(path),
    }
    try:
        readers[hostile.kind]()
    except UserError as error:
        return str(error)
    return None
