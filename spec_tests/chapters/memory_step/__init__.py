"""One token of the memory: its turn and its write (docs/spec/rules.md)."""
