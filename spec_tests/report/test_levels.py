"""A failure counts at the level of the operation that failed, not at that of the lowest one that the case asks."""

from spec_tests.contract.outcome import Outcome
from spec_tests.port import Numerics, Op
from spec_tests.report.collect import level_of
from spec_tests.report.manifest import Manifest
from spec_tests.report.model import LastCall
from spec_tests.report.samples import entry, manifest_of, report, result


def call(op: Op, *, gradients: bool = False) -> LastCall:
    return LastCall(operation=op, numerics=Numerics.F64, config={}, gradients=gradients)


def test_a_call_is_of_the_level_of_its_operation_or_of_gradients() -> None:
    assert level_of(call(Op.MEMORY_SCAN)) == 2
    assert level_of(call(Op.MEMORY_CHUNKED)) == 3
    assert level_of(call(Op.MEMORY_SCAN, gradients=True)) == 5
    assert level_of(call(Op.QK_CLIP, gradients=True)) == 6


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
