"""The command line in a process of its own, for what only one can show: signals, imports, streams."""

import os
import subprocess
import sys
from pathlib import Path

import atlas_ref

ROOT = Path(atlas_ref.__file__).parents[1]


def in_a_process(*arguments: str) -> "subprocess.Popen[str]":
    """Start Python with the project importable."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
