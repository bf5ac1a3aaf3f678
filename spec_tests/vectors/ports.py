"""Ports for the tests of the judge: sound ones with one thing wrong."""

from collections.abc import Callable, Mapping

from spec_tests.port import Array, Declaration, Numerics, Port, Scalar

Change = Callable[[dict[str, Array]], Mapping[str, Array]]


class Changed:
    """A port whose answers are changed before they leave."""

    def __init__(self, port: Port, change: Change) -> None:
        self._port = port
        self._change = change

    def declare(self) -> Declaration:
        """Declare what the sound port declares."""
        return self._port.declare()

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Return the sound answer, changed."""
        answer = self._port.run(op, config, inputs, numerics=numerics, taps=taps)
        return {**answer, **self._change({name: value.copy() for name, value in answer.items()})}


class Stale(Changed):
    """A port that answers every question as it answered the first."""

    def __init__(self, port: Port) -> None:
        first: dict[str, Array] = {}

        def keep(answer: dict[str, Array]) -> Mapping[str, Array]:
            if not first:
                first.update(answer)
            return first

        super().__init__(port, keep)
