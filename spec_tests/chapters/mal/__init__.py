"""Memory as a layer: attention over what the memory reads (docs/spec/mal.md)."""
