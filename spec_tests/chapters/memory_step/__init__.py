"""One token of the memory: its turn and its write (docs/spec/memory_step.md)."""
