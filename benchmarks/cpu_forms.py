"""A memory layer on a CPU by compiled kernels, by the reference, and by titans-pytorch 0.5.5 where it is installed.

    atlas kernels build; python -m benchmarks.cpu_forms [--pairs 9] [--threads 1]

Forward and backward, as in `memory_layer` (width 256, 4 heads of 64, T 1,024, batch 2, chunks of 64, fp32), and the
preset `tiny`, as in `against`. What is compared takes turns in one process, so whatever else the machine does falls on
all alike; ratios are medians over the turns of the CPU time of the process, beside which stands the clock.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from statistics import median
from typing import Final, NamedTuple

import torch
from rich.table import Table
from torch import Tensor, nn

from atlas_ref.blocks.memory_layer import MemoryLayer
from atlas_ref.config import load_config
from atlas_ref.memory.kernels.choice import Kernels, chosen
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.models.session import Session
from benchmarks.contenders import BATCH, CONTENDERS, TIME, WIDTH
from benchmarks.layer_worker import build
from benchmarks.report import machine, print_table, write_results

Pass = Callable[[], object]
LAYERS: Final = {
    "titans c=1": "titans-pytorch matrix, bare",
    "omega c=1": "titans-pytorch matrix, bare",
    "omega c=8": "titans-pytorch matrix, bare",
    "omega c=1, mlp": "titans-pytorch mlp, bare",
    "atlas c=1, one write a chunk": "titans-pytorch newton-schulz per chunk",
}
"""Each of our memories, and the setting of titans-pytorch of its kind that was fastest in `memory_layer`."""
FORMS: Final[tuple[Kernels, ...]] = ("cpu", "reference")
DECODED: Final = 16
WARM_UP: Final = 2


class Turns(NamedTuple):
    """Seconds of the CPU and of the clock, of each pass."""

    cpu: list[float]
    wall: list[float]


def layer_pass(layer: nn.Module) -> Pass:
    """Return one forward and backward pass of a layer."""
    hidden, cotangent = torch.randn(BATCH, TIME, WIDTH, requires_grad=True), torch.randn(BATCH, TIME, WIDTH)

    def run() -> None:
        layer.zero_grad(set_to_none=True)
        hidden.grad = None
        output: Tensor = layer(hidden)
        torch.autograd.backward(output, cotangent)

    return run


def by(kernels: Kernels, layer: nn.Module) -> nn.Module:
    """Return a layer of ours whose memory is run by `kernels`."""
    for module in layer.modules():
        if isinstance(module, MemoryLayer):
            module.kernels = kernels
            module.fast.kernels = kernels
    return layer


def subjects() -> Iterator[tuple[str, dict[str, Pass]]]:
    """Yield what is compared: first what the others are set against."""
    for name, peer in LAYERS.items():
        rivals = {peer: layer_pass(build(CONTENDERS[peer]))} if find_spec("titans_pytorch") else {}
        yield name, rivals | {form: layer_pass(by(form, build(CONTENDERS[name]))) for form in FORMS}
    models = {form: load_config("tiny", [f"model.kernels='{form}'"]).model for form in reversed(FORMS)}
    yield "tiny, forward and backward", {form: _whole(AtlasModel(config, 0)) for form, config in models.items()}
    yield "tiny, decoding", {form: _decode(AtlasModel(config, 0)) for form, config in models.items()}


def _whole(model: AtlasModel) -> Pass:
    tokens = torch.randint(model.config.vocab_size, (4, 256))

    def run() -> None:
        model.zero_grad(set_to_none=True)
        logits: Tensor = model(tokens, model.initial_state(4), None).logits
        torch.autograd.backward(logits.logsumexp(-1).mean())

    return run


def _decode(model: AtlasModel) -> Pass:
    session = Session(model, batch=1)

    def run() -> None:
        with torch.inference_mode():
            for token in range(DECODED):
                session(torch.tensor([[token]]))

    return run


def timed(passes: dict[str, Pass], count: int) -> dict[str, Turns]:
    """Return what `count` passes of each took, made in turns after those that warm up."""
    found = {name: Turns([], []) for name in passes}
    for turn in range(count + WARM_UP):
        for name, run in passes.items():
            cpu, wall = time.process_time(), time.perf_counter()
            run()
            seconds = time.process_time() - cpu, time.perf_counter() - wall
            if turn >= WARM_UP:
                found[name].cpu.append(seconds[0])
                found[name].wall.append(seconds[1])
    return found


def main() -> None:
    """Measure, print the table and write the numbers as JSON."""
    parser = argparse.ArgumentParser(description="Time the forms of the memory on a CPU.")
    parser.add_argument("--pairs", type=int, default=9, help="passes of each that count")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # As `atlas train` does, for all alike.
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    chosen("cpu", torch.device("cpu"))
    table = Table(title=f"On a CPU, {options.threads} thread(s): median of {options.pairs} turns")
    for heading in ("subject", "by", "CPU, ms", "clock, ms", "times as fast", "from", "to"):
        table.add_column(heading, justify="left" if heading in ("subject", "by") else "right", no_wrap=True)
    rows: dict[str, dict[str, Turns]] = {}
    for subject, passes in subjects():
        rows[subject] = timed(passes, options.pairs)
        first = next(iter(rows[subject].values()))
        for name, turns in rows[subject].items():
            ratios = sorted(a / b for a, b in zip(first.cpu, turns.cpu, strict=True))
            times = (f"{1000 * median(side):.1f}" for side in turns)
            table.add_row(subject, name, *times, *(f"{r:.2f}" for r in (median(ratios), ratios[0], ratios[-1])))
    print_table(table)
    print(f"wrote {write_results('cpu_forms', {'machine': machine(options.threads), 'rows': rows})}")


if __name__ == "__main__":
    main()
