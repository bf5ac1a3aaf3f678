"""What the log says of learning at a step: the loss, what is minimised and of which parts that is the sum.

train/loss, train/perplexity       of the last answer, whatever else is minimised: nats a token, and exp of it
train/minimised                    = the sum of train/loss_* where a model is taught by more than its loss
train/loss_supervised              sum_j w_j l_j / sum_j w_j over the answers (`training.supervision`)
train/loss_halting                 weight of the loss of halting times that loss
train/loss_gate                    - weight of the gate's entropy times that entropy
train/loss_polarisation            weight of the step times the indecision of the gates
train/grad_norm, train/lr          before clipping; of the step
"""

from collections.abc import Mapping

from atlas_ref.metrics.perplexity import perplexity


def learning(loss: float, parts: Mapping[str, float], grad_norm: float, rate: float) -> dict[str, float]:
    """Return the entries of a step; `parts` are those of what is minimised, by name (module docstring)."""
    return {
        "train/loss": loss,
        "train/grad_norm": grad_norm,
        "train/lr": rate,
        "train/perplexity": perplexity(loss),
        "train/minimised": sum(parts.values()),
        **({f"train/loss_{name}": value for name, value in parts.items()} if set(parts) != {"supervised"} else {}),
    }
