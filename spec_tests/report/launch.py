"""A conformance run as a process of its own: only the tests that ask a port, whatever directory it starts in."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from atlas_ref.errors import UserError
from spec_tests.report.manifest import SUITE
from spec_tests.report.selection import chapter_files

SETTINGS: Final = Path(__file__).with_name("conform.ini")
"""pytest's settings, so that those of the directory it starts in do not count."""
QUIET: Final = ("-q", "--no-header", "--tb=no", "-r", "", "--disable-warnings")


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

    def run(self) -> int:
        """Run the suite and return its exit code."""
        return subprocess.run(self.command(), check=False).returncode


def check_jobs(jobs: str) -> str:
    """Return a number of processes or "auto"; raise UserError for anything else."""
    if jobs == "auto" or (jobs.isdecimal() and int(jobs) > 0):
        return jobs
    raise UserError(f"--jobs {jobs}: expected a number of processes above zero, or auto.")
