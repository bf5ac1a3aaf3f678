"""What to change where a check does not pass: for each check the changes that mend it most often, the likeliest first.

A change is a few overrides, as `--set` takes them. Its first field is the one to blame. What changes nothing, as it is
so already, is left out; whether a change helps is for the gates to say (`preflight.explanation`).
"""

import math
from collections.abc import Callable, Iterator
from typing import Final

from atlas_ref.config import RunConfig
from atlas_ref.config.span import KEPT, retention_over
from atlas_ref.config.starts import ROOM as ROOM_ABOVE
from atlas_ref.config.starts import fitted_step
from preflight.span import span_of
from preflight.travel import travel

Change = tuple[str, ...]
"""Overrides such as `optim.learning_rate=0.004`."""
Remedy = Callable[[RunConfig, float, float], Change]
GATES, MEMORY = "model.memory.gates", "model.memory"
ROOM = 1.1
"""By how much a change goes beyond the threshold."""
FAR = 3.4
"""Spreads of a weight (`preflight.travel`) that a run which learns too slowly is to go."""


def said_remedy(config: RunConfig, name: str, statistic: float, threshold: float) -> str:
    """Return the end of a sentence that names the likeliest change; nothing where the check passes."""
    if statistic >= threshold:
        return ""
    first = next(changes_for(config, name, statistic, threshold), None)
    return f"; try {' and '.join(change.replace('=', ' = ') for change in first)}" if first else ""


def changes_for(config: RunConfig, name: str, statistic: float, threshold: float) -> Iterator[Change]:
    """Yield the changes that may mend a check which found `statistic` and wanted `threshold`."""
    made = (make(config, statistic, threshold) for make in REMEDIES.get(name, ()))
    yield from dict.fromkeys(change for change in made if change)


def field_of(change: Change) -> str:
    """Return the field that a change blames."""
    return change[0].partition("=")[0]


def _retention(config: RunConfig, tokens: int) -> Change:
    """Return what keeps half over so many tokens, where the memory keeps less."""
    gates, kept = config.model.memory.gates, retention_over(tokens)
    if gates.retention_kind == "learned":
        return (f"{GATES}.retention_init={kept}",) if gates.retention_init < kept else ()
    return f"{GATES}.retention_kind='learned'", f"{GATES}.retention_init={kept}"


def _keep_the_span(config: RunConfig, statistic: float, threshold: float) -> Change:
    del statistic, threshold
    return _retention(config, span_of(config).farthest) if config.model.memory.gates.retention_kind != "one" else ()


def _keep_what_is_lost(config: RunConfig, statistic: float, threshold: float) -> Change:
    """Where less than half of what a start that fits keeps is left at the nearest answer, steps are not to blame."""
    gates = config.model.memory.gates
    lost = gates.retention_init ** span_of(config).nearest < 0.5 * KEPT
    return _keep_the_span(config, statistic, threshold) if lost else ()


def _keep_the_window(config: RunConfig, statistic: float, threshold: float) -> Change:
    """The half-life that is asked for is a number of tokens."""
    del statistic
    return _retention(config, math.ceil(ROOM * threshold))


def _fewer_fast_heads(config: RunConfig, statistic: float, threshold: float) -> Change:
    del statistic, threshold
    most = config.model.n_heads // 2
    return (f"{GATES}.fast_heads={most}",) if config.model.memory.gates.fast_heads > most else ()


def _no_shards(config: RunConfig, statistic: float, threshold: float) -> Change:
    del statistic, threshold
    shards = config.model.memory.shards.length
    return (f"{MEMORY}.shards.length=0",) if 0 < shards <= span_of(config).farthest else ()


def _larger_steps(config: RunConfig, statistic: float, threshold: float) -> Change:
    """What fits the chunk, and its bound; where there is no room below it, nothing."""
    del statistic, threshold
    gates, size = config.model.memory.gates, fitted_step(config.model.memory)
    if gates.step_kind != "learned" or size <= gates.step_init:
        return ()
    bound = (f"{GATES}.step_max={round(ROOM_ABOVE * size, 6)}",) if size >= 0.99 * gates.step_max else ()
    return f"{GATES}.step_init={size}", *bound


def _beside_attention(config: RunConfig, statistic: float, threshold: float) -> Change:
    """Return the block whose memory is not read through attention."""
    del statistic, threshold
    return ("model.block='mag'",) if config.model.block in ("mac", "mal") else ()


def _faster(config: RunConfig, statistic: float, threshold: float) -> Change:
    if not 0.0 < statistic < threshold:
        return ()
    times = ROOM * threshold / statistic
    names = ("learning_rate", "min_learning_rate")
    return tuple(f"optim.{name}={getattr(config.optim, name) * times:.2g}" for name in names)


def _longer(config: RunConfig, statistic: float, threshold: float) -> Change:
    if not 0.0 < statistic < threshold:
        return ()
    return (f"train.max_steps={math.ceil(config.train.max_steps * ROOM * threshold / statistic)}",)


def _farther(change: Remedy) -> Remedy:
    """Return the remedy by which weights go far, whatever the check has found."""
    return lambda config, *_: change(config, travel(config), FAR)


def _fixed(field: str, value: str, *others: str) -> Remedy:
    """Return the remedy that gives a field one value."""

    def change(config: RunConfig, statistic: float, threshold: float) -> Change:
        del statistic, threshold
        section: object = config
        for part in field.split("."):
            section = getattr(section, part)
        now = str(section).lower() if isinstance(section, bool) else str(section)
        return () if now == value.strip("'") else (f"{field}={value}", *others)

    return change


PLAIN_QUERIES = _fixed(f"{MEMORY}.qk_projection.kind", "'none'")
PLAIN_KEYS = _fixed(f"{MEMORY}.features.basis", "'monomial_weighted'")
WRITES = _fixed("model.disable_memory", "false")
WHOLE_GRADIENT = _fixed("model.inner_grad", "'full'")
OF_ITS_FORM: Final = _fixed(f"{MEMORY}.step_scale", "'mass'"), _fixed(f"{MEMORY}.architecture", "'matrix'")
OF_A_PROBE: Final[tuple[Remedy, ...]] = (
    WRITES,
    _keep_the_span,
    _no_shards,
    *OF_ITS_FORM,
    PLAIN_QUERIES,
    PLAIN_KEYS,
    _larger_steps,
    WHOLE_GRADIENT,
)
"""Of the gates that train a probe: what keeps a memory from being learned, in the order of the study of the gates."""
REMEDIES: Final[dict[str, tuple[Remedy, ...]]] = {
    **dict.fromkeys(
        (
            "the seed beats noise",
            "the seed beats nothing",
            "memory helps within a call",
            "memory helps between calls",
            "memory beats its absence",
            "the probe trains",
        ),
        OF_A_PROBE,
    ),
    "memory lasts to the answers": (_no_shards, _keep_the_span),
    "writes are heard": (
        _keep_what_is_lost,
        PLAIN_QUERIES,
        _larger_steps,
        _keep_the_span,
        _fixed(f"{MEMORY}.step_scale", "'mass'"),
        _beside_attention,
    ),
    "answers begin to follow what is written": (
        WRITES,
        WHOLE_GRADIENT,
        _no_shards,
        _keep_what_is_lost,
        PLAIN_QUERIES,
        _farther(_faster),
        _larger_steps,
        _keep_the_span,
        *OF_ITS_FORM,
        _beside_attention,
        _farther(_longer),
    ),
    "weights can move far enough": (_faster, _longer),
    "memory outlasts attention": (_keep_the_window, _fewer_fast_heads),
    "tanh gate is non-linear": (_fixed(f"{MEMORY}.qk_projection.gain", "5.0"), PLAIN_QUERIES),
    "tanh gate is not saturated": (_fixed(f"{MEMORY}.qk_projection.gain", "5.0"), PLAIN_QUERIES),
    "features keep keys apart": (PLAIN_KEYS, _fixed(f"{MEMORY}.features.degree", "1")),
    "gradients reach what is trained": (WRITES, WHOLE_GRADIENT),
}
"""By the name of a check; of a check that is not here, nothing is known to mend it."""
