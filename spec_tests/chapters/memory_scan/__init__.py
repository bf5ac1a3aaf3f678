"""The memory over a sequence: documents, state, reads (docs/spec/memory_scan.md)."""
