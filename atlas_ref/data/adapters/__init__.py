"""Fourteen public data sets, read as prompts with answers: a row of any of them becomes an example, or says why not."""
