"""The checks that mutants meet: tests and stored cases that a sound reference passes, and the code each reaches."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import pytest

from spec_tests.port import Numerics
from spec_tests.ports.reference import ReferencePort
from spec_tests.selfproof.kept import Kept, Trial
from spec_tests.selfproof.port_tests import PortTest, port_tests, tests_of
from spec_tests.vectors.case import Case, load_cases
from spec_tests.vectors.judge import judge

PACKAGES: Final = ("atlas_ref.functional", "atlas_ref.memory")
"""The packages of which mutants are made."""
OWN_TESTS: Final = (
    "spec_tests.package.blocks.test_memory_metrics",
    "spec_tests.package.functional.test_dropout",
    "spec_tests.package.functional.test_embedding",
    "spec_tests.package.functional.test_functional",
    "spec_tests.package.functional.test_gain_storage",
    "spec_tests.package.functional.test_larger_forms",
    "spec_tests.package.functional.test_largest",
    "spec_tests.package.functional.test_once",
    "spec_tests.package.functional.test_sight",
    "spec_tests.package.functional.test_slot_memory",
    "spec_tests.package.functional.test_surely_finite",
    "spec_tests.package.functional.test_told",
    "spec_tests.package.functional.test_unseen",
    "spec_tests.package.memory.test_bias",
    "spec_tests.package.memory.test_contents",
    "spec_tests.package.memory.test_curvature",
    "spec_tests.package.memory.test_delta_schedule",
    "spec_tests.package.memory.test_factors",
    "spec_tests.package.memory.test_folding",
    "spec_tests.package.memory.test_hierarchical",
    "spec_tests.package.memory.test_known_places",
    "spec_tests.package.memory.test_link",
    "spec_tests.package.memory.test_miras_chunked",
    "spec_tests.package.memory.test_miras_properties",
    "spec_tests.package.memory.test_miras_recurrent",
    "spec_tests.package.memory.test_named_models",
    "spec_tests.package.memory.test_out_of_sight",
    "spec_tests.package.memory.test_read_anchor",
    "spec_tests.package.memory.test_ridge",
    "spec_tests.package.memory.test_rows_in_step",
    "spec_tests.package.memory.test_shards",
    "spec_tests.package.memory.test_step_chunk",
    "spec_tests.package.memory.test_ttl",
    "spec_tests.package.models.test_ttl_model",
    "spec_tests.package.training.test_head_loss",
)
"""Tests of the package that hold what no operation of the table shows."""

Place = tuple[str, str]
"""Where code stands: file, qualified name. Code itself cannot be sent from process to process."""
ROOT: Final = Path(__file__).parents[2]
ROOMS: Final = tuple(f"{package.replace('.', '/')}/" for package in PACKAGES)

Named = tuple[str, Callable[[], None]]
Measured = tuple[float, list[Place]] | str | None
"""Of a check on the sound reference: seconds and what it reaches, or why it fails, or nothing where it is skipped."""


@dataclass(frozen=True)
class Check:
    """Something that a sound reference passes; `reaches` is the code that it runs through."""

    name: str
    call: Callable[[], None]
    seconds: float
    reaches: frozenset[Place]


def measured(name: str, call: Callable[[], None]) -> Check | None:
    """Run a check once on the sound reference and note what it reaches; None where it is skipped."""
    reached: set[CodeType] = set()

    def note(frame: FrameType, _: str, __: Any) -> None:
        # Called as a function begins and, as it returns None, for nothing inside: a profile would cost minutes.
        reached.add(frame.f_code)

    before = sys.gettrace()
    sys.settrace(note)
    start = time.process_time()
    try:
        call()
    except pytest.skip.Exception:
        return None
    finally:
        sys.settrace(before)
    seconds = time.process_time() - start
    return Check(name, call, seconds, frozenset(map(place, reached)))


def place(code: CodeType) -> Place:
    """Return where code stands."""
    return code.co_filename.removeprefix(f"{ROOT}/"), code.co_qualname


def is_mutated(code: Place) -> bool:
    """Whether code stands where mutants are made."""
    return code[0].startswith(ROOMS)


def digest_of_sources() -> str:
    """Return a digest of the reference, the suite and its cases: what a check reaches holds for these alone."""
    digest = blake2b(digest_size=16)
    files = (path for package in ("atlas_ref", "spec_tests") for path in (ROOT / package).rglob("*"))
    for path in sorted(path for path in files if path.is_file() and path.suffix != ".pyc"):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def chapters_and_cases(only: str | None, profiles: int = 1) -> Iterator[PortTest]:
    """Yield the chapters' tests and, as tests, the stored cases, in as many of their precisions."""
    for test in port_tests():
        if not only or test.name.startswith(only):
            yield test
    for case in load_cases():
        if not only or case.id.startswith(only):
            yield PortTest(case.id, case.requirements, _case_call(case, *case.numerics[:profiles]), case.numerics[0])


def _case_call(case: Case, *profiles: Numerics) -> Callable[[Any], None]:
    def call(port: Any) -> None:
        for numerics in profiles:
            found = judge(port, case, numerics).divergence
            # Not `check`: nobody reads this report, and seeking a hint takes long.
            assert found is None, f"{case.id} in {numerics} diverges"

    return call


def sound_checks(wrong: list[str], jobs: int, kept: Kept) -> Iterator[Check]:
    """Yield every check that a sound reference passes, with what it reaches; one that fails it is added to `wrong`."""
    port = ReferencePort()
    own = (test for module in OWN_TESTS for test in tests_of(module, fixtures=set()))
    tests = [*chapters_and_cases(None, profiles=3), *own]
    calls: list[Named] = [(test.name, partial(test.call, port)) for test in tests]

    def tried(test: Named) -> Measured:
        try:
            check = measured(*test)
        except AssertionError as error:
            # An assertion without words is told by its kind.
            return (str(error).splitlines() or [type(error).__name__])[0]
        return (check.seconds, list(filter(is_mutated, check.reaches))) if check else None

    today = digest_of_sources()
    trial = Trial[Named, Measured](
        "checks",
        lambda call: f"{call[0]} of the sources {today}",
        lambda some: [tried(call) for call in some],
        lambda found: isinstance(found, str),
    )
    for (name, call), found in zip(calls, kept.results(trial, calls, jobs), strict=True):
        if isinstance(found, str):
            wrong.append(f"{name} fails the sound reference: {found}")
        elif found:
            seconds, reaches = found
            yield Check(name, call, seconds, frozenset((file, qualname) for file, qualname in reaches))
