"""The command line in a process of its own, for what only one can show: signals, imports, streams."""

import os
import subprocess
import sys
from pathlib import Path

import atlas_ref

ROOT = Path(atlas_ref.__file__).parents[1]


def in_a_process(*arguments: str, python: str = sys.executable) -> "subprocess.Popen[str]":
    """Start Python with the project importable; `warm_python()` where a test is of what comes after the imports."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [python, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
