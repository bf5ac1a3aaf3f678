"""Rules without meaning are refused in one sentence that says what, where and what is valid."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from atlas_ref.errors import UserError
from atlas_ref.memory.bias import Bias
from atlas_ref.memory.link import Link
from atlas_ref.memory.recurrent import memory_recurrent
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.state import fresh_memory_state

PLAIN = MemoryRule("matrix", "delta", 1, "carry", "post", 0.5, "literal", 0.9, "quintic", 5)

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a chunk for a retained error": ({"error_at": "retained", "chunk": 4}, "error_at 'retained' has chunk '4'"),
    "momentum for a retained error": (
        {"error_at": "retained", "name": "titans"},
        "has rule 'titans', valid is 'delta'",
    ),
    "an MLP for an implicit step": ({"algorithm": "implicit", "architecture": "mlp"}, "has architecture 'mlp'"),
    "another bias for an implicit step": ({"algorithm": "implicit", "bias": Bias("dot")}, "has bias 'dot'"),
    "a link for a retained error": ({"error_at": "retained", "link": Link("softmax")}, "has link 'softmax'"),
    "an implicit step of mass": ({"algorithm": "implicit", "step_scale": "mass"}, "step_scale 'mass'"),
    "elastic nets of retained errors": (
        {"error_at": "retained", "retention": "proximal_elastic"},
        "has retention 'proximal_elastic', valid is 'dual'",
    ),
    "gates of rows for an MLP": (
        {"gate_axis": "rows", "architecture": "mlp"},
        "gate_axis 'rows' has architecture 'mlp'",
    ),
    "gates of columns for logits": ({"gate_axis": "columns", "link": Link("softmax")}, "up to a constant of each row"),
    "a proximal step on a link": ({"retention": "proximal_elastic", "link": Link("lq", 4.0)}, "valid is 'identity'"),
    "mass of a glu": ({"step_scale": "mass", "architecture": "mlp_glu"}, "no bound of its curvature"),
    "mass of a jump": ({"step_scale": "mass", "bias": Bias("yaad_printed")}, "nothing bounds its slope"),
    "an update every 0 tokens": ({"update_every": 0, "name": "omega"}, "valid is 1 or more"),
}


@pytest.mark.parametrize(("changes", "words"), REFUSED.values(), ids=REFUSED)
def test_a_rule_without_meaning_is_refused_with_the_reason(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        replace(PLAIN, **changes)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Bias("lp", exponent=0.5), "exponent 0.5, valid is 1 or more"),
        (lambda: Bias("lp", smoothing=0.0), "smoothing 0, valid is above 0"),
        (lambda: Link("lq", exponent=1.5), "exponent 1.5, valid is 2 or more"),
        (lambda: Link("softmax", scale=0.0), "scale 0, valid is above 0"),
        (lambda: Link("soft_threshold", level=-1.0), "level -1, valid is 0 or more"),
    ],
)
def test_a_bias_or_link_out_of_its_range_is_refused(make: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make()


@pytest.mark.parametrize(
    ("rule", "retention", "words"),
    [
        (replace(PLAIN, bias=Bias("robust")), (1, 2, 1), "bias 'robust' needs a threshold"),
        (replace(PLAIN, gate_axis="rows"), (1, 2, 1), r"retention has the shape \[1, 2, 1\], valid are 4 axes"),
        (PLAIN, (1, 2, 1, 3), r"retention has the shape \[1, 2, 1, 3\], valid are 3 axes"),
    ],
)
def test_gates_that_are_not_those_of_the_rule_are_refused(
    rule: MemoryRule, retention: tuple[int, ...], words: str
) -> None:
    pair, gate = torch.ones(1, 2, 1, 3), torch.ones(1, 2, 1)
    initial = (torch.ones(1, 3, 3),)
    state = fresh_memory_state(initial, 1, 1, 3, 3)
    gates = Gates(torch.ones(retention), gate, gate, torch.ones(1, 2, 1, 1))
    with pytest.raises(UserError, match=words):
        memory_recurrent(rule, pair, pair, pair, gates, initial, state, None)
