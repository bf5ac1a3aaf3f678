"""Stored calls of the axes of MIRAS: a small one for each model of the table, and which sentences it holds."""

from collections.abc import Iterator, Mapping
from typing import Final

from spec_tests.chapters.memory_step.covering import Size, sized_call
from spec_tests.chapters.memory_step.stored_calls import cotangents
from spec_tests.chapters.miras_scan.calls import MODELS, asked, axes, with_axes
from spec_tests.chapters.miras_scan.operation import AXES
from spec_tests.port import Array, Scalar
from spec_tests.vectors.source import Family, Source

SENTENCES: Final[Mapping[str, str]] = {
    "linear attention": "BIAS-1 BIAS-3 WIN-4",
    "gated delta": "RULE-12 BIAS-9",
    "kimi delta": "RULE-12 RULE-15 MEM-4",
    "longhorn": "RULE-13 RULE-15",
    "moneta": "BIAS-1 LINK-3 RULE-18",
    "moneta as printed": "BIAS-1 LINK-3",
    "yaad": "BIAS-4 BIAS-6 RULE-18",
    "yaad as printed": "BIAS-4",
    "memora": "LINK-4 LINK-1 RULE-15",
    "elastic net": "RULE-17",
    "ttt": "RULE-18 WIN-4",
    "atlas++": "BIAS-1 RULE-2 RULE-18",
    "diagonal atlas": "BIAS-1 LINK-9 RULE-3 RULE-15",
    "sparse": "BIAS-9 LINK-5 RULE-9",
    "tnt": "RULE-9 RULE-25 RULE-26",
}
"""The sentences that each model shows, besides those of its form."""
DIFFERENTIATED: Final = ("kimi delta", "moneta", "yaad", "memora", "sparse")
"""The models whose derivatives are stored: of every bias, link and axis that bends them."""


def small_call(config: Mapping[str, Scalar], seed: int) -> dict[str, Array]:
    """Return two rows of one head and five tokens, one at the start of its document, one with a second document."""
    window = 1 if config["rule"] == "delta" else 3
    size = Size(time=5, heads=1, features=4, values=3, hidden=2, window=window)
    inputs = sized_call({**config, "architecture": "matrix"}, seed, size)
    return with_axes(config, inputs, seed, hidden=size.hidden)


def stored_models(family: Family, form: str, seed: int, differentiated: tuple[str, ...]) -> Iterator[Source]:
    """Yield a case for every model that a form can be asked for; `form`: the sentences of the form."""
    for number, (name, point) in enumerate(MODELS.items()):
        config = axes(**point)
        if asked(family.op, config):
            inputs = small_call(config, seed + 20 * number)
            wanted = cotangents(inputs, seed + 20 * number + 9) if name in differentiated else {}
            requirements = f"{form} {SENTENCES[name]}" + (" GRAD-1 GRAD-2 GRAD-3" if wanted else "")
            changed = ", ".join(f"{key} {value}" for key, value in point.items() if key in AXES)
            yield family.case(number + 1, requirements, f"{name}: {changed}", config, inputs, wanted)
