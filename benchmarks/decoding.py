"""How fast a model writes on a GPU: a call of the model for each token, and the same call replayed as one CUDA graph.

    python -m benchmarks.decoding --presets shakespeare-10m atlas-340m cognate-27m

Weights are those of the start: what a token costs does not depend on them. `recording` is what the first text costs
beside what a later one does; tokens must be equal and logits nearly so, as the plain call sums what it looks at in
another order. The last column sets the logits of the replayed text against those of one forward pass over all of it by
the reference, whose weights are the same: that is what any way of decoding must be equal to. 64 tokens are written
last, as a short answer is.
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
from atlas_ref.models.session import Session

PROMPT: Final = 300
"""Tokens of the prompt."""
SHORT: Final = 64
"""Tokens of a short answer."""
WAYS: Final = (Sampling(), Sampling(0.8, 50, 0.95))


class Row(NamedTuple):
    """Tokens a second either way, seconds of the recording and of a short text, and how logits differ: of the two ways,
    and from one forward pass."""

    preset: str
    plain: float
    graphed: float
    recording: float
    short: float
    equal: bool
    difference: float
    whole: float


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
    prompt = np.random.default_rng(0).integers(0, 256, PROMPT).tolist()
    start = read_prompt(model, prompt)
    # Texts too short for a recording go the plain way; the first one warms up.
    fewer = min(plain_tokens, WORTH - 1)
    timed(start, fewer, WAYS[0])
    plain = [timed(start, fewer, sampling) for sampling in WAYS]
    first = timed(start, tokens, WAYS[0])[1]
    if decoder_of(model, start.outer_step, start.known, tokens) is None:
        return Row(preset, fewer / plain[0][1], 0.0, 0.0, 0.0, False, float("nan"), float("nan"))
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
        timed(start, SHORT, WAYS[0])[1],
        all(one.token == other.token for one, other in pairs),
        max(float((one.logits - other.logits).abs().max()) for one, other in pairs),
        against_forward(preset, prompt, graphed[0][0]),
    )


def against_forward(preset: str, prompt: list[int], made: list[Generated]) -> float:
    """Return the largest difference of the logits of a text from those of one pass over it by the reference."""
    known = "kernels" in type(load_config(preset).any_model).model_fields
    config = load_config(preset, ["model.kernels='reference'"] if known else []).any_model
    session = Session(build_model(config, seed=0).to("cuda").eval(), batch=1)
    tokens = torch.tensor([prompt + [token.token for token in made[:-1]]], device="cuda")
    with torch.inference_mode():
        logits = session(tokens)[0, len(prompt) - 1 :]
        return float((torch.stack([token.logits for token in made]) - logits).abs().max())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Time the writing of texts on a GPU.")
    parser.add_argument("--presets", nargs="+", default=["shakespeare-10m", "atlas-340m", "cognate-27m"])
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--plain-tokens", type=int, default=WORTH - 1)
    arguments = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, one row, fp32")
    print(
        f"| preset | plain tokens/s | graphed tokens/s | recording s | {SHORT} tokens, ms | tokens equal | "
        "largest difference of a logit | from one forward pass |\n|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    for preset in arguments.presets:
        row = measure(preset, arguments.tokens, arguments.plain_tokens)
        print(
            f"| `{row.preset}` | {row.plain:.1f} | {row.graphed:.0f} | {row.recording:.2f} | {row.short * 1e3:.1f} | "
            f"{row.equal} | {row.difference:.1e} | {row.whole:.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
