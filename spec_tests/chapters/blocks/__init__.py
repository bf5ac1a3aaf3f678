"""The MAG block: attention and memory side by side, joined by a gate (docs/spec/blocks.md)."""
