"""A conformance run as a process of its own: only the tests that ask a port, whatever directory it starts in."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from atlas_ref.errors import UserError
from spec_tests.process.load import COMMAND
from spec_tests.report.guard import VARIABLE, guarded
from spec_tests.report.manifest import SUITE
from spec_tests.report.options import names_port, option
from spec_tests.report.selection import chapter_files

SETTINGS: Final = Path(__file__).with_name("conform.ini")
"""pytest's settings, so that those of the directory it starts in do not count."""
QUIET: Final = ("-q", "--no-header", "--tb=no", "-r", "", "--disable-warnings")

UNJUDGED: Final = ("help", "version", "markers", "showfixtures", "show_fixtures_per_test", "collectonly", "usepdb")
"""Options of pytest with which no port is asked, or by a person who looks on."""


@dataclass(frozen=True)
class Launch:
    """What to ask of which port; `cases` are node ids, by default every chapter and the stored vectors."""

    port: str
    options: Sequence[str] = ()
    jobs: str = "auto"
    cases: Sequence[str] = ()

    def command(self) -> list[str]:
        """Return the command line."""
        cases = self.cases or [str(path) for path in chapter_files()]
        where = ["-c", str(SETTINGS), f"--rootdir={SUITE.parent}", f"--confcutdir={SUITE}"]
        workers = "0" if self.jobs == "1" else self.jobs
        # Files come first: pytest looks there for the plugin that knows the other options.
        start = [sys.executable, "-m", "pytest", *cases, *where, *QUIET, "-n", workers]
        return [*start, f"--port={self.port}", *self.options]

    def run(self, *, quiet: bool = False) -> int:
        """Run the suite and return its exit code, 4 where it ends before its report does."""
        return guarded(self.command(), quiet=quiet)


def run_again(config: pytest.Config) -> int | None:
    """Run pytest's command line in a process of its own and return its exit code, None where that is not needed.

    It is needed where a port of the suite's process is judged, which could end pytest with the code of a pass. Not seen
    to is a pytest that another program started with plugins of its own, and one that stops in a debugger.
    """
    if not starts_again(config):
        return None
    # `python -m pytest` finds modules of the working directory, `pytest` does not: as this process was started.
    safe = [] if {"", os.getcwd()}.intersection(sys.path) else ["-P"]
    command = [sys.executable, *safe, "-m", "pytest", *config.invocation_params.args]
    return guarded(command, folder=config.invocation_params.dir)


def starts_again(config: pytest.Config) -> bool:
    """Return whether pytest's command line is to run in a process of its own (`run_again`)."""
    given = names_port(config) and not str(option(config, "--port")).startswith(COMMAND)
    watched = VARIABLE in os.environ or hasattr(config, "workerinput")
    plain = not config.invocation_params.plugins and not any(config.getoption(name) for name in UNJUDGED)
    return given and not watched and plain


def check_jobs(jobs: str) -> str:
    """Return a number of processes or "auto"; raise UserError for anything else."""
    if jobs == "auto" or (jobs.isdecimal() and int(jobs) > 0):
        return jobs
    raise UserError(f"--jobs {jobs}: expected a number of processes above zero, or auto.")
