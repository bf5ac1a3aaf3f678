"""summary.json: how a run ended."""

import resource
import sys

from torch import nn

from atlas_ref.storage.metrics_log import read_metrics
from atlas_ref.storage.run_directory import Admission, RunDirectory


def summarise(
    directory: RunDirectory, step: int, parameters: int, seconds: float, admission: Admission, stopped_early: bool
) -> dict[str, float | int | str | None]:
    """Return the outcome: losses from the log of the whole run; seconds and peak memory of this process."""
    records = read_metrics(directory.metrics)
    train_losses = [record["train/loss"] for record in records if "train/loss" in record]
    val_losses = [record["val/loss"] for record in records if "val/loss" in record]
    return {
        "steps": step,
        "stopped_early": stopped_early,
        "parameters": parameters,
        "first_train_loss": train_losses[0] if train_losses else None,
        "last_train_loss": train_losses[-1] if train_losses else None,
        "val_loss": val_losses[-1] if val_losses else None,
        "seconds": round(seconds, 3),
        "peak_rss_mib": round(peak_rss_mib(), 1),
        "preflight_skipped": admission.skipped,
    }


def sizes(model: nn.Module) -> dict[str, float]:
    """Return the number of parameters of a model, and of those that learn in the stage that it is in."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {
        "train/parameters": float(sum(count for count, _ in counts)),
        "train/trainable_parameters": float(sum(count for count, learns in counts if learns)),
    }


def peak_rss_mib() -> float:
    """Return the largest resident size of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
