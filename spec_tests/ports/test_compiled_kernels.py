"""Triton's kernels as its compiler has them, without a GPU: the interpreter takes what the compiler refuses."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="the kernels need the package triton: pip install 'atlas-spec[triton]'")


@pytest.mark.exhaustive
@pytest.mark.parametrize("preset", ["shakespeare-10m", "tnt-atlas"])
def test_every_kernel_of_a_step_compiles_for_hopper_and_fits_into_its_shared_memory(preset: str) -> None:
    """Kills: a variable of a loop that changes its shape; tiles that together are larger than a block may have."""
    command = [sys.executable, "-m", "benchmarks.compiled_kernels", "--preset", preset]
    changes = ["--set", "model.n_layers=1", "--set", "data.sequence_length=128"]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([*command, *changes], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("\n| ") > 10
