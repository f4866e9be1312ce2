"""Data sets that the package makes, and labels that it rewrites."""
