"""Tests of `atlas_ref.blocks`."""
