"""What the forms with the axes of MIRAS share in the reference port: the rule, packed arrays in and out."""

from functools import partial
from typing import Final

import torch
from torch import Tensor

from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.memory.bias import Bias
from atlas_ref.memory.link import Link
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.state import MemoryState
from spec_tests.ports.reference.memory import STATE, TOKENS, Form, pack
from spec_tests.ports.reference.tensors import Config, Tensors

EACH_TOKEN: Final = (*TOKENS, "threshold")
_NUMBERS: Final = ("exponent", "smoothing", "link_exponent", "link_scale", "level")


def miras_rule(config: Config) -> MemoryRule:
    """Return the rule that the configuration names: bias and link are values with numbers of their own."""
    kept = {key: value for key, value in config.items() if key not in ("rule", "bias", "link", *_NUMBERS)}
    bias = Bias(config["bias"], config["exponent"], config["smoothing"])
    link = Link(config["link"], config["link_exponent"], config["link_scale"], config["level"])
    return MemoryRule(name=config["rule"], bias=bias, link=link, **kept)


def unpack(architecture: str, packed: Tensor, features: int, values: int) -> tuple[Tensor, ...]:
    """Return the matrices [..., out, in] of a vector of parameters: W, or W1, W2 and W3."""
    if architecture in ("matrix", "linear_norm"):
        return (torch.unflatten(packed, -1, (values, features)),)
    inner = 2 if architecture == "mlp_glu" else 1
    hidden = packed.shape[-1] // (values + inner * features)
    outer, *rest = torch.split(packed, [values * hidden] + [hidden * features] * inner, dim=-1)
    return torch.unflatten(outer, -1, (values, hidden)), *(torch.unflatten(w, -1, (hidden, features)) for w in rest)


def gates(rule: MemoryRule, x: Tensors) -> Gates:
    """Return the gates; the one number of a head has no axis in the reference."""
    retention = x["retention"].squeeze(-1) if rule.gate_axis == "head" else x["retention"]
    return Gates(retention, x["momentum_decay"], x["step_size"], x["window_weights"], x["threshold"])


def miras(form: Form, config: Config, x: Tensors) -> Tensors:
    """Return the outputs of a form."""
    rule = miras_rule(config)
    keys, values, queries = (at_least_float32(x[name]) for name in ("keys", "values", "queries"))
    matrices = partial(unpack, rule.architecture, features=keys.shape[-1], values=values.shape[-1])
    weights, momentum, anchor = (matrices(x[name]) for name in STATE[:3])
    state = MemoryState(weights, momentum, anchor, x["window_keys"], x["window_values"], x["position"])
    reads, after, _ = form(
        rule, keys, values, queries, gates(rule, x), matrices(x["initial"]), state, x["reset"].bool()
    )
    return {
        "reads": reads.to(x["values"].dtype),
        **{name: pack(getattr(after, name)) for name in ("weights", "momentum", "anchor")},
        **{name: getattr(after, name) for name in STATE[3:]},
    }
