"""The parallel form of the memory, and what a chunk means in every form (docs/spec/memory_chunked.md)."""
