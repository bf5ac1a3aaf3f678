"""Environments of other packages: a layer on the suite's own, made once and kept in the user's cache.

A layer has the packages of one implementation, at the versions that the catalogue names and without what these would
drag along; everything else, torch above all, is found where the suite finds it. So a layer takes seconds, and
every implementation is asked beside one torch.
"""

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Final

from spec_tests.report.manifest import SUITE

READY: Final = "ready"
GPU: Final = "/dev/nvidia0"
"""What is there where a GPU is."""
SECONDS: Final = 600
"""How long pip may take for one layer."""


class NotInstalledError(Exception):
    """Why an implementation cannot be had here, in one line."""


def device_name(device: str) -> str:
    """Return what a device of torch is called: `cpu`, or the name of the card."""
    import torch

    return "cpu" if device == "cpu" else torch.cuda.get_device_name()


def cache() -> Path:
    """Return the folder of all layers: XDG_CACHE_HOME, else ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atlas-spec" / "matrix"


def python_of(requires: tuple[str, ...], folder: Path | None = None) -> Path:
    """Return the interpreter of the layer with these packages; NotInstalledError where pip cannot make it."""
    if not requires:
        return Path(sys.executable)
    below = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(SUITE.parent)]
    digest = hashlib.sha256("\n".join([sys.version, *below, *requires]).encode()).hexdigest()[:16]
    layer = (folder or cache()) / digest
    python = layer / "bin" / "python"
    if not (layer / READY).exists():
        shutil.rmtree(layer, ignore_errors=True)
        venv.create(layer, symlinks=True)
        (site,) = layer.glob("lib/python*/site-packages")
        (site / "below.pth").write_text("\n".join(dict.fromkeys(below)) + "\n")
        _install(python, requires)
        (layer / READY).touch()
    return python


def _install(python: Path, requires: tuple[str, ...]) -> None:
    if importlib.util.find_spec("pip") is None:
        raise NotInstalledError("there is no pip here to install it with (python -m ensurepip)")
    words = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--python",
        str(python),
        "install",
        "--no-deps",
    ]
    try:
        done = subprocess.run(
            [*words, "--quiet", *requires], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotInstalledError(f"pip took longer than {SECONDS} s") from error
    if done.returncode:
        raise NotInstalledError(_reason(done.stderr) or f"pip ended with {done.returncode}")


def _reason(said: str) -> str:
    """Return what pip complains of in a line: the Python that a package needs, else its last error."""
    needs = re.findall(r"Requires-Python ([^;\n]+)", said)
    if needs:
        return f"it needs Python {needs[-1]}, and this is {platform.python_version()}"
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    return errors[-1] if errors else ""
