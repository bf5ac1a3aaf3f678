"""Inner stability: which cells of a grid of hard inputs stay finite and bounded, and what a search can still provoke.

    python -m benchmarks.stability [--jobs 1]
    python -m benchmarks.stability --triton [--seconds 3600]      kernels on a GPU: of a matrix, what they know

Every rule and architecture, with step_scale `mass` and `literal` beside each other, over chunk lengths b, windows c and
the 80 cells of `spec_tests.package.memory.stability_cells`; a backward pass through each. A subset runs over 16,384
tokens. The search then climbs the gradient of ||M_T|| over gates, keys and values together, and repeats what it found
32 times: growth that compounds would show as its 32nd power.
"""

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, product
from multiprocessing import get_context
from time import monotonic
from typing import get_args

import torch
from rich.table import Table
from torch.utils._pytree import tree_map_only

from atlas_ref.memory.kernels.choice import Kernels
from atlas_ref.memory.kernels.known import fits
from atlas_ref.memory.rules import ORTHOGONALISED, ArchitectureName, RuleName, StepScale
from benchmarks.report import machine, print_table, write_results
from benchmarks.stability_search import Attack, attack
from spec_tests.package.memory.stability_cells import (
    CELLS,
    DIM,
    GRADIENT_BOUND,
    STATE_BOUND,
    Cell,
    Findings,
    hard_inputs,
    make_rule,
    run_cells,
)

RULES: tuple[RuleName, ...] = get_args(RuleName)
ARCHITECTURES: tuple[ArchitectureName, ...] = ("matrix", "mlp")
SCALES: tuple[StepScale, ...] = get_args(StepScale)
CHUNKS, WINDOWS = (1, 4, 16, 64, 256), (1, 4, 16)
LONG = 16_384
LONG_CELLS = tuple(cell for cell in CELLS if cell.gates in ("ceiling", "bursts") and cell.precision == "bf16_io")
SEARCHED_CHUNKS = (1, 16)
SEED = 0


@dataclass(frozen=True)
class Setting:
    """One run of many cells."""

    rule: RuleName
    architecture: ArchitectureName
    step_scale: StepScale
    chunk: int
    window: int
    time: int

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The hard inputs; fewer where the sequence is long."""
        return LONG_CELLS if self.time == LONG else CELLS


@dataclass(frozen=True)
class Outcome:
    """How many cells of a setting went wrong, and the worst: sizes as in `Findings`, None where not finite."""

    setting: Setting
    cells: int
    not_finite: int
    unbounded: int
    state: float | None
    gradient: float | None
    worst: str


def grid() -> list[Setting]:
    """Return all settings. Newton-Schulz runs one matrix a token, so its sequences are shorter and skip c = 4."""
    settings = []
    for rule in RULES:
        windows = (1,) if rule == "delta" else (1, 16) if rule in ORTHOGONALISED else WINDOWS
        lengths = dict.fromkeys(CHUNKS, 512 if rule in ORTHOGONALISED else 2048) | {256: 1024}
        short = [(chunk, window, lengths[chunk]) for chunk in CHUNKS for window in windows]
        # One token at a time over 16,384 is slow, and the other extreme of b needs the memory of b^2.
        for chunk, window, time in [*short, (16, 1, LONG), (64, windows[-1], LONG)]:
            settings += [
                Setting(rule, architecture, scale, chunk, window, time)
                for architecture in ARCHITECTURES
                for scale in SCALES
            ]
    return settings


def run(setting: Setting, kernels: Kernels = "reference") -> Outcome:
    """Run all cells of a setting, forward and backward; kernels in Triton on a GPU, with products of float32."""
    torch.set_num_threads(1)
    rule = make_rule(setting.rule, setting.architecture, setting.step_scale, setting.chunk)
    inputs = hard_inputs(setting.cells, setting.architecture, setting.time, setting.window, SEED)
    if kernels == "triton":
        inputs = tree_map_only(torch.Tensor, lambda x: x.cuda(), inputs)
    found = Findings(*(x.cpu() for x in run_cells(rule, inputs, SEED, kernels)))
    over = torch.maximum(found.state / STATE_BOUND, found.gradient / GRADIENT_BOUND)
    return Outcome(
        setting,
        cells=len(setting.cells),
        not_finite=int((~found.finite).sum()),
        unbounded=int((~found.bounded).sum()),
        state=_number(found.state),
        gradient=_number(found.gradient),
        worst=" ".join(setting.cells[int(over.argmax())]),
    )


def on_gpu(seconds: float) -> Iterator[Outcome]:
    """Run by kernels what they know of the grid, the shortest settings first, until the time is up."""
    began = monotonic()
    for setting in sorted(grid(), key=lambda each: (each.time, -each.chunk)):
        rule = make_rule(setting.rule, setting.architecture, setting.step_scale, setting.chunk)
        known = setting.architecture == "matrix" and fits(rule, DIM, DIM, setting.chunk + setting.window - 1)
        if known and monotonic() - began < seconds:
            outcome = run(setting, "triton")
            print(f"{outcome.not_finite} / {outcome.unbounded} of {outcome.cells} cells: {setting}", flush=True)
            yield outcome


def _number(sizes: torch.Tensor) -> float | None:
    """Return the largest size, or None, as JSON has no infinity."""
    largest = sizes.max()
    return largest.item() if largest.isfinite() else None


def table(outcomes: list[Outcome]) -> Table:
    """Return a line for each rule and architecture: cells not finite and unbounded, and the largest finite sizes."""
    result = Table(title=f"Cells not finite / beyond ||M|| {STATE_BOUND:g}, gradient {GRADIENT_BOUND:g}; largest sizes")
    result.add_column("rule", no_wrap=True)
    for heading in ("memory", "cells", *(f"{scale}{what}" for scale in SCALES for what in (" bad", " ||M||", " grad"))):
        result.add_column(heading, justify="right", no_wrap=True)
    for rule, architecture in product(RULES, ARCHITECTURES):
        mine = [o for o in outcomes if (o.setting.rule, o.setting.architecture) == (rule, architecture)]
        if not mine:
            continue
        columns = [_columns([o for o in mine if o.setting.step_scale == scale]) for scale in SCALES]
        result.add_row(rule, architecture, str(sum(o.cells for o in mine) // len(SCALES)), *chain(*columns))
    return result


def _columns(outcomes: list[Outcome]) -> tuple[str, str, str]:
    """Return the numbers of bad cells, the largest state and the largest gradient."""
    bad = f"{sum(o.not_finite for o in outcomes)} / {sum(o.unbounded for o in outcomes)}"
    return bad, _largest([o.state for o in outcomes]), _largest([o.gradient for o in outcomes])


def _largest(sizes: list[float | None]) -> str:
    """Return the largest size; None stands for infinity."""
    known = [size for size in sizes if size is not None]
    return f"{max(known, default=0.0):.3g}" if len(known) == len(sizes) else "inf"


def search_table(attacks: list[Attack]) -> Table:
    """Return what the search reached."""
    result = Table(title="Largest ||M_T|| over max(||M_0||, ||v||) that a search found, and after 32 rounds of it")
    for heading in ("rule", "memory", "b", "at random", "found", "repeated"):
        result.add_column(heading, justify="right", no_wrap=True)
    for found in attacks:
        sizes = (f"{size:.3g}" for size in (found.start, found.best, found.repeated))
        result.add_row(found.rule, found.architecture, str(found.chunk), *sizes)
    return result


def main() -> None:
    """Run the grid and the search, print both tables and write the numbers as JSON."""
    parser = argparse.ArgumentParser(description="Look for inputs that make a memory diverge.")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time, one thread each")
    parser.add_argument("--triton", action="store_true", help="kernels on a GPU, without the search")
    parser.add_argument("--seconds", type=float, default=3600.0, help="after which no setting is begun, on a GPU")
    options = parser.parse_args()
    before = machine(1)
    if options.triton:
        print_table(table(list(on_gpu(options.seconds))))
        return
    targets = [(rule, kind, chunk) for rule in RULES for kind in ARCHITECTURES for chunk in SEARCHED_CHUNKS]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        outcomes = list(pool.map(run, grid()))
        print_table(table(outcomes))
        attacks = list(pool.map(partial(attack, seed=SEED), *zip(*targets, strict=True)))
    print_table(search_table(attacks))
    path = write_results(
        "stability",
        {
            "machine": before,
            "bounds": {"state": STATE_BOUND, "gradient": GRADIENT_BOUND},
            "grid": [asdict(outcome) for outcome in outcomes],
            "search": [asdict(found) for found in attacks],
        },
    )
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
