"""How many operations the call of one token is: what bounds decoding, on a GPU and on a CPU.

    python -m benchmarks.token_operations [--presets NAME ...] [--lines]

`recorded` is the call that a CUDA graph is made of, with its state copied back: operations that write anything, and
kernels of Triton, none of which runs. `plain` is a call of a `Session` on a CPU, its views counted apart, as they cost
about as much there. Widths are cut, and nothing that operations depend on. `--lines` says which line made how many.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from triton.runtime.jit import JITFunction

from atlas_ref.config import load_config
from atlas_ref.generation.graphed import Decoder
from atlas_ref.memory.kernels import choice
from atlas_ref.models.family import Model
from atlas_ref.models.registry import build_model
from atlas_ref.models.session import Session

PRESETS: Final = ("atlas-340m", "shakespeare-10m", "cognate-27m", "tiny")
NARROWER: Final = {
    "atlas-340m": ["model.d_model=128", "model.n_heads=2", "model.feed_forward_dim=64", "model.attention.window=16"],
    "cognate-27m": ["model.d_model=40"],
}
BEFORE: Final = 200
"""Tokens that a session has read when its call is counted: its windows are full, which saves masks."""
EMPTY: Final = ("empty", "new_empty", "empty_like")
"""Operations that write nothing."""


class Counted(NamedTuple):
    """Operations by line of the package and name, and by name what only looks at numbers of others."""

    operations: "Counter[tuple[str, str]]"
    views: "Counter[str]"


def line() -> str:
    """Return which line of the package asks for what is done."""
    frame = sys._getframe(1)
    while frame.f_back is not None and "/atlas_ref/" not in frame.f_code.co_filename:
        frame = frame.f_back
    return f"{frame.f_code.co_filename.rpartition('/atlas_ref/')[2]}:{frame.f_lineno}"


def storages(tree: object) -> set[int]:
    """Return where the tensors of a tree lie, those without numbers left out."""
    return {x.untyped_storage().data_ptr() for x in tree_leaves(tree) if isinstance(x, Tensor) and x.numel()}


@contextmanager
def counting() -> Iterator[Counted]:
    """Count what is done inside: as an operation what writes numbers."""
    found = Counted(Counter(), Counter())

    def dispatched(
        _: object, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        name = func._schema.name.partition("::")[2]
        result = func(*args, **(kwargs or {}))
        writes = name.endswith("_") or storages(result) - storages((args, kwargs))
        if writes and name not in EMPTY:
            found.operations[line(), name] += 1
        else:
            found.views[name] += 1
        return result

    with type("Counting", (TorchDispatchMode,), {"__torch_dispatch__": dispatched})():
        yield found


@contextmanager
def as_on_a_gpu() -> Iterator["Counter[str]"]:
    """Choose what a large GPU runs, and count its kernels in place of running them."""
    kernels: Counter[str] = Counter()

    def counted(self: Any, *arguments: Any, **options: Any) -> None:
        del arguments, options
        kernels[self.fn.__name__] += 1

    with (
        patch.object(choice, "_compiles", lambda device: True),
        patch("atlas_ref.blocks.kernels.choice.chosen", lambda kernels, device: "triton"),
        patch.object(choice, "chosen", lambda kernels, device: "triton"),
        patch.object(JITFunction, "run", counted),
    ):
        yield kernels


def recorded(model: Model) -> tuple[Counted, int]:
    """Return what a graph of a token is made of, and its kernels."""
    with as_on_a_gpu() as kernels:
        decoder = Decoder(model, None, None)
        decoder.advance()
        kernels.clear()
        with counting() as found:
            decoder.advance()
    return found, kernels.total()


def plain(model: Model) -> tuple[Counted, int]:
    """Return what a call of a session on a CPU is made of."""
    session, token = Session(model, batch=1), torch.tensor([[5]])
    with torch.inference_mode():
        session(token.expand(1, BEFORE))
        session(token)
        with counting() as found:
            session(token)
    return found, 0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Count the operations of the call of one token.")
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--lines", action="store_true", help="say which line made how many")
    options = parser.parse_args()
    print("| preset | call | operations | kernels | views |\n|---|---|---|---|---|")
    for preset in options.presets:
        model = build_model(load_config(preset, NARROWER.get(preset, [])).any_model, seed=0).eval()
        for name, call in (("recorded", recorded), ("plain", plain)):
            found, kernels = call(model)
            operations, views = found.operations.total(), found.views.total()
            print(f"| `{preset}` | {name} | {operations} | {kernels} | {views} |", flush=True)
            for (where, what), count in sorted(found.operations.items()) if options.lines else ():
                print(f"{count:6} {what:20} {where}")


if __name__ == "__main__":
    main()
