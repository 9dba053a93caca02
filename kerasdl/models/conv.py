"""Convolution and pooling with the padding of the papers and of torch: the same number of pixels on every side.

Keras' "same" pads an even picture under stride 2 at the right and bottom only, which shifts every feature; here a strided window is
padded explicitly, and "same" is used only where both agree (stride 1, odd kernel).
"""

from __future__ import annotations

from typing import Any

from keras import layers


def conv(x: Any, filters: int, kernel: int, stride: int = 1, name: str = "", pad: int | None = None, bias: bool = False, **options) -> Any:
    """(B,H,W,C) to (B,H',W',filters), H' = (H + 2 pad - kernel) // stride + 1; `pad` is kernel // 2 unless given. Layer `name`."""
    pad = kernel // 2 if pad is None else pad
    same = stride == 1 and kernel == 2 * pad + 1
    if pad and not same:
        x = layers.ZeroPadding2D(pad, name=f"{name}_pad")(x)
    options = {"kernel_initializer": "he_normal", **options}
    return layers.Conv2D(filters, kernel, stride, "same" if same else "valid", use_bias=bias, name=name, **options)(x)


def norm(x: Any, name: str, epsilon: float = 1e-5) -> Any:
    """BatchNormalization as the papers and torch have it: momentum 0.9, epsilon 1e-5 (Keras' own are 0.99 and 1e-3)."""
    return layers.BatchNormalization(momentum=0.9, epsilon=epsilon, name=name)(x)


def conv_bn(x: Any, filters: int, kernel: int, stride: int = 1, name: str = "", relu: bool = True, epsilon: float = 1e-5, **options) -> Any:
    """Layers `name_conv`, `name_bn` and, unless switched off, `name_relu`."""
    x = conv(x, filters, kernel, stride, f"{name}_conv", **options)
    x = norm(x, f"{name}_bn", epsilon)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def max_pool(x: Any, window: int, stride: int, name: str, pad: int = 0) -> Any:
    """Max pooling with `pad` pixels on every side. Only after a ReLU: the padding is zero, not minus infinity."""
    if pad:
        x = layers.ZeroPadding2D(pad, name=f"{name}_pad")(x)
    return layers.MaxPooling2D(window, stride, name=name)(x)
