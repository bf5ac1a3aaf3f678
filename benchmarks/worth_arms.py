"""What `benchmarks.worth` compares: texts, arms as changes of a preset, and the settings that all arms of a text share.

Arms of one text have the same parameters to a few parts in a thousand, the same tokens and the same schedule. `frozen`
is `--disable-memory`: everything is there, and nothing is written at test time. `attention` is the frozen twin with a
window that sees as far as a row of a batch, or half of it: what memory and state cost in parameters is paid for.
"""

import json
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.long_text import write
from benchmarks.report import RESULTS

FROZEN = ("model.disable_memory=true",)
BOOKS = {"tinyshakespeare": "tinyshakespeare.txt", "three_musketeers": "three_musketeers.txt"}
"""Texts that are not shipped: files of the folder of `--data`."""
CODE_BYTES = 4_000_000
"""Most characters of the standard library's own sources."""


def dropout(share: float, memory: float) -> tuple[str, ...]:
    """Return the changes that leave out `share` everywhere but in the reads of the memory."""
    sites = {"embedding": share, "attention": share, "residual": share, "memory": memory}
    return tuple(f"model.dropout.{site}={rate}" for site, rate in sites.items())


SHARED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "book": (
        "shakespeare-10m",
        (
            "optim.name='adamw'",
            "train.eval_interval=50",
            "train.eval_batches=8",
            "train.patience=0",
            "train.save_interval=100000",
            "train.keep_last=1",
        ),
    ),
    "long": (
        "recall",
        (
            "model.vocab_size=257",
            "model.memory.chunk=8",
            "model.memory.key_dim=64",
            "model.memory.gates.step_init=0.9",
            "model.memory.gates.retention_init=0.9999",
            "data.sequence_length=1024",
            "data.context_batches=32",
            "optim.learning_rate=0.003",
            "optim.min_learning_rate=0.0003",
            "optim.warmup_steps=50",
            "train.precision='bf16'",
            "train.device='auto'",
            "train.eval_interval=100",
            "train.eval_batches=16",
            "train.save_interval=100000",
            "train.keep_last=1",
            "kill_switches.loss_spike_window=200",
        ),
    ),
}
"""Preset and changes of every arm, by the kind of a text."""
FAST = ("model.memory.gates.fast_heads=3",)
CLOSED = ("model.gate.kind='convex'", "model.gate.bias_init=3.0")
"""A gate of its own, which at the start lets a twentieth of the memory through."""
NARROWER = ("model.feed_forward_dim=901",)
"""What pays for the parameters of that gate in `shakespeare-10m`."""
MUON = ("optim.name='muon'",)
SEARCH: Mapping[str, tuple[str, ...]] = {
    "memory, dropout 0.1": (*FAST, *dropout(0.1, 0.2)),
    "frozen, dropout 0.1": (*FAST, *FROZEN, *dropout(0.1, 0.2)),
    "memory, dropout 0.2": (*FAST, *dropout(0.2, 0.2)),
    "frozen, dropout 0.2": (*FAST, *FROZEN, *dropout(0.2, 0.2)),
    "memory, gate closed": (*FAST, *dropout(0.1, 0.2), *CLOSED, *NARROWER),
    "frozen, gate closed": (*FAST, *FROZEN, *dropout(0.1, 0.2), *CLOSED, *NARROWER),
    "attention, dropout 0.1": (*FAST, *FROZEN, *dropout(0.1, 0.2), "model.attention.window=512"),
    "memory, half rate": (*FAST, *dropout(0.1, 0.2), "optim.memory_rate=0.5"),
    "memory, written later": (*FAST, *dropout(0.1, 0.2), "model.memory.ttl_warmup_steps=100"),
    "memory, average": (*FAST, *dropout(0.1, 0.2), "optim.average=0.99"),
}
"""What was looked for first and not taken, on Tiny Shakespeare: one seed each."""
TAKEN = (*FAST, *dropout(0.1, 0.2), *MUON)
"""What the search chose, for all arms alike."""
FINAL: Mapping[str, tuple[str, ...]] = {
    "memory, muon": TAKEN,
    "frozen, muon": (*FAST, *FROZEN, *dropout(0.1, 0.2), *MUON),
    "attention, muon": (*TAKEN, *FROZEN, *CLOSED, *NARROWER, "model.attention.window=512"),
    "memory, muon, gate closed": (*TAKEN, *CLOSED, *NARROWER),
    "frozen, muon, gate closed": (*TAKEN, *FROZEN, *CLOSED, *NARROWER),
    "memory, muon, half rate": (*TAKEN, "optim.memory_rate=0.5"),
    "memory, muon, double rate": (*TAKEN, "optim.memory_rate=2.0"),
    "memory, muon, average": (*TAKEN, "optim.average=0.95"),
}
"""What is compared: attention has a gate that gives it a way to the stream of its own, which `source` does not."""
SHIPPED: Mapping[str, tuple[str, ...]] = {
    "preset": MUON,
    "preset, frozen": (*MUON, *FROZEN),
    "preset, attention": (*MUON, *FROZEN, *CLOSED, *NARROWER, "model.attention.window=512"),
    "preset, transformer": (*MUON, *FROZEN, *CLOSED, *NARROWER, "model.attention.window=1024"),
}
"""`shakespeare-10m` as shipped, and what stands against it; the last one's attention sees a whole row of a batch."""
RULES: Mapping[str, tuple[str, ...]] = {
    "omega": (),
    "titans": ("model.memory.rule='titans'",),
    "atlas": ("model.memory.rule='atlas'",),
    "gated delta": (
        "model.memory.rule='delta'",
        "model.memory.chunk=1",
        "model.memory.step_scale='literal'",
        "model.memory.error_at='retained'",
        "model.memory.gates.momentum_kind='zero'",
    ),
    "hierarchy": (
        "model.memory.kind='hierarchical'",
        "model.memory.chunk=64",
        "model.memory.hierarchy.local_chunks=[8]",
        "model.memory.hierarchy.local_shards=[2048]",
    ),
    "mac": ("model.block='mac'", "model.mac.segment=64"),
    "omega, gate closed": CLOSED,
    "omega, no momentum": ("model.memory.gates.momentum_kind='zero'",),
    "frozen": FROZEN,
    "attention": (*FROZEN, "model.attention.window=512"),
}
"""Memories and their controls on the long text."""
ARMS: Mapping[str, Mapping[str, tuple[str, ...]]] = {"book": {**FINAL, **SEARCH, **SHIPPED}, "long": RULES}


def kind_of(text: str) -> str:
    """Return which arms and settings a text has."""
    return "long" if text == "long" else "book"


def text_changes(text: str, data: Path) -> tuple[str, ...]:
    """Return the changes that read a text, which is made where the program makes it."""
    if text == "shipped":
        return ()
    path = data / BOOKS[text] if text in BOOKS else RESULTS / "worth" / f"{text}.jsonl"
    if text == "long" and not path.exists():
        write(path, count=256, tokens=32_768, seed=0)
    if text == "code" and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{json.dumps({'text': source})}\n" for source in library()), encoding="utf-8")
    return ("data.source='path'", f"data.path={json.dumps(str(path))}")


def library() -> Iterator[str]:
    """Yield sources of the standard library in the order of their names, until there are enough."""
    left = CODE_BYTES
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        source = path.read_text(encoding="utf-8", errors="ignore")
        left -= len(source)
        if left < 0:
            return
        yield source
