"""A text whose far past matters by construction: names that get a number once and are given again much later.

    python -m benchmarks.long_text --out FILE.jsonl [--documents 256] [--tokens 32768] [--seed 0]

A document is a line of JSONL and has `tokens` bytes at most. A filler word, again and again, is interrupted by mentions
such as `Q739 `: each of the document's names, the capital letters, has one number, whose digits are drawn evenly and
apart from everything else. The gap between two mentions of a name is drawn evenly in its logarithm, from GAPS. So each
digit of a first mention costs ln 10 nats whoever predicts it, that of a later one ln 10 if it is not known any more,
and nothing if it is. What stands between costs hardly anything, so that nothing but the mentions is there to learn.
"""

import argparse
import heapq
import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

FILLER = "la "
"""What stands between mentions. Three keys are all that it writes: more would crowd out what has to be kept."""
NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = 3
"""Of a number: as many as a convolution of four tokens sees its name beside."""
GAPS = (16.0, 30_000.0)
"""The least and the largest gap between two mentions of a name, in bytes."""
NOT_KNOWING = math.log(10)
"""Nats that a digit costs whoever does not know it."""


class Mention(NamedTuple):
    """The place of a number in its document, and how many bytes before it that of the same name stands; 0: it is the
    first."""

    place: int
    gap: int


def document(random: np.random.Generator, tokens: int) -> tuple[str, list[Mention]]:
    """Return one document of at most so many bytes, and its mentions in order."""
    numbers = random.integers(10**DIGITS, size=len(NAMES))
    due = [(float(gap), index) for index, gap in enumerate(_gaps(random, len(NAMES)))]
    heapq.heapify(due)
    parts, place, last, mentions = list[str](), 0, dict[int, int](), list[Mention]()
    while place < tokens - 8:
        if due[0][0] > place:
            parts.append(FILLER)
            place += len(FILLER)
            continue
        _, index = heapq.heappop(due)
        parts.append(f"{NAMES[index]}{numbers[index]:0{DIGITS}} ")
        at = place + 1
        mentions.append(Mention(at, at - last[index] if index in last else 0))
        last[index], place = at, place + len(parts[-1])
        heapq.heappush(due, (at + float(_gaps(random, 1)[0]), index))
    return "".join(parts), mentions


def _gaps(random: np.random.Generator, count: int) -> np.ndarray:
    """Return gaps that are even in their logarithm."""
    gaps: np.ndarray = np.exp(random.uniform(math.log(GAPS[0]), math.log(GAPS[1]), count))
    return gaps


def documents(count: int, tokens: int, seed: int) -> list[tuple[str, list[Mention]]]:
    """Return so many documents with their mentions, the same for the same numbers."""
    random = np.random.Generator(np.random.Philox(key=seed))
    return [document(random, tokens) for _ in range(count)]


def write(path: Path, count: int, tokens: int, seed: int) -> None:
    """Write documents to a file that `atlas train --data` reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = (text for text, _ in documents(count, tokens, seed))
    path.write_text("".join(f"{json.dumps({'text': text})}\n" for text in texts), encoding="utf-8")


def main() -> None:
    """Write a text and say how far apart its mentions are."""
    parser = argparse.ArgumentParser(description="Write a text whose far past matters by construction.")
    parser.add_argument("--out", type=Path, required=True, help="file to write, *.jsonl")
    parser.add_argument("--documents", type=int, default=256, help="documents")
    parser.add_argument("--tokens", type=int, default=32_768, help="most bytes of a document")
    parser.add_argument("--seed", type=int, default=0, help="seed of the text")
    options = parser.parse_args()
    sizes = options.documents, options.tokens, options.seed
    write(options.out, *sizes)
    _, mentions = document(np.random.Generator(np.random.Philox(key=options.seed)), options.tokens)
    gaps = np.array([mention.gap for mention in mentions])
    far = [f"{int((gaps > least).sum())} beyond {least:,}" for least in (0, 128, 2_000, 8_000)]
    print(f"the first of {options.documents} documents has {len(mentions)} mentions; bytes from the one before: {far}")


if __name__ == "__main__":
    main()
