"""Tests of `atlas_ref.processes`."""
