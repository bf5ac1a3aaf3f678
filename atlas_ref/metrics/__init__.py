"""Numbers that tell what a model has learned, each able to reach its threshold."""
