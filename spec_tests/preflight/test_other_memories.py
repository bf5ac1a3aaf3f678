"""The gates of a memory serve every block and a hierarchy: a healthy one passes each, and a broken one fails it."""

from dataclasses import replace

import pytest

from preflight.controls.ablation import ABLATION_CONTROLS
from preflight.controls.gain import GAIN_CONTROLS
from preflight.controls.seeds import SEED_CONTROLS
from preflight.controls.state import STATE_CONTROLS
from preflight.gates import GATES
from preflight.result import Verdict
from preflight.subject import HEALTHY
from spec_tests.preflight import micro
from spec_tests.preflight.micro import micro_config
from spec_tests.sampling import sample

BUDGET = replace(micro.BUDGET, probe_steps=120)
MEMORIES = {
    "mal": ("model.block='mal'",),
    "lmm": ("model.block='lmm'",),
    "mac": ("model.block='mac'", "model.mac.segment=8"),
    "hierarchical": (
        "model.memory.kind='hierarchical'",
        "model.memory.hierarchy.local_chunks=[4]",
        "model.memory.hierarchy.local_shards=[16]",
    ),
    "omega": ("model.gate.kind='convex_memory'", "model.gate.floor=0.05"),
}
BROKEN = {
    "proof-of-life": "half-life of one token",
    "baton-pass": "momentum dropped at boundaries",
    "seed-competition": "seeds dropped",
    "memory-ablation": "memory never written",
}
CONTROLS = {
    (control.gate, control.subject.name): control.subject
    for control in (*GAIN_CONTROLS, *STATE_CONTROLS, *SEED_CONTROLS, *ABLATION_CONTROLS)
}


@pytest.mark.parametrize(("memory", "gate"), sample([(memory, gate) for memory in MEMORIES for gate in BROKEN], kept=1))
def test_a_gate_passes_a_healthy_memory_of_any_kind_and_fails_a_broken_one(memory: str, gate: str) -> None:
    """Kills: a hook that finds the memory of one block alone; a probe that only one of them can learn."""
    config = micro_config(*MEMORIES[memory])
    healthy = GATES[gate](config, HEALTHY, 0, BUDGET)
    assert healthy.verdict is Verdict.PASS, [check.sentence for check in healthy.checks]
    assert GATES[gate](config, CONTROLS[gate, BROKEN[gate]], 0, BUDGET).verdict is Verdict.FAIL
