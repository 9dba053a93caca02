"""Decoders of captions: recurrent with soft attention, and Transformer. They train on whole captions and serve a word at a time."""

from kerasdl.layers.captioning.memory import PictureMemory
from kerasdl.layers.captioning.recurrent import RecurrentDecoder
from kerasdl.layers.captioning.serving import DecoderStart, DecoderStep
from kerasdl.layers.captioning.soft_attention import SoftAttention
from kerasdl.layers.captioning.transformer import DecoderBlock, TransformerDecoder

__all__ = ["DecoderBlock", "DecoderStart", "DecoderStep", "PictureMemory", "RecurrentDecoder", "SoftAttention", "TransformerDecoder"]
