"""Tests of `atlas_ref.data`."""
