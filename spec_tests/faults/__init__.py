"""Seeded faults: known ways to get an operation wrong, each killed by the test that claims to notice it."""
