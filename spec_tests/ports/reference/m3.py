"""M3 mixing, by the reference."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.functional.m3 import m3_alpha, m3_mix
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _m3_mix(config: Config, x: Tensors) -> Tensors:
    mixing = m3_alpha(x["crossings"], config["warmup_crossings"], x["alpha_logit"])
    return {"mixed": m3_mix(x["previous"], x["initial"], mixing), "mixing": mixing}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.M3_MIX: _m3_mix}
