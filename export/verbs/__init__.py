"""The further commands of `python -m export`, one file each: `run(words)` gives the exit code."""
