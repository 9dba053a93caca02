"""Vision Transformer (Dosovitskiy et al. 2020, arXiv:2010.11929): a picture as a row of patches through a Transformer's encoder.

Pre-norm blocks, biased qkv, exact GELU, LayerNorm epsilon 1e-6, no representation layer: the net of the weights that timm and
torchvision publish. Sizes Ti and S are those of DeiT (Touvron et al. 2020, arXiv:2012.12877). `pool="mean", positions="sinusoidal"`
is the plainer form of Beyer et al. 2022 (arXiv:2205.01580). Initial values are timm's: truncated normal 0.02 for dense kernels and
positions, zero biases and class token, and LeCun's normal for the patches.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from kerasdl.layers.attention import SelfAttention
from kerasdl.layers.positions import LearntPositions, SinusoidalPositions
from kerasdl.layers.stochastic_depth import StochasticDepth
from kerasdl.layers.tokens import ClassToken, FirstToken

Shape = tuple[int, int, int]


def dense(x: Any, units: int, name: str, activation: str | None = None) -> Any:
    # A new initializer every time: one object gives every layer the same values.
    return layers.Dense(units, activation, kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02), name=name)(x)


def norm(x: Any, name: str) -> Any:
    return layers.LayerNormalization(epsilon=1e-6, name=name)(x)


def drop(x: Any, rate: float, name: str) -> Any:
    return layers.Dropout(rate, name=name)(x) if rate else x


def add_branch(x: Any, branch: Any, rate: float, name: str, last: str = "") -> Any:
    if rate:
        branch = StochasticDepth(rate, name=f"{name}_drop_path")(branch)
    return layers.Add(name=last or f"{name}_add")([x, branch])


def attention_branch(x: Any, heads: int, dropout: float, attention_dropout: float, name: str) -> Any:
    width = x.shape[-1]
    x = norm(x, f"{name}_norm1")
    x = dense(x, 3 * width, f"{name}_qkv")  # (B, N, 3D)
    x = SelfAttention(heads, attention_dropout, name=f"{name}_attention")(x)  # (B, N, D)
    x = dense(x, width, f"{name}_proj")
    return drop(x, dropout, f"{name}_proj_drop")


def mlp_branch(x: Any, mlp_ratio: float, dropout: float, name: str) -> Any:
    width = x.shape[-1]
    x = norm(x, f"{name}_norm2")
    x = dense(x, int(width * mlp_ratio), f"{name}_fc1", "gelu")  # (B, N, 4D); Keras' gelu is the exact one
    x = drop(x, dropout, f"{name}_fc1_drop")
    x = dense(x, width, f"{name}_fc2")  # (B, N, D)
    return drop(x, dropout, f"{name}_fc2_drop")


def stage_names(depth: int) -> dict[int, str]:
    """{block: "stage1", ...}: at most four stages, as equally long as they can be; 12 blocks end them at 3, 6, 9 and 12."""
    stages = min(4, depth)
    return {math.ceil(depth * stage / stages): f"stage{stage}" for stage in range(1, stages + 1)}


def vit(
    image_shape: Shape,
    patch: int,
    width: int,
    depth: int,
    heads: int,
    name: str = "vit",
    mlp_ratio: float = 4.0,
    pool: str = "token",
    positions: str = "learnt",
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    drop_path: float = 0.0,
) -> keras.Model:
    """A Vision Transformer without its classifier.

    Args:
        image_shape: (height, width, channels); `patch` divides both sides.
        patch: side of a patch in pixels.
        width: D, numbers a token; `heads` divides it.
        depth: blocks.
        heads: of the attention.
        name: of the model.
        mlp_ratio: width of the hidden layer of a block's MLP by D.
        pool: "token" for a class token, "mean" for none.
        positions: "learnt", or "sinusoidal" (on the grid of patches, without weights).
        dropout: behind the positions and every dense layer but qkv (the paper: 0.1 from scratch on ImageNet).
        attention_dropout: of the attention weights.
        drop_path: stochastic depth of the last block, growing linearly from 0 at the first.

    Returns:
        `keras.Model` (B,H,W,C) to (B,D), the class token, or with `pool="mean"` to (B,N,D), all tokens, for the head to average;
        both after the final norm.
    """
    check(image_shape, patch, width, depth, heads, pool, positions, name)
    grid = (image_shape[0] // patch, image_shape[1] // patch)
    image = keras.Input(image_shape, name="image")
    x = layers.Conv2D(width, patch, patch, kernel_initializer="lecun_normal", name="patch_conv")(image)  # (B, H/patch, W/patch, D)
    x = ops.reshape(x, (-1, grid[0] * grid[1], width))  # (B, N, D)
    if pool == "token":
        x = ClassToken(name="class_token")(x)  # (B, N+1, D)
    if positions == "learnt":
        x = LearntPositions(name="positions")(x)
    else:
        x = SinusoidalPositions(grid, extra_tokens=int(pool == "token"), name="positions")(x)
    x = drop(x, dropout, "positions_drop")

    stages = stage_names(depth)
    for block in range(1, depth + 1):
        block_name, rate = f"block{block}", drop_path * (block - 1) / max(depth - 1, 1)
        branch = attention_branch(x, heads, dropout, attention_dropout, block_name)
        x = add_branch(x, branch, rate, f"{block_name}_attention")
        branch = mlp_branch(x, mlp_ratio, dropout, block_name)
        x = add_branch(x, branch, rate, f"{block_name}_mlp", stages.get(block, ""))
    x = norm(x, "final_norm")
    if pool == "token":
        x = FirstToken(name="pool_token")(x)  # (B, D)
    return keras.Model(image, x, name=name)


def check(image_shape: Shape, patch: int, width: int, depth: int, heads: int, pool: str, positions: str, name: str) -> None:
    if patch < 1 or min(image_shape[:2]) < patch or image_shape[0] % patch or image_shape[1] % patch:
        raise ValueError(f"{name} cuts the picture into patches: patch must divide both sides. Received: {patch=}, {image_shape=}")
    if depth < 1:
        raise ValueError(f"{name} needs at least one block. Received: {depth=}")
    if heads < 1 or width % heads:
        raise ValueError(f"{name} splits its width among the heads: heads must divide it. Received: {heads=}, {width=}")
    if pool not in ("token", "mean"):
        raise ValueError(f"pool must be 'token' or 'mean'. Received: {pool!r}")
    if positions not in ("learnt", "sinusoidal"):
        raise ValueError(f"positions must be 'learnt' or 'sinusoidal'. Received: {positions!r}")


def variant(builder: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
    """Lists the options of `vit` in a variant's signature in place of **options: help() and the command line read them there."""
    own = [p for p in inspect.signature(builder).parameters.values() if p.kind is not p.VAR_KEYWORD]
    taken = {"name", *(p.name for p in own)}
    rest = [p for p in inspect.signature(vit).parameters.values() if p.name not in taken]
    function: Any = builder
    function.__signature__ = inspect.Signature([*own, *rest], return_annotation=keras.Model)
    return builder


@variant
def vit_ti16(
    image_shape: Shape = (224, 224, 3), patch: int = 16, width: int = 192, depth: int = 12, heads: int = 3, **options: Any
) -> keras.Model:
    """ViT-Ti/16, 5,717,416 parameters with 1000 classes: (B,H,W,C) to (B,192)."""
    return vit(image_shape, patch, width, depth, heads, "vit_ti16", **options)


@variant
def vit_s16(
    image_shape: Shape = (224, 224, 3), patch: int = 16, width: int = 384, depth: int = 12, heads: int = 6, **options: Any
) -> keras.Model:
    """ViT-S/16, 22,050,664 parameters with 1000 classes: (B,H,W,C) to (B,384)."""
    return vit(image_shape, patch, width, depth, heads, "vit_s16", **options)


@variant
def vit_s32(
    image_shape: Shape = (224, 224, 3), patch: int = 32, width: int = 384, depth: int = 12, heads: int = 6, **options: Any
) -> keras.Model:
    """ViT-S/32, 22,878,952 parameters with 1000 classes: (B,H,W,C) to (B,384)."""
    return vit(image_shape, patch, width, depth, heads, "vit_s32", **options)


@variant
def vit_b16(
    image_shape: Shape = (224, 224, 3), patch: int = 16, width: int = 768, depth: int = 12, heads: int = 12, **options: Any
) -> keras.Model:
    """ViT-B/16, 86,567,656 parameters with 1000 classes: (B,H,W,C) to (B,768)."""
    return vit(image_shape, patch, width, depth, heads, "vit_b16", **options)


@variant
def vit_b32(
    image_shape: Shape = (224, 224, 3), patch: int = 32, width: int = 768, depth: int = 12, heads: int = 12, **options: Any
) -> keras.Model:
    """ViT-B/32, 88,224,232 parameters with 1000 classes: (B,H,W,C) to (B,768)."""
    return vit(image_shape, patch, width, depth, heads, "vit_b32", **options)


@variant
def vit_l16(
    image_shape: Shape = (224, 224, 3), patch: int = 16, width: int = 1024, depth: int = 24, heads: int = 16, **options: Any
) -> keras.Model:
    """ViT-L/16, 304,326,632 parameters with 1000 classes: (B,H,W,C) to (B,1024)."""
    return vit(image_shape, patch, width, depth, heads, "vit_l16", **options)


@variant
def vit_l32(
    image_shape: Shape = (224, 224, 3), patch: int = 32, width: int = 1024, depth: int = 24, heads: int = 16, **options: Any
) -> keras.Model:
    """ViT-L/32, 306,535,400 parameters with 1000 classes: (B,H,W,C) to (B,1024)."""
    return vit(image_shape, patch, width, depth, heads, "vit_l32", **options)


@variant
def vit_h14(
    image_shape: Shape = (224, 224, 3), patch: int = 14, width: int = 1280, depth: int = 32, heads: int = 16, **options: Any
) -> keras.Model:
    """ViT-H/14, 632,045,800 parameters with 1000 classes: (B,H,W,C) to (B,1280)."""
    return vit(image_shape, patch, width, depth, heads, "vit_h14", **options)


@variant
def vit_ti4(
    image_shape: Shape = (32, 32, 3), patch: int = 4, width: int = 192, depth: int = 12, heads: int = 3, **options: Any
) -> keras.Model:
    """ViT-Ti/4 for small pictures, 5,362,762 parameters with 10 classes: (B,H,W,C) to (B,192)."""
    return vit(image_shape, patch, width, depth, heads, "vit_ti4", **options)
