"""Write kerasdl/zoo.csv, the table behind `kerasdl list models`: `python tools/zoo_table.py`.

Counts and multiply-adds are read from the models, built without weights; what a model cannot know, its paper, stands here.
"""

from __future__ import annotations

import csv
import fnmatch
import functools
import inspect
from pathlib import Path
from typing import Any

from kerasdl import zoo

# (names, family, paper, arXiv number or DOI, year): the first line that matches a name holds.
PAPERS = (
    ("softmax_regression", "linear", "Bridle, softmax outputs", "doi:10.1007/978-3-642-76153-9_28", 1990),
    ("linear_regression", "linear", "Hoerl, Kennard, ridge regression", "doi:10.1080/00401706.1970.10488634", 1970),
    ("polynomial", "linear", "Gergonne, polynomial least squares", "doi:10.1016/0315-0860(74)90034-2", 1815),
    ("random_fourier", "linear", "Rahimi, Recht, random features", "nips:2007/3182", 2007),
    ("maxout_mlp", "linear", "Goodfellow et al., maxout networks", "arXiv:1302.4389", 2013),
    ("mlp", "linear", "Rumelhart et al., back-propagation", "doi:10.1038/323533a0", 1986),
    ("lenet5", "lenet", "LeCun et al., LeNet-5", "doi:10.1109/5.726791", 1998),
    ("airbench94", "airbench", "Jordan, 94% on CIFAR-10 in 3.29 seconds", "arXiv:2404.00498", 2024),
    ("alexnet_2012", "alexnet", "Krizhevsky et al., AlexNet", "doi:10.1145/3065386", 2012),
    ("alexnet", "alexnet", "Krizhevsky, one weird trick (one tower)", "arXiv:1404.5997", 2014),
    ("vgg*_bn", "vgg", "Simonyan, Zisserman, VGG with batch norm", "arXiv:1409.1556", 2014),
    ("vgg*", "vgg", "Simonyan, Zisserman, VGG", "arXiv:1409.1556", 2014),
    ("googlenet_2014", "googlenet", "Szegedy et al., GoogLeNet", "arXiv:1409.4842", 2014),
    ("googlenet", "googlenet", "Szegedy et al., GoogLeNet with batch norm", "arXiv:1409.4842", 2014),
    ("resnet50_sd", "resnet", "Huang et al., stochastic depth", "arXiv:1603.09382", 2016),
    ("resnet18_small", "resnet", "He et al., ResNet with a 3x3 stem", "arXiv:1512.03385", 2015),
    ("resnet20", "resnet_cifar", "He et al., ResNet for CIFAR-10", "arXiv:1512.03385", 2015),
    ("resnet32", "resnet_cifar", "He et al., ResNet for CIFAR-10", "arXiv:1512.03385", 2015),
    ("resnet44", "resnet_cifar", "He et al., ResNet for CIFAR-10", "arXiv:1512.03385", 2015),
    ("resnet56", "resnet_cifar", "He et al., ResNet for CIFAR-10", "arXiv:1512.03385", 2015),
    ("resnet110", "resnet_cifar", "He et al., ResNet for CIFAR-10", "arXiv:1512.03385", 2015),
    ("resnet*", "resnet", "He et al., ResNet", "arXiv:1512.03385", 2015),
    ("se_resnet*", "se_resnet", "Hu et al., squeeze and excitation", "arXiv:1709.01507", 2017),
    ("densenet_bc_*", "densenet", "Huang et al., DenseNet-BC for CIFAR-10", "arXiv:1608.06993", 2016),
    ("densenet40_12", "densenet", "Huang et al., DenseNet for CIFAR-10", "arXiv:1608.06993", 2016),
    ("densenet*", "densenet", "Huang et al., DenseNet", "arXiv:1608.06993", 2016),
    ("osnet_*", "osnet", "Zhou et al., OSNet", "arXiv:1905.00953", 2019),
    ("vit_s32", "vit", "Steiner et al., how to train your ViT", "arXiv:2106.10270", 2021),
    ("vit_ti*", "vit", "Touvron et al., DeiT", "arXiv:2012.12877", 2020),
    ("vit_s*", "vit", "Touvron et al., DeiT", "arXiv:2012.12877", 2020),
    ("vit_*", "vit", "Dosovitskiy et al., vision transformer", "arXiv:2010.11929", 2020),
)
ORDER = ("linear", "lenet", "alexnet", "vgg", "googlenet", "resnet_cifar", "resnet", "se_resnet", "densenet", "osnet", "airbench", "vit")


@functools.cache
def reference_model(name: str) -> Any:
    """The model in its own image shape with 1000 classes from 224 pixels up and 10 below, without weights."""
    from kerasdl.models import create_model, find_model
    from kerasdl.weightless import weightless

    shape = inspect.signature(find_model(name)).parameters["image_shape"].default
    with weightless():
        return create_model(name, classes=1000 if shape[0] >= 224 else 10)


def row_of(name: str) -> zoo.Row:
    """What the table says about one model."""
    from kerasdl.summary import count_parameters, total_multiply_adds

    known = [line for line in PAPERS if fnmatch.fnmatchcase(name, line[0])]
    if not known:
        raise ValueError(f"every model needs its paper in tools/zoo_table.py. Received: {name!r}")
    _, family, paper, identifier, year = known[0]
    model = reference_model(name)
    shape, classes = "x".join(map(str, model.input.shape[1:])), model.get_layer("logits").units
    return zoo.Row(name, family, *count_parameters(model), total_multiply_adds(model), shape, classes, paper, identifier, year)


def write_table(path: Path = zoo.TABLE) -> list[zoo.Row]:
    from kerasdl.models import list_models

    rows = sorted(map(row_of, list_models()), key=lambda row: (ORDER.index(row.family), row.trainable, row.name))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(zoo.Row._fields)
        writer.writerows(rows)
    return rows


if __name__ == "__main__":
    print(f"{zoo.TABLE.name}: {len(write_table())} models")
