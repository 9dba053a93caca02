"""Weights from elsewhere: torch's files and Hugging Face's hub into our models, and stages that stay as they are while fine-tuning.

    report = load_torch(model, "resnet50.safetensors")              # torchvision or timm names
    pretrained = load_pretrained(model, "timm/resnet50.a1_in1k")    # .mean, .std, .image_size, .interpolation, .crop, .classes, .report
    freeze(model, "stage2")                                         # before compile: the stem to stage2, BatchNormalization included

`model` is a backbone, a model of `kerasdl.create_model` or a task's training model (nested models are searched).
"""

from kerasdl.weights.freezing import freeze
from kerasdl.weights.hub import Pretrained, brings_scaling, is_hub_name, load_pretrained, scaling
from kerasdl.weights.torch_file import PICKLED, Report, load_torch

__all__ = ["PICKLED", "Pretrained", "Report", "brings_scaling", "freeze", "is_hub_name", "load_pretrained", "load_torch", "scaling"]
