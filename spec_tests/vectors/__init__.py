"""Stored cases: generic inputs, the answers of two oracles, and the error that correct ports make."""
