"""Which failures follow from another: an operation that rests on a broken one is blocked, not broken by itself.

The table says what a port needs in order to compute an operation, as docs/spec builds one upon another. A case is
blocked only if every case that asks the primitive alone went wrong; it still does not pass.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from spec_tests.contract.outcome import Outcome
from spec_tests.port import Op, Scalar
from spec_tests.report.model import Result

ORTHOGONALISED: Final = frozenset({"atlas", "atlas_appendix"})


@dataclass(frozen=True)
class Rest:
    """Operations that need another one, always or where a key of the configuration has one of some values."""

    operations: frozenset[Op]
    primitive: Op
    key: str = ""
    values: frozenset[str] = frozenset()

    def applies(self, operation: Op, config: Mapping[str, Scalar]) -> bool:
        """Return whether a call needs the primitive."""
        return operation in self.operations and (not self.key or config.get(self.key) in self.values)


MIRAS: Final = frozenset({Op.MIRAS_SCAN, Op.MIRAS_CHUNKED})
MEMORIES: Final = MIRAS | {Op.MEMORY_STEP, Op.MEMORY_SCAN, Op.MEMORY_CHUNKED, Op.MEMORY_HIERARCHICAL, Op.MEMORY_GRAD}
BLOCKS: Final = frozenset({Op.MAG_BLOCK, Op.MAC_BLOCK, Op.MAL_BLOCK, Op.LMM_BLOCK})
RESTS: Final = (
    Rest(MEMORIES, Op.NEWTON_SCHULZ, "rule", ORTHOGONALISED),
    Rest(frozenset({Op.MEMORY_SCAN}), Op.MEMORY_STEP),
    Rest(frozenset({Op.MEMORY_CHUNKED, Op.MEMORY_GRAD}) | BLOCKS, Op.MEMORY_SCAN),
    Rest(frozenset({Op.MEMORY_SCHEDULE, Op.MEMORY_HIERARCHICAL}), Op.MEMORY_SCAN),
    Rest(frozenset({Op.MIRAS_CHUNKED}), Op.MIRAS_SCAN),
    Rest(BLOCKS, Op.SLIDING_WINDOW_ATTENTION),
    Rest(frozenset({Op.LM_FORWARD, Op.MAG_BLOCK_MARKS}), Op.MAG_BLOCK),
    Rest(frozenset({Op.CHECKPOINT_ROUND_TRIP, Op.TRAIN_STEPS}), Op.LM_FORWARD),
    Rest(frozenset({Op.MUON_STEP}), Op.NEWTON_SCHULZ),
)
_RAN: Final = frozenset({Outcome.PASS, Outcome.FAIL, Outcome.ERROR, Outcome.UNDECLARED})


def broken(results: Iterable[Result]) -> frozenset[Op]:
    """Return the operations of which every case that asks nothing else went wrong."""
    alone = [result for result in results if len(result.operations) == 1 and result.outcome in _RAN]
    wrong = {result.operations[0] for result in alone if result.failed}
    return frozenset(wrong - {result.operations[0] for result in alone if not result.failed})


def blocker(operation: Op, config: Mapping[str, Scalar], found: frozenset[Op]) -> Op | None:
    """Return the broken operation that lies deepest under this one, None if there is none."""
    for rest in RESTS:
        if rest.applies(operation, config):
            deepest = blocker(rest.primitive, config, found) or (rest.primitive if rest.primitive in found else None)
            if deepest:
                return deepest
    return None


def with_blocked(results: Sequence[Result]) -> tuple[Result, ...]:
    """Return the results with those failures called blocked whose last call rests on a broken operation."""
    found = broken(results)
    return tuple(_blocked(result, found) if result.failed and result.last else result for result in results)


def _blocked(result: Result, found: frozenset[Op]) -> Result:
    assert result.last
    cause = blocker(result.last.operation, result.last.config, found)
    return result.model_copy(update={"outcome": Outcome.BLOCKED, "blocked_by": cause}) if cause else result
