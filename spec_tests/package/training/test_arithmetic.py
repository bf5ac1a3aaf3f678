"""Denormals count as zero while a model is trained or evaluated, and as what they are before and after."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atlas_ref.training import evaluate, step
from atlas_ref.training.arithmetic import keeps_denormals, without_denormals
from spec_tests.package.micro.runs import micro_config, start


@pytest.fixture(autouse=True)
def flushing() -> None:
    with without_denormals():
        if keeps_denormals():
            pytest.skip("this processor cannot flush denormals to zero")


def test_denormals_are_zero_inside_and_what_they_were_afterwards_one_in_another_and_past_an_error() -> None:
    """Kills: a mode that is left on; an inner one that ends the outer one; one that an error leaves behind."""
    assert keeps_denormals()
    with pytest.raises(ArithmeticError):
        _fail_inside()
    assert keeps_denormals()


@without_denormals()
def _fail_inside() -> None:
    with without_denormals():
        assert not keeps_denormals()
    assert not keeps_denormals()
    raise ArithmeticError


def test_training_and_validation_count_denormals_as_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a loop, or the validation in it, that leaves the mode."""
    seen: list[bool] = []
    for module in (step, evaluate):
        monkeypatch.setattr(module, "forward", _noting(seen, module.forward))
    start(micro_config("train.max_steps=3", "train.eval_interval=1"), tmp_path / "run")
    assert len(seen) > 3
    assert not any(seen)
    assert keeps_denormals()


def _noting(seen: list[bool], forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return `forward` with a note of every call: whether denormals were kept."""

    def call(*arguments: Any, **named: Any) -> Any:
        seen.append(keeps_denormals())
        return forward(*arguments, **named)

    return call
