"""Layers that stock Keras lacks, one idea per file. Importing this package registers them all, so that saved models load."""

from kerasdl.layers.adaptive_pooling import AdaptiveAveragePooling2D
from kerasdl.layers.attention import SelfAttention, attention_weights, causal_mask, scaled_dot_product_attention
from kerasdl.layers.captioning import DecoderStart, DecoderStep, PictureMemory, RecurrentDecoder, SoftAttention, TransformerDecoder
from kerasdl.layers.center import CenterDistance
from kerasdl.layers.distillation import DistillationDistance
from kerasdl.layers.drop_connect import DropConnectDense
from kerasdl.layers.ensemble import MeanProbability, ensemble
from kerasdl.layers.fourier import RandomFourierFeatures
from kerasdl.layers.gem import GeM
from kerasdl.layers.local_response_norm import LocalResponseNormalization
from kerasdl.layers.locally_connected import LocallyConnected2D
from kerasdl.layers.maxout import Maxout
from kerasdl.layers.neighbours import NearestNeighbours
from kerasdl.layers.oim import OnlineInstanceMatching
from kerasdl.layers.positions import LearntPositions, SinusoidalPositions, sinusoidal_grid, sinusoidal_positions
from kerasdl.layers.prediction_interval import PredictionInterval
from kerasdl.layers.stochastic_depth import StochasticDepth
from kerasdl.layers.target_error import TargetError
from kerasdl.layers.toeplitz import convolution_matrix
from kerasdl.layers.tokens import ClassToken, FirstToken
from kerasdl.layers.upsampling import resize_conv
from kerasdl.layers.verification import PairVerification
from kerasdl.layers.whitening import PatchWhitening

__all__ = [
    "AdaptiveAveragePooling2D",
    "CenterDistance",
    "ClassToken",
    "DecoderStart",
    "DecoderStep",
    "DropConnectDense",
    "FirstToken",
    "GeM",
    "DistillationDistance",
    "LearntPositions",
    "LocalResponseNormalization",
    "LocallyConnected2D",
    "Maxout",
    "MeanProbability",
    "NearestNeighbours",
    "OnlineInstanceMatching",
    "PairVerification",
    "PatchWhitening",
    "PictureMemory",
    "PredictionInterval",
    "RandomFourierFeatures",
    "RecurrentDecoder",
    "SelfAttention",
    "SinusoidalPositions",
    "SoftAttention",
    "StochasticDepth",
    "TargetError",
    "TransformerDecoder",
    "attention_weights",
    "causal_mask",
    "convolution_matrix",
    "ensemble",
    "resize_conv",
    "scaled_dot_product_attention",
    "sinusoidal_grid",
    "sinusoidal_positions",
]
