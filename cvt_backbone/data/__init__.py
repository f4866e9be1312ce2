"""Data sets that the package makes, and labels that it rewrites."""

# What :func:`digits.make_digits` is given if nothing else is said; here, so that help texts can show it at once.
DIGITS = dict(train=1600, val=200, size=160, seed=0, copies=3, tune=0)
