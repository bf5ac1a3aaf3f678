"""Proof of Life fails every subject whose memory sleeps, by the check that is meant for it, and passes healthy ones."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from atlas_ref.config import ModelConfig, OptimConfig
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.training.optimiser import OuterOptimiser
from preflight.controls.gain import GAIN_CONTROLS, TANH, CoarseGain, detached_output
from preflight.gates import GATES
from preflight.proof_of_life import proof_of_life
from preflight.result import GateResult, Verdict
from preflight.subject import HEALTHY, Budget, Control, Subject
from preflight.trajectory import squeezed_schedule
from spec_tests.preflight.micro import BUDGET, micro_config
from spec_tests.sampling import sample

SMALL = Budget(probe_steps=8, batches=3, sequence_length=32, batch_size=4)
DETACHED = "model.inner_grad='detached'"

MEANT = {
    "gain 0.05": "tanh gate is non-linear",
    "gain 100, saturated": "tanh gate is not saturated",
    "gain stored in bf16 at 5.0": "small parameters move as meant",
    "log-gain stored in bf16": "small parameters move as meant",
    "memory output detached": "gradients reach what is trained",
    "half-life of one token": "memory outlasts attention",
    "elementwise features": "features keep keys apart",
}


def failed(result: GateResult) -> list[str]:
    return [check.name for check in result.checks if check.verdict is Verdict.FAIL]


def examine(subject: Subject, *overrides: str, seed: int = 0, budget: Budget = SMALL) -> GateResult:
    return proof_of_life(micro_config(*overrides), subject, seed, budget)


@pytest.mark.parametrize("control", GAIN_CONTROLS, ids=lambda control: control.subject.name)
def test_every_control_fails_its_gate_by_the_check_that_is_meant_for_it_alone(control: Control) -> None:
    result = GATES[control.gate](micro_config(*control.overrides), control.subject, 0, SMALL)
    assert result.verdict is Verdict.FAIL
    assert failed(result) == [MEANT[control.subject.name]]


@pytest.mark.parametrize(
    ("control", "gate"),
    sample((control, gate) for control in GAIN_CONTROLS for gate in control.also),
    ids=lambda value: value if isinstance(value, str) else value.subject.name,
)
def test_the_other_gates_that_are_named_fail_it_too(control: Control, gate: str) -> None:
    assert GATES[gate](micro_config(*control.overrides), control.subject, 0, BUDGET).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("overrides", "seed"),
    [
        ((), 0),
        ((), 1),
        (TANH, 0),
        (TANH, 1),
        (TANH, 2),
        ((DETACHED,), 0),
        ((*TANH, "model.disable_memory=true"), 0),
        (("model.attention.persistent_tokens=0", "train.precision='bf16'"), 0),
    ],
)
def test_healthy_subjects_pass(overrides: tuple[str, ...], seed: int) -> None:
    result = examine(HEALTHY, *overrides, seed=seed)
    assert result.verdict is Verdict.PASS, [check.sentence for check in result.checks]


def test_the_same_seed_finds_the_same_numbers_and_another_seed_does_not() -> None:
    one, same, other = (examine(HEALTHY, *TANH, seed=seed) for seed in (1, 1, 2))
    assert one.checks == same.checks
    assert one.checks != other.checks


def test_a_configuration_without_a_tanh_gate_is_told_that_the_check_is_not_applicable() -> None:
    result = examine(HEALTHY)
    assert "not applicable" in str(result.evidence["tanh_gate"])
    assert not [check for check in result.checks if "tanh" in check.name]
    assert len([check for check in examine(HEALTHY, *TANH).checks if "tanh" in check.name]) == 2


def test_a_gate_that_the_configuration_names_and_the_model_lacks_is_missed() -> None:
    def ungated(config: ModelConfig, seed: int) -> AtlasModel:
        projection = config.memory.qk_projection.model_copy(update={"kind": "none"})
        memory = config.memory.model_copy(update={"qk_projection": projection})
        return AtlasModel(config.model_copy(update={"memory": memory}), seed)

    result = examine(Subject("ungated", ungated, HEALTHY.optimiser, HEALTHY.hand_over), *TANH)
    assert failed(result) == ["tanh gate is non-linear"]


def test_one_batch_is_too_few_to_pass() -> None:
    result = examine(HEALTHY, *TANH, budget=Budget(probe_steps=4, batches=1, sequence_length=32, batch_size=2))
    assert result.verdict is Verdict.INCONCLUSIVE


def test_a_probe_of_no_steps_proves_no_movement() -> None:
    result = examine(HEALTHY, budget=Budget(probe_steps=0, batches=3, sequence_length=32, batch_size=2))
    assert failed(result) == ["small parameters move as meant"]


@pytest.mark.parametrize(("retention", "verdict"), [(0.9, Verdict.FAIL), (0.95, Verdict.PASS)])
def test_the_half_life_is_that_of_the_retention_in_closed_form(retention: float, verdict: Verdict) -> None:
    result = examine(HEALTHY, f"model.memory.gates.retention_init={retention}")
    check = next(check for check in result.checks if check.name == "memory outlasts attention")
    assert check.statistic == pytest.approx(math.log(0.5) / math.log(retention), rel=1e-4)
    assert check.verdict is verdict


def test_the_half_life_must_reach_beyond_the_attention_window() -> None:
    overrides = ("model.memory.gates.retention_init=0.95", "model.attention.window=14")
    assert failed(examine(HEALTHY, *overrides)) == ["memory outlasts attention"]


def test_the_half_life_is_that_of_the_median_head() -> None:
    def model(config: ModelConfig, seed: int) -> AtlasModel:
        made = AtlasModel(config, seed)
        with torch.no_grad():
            # Heads 0 to 3 of retention; the first two forget with every token.
            bias = made.get_parameter("layers.0.mag.memory.gates.projection.bias")
            bias[:4] = torch.tensor([0.0, 0.0, math.log(19.0), math.log(19.0)])
        return made

    four_heads = ("model.n_heads=4", "model.memory.value_dim=8")
    half_asleep = Subject("half asleep", model, HEALTHY.optimiser, HEALTHY.hand_over)
    check = next(c for c in examine(half_asleep, *four_heads).checks if c.name == "memory outlasts attention")
    assert check.statistic == pytest.approx(math.log(0.5) / math.log(0.95), rel=1e-4)


def test_the_cosine_of_elementwise_features_is_that_of_the_formula() -> None:
    result = examine(HEALTHY, "model.memory.features.basis='elementwise'", "model.memory.features.degree=2")
    check = next(check for check in result.checks if check.name == "features keep keys apart")
    keys = np.random.default_rng(0).normal(size=(400, 16))
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    features = 1.0 + keys + 0.5 * keys**2
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cosines = features @ features.T
    expected = (cosines.sum() - 400) / (400 * 399)
    assert check.statistic == pytest.approx(expected, abs=0.005)


def test_a_gradient_where_the_configuration_says_detached_is_found_and_named() -> None:
    def attached(config: ModelConfig, seed: int) -> AtlasModel:
        return AtlasModel(config.model_copy(update={"inner_grad": "full"}), seed)

    result = examine(Subject("attached", attached, HEALTHY.optimiser, HEALTHY.hand_over), DETACHED)
    assert failed(result) == ["gradients reach nothing else"]
    assert "layers.0.mag.memory.initial.0" in next(c for c in result.checks if c.verdict is Verdict.FAIL).sentence


def test_a_model_that_is_not_finite_fails_with_its_reason_and_without_a_traceback() -> None:
    def poisoned(config: ModelConfig, seed: int) -> AtlasModel:
        model = AtlasModel(config, seed)
        with torch.no_grad():
            model.norm.weight.fill_(math.nan)
        return model

    result = examine(Subject("poisoned", poisoned, HEALTHY.optimiser, HEALTHY.hand_over))
    assert {"gradients reach what is trained", "small parameters move as meant"} <= set(failed(result))
    assert "the loss is nan at step" in result.checks[-1].sentence


def test_every_parameter_without_a_gradient_is_named_and_no_other() -> None:
    result = examine(Subject("detached", detached_output, HEALTHY.optimiser, HEALTHY.hand_over), *TANH)
    sentence = next(c for c in result.checks if c.name == "gradients reach what is trained").sentence
    memory = [
        name
        for name, _ in AtlasModel(micro_config(*TANH).model, 0).named_parameters()
        if name.startswith("layers.0.mag.memory.")
    ]
    assert len(memory) == 7
    assert f"7 ({', '.join(sorted(memory))})" in sentence


SHARDS = ("model.memory.shards.length=8", "model.memory.shards.warmup_crossings=2", "model.memory.omega_window=1")
"""With rows of 32 tokens the learned rate acts at the border at token 24 only."""
LONGER_RAMP = (*SHARDS[:1], "model.memory.shards.warmup_crossings=3")


def subject_of(*overrides: str) -> Subject:
    """Return a subject whose memory is configured otherwise than the gate is told."""
    memory = micro_config(*overrides).model.memory

    def build(config: ModelConfig, seed: int) -> AtlasModel:
        return AtlasModel(config.model_copy(update={"memory": memory}), seed)

    return Subject("otherwise", build, HEALTHY.optimiser, HEALTHY.hand_over)


@pytest.mark.parametrize(
    ("overrides", "evidence"),
    [
        ((), "not applicable"),
        (SHARDS, "acts from token 24 of 32 on"),
        ((*SHARDS, "model.memory.ttl_update_frequency=8"), "acts from token 24 of 32 on"),
        (LONGER_RAMP, "not examined: documents show 32 tokens, and the learned rate acts from token 32 on"),
        ((*SHARDS, "model.memory.rule='delta'"), "acts from token 24"),
        ((*SHARDS, DETACHED), "acts from token 24"),
    ],
)
def test_a_mixing_rate_is_asked_for_a_gradient_where_rows_reach_beyond_its_ramp(
    overrides: tuple[str, ...], evidence: str
) -> None:
    """Kills: an exemption of every mixing rate; a healthy one that is missed because rows are too short for it."""
    result = examine(HEALTHY, *overrides)
    assert result.verdict is Verdict.PASS, [check.sentence for check in result.checks]
    assert evidence in str(result.evidence["mixing_rate"])


@pytest.mark.parametrize(
    ("configured", "built", "check"),
    [(SHARDS, LONGER_RAMP, "gradients reach what is trained"), (LONGER_RAMP, SHARDS, "gradients reach nothing else")],
    ids=["never learns", "learns in the ramp"],
)
def test_a_mixing_rate_that_learns_at_the_wrong_borders_is_found_and_named(
    configured: tuple[str, ...], built: tuple[str, ...], check: str
) -> None:
    result = examine(subject_of(*built), *configured)
    assert failed(result) == [check]
    assert "1 (layers.0.mag.memory.alpha_logit)" in next(c for c in result.checks if c.name == check).sentence


HIERARCHY = ("model.memory.kind='hierarchical'", "model.memory.hierarchy.local_chunks=[4]")
UNWRITTEN = (*HIERARCHY, "model.memory.hierarchy.global_writes=false")


def test_the_gates_of_a_global_memory_that_is_not_written_need_no_gradient() -> None:
    """Kills: an ablation refused for what it leaves out; a global memory that should be written and is not."""
    assert failed(examine(HEALTHY, *UNWRITTEN)) == []
    result = examine(subject_of(*UNWRITTEN), *HIERARCHY)
    gates = ", ".join(f"layers.0.mag.memory.gates.0.projection.{part}" for part in ("bias", "weight"))
    assert failed(result) == ["gradients reach what is trained"]
    assert any(f"2 ({gates})" in check.sentence for check in result.checks)
    assert failed(examine(subject_of(*HIERARCHY), *UNWRITTEN)) == ["gradients reach nothing else"]


@pytest.mark.parametrize("part", ["gates.projection.bias", "feature_coefficients", "attention_norm.weight"])
def test_any_small_parameter_that_does_not_move_is_found(part: str) -> None:
    def frozen(model: nn.Module, config: OptimConfig) -> OuterOptimiser:
        healthy = HEALTHY.optimiser(model, config)
        named = {name: p for names in healthy.names.values() for name, p in names.items() if name.endswith(part)}
        assert named
        return CoarseGain(
            healthy.parts,
            {"adamw": {f"{name}.log_gain": p for name, p in named.items()}},
            healthy.peaks,
            lambda before, after: before + 0.0 * after,
        )

    result = examine(Subject("frozen", AtlasModel, frozen, HEALTHY.hand_over))
    assert failed(result) == ["small parameters move as meant"]
    assert part in next(c for c in result.checks if c.verdict is Verdict.FAIL).sentence


def test_the_squeezed_schedule_runs_through_the_whole_run() -> None:
    config = micro_config("train.max_steps=601")
    steps = squeezed_schedule(config, 10)
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (30, 570)


def test_gates_are_measured_on_every_batch_and_gradients_on_the_first_few() -> None:
    """Kills: a backward pass through every batch (two thirds of the gate's time); gradients of one batch alone;
    gates of the few batches only.
    """
    # What is measured comes before the training, which has one forward and one backward pass a step.
    calls = {"forward": 0, "backward": 0}

    def model(config: ModelConfig, seed: int) -> AtlasModel:
        made = AtlasModel(config, seed)

        def count(pass_: str) -> None:
            calls[pass_] += 1

        made.register_forward_hook(lambda *_: count("forward"))
        made.norm.register_full_backward_hook(lambda *_: count("backward"))
        return made

    budget = Budget(probe_steps=2, batches=7, sequence_length=32, batch_size=2)
    result = examine(Subject("counted", model, HEALTHY.optimiser, HEALTHY.hand_over), *TANH, budget=budget)
    assert result.verdict is Verdict.PASS
    # Besides, two passes for the echo of each of four batches.
    assert calls == {"forward": 7 + 2 * 4 + 2, "backward": 4 + 2}
