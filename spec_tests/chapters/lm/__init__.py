"""The language model over two blocks (docs/spec/model.md)."""
