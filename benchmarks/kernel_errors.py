"""How far kernels in Triton are from float64, beside the plain form in the same precision: reads, states, gradients.

    python -m benchmarks.kernel_errors [--architecture matrix] [--every 1] [--precisions highest high] [--jobs 1]
        [--seconds 3600]

Every rule that they know, of a matrix or of two layers (`mlp`), over short and long calls, chunks, windows and sizes;
reading time, the borders of windows and the scale of steps are drawn cell by cell. Each has three rows out of step,
documents that begin anywhere, keys and queries that lie between other numbers, and a call that is cut into three.
`highest` is float32, `high` tf32: what a library takes for a product in tf32 depends on its shape, so the plain form
rounds every factor of a product to ten bits and multiplies in float32. An error is the largest of a tensor over its
largest entry in float64, by the recurrence. A ratio is that of two errors of one tensor of one cell; one below
`ROUNDED` counts as that, as an answer may be exact by chance. Single ratios spread, as two roundings of one number do:
what is asked is that the worst error of all cells is no more than twice that of the plain form, and so the ratio in the
geometric mean. Cells of which kernels have no form are left out, and those that there was no time for.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from itertools import product
from multiprocessing import get_context
from statistics import geometric_mean
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.kernels.known import supports, supports_mlp
from atlas_ref.memory.recurrent import MemoryOutput, memory_recurrent
from atlas_ref.memory.rules import ArchitectureName, Gates
from atlas_ref.memory.state import MemoryState
from benchmarks.report import machine, write_results
from spec_tests.chapters.memory_chunked.grid import pieces
from spec_tests.chapters.memory_step.calls import HEADS, ORTHOGONALISED, RULES, beginnings, directions, gates, rule
from spec_tests.drawing.inputs import generator
from spec_tests.ports.reference.memory import memory_rule

WHOLE: Final[Mapping[str, tuple[Any, ...]]] = {
    "rule": RULES,
    "time": (1, 2, 3, 4, 100),
    "chunk": (1, 4, 64),
    "window": (1, 2, 8),
    "sizes": ((64, 64), (16, 12), (152, 64)),
}
OF_MLP: Final[Mapping[str, tuple[Any, ...]]] = {
    **WHOLE,
    "rule": tuple(name for name in RULES if name not in ORTHOGONALISED),
    "sizes": ((64, 64), (16, 12)),
}
DRAWN: Final[Mapping[str, tuple[Any, ...]]] = {
    "boundary": ("carry", "truncate"),
    "read": ("post", "pre", "anchor"),
    "step_scale": ("literal", "mass"),
}
BATCH: Final = 3
ROUNDED: Final = {"highest": 2.0**-22, "high": 2.0**-11}
"""What rounding one product may cost."""
ALLOWED: Final = 2.0
EXPANSION: Final = 4
STATES: Final = ("weights", "momentum", "anchor")
Cell = Mapping[str, Any]
Answers = dict[str, Tensor]


class Found(NamedTuple):
    """Errors of one tensor of a cell: of the kernels and of the plain form."""

    precision: str
    cell: str
    rule: str
    layers: int
    tensor: str
    kernels: float
    plain: float

    @property
    def ratio(self) -> float:
        """Return how many times as large the error of the kernels is."""
        least = ROUNDED[self.precision]
        return max(self.kernels, least) / max(self.plain, least)


def _in_ten_bits(mode: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """Round what is multiplied as matrices to ten bits behind the point, forwards and backwards, as tf32 has them."""
    del mode, types
    kind, first = func._overloadpacket, len(args)
    if kind in (torch.ops.aten.mm, torch.ops.aten.bmm):
        first = 0
    elif kind in (torch.ops.aten.addmm, torch.ops.aten.baddbmm):
        first = 1
    return func(*(x if n < first else ten_bits(x) for n, x in enumerate(args)), **(kwargs or {}))


def ten_bits(x: Tensor) -> Tensor:
    """Return x of float32 with ten bits behind the point, to nearest."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


# A class statement would call what torch has without annotations.
TenBits: Any = type("TenBits", (TorchDispatchMode,), {"__torch_dispatch__": _in_ten_bits})


def cells(architecture: ArchitectureName) -> Iterator[dict[str, Any]]:
    """Yield every cell; `delta` has a window of one token only."""
    turns, axes = list(product(*DRAWN.values())), OF_MLP if architecture == "mlp" else WHOLE
    for number, values in enumerate(product(*axes.values())):
        cell = dict(zip(axes, values, strict=True)) | {"architecture": architecture}
        if cell["rule"] != "delta" or cell["window"] == 1:
            yield cell | dict(zip(DRAWN, turns[int(generator(number).integers(len(turns)))], strict=True))


def drawn(cell: Cell, config: dict[str, Any], seed: int) -> tuple[Answers, Tensor, Tensor]:
    """Return what a cell is given that has a gradient, the marks of its documents and where its rows stand."""
    (features, values), rng, past = cell["sizes"], generator(seed), cell["window"] - 1
    tokens, hidden = (BATCH, cell["time"], HEADS), EXPANSION * values
    layers = ((values, hidden), (hidden, features)) if cell["architecture"] == "mlp" else ((values, features),)
    position = rng.integers(1, 40, BATCH)
    position[0] = 0
    live = (torch.arange(past, 0, -1) <= torch.tensor(position)[:, None])[..., None, None]
    arrays = {
        "keys": directions((*tokens, features), seed + 1),
        "values": rng.standard_normal((*tokens, values)),
        "queries": directions((*tokens, features), seed + 2),
        **gates(config, tokens, cell["window"], seed + 3),
        **{f"initial.{n}": rng.standard_normal((HEADS, *x)) / x[1] ** 0.5 for n, x in enumerate(layers)},
        **{
            f"{name}.{n}": rng.standard_normal((BATCH, HEADS, *x)) / x[1] ** 0.5
            for name in STATES
            for n, x in enumerate(layers)
        },
        "window_keys": directions((BATCH, past, HEADS, features), seed + 4),
        "window_values": rng.standard_normal((BATCH, past, HEADS, values)),
    }
    found = {name: torch.tensor(value, dtype=torch.float32) for name, value in arrays.items()}
    for name in ("window_keys", "window_values"):
        found[name] = torch.where(live, found[name], 0.0)
    marks = beginnings(BATCH, cell["time"], (5, 60)[seed % 2], rng)
    return found, torch.tensor(marks, dtype=torch.bool), torch.tensor(position)


def answers(
    form: str, kind: torch.dtype, config: dict[str, Any], given: tuple[Answers, Tensor, Tensor], cuts: list[slice]
) -> Answers:
    """Return reads, states and gradients of one way to run a cell, in float64."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tensors, marks, position = given
    x = {name: value.to(device, kind).requires_grad_() for name, value in tensors.items()}
    marks, position = marks.to(device), position.to(device)
    # As a projection leaves them: side by side, and not one behind the other.
    width = x["keys"].shape[-1]
    keys, queries = torch.cat([x["keys"], x["queries"]], -1).tensor_split([width], -1)
    tokens = (keys, x["values"], queries, x["retention"], x["momentum_decay"], x["step_size"], x["window_weights"])
    layers = [name.partition(".")[2] for name in x if name.startswith("initial.")]
    initial, weights, momentum, anchor = (tuple(x[f"{name}.{n}"] for n in layers) for name in ("initial", *STATES))
    state = MemoryState(weights, momentum, anchor, x["window_keys"], x["window_values"], position)
    reads = []
    for cut in cuts:
        k, v, q, *gate = (part[:, cut] for part in tokens)
        output = _run(form, config, (k, v, q, Gates(*gate), initial, state, marks[:, cut]))
        state = output.state
        reads.append(output.reads)
    after = zip(STATES, (state.weights, state.momentum, state.anchor), strict=True)
    found = {"reads": torch.cat(reads, 1)}
    found |= {f"{name}.{n}": part for name, parts in after for n, part in enumerate(parts)}
    random = torch.Generator().manual_seed(0)
    asked = [torch.randn(part.shape, generator=random).to(part) for part in found.values()]
    leaves = list(x.values())
    slopes = torch.autograd.grad(list(found.values()), leaves, asked, allow_unused=True, materialize_grads=True)
    found |= {f"grad.{name}": slope for name, slope in zip(x, slopes, strict=True)}
    return {name: part.detach().double().cpu() for name, part in found.items() if part.numel()}


def _run(form: str, config: dict[str, Any], given: tuple[Any, ...]) -> MemoryOutput:
    if form == "recurrence":
        return memory_recurrent(memory_rule(config), *given)
    return memory_chunked(memory_rule(config), *given, kernels="triton" if form == "triton" else "reference")


def measure(numbered: tuple[int, dict[str, Any]], precisions: list[str]) -> list[Found]:
    """Return the errors of a cell in each precision."""
    seed, cell = numbered
    torch.set_num_threads(1)
    options = {name: cell[name] for name in ("chunk", *DRAWN)}
    config, time = rule(cell["rule"], cell["architecture"], **options), int(cell["time"])
    given, found = drawn(cell, config, seed), []
    layers = sum(name.startswith("initial.") for name in given[0])
    exact = answers("recurrence", torch.float64, config, given, [slice(0, time)])
    whole, parts = [slice(0, time)], pieces(time, cell["chunk"], seed)
    slots = min(cell["chunk"], time) + cell["window"] - 1
    for precision in precisions:
        torch.set_float32_matmul_precision(precision)
        asked = (memory_rule(config), given[0]["keys"], given[0]["values"], slots)
        if time == 1 or not (supports(*asked) or supports_mlp(*asked)):
            continue
        for name, cuts in (("", whole), ("split ", [part for part in parts if part.start < part.stop])):
            ours = answers("triton", torch.float32, config, given, cuts)
            torch.set_float32_matmul_precision("highest")
            with TenBits() if precision == "high" else nullcontext():
                plain = answers("reference", torch.float32, config, given, cuts)
            torch.set_float32_matmul_precision(precision)
            described = " ".join(f"{key}={value}" for key, value in cell.items())
            for tensor, right in exact.items():
                size = max(float(right.abs().max()), 1e-30)
                errors = (float((each[tensor] - right).abs().max()) / size for each in (ours, plain))
                found.append(Found(precision, name + described, cell["rule"], layers, tensor, *errors))
    torch.set_float32_matmul_precision("highest")
    return found


def groups(found: list[Found]) -> dict[tuple[str, str, str], list[Found]]:
    """Return what was found by precision, kind of rule and kind of tensor."""
    apart: dict[tuple[str, str, str], list[Found]] = {}
    for f in found:
        rules = "Newton-Schulz" if f.rule in ORTHOGONALISED else "two layers" if f.layers > 1 else "linear"
        kind = "gradients" if f.tensor.startswith("grad.") else "reads and states"
        apart.setdefault((f.precision, rules, kind), []).append(f)
    return dict(sorted(apart.items()))


def holds(group: list[Found]) -> bool:
    """Return whether kernels err no more than is asked (module docstring); not where an error is NaN."""
    worst = max(f.kernels for f in group) <= ALLOWED * max(ROUNDED[group[0].precision], *(f.plain for f in group))
    return worst and geometric_mean(f.ratio for f in group) <= ALLOWED and all(f.kernels == f.kernels for f in group)


def summary(found: list[Found]) -> Iterator[str]:
    """Yield a line for each group."""
    yield "| products | rules | of | tensors | plain, worst | kernels, worst | ratio, mean | worst | above 2 |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for names, group in groups(found).items():
        ratios = [f.ratio for f in group]
        errors = f"{max(f.plain for f in group):.1e} | {max(f.kernels for f in group):.1e}"
        shares = f"{geometric_mean(ratios):.2f} | {max(ratios):.2f} | {sum(ratio > ALLOWED for ratio in ratios)}"
        yield f"| {' | '.join(names)} | {len(group)} | {errors} | {shares} |"


def main() -> None:
    """Run the grid, print a summary and the worst cells, and write all as JSON; exit 1 where a ratio is above 2."""
    parser = argparse.ArgumentParser(description="Compare kernels in Triton and the plain form with float64.")
    parser.add_argument("--architecture", choices=["matrix", "mlp"], default="matrix", help="what is written")
    parser.add_argument("--every", type=int, default=1, help="run each n-th cell only")
    parser.add_argument("--precisions", nargs="+", default=list(ROUNDED), choices=list(ROUNDED))
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time, as most of the time is compilation")
    parser.add_argument("--seconds", type=float, default=3600.0, help="after which no cell is begun")
    options = parser.parse_args()
    numbered = list(enumerate(cells(options.architecture)))[:: options.every]
    # Long and short calls by turns, whatever there is time for.
    generator(1).shuffle(numbered)
    found, done, began = list[Found](), 0, time.monotonic()
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(measure, each, options.precisions) for each in numbered]
        for done, each in enumerate(as_completed(waiting), 1):
            found += each.result()
            if done % 10 == 0:
                print(f"{done} of {len(numbered)} cells", flush=True)
            if time.monotonic() - began > options.seconds:
                pool.shutdown(wait=True, cancel_futures=True)
                break
    print(f"{done} cells, {torch.cuda.get_device_name() if torch.cuda.is_available() else 'interpreted'}")
    print("\n".join(summary(found)))
    for f in sorted(found, key=lambda f: -f.ratio)[:20]:
        print(f"{f.ratio:.1f} times: {f.precision} {f.tensor} {f.kernels:.1e} against {f.plain:.1e} in {f.cell}")
    print(f"wrote {write_results('kernel_errors', {'machine': machine(1), 'found': [f._asdict() for f in found]})}")
    if not all(holds(group) for group in groups(found).values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
