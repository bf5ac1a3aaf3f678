"""Which combinations of the axes of a memory have no meaning, and why: one table for rules and for configurations.

An axis is published for one kind of memory, and some of them only there: a step that is the exact minimiser of its loss
is a formula for one matrix and a squared error, a gate for each row needs rows. What is not listed here is defined.
A rule (`rules.MemoryRule`) and a configuration say what their axes are, and under which names the user knows them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple


class Need(NamedTuple):
    """What other axes must be where `axis` has `value`, each one of several values, and the reason."""

    axis: str
    value: object
    valid: Mapping[str, tuple[object, ...]]
    reason: str


ONE_TOKEN: Mapping[str, tuple[object, ...]] = {
    "architecture": ("matrix",),
    "rule": ("delta",),
    "chunk": (1,),
    "bias": ("l2",),
    "link": ("identity",),
    "retention": ("dual",),
}
"""Where the chunk of a parallel form is a schedule, and no part of what a write means."""

LITERAL: Mapping[str, tuple[object, ...]] = {"step_scale": ("literal",)}

NEEDS = (
    Need("rule", "delta", {"update_every": (1,)}, "which writes one token at a time"),
    Need("error_at", "retained", ONE_TOKEN, "which is the exact rule of one token at a time"),
    Need(
        "algorithm",
        "implicit",
        {**ONE_TOKEN, **LITERAL},
        "which minimises the loss of one token near what the memory has retained, and is stable for every step",
    ),
    Need("gate_axis", "rows", {"architecture": ("matrix",)}, "as the layers of a network share no rows"),
    Need("gate_axis", "columns", {"architecture": ("matrix",)}, "as the layers of a network share no columns"),
    Need("retention", "proximal_elastic", {"link": ("identity",)}, "whose shrinkage stays in the memory"),
    Need(
        "link",
        "softmax",
        {"gate_axis": ("head", "rows")},
        "whose logits are known up to a constant of each row, which gates of columns would tell apart",
    ),
    Need("architecture", "mlp_glu", LITERAL, "whose curvature has no bound to divide by"),
    Need("bias", "yaad_printed", LITERAL, "whose jump at the threshold has no bound to divide by"),
)


def reasons_against(
    axes: Mapping[str, object], needs: Iterable[Need] = NEEDS, named: Callable[[str], str] = str
) -> Iterator[str]:
    """Yield a sentence for each axis that must be something else for what another one is; `named` says what users read.

    `axes` has the value of every axis that `needs` speak of, and `window_boundary`, `chunk` and `update_every`.
    """
    for axis, value, valid, reason in needs:
        if axes[axis] != value:
            continue
        for other, choices in valid.items():
            if axes[other] not in choices:
                yield (
                    f"{named(other)} is {_shown(axes[other])}; it must be {' or '.join(map(_shown, choices))} for "
                    f"{named(axis)} = {_shown(value)}, {reason}"
                )
    chunk, every = axes["chunk"], axes["update_every"]
    assert isinstance(chunk, int)
    assert isinstance(every, int)
    if axes["window_boundary"] == "truncate" and chunk % every:
        # A loss that ends with its chunk cannot wait for a write in the next one.
        yield (
            f"{named('update_every')} is {every}; it must divide {named('chunk')}, which is {chunk}, for "
            f'{named("window_boundary")} = "truncate"'
        )


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
