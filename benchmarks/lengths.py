"""One memory layer on a GPU, from a thousand tokens to sixty-five thousand: its speed and its peak memory.

    python -m benchmarks.lengths [--tokens 1024 4096 16384 65536] [--passes 5] [--picture docs/images/speed-length.png]

The layer of `benchmarks.kernels`, one row, forward and backward in bf16 autocast, at each length by the kernels and, up
to REFERENCE_MOST tokens, by the reference; the rival where it is installed. What is linear in the length has a peak
that doubles with it. `--draw` makes the picture of numbers that were measured before.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from atlas_ref.memory.kernels.choice import Kernels
from benchmarks.kernels import LAYERS, delta_net, memory_layer, timed
from benchmarks.report import RESULTS, machine, write_results

TOKENS = [2**n for n in range(10, 17)]
REFERENCE_MOST = 16_384
"""Most tokens of the reference: it is slow, and its length is not in question."""
SHOWN = ("titans", "omega, c = 8", "atlas, every token orthogonalised")


@dataclass(frozen=True)
class Point:
    """A layer in one form at one length: million tokens a second at the median, GiB at the peak."""

    layer: str
    tokens: int
    speed: float
    peak: float


def subjects() -> Iterator[tuple[str, Callable[[int], Callable[[], None] | None], int]]:
    """Yield what is timed: its name, a pass at some length or None where it is not installed, and its most tokens.

    The rival comes last: it tries many forms of its kernels at every length.
    """
    for name in SHOWN:
        yield name, _layer(name, "triton"), max(TOKENS)
    yield "titans, by the reference", _layer("titans", "reference"), REFERENCE_MOST
    yield "DeltaNet of flash-linear-attention", partial(delta_net, 1), max(TOKENS)


def _layer(name: str, form: Kernels) -> Callable[[int], Callable[[], None]]:
    return lambda tokens: memory_layer(1, tokens, LAYERS[name], form)


def measure(lengths: list[int], passes: int) -> Iterator[Point]:
    """Time every subject at every length, one subject after another."""
    for name, make, most in subjects():
        for tokens in (each for each in lengths if each <= most):
            if (step := make(tokens)) is not None:
                usual, peak, _ = timed(step, passes)
                yield Point(name, tokens, tokens / usual / 1e6, peak)
            del step
            torch.cuda.empty_cache()


def draw(points: list[Point], card: str, path: Path) -> None:
    """Draw speed and peak memory against the length, a subject a line."""
    from matplotlib.figure import Figure  # where kernels are timed there may be nothing to draw with

    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    speed, peak = figure.subplots(1, 2)
    for name in dict.fromkeys(point.layer for point in points):
        mine = [point for point in points if point.layer == name]
        lengths = [point.tokens for point in mine]
        for axes, values in ((speed, [p.speed for p in mine]), (peak, [p.peak for p in mine])):
            axes.plot(lengths, values, marker="o", markersize=3, label=name)
    for axes, what in ((speed, "million tokens a second"), (peak, "GiB at the peak")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("tokens of the row")
        axes.set_ylabel(what)
        axes.grid(alpha=0.3)
    figure.legend(*speed.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    figure.suptitle(f"One layer, forward and backward, width 1,024, {card}", fontsize=10)
    figure.savefig(path, dpi=150)
    print(f"wrote {path}")


def main() -> None:
    """Measure, print the table row by row, write the numbers as JSON, and draw them."""
    parser = argparse.ArgumentParser(description="Time one memory layer on a GPU at several lengths.")
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS, help="tokens of the row")
    parser.add_argument("--passes", type=int, default=5, help="passes that count")
    parser.add_argument("--picture", type=Path, help="file of the picture")
    parser.add_argument("--draw", type=Path, metavar="JSON", help="numbers of before, in place of measuring")
    options = parser.parse_args()
    if options.draw:
        told = json.loads(options.draw.read_text())
    elif torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
        told = {"card": torch.cuda.get_device_name(), "machine": machine(1), "points": []}
        print("| layer | tokens | M tokens/s | GiB |\n|---|---|---|---|")
        for point in measure(options.tokens, options.passes):
            print(f"| {point.layer} | {point.tokens:,} | {point.speed:.3f} | {point.peak:.2f} |", flush=True)
            told["points"].append(asdict(point))
            write_results("lengths", told)
    else:
        parser.error("no GPU was found: kernels are timed where they are compiled")
    if options.picture:
        draw([Point(**point) for point in told["points"]], told["card"], options.picture)
    print(f"numbers: {options.draw or RESULTS / 'lengths.json'}")


if __name__ == "__main__":
    main()
