"""The parallel form of the memory with every axis of MIRAS (docs/spec/miras_chunked.md)."""
