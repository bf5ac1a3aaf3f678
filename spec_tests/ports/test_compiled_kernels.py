"""Triton's kernels as its compiler has them, without a GPU: the interpreter takes what the compiler refuses."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="the kernels need the package triton: pip install 'atlas-spec[triton]'")

COGNATE = ["data.tokenizer=bytes", "model.vocab_size=257"]


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("preset", "more"),
    [
        ("shakespeare-10m", []),
        ("shakespeare-10m", ["model.memory.architecture=mlp"]),
        ("tnt-atlas", []),
        ("cognate-memory", COGNATE),
    ],
    ids=["a-matrix", "two-layers", "a-hierarchy", "slots"],
)
def test_every_kernel_of_a_step_compiles_for_hopper_and_fits_into_its_shared_memory(
    preset: str, more: list[str]
) -> None:
    """Kills: a variable of a loop that changes its shape; tiles that together are larger than a block may have."""
    command = [sys.executable, "-m", "benchmarks.compiled_kernels", "--preset", preset]
    changes = [part for each in ("model.n_layers=1", "data.sequence_length=128", *more) for part in ("--set", each)]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([*command, *changes], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("\n| ") > 10
