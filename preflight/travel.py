"""How far the weights of a run can go."""

import numpy as np

from atlas_ref.config import RunConfig
from atlas_ref.training.schedule import learning_rate


def travel(config: RunConfig) -> float:
    """Return the sum of the learning rates of the first stage, in spreads of the initial weights."""
    steps = config.train.max_steps
    # A long schedule is a smooth curve: a thousand of its steps, evenly, have its mean.
    counted = np.unique(np.linspace(0, steps - 1, min(steps, 1000)).round().astype(int))
    return float(np.mean([learning_rate(int(step), config) for step in counted])) * steps / config.model.init_std
