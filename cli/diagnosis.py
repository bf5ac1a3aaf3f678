"""What `atlas doctor` looks at: versions, devices, optional packages, and places to write.

A finding is `ok`, `absent` (something optional that is not there) or `broken` (something that training needs). Nothing
here raises: what a probe cannot find out is what it reports.
"""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module, metadata
from pathlib import Path
from typing import Literal, NamedTuple

from packaging.requirements import Requirement

from atlas_ref.places import user_cache

PACKAGE = "atlas-spec"
PYTHON = (3, 11)
EXTRAS = {
    "reference": "training, and the reference as a port",
    "tokenizers": 'data.tokenizer = "bpe"',
    "parquet": "data in parquet files",
    "plot": "atlas plot",
    "tensorboard": "atlas train --tensorboard",
    "wandb": "atlas train --wandb",
    "watch": "atlas watch",
    "triton": "the memory by kernels on a GPU",
    "bench": "its port and benchmark",
    "jax": "the jax port",
}
"""What each extra of the package is for; `dev` is for those who work on it."""
GIB = 2**30
GPU_DEVICE = Path("/dev/nvidia0")

Status = Literal["ok", "absent", "broken"]


class Finding(NamedTuple):
    """One thing that was looked at: its name, how it is, what was found, and what that means."""

    name: str
    status: Status
    found: str
    note: str = ""


def diagnose() -> list[Finding]:
    """Return everything that was found, in the order in which it is worth reading."""
    found = [finding for probe in (python, package, processor) for finding in _guarded(probe)]
    unusable = [broken for name in ("numpy", "torch") if (broken := _import_failure(name))]
    # Without torch, its own probes would only repeat that.
    rest = (places, optional) if unusable else (torch_build, gpus, places, optional)
    return [*found, *unusable, *(finding for probe in rest for finding in _guarded(probe))]


def _guarded(probe: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield the findings of a probe; what it raises, from whichever package is broken, is a finding too."""
    try:
        yield from probe()
    except Exception as error:
        yield Finding(probe.__name__.replace("_", " "), "broken", type(error).__name__, str(error))


def python() -> Iterator[Finding]:
    """The interpreter."""
    enough = sys.version_info >= PYTHON
    note = platform.platform() if enough else f"{PYTHON[0]}.{PYTHON[1]} or newer is needed"
    yield Finding("python", "ok" if enough else "broken", platform.python_version(), note)


def package() -> Iterator[Finding]:
    """This package and those that all of it needs, in the versions that it asks for."""
    version = _version(PACKAGE)
    if version is None:
        note = "runs from its source: what it needs is not compared with what is there"
        yield Finding(PACKAGE, "absent", "not installed", note)
        return
    yield Finding(PACKAGE, "ok", version)
    for requirement in _requirements(None):
        version = _version(requirement.name)
        fits = version is not None and requirement.specifier.contains(version, prereleases=True)
        note = "" if fits else f"needed: pip install '{requirement}'"
        yield Finding(requirement.name, "ok" if fits else "broken", version or "absent", note)


def processor() -> Iterator[Finding]:
    """The cores that this process may use, and the memory of the machine."""
    # A container or a batch system may allow fewer than the machine has.
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("cores", "ok", f"{usable} of {os.cpu_count()}")
    page = os.sysconf("SC_PAGE_SIZE")
    yield Finding("memory", "ok", f"{page * os.sysconf('SC_PHYS_PAGES') / GIB:.1f} GiB")


def torch_build() -> Iterator[Finding]:
    """What torch was built for, whether it computes here, and on how many threads."""
    import torch

    cuda = torch.version.cuda
    note = "" if cuda else "train.device = cuda needs a CUDA build"
    if cuda is None and GPU_DEVICE.exists():
        note = "the NVIDIA GPU of this machine needs a CUDA build"
    yield Finding("torch build", "ok", f"CUDA {cuda}" if cuda else "CPU", note)
    yield _computes("cpu")
    named = os.environ.get("OMP_NUM_THREADS")
    source = f"OMP_NUM_THREADS is {named}; " if named else ""
    yield Finding("threads", "ok", str(torch.get_num_threads()), f"{source}train.threads decides in training")
    triton = _version("triton")
    note = "part of CUDA builds; nothing here needs it"
    yield Finding("triton", "ok" if triton else "absent", triton or "absent", note)
    yield _cpu_kernels()


def _cpu_kernels() -> Finding:
    """Return whether the fast form of the memory on a CPU was built for this processor."""
    from atlas_ref.memory.kernels import cpu_library

    if cpu_library.library() is None:
        return Finding(
            "cpu kernels", "absent", "not built", "atlas kernels build compiles the memory for this processor"
        )
    return Finding("cpu kernels", "ok", cpu_library.instructions(), "the memory in compiled C++")


def gpus() -> Iterator[Finding]:
    """Every CUDA device, with its memory."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        yield Finding("gpu", "absent", "none", "training is on the CPU")
    for index in range(count):
        free, total = torch.cuda.mem_get_info(index)
        found = f"{total / GIB:.1f} GiB, {free / GIB:.1f} GiB free"
        yield Finding(f"cuda:{index}", "ok", found, torch.cuda.get_device_name(index))
        yield _computes(f"cuda:{index}")


def places() -> Iterator[Finding]:
    """Where runs and certificates go by default: whether it can be written, and how much room there is."""
    yield _place("runs/", Path("runs"), "broken", "place of runs unless --out says another")
    yield _place("cache", user_cache(), "absent", "keeps certificates of preflight, and what is compiled")


def optional() -> Iterator[Finding]:
    """The packages that single commands need."""
    for extra, purpose in EXTRAS.items():
        for requirement in _requirements(extra):
            version = _version(requirement.name)
            hint = "" if version else f"; in a checkout: pip install '.[{extra}]'"
            yield Finding(requirement.name, "ok" if version else "absent", version or "absent", purpose + hint)


def _import_failure(name: str) -> Finding | None:
    """Return what is wrong with a package that cannot be imported, or None."""
    try:
        import_module(name)
    except Exception as error:
        return Finding(f"import {name}", "broken", type(error).__name__, str(error))
    return None


def _computes(device: str) -> Finding:
    """Return whether a product of two small matrices is right on a device."""
    import torch

    ones = torch.ones(8, 8, device=device)
    right = bool((ones @ ones == 8.0).all())
    return Finding(f"product on {device}", "ok" if right else "broken", "right" if right else "wrong")


def _place(name: str, path: Path, failure: Status, note: str) -> Finding:
    """Return whether files can be made below a path, or where it would be made."""
    try:
        nearest = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(bytes(4096))
            file.flush()
        free = shutil.disk_usage(nearest).free
    except OSError as error:
        return Finding(name, failure, f"{path}: {error.strerror}", note)
    return Finding(name, "ok", f"{nearest}, {free / GIB:.1f} GiB free", note)


def _requirements(extra: str | None) -> list[Requirement]:
    """Return what the installed package requires, or what one of its extras adds."""
    found = [Requirement(text) for text in (metadata.requires(PACKAGE) if _version(PACKAGE) else None) or ()]
    if extra is None:
        return sorted((one for one in found if one.marker is None), key=str)
    return [one for one in found if one.marker is not None and one.marker.evaluate({"extra": extra})]


def _version(package: str) -> str | None:
    """Return the version of a package that is installed, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
