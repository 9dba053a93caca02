"""What every registered model must do, tested once over the registry; then the counts of the papers."""

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.models import find_model, list_models

# (model, image_shape): trainable parameters and Keras total, with 10 classes. LeCun et al. 1998, He et al. 2015.
COUNTS = {
    ("softmax_regression", (28, 28, 1)): (7_850, 7_850),
    ("mlp", (28, 28, 1)): (669_706, 669_706),
    ("lenet5", (32, 32, 1)): (61_706, 61_706),
    ("lenet5", (28, 28, 1)): (61_706, 61_706),
    ("lenet5", (32, 32, 3)): (62_006, 62_006),
    ("resnet20", (32, 32, 3)): (269_722, 271_098),
}


def trainable(model: keras.Model) -> int:
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


@pytest.mark.parametrize(("key", "counts"), COUNTS.items(), ids=str)
def test_parameter_counts_are_the_papers(key, counts):
    name, shape = key
    model = kerasdl.create_model(name, classes=10, image_shape=shape)
    assert (trainable(model), model.count_params()) == counts


@pytest.mark.parametrize("name", list_models())
def test_contract_of_a_backbone(name):
    model = find_model(name)()
    assert [layer.name for layer in model.layers if isinstance(layer, keras.layers.InputLayer)] == ["image"]
    assert len(model.output.shape) in (2, 3, 4)
    assert any(layer.name == "stage1" for layer in model.layers)
    assert not any("rescaling" in type(layer).__name__.lower() for layer in model.layers)


@pytest.mark.parametrize("name", list_models())
def test_create_model_gives_logits_under_the_registry_name(name):
    model = kerasdl.create_model(name, classes=7)
    shape = model.input.shape[1:]
    logits = model(np.zeros((3, *shape), np.float32), training=False)
    assert model.name == name and model.layers[-1].name == "logits"
    assert logits.shape == (3, 7)


@pytest.mark.parametrize("name", list_models())
def test_every_trainable_weight_gets_a_gradient(name):
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    model = kerasdl.create_model(name, classes=4)
    pictures = np.random.default_rng(0).normal(size=(8, *model.input.shape[1:])).astype("float32")
    with tf.GradientTape() as tape:
        loss = keras.losses.sparse_categorical_crossentropy(np.arange(8) % 4, model(pictures, training=True), from_logits=True)
    for variable, gradient in zip(model.trainable_weights, tape.gradient(loss, [w.value for w in model.trainable_weights]), strict=True):
        assert gradient is not None and np.abs(np.asarray(gradient)).max() > 0, variable.path


@pytest.mark.parametrize("name", list_models())
def test_a_saved_model_is_the_same_function(name, tmp_path):
    model = kerasdl.create_model(name, classes=5)
    pictures = np.random.default_rng(0).normal(size=(2, *model.input.shape[1:])).astype("float32")
    model.save(tmp_path / "model.keras")
    again = kerasdl.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model.predict_on_batch(pictures), again.predict_on_batch(pictures))


def test_features_cut_at_a_stage_also_inside_a_nested_model():
    backbone = find_model("resnet20")()
    assert kerasdl.features(backbone, "stage2").output.shape == (None, 16, 16, 32)
    image = keras.Input((32, 32, 3))
    nested = keras.Model(image, keras.layers.GlobalAveragePooling2D()(backbone(image)))
    both = kerasdl.features(nested, "stage1", "stage3")
    assert {name: tuple(x.shape) for name, x in both.output.items()} == {"stage1": (None, 32, 32, 16), "stage3": (None, 8, 8, 64)}
    with pytest.raises(ValueError, match=r"Received: 'stage9', stages are \['stage1', 'stage2', 'stage3'\]"):
        kerasdl.features(nested, "stage9")


def test_shortcut_a_takes_every_second_pixel_and_pads_with_zero_channels():
    from kerasdl.models.resnet_cifar import shortcut_a

    picture = np.arange(2 * 4 * 4 * 2, dtype=np.float32).reshape(2, 4, 4, 2)
    image = keras.Input((4, 4, 2))
    result = keras.Model(image, shortcut_a(image, 4, 2, "s")).predict_on_batch(picture)
    np.testing.assert_array_equal(result[..., 1:3], picture[:, ::2, ::2])
    assert not result[..., [0, 3]].any()


def test_strided_convolutions_see_what_torch_sees():
    """One pixel of padding on both sides: the first output pixel of a strided convolution reads rows -1, 0 and 1."""
    model = find_model("resnet20")()
    assert model.get_layer("s2b1_a_pad").padding == ((1, 1), (1, 1))
    assert model.get_layer("s2b1_a_conv").padding == "valid"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: kerasdl.create_model("resnet02"), "unknown model. Received: 'resnet02'. Did you mean 'resnet20'?"),
        (lambda: kerasdl.create_model("lenet5", classes=0), "classes must be a whole number of at least 1. Received: 0"),
        (lambda: kerasdl.create_model("lenet5", image_shape=(16, 16, 1)), "lenet5 needs sides of at least 28 pixels"),
        (lambda: find_model("lenet5")(pool="min"), "pool must be 'average' or 'max'. Received: 'min'"),
        (lambda: find_model("mlp")(depth=0), "mlp needs at least one hidden layer. Received: depth=0"),
    ],
)
def test_bad_arguments_get_a_sentence(call, sentence):
    with pytest.raises(ValueError) as problem:
        call()
    assert sentence in str(problem.value)


def test_list_models_matches_patterns():
    assert kerasdl.list_models("re*") == ["resnet20"]
    assert kerasdl.list_models() == sorted(kerasdl.list_models())
