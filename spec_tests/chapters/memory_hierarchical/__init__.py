"""The memory that solves ridge regression anew for every token (docs/spec/ridge_scan.md)."""
