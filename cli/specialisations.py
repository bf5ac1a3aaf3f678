"""`atlas train --all-specialisations`: the three, one after another, each into its own run directory, and their table.

Where each goes is said before any is trained, and what cannot be meant is refused.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from atlas_ref.errors import UserError
from cli.console import bare_table, print_table, say
from cli.plan import default_directories

if TYPE_CHECKING:
    from atlas_ref.models.family import Model

OPTION = "--all-specialisations"


def places_of_all(config: str | None, resume: str | None, out: Path | None, changes: list[str]) -> dict[str, Path]:
    """Return the run directory of each by its name; raise UserError for options that do not go with all of them."""
    from atlas_ref.config.specialisations import SPECIALISATIONS, specialised

    if config is not None:
        raise UserError(f"{OPTION} trains {', '.join(SPECIALISATIONS)}; leave out --config {config}.")
    if resume is not None:
        raise UserError(
            f"{OPTION} begins all of them; go on with one by --config NAME --out DIR --resume {resume}, without it."
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(f"{OPTION} trains in one process; start each with --config NAME under torchrun.")
    configs = specialised(changes)
    places = {name: default_directories(name, changes)[1] if out is None else out / name for name in configs}
    if taken := next((place for place in places.values() if place.exists()), None):
        raise UserError(f"{taken} exists; name another place with --out.")
    return places


def compare(places: Mapping[str, Path]) -> None:
    """Print how the trained models behave on the validation rows of the first of them, and what tells them apart."""
    from atlas_ref.training.comparison import HEADINGS, behaviours, cells, table_of, touching
    from atlas_ref.training.run import open_data
    from cli.checkpoints import open_model

    opened = {name: open_model(place, []) for name, place in places.items()}
    first = next(iter(opened.values()))
    models: dict[str, Model] = {name: one.model for name, one in opened.items()}
    source = open_data(first.run, first.checkpoint)
    found = table_of(behaviours(models, source, first.config.train.eval_batches))
    _print([HEADINGS, *cells(found)])
    say("mean and 95% interval over validation rows, each from an empty memory; of latency over batches")
    for line in touching(found):
        say(line)


def _print(lines: Sequence[tuple[str, ...]]) -> None:
    heading, *rows = lines
    table = bare_table()
    for number, column in enumerate(heading):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    print_table(table)
