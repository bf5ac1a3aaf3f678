"""One memory layer on a GPU: its kernels, the reference, and the rivals that are installed.

    python -m benchmarks.kernels [--rows 4 16] [--layers titans DeltaNet] [--tokens 4096] [--precision high]

Forward and backward of a layer with its norm, projections, convolution, gates and output: width 1,024, 16 heads of 64,
chunks of 64 unless a row says otherwise, bf16 autocast. The median of some passes, each ended by a synchronisation, and
the peak of the memory that torch holds; and of the same pass recorded as a CUDA graph and replayed, which is what
training makes of it (`training.graphed`) and what the GPU alone takes. The rivals, DeltaNet of flash-linear-attention
and the MLP memory of titans-pytorch, are timed in the same run, on the same card. `--precision` is that of
`torch.set_float32_matmul_precision`: `high` is tf32, `highest` three products of it for each.

A row is printed as soon as it is known. `first` is what the first pass took: kernels are compiled in it, once for each
layer and not again for other rows; the rival tries many forms of its kernels, so it comes last.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from statistics import median

import torch
from torch import Tensor

from atlas_ref.blocks.memory_layer import MemoryLayer
from atlas_ref.blocks.timeline import make_timeline
from atlas_ref.config import load_config
from atlas_ref.functional.looking import BEGINNING, unseen
from atlas_ref.memory.kernels.choice import Kernels
from benchmarks.report import machine, write_results

WIDTH, HEADS = 1024, 16
LAYERS = {
    "titans": "rule=titans",
    "omega, c = 1": "rule=omega,omega_window=1",
    "omega, c = 8": "rule=omega,omega_window=8",
    "omega, chunks of 16": "rule=omega,omega_window=1,chunk=16",
    "titans, degree 2 of keys of 16": "rule=titans,key_dim=16,features.degree=2",
    "MLP": "rule=titans,architecture=mlp",
    "atlas, every token orthogonalised": "rule=atlas,omega_window=1",
    "atlas, c = 8, degree 2 of keys of 16": "rule=atlas,omega_window=8,key_dim=16,features.degree=2",
}


@dataclass(frozen=True)
class Row:
    """What was timed, million tokens a second at the median, as it is and replayed, GiB at the peak, and seconds of the
    first pass. `replayed` is None where the host has to look at numbers on the way."""

    layer: str
    form: str
    rows: int
    speed: float
    replayed: float | None
    peak: float
    first: float


def training_pass(answer: Callable[[], Tensor], hidden: Tensor, *modules: torch.nn.Module) -> Callable[[], None]:
    """Return a forward and backward pass of `answer`; `modules` have the gradients."""

    def step() -> None:
        for module in modules:
            module.zero_grad(set_to_none=True)
        hidden.grad = None
        with torch.autocast("cuda", torch.bfloat16):
            y = answer()
        torch.autograd.backward(y.sum())

    return step


def memory_layer(rows: int, tokens: int, fields: str, kernels: Kernels) -> Callable[[], None]:
    """Return a pass of a memory layer as a training step makes it that is not logged: without telemetry."""
    memory = ["key_dim=64", "value_dim=64", "chunk=64", "features.degree=1", *fields.split(",")]
    shape = [f"model.d_model={WIDTH}", f"model.n_heads={HEADS}"]
    config = load_config("tiny", [*(f"model.memory.{field}" for field in memory), *shape]).model.memory
    norm, layer = torch.nn.RMSNorm(WIDTH).cuda(), MemoryLayer(WIDTH, HEADS, config, True, kernels).cuda()
    layer.initialise(torch.Generator("cuda").manual_seed(0), 0.02)
    output = torch.nn.Linear(WIDTH, WIDTH, bias=False).cuda()
    hidden = torch.randn(rows, tokens, WIDTH, device="cuda", requires_grad=True)

    def answer() -> Tensor:
        state = layer.initial_state(rows)
        timeline = make_timeline(config, state.context, state.memory.position, None, tokens)
        y: Tensor = output(layer(norm(hidden), state, timeline, measured=False).reads)
        return y

    return training_pass(answer, hidden, norm, layer, output)


def delta_net(rows: int, tokens: int) -> Callable[[], None] | None:
    """Return a pass of the rival's layer, None where it is not installed."""
    try:
        from fla.layers import DeltaNet
    except ImportError:
        return None
    layer, norm = DeltaNet(hidden_size=WIDTH, num_heads=HEADS).cuda(), torch.nn.RMSNorm(WIDTH).cuda()
    hidden = torch.randn(rows, tokens, WIDTH, device="cuda", requires_grad=True)
    return training_pass(lambda: layer(norm(hidden))[0], hidden, norm, layer)


def titans_pytorch(rows: int, tokens: int) -> Callable[[], None] | None:
    """Return a pass of titans-pytorch's memory of two layers in its fastest setting, None where it is not installed."""
    try:
        from titans_pytorch import MemoryMLP, NeuralMemory
    except ImportError:
        return None
    model = MemoryMLP(WIDTH // HEADS, depth=2, expansion_factor=4.0)
    shape = {"dim": WIDTH, "heads": HEADS, "dim_head": WIDTH // HEADS, "chunk_size": 64}
    layer = NeuralMemory(**shape, model=model, mem_model_norm_add_residual=False).cuda()
    hidden = torch.randn(rows, tokens, WIDTH, device="cuda", requires_grad=True)
    return training_pass(lambda: layer(hidden)[0], hidden, layer)


def seconds_of(step: Callable[[], None]) -> float:
    """Return what one pass takes."""
    started = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def timed(step: Callable[[], None], passes: int) -> tuple[float, float, float]:
    """Return the median of some passes in seconds after three that compile and warm up, the peak in GiB, and what the
    first of all took."""
    first = seconds_of(step)
    for _ in range(2):
        step()
    torch.cuda.reset_peak_memory_stats()
    usual = median(seconds_of(step) for _ in range(passes))
    return usual, torch.cuda.max_memory_allocated() / 2**30, first


def replayed(step: Callable[[], None], passes: int) -> float:
    """Return the median of some passes in seconds that are replays of one that was recorded."""
    graph = torch.cuda.CUDAGraph()
    # What only saves work is not asked for, as in a recorded step of training.
    with unseen(BEGINNING):
        step()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            step()
    graph.replay()
    torch.cuda.synchronize()
    return median(seconds_of(graph.replay) for _ in range(passes))


def _made(tokens: int, fields: str, kernels: Kernels) -> Callable[[int], Callable[[], None]]:
    """Return what makes a pass of a layer from its rows."""
    return lambda rows: memory_layer(rows, tokens, fields, kernels)


def subjects(tokens: int) -> list[tuple[str, str, Callable[[int], Callable[[], None] | None]]]:
    """Return every layer by kernels, one by the reference, and the rival."""
    found: list[tuple[str, str, Callable[[int], Callable[[], None] | None]]] = []
    for name, fields in LAYERS.items():
        found.append((name, "triton", _made(tokens, fields, "triton")))
    found.append(("omega, c = 1", "reference", _made(tokens, LAYERS["omega, c = 1"], "reference")))
    found.append(("MLP", "reference", _made(tokens, LAYERS["MLP"], "reference")))
    found.append(("DeltaNet", "flash-linear-attention", lambda batch: delta_net(batch, tokens)))
    found.append(("MLP", "titans-pytorch", lambda batch: titans_pytorch(batch, tokens)))
    return found


def measure(layers: list[str], rows: list[int], tokens: int, passes: int) -> Iterator[Row]:
    """Time the layers that are named, or all where none is."""
    for name, form, make in subjects(tokens):
        if layers and name not in layers:
            continue
        for batch in rows:
            step = make(batch)
            if step is not None:
                usual, peak, first = timed(step, passes)
                # It asks for numbers of tensors on the way.
                again = None if form == "titans-pytorch" else batch * tokens / replayed(step, passes) / 1e6
                yield Row(name, form, batch, batch * tokens / usual / 1e6, again, peak, first)
            del step
            torch.cuda.empty_cache()


def main() -> None:
    """Measure, print the table and write the numbers as JSON."""
    parser = argparse.ArgumentParser(description="Time one memory layer on a GPU.")
    parser.add_argument("--rows", type=int, nargs="+", default=[4, 16], help="rows of a batch")
    names = [*LAYERS, "DeltaNet"]
    parser.add_argument("--layers", nargs="+", default=[], choices=names, metavar="LAYER", help=f"of {names}")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens of a row")
    parser.add_argument("--passes", type=int, default=10, help="passes that count")
    parser.add_argument("--precision", choices=["high", "highest"], default="high", help="of products of float32")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("no GPU was found: kernels are timed where they are compiled")
    torch.set_float32_matmul_precision(options.precision)
    print(f"One layer, forward + backward, {options.tokens} tokens a row, {torch.cuda.get_device_name()}")
    print("| layer | form | rows | M tokens/s | replayed | GiB | first, s |\n|---|---|---|---|---|---|---|", flush=True)
    found = []
    for row in measure(options.layers, options.rows, options.tokens, options.passes):
        found.append(asdict(row))
        again = "" if row.replayed is None else f"{row.replayed:.3f}"
        sizes = f"{row.speed:.3f} | {again} | {row.peak:.2f} | {row.first:.1f}"
        print(f"| {row.layer} | {row.form} | {row.rows} | {sizes} |", flush=True)
    print(f"wrote {write_results('kernels', {'machine': machine(1), 'rows': found})}")


if __name__ == "__main__":
    main()
