"""Models side by side on the same rows: what each does, with intervals, and whether two of them differ.

The models take turns on every batch, so that what else a machine does slows all of them alike.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

from atlas_ref.data.batch import ValidationSource
from atlas_ref.metrics.mean_interval import Interval, mean_interval
from atlas_ref.models.behaviour import MEASURES, Behaviour, behave
from atlas_ref.models.family import Model
from atlas_ref.training.step import to_device

HEADINGS = ("", "iterations", "slots in use", "us a token", "accuracy")
Table = Mapping[str, Mapping[str, Interval]]
"""The interval of each measure of each model."""


def behaviours(models: Mapping[str, Model], source: ValidationSource, batches: int) -> dict[str, Behaviour]:
    """Return how each model behaves on the first batches of validation."""
    known = None if source.tokenizer is None else source.tokenizer.vocab_size
    found = {name: Behaviour() for name in models}
    for index in range(min(batches, source.validation_batches)):
        for name, model in models.items():
            batch = to_device(source.validation(index), next(model.parameters()).device)
            if not index:
                # The first call of a kind makes what later ones use: it is no latency.
                behave(model, *batch[:3], known, Behaviour())
            behave(model, *batch[:3], known, found[name])
    return found


def table_of(found: Mapping[str, Behaviour]) -> Table:
    """Return the interval of every measure, over rows."""
    return {
        name: {measure: mean_interval(behaviour.values[measure]) for measure in MEASURES}
        for name, behaviour in found.items()
    }


def over_seeds(tables: Sequence[Table]) -> Table:
    """Return the interval of every measure over runs of several seeds, from the means of each."""
    return {
        name: {measure: mean_interval([table[name][measure].mean for table in tables]) for measure in MEASURES}
        for name in tables[0]
    }


def cells(table: Table) -> list[tuple[str, ...]]:
    """Return the lines of a table: each model with the mean and the interval of every measure."""
    lines = []
    for name, row in table.items():
        micro = Interval(*(1e6 * value for value in row["latency"]))
        shown = (row["iterations"], row["slots"], micro, row["accuracy"])
        digits = (2, 1, 1, 3)
        lines.append((name, *(_cell(interval, places) for interval, places in zip(shown, digits, strict=True))))
    return lines


def _cell(interval: Interval, places: int) -> str:
    """Return a mean with the ends of its interval."""
    mean, low, high = (f"{value:.{places}f}" for value in interval)
    return f"{mean} ({low} to {high})"


def touching(table: Table) -> list[str]:
    """Return a line for each measure: which pairs have intervals that touch, and so are not told apart."""
    lines = []
    for measure in MEASURES:
        alike = [f"{a} and {b}" for a, b in combinations(table, 2) if table[a][measure].touches(table[b][measure])]
        lines.append(f"{measure}: " + (f"not told apart: {', '.join(alike)}" if alike else "all told apart"))
    return lines
