"""int8 and float16 of a finished bundle, kept where the task's own score allows it.

`make` writes them, `int8` searches, `quantise`, `stem` and `half` rewrite a graph, `judge` scores and times, `points` says what is lost,
`check` is what `python -m export verify` asks of them, and `words` tells of them in the bundle's README.
"""
