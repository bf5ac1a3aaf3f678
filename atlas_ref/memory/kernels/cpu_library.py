"""The library of the kernels for a CPU: C++ of the folder `cpp`, compiled once by `atlas kernels build`.

It is never compiled by itself. It needs no header of Python or torch and is called by `ctypes` with the addresses of
tensors, so it serves any version of both. Its name holds a hash of the sources, of the instructions of the processor
that it was compiled for, and of the compiler; the compiler need not be there when it runs.
"""

import ctypes
import os
import platform
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

import torch

from atlas_ref.compiling import compile_once, compiler, digest, version
from atlas_ref.places import user_cache

SOURCES: Final = Path(__file__).parent / "cpp"
FLAGS: Final = (
    *("-std=c++17", "-O3", "-fPIC", "-shared", "-pthread", "-fopenmp-simd"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
)
INSTRUCTIONS: Final = {
    "AVX2": ("-mavx2", "-mfma"),
    "AVX512": (
        *("-mavx2", "-mfma", "-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl"),
        "-mprefer-vector-width=512",
    ),
}
"""What the compiler is told of the processor, by the name that torch has for it; of others it knows what all can."""
WHAT: Final = "the library of kernels for a CPU"
Suffix = Literal["f32", "f64"]
SUFFIXES: Final[dict[torch.dtype, Suffix]] = {torch.float32: "f32", torch.float64: "f64"}


_in_use: ContextVar[ctypes.CDLL | None] = ContextVar("_in_use", default=None)


def build(folder: Path | None = None) -> Path:
    """Return the library, compiled into `folder`, or else the user's cache, unless it is there.

    UserError where it does not compile.
    """
    command = [*compiler(WHAT), *_flags()]
    name = f"cpu-{_made_from()}-{digest(shlex.join(command).encode() + version(command))}.so"
    target = (folder or _folder()) / name
    compile_once(WHAT, command, SOURCES / "library.cpp", target)
    _built.cache_clear()
    return target


def library() -> ctypes.CDLL | None:
    """Return the library, loaded; None where the user built none of these sources for this processor."""
    return _in_use.get() or _built()


@contextmanager
def using(path: Path) -> Iterator[None]:
    """Let `library` be the one at `path` for a while, whatever the user has built."""
    token = _in_use.set(ctypes.CDLL(str(path)))
    try:
        yield
    finally:
        _in_use.reset(token)


@lru_cache(maxsize=1)
def _built() -> ctypes.CDLL | None:
    found = sorted(_folder().glob(f"cpu-{_made_from()}-*.so"), key=lambda path: path.stat().st_mtime)
    return ctypes.CDLL(str(found[-1])) if found else None


def ask(loaded: ctypes.CDLL, name: str, dtype: torch.dtype, call: ctypes.Structure) -> None:
    """Let a function of the library answer a call; MemoryError where memory is short."""
    if not loaded[f"{name}_{SUFFIXES[dtype]}"](ctypes.byref(call)):
        raise MemoryError(f"{WHAT}: there is no memory for {name}")


def stride(loaded: ctypes.CDLL, length: int, dtype: torch.dtype) -> int:
    """Return how far one row of a matrix that the library holds is from the next."""
    return int(loaded[f"stride_{SUFFIXES[dtype]}"](ctypes.c_int64(length)))


def in_large_pages(loaded: ctypes.CDLL, fresh: torch.Tensor) -> torch.Tensor:
    """Return a dense tensor that nobody has written to yet, in large pages as far as the system gives them."""
    loaded.in_large_pages(ctypes.c_void_p(fresh.data_ptr()), ctypes.c_int64(fresh.numel() * fresh.element_size()))
    return fresh


def instructions() -> str:
    """Return what a library that is built here uses of the processor, in words."""
    found = torch.backends.cpu.get_cpu_capability()
    return found if found in INSTRUCTIONS else f"{platform.machine()}, what all of them can"


def _folder() -> Path:
    """Return where the library lies: in ATLAS_KERNELS, else in the user's cache."""
    named = os.environ.get("ATLAS_KERNELS")
    return Path(named) if named else user_cache() / "kernels"


def _flags() -> tuple[str, ...]:
    return (*FLAGS, *INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability(), ()))


def _made_from() -> str:
    """Return a hash of what decides what the library computes, and on which processors."""
    said = f"{platform.system()} {platform.machine()} {shlex.join(_flags())}"
    return digest(said.encode(), SOURCES.glob("*.?pp"))
