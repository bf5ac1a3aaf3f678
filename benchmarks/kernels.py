"""One memory layer on a GPU: its kernels, the reference, and DeltaNet of flash-linear-attention where it is there.

    python -m benchmarks.kernels [--rows 4 16] [--tokens 4096] [--passes 10] [--precision high]

Forward and backward of a layer with its norm, projections, convolution, gates and output: width 1,024, 16 heads of 64,
chunks of 64 unless a row says otherwise, bf16 autocast. The median of some passes, each ended by a synchronisation, and
the peak of the memory that torch holds. The rival is timed in the same run, on the same card. `--precision` is that of
`torch.set_float32_matmul_precision`: `high` is tf32, `highest` three products of it for each.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median

import torch
from rich.table import Table
from torch import Tensor

from atlas_ref.blocks.memory_layer import MemoryLayer
from atlas_ref.blocks.timeline import make_timeline
from atlas_ref.config import load_config
from atlas_ref.memory.kernels.choice import Kernels
from benchmarks.report import machine, print_table, write_results

WIDTH, HEADS = 1024, 16
LAYERS = {
    "titans": "rule=titans",
    "omega, c = 1": "rule=omega,omega_window=1",
    "omega, c = 8": "rule=omega,omega_window=8",
    "omega, chunks of 16": "rule=omega,omega_window=1,chunk=16",
    "titans, degree 2 of keys of 16": "rule=titans,key_dim=16,features.degree=2",
    "atlas, every token orthogonalised": "rule=atlas,omega_window=1",
    "atlas, c = 8, degree 2 of keys of 16": "rule=atlas,omega_window=8,key_dim=16,features.degree=2",
}


@dataclass(frozen=True)
class Row:
    """What was timed, million tokens a second at the median, and GiB at the peak."""

    layer: str
    form: str
    rows: int
    speed: float
    peak: float


def memory_layer(rows: int, tokens: int, fields: str, kernels: Kernels) -> Callable[[], None]:
    """Return a pass of a memory layer as a training step makes it that is not logged: without telemetry."""
    memory = ["key_dim=64", "value_dim=64", "chunk=64", "features.degree=1", *fields.split(",")]
    shape = [f"model.d_model={WIDTH}", f"model.n_heads={HEADS}"]
    config = load_config("tiny", [*(f"model.memory.{field}" for field in memory), *shape]).model.memory
    norm, layer = torch.nn.RMSNorm(WIDTH).cuda(), MemoryLayer(WIDTH, HEADS, config, True, kernels).cuda()
    layer.initialise(torch.Generator("cuda").manual_seed(0), 0.02)
    output = torch.nn.Linear(WIDTH, WIDTH, bias=False).cuda()
    hidden = torch.randn(rows, tokens, WIDTH, device="cuda", requires_grad=True)

    def step() -> None:
        for module in (norm, layer, output):
            module.zero_grad(set_to_none=True)
        hidden.grad = None
        with torch.autocast("cuda", torch.bfloat16):
            state = layer.initial_state(rows)
            timeline = make_timeline(config, state.context, state.memory.position, None, tokens)
            y: Tensor = output(layer(norm(hidden), state, timeline, measured=False).reads)
        torch.autograd.backward(y.sum())
        torch.cuda.synchronize()

    return step


def delta_net(rows: int, tokens: int) -> Callable[[], None] | None:
    """Return a pass of the rival's layer, None where it is not installed."""
    try:
        from fla.layers import DeltaNet
    except ImportError:
        return None
    layer, norm = DeltaNet(hidden_size=WIDTH, num_heads=HEADS).cuda(), torch.nn.RMSNorm(WIDTH).cuda()
    hidden = torch.randn(rows, tokens, WIDTH, device="cuda", requires_grad=True)

    def step() -> None:
        layer.zero_grad(set_to_none=True)
        hidden.grad = None
        with torch.autocast("cuda", torch.bfloat16):
            y: Tensor = layer(norm(hidden))[0]
        torch.autograd.backward(y.sum())
        torch.cuda.synchronize()

    return step


def timed(step: Callable[[], None], passes: int) -> tuple[float, float]:
    """Return the median of some passes in seconds after three that compile and warm up, and the peak in GiB."""
    for _ in range(3):
        step()
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(passes):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return median(seconds), torch.cuda.max_memory_allocated() / 2**30


def _made(tokens: int, fields: str, kernels: Kernels) -> Callable[[int], Callable[[], None]]:
    """Return what makes a pass of a layer from its rows."""
    return lambda rows: memory_layer(rows, tokens, fields, kernels)


def measure(rows: list[int], tokens: int, passes: int) -> list[Row]:
    """Time every layer by kernels, one by the reference, and the rival."""
    subjects: list[tuple[str, str, Callable[[int], Callable[[], None] | None]]] = [
        ("DeltaNet", "flash-linear-attention", lambda batch: delta_net(batch, tokens))
    ]
    for name, fields in LAYERS.items():
        subjects.append((name, "triton", _made(tokens, fields, "triton")))
    subjects.append(("omega, c = 1", "reference", _made(tokens, LAYERS["omega, c = 1"], "reference")))
    found = []
    for name, form, make in subjects:
        for batch in rows:
            step = make(batch)
            if step is not None:
                seconds, peak = timed(step, passes)
                found.append(Row(name, form, batch, batch * tokens / seconds / 1e6, peak))
            torch.cuda.empty_cache()
    return found


def main() -> None:
    """Measure, print the table and write the numbers as JSON."""
    parser = argparse.ArgumentParser(description="Time one memory layer on a GPU.")
    parser.add_argument("--rows", type=int, nargs="+", default=[4, 16], help="rows of a batch")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens of a row")
    parser.add_argument("--passes", type=int, default=10, help="passes that count")
    parser.add_argument("--precision", choices=["high", "highest"], default="high", help="of products of float32")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("no GPU was found: kernels are timed where they are compiled")
    torch.set_float32_matmul_precision(options.precision)
    found = measure(options.rows, options.tokens, options.passes)
    table = Table(title=f"One layer, forward + backward, {options.tokens} tokens, {torch.cuda.get_device_name()}")
    for heading in ("layer", "form", "rows", "M tokens/s", "GiB"):
        table.add_column(heading, justify="left" if heading in ("layer", "form") else "right", no_wrap=True)
    for row in found:
        table.add_row(row.layer, row.form, str(row.rows), f"{row.speed:.3f}", f"{row.peak:.2f}")
    print_table(table)
    print(f"wrote {write_results('kernels', {'machine': machine(1), 'rows': [asdict(row) for row in found]})}")


if __name__ == "__main__":
    main()
