"""Mutated checkpoints: damage, foreign files, and what somebody writes who seals the description again.

Each mutation is a named change of the checkpoint directory of a run. Sealed mutations change what a file says and make
all checksums right. Left out is what makes another valid checkpoint, such as other numbers in a tensor: whoever may
write to a run may train it too.
"""

import os
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from atlas_ref.storage.checkpoint import META, TENSOR_FILES
from spec_tests.package.damage.mutation import DEEP, Mutation, foreign
from spec_tests.package.damage.sealed_mutations import sealed_bytes, sealed_configs, sealed_descriptions, sealed_headers

ALL_FILES = (*TENSOR_FILES, META)


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
