"""What a prediction means, one task per file. Adding one is a file and a line here."""

from kerasdl.tasks.captioning import Captioning
from kerasdl.tasks.classification import Classification
from kerasdl.tasks.embedding import Embedding
from kerasdl.tasks.regression import Regression
from kerasdl.tasks.task import Task, keras_predictor

__all__ = ["Captioning", "Classification", "Embedding", "Regression", "Task", "keras_predictor"]
TASKS = {"captioning": Captioning, "classification": Classification, "embedding": Embedding, "regression": Regression}
