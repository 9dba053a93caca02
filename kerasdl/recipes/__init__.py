"""Experiments as values, one file per data set. A recipe file holds imports and values only."""
