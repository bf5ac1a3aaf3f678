"""Tests of `atlas_ref.models`."""
