"""A failure counts at the level of the operation that failed, not at that of the lowest one that the case asks."""

import pytest

from spec_tests.contract.outcome import Outcome
from spec_tests.port import Declaration, Numerics, Op, UnsupportedError
from spec_tests.report.collect import level_of, level_of_case
from spec_tests.report.manifest import Manifest
from spec_tests.report.model import LastCall
from spec_tests.report.samples import NOTHING, NothingPort, entry, manifest_of, report, result
from spec_tests.report.scope import Scope, ScopedPort


def call(op: Op, *, gradients: bool = False) -> LastCall:
    return LastCall(operation=op, numerics=Numerics.F64, config={}, gradients=gradients)


def test_a_call_is_of_the_level_of_its_operation_or_of_gradients() -> None:
    assert level_of(call(Op.MEMORY_SCAN)) == 2
    assert level_of(call(Op.MEMORY_CHUNKED)) == 3
    assert level_of(call(Op.MEMORY_SCAN, gradients=True)) == 5
    assert level_of(call(Op.QK_CLIP, gradients=True)) == 6


def test_a_property_that_fails_is_of_the_level_of_its_last_call_and_never_below_its_own() -> None:
    everything = Declaration(**{**vars(NOTHING), "operations": frozenset(Op)})
    levels = {}
    for op in (Op.NEWTON_SCHULZ, Op.MEMORY_SCAN, Op.MEMORY_CHUNKED):
        port = ScopedPort(NothingPort(everything), Scope())
        with pytest.raises(UnsupportedError):
            port.run(op, {}, {}, numerics=Numerics.F64, taps=frozenset())
        line = entry("test_a:test_every_form", 2, Op.MEMORY_SCAN, Op.MEMORY_CHUNKED)
        levels[op] = [level_of_case(None, port, line, failed=failed) for failed in (False, True)]
    assert levels == {Op.NEWTON_SCHULZ: [2, 2], Op.MEMORY_SCAN: [2, 2], Op.MEMORY_CHUNKED: [2, 3]}


def test_a_defect_of_the_parallel_form_leaves_the_levels_below_it_whole() -> None:
    every_form = entry("test_a:test_every_form", 2, Op.MEMORY_SCAN, Op.MEMORY_CHUNKED)
    others = [result("test_a:test_l0"), result("test_a:test_l2", level=2, op=Op.MEMORY_SCAN)]
    failed = result(every_form.id, Outcome.FAIL, Op.MEMORY_CHUNKED, level=3)
    manifest = manifest_of(others)
    manifest = Manifest(**{**dict(manifest), "cases": (*manifest.cases, every_form)})
    found = report(*others, failed, manifest=manifest)
    counts = {count.level: (count.passed, count.failed, count.defined) for count in found.levels}
    assert (counts[2], counts[3]) == ((1, 0, 1), (0, 1, 1))
    assert found.reached == 2
    assert sum(count.defined for count in found.levels) == 3
