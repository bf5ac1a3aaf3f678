"""The numpy loops take every call that the protocol's examination makes, those without a row included."""

from spec_tests.contract.driver import ask, prepare
from spec_tests.contract.operations import OPERATIONS
from spec_tests.port import Numerics
from spec_tests.ports.numpy import NumpyPort
from spec_tests.process.tiny import emptied_axis, tiny_config, tiny_inputs


def test_every_operation_takes_the_smallest_case_and_the_empty_one() -> None:
    port = NumpyPort()
    for op in sorted(port.declare().operations):
        config = tiny_config(op)
        for empty in (False, True) if emptied_axis(OPERATIONS[op]) else (False,):
            for numerics in Numerics:
                given = prepare(op, numerics, tiny_inputs(op, empty=empty), config)
                outputs = ask(port, op, config, given, numerics)
                assert outputs.keys() == {tensor.name for tensor in OPERATIONS[op].outputs}
