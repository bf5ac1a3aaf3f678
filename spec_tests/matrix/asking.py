"""One implementation under the suite: its layer, a process of its own behind the protocol, a report, a row."""

import platform
import shlex
import sys
import tempfile
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Final

from atlas_ref.errors import UserError
from spec_tests.contract.outcome import PortError
from spec_tests.matrix.catalogue import Implementation
from spec_tests.matrix.cells import cells_of
from spec_tests.matrix.environments import GPU, NotInstalledError, device_name, python_of
from spec_tests.matrix.model import Row
from spec_tests.port import Op
from spec_tests.process.client import ProcessPort
from spec_tests.report.launch import Launch
from spec_tests.report.manifest import digest_of_cases, read_manifest
from spec_tests.report.model import Report
from spec_tests.report.selection import chapter_files

LEVEL: Final = "L6"
DONE: Final = (0, 1, 3)
"""Exit codes of a run that judged the port."""


def row_of(implementation: Implementation, folder: Path | None = None) -> Row:
    """Return what an implementation answers; `folder` is where layers are kept, by default the user's cache."""
    begun = time.monotonic()
    row = Row(
        name=implementation.name,
        page=implementation.page,
        port=implementation.port,
        packages=implementation.requires,
        convention=implementation.convention,
        theirs=implementation.theirs,
        command=f"atlas matrix --only {shlex.quote(implementation.name)}",
    )
    try:
        demand_machine(implementation)
        report = asked(implementation, python_of(implementation.requires, folder))
    except NotInstalledError as error:
        return row.model_copy(update={"absent": str(error)})
    found = {
        "python": report.machine.python,
        "torch": torch_version(),
        "device": device_name("cuda") if implementation.gpu else "",
        "cases_sha256": digest_of_cases(report.declaration.operations),
        "declaration": report.declaration,
        "chapters": cells_of(report, implementation.port),
        "seconds": round(time.monotonic() - begun, 1),
    }
    return row.model_copy(update=found)


def asked(implementation: Implementation, python: Path) -> Report:
    """Ask every case of the precisions named.

    NotInstalledError where the port does not start; UserError where the run of the suite does not end as it should.
    """
    if not implementation.port:
        raise NotInstalledError(implementation.unasked)
    if implementation.prepare:
        prepare(implementation.prepare)
    command = shlex.join([str(python), "-m", "spec_tests.process.server", implementation.port])
    with tempfile.TemporaryDirectory(prefix="atlas-matrix-") as folder:
        options = [f"--level={LEVEL}", f"--numerics={','.join(implementation.numerics)}", f"--report={folder}"]
        code = Launch(f"cmd:{command}", options, "1", files_that_ask(declared(command))).run(quiet=True)
        if code not in DONE:
            raise UserError(f"{implementation.name}: the suite is not whole and says nothing; atlas conform says why.")
        return Report.model_validate_json((Path(folder) / "report.json").read_bytes(), strict=False)


def prepare(function: str) -> None:
    """Call a function, named `package.module:name`; NotInstalledError with its words where it raises UserError."""
    module, name = function.split(":")
    try:
        getattr(import_module(module), name)()
    except UserError as error:
        raise NotInstalledError(str(error)) from error


def declared(command: str) -> frozenset[Op]:
    """Return the operations that a program declares; NotInstalledError where it does not start."""
    try:
        with ProcessPort(command) as port:
            return port.declare().operations
    except PortError as error:
        raise NotInstalledError(f"its port does not start: {str(error).splitlines()[-1].strip()}") from error


def files_that_ask(operations: frozenset[Op]) -> list[str]:
    """Return the files with cases of some of these operations: all other cases are absent without a run."""
    entries = [entry for entry in read_manifest().cases if operations.intersection(entry.operations)]
    words = {entry.id.partition(":")[0] for entry in entries if entry.kind == "property"}
    return [str(path) for path in chapter_files() if path.stem in words or path.parent.name == "vectors"]


def demand_machine(implementation: Implementation) -> None:
    """Raise NotInstalledError where an implementation needs another machine or another Python than this."""
    if implementation.gpu and not Path(GPU).exists():
        raise NotInstalledError("it is asked on a GPU, and there is none here")
    if implementation.python > sys.version_info[:2]:
        needed = ".".join(map(str, implementation.python))
        raise NotInstalledError(f"it needs Python {needed}, and this is {platform.python_version()}")


def torch_version() -> str:
    """Return the version of torch that all of them are asked beside."""
    return version("torch")
