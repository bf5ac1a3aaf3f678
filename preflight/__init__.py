"""Gates in front of a training run: each measures one thing that must hold, and can fail."""
