"""What a report is made of. One JSON document is the only source; JUnit, HTML and the badge are views of it.

Floats that are not finite travel as the strings "nan", "inf" and "-inf", because JSON has no other way to say them.
"""

import math
from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from atlas_ref.wording import visible
from spec_tests.contract.outcome import Divergence, Outcome
from spec_tests.contract.version import FIRST
from spec_tests.port import Declaration, Feature, Numerics, Op, Scalar

LEVELS: Final[Mapping[int, str]] = {
    0: "primitives",
    1: "memory step",
    2: "sequence",
    3: "parallel form",
    4: "model",
    5: "gradients",
    6: "training",
}
"""What each level is about; a level contains those below it."""

FAILURES: Final = frozenset({Outcome.FAIL, Outcome.ERROR, Outcome.UNDECLARED, Outcome.BLOCKED})
"""The outcomes that make a port fail; what is neither one of these nor a pass leaves it incomplete."""


def _read_number(value: Any) -> Any:
    return float(value) if value in ("nan", "inf", "-inf") else value


def _write_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


Number = Annotated[
    float,
    BeforeValidator(_read_number),
    PlainSerializer(_write_number, return_type=float | str, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": ["nan", "inf", "-inf"]}]}),
]


Line = Annotated[str, AfterValidator(visible)]
Text = Annotated[str, AfterValidator(partial(visible, lines=True))]
"""What a port may have said, on one line or several: shown by every view, obeyed by no terminal."""


class Frozen(BaseModel):
    """A value that is never changed, takes no unknown field and converts nothing."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Asked(Frozen):
    """One operation in one precision."""

    operation: Op
    numerics: Numerics


class LastCall(Asked):
    """The call after which a case ended; for a case that failed, the one to look at. `shapes`: of its inputs."""

    config: dict[str, Scalar]
    shapes: dict[str, tuple[int, ...]] = {}
    gradients: bool = False


class Likeness(Frozen):
    """A seeded fault, and the cosine of its error with that of the port."""

    fault: str
    cosine: Number


class FirstDivergence(Frozen):
    """Where a port first left the specification (see `spec_tests.contract.outcome.Divergence`)."""

    tensor: str
    step: int | None
    index: tuple[int, ...]
    got: Number
    expected: Number
    error: Number
    budget: Number
    upstream: tuple[str, ...]
    hint: str | None
    similarity: Number | None
    likely: tuple[Likeness, ...] | None = Field(default=None, description="null where no seeded fault was sought")

    @classmethod
    def of(cls, found: Divergence) -> "FirstDivergence":
        """Return the same with Python's own numbers in place of numpy's."""
        return cls(
            tensor=found.tensor,
            step=None if found.step is None else int(found.step),
            index=tuple(int(i) for i in found.index),
            got=float(found.got),
            expected=float(found.expected),
            error=float(found.error),
            budget=float(found.budget),
            upstream=tuple(found.upstream),
            hint=found.hint,
            similarity=None if found.similarity is None else float(found.similarity),
            likely=None
            if found.likely is None
            else tuple(Likeness(fault=fault, cosine=float(cosine)) for fault, cosine in found.likely),
        )


class Result(Frozen):
    """The fate of one case. `level` is that of the case, or of what it asked last where it failed above its own.

    `id` is permanent: `ATL-NS-001/f32` for a stored vector in one precision, `module:function` for a property, which
    asks in every precision it needs. `asked` is what the port was asked, or what it would have been asked. `left_out`
    counts the questions of a property that the declaration excludes. `known` is the reason given in the file of
    expected failures.
    """

    id: str
    kind: Literal["vector", "property"]
    level: int
    requirements: tuple[str, ...]
    outcome: Outcome
    asked: tuple[Asked, ...] = ()
    last: LastCall | None = None
    gradients: bool = False
    reason: Text = ""
    blocked_by: Op | None = None
    divergence: FirstDivergence | None = None
    untapped: tuple[Line, ...] = ()
    left_out: int = 0
    known: Text | None = None
    rerun: Line = ""
    seconds: Number = 0.0
    since: str = FIRST

    @property
    def operations(self) -> tuple[Op, ...]:
        """Return the operations asked, each once, in the order in which they were first asked."""
        return tuple(dict.fromkeys(pair.operation for pair in self.asked))

    @property
    def place(self) -> tuple[int, str, int]:
        """Return where the case stands among others: by level, then id, then precision."""
        name, _, numerics = self.id.rpartition("/") if self.kind == "vector" else (self.id, "", "")
        return self.level, name, [*Numerics, ""].index(numerics)

    @property
    def failed(self) -> bool:
        """Return whether the case speaks against the port."""
        return self.outcome in FAILURES


class Cause(Frozen):
    """Failures that are told as one: of one operation, sentence and output, or of one error.

    `operation` is None for an error that the port has whatever it is asked. `cases` begin with the one to look at.
    """

    operation: Op | None
    level: int
    outcome: Outcome
    sentence: str
    output: str
    what: Text
    cases: tuple[Line, ...]
    hint: str | None = Field(default=None, description="the seeded fault that the run's cases together are most like")
    similarity: Number | None = Field(default=None, description="the mean cosine; null where none was sought")
    sought: int = Field(default=0, description="cases that voted")


class LevelCount(Frozen):
    """What became of the cases of one level, out of those that the manifest defines.

    A property that failed counts at the level of the operation that failed.
    """

    level: int
    defined: int
    passed: int
    failed: int
    errors: int
    unsupported: int
    blocked: int
    not_run: int
    known: int = Field(description="of the failures, those that the file of expected failures names")

    def line(self) -> str:
        """Return the counts as one line: whatever did not pass is in it."""
        known = f" ({self.known} expected)" if self.known else ""
        return (
            f"L{self.level} {LEVELS[self.level]}: passed {self.passed} / failed {self.failed}{known} / "
            f"error {self.errors} / unsupported {self.unsupported} / blocked {self.blocked} / not run {self.not_run} "
            f"of {self.defined} in the manifest"
        )


class Verdict(StrEnum):
    """The end of a run, in one word."""

    CONFORMANT = "conformant"
    FAILED = "failed"
    INCOMPLETE = "incomplete"
    INTEGRITY = "suite not intact"
    STALE = "expected failures out of date"

    @property
    def exit_code(self) -> int:
        """Return the exit code; 2 is wrong usage, which has no report."""
        return {"conformant": 0, "failed": 1, "incomplete": 3, "suite not intact": 4}.get(self.value, 5)


class DeclarationRecord(Frozen):
    """What the port said about itself, before it was restricted to what was asked."""

    name: Line
    version: Line
    language: Line
    spec_version: Line
    operations: tuple[Op, ...]
    capabilities: tuple[Line, ...]
    numerics: tuple[Numerics, ...]
    matmul_precision: Line
    only: dict[Line, tuple[Line, ...]]
    longest: dict[Line, int]
    without: tuple[Feature, ...] = ()

    @classmethod
    def of(cls, declaration: Declaration) -> "DeclarationRecord":
        """Return the same with sets in order."""
        fields = {
            **vars(declaration),
            "operations": tuple(op for op in Op if op in declaration.operations),
            "capabilities": tuple(sorted(declaration.capabilities)),
            "without": tuple(feature for feature in Feature if feature in declaration.without),
            "only": {key: tuple(sorted(values)) for key, values in declaration.only.items()},
            "numerics": tuple(declaration.numerics),
        }
        return cls(**fields)

    def declaration(self) -> Declaration:
        """Return the declaration that this is the record of, in values of this suite's own."""
        sets = {
            "operations": frozenset(self.operations),
            "capabilities": frozenset(self.capabilities),
            "without": frozenset(self.without),
            "only": {key: frozenset(values) for key, values in self.only.items()},
        }
        return Declaration(**{**dict(self), **sets})


class Machine(Frozen):
    """Where the suite ran; the port may compute elsewhere."""

    platform: str
    python: str
    numpy: str
    processors: int


class Report(Frozen):
    """Everything that is said about a port after a run."""

    format: Literal[1] = 1
    suite_version: str
    spec_version: str
    manifest_sha256: str
    port: Line
    declaration: DeclarationRecord
    level: int = Field(description="the highest level asked")
    numerics: tuple[Numerics, ...] = Field(description="the precisions asked")
    whole: bool = Field(description="whether the run selected every case of the levels and precisions asked")
    machine: Machine
    started: str
    seconds: Number
    verdict: Verdict
    reached: int | None = Field(description="the highest level up to which every case passed")
    levels: tuple[LevelCount, ...]
    not_asked: int = Field(description="cases of the manifest in levels or precisions that were not asked")
    problems: tuple[Line, ...] = Field(description="what is wrong with the suite itself")
    stale: tuple[Line, ...] = Field(description="what the file of expected failures has wrong")
    understated: tuple[Line, ...] = Field(description="what the port answers though it declares it absent")
    seed: int | None = Field(default=None, description="what the examples of --explore were drawn from")
    causes: tuple[Cause, ...] = Field(description="failures that no list expects, by cause, vectors first")
    given_up: str = Field(description="why the run ended before every case was asked; empty where it did not")
    results: tuple[Result, ...]
