"""One training step, one loop, checkpoints, evaluation and generation."""
