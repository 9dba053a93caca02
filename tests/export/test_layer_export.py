"""The layers of the course, Keras' and ours, become ONNX graphs of standard operators that give the same numbers."""

import keras
import numpy as np
import onnxruntime
import pytest
from keras import layers

from export.convert import to_onnx
from kerasdl.layers.locally_connected import LocallyConnected2D
from kerasdl.layers.maxout import Maxout
from kerasdl.layers.stochastic_depth import StochasticDepth
from kerasdl.layers.upsampling import resize_conv

PICTURE = (6, 5, 2)
BODIES = {
    "maxout": lambda x: Maxout(3, pieces=3)(x),
    "locally_connected": lambda x: LocallyConnected2D(3, 3, strides=2)(x),
    "stochastic_depth": lambda x: layers.Add()([x, StochasticDepth(0.5)(layers.Conv2D(2, 3, padding="same")(x))]),
    "resize_conv": lambda x: resize_conv(x, 3, 3, 2, "up"),
    "transposed": lambda x: layers.Conv2DTranspose(3, 3, 2)(x),
    "separable": lambda x: layers.SeparableConv2D(3, 3)(x),
    "dilated": lambda x: layers.Conv2D(3, 2, dilation_rate=2)(x),
    "prelu": lambda x: layers.PReLU(shared_axes=[1, 2])(x),
    "leaky_relu": lambda x: layers.LeakyReLU(0.1)(x),
    "elu": lambda x: layers.ELU(0.5)(x),
    "sigmoid_tanh": lambda x: layers.Activation("tanh")(layers.Activation("sigmoid")(x)),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_layer_exports_with_parity(body):
    image = keras.Input(PICTURE, name="image")
    model = keras.Model(image, {"y": body(image)})
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])  # biases and slopes too: zeros fold away
    proto = to_onnx(model)
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"}
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        pictures = rng.normal(size=(batch, *PICTURE)).astype("float32")
        (found,) = session.run(["y"], {"image": pictures})
        wanted = np.asarray(model(pictures, training=False)["y"])
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, atol=1e-5 * max(1.0, float(np.abs(wanted).max())))
