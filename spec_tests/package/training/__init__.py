"""Tests of `atlas_ref.training`."""
