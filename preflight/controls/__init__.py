"""Broken subjects: what each gate must fail."""
