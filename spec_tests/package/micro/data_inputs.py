"""Texts on disk and configurations that read them, small enough for many documents, wraps and steps."""

import json
from pathlib import Path

import numpy as np

from atlas_ref.config import RunConfig, load_config

KEY = "text|question+answer"
"""The key of the text in every preset."""


def write_documents(folder: Path, count: int = 23) -> str:
    """The path of a JSONL file of documents of many lengths, shorter and longer than a row."""
    random = np.random.default_rng(5)
    lengths = random.integers(1, 400, size=count)
    texts = ["".join(chr(97 + int(letter)) for letter in random.integers(26, size=length)) for length in lengths]
    path = folder / "documents.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def text_config(path: str, *overrides: str) -> RunConfig:
    """`tiny` on a file, with rows and chunks small enough for many documents, wraps and steps."""
    shape = ["data.sequence_length=24", "train.batch_size=3", "model.memory.chunk=8", "data.validation_fraction=0.2"]
    shape.append("data.context_batches=5")
    return load_config("tiny", ["data.source=path", f"data.path={json.dumps(path)}", *shape, *overrides])
