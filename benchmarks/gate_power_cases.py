"""The configurations of the study of the gates (`gate_power`): a seeded covering of what may go wrong with a memory.

Each group has a base that learns and factors, each with values and how many parts of the group have them. A value is
drawn from a deck that has it so many times, and of several draws the one is taken that brings the most pairs of values
no case had before. Cases of draw 0 are tuned on and held out in turn. Draws 1 to 4, other seeds of the same covering,
have judged the gates of their time and were then tuned on; later draws are fresh: nothing was ever tuned on them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, zip_longest
from typing import Final

import numpy as np

from atlas_ref.config import RunConfig, load_config
from atlas_ref.errors import UserError

DRAWS, SPARE = 60, 3
"""Draws for each case, and values in a deck that no case need have."""
HALVES: Final = ("tuning", "held out")
SINCE: Final = "tuned on since"
FRESH: Final = "fresh"
"""The halves of draw 0, what draws 1 to 4 are as a whole, and what later ones are."""
Changes = tuple[str, ...]
Factor = Mapping[str, tuple[int, Changes]]
"""From the name of a value to its parts and to what it changes."""


@dataclass(frozen=True)
class Case:
    """One configuration: its group, its half or draw, its values, and what makes a twin without memory of it."""

    name: str
    group: str
    half: str
    preset: str
    values: tuple[str, ...]
    changes: Changes
    twin: Changes

    def config(self, *more: str) -> RunConfig:
        """Return the configuration."""
        return load_config(self.preset, [*self.changes, *more])


@dataclass(frozen=True)
class Group:
    """A base and what is varied around it."""

    preset: str
    base: Changes
    factors: Mapping[str, Factor]
    count: int
    twin: Changes = ("model.disable_memory=true",)


def _values(prefix: str, field: str, parts: Mapping[object, int]) -> Factor:
    return {f"{prefix} {value}": (part, (f"{field}={value}",)) for value, part in parts.items()}


def _rows(length: int, pairs: int) -> Changes:
    return (f"data.sequence_length={length}", f"data.recall.pairs={pairs}", f"data.recall.queries={pairs}")


MEMORY = "model.memory"
RETENTION: Final = _values(
    "retention",
    f"{MEMORY}.gates.retention_init",
    {0.9: 1, 0.97: 1, 0.985: 2, 0.99: 2, 0.995: 3, 0.998: 3, "'span'": 4, 0.9999: 1},
)
STEP: Final = _values("step", f"{MEMORY}.gates.step_init", {0.02: 1, 0.1: 2, 0.3: 3, 0.5: 6, 0.9: 2})
RATE: Final = _values("rate", "optim.learning_rate", {0.0005: 1, 0.002: 2, 0.004: 5, 0.008: 3})
LENGTH: Final = {
    f"{pairs} pairs in {length}": (part, _rows(length, pairs))
    for length, pairs, part in ((128, 4, 1), (128, 8, 3), (192, 8, 2), (256, 8, 1), (256, 16, 3), (384, 8, 1))
}
SMALL: Final[Changes] = (
    "model.d_model=64",
    "model.init_std=0.127",
    f"{MEMORY}.key_dim=16",
    f"{MEMORY}.value_dim=16",
    "train.device='cpu'",
    "train.threads=1",
)
RECALL: Final[Changes] = (
    *SMALL,
    "data.recall.keys=32",
    "data.recall.values=32",
    "model.vocab_size=72",
    "optim.min_learning_rate=0.0001",
    "train.eval_batches=24",
)
TEXT: Final[Changes] = (
    *SMALL,
    "model.feed_forward_dim=128",
    "data.sequence_length=256",
    "optim.min_learning_rate=0.0001",
    "train.batch_size=4",
    "train.max_steps=500",
    "train.eval_batches=64",
)
OTHERS: Final[Mapping[str, Factor]] = {"retention": RETENTION, "step": STEP, "rate": RATE, "length": LENGTH}
GROUPS: Final[Mapping[str, Group]] = {
    "recall": Group(
        "recall",
        RECALL,
        {
            **OTHERS,
            "momentum": _values("momentum", f"{MEMORY}.gates.momentum_init", {0.1: 1, 0.5: 3, 0.8: 1}),
            "chunk": _values("chunk", f"{MEMORY}.chunk", {8: 1, 16: 3, 64: 1}),
            "rule": {
                "omega": (4, ()),
                "omega, window 4": (1, (f"{MEMORY}.omega_window=4",)),
                "omega, window 8": (1, (f"{MEMORY}.omega_window=8",)),
                "titans": (2, (f"{MEMORY}.rule='titans'",)),
                "delta": (1, (f"{MEMORY}.rule='delta'",)),
            },
            "features": {
                "degree 1": (5, ()),
                "degree 2": (1, (f"{MEMORY}.features.degree=2",)),
                "projected": (1, (f"{MEMORY}.qk_projection.kind='tnt'",)),
            },
            "form": {
                "mass": (8, ()),
                "literal": (1, (f"{MEMORY}.step_scale='literal'",)),
                "mlp": (1, (f"{MEMORY}.architecture='mlp'",)),
            },
            "inner": {"full": (6, ()), "detached": (1, ("model.inner_grad='detached'",))},
            "gate": {
                "source": (3, ()),
                "convex": (1, ("model.gate.kind='convex'",)),
                "convex_memory": (1, ("model.gate.kind='convex_memory'",)),
                "gated_attention": (1, ("model.gate.kind='gated_attention'",)),
            },
            "precision": {"fp32": (5, ()), "bf16": (1, ("train.precision='bf16'",))},
        },
        40,
    ),
    "text": Group(
        "tiny",
        TEXT,
        {
            "retention": _values(
                "retention", f"{MEMORY}.gates.retention_init", {0.8: 1, 0.95: 1, 0.99: 1, "'span'": 1, 0.9999: 1}
            ),
            "step": _values("step", f"{MEMORY}.gates.step_init", {0.002: 1, 0.02: 2, 0.2: 1}),
            "rate": _values("rate", "optim.learning_rate", {0.0002: 1, 0.002: 3, 0.006: 1}),
            "fast": _values("fast heads", f"{MEMORY}.gates.fast_heads", {0: 1, 2: 2}),
            "window": _values("window", "model.attention.window", {4: 2, 32: 1}),
            "inner": {"full": (4, ()), "detached": (1, ("model.inner_grad='detached'",))},
        },
        12,
    ),
    "hierarchical": Group(
        "recall",
        (*RECALL, f"{MEMORY}.kind='hierarchical'", f"{MEMORY}.rule='titans'"),
        {
            **OTHERS,
            "local": {
                "shards of 64": (2, (f"{MEMORY}.hierarchy.local_shards=[64]",)),
                "no shards": (1, (f"{MEMORY}.hierarchy.local_shards=[0]",)),
            },
            "global": {"writes": (3, ()), "no writes": (1, (f"{MEMORY}.hierarchy.global_writes=false",))},
        },
        6,
    ),
    "mac": Group("recall", (*RECALL, "model.block='mac'"), OTHERS, 6),
    "mal": Group("recall", (*RECALL, "model.block='mal'"), OTHERS, 6),
    "lmm": Group("recall", (*RECALL, "model.block='lmm'"), OTHERS, 6),
    "omega": Group(
        "omega-micro",
        ("train.device='cpu'", "train.threads=1", "optim.min_learning_rate=0.0001", "train.eval_batches=24"),
        {"retention": RETENTION, "step": STEP, "rate": RATE},
        6,
    ),
    "cognate": Group(
        "relay",
        (
            "model.n_layers=1",
            "model.recursion.iterations=2",
            "model.ltm.width=16",
            "model.ltm.gate_hidden=16",
            "model.positions=48",
            "data.sequence_length=48",
            "train.device='cpu'",
            "train.threads=1",
            "train.eval_batches=24",
            "optim.min_learning_rate=0.0001",
        ),
        {
            "memory": {
                kind: (1, (f"model.ltm.kind='{kind}'", "model.ltm.slots=4")) for kind in ("mean", "slots", "both")
            },
            "decay": _values("decay", "model.ltm.decay", {0.5: 1, 0.99: 1}),
            "rate": _values("rate", "optim.learning_rate", {0.0005: 1, 0.004: 2}),
        },
        6,
        ("model.ltm.kind='none'",),
    ),
}


def cases(seed: int = 0) -> list[Case]:
    """Return all cases of a draw, a group after the other in turn, so that a study that is cut has some of each."""
    groups = [list(covering(name, group, seed)) for name, group in GROUPS.items()]
    others = [each for line in zip_longest(*groups[1:]) for each in line if each is not None]
    # The first group is as large as all others together: they alternate.
    return [each for pair in zip_longest(groups[0], others) for each in pair if each is not None]


def covering(name: str, group: Group, seed: int) -> Iterator[Case]:
    """Yield the cases of a group (module docstring)."""
    random = np.random.default_rng([seed, *name.encode()])
    decks = {factor: _deck(values, group.count, random) for factor, values in group.factors.items()}
    seen: set[tuple[str, str]] = set()
    for number in range(group.count):
        drawn = [{factor: str(random.choice(deck)) for factor, deck in decks.items()} for _ in range(DRAWS)]
        drawn.sort(key=lambda draw: -len(_pairs(draw) - seen))
        best = next(draw for draw in drawn if _is_valid(group, draw))
        seen |= _pairs(best)
        for factor, value in best.items():
            decks[factor].remove(value)
        yield Case(
            name=f"{name}-{seed}-{number:02d}" if seed else f"{name}-{number:02d}",
            group=name,
            half={0: HALVES[number % 2], 1: SINCE, 2: SINCE, 3: SINCE, 4: SINCE}.get(seed, FRESH),
            preset=group.preset,
            values=tuple(best.values()),
            changes=_changes(group, best),
            twin=group.twin,
        )


def _deck(values: Factor, count: int, random: np.random.Generator) -> list[str]:
    """Return `count` values in proportion to their parts, and a few to spare."""
    names = [name for name, (parts, _) in values.items() for _ in range(parts)]
    rounds = -(-(count + SPARE) // len(names))
    return [str(name) for _ in range(rounds) for name in random.permutation(names)][: count + SPARE]


def _changes(group: Group, draw: Mapping[str, str]) -> Changes:
    return (*group.base, *(change for factor, value in draw.items() for change in group.factors[factor][value][1]))


def _is_valid(group: Group, draw: Mapping[str, str]) -> bool:
    """Return whether a configuration has these values; some exclude each other."""
    try:
        load_config(group.preset, _changes(group, draw))
    except UserError:
        return False
    return True


def _pairs(draw: Mapping[str, str]) -> set[tuple[str, str]]:
    return set(combinations(draw.values(), 2))
