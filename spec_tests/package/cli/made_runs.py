"""Directories as runs leave them, written by hand: for tests of what reads them."""

import json
from pathlib import Path
from typing import Any

from atlas_ref.config import to_toml
from spec_tests.package.micro.runs import SKIPPED, micro_config

LAYERS = 3


def line(step: int, scale: float) -> dict[str, Any]:
    """Return a line of a log in which no two values are equal."""
    values = {"train/loss": 5.0 - scale * step, "train/tokens_per_second": 100.0 + 7 * step * scale}
    values |= {"val/loss": 4.0 + 0.5 * (step - 4) ** 2 * scale} if step % 2 == 0 else {}
    values |= {f"memory/layer_{n}/omega_loss": scale * step * (n + 1) ** 2 for n in range(LAYERS)}
    return {"step": step, **values, "memory/omega_loss": scale * step * 14 / 3}


def made(path: Path, *overrides: str, scale: float = 0.1, steps: int = 6) -> Path:
    """Write the files of a run by hand and return its directory."""
    path.mkdir(parents=True)
    (path / "config.toml").write_text(to_toml(micro_config(*overrides)))
    (path / "metrics.jsonl").write_text("".join(json.dumps(line(step, scale)) + "\n" for step in range(1, steps + 1)))
    (path / "env.json").write_text(json.dumps([{"preflight_skipped": None}, {"preflight_skipped": SKIPPED}]))
    return path


def killed(path: Path) -> Path:
    """Write the report of a kill switch."""
    (path / "kill.json").write_text(json.dumps({"step": 5, "kills": [{"switch": "loss_spike"}, {"switch": "alpha"}]}))
    return path
