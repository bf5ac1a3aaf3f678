"""Writing the manifest anew: ask the reference every case, and find the lowest level at which each can be asked.

A case that asks operations of several levels is asked again at the lowest of them, then at the next, of a port that
declares nothing above; the level at which it passes is its own.
"""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from atlas_ref.errors import UserError
from spec_tests.contract.outcome import Outcome
from spec_tests.discovery import files_of_tests
from spec_tests.port import PROFILES
from spec_tests.process.load import REFERENCE
from spec_tests.report.collect import levels_asked
from spec_tests.report.launch import Launch
from spec_tests.report.manifest import MANIFEST, Manifest, property_entries, read_manifest, write_manifest
from spec_tests.report.model import Report, Result
from spec_tests.report.scope import TOP
from spec_tests.report.write import write_schema


def rewrite_manifest(jobs: str) -> Manifest:
    """Write manifest and schema from runs of the reference; the old manifest stays where a case does not pass."""
    before = MANIFEST.read_bytes() if MANIFEST.is_file() else None
    try:
        # Without a manifest every case is asked at every level.
        MANIFEST.unlink(missing_ok=True)
        results = _settled(_ask((), TOP, jobs), jobs)
    except BaseException:
        if before is not None:
            MANIFEST.write_bytes(before)
        raise
    write_schema()
    return write_manifest(property_entries(results))


def rewrite_vectors() -> Manifest:
    """Write the lines of the stored vectors anew, and those of the properties as they are."""
    return write_manifest(entry for entry in read_manifest().cases if entry.kind == "property")


def _ask(cases: Sequence[Result], level: int, jobs: str) -> tuple[Result, ...]:
    with tempfile.TemporaryDirectory() as directory:
        options = [f"--report={directory}", f"--level=L{level}"]
        nodes = [_node(result) for result in cases]
        # What it prints compares with a manifest, and there is none now.
        code = Launch(REFERENCE, options, jobs, nodes).run(quiet=True)
        path = Path(directory) / "report.json"
        if not path.is_file():
            raise UserError(f"the run of the reference ended with code {code} and no report; mend the suite first.")
        return Report.model_validate_json(path.read_text()).results


def _node(result: Result) -> str:
    module, _, name = result.id.partition(":")
    file = next(path for path in files_of_tests() if path.stem == module)
    return f"{file}::{name}"


def not_passed(results: Iterable[Result]) -> list[Result]:
    """Return what the reference should pass and does not: it runs in the three precisions of every port alone."""
    owed = [result for result in results if result.kind == "property" or result.id.rpartition("/")[2] in PROFILES]
    return [result for result in owed if result.outcome is not Outcome.PASS]


def _settled(results: Sequence[Result], jobs: str) -> list[Result]:
    if bad := [f"{result.id} ({result.outcome})" for result in not_passed(results)]:
        raise UserError(f"the reference does not pass {', '.join(bad)}; the manifest counts only what it passes.")
    settled: dict[str, Result] = {}
    properties = {result.id: result for result in results if result.kind == "property"}
    for level in range(TOP + 1):
        here = [result for result in properties.values() if level in levels_asked(result.asked, result.gradients)]
        last = {result.id for result in here if level == max(levels_asked(result.asked, result.gradients))}
        again = [result for result in here if result.id not in last]
        passed = {found.id for found in _ask(again, level, jobs) if found.outcome is Outcome.PASS} if again else set()
        for name in last | passed:
            settled[name] = properties.pop(name).model_copy(update={"level": level})
    return list(settled.values())
