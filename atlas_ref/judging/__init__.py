"""Judging a model on public data sets: it is asked, its answers are compared, and what is right is counted."""
