"""Bundles in the form that another runtime takes: a Triton model repository, a static web page, a C++ program, LiteRT."""

from export.deploy.targets import KINDS, deploy

__all__ = ["KINDS", "deploy"]
