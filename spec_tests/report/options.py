"""The options that a conformance run adds to pytest's own."""

import os
import secrets
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from atlas_ref.errors import UserError
from spec_tests.port import PROFILES
from spec_tests.process.load import REFERENCE
from spec_tests.report.places import check_directory, check_file
from spec_tests.report.scope import TOP, Scope, parse_level, parse_numerics
from spec_tests.report.selection import selects_everything
from spec_tests.report.xfail import Expectations, read_expected

LARGEST_SEED: Final = 1 << 63
PORT: Final = "ATLAS_PORT"
"""The variable that names the port where no option does."""

PLAIN: Final = ("--port", "--level", "--numerics", "--explore")
"""The options that decide what tests ask."""


def chosen_port() -> str:
    """Return the port of the environment, or the reference."""
    return os.environ.get(PORT, REFERENCE)


def defaults() -> dict[str, Any]:
    """Return what an option is that nobody gave, also where pytest met the plugin too late to know the option."""
    return {
        "--port": chosen_port(),
        "--level": f"L{TOP}",
        "--numerics": ",".join(PROFILES),
        "--report": None,
        "--xfail": None,
        "--update-xfail": False,
        "--explore": False,
        "--seed": None,
    }


def add_options(parser: pytest.Parser) -> None:
    """Add the options of a conformance run."""
    group = parser.getgroup("atlas", "conformance with the ATLAS specification")
    helps = {
        "--port": ("PORT", "the implementation under test: package.module:Factory or cmd:PROGRAM"),
        "--level": ("LEVEL", "the highest level asked, L0 to L6"),
        "--numerics": ("LIST", "the precisions asked, separated by commas"),
        "--report": ("DIR", "write report.json, junit.xml, report.html and badge.svg there"),
        "--xfail": ("FILE", "TOML list of expected failures, strict both ways"),
    }
    for name, (metavar, words) in helps.items():
        group.addoption(name, default=defaults()[name], metavar=metavar, help=words)
    group.addoption("--update-xfail", action="store_true", help="rewrite that list from this run")
    group.addoption("--explore", action="store_true", help="draw fresh examples, and more of them")
    group.addoption("--seed", metavar="N", help="the examples that --explore drew with this seed, once more")


def option(config: pytest.Config, name: str) -> Any:
    """Return the value of an option."""
    return config.getoption(name, defaults()[name])


def check_places(directory: Path | None, xfail: Path | None, update: bool) -> None:
    """Raise UserError where a report or a list of expected failures cannot be read or written, before anything runs."""
    if update and xfail is None:
        raise UserError("--update-xfail: also name the file with --xfail FILE.")
    if directory is not None:
        check_directory("--report", directory)
    if xfail is not None and update:
        check_file("--xfail", xfail)
    if xfail is not None and (xfail.exists() or not update):
        read_expected(xfail)


@dataclass(frozen=True)
class Options:
    """The options of a run, read once; `given`: a port was named, so that what asks no port is left out."""

    port: str
    given: bool
    scope: Scope
    directory: Path | None
    xfail: Path | None
    expected: Expectations
    update: bool
    seed: int | None

    @classmethod
    def of(cls, config: pytest.Config) -> "Options":
        """Return them; raise UserError where one has no meaning."""
        get = partial(option, config)
        update = bool(get("--update-xfail"))
        xfail = Path(get("--xfail")) if get("--xfail") else None
        scope = Scope(parse_level(get("--level")), parse_numerics(get("--numerics")))
        if update and (get("--explore") or not (scope.whole and selects_everything(config))):
            raise UserError("--update-xfail: only a run of every case can rewrite the list; drop the selection.")
        directory = Path(get("--report")) if get("--report") else None
        check_places(directory, xfail, update)
        return cls(
            port=get("--port"),
            given=names_port(config),
            scope=scope,
            directory=directory,
            xfail=xfail,
            expected=read_expected(xfail) if xfail and (xfail.exists() or not update) else {},
            update=update,
            seed=chosen_seed(config),
        )

    @property
    def wanted(self) -> bool:
        """Return whether the run is to be judged: a port was named, or a report."""
        return self.given or self.directory is not None


def parse_seed(text: str) -> int:
    """Return the seed of a run that explores; UserError for what is none."""
    if text.isascii() and text.isdecimal() and 0 < int(text) < LARGEST_SEED:
        return int(text)
    raise UserError(f"--seed {text}: expected a whole number from 1 to {LARGEST_SEED - 1}.")


def chosen_seed(config: pytest.Config) -> int | None:
    """Return the seed of a run that explores, drawn once where none is given; None where the run does not explore.

    Processes that a run starts get the options of the one that starts them, and so its seed.
    """
    text = option(config, "--seed")
    if not option(config, "--explore"):
        if text is not None:
            raise UserError(f"--seed {text}: only --explore draws anything; add it.")
        return None
    config.option.seed = str(secrets.randbelow(1_000_000_000) + 1) if text is None else text
    return parse_seed(config.option.seed)


def drawn_from(config: pytest.Config) -> int | None:
    """Return the seed of a run that explores and has begun, None of any other."""
    return int(option(config, "--seed")) if option(config, "--explore") else None


def names_port(config: pytest.Config) -> bool:
    """Return whether a port was named, by an option or by the environment."""
    by_option = any(argument.partition("=")[0] == "--port" for argument in config.invocation_params.args)
    return by_option or PORT in os.environ or option(config, "--port") != REFERENCE


def asks_reference_everything(config: pytest.Config) -> bool:
    """Return whether tests ask the reference at every level and in every precision, with the examples of every run."""
    return all(
        option(config, name) == value for name, value in (defaults() | {"--port": REFERENCE}).items() if name in PLAIN
    )
