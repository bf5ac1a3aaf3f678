"""Memory as context: attention over rows that are read from the memory (docs/spec/mac.md)."""
