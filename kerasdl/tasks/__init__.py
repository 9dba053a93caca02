"""What a prediction means, one task per file. Adding one is a file and a line here."""

from kerasdl.tasks.classification import Classification
from kerasdl.tasks.embedding import Embedding
from kerasdl.tasks.task import Task

__all__ = ["Classification", "Embedding", "Task"]
TASKS = {"classification": Classification, "embedding": Embedding}
