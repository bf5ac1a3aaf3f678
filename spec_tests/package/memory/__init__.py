"""Tests of `atlas_ref.memory`."""
