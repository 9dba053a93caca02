"""Serve the bundles of saved_models/ in a web page and over HTTP: `python -m apps`. Needs onnxruntime, never TensorFlow."""

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported: without it gradio calls its makers at start
os.environ["GRADIO_RUN_HISTORY"] = "False"  # visitors' pictures are not kept in their browsers
