"""The Triton kernels of a training step and of a written token, compiled for Hopper where there is no GPU: do they fit?

    python -m benchmarks.compiled_kernels [--preset shakespeare-10m] [--set KEY=VALUE ...] [--precision high]

Makes one step of a preset and a call of one token on the CPU in which kernels are compiled in place of being launched,
each in every form that is asked for. A row a form: shared memory, registers and bytes that a thread spills, by
`ptxas -v`. Ends with 1 where a kernel needs more shared memory than a block has, and with the compiler's error where it
refuses one: Triton's interpreter, by which tests run without a GPU, takes things that the compiler does not.
"""

import argparse
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from unittest.mock import patch

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from atlas_ref.blocks.kernels import choice as beside
from atlas_ref.config import load_config
from atlas_ref.functional.looking import unseen
from atlas_ref.memory.kernels import choice
from atlas_ref.training import step as steps
from atlas_ref.training.clipping import NonFiniteError
from atlas_ref.training.run import new_run, open_data

HOPPER = GPUTarget("cuda", 90, 32)
SHARED = 232_448
"""Bytes of shared memory that a block has there."""


class NoCard:
    """What Triton asks a driver for when it compiles; nothing is ever launched."""

    def get_current_target(self) -> GPUTarget:
        """Return what is compiled for."""
        return HOPPER

    def get_current_device(self) -> int:
        """Return the number of a device."""
        return 0

    def get_current_stream(self, device: int) -> int:
        """Return a stream, which nothing is put into."""
        return device


def assembled(kernel: Any) -> tuple[str, str]:
    """Return the registers of a thread, and the bytes that it spills, as the assembler tells them."""
    assembler = min(Path(triton.__file__).parent.glob("backends/nvidia/bin/ptxas*"))
    with NamedTemporaryFile("w", suffix=".ptx") as source:
        source.write(kernel.asm["ptx"])
        source.flush()
        command = [f"{assembler}", "-v", "--gpu-name=sm_90a", source.name, "-o", "/dev/null"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers, spilled = (re.search(each, said) for each in (r"Used (\d+) registers", r"(\d+) bytes spill stores"))
    return registers[1] if registers else "?", spilled[1] if spilled else "?"


@contextmanager
def compiling() -> Iterator[list[Any]]:
    """Compile what is launched inside, and yield the list that the kernels come to stand in, each once."""
    run, found, known = JITFunction.run, list[Any](), set[str]()

    def compile_only(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        del grid, warmup
        kernel = run(self, *arguments, grid=(1,), warmup=True, **options)
        if kernel is not None and kernel.hash not in known:
            known.add(kernel.hash)
            found.append(kernel)
            registers, spilled = assembled(kernel)
            sizes = f"{kernel.metadata.shared:,} | {registers} | {spilled} | {kernel.metadata.num_warps}"
            print(f"| {kernel.metadata.name} | {sizes} |", flush=True)
        return kernel

    with (
        patch.object(driver, "_active", NoCard()),
        patch.object(JITFunction, "run", compile_only),
        patch.object(choice, "_compiles", lambda device: True),
        patch.object(choice, "chosen", lambda kernels, device: "triton"),
        patch.object(beside, "chosen", lambda kernels, device: "triton"),
    ):
        yield found


def main() -> None:
    """Compile the kernels of a step and of a token and print the table."""
    parser = argparse.ArgumentParser(description="Compile the kernels of a training step without a GPU.")
    parser.add_argument("--preset", default="shakespeare-10m", help="whose step")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the preset")
    parser.add_argument("--precision", choices=["high", "highest"], default="high", help="of products of float32")
    options = parser.parse_args()
    torch.set_float32_matmul_precision(options.precision)
    small = ["train.batch_size=2", "train.micro_batches=1"]
    config, cpu = load_config(options.preset, [*small, *options.set]), torch.device("cpu")
    run, source = new_run(config, cpu), open_data(config, None)
    print("| kernel | shared memory, bytes | registers | spilled bytes | warps |\n|---|---|---|---|---|")
    # What nobody computed is any number.
    with compiling() as found, suppress(NonFiniteError):
        steps.train_step(run.network, run.optimiser, source.batch(0), run.state, 0, config)
    with compiling() as alone, torch.inference_mode(), unseen():
        model = run.model.eval()
        model(torch.zeros(1, 1, dtype=torch.long), model.initial_state(1), None, measured=False)
    found.extend(alone)
    large = [kernel.metadata.name for kernel in found if kernel.metadata.shared > SHARED]
    if large:
        parser.exit(1, f"{', '.join(large)}: more than the {SHARED:,} bytes of shared memory of a block\n")


if __name__ == "__main__":
    main()
