"""The options that a conformance run adds to pytest's own."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from atlas_ref.errors import UserError
from spec_tests.ports.load import REFERENCE
from spec_tests.report.scope import TOP, Scope, parse_level, parse_numerics
from spec_tests.report.selection import selects_everything
from spec_tests.report.xfail import Expectations, read_expected


def add_options(parser: pytest.Parser) -> None:
    """Add the options of a conformance run; `--port` without a value of its own is the variable ATLAS_PORT."""
    group = parser.getgroup("atlas", "conformance with the ATLAS specification")
    group.addoption(
        "--port",
        default=os.environ.get("ATLAS_PORT", REFERENCE),
        metavar="PKG.MODULE:FACTORY",
        help="the implementation under test: a callable without arguments that returns a port, or cmd:PROGRAM",
    )
    group.addoption("--level", default=f"L{TOP}", metavar="LEVEL", help="the highest level asked, L0 to L6")
    group.addoption("--numerics", default="f64,f32,bf16_io", metavar="LIST", help="the precisions asked")
    group.addoption("--report", metavar="DIR", help="write report.json, junit.xml, report.html and badge.svg there")
    group.addoption("--xfail", metavar="FILE", help="TOML list of expected failures, strict both ways")
    group.addoption("--update-xfail", action="store_true", help="rewrite that list from this run")
    group.addoption("--explore", action="store_true", help="draw fresh examples, and more of them")


@dataclass(frozen=True)
class Options:
    """The options of a run, read once."""

    port: str
    given: bool
    scope: Scope
    directory: Path | None
    xfail: Path | None
    expected: Expectations
    update: bool

    @classmethod
    def of(cls, config: pytest.Config) -> "Options":
        """Return them; raise UserError where one has no meaning."""
        get = config.getoption
        update = bool(get("--update-xfail"))
        xfail = Path(get("--xfail")) if get("--xfail") else None
        if update and xfail is None:
            raise UserError("--update-xfail: also name the file with --xfail FILE.")
        scope = Scope(parse_level(get("--level")), parse_numerics(get("--numerics")))
        if update and (get("--explore") or not (scope.whole and selects_everything(config))):
            raise UserError("--update-xfail: only a run of every case can rewrite the list; drop the selection.")
        directory = Path(get("--report")) if get("--report") else None
        if directory:
            directory.mkdir(parents=True, exist_ok=True)
        return cls(
            port=get("--port"),
            given="ATLAS_PORT" in os.environ or get("--port") != REFERENCE or _names_port(config),
            scope=scope,
            directory=directory,
            xfail=xfail,
            expected=read_expected(xfail) if xfail and (xfail.exists() or not update) else {},
            update=update,
        )

    @property
    def wanted(self) -> bool:
        """Return whether the run is to be judged: a port was named, or a report."""
        return self.given or self.directory is not None


def _names_port(config: pytest.Config) -> bool:
    return any(argument.partition("=")[0] == "--port" for argument in config.invocation_params.args)
