"""The polarisation of the gates: value and gradient against closed forms in numpy, its weight, and that off is off.

Every test names the fault that was put into the program by hand and that it caught.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas_ref.blocks import block, joined
from atlas_ref.blocks.polarisation import indecision, polarisation_weight
from atlas_ref.data.streams import open_source
from atlas_ref.errors import UserError
from atlas_ref.functional.mag_gate import Gated, GateKind, mag_gate
from atlas_ref.models.atlas import AtlasModel, ModelOutput
from atlas_ref.training.run import new_run
from atlas_ref.training.step import train_step
from spec_tests.package.micro.models import carried_state, make_model, make_tokens
from spec_tests.package.micro.runs import metric_lines, micro_config, saved_bytes, start

CPU = torch.device("cpu")
ON = ("optim.polarisation_start=0.8", "optim.polarisation_end=0.05")


def test_the_penalty_and_its_gradient_are_those_of_the_formula() -> None:
    """Kills: a sum; 4 g (1 - g) in place of the tent; a slope of 1; a gradient towards 1/2."""
    logits = 2.0 * torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits.requires_grad_()
    penalty = indecision(torch.sigmoid(logits))
    (slope,) = torch.autograd.grad(penalty, logits)

    x = logits.detach().numpy()
    gate = 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(penalty.item(), np.mean(1 - np.abs(2 * gate - 1)), rtol=1e-14)
    np.testing.assert_allclose(slope.numpy(), -2 * np.sign(x) * gate * (1 - gate) / x.size, rtol=1e-12)
    # Down the gradient every gate moves to the pole that is nearer.
    assert ((-slope.numpy() > 0) == (gate > 0.5)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gate_at_one_half_has_the_largest_penalty_and_no_gradient(dtype: torch.dtype) -> None:
    """Kills: a one-sided slope at the kink. It is a property of the loss that users must know, not a wish."""
    logits = torch.tensor([0.0, 1e-3, -1e-3], dtype=dtype, requires_grad=True)
    penalties = 1.0 - (2.0 * torch.sigmoid(logits) - 1.0).abs()
    (slope,) = torch.autograd.grad(indecision(torch.sigmoid(logits)), logits)
    assert penalties.argmax() == 0
    assert indecision(torch.sigmoid(logits[:1])).item() == 1.0
    assert slope[0].item() == 0.0
    assert slope[1].item() == pytest.approx(-0.5 / 3, rel=1e-5)
    assert slope[2].item() == pytest.approx(0.5 / 3, rel=1e-5)


def test_the_weight_goes_from_start_to_end_in_equal_ratios() -> None:
    """Kills: a straight line; N in place of N - 1 steps; a weight that goes on falling; division by zero at N = 1."""
    found = [polarisation_weight(step, 5, 1.0, 0.01) for step in range(7)]
    assert found == pytest.approx([1.0, 10**-0.5, 0.1, 10**-1.5, 0.01, 0.01, 0.01], rel=1e-12)
    rising = [polarisation_weight(step, 3, 0.5, 2.0) for step in range(3)]
    assert (rising[0], rising[2]) == (0.5, 2.0)
    assert rising[1] == pytest.approx(1.0)
    assert polarisation_weight(0, 1, 0.3, 0.1) == 0.3
    assert [polarisation_weight(step, 5, 0.0, 0.0) for step in range(5)] == [0.0] * 5


@pytest.mark.parametrize(("zero", "other"), [("start", "end"), ("end", "start")])
def test_equal_ratios_from_or_to_zero_are_refused_in_one_sentence(zero: str, other: str) -> None:
    """Kills: a weight that is silently 0, or 0 from the second step on."""
    with pytest.raises(UserError, match=rf"polarisation_{zero} is 0.0; it must be greater than 0 with") as caught:
        micro_config(f"optim.polarisation_{other}=0.5")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["source", "convex"])
def test_the_model_reports_the_indecision_of_the_raw_gates_of_all_layers(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: the gate behind its floor; the last layer alone; a sum over layers; a term without its graph."""
    model = make_model("omega", f"model.gate.kind='{kind}'", "model.gate.floor=0.3", "model.init_std=0.9")
    gates: list[Tensor] = []

    def record(kind: GateKind, attention: Tensor, memory: Tensor, logits: Tensor | None, floor: float) -> Gated:
        gates.append(torch.sigmoid(attention if logits is None else logits).detach())
        return mag_gate(kind, attention, memory, logits, floor)

    state = carried_state(model, 3).detach()
    monkeypatch.setattr(joined, "mag_gate", record)
    output: ModelOutput = model(make_tokens(3, 5), state, None, 0, penalised=True)
    raw = torch.stack(gates).numpy()
    assert raw.shape[0] == 2
    assert output.indecision is not None
    np.testing.assert_allclose(output.indecision.item(), np.mean(1 - np.abs(2 * raw - 1)), rtol=1e-12)
    torch.autograd.backward(output.indecision)
    where = "mag.gate.weight" if kind == "convex" else "mag.attention_norm.weight"
    for layer in model.layers:
        gradient = layer.get_parameter(where).grad
        assert gradient is not None
        assert bool(gradient.any())


def test_a_step_descends_the_cross_entropy_plus_the_weighted_penalty() -> None:
    """Kills: the penalty without its weight, or with that of another step; its sum in the reported loss; a penalty
    that is reported and not minimised; a graph that is kept in the result.
    """
    config = micro_config(*ON, "train.max_steps=5", "optim.max_norm=1e6", "model.init_std=0.4", "optim.warmup_steps=0")
    batch, step = open_source(config).batch(2), 2
    run, twin = new_run(config, CPU), AtlasModel(config.model, config.train.seed)
    output: ModelOutput = twin(batch.tokens, twin.initial_state(2), batch.reset, step, penalised=True)
    assert output.indecision is not None
    logarithms = output.logits.log_softmax(-1)
    counted = batch.targets >= 0
    entropy = -logarithms[counted].gather(1, batch.targets[counted].unsqueeze(1)).mean()
    torch.autograd.backward(entropy + 0.8 * (0.05 / 0.8) ** (step / 4) * output.indecision)
    result = train_step(run.model, run.optimiser, batch, run.state, step, config)

    norm = float(torch.stack([p.grad.norm() for p in twin.parameters() if p.grad is not None]).norm())
    assert result.loss == pytest.approx(entropy.item(), rel=1e-6)
    assert result.grad_norm == pytest.approx(norm, rel=1e-5)
    for ours, theirs in zip(run.model.parameters(), twin.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-7)
    assert result.output.indecision is not None
    assert not result.output.indecision.requires_grad
    assert result.output.indecision.item() == pytest.approx(output.indecision.item(), rel=1e-6)


def test_without_it_nothing_is_computed_logged_or_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a penalty of weight zero that is computed all the same; a key of zeros in the log; on without effect."""
    start(micro_config(*ON), tmp_path / "on")

    def never(gates: Tensor) -> Tensor:
        raise AssertionError(f"the indecision of {gates.shape} was asked for")

    monkeypatch.setattr(block, "indecision", never)
    start(micro_config(), tmp_path / "off")
    keys = {name: {key for line in metric_lines(tmp_path / name) for key in line} for name in ("on", "off")}
    # The second of the terms that are minimised; with it the first is told too.
    added = {"train/polarisation", "train/loss_polarisation", "train/loss_supervised"}
    assert keys["on"] - keys["off"] == added
    assert not keys["off"] - keys["on"]
    shares = [line["train/polarisation"] for line in metric_lines(tmp_path / "on") if "train/polarisation" in line]
    assert all(0.0 < share <= 1.0 for share in shares)
    assert saved_bytes(tmp_path / "on") != saved_bytes(tmp_path / "off")
