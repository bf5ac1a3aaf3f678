"""How much of what was stored is found again."""
