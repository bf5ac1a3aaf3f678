"""Tests of `atlas_ref.metrics`."""
