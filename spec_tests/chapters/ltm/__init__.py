"""The running mean over a document (docs/spec/ltm.md)."""
