"""The memory with every axis of MIRAS: architecture, bias, link, retention, algorithm (docs/spec/miras_scan.md)."""
