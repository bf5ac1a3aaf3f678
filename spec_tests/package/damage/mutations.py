"""Mutated checkpoints: damage, foreign files, and what somebody writes who seals the description again.

Each mutation is a named change of the checkpoint directory of a run. Sealed mutations change what a file says and make
all checksums right. Left out is what makes another valid checkpoint, such as other numbers in a tensor: whoever may
write to a run may train it too.
"""

import hashlib
import json
import os
import pickle
import random
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from atlas_ref.storage.checkpoint import META, MODEL, STATE, TENSOR_FILES
from spec_tests.package.damage.sealed import seal

MARKER = "code-was-run"
HUGE = 10**30
DEEP = "[" * 50_000
ALL_FILES = (*TENSOR_FILES, META)


class Mutation(NamedTuple):
    """A change of a checkpoint: its name, the file that is to blame, and the change itself."""

    name: str
    file: str
    apply: Callable[[Path], object]


class Payload:
    """An object whose pickle creates a file in the working directory when it is loaded."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return (open, (MARKER, "w"))


def mutations() -> Iterator[Mutation]:
    """Yield every mutation; the names are unique."""
    for name in ALL_FILES:
        yield from damages(name)
    for name in TENSOR_FILES:
        yield from sealed_headers(name)
        yield from sealed_bytes(name)
    yield from descriptions()
    yield from sealed_descriptions()
    yield from sealed_configs()


def damages(name: str) -> Iterator[Mutation]:
    """Yield what happens to a file without anybody's intention, and foreign files under its name."""
    draw = random.Random(name)
    for number in range(14):
        yield Mutation(f"{name}: flip {number}", name, partial(flip, name, draw.random(), draw.randrange(8)))
    for length in (0, 1, 7, 8, 9, 100, -1, -4096):
        yield Mutation(f"{name}: cut to {length}", name, partial(cut, name, length))
    for extra in (b"\0", b" \n{}", bytes(4096)):
        yield Mutation(f"{name}: {len(extra)} bytes more", name, partial(lengthen, name, extra))
    for what, content in foreign().items():
        yield Mutation(f"{name}: {what}", name, partial(replace, name, content))
    for put in (Path.unlink, put_directory, put_pipe):
        yield Mutation(f"{name}: {put.__name__}", name, partial(apply_to, name, put))
    for target in ("/dev/zero", "/dev/null", "nowhere", name, "/etc/passwd", "."):
        yield Mutation(f"{name}: a link to {target}", name, partial(link, name, target))
    yield Mutation(f"{name}: a link to itself elsewhere", name, partial(link_to_copy, name))
    for other in ALL_FILES[1 + ALL_FILES.index(name) :]:
        # The file that is read first is the one that is named.
        first = META if META in (name, other) else name
        yield Mutation(f"{first}: {name} and {other} swapped", first, partial(swap, name, other))


def foreign() -> dict[str, bytes]:
    """Return files of other formats."""
    return {
        "a pickle": pickle.dumps(Payload()),
        "an old pickle": pickle.dumps(Payload(), protocol=0),
        "a zip as torch.save writes": b"PK\x03\x04" + bytes(26) + b"archive/data.pkl" + pickle.dumps(Payload()),
        "numpy": b"\x93NUMPY\x01\x00" + bytes(120),
        "gzip": b"\x1f\x8b\x08" + bytes(50),
        "text": "what is this, naïvely?\n".encode(),
        "UTF-16": "{}".encode("utf-16"),
        "an executable": b"\x7fELF" + bytes(200),
    }


def flip(name: str, place: float, bit: int, path: Path) -> None:
    """Flip one bit."""

    def flipped(old: bytes) -> bytes:
        content = bytearray(old)
        content[int(place * len(content))] ^= 1 << bit
        return bytes(content)

    edit(name, flipped, path)


def edit(name: str, change: Callable[[bytes], bytes], path: Path) -> None:
    """Replace the content of a file."""
    (path / name).write_bytes(change((path / name).read_bytes()))


def cut(name: str, length: int, path: Path) -> None:
    """Cut a file short."""
    edit(name, lambda old: old[:length], path)


def lengthen(name: str, extra: bytes, path: Path) -> None:
    """Write on at the end of a file."""
    edit(name, lambda old: old + extra, path)


def replace(name: str, content: bytes, path: Path) -> None:
    """Put another file in the place of one."""
    edit(name, lambda old: content, path)


def apply_to(name: str, change: Callable[[Path], object], path: Path) -> None:
    """Change a file by its path."""
    change(path / name)


def put_directory(file: Path) -> None:
    """Put a directory in the place of a file."""
    file.unlink()
    file.mkdir()


def put_pipe(file: Path) -> None:
    """Put a pipe, which nobody writes to, in the place of a file."""
    file.unlink()
    os.mkfifo(file)


def link(name: str, target: str, path: Path) -> None:
    """Replace a file by a symbolic link."""
    (path / name).unlink()
    (path / name).symlink_to(target)


def link_to_copy(name: str, path: Path) -> None:
    """Move a file away and link to it."""
    (path / name).rename(path / "elsewhere")
    (path / name).symlink_to("elsewhere")


def swap(name: str, other: str, path: Path) -> None:
    """Exchange two files."""
    first, second = (path / name).read_bytes(), (path / other).read_bytes()
    (path / name).write_bytes(second)
    (path / other).write_bytes(first)


Header = dict[str, Any]
SHAPES: tuple[Any, ...] = ([-1], [HUGE], [2**62, 8], [1.5], ["4"], None, "4", {})
BEYOND: tuple[Any, ...] = ([0, 2**62], [2**63, 2**63 + 8], [-8, 0], [8, 0], [1, 5])
EMPTY = {"dtype": "F32", "shape": [0, 2**63], "data_offsets": [0, 0]}
OFFSETS = (*BEYOND, [0], [0, 4, 8], None, "0", [0.0, 4.0])


def parts(content: bytes) -> tuple[Header, bytes]:
    """Return the header of a safetensors file and the bytes of its tensors."""
    (length,) = struct.unpack("<Q", content[:8])
    header: Header = json.loads(content[8 : 8 + length])
    return header, content[8 + length :]


def joined(header: bytes, data: bytes) -> bytes:
    """Return a safetensors file."""
    return struct.pack("<Q", len(header)) + header + data


def sealed_headers(name: str) -> Iterator[Mutation]:
    """Yield changes of one tensor's entry in the header."""
    entries: dict[str, Header] = {
        **{f"dtype {kind}": {"dtype": kind} for kind in ("F16", "BF16", "F64", "I8", "U8", "BOOL", "I64", "C64")},
        **{f"dtype {kind}": {"dtype": kind} for kind in ("F8_E4M3", "F8_E8M0", "F4", "F6_E2M3", "X", "", None, 7)},
        "int of the same width": {"dtype": "I32"},
        "unsigned of the same width": {"dtype": "U32"},
        **{f"shape {shape}": {"shape": shape} for shape in SHAPES},
        "no size": {"shape": [0, 2**63], "data_offsets": [0, 0]},
        "a hundred thousand axes": {"shape": [1] * 100_000, "data_offsets": [0, 4]},
        **{f"offsets {offsets}": {"data_offsets": offsets} for offsets in OFFSETS},
        "no fields": {"dtype": None, "shape": None, "data_offsets": None},
        "a field that nobody reads": {"code": "import os"},
    }
    for what, change in entries.items():
        yield Mutation(f"{name}: sealed, {what}", name, partial(change_entry, name, change))


def change_entry(name: str, change: Header, path: Path) -> None:
    """Change fields of the first tensor's entry and seal."""
    header, data = parts((path / name).read_bytes())
    first = min(key for key in header if key != "__metadata__")
    header[first] = {**header[first], **change}
    (path / name).write_bytes(joined(json.dumps(header).encode(), data))
    seal(path)


def sealed_bytes(name: str) -> Iterator[Mutation]:
    """Yield files whose whole content is another, with checksums that are right."""
    changes: dict[str, Callable[[Header, bytes], bytes]] = {
        "header of 2^64 - 1 bytes": lambda header, data: b"\xff" * 8 + data,
        "header of 2^40 bytes": lambda header, data: struct.pack("<Q", 2**40) + data,
        "header longer than the file": lambda header, data: struct.pack("<Q", len(data)) + data[:-1],
        "header of no bytes": lambda header, data: struct.pack("<Q", 0) + data,
        "an empty object": lambda header, data: joined(b"{}", b""),
        "an empty object with data": lambda header, data: joined(b"{}", data),
        "a list": lambda header, data: joined(b"[]", data),
        "deep": lambda header, data: joined(DEEP.encode(), data),
        "deep in a name": lambda header, data: joined(b'{"a":' * 50_000, data),
        "not UTF-8": lambda header, data: joined(b'{"\xff": 1}', data),
        "half a surrogate": lambda header, data: joined(b'{"\\ud800": {}}', data),
        "data cut": lambda header, data: joined(json.dumps(header).encode(), data[:-4]),
        "data longer": lambda header, data: joined(json.dumps(header).encode(), data + bytes(8)),
        "overlapping": lambda header, data: joined(json.dumps(overlapping(header)).encode(), data),
        "metadata of numbers": lambda header, data: joined(
            json.dumps({**header, "__metadata__": {"a": 1}}).encode(), data
        ),
        "metadata of text": lambda header, data: joined(
            json.dumps({**header, "__metadata__": {"code": "import os"}}).encode(), data
        ),
        "every key twice": lambda header, data: joined(
            json.dumps(header)[:-1].encode() + b"," + json.dumps(header)[1:].encode(), data
        ),
        "nothing": lambda header, data: b"",
        "an axis that is no machine integer": lambda header, data: joined(json.dumps({"a": EMPTY}).encode(), b""),
    }
    for what, content in foreign().items():
        changes[what] = partial(only, content)
    for key in ("../../escape", "/etc/passwd", "", "a\nb", "a" * 100_000, "\x1b[2J", "__class__"):
        changes[f"a tensor named {key[:20]!r}"] = partial(renamed, key)
    for what, change in changes.items():
        yield Mutation(f"{name}: sealed, {what}", name, partial(rewrite, name, change))


def only(content: bytes, header: Header, data: bytes) -> bytes:
    """Forget what was there."""
    return content


def rewrite(name: str, change: Callable[[Header, bytes], bytes], path: Path) -> None:
    """Replace a file of tensors by what `change` makes of its header and data, and seal."""
    (path / name).write_bytes(change(*parts((path / name).read_bytes())))
    seal(path)


def overlapping(header: Header) -> Header:
    """Let the last two tensors share their bytes."""
    *_, first, last = sorted((key for key in header if key != "__metadata__"), key=lambda k: header[k]["data_offsets"])
    return {**header, first: header[last]}


def renamed(key: str, header: Header, data: bytes) -> bytes:
    """Give the first tensor another name."""
    first = min(name for name in header if name != "__metadata__")
    return joined(
        json.dumps({(key if name == first else name): value for name, value in header.items()}).encode(), data
    )


def descriptions() -> Iterator[Mutation]:
    """Yield texts that are no description, under its name."""
    texts = ("null", "[]", "3", '"text"', "{}", "NaN", DEEP, '{"a":' * 50_000, "1" * 5000, "﻿{}", '{"format": "other"}')
    for text in texts:
        yield Mutation(f"{META}: text {text[:10]!r}", META, partial(replace, META, text.encode()))
    inside = {
        "NaN": '"step": NaN,',
        "Infinity": '"step": -Infinity,',
        "overflow": '"step": 1e999,',
        "digits": f'"step": {"9" * 5000},',
        "deep": f'"step": {"[" * 900}{"]" * 900},',
        "twice": '"step": 2, "step": 2,',
    }
    for what, text in inside.items():
        change = partial(replace_once, b'"step": 2,', text.encode())
        yield Mutation(f"{META}: {what}", META, partial(edit, META, change))


def replace_once(old: bytes, new: bytes, content: bytes) -> bytes:
    """Replace what is there exactly once."""
    assert content.count(old) == 1
    return content.replace(old, new)


WRONG: tuple[Any, ...] = (None, True, 1.5, -1, HUGE, "x", "", [], [[]], {}, {"a": 1}, {"../../x": {}}, ["x", 1])


def sealed_descriptions() -> Iterator[Mutation]:
    """Yield descriptions with a field of a wrong type, without a field, or with one too many, all sealed."""
    fields = ("format", "step", "config", "config_hash", "tokenizer", "data", "log_lines", "kill_switches", "files")
    for field in fields:
        for value in WRONG:
            yield described(f"{field} = {value!r:.20}", partial(set_inside, (field,), value))
        yield described(f"no {field}", partial(drop, field))
    for value in (True, 1.5, [], {"a": 1}):
        yield described(f"skipped = {value!r}", partial(set_inside, ("preflight_skipped",), value))
    yield described("no preflight_skipped", partial(drop, "preflight_skipped"))
    yield described("a field more", lambda meta: meta.update({"code": "import os"}))
    yield described("another step", lambda meta: meta.update({"step": 1}))
    yield described("half a surrogate", lambda meta: meta.update({"tokenizer": "\ud800"}))
    for field in ("since", "history", "losses"):
        yield described(f"no kill_switches.{field}", partial(drop_inside, "kill_switches", field))
        for value in (None, 3, "x", [None], ["x"], {"a": "x"}, {"a": [None]}, [[1.0]], {"a": {"b": 1}}):
            change = partial(set_inside, ("kill_switches", field), value)
            yield described(f"kill_switches.{field} = {value!r}", change)
    yield described("no kill_switches.first_loss", partial(drop_inside, "kill_switches", "first_loss"))
    for value in (True, -1, -1e-300, 10**400, "x", "", "1.5", [], [1.5], {}, {"a": 1}):
        change = partial(set_inside, ("kill_switches", "first_loss"), value)
        yield described(f"kill_switches.first_loss = {value!r:.20}", change)
    for name in ("../../../escape", "/etc/passwd", "model", "model.safetensors/../x", "a.pkl"):
        yield described(f"files with {name}", partial(set_inside, ("files", name), {"bytes": 1, "sha256": "0" * 64}))
    for key, value in (("bytes", "1"), ("bytes", -1), ("bytes", 1.5), ("sha256", 3), ("sha256", "x"), ("path", "/x")):
        yield described(f"files.model.{key} = {value!r}", partial(set_inside, ("files", MODEL, key), value))
    yield described("files without one", lambda meta: meta["files"].pop(STATE))
    yield from sealed_data()


def sealed_data() -> Iterator[Mutation]:
    """Yield descriptions whose data are no data that could have been read, all sealed."""
    for field in ("files", "count", "contents", "text_key", "task", "tokenizer", "sample"):
        yield described(f"no data.{field}", partial(drop_inside, "data", field))
        for value in (True, 1.5, -1, "x" * 300, [None], {"a": "x"}, {str(n): n for n in range(40)}):
            yield described(f"data.{field} = {value!r:.20}", partial(set_inside, ("data", field), value))
    yield described("data of another file", lambda meta: meta["data"]["files"][0].update({"bytes": 1}))
    yield described("data called by an escape", lambda meta: meta["data"]["files"][0].update({"name": "\x1b[2K"}))
    yield described("data of a file more", lambda meta: meta["data"].update({"count": 2}))


def sealed_configs() -> Iterator[Mutation]:
    """Yield descriptions whose config is another, with the checksum of the config made right too."""
    sections = ("model", "optim", "data", "train", "kill_switches")
    value: Any
    for section in sections:
        for value in (None, [], "x", {}):
            yield described(f"config.{section} = {value!r}", partial(set_config, {(section,): value}))
    deep: dict[str, Any] = {}
    for _ in range(150):
        deep = {"a": deep}
    changes: tuple[tuple[tuple[str, ...], Any], ...] = (
        (("model", "d_model"), 2**20),
        (("model", "n_layers"), 10**9),
        (("model", "d_model"), "32"),
        (("model", "memory", "rule"), "__import__('os')"),
        (("data", "path"), 7),
        (("train", "seed"), 2**63),
        (("train", "extra"), 1),
        (("train", "max_steps"), deep),
        (("optim", "learning_rate"), 1e308),
    )
    for place, value in changes:
        yield described(f"config.{'.'.join(place)} = {value!r:.20}", partial(set_config, {place: value}))


def described(what: str, change: Callable[[dict[str, Any]], object]) -> Mutation:
    """Return a sealed mutation of the description."""
    return Mutation(f"{META}: sealed, {what}", META, partial(seal, change=change))


def drop(key: str, table: dict[str, Any]) -> None:
    """Remove a key."""
    del table[key]


def drop_inside(key: str, inner: str, table: dict[str, Any]) -> None:
    """Remove a nested key."""
    del table[key][inner]


def set_config(changes: dict[tuple[str, ...], Any], meta: dict[str, Any]) -> None:
    """Set values of the config and make its checksum right."""
    for place, value in changes.items():
        set_inside(("config", *place), value, meta)
    canonical = json.dumps(meta["config"], sort_keys=True, separators=(",", ":"))
    meta["config_hash"] = hashlib.sha256(canonical.encode()).hexdigest()


def set_inside(place: tuple[str, ...], value: Any, table: dict[str, Any]) -> None:
    """Set a nested value."""
    for key in place[:-1]:
        table = table[key]
    table[place[-1]] = value
