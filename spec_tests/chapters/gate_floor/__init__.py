"""The floor under a gate, and what is near to it."""
