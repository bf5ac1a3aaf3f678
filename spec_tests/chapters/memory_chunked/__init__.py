"""The parallel form of the memory, and what a chunk means in every form (docs/spec/chunk.md)."""
