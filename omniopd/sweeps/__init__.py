"""Studies and grids: which runs there are, and carrying them out."""
