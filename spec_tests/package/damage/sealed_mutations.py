"""What somebody writes who seals the description again: each change makes all checksums right."""

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from atlas_ref.storage.checkpoint import META, MODEL, STATE
from spec_tests.package.damage.mutation import DEEP, Mutation, foreign
from spec_tests.package.damage.sealed import seal

HUGE = 10**30


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


WRONG: tuple[Any, ...] = (None, True, 1.5, -1, HUGE, "x", "", [], [[]], {}, {"a": 1}, {"../../x": {}}, ["x", 1])


def sealed_descriptions() -> Iterator[Mutation]:
    """Yield descriptions with a field of a wrong type, without a field, or with one too many, all sealed."""
    fields = ("format", "step", "config", "config_hash", "tokenizer", "tokens", "data", "log_lines", "kill_switches")
    for field in (*fields, "files"):
        for value in WRONG:
            yield described(f"{field} = {value!r:.20}", partial(set_inside, (field,), value))
        yield described(f"no {field}", partial(drop, field))
    for value in (True, 1.5, [], {"a": 1}):
        yield described(f"skipped = {value!r}", partial(set_inside, ("preflight_skipped",), value))
    yield described("no preflight_skipped", partial(drop, "preflight_skipped"))
    yield described("a token fewer", lambda meta: meta.update({"tokens": meta["tokens"] - 1}))
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
