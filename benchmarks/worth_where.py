"""Where a memory pays: what each token costs by its place, by how far back it stood before, and what the gate lets in.

    python -m benchmarks.worth_where RUN [RUN ...]

Looks into runs of `benchmarks.worth`, at the best checkpoint where it was kept, else at the last. Of a run on the long
text, which is known by its data, it makes new documents and has the nats of digits by the distance to the same name's
last mention (0: the first mention, which nobody can know). Of a run on any other text it reads the validation part in
rows of one context, and has the nats by position, and by whether the last ORDER bytes and the token stood before:
within the window, only beyond it, or never. What the gate lets in of the memory is told for each head of each
layer.
"""

import argparse
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlas_ref.config import RunConfig
from atlas_ref.data.streams import open_corpus, split_texts
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.models.family import Model
from atlas_ref.storage.checkpoint import find_checkpoint
from atlas_ref.training.run import load_model, select_device
from benchmarks.long_text import DIGITS, NOT_KNOWING, documents
from benchmarks.report import RESULTS

CALL = 1024
"""Tokens of a call; any number gives the same."""
DISTANCES = (32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768)
PLACES = (0, 64, 128, 256, 512, 1_024, 2_048, 4_096)
ORDER = 7
"""Bytes before a token that, with it, must have stood before."""
LOOKED = 8
"""New documents of the long text."""


@torch.inference_mode()
def nats(model: Model, tokens: Tensor, precision: str) -> np.ndarray:
    """Return -ln p of each token but the first, [rows, tokens - 1], rows as documents of their own."""
    state, found = model.initial_state(len(tokens)), []
    for first in range(0, tokens.shape[1] - 1, CALL):
        part = tokens[:, first : first + CALL + 1]
        reset = torch.zeros_like(part[:, :-1], dtype=torch.bool)
        reset[:, 0] = first == 0
        with torch.autocast(tokens.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits, state = model(part[:, :-1], state, reset)[:2]
        found.append(F.cross_entropy(logits.float().mT, part[:, 1:], reduction="none"))
    return torch.cat(found, 1).cpu().numpy()


def binned(values: np.ndarray, by: np.ndarray, edges: Sequence[int]) -> list[tuple[int, int, float, int]]:
    """Return (above, up to, mean, count) of the values whose `by` is in each bin that has any."""
    found = []
    for low, high in pairwise(edges):
        inside = values[(by > low) & (by <= high)]
        if inside.size:
            found.append((low, high, float(inside.mean()), int(inside.size)))
    return found


def by_distance(model: Model, config: RunConfig, device: torch.device) -> dict[str, Any]:
    """Return the nats of digits of new documents, by the distance to the last mention of the same name."""
    made = documents(LOOKED, 32_768, seed=1)
    length = min(len(text) for text, _ in made)
    tokens = torch.tensor([list(text[:length].encode()) for text, _ in made], device=device)
    cost = nats(model, tokens, config.train.precision)
    places = [
        (row, mention.place + digit, mention.gap)
        for row, (_, found) in enumerate(made)
        for mention in found
        for digit in range(DIGITS)
        if mention.place + digit < length
    ]
    rows, place, gap = np.array(places).T
    digits, reach = cost[rows, place - 1], config.model.reach
    beyond = digits[gap > reach]
    return {
        "first": float(digits[gap == 0].mean()),
        "distance": binned(digits, gap, (0, *DISTANCES)),
        "reach": reach,
        "beyond_reach": float(beyond.mean()),
        "gain_beyond_reach": NOT_KNOWING - float(beyond.mean()),
        "right_beyond_reach": float((beyond < np.log(2)).mean()),
        "all": float(cost.mean()),
    }


def by_position(model: Model, config: RunConfig, device: torch.device, text: str) -> dict[str, Any]:
    """Return the nats of a text by position in a row of one context, and by when its ends stood before."""
    length = config.data.sequence_length * config.data.context_batches
    data = np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)
    rows = len(data) // length
    data = data[: rows * length].reshape(rows, length)
    cost = nats(model, torch.from_numpy(data).to(device), config.train.precision)
    window, place = config.model.attention.window, np.arange(1, length)
    age = np.stack([since(row) for row in data])[:, 1:]
    kinds = {
        "within the window": (age > 0) & (age <= window),
        "beyond the window": age > window,
        "never before": age == 0,
    }
    return {
        "position": binned(cost, np.broadcast_to(place, cost.shape), PLACES),
        "seen": {name: (float(cost[where].mean()), int(where.sum())) for name, where in kinds.items()},
        "window": window,
        "all": float(cost.mean()),
    }


def since(row: np.ndarray) -> np.ndarray:
    """Return how long ago the last ORDER bytes and the token stood in a row of bytes; 0: never, or too early to say."""
    last, found = dict[bytes, int](), np.zeros(len(row), dtype=np.int64)
    data = row.astype(np.uint8).tobytes()
    for place in range(ORDER, len(data)):
        gram = data[place - ORDER : place + 1]
        found[place] = place - last.get(gram, place)
        last[gram] = place
    return found


@torch.inference_mode()
def shares(model: AtlasModel, tokens: Tensor) -> list[list[float]]:
    """Return the mean gate of the memory in each head of each layer of MAG: 1 - g of logits, sigmoid(a) of `source`."""
    found: list[list[float]] = []
    made_by, sign = ("attention_norm", 1.0) if model.config.gate.kind == "source" else ("gate", -1.0)

    def note(module: nn.Module, inputs: tuple[Any, ...], logits: Tensor) -> None:
        del module, inputs
        heads = torch.sigmoid(sign * logits.float()).mean((0, 1)).view(model.config.n_heads, -1)
        found.append(heads.mean(1).tolist())

    gates = [module for name, module in model.named_modules() if name.endswith(f"mag.{made_by}")]
    hooks = [gate.register_forward_hook(note) for gate in gates]
    model(tokens, model.initial_state(len(tokens)), None)
    for hook in hooks:
        hook.remove()
    return found


def look(run: Path) -> dict[str, Any]:
    """Return what the best checkpoint of a run shows."""
    pointer = run / "checkpoints" / "best"
    checkpoint = find_checkpoint(run / "checkpoints" / pointer.read_text().strip() if pointer.exists() else run)
    config, device = checkpoint.config, select_device("auto")
    model = load_model(checkpoint, device)
    assert isinstance(model, AtlasModel)
    if Path(config.data.path).stem == "long":
        found = by_distance(model, config, device)
    else:
        _, validation = split_texts(open_corpus(config.data).documents, config.data.validation_fraction)
        found = by_position(model, config, device, "".join(validation))
    sample = torch.frombuffer(bytearray(b"JULIET. What's in a name? " * 40), dtype=torch.uint8).long().unsqueeze(0)
    return {"run": run.name, "step": checkpoint.step, **found, "memory_share": shares(model, sample.to(device))}


def main() -> None:
    """Look into runs and add what is found to runs/benchmarks/worth/where.jsonl."""
    parser = argparse.ArgumentParser(description="Look at where the memory of a run pays.")
    parser.add_argument("runs", nargs="+", type=Path, help="run directories")
    options = parser.parse_args()
    path = RESULTS / "worth" / "where.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    for run in options.runs:
        found = look(run)
        with path.open("a") as stream:
            stream.write(json.dumps(found) + "\n")
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
