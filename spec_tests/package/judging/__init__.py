"""Tests of judging: what a model is asked, what is run of it, and what comes out."""
