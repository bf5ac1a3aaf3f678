"""Faults of checkpoints."""

from collections.abc import Callable
from typing import Final

import numpy as np

from spec_tests.chapters.memory_step.loop import STATE
from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, in_form, multiplied
from spec_tests.port import Array, Numerics, Op, Run, round_to_bf16

SAVED: Final = Op.CHECKPOINT_ROUND_TRIP


def _restored(spoil: Callable[[dict[str, Array]], Arrays]) -> Wrap:
    """Build a fault that spoils the state between the two halves of an interrupted scan."""

    def wrap(run: Run) -> Run:
        def faulty(op: str, config: Config, inputs: Arrays, *, numerics: Numerics, taps: frozenset[str]) -> Arrays:
            split, rule = int(config["split"]), {key: value for key, value in config.items() if key != "split"}
            time = {name: value for name, value in inputs.items() if name not in (*STATE, "initial")}
            before = {**inputs, **{name: value[:, :split] for name, value in time.items()}}
            first = run(Op.MEMORY_SCAN, rule, before, numerics=numerics, taps=taps)
            state = {name: first[name] for name in STATE}
            given = {**inputs, **{name: value[:, split:] for name, value in time.items()}, **state}
            spoilt = in_form(Op.MEMORY_SCAN, spoil(state), numerics)
            second = run(Op.MEMORY_SCAN, rule, {**given, **spoilt}, numerics=numerics, taps=taps)
            return {**second, "reads": np.concatenate([first["reads"], second["reads"]], axis=1)}

        return faulty

    return wrap


def _lost(*names: str) -> Wrap:
    return _restored(lambda state: {name: 0 * state[name] for name in names})


BITS = "test_memory_checkpoint:test_an_interrupted_scan_goes_on_as_in_two_calls"
WHOLE = "test_memory_checkpoint:test_the_interrupted_scan_is_the_scan"

WITHOUT_STATE = "source: checkpoints without the state of the memory"

FAULTS: Final[tuple[Fault, ...]] = (
    Fault("ckpt-momentum-not-saved", "CKPT-1b", SAVED, BITS, _lost("momentum"), WITHOUT_STATE),
    Fault("ckpt-window-not-saved", "CKPT-1d", SAVED, BITS, _lost("window_keys", "window_values"), WITHOUT_STATE),
    Fault("ckpt-position-not-saved", "CKPT-1e", SAVED, BITS, _lost("position"), WITHOUT_STATE),
    Fault(
        "ckpt-anchor-not-saved",
        "CKPT-1c",
        SAVED,
        BITS,
        _restored(lambda state: {"anchor": state["weights"]}),
        WITHOUT_STATE,
    ),
    Fault(
        "ckpt-saved-in-bf16",
        "CKPT-2",
        SAVED,
        WHOLE,
        _restored(lambda state: {"weights": round_to_bf16(state["weights"])}),
        "source: accumulators in bfloat16 stall",
    ),
    Fault(
        "ckpt-rows-mixed-up",
        "CKPT-3",
        SAVED,
        "test_memory_checkpoint:test_each_row_gets_its_own_state_back",
        _restored(lambda state: {name: np.roll(value, 1, axis=0) for name, value in state.items()}),
        "porting: another layout of the packed matrices",
    ),
    Fault("ckpt-weights-not-saved", "CKPT-1a", SAVED, BITS, _lost("weights"), WITHOUT_STATE),
    *multiplied(
        "ckpt", Op.CHECKPOINT_ROUND_TRIP, "CKPT-1a", "test_memory_checkpoint_sight", "keys", "weights", "window_keys"
    )[:1],
)
