"""Tests of `atlas_ref.functional`."""
