"""Which implementations the matrix has: `spec_tests/ports/public/implementations.toml`, an entry each."""

import tomllib
from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError

from atlas_ref.errors import UserError
from spec_tests.port import Numerics
from spec_tests.report.model import Frozen

CATALOGUE: Final = Path(__file__).parents[1] / "ports" / "public" / "implementations.toml"


class Implementation(Frozen):
    """An implementation as the catalogue has it.

    `port` is empty where there is no adapter, `unasked` says why not. `requires`: every package of its environment that
    the suite's own does not have, each at one version. `convention`: for chapters where it is green under a named
    alternative of the specification or a line of algebra in the adapter, which one. `theirs`: for chapters where it
    fails, what docs/public.md derives. `gpu`: without a GPU it is not asked. `python`: the least version that it runs
    on, as [3, 12]. `prepare`: what is called first, such as a compiler, which would be late in an answer. `layer`: its
    layer in `spec_tests.ports.public.layers`.
    """

    name: str
    port: str
    page: str
    requires: tuple[str, ...] = ()
    numerics: tuple[Numerics, ...] = ()
    unasked: str = "there is no adapter for it"
    gpu: bool = False
    prepare: str = ""
    python: tuple[int, int] = (3, 11)
    layer: str = ""
    convention: dict[str, str] = Field(default={})
    theirs: dict[str, str] = Field(default={})

    @property
    def anchor(self) -> str:
        """Return the heading of docs/public.md that tells of it, as a link has it."""
        return "".join(letter for letter in self.name.lower().replace(" ", "-") if letter.isalnum() or letter in "-_")


def read_catalogue(path: Path = CATALOGUE) -> tuple[Implementation, ...]:
    """Return the implementations in the order of the file; UserError for one that is not as it must be."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
        return tuple(
            Implementation.model_validate({"name": name, **entry}, strict=False) for name, entry in entries.items()
        )
    except (tomllib.TOMLDecodeError, ValidationError, TypeError) as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}.") from error


def chosen(names: list[str], path: Path = CATALOGUE) -> tuple[Implementation, ...]:
    """Return those of these names, all where there are none; UserError for a name that is not in the catalogue."""
    known = {each.name: each for each in read_catalogue(path)}
    for name in names:
        if name not in known:
            raise UserError(f"--only {name}: there is no such implementation; valid: {', '.join(known)}.")
    return tuple(known[name] for name in names) if names else tuple(known.values())
