"""How fast a model writes on a GPU: a call of the model for each token, and the same call replayed as one CUDA graph.

    python -m benchmarks.decoding --presets shakespeare-10m atlas-340m cognate-27m

Weights are those of the start: what a token costs does not depend on them. `recording` is what the first text costs
beside what a later one does; tokens must be equal and logits nearly so, as the plain call sums what it looks at in
another order.
"""

import argparse
import time
from typing import Final, NamedTuple

import numpy as np
import torch

from atlas_ref.config import load_config
from atlas_ref.generation.generate import Generated, Start, generate, read_prompt
from atlas_ref.generation.graphed import WORTH, decoder_of
from atlas_ref.generation.sampling import Sampling, stream
from atlas_ref.models.registry import build_model

PROMPT: Final = 300
"""Tokens of the prompt."""
WAYS: Final = (Sampling(), Sampling(0.8, 50, 0.95))


class Row(NamedTuple):
    """Tokens a second either way, seconds of the recording, and how the two texts differ."""

    preset: str
    plain: float
    graphed: float
    recording: float
    equal: bool
    difference: float


def timed(start: Start, count: int, sampling: Sampling) -> tuple[list[Generated], float]:
    """Return a text and the seconds that it took."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    made = list(generate(start, count, sampling, stream(1)))
    torch.cuda.synchronize()
    return made, time.perf_counter() - began


def measure(preset: str, tokens: int, plain_tokens: int) -> Row:
    """Return what is measured of one preset."""
    model = build_model(load_config(preset).any_model, seed=0).to("cuda").eval()
    start = read_prompt(model, np.random.default_rng(0).integers(0, 256, PROMPT).tolist())
    # Texts too short for a recording go the plain way; the first one warms up.
    fewer = min(plain_tokens, WORTH - 1)
    timed(start, fewer, WAYS[0])
    plain = [timed(start, fewer, sampling) for sampling in WAYS]
    first = timed(start, tokens, WAYS[0])[1]
    if decoder_of(model, start.outer_step, start.known, tokens) is None:
        return Row(preset, fewer / plain[0][1], 0.0, 0.0, False, float("nan"))
    timed(start, tokens, WAYS[1])
    graphed = [timed(start, tokens, sampling) for sampling in WAYS]
    pairs = [
        pair for (one, _), (other, _) in zip(plain, graphed, strict=True) for pair in zip(one, other, strict=False)
    ]
    return Row(
        preset,
        fewer / plain[0][1],
        tokens / graphed[0][1],
        first - graphed[0][1],
        all(one.token == other.token for one, other in pairs),
        max(float((one.logits - other.logits).abs().max()) for one, other in pairs),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Time the writing of texts on a GPU.")
    parser.add_argument("--presets", nargs="+", default=["shakespeare-10m", "atlas-340m", "cognate-27m"])
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--plain-tokens", type=int, default=WORTH - 1)
    arguments = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, one row, fp32")
    print("| preset | plain tokens/s | graphed tokens/s | recording s | tokens equal | largest difference of a logit |")
    print("|---|---|---|---|---|---|")
    for preset in arguments.presets:
        row = measure(preset, arguments.tokens, arguments.plain_tokens)
        print(
            f"| `{row.preset}` | {row.plain:.1f} | {row.graphed:.0f} | {row.recording:.2f} | {row.equal} | "
            f"{row.difference:.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
