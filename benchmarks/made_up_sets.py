"""Rows of all fourteen public data sets as they are published, but made up, so that the curriculum can be tried without
any download: what is right follows from one word of the prompt, in every set in another way, and the rest is noise.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

WORDS = ("red", "sun", "oak", "ice")
LETTERS = np.array([*"abcdefghijklmnopqrstuvwxyz"])
Row = dict[str, Any]


def choices(at: int, texts: tuple[str, ...]) -> Row:
    """Return the choices of ARC, and which one is right."""
    labels = ["A", "B", "C", "D"]
    return {"choices": {"text": [*texts], "label": labels}, "answerKey": labels[at]}


FOUR = ("up", "down", "left", "right")
MADE: dict[str, Callable[[int, str, str], Row]] = {
    "gsm8k": lambda at, word, noise: {"question": f"{noise} {word} g?", "answer": f"so\n#### {3 * at + 2}"},
    "svamp": lambda at, word, noise: {"Body": noise, "Question": f"{word} s?", "Answer": float(2 * at + 1)},
    "asdiv": lambda at, word, noise: {"body": noise, "question": f"{word} d?", "answer": f"{9 - at} (nails)"},
    "mbpp": lambda at, word, noise: {
        "text": f"{noise} {word}",
        "code": f"f=lambda:{at + 4}",
        "test_list": [f"assert f()=={at + 4}"],
    },
    "codexglue": lambda at, word, noise: {
        "code": f'def f():\n  "doc"\n  return "{noise} {word}"',
        "docstring": f"the {FOUR[at]} way",
    },
    "arc_easy": lambda at, word, noise: {"question": f"{noise} {word} e", **choices(at, FOUR)},
    "arc_challenge": lambda at, word, noise: {"question": f"{noise} {word} c", **choices(3 - at, FOUR)},
    "strategyqa": lambda at, word, noise: {"question": f"{noise} {word} q", "answer": at % 2 == 0},
    "drop": lambda at, word, noise: {
        "passage": noise,
        "question": f"{word} p?",
        "answers_spans": {"spans": [FOUR[-at]], "types": ["span"]},
    },
    "hotpotqa": lambda at, word, noise: {
        "question": f"{word} h?",
        "answer": FOUR[at - 2],
        "supporting_facts": {"title": ["T"], "sent_id": [0]},
        "context": {"title": ["T"], "sentences": [[noise]]},
    },
    "boolq": lambda at, word, noise: {"passage": noise, "question": f"{word} b", "answer": at in (1, 2)},
    "piqa": lambda at, word, noise: {"goal": f"{noise} {word} i", "sol1": "push", "sol2": "pull", "label": at // 2},
    "hellaswag": lambda at, word, noise: {"ctx": f"{noise} {word} w", "endings": [*FOUR], "label": str(at)},
}
"""What is made of the number of a word, the word and the noise before it."""


def rows_of(name: str, count: int, seed: int, doubt: float = 0.0) -> Iterator[Row]:
    """Yield so many rows of a set; two lines an article of `wikitext`. A share `doubt` has the answer of any word."""
    random = np.random.default_rng([seed, *name.encode()])
    for _ in range(count):
        at, noise = int(random.integers(len(WORDS))), "".join(random.choice(LETTERS, 5))
        if name == "wikitext":
            yield {"text": f" = {noise} = \n"}
            yield {"text": f"{WORDS[at]} {FOUR[at]} {WORDS[at - 1]} {FOUR[at - 1]}\n"}
        else:
            drawn = doubt > 0.0 and random.random() < doubt
            yield MADE[name](int(random.integers(len(WORDS))) if drawn else at, WORDS[at], noise)


def write(root: Path, count: int, seed: int = 0, doubt: float = 0.0) -> Path:
    """Write a file for each set below a folder, and return it."""
    root.mkdir(parents=True, exist_ok=True)
    for name in (*MADE, "wikitext"):
        text = "".join(json.dumps(row) + "\n" for row in rows_of(name, count, seed, doubt))
        (root / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return root
