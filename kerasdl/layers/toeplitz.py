"""A convolution written out as the matrix that it is (course row C10), to look at: nobody computes that way."""

from __future__ import annotations

import numpy as np


def convolution_matrix(kernel: np.ndarray, image_shape: tuple[int, int], stride: int = 1) -> np.ndarray:
    """The matrix U of a one-channel convolution layer without padding: U @ picture.ravel() is the output, row by row.

    U has a row per output pixel and a column per input pixel, and at stride 1 it is doubly block Toeplitz: the same numbers along every
    diagonal. `U.T @ output.ravel()` is the transposed convolution, which has the shape of the picture but does not undo U.

    Args:
        kernel: (h, w) weights, applied as libraries do, without mirroring.
        image_shape: (H, W) of the picture.
        stride: step in both directions.

    Returns:
        Array of shape (H' W', H W), H' = (H - h) // stride + 1.
    """
    kernel = np.asarray(kernel)
    height, width = image_shape
    if kernel.ndim != 2 or kernel.shape[0] > height or kernel.shape[1] > width or stride < 1:
        raise ValueError(
            "convolution_matrix needs a 2-D kernel no larger than the picture and a stride of at least 1. "
            f"Received: kernel of shape {kernel.shape}, image_shape={image_shape}, stride={stride}"
        )
    rows = []
    for top in range(0, height - kernel.shape[0] + 1, stride):
        for left in range(0, width - kernel.shape[1] + 1, stride):
            row = np.zeros((height, width), kernel.dtype)
            row[top : top + kernel.shape[0], left : left + kernel.shape[1]] = kernel
            rows.append(row.ravel())
    return np.stack(rows)
