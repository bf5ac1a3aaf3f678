"""A port that answers what it declares absent is noticed, and asked each such operation once."""

from collections import Counter
from collections.abc import Mapping

from spec_tests.port import Array, Declaration, Numerics, Op, Scalar
from spec_tests.ports.reference import ReferencePort
from spec_tests.report.probe import understated
from spec_tests.report.samples import EagerPort, NothingPort
from spec_tests.report.scope import Scope


class ModestPort(ReferencePort):
    """The reference, which declares all but two of its operations and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def declare(self) -> Declaration:
        """Declare all but normalisation and the memory over a sequence."""
        sound = super().declare()
        hidden = {Op.L2_NORMALIZE, Op.MEMORY_SCAN}
        return Declaration(**{**vars(sound), "operations": sound.operations - hidden})

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Answer as the reference does."""
        self.asked[op] += 1
        return super().run(op, config, inputs, numerics=numerics, taps=taps)


def test_what_is_answered_though_declared_absent_is_named_within_the_levels_asked() -> None:
    port = ModestPort()
    declared = port.declare()
    assert list(understated(port, declared, Scope(level=1))) == [Op.L2_NORMALIZE]
    assert port.asked == {Op.L2_NORMALIZE: 1}
    assert list(understated(port, declared, Scope())) == [Op.L2_NORMALIZE, Op.MEMORY_SCAN]


def test_a_port_that_refuses_or_declares_everything_is_not_understated() -> None:
    for port in (NothingPort(), EagerPort()):
        assert list(understated(port, port.declare(), Scope())) == []
