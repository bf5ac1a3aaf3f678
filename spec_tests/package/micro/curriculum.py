"""A folder with a few of the public sets, of every stage and domain, and a run of the preset over them in six steps."""

import json
from pathlib import Path
from typing import Any

from atlas_ref.config import RunConfig, load_config
from spec_tests.package.micro.cognate import MICRO

Rows = list[dict[str, Any]]
PLAN = (
    "data.curriculum.epoch_steps=2",
    "data.curriculum.reasoning_epoch=2",
    "data.curriculum.advanced_epoch=3",
    "data.curriculum.judged=2",
)
"""Three epochs of two steps, a stage each."""
LENGTH = 48
STAGED = (
    "model.n_layers=1",
    "model.recursion.iterations=1",
    "model.recursion.micro_steps=1",
    "model.recursion.supervision='last'",
    f"data.sequence_length={LENGTH}",
    "data.context_batches=1",
    "data.validation_fraction=0.3",
    "train.log_interval=100",
    "train.eval_interval=100",
    "train.save_interval=2",
    "train.keep_last=9",
    "train.keep_best=false",
    *PLAN,
)


def rows_of_sets(count: int) -> dict[str, Rows]:
    """Return rows of six sets, by file: of gsm8k and hellaswag with splits, of the others whole."""
    numbers = range(count)
    return {
        "gsm8k/train.jsonl": [{"question": f"{n} and 1?", "answer": f"so\n#### {n + 1}"} for n in numbers],
        "gsm8k/test.jsonl": [{"question": f"{n} and 5?", "answer": f"so\n#### {n + 5}"} for n in range(3)],
        "mbpp.jsonl": [
            {"text": f"add {n}", "code": f"def f(x): return x+{n}", "test_list": [f"assert f(1)=={n + 1}"]}
            for n in numbers
        ],
        "wikitext.jsonl": [{"text": line} for n in numbers for line in (f" = T{n} = ", "x y z " * (n % 5 + 1))],
        "boolq.jsonl": [{"passage": f"{n} is even.", "question": f"is {n} odd", "answer": n % 2 == 1} for n in numbers],
        "hellaswag/train.jsonl": [
            {"ctx": f"he has {n}", "endings": ["a", "bb", "ccc ccc", "d"], "label": str(n % 4)} for n in numbers
        ],
        "hellaswag/val.jsonl": [
            {"ctx": f"she has {n}", "endings": ["a", "bb", "ccc ccc", "d"], "label": str(n % 4)} for n in range(5)
        ],
        "drop.jsonl": [
            {
                "passage": f"A has {n}.",
                "question": "how many?",
                "answers_spans": {"spans": [str(n)], "types": ["number"]},
            }
            for n in numbers
        ],
    }


def write_sets(root: Path, count: int = 30) -> Path:
    """Write the sets below a folder and return it."""
    for name, rows in rows_of_sets(count).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def curriculum_config(folder: Path, *overrides: str) -> RunConfig:
    """Return the small run of `cognate-curriculum` on a folder, with further overrides."""
    return load_config("cognate-curriculum", [*MICRO, *STAGED, f"data.path='{folder}'", *overrides])
