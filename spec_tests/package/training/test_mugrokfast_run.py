"""MuGrokfast in training: its order, its heads, its average; docs/spec/optimisers.md has the mathematics.

Every test names the fault that was put into the program by hand and that it caught.
"""

import math
from pathlib import Path

import pytest
import torch

from atlas_ref.data.streams import open_source
from atlas_ref.storage.checkpoint import find_checkpoint
from atlas_ref.training.mugrokfast import ClippedHeads, WeightAverage
from atlas_ref.training.run import Run, load_model, new_run, restore
from atlas_ref.training.step import train_step
from spec_tests.package.micro.arithmetic import arithmetic_config
from spec_tests.package.micro.runs import micro_config, start

OURS = "optim.name='mugrokfast'"


def trained(*overrides: str, steps: int = 1) -> Run:
    """Return a small run after some steps of MuGrokfast."""
    config = micro_config(OURS, *overrides)
    run, source = new_run(config, torch.device("cpu")), open_source(config)
    for step in range(steps):
        result = train_step(run.network, run.optimiser, source.batch(step), run.state, step, config)
        run.state = result.output.state
    return run


def weights(run: Run) -> dict[str, torch.Tensor]:
    """Return a copy of every parameter."""
    return {name: parameter.detach().clone() for name, parameter in run.model.named_parameters()}


def test_parts_act_in_their_order() -> None:
    """Kills: weights averaged before heads are clipped; the filter behind the optimisers."""
    run = trained("optim.average=0.9", steps=0)
    assert list(run.optimiser.parts) == ["slow", "muon", "adamw", "clipped", "average"]


def test_a_filter_of_strength_zero_and_no_clip_leave_adamw_on_vectors() -> None:
    """Kills: a filter that multiplies where it should add; decay on vectors."""
    plain = weights(trained_by("adamw"))
    ours = weights(trained("optim.mugrokfast.strength=0.0", "optim.mugrokfast.qk_clip=0.0"))
    vectors = [name for name, value in plain.items() if value.ndim == 1]
    assert len(vectors) > 5
    for name in vectors:
        torch.testing.assert_close(ours[name], plain[name], rtol=0.0, atol=0.0)


def trained_by(name: str) -> Run:
    """Return the same run after one step of another optimiser."""
    return trained(f"optim.name='{name}'")


def test_heads_above_the_threshold_make_the_logits_of_the_threshold() -> None:
    """Kills: no clip; values or queries clipped alone; the factor without its root; logits of evaluation counted."""
    free, clipped = weights(trained("optim.mugrokfast.qk_clip=0.0")), trained("optim.mugrokfast.qk_clip=0.01")
    part = clipped.optimiser.parts["clipped"]
    assert isinstance(part, ClippedHeads)
    for name, parameter in clipped.model.named_parameters():
        if not name.endswith("attention.projection.weight"):
            torch.testing.assert_close(parameter.detach(), free[name], rtol=0.0, atol=0.0)
            continue
        before, after = (x.view(3, 2, -1, x.shape[1]) for x in (free[name], parameter.detach()))
        gamma = 0.01 / part.largest[parameter]
        assert bool((gamma < 0.9).all()), "no head is above the threshold"
        for head in range(2):
            torch.testing.assert_close(after[:2, head], before[:2, head] * gamma[head].sqrt(), rtol=1e-5, atol=1e-8)
        torch.testing.assert_close(after[2], before[2], rtol=0.0, atol=0.0)


def test_validation_takes_the_average_and_leaves_the_weights() -> None:
    """Kills: an average that starts at zero, or of the weights before the step; weights that are not put back."""
    begun = weights(trained(steps=0))
    run = trained("optim.average=0.75")
    after = weights(run)
    with run.optimiser.averaged():
        inside = weights(run)
    for name in begun:
        torch.testing.assert_close(inside[name], 0.75 * begun[name] + 0.25 * after[name])
        assert torch.equal(dict(run.model.named_parameters())[name], after[name])
    assert isinstance(run.optimiser.parts["average"], WeightAverage)


def test_a_saved_model_is_the_average_where_one_is_kept(tmp_path: Path) -> None:
    """Kills: the weights of the last step, which validation did not judge; an average where none is configured."""
    for average in (0.75, 0.0):
        config = micro_config(OURS, f"optim.average={average}", "train.max_steps=2")
        start(config, tmp_path / str(average))
        checkpoint = find_checkpoint(tmp_path / str(average))
        run = new_run(config, torch.device("cpu"))
        restore(run, checkpoint)
        last = weights(run)
        with run.optimiser.averaged():
            judged = weights(run)
        saved = load_model(checkpoint, torch.device("cpu"))
        differ = [name for name in last if not torch.equal(judged[name], last[name])]
        assert bool(differ) == bool(average)
        for name, parameter in saved.named_parameters():
            assert torch.equal(parameter, judged[name]), name


def test_the_slow_part_holds_clipped_gradients() -> None:
    """Kills: a filter on gradients that are not clipped yet."""
    run = trained("optim.max_norm=0.001")
    tensors = run.optimiser.to_tensors()
    squares = [value.square().sum() for name, value in tensors.items() if name.startswith("slow.average.")]
    assert len(squares) > 10
    torch.testing.assert_close(torch.stack(squares).sum().sqrt(), torch.tensor(0.001), rtol=1e-4, atol=0.0)


PAIRS_BY = "optim.name='grokfast'"


def test_grokfast_gives_filtered_gradients_to_adamw_and_no_matrix_to_muon() -> None:
    """Kills: Muon under the name; a filter that is left out; a filter of strength zero that changes a bit."""
    runs = {}
    for name, strength in (("adamw", 0.0), ("grokfast", 0.0), ("grokfast", 2.0)):
        config = arithmetic_config(f"optim.name='{name}'", f"optim.mugrokfast.strength={strength}")
        run, source = new_run(config, torch.device("cpu")), open_source(config)
        for step in range(3):
            result = train_step(run.network, run.optimiser, source.batch(step), run.state, step, config)
            run.state = result.output.state
        runs[name, strength] = weights(run)
        assert list(run.optimiser.parts) == (["adamw"] if name == "adamw" else ["slow", "adamw"])
    for name, value in runs["adamw", 0.0].items():
        assert torch.equal(runs["grokfast", 0.0][name], value), name
        assert not torch.equal(runs["grokfast", 2.0][name], value), name


def test_perp_grad_hands_on_gradients_orthogonal_to_their_weights_at_their_length() -> None:
    """Kills: perp-grad that is read and not done; the length of what is left; a product over rows."""
    config = arithmetic_config(PAIRS_BY, "optim.mugrokfast.strength=0.0", "optim.mugrokfast.perp_grad=true")
    run, source = new_run(config, torch.device("cpu")), open_source(config)
    before = weights(run)
    result = train_step(run.network, run.optimiser, source.batch(0), run.state, 0, config)
    gradients = {name: p.grad for name, p in run.model.named_parameters()}
    lengths = 0.0
    for name, gradient in gradients.items():
        assert gradient is not None
        cosine = (gradient * before[name]).sum() / (gradient.norm() * before[name].norm())
        assert abs(float(cosine)) < 1e-5, name
        lengths += float(gradient.norm()) ** 2
    assert math.sqrt(lengths) == pytest.approx(result.grad_norm, rel=1e-5)
