"""The language model over two blocks (docs/spec/lm.md)."""
