"""Results, manifests and reports made by hand, for the tests of this package."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from spec_tests.contract.outcome import Outcome
from spec_tests.port import (
    GRADIENTS,
    PROFILES,
    SPEC_VERSION,
    Array,
    Declaration,
    Numerics,
    Op,
    Scalar,
    UnsupportedError,
)
from spec_tests.report.assemble import Run, assemble
from spec_tests.report.manifest import Entry, Manifest, property_entries
from spec_tests.report.model import Asked, FirstDivergence, LastCall, Report, Result
from spec_tests.report.scope import Scope
from spec_tests.report.xfail import Expectations

NOTHING = Declaration("nothing", "1", "python", SPEC_VERSION, frozenset(), frozenset(), PROFILES, "full")
DIVERGENCE = FirstDivergence(
    tensor="momentum",
    step=5,
    index=(3, 17),
    got=float("nan"),
    expected=0.25,
    error=float("inf"),
    budget=3e-6,
    upstream=("gradient",),
    hint="momentum-gate-previous-step",
    similarity=0.99,
)


class NothingPort:
    """A port that declares no operation and answers none."""

    def __init__(self, declaration: Declaration = NOTHING) -> None:
        self._declaration = declaration

    def declare(self) -> Declaration:
        """Declare nothing, or what the test says."""
        return self._declaration

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Answer that it is unsupported."""
        raise UnsupportedError("nothing is supported", capability=op)


class ForeignPort(NothingPort):
    """A port that was written for a specification that is not there yet."""

    def __init__(self) -> None:
        super().__init__(Declaration(**{**vars(NOTHING), "spec_version": "9.9"}))


class EagerPort(NothingPort):
    """A port that declares every operation and answers none."""

    def __init__(self) -> None:
        everything = {"operations": frozenset(Op), "capabilities": frozenset({GRADIENTS})}
        super().__init__(Declaration(**{**vars(NOTHING), "name": "eager", **everything}))


def result(
    name: str = "test_a:test_b",
    outcome: Outcome = Outcome.PASS,
    op: Op = Op.NEWTON_SCHULZ,
    numerics: Numerics = Numerics.F32,
    *,
    level: int = 0,
    reason: str = "",
    requirements: tuple[str, ...] = ("NS-1",),
    divergence: FirstDivergence | None = None,
    **config: Scalar,
) -> Result:
    """Return the result of a case that asked one operation in one precision; ids of vectors begin with ATL."""
    return Result(
        id=name,
        kind="vector" if name.startswith("ATL-") else "property",
        level=level,
        requirements=requirements,
        outcome=outcome,
        asked=(Asked(operation=op, numerics=numerics),),
        last=LastCall(operation=op, numerics=numerics, config=config),
        reason=reason,
        divergence=divergence,
        rerun=f"python -m pytest --pyargs {name}",
    )


def manifest_of(results: Iterable[Result]) -> Manifest:
    """Return the manifest that these results fill."""
    cases = tuple(_vector(each) if each.kind == "vector" else next(property_entries([each])) for each in results)
    return Manifest(spec_version=SPEC_VERSION, vectors_sha256="", cases=cases)


def _vector(asked: Result) -> Entry:
    return Entry(
        id=asked.place[1],
        kind="vector",
        level=asked.level,
        operations=asked.operations,
        numerics=(asked.asked[0].numerics,),
        requirements=asked.requirements,
    )


def report(
    *results: Result,
    manifest: Manifest | None = None,
    scope: Scope | None = None,
    collected: Iterable[str] | None = None,
    expected: Expectations | None = None,
    declared: Declaration = NOTHING,
    port: str = "made:Port",
    whole: bool = True,
    problems: tuple[str, ...] = (),
    understated: tuple[str, ...] = (),
    given_up: str = "",
) -> Report:
    """Return the report of a run with these results, by default of a manifest that has exactly them."""
    run = Run(
        port=port,
        declared=declared,
        scope=scope or Scope(),
        manifest=manifest or manifest_of(results),
        results=results,
        collected=frozenset(each.id for each in results) if collected is None else frozenset(collected),
        whole=whole,
        started=datetime(2026, 1, 1, tzinfo=UTC),
        seconds=1.0,
        expected=expected or {},
        problems=problems,
        understated=understated,
        given_up=given_up,
    )
    return assemble(run)


def entry(name: str, level: int, *ops: Op, numerics: tuple[Numerics, ...] = (Numerics.F32,)) -> Entry:
    """Return a line of a manifest."""
    return Entry(id=name, kind="property", level=level, operations=ops, numerics=numerics, requirements=("NS-1",))
