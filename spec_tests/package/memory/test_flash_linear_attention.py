"""Where the package flash-linear-attention is installed: its naive forms and this memory read the same.

Its forms compute in float32, so the comparison is to six digits; it stands beside the recurrences of `named_models`,
which are judged to twelve.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.ridge import fresh_ridge_state, ridge_scan
from spec_tests.package.memory.miras_axes import AXES
from spec_tests.package.memory.miras_calls import (
    BATCH,
    FEATURES,
    HEADS,
    TIME,
    VALUES,
    draw,
    gap,
    leaves_of,
    outcome,
    resets,
)
from spec_tests.package.memory.miras_loop import Options

pytestmark = pytest.mark.skipif(find_spec("fla") is None, reason="flash-linear-attention is not installed")

Theirs = Callable[[dict[str, Tensor], Tensor], Tensor]
SIX_DIGITS: Final = 1e-6


def form(room: str, name: str) -> Any:
    with warnings.catch_warnings():
        # It says that it finds no GPU.
        warnings.simplefilter("ignore")
        return getattr(import_module(f"fla.ops.{room}.naive"), name)


def delta_rule(x: dict[str, Tensor], start: Tensor) -> Tensor:
    by_head = (x[name].transpose(1, 2) for name in ("queries", "keys", "values", "step_size"))
    found = form("delta_rule", "delta_rule_recurrence")(*by_head, initial_state=start)[0].transpose(1, 2)
    return torch.as_tensor(found * FEATURES**0.5)


def gated_delta_rule(x: dict[str, Tensor], start: Tensor) -> Tensor:
    given = (x["queries"], x["keys"], x["values"], x["step_size"], x["log_retention"].squeeze(-1))
    found = form("gated_delta_rule", "naive_recurrent_gated_delta_rule")(*given, scale=1.0, initial_state=start)[0]
    return torch.as_tensor(found)


def kda(x: dict[str, Tensor], start: Tensor) -> Tensor:
    given = (x["queries"], x["keys"], x["values"], x["log_retention"], x["step_size"])
    return torch.as_tensor(form("kda", "naive_recurrent_kda")(*given, scale=1.0, initial_state=start)[0])


def gla(x: dict[str, Tensor], start: Tensor) -> Tensor:
    given = (x["queries"], x["keys"], x["values"], x["log_retention"])
    return torch.as_tensor(form("gla", "naive_recurrent_gla")(*given, initial_state=start)[0] * FEATURES**0.5)


PAIRS: Final[dict[str, tuple[Options, Theirs]]] = {
    "DeltaNet": (AXES["delta"], delta_rule),
    "Gated DeltaNet": (AXES["gated deltanet"], gated_delta_rule),
    "KDA": (AXES["kda"], kda),
    "GLA": (replace(AXES["delta of columns"], bias="dot"), gla),
}


@pytest.mark.parametrize(("options", "theirs"), PAIRS.values(), ids=PAIRS)
def test_the_naive_forms_of_flash_linear_attention_read_the_same(options: Options, theirs: Theirs) -> None:
    inputs, initial = draw(options)
    inputs["window_weights"] = np.ones_like(inputs["window_weights"])
    if options.bias == "dot":
        inputs["step_size"] = np.ones_like(inputs["step_size"])
    if theirs is delta_rule:
        inputs["log_retention"] = np.zeros_like(inputs["log_retention"])
    found = outcome(memory_chunked, options, leaves_of(inputs, initial), resets(BATCH, TIME, ()), schedule=3)["reads"]
    start = torch.tensor(initial[0]).float().mT.expand(BATCH, HEADS, FEATURES, VALUES).clone()
    wanted = theirs({name: torch.tensor(value).float() for name, value in inputs.items()}, start)
    assert gap(found.detach().numpy(), wanted.numpy()) < SIX_DIGITS


def test_the_exact_form_of_mesanet_reads_the_same() -> None:
    inputs, _ = draw(AXES["delta"])
    x = {name: torch.tensor(value) for name, value in inputs.items()}
    ridge = torch.full((HEADS, FEATURES), 0.7, dtype=torch.float64)
    log = x["log_retention"].squeeze(-1)
    # Theirs has as many values as features.
    values = torch.cat([x["values"], x["values"][..., :1].square()], -1)
    wanted = form("mesa_net", "naive_mesa_net_exact")(x["queries"], x["keys"], values, log, ridge, x["step_size"])[0]
    state = fresh_ridge_state(BATCH, HEADS, FEATURES, FEATURES, ridge)
    found, _ = ridge_scan(x["keys"], values, x["queries"], log.exp(), x["step_size"], ridge, None, state)
    assert gap(found.numpy(), wanted.numpy()) < SIX_DIGITS
