"""Rules without meaning are refused in one sentence that says what, where and what is valid."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import Any, cast, get_args

import pytest
import torch

from atlas_ref.config import MemoryConfig, load_config
from atlas_ref.config.combinations import meaningless
from atlas_ref.errors import UserError
from atlas_ref.memory.bias import Bias, BiasName
from atlas_ref.memory.link import Link, LinkName
from atlas_ref.memory.recurrent import memory_recurrent
from atlas_ref.memory.rules import (
    Algorithm,
    ArchitectureName,
    ErrorPlace,
    GateAxis,
    Gates,
    MemoryRule,
    RetentionName,
    RuleName,
    StepScale,
)
from atlas_ref.memory.state import fresh_memory_state
from spec_tests.contract.operations import OPERATIONS
from spec_tests.port import Op

PLAIN = MemoryRule("matrix", "delta", 1, "carry", "post", 0.5, "literal", 0.9, "quintic", 5)
BIASES = {name: Bias(name) for name in get_args(BiasName)}
LINKS = {name: Link(name) for name in get_args(LinkName)}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a chunk for a retained error": (
        {"error_at": "retained", "chunk": 4},
        'chunk is 4; it must be 1 for error_at = "retained"',
    ),
    "momentum for a retained error": (
        {"error_at": "retained", "name": "titans"},
        'rule is "titans"; it must be "delta"',
    ),
    "an MLP for an implicit step": ({"algorithm": "implicit", "architecture": "mlp"}, 'it must be "matrix"'),
    "another bias for an implicit step": ({"algorithm": "implicit", "bias": Bias("dot")}, 'it must be "l2"'),
    "a link for a retained error": ({"error_at": "retained", "link": Link("softmax")}, 'it must be "identity"'),
    "an implicit step of mass": ({"algorithm": "implicit", "step_scale": "mass"}, "stable for every step"),
    "elastic nets of retained errors": (
        {"error_at": "retained", "retention": "proximal_elastic"},
        'retention is "proximal_elastic"; it must be "dual"',
    ),
    "gates of rows for an MLP": ({"gate_axis": "rows", "architecture": "mlp"}, "layers of a network share no rows"),
    "gates of columns for logits": (
        {"gate_axis": "columns", "link": Link("softmax")},
        'gate_axis is "columns"; it must be "head" or "rows" for link = "softmax", whose logits are known up to a',
    ),
    "a proximal step on a link": ({"retention": "proximal_elastic", "link": Link("lq", 4.0)}, "shrinkage stays in the"),
    "mass of a glu": ({"step_scale": "mass", "architecture": "mlp_glu"}, "whose curvature has no bound"),
    "mass of a jump": (
        {"step_scale": "mass", "bias": Bias("yaad_printed")},
        "whose jump at the threshold has no bound",
    ),
    "an update every 0 tokens": ({"update_every": 0, "name": "omega"}, "valid is 1 or more"),
    "an update every 2 tokens by the delta rule": ({"update_every": 2}, "which writes one token at a time"),
    "losses that end before they are written": (
        {"name": "omega", "boundary": "truncate", "chunk": 3, "update_every": 2},
        'update_every is 2; it must divide chunk, which is 3, for window_boundary = "truncate"',
    ),
}


@pytest.mark.parametrize(("changes", "words"), REFUSED.values(), ids=REFUSED)
def test_a_rule_without_meaning_is_refused_with_the_reason(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        replace(PLAIN, **changes)
    assert "\n" not in str(refused.value)


QUICK: dict[str, tuple[Any, ...]] = {
    "rule": ("delta", "omega"),
    "bias": ("l2", "dot", "yaad_printed"),
    "link": ("identity", "lq", "softmax"),
}
"""Values of the axes of which more than two are alike in what they go with."""
WHOLE = pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.exhaustive)], ids=["few", "all"])


def _combinations(*, whole: bool) -> Iterator[dict[str, Any]]:
    """Yield every combination of the axes that exclude each other, by name of the suite; of some axes a few values."""
    axes: dict[str, tuple[Any, ...]] = {
        "architecture": get_args(ArchitectureName),
        "rule": get_args(RuleName),
        "chunk": (1, 3),
        "step_scale": get_args(StepScale),
        "bias": get_args(BiasName),
        "link": get_args(LinkName),
        "retention": get_args(RetentionName),
        "error_at": get_args(ErrorPlace),
        "gate_axis": get_args(GateAxis),
        "algorithm": get_args(Algorithm),
    }
    axes |= {} if whole else QUICK
    yield from (dict(zip(axes, values, strict=True)) for values in product(*axes.values()))


def _is_refused(axes: Mapping[str, Any]) -> bool:
    """Return whether a rule with these axes is refused."""
    given = {**axes, "name": axes["rule"], "bias": BIASES[axes["bias"]], "link": LINKS[axes["link"]]}
    del given["rule"]
    try:
        replace(PLAIN, **given)
    except UserError:
        return True
    return False


@WHOLE
def test_a_rule_is_refused_where_the_specification_has_no_meaning_for_it(whole: bool) -> None:
    """Over all combinations: the table of operations is written by itself, from the pages of the specification.

    It leaves one thing open that a rule defines: an implicit step whose error is said to be at the retained memory,
    which it is.
    Kills: a line of `memory.meaning` that is lost, or has another value.
    """
    row = OPERATIONS[Op.MIRAS_SCAN]
    for axes in _combinations(whole=whole):
        said = dict(axes)
        if axes["algorithm"] == "implicit":
            said["error_at"] = "previous"
        assert _is_refused(axes) == (row.meaningless(said) is not None), axes


@WHOLE
def test_a_configuration_refuses_what_its_rule_does(whole: bool) -> None:
    """Over all combinations; a configuration says of an implicit step where its error is, and nothing else differs.

    Kills: an axis that is read from another field.
    """
    usual = load_config("deltanet").model.memory
    of_run = ("kind", "window_boundary", "omega_window", "ttl_update_frequency", "read", "qk_projection")
    rest = {name: getattr(usual, name) for name in (*of_run, "gates", "shards")}
    kinds = {name: SimpleNamespace(kind=name) for name in (*BIASES, *LINKS)}
    for axes in _combinations(whole=whole):
        fields = {**rest, **axes, "bias": kinds[axes["bias"]], "link": kinds[axes["link"]]}
        memory = SimpleNamespace(**fields)
        implied = axes["algorithm"] == "implicit" and axes["error_at"] == "previous"
        assert any(meaningless(cast("MemoryConfig", memory))) == (_is_refused(axes) or implied), axes


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
