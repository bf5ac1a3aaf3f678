"""Metrics of circularity (docs/spec/metrics.md)."""
