"""docs/spec/memory_checkpoint.md, against the scan that is not interrupted."""

from collections.abc import Iterator

import numpy as np
import pytest

from spec_tests.chapters.memory_step.calls import case, expected, rule, tokens
from spec_tests.chapters.memory_step.loop import STATE, Config, Inputs
from spec_tests.contract.driver import Result, assert_close, precisions, run
from spec_tests.contract.properties import assert_computes, unchanged
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

SAVED = Op.CHECKPOINT_ROUND_TRIP
TIME = 9


def cases() -> Iterator[tuple[Config, Inputs]]:
    for config in (rule("titans"), rule("omega", "mlp", boundary="carry"), rule("delta", chunk=5)):
        yield config, case(config, time=TIME, window=1 if config["rule"] == "delta" else 3, seed=31)


def in_two_calls(port: Port, numerics: Numerics, config: Config, inputs: Inputs, split: int) -> dict[str, Array]:
    """Return what two scans give that hand the state on in memory."""
    first = run(port, Op.MEMORY_SCAN, numerics, tokens(inputs, slice(0, split)), **config)
    state = {name: first[name] for name in STATE}
    second = run(port, Op.MEMORY_SCAN, numerics, {**tokens(inputs, slice(split, None)), **state}, **config)
    return {**second.outputs, "reads": np.concatenate([first["reads"], second["reads"]], axis=1)}


def saved(port: Port, numerics: Numerics, config: Config, inputs: Inputs, split: int) -> Result:
    return run(port, SAVED, numerics, inputs, **config, split=split)


@pytest.mark.spec("CKPT-1")
def test_an_interrupted_scan_goes_on_as_in_two_calls(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in cases():
            for split in (0, 5) if config["rule"] == "titans" else (6,):
                with where_declared():
                    result = saved(port, numerics, config, inputs, split)
                    assert_computes(result)
                    for name, value in in_two_calls(port, numerics, config, inputs, split).items():
                        what = f"{name} of {config['rule']} interrupted at {split} in {numerics}"
                        assert_close(result[name], value, unchanged(result, name), what)


@pytest.mark.spec("CKPT-2")
def test_the_interrupted_scan_is_the_scan(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in cases():
            with where_declared():
                result = saved(port, numerics, config, inputs, 5)
                for name, value in expected(config, result.inputs).items():
                    result.assert_close(name, value)


@pytest.mark.spec("CKPT-3")
def test_each_row_gets_its_own_state_back(port: Port) -> None:
    config = rule("omega")
    inputs = case(config, time=TIME, window=3, seed=32)
    for numerics in precisions(port):
        with where_declared():
            whole = saved(port, numerics, config, inputs, 4)
            assert_computes(whole)
            for row in range(2):
                with where_declared():
                    part = {
                        name: value if name == "initial" else value[row : row + 1] for name, value in inputs.items()
                    }
                    alone = saved(port, numerics, config, part, 4)
                    for name in STATE:
                        whole_row, own = whole[name][row : row + 1], alone[name]
                        error = np.abs(own - whole_row).max(initial=0.0)
                        assert error <= 1e-5 * np.abs(whole_row).max(initial=1.0), (
                            f"{name} of row {row} is another row's"
                        )
