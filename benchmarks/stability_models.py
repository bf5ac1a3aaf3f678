"""Inner stability of the published models, and of what their axes make besides: which hard inputs stay bounded.

    python -m benchmarks.stability_models [--time 1024] [--jobs 1]

The memory of every preset of a published model runs over the 80 hard inputs of
`spec_tests.package.memory.stability_cells`, forward and backward, and so does every bias, link and architecture in the
preset `recall`, with its steps bounded (`mass`) where a bound is known, and as printed (`literal`).
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from typing import get_args

import torch
from rich.table import Table

from atlas_ref.config import load_config, model_names
from atlas_ref.config.axes import BiasConfig, LinkConfig
from atlas_ref.config.memory import MemoryConfig
from atlas_ref.errors import UserError
from benchmarks.report import machine, print_table, write_results
from spec_tests.package.memory.stability_cells import CELLS, GRADIENT_BOUND, STATE_BOUND
from spec_tests.package.memory.stability_models import run_model

SEED = 0


@dataclass(frozen=True)
class Row:
    """What one memory did: cells not finite and beyond a bound, the largest sizes, and the cell that is worst."""

    name: str
    changes: tuple[str, ...]
    cells: int
    not_finite: int
    unbounded: int
    state: float
    gradient: float
    growth: float
    worst: str


def subjects() -> list[tuple[str, tuple[str, ...]]]:
    """Return every memory that is tried: a preset, and what is changed in it."""
    found: list[tuple[str, tuple[str, ...]]] = [(name, ()) for name in model_names()]
    for architecture in get_args(MemoryConfig.model_fields["architecture"].annotation):
        for scale in ("mass", "literal"):
            base = (f"architecture='{architecture}'", f"step_scale='{scale}'")
            biases = get_args(BiasConfig.model_fields["kind"].annotation)
            links = get_args(LinkConfig.model_fields["kind"].annotation)
            axes = [f"bias.kind='{bias}'" for bias in biases] + [f"link.kind='{link}'" for link in links[1:]]
            settings = ("bias.exponent=3", "link.exponent=4", "link.level=0.05")
            found += [("recall", tuple(f"model.memory.{x}" for x in (*base, axis, *settings))) for axis in axes]
    return [(name, changes) for name, changes in found if _has_meaning(name, changes)]


def _has_meaning(name: str, changes: tuple[str, ...]) -> bool:
    try:
        load_config(name, changes)
    except UserError:
        return False
    return True


def run(subject: tuple[str, tuple[str, ...]], time: int) -> Row:
    """Run all cells of one memory."""
    torch.set_num_threads(1)
    name, changes = subject
    found = run_model(load_config(name, changes).model.memory, CELLS, time, SEED)
    over = torch.maximum(found.state / STATE_BOUND, found.gradient / GRADIENT_BOUND)
    return Row(
        name,
        tuple(change.removeprefix("model.memory.") for change in changes[:3]),
        cells=len(CELLS),
        not_finite=int((~found.finite).sum()),
        unbounded=int((~found.bounded).sum()),
        state=found.state.max().item(),
        gradient=found.gradient.max().item(),
        growth=found.growth.max().item(),
        worst=" ".join(CELLS[int(over.argmax())]),
    )


def table(rows: list[Row]) -> Table:
    """Return a line for each memory."""
    result = Table(title=f"Cells not finite / beyond ||M|| {STATE_BOUND:g} or gradient {GRADIENT_BOUND:g}")
    for heading in ("memory", "bad", "||M||", "gradient", "of a sum"):
        result.add_column(heading, justify="left" if heading == "memory" else "right", no_wrap=True)
    for row in rows:
        sizes = (f"{size:.3g}" for size in (row.state, row.gradient, row.growth))
        result.add_row(" ".join((row.name, *row.changes)), f"{row.not_finite} / {row.unbounded}", *sizes)
    return result


def main() -> None:
    """Run everything, print the table and write the numbers as JSON."""
    parser = argparse.ArgumentParser(description="Look for inputs that make a published memory diverge.")
    parser.add_argument("--time", type=int, default=1024, help="tokens of each input")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time, one thread each")
    options = parser.parse_args()
    before = machine(1)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(partial(run, time=options.time), subjects()))
    print_table(table(rows))
    path = write_results("stability_models", {"machine": before, "rows": [asdict(row) for row in rows]})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
