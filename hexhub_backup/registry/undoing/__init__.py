"""An undo: what a restore created is removed, and what it replaced is brought back."""
