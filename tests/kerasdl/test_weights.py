"""Torch's files in our models: every tensor in its place, or a list and nothing changed; the hub by its local cache; frozen stages.

The files are made here, from random values in our layout and a second, separate account of torch's names and layouts.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import ml_dtypes
import numpy as np
import pytest
from keras import layers
from safetensors.numpy import save_file

from kerasdl.data.spec import Spec
from kerasdl.models.densenet import densenet
from kerasdl.models.googlenet import googlenet
from kerasdl.models.head import classification_head
from kerasdl.models.resnet import resnet
from kerasdl.models.resnet_cifar import resnet_cifar
from kerasdl.models.vgg import vgg
from kerasdl.models.vit import vit
from kerasdl.tasks.classification import Classification
from kerasdl.weights import Report, freeze, is_hub_name, load_pretrained, load_torch, scaling

NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}

# --- small models, and what torch calls their layers ---


def resnet_names(stages: int, blocks: int, parts: str) -> dict[str, str]:
    names = {"stem_conv": "conv1", "stem_bn": "bn1", "logits": "fc"}
    for stage in range(stages):
        for block in range(blocks):
            ours, theirs = f"s{stage + 1}b{block + 1}", f"layer{stage + 1}.{block}"
            for i, part in enumerate(parts):
                names |= {f"{ours}_{part}_conv": f"{theirs}.conv{i + 1}", f"{ours}_{part}_bn": f"{theirs}.bn{i + 1}"}
            names |= {f"{ours}_proj_conv": f"{theirs}.downsample.0", f"{ours}_proj_bn": f"{theirs}.downsample.1"}
            names |= {f"{ours}_se_reduce": f"{theirs}.se.fc1", f"{ours}_se_expand": f"{theirs}.se.fc2"}
    return names


def vit_names(dialect: str) -> dict[str, str]:
    if dialect == "timm":
        names = {
            "patch_conv": "patch_embed.proj",
            "class_token": "cls_token",
            "positions": "pos_embed",
            "final_norm": "norm",
            "logits": "head",
        }
        parts = {"norm1": "norm1", "qkv": "attn.qkv", "proj": "attn.proj", "norm2": "norm2", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
        block = "blocks.{}.{}"
    else:
        names = {"patch_conv": "conv_proj", "class_token": "class_token", "positions": "encoder.pos_embedding", "final_norm": "encoder.ln"}
        names["logits"] = "heads.head"
        hidden = ("mlp.0", "mlp.3") if dialect == "torchvision" else ("mlp.linear_1", "mlp.linear_2")
        parts = {"norm1": "ln_1", "qkv": "self_attention.in_proj", "proj": "self_attention.out_proj", "norm2": "ln_2"}
        parts |= {"fc1": hidden[0], "fc2": hidden[1]}
        block = "encoder.layers.encoder_layer_{}.{}"
    return names | {f"block{n + 1}_{ours}": block.format(n, theirs) for n in range(2) for ours, theirs in parts.items()}


def densenet_names() -> dict[str, str]:
    names = {"stem_conv": "features.conv0", "stem_bn": "features.norm0", "final_bn": "features.norm5", "logits": "classifier"}
    names |= {"t1_conv": "features.transition1.conv", "t1_bn": "features.transition1.norm"}
    for block in (1, 2):
        for layer in (1, 2):
            theirs = f"features.denseblock{block}.denselayer{layer}"
            for part, number in (("a", 1), ("b", 2)):
                names[f"d{block}l{layer}_{part}_conv"] = f"{theirs}.conv{number}"
                names[f"d{block}l{layer}_{part}_bn"] = f"{theirs}.norm{number}"
    return names


def googlenet_names() -> dict[str, str]:
    units = {"stem1": "conv1", "stem2": "conv2", "stem3": "conv3", "aux1": "aux1.conv", "aux2": "aux2.conv"}
    for block in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        branches = {"1x1": "1", "3x3r": "2.0", "3x3": "2.1", "5x5r": "3.0", "5x5": "3.1", "pool": "4.1"}
        units |= {f"i{block}_{ours}": f"inception{block}.branch{theirs}" for ours, theirs in branches.items()}
    names = {f"{ours}_{part}": f"{theirs}.{part}" for ours, theirs in units.items() for part in ("conv", "bn")}
    return names | {"logits": "fc", "aux1_fc": "aux1.fc1", "aux2_fc": "aux2.fc1", "aux1": "aux1.fc2", "aux2": "aux2.fc2"}


# (stage, convolution): its place in torchvision's `features`
VGG11 = {(1, 1): 0, (2, 1): 3, (3, 1): 6, (3, 2): 8, (4, 1): 11, (4, 2): 13, (5, 1): 16, (5, 2): 18}
VGG11_BN = {(1, 1): 0, (2, 1): 4, (3, 1): 8, (3, 2): 11, (4, 1): 15, (4, 2): 18, (5, 1): 22, (5, 2): 25}


def vgg_names(places: dict[tuple[int, int], int]) -> dict[str, str]:
    names = {"fc6": "classifier.0", "fc7": "classifier.3", "logits": "classifier.6"}
    for (stage, conv), number in places.items():
        names |= {f"s{stage}c{conv}_conv": f"features.{number}", f"s{stage}c{conv}_bn": f"features.{number + 1}"}
    return names


def tiny_resnet(**options) -> keras.Model:
    return resnet((1, 1), (32, 32, 3), "resnet50", width=4, **options)


def tiny_vit(side: int = 16, **options) -> keras.Model:
    return vit((side, side, 3), patch=4, width=8, depth=2, heads=2, **options)


def tiny_alexnet() -> keras.Model:
    """The layers that AlexNet's file names, at widths that take no time."""
    x = image = keras.Input((8, 8, 3), name="image")
    for i in range(1, 6):
        x = layers.Conv2D(3 + i, 3, padding="same", name=f"c{i}_conv")(x)
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(4)(x))
    x = layers.Dense(5, name="fc6")(layers.Dropout(0.5)(x))
    return keras.Model(image, layers.Dense(6, name="fc7")(x), name="alexnet")


def with_head(backbone: keras.Model, classes: int = 5) -> keras.Model:
    return keras.Model(backbone.input, classification_head(backbone.output, classes), name=backbone.name)


def with_aux_heads() -> keras.Model:
    backbone = googlenet((32, 32, 3), aux=True)
    out = dict(backbone.output)
    heads = {"logits": classification_head(out.pop("features"), 5)}
    return keras.Model(backbone.input, heads | {name: layers.Dense(5, name=name)(x) for name, x in out.items()}, name="googlenet")


ALEXNET = {"c1_conv": "features.0", "c2_conv": "features.3", "c3_conv": "features.6", "c4_conv": "features.8", "c5_conv": "features.10"}
ALEXNET |= {"fc6": "classifier.1", "fc7": "classifier.4", "logits": "classifier.6"}
SE = resnet_names(2, 1, "abc")
CIFAR = {ours: theirs.replace("downsample", "shortcut") for ours, theirs in resnet_names(3, 1, "ab").items()}
SPEC = Spec((32, 32, 3), tuple("abcde"), mean=(0.5,) * 3, std=(0.5,) * 3, prepare=(), data_name="nothing")
FAMILIES = {
    "alexnet": (lambda: with_head(tiny_alexnet()), ALEXNET),
    "vgg11_bn": (lambda: with_head(vgg("vgg11_bn", (32, 32, 3), hidden=3)), vgg_names(VGG11_BN)),
    "vgg11 for small pictures": (lambda: with_head(vgg("vgg11", (32, 32, 3), hidden=0)), {**vgg_names(VGG11), "logits": "classifier"}),
    "googlenet with its auxiliary heads": (with_aux_heads, googlenet_names()),
    "resnet of basic blocks": (lambda: with_head(tiny_resnet(bottleneck=False)), resnet_names(2, 1, "ab")),
    "se_resnet of bottlenecks": (lambda: with_head(tiny_resnet(se=2)), SE),
    "resnet with stochastic depth": (lambda: with_head(tiny_resnet(drop=0.5)), SE),
    "resnet8 without projections": (lambda: with_head(resnet_cifar(8, (8, 8, 3), "resnet20")), {**CIFAR, "logits": "linear"}),
    "resnet8 with projections": (lambda: with_head(resnet_cifar(8, (8, 8, 3), "resnet20", shortcut="B")), CIFAR),
    "densenet": (lambda: with_head(densenet((2, 2), 4, (32, 32, 3), "densenet121", stem=8)), densenet_names()),
    "vit, timm": (lambda: with_head(tiny_vit(dropout=0.1)), vit_names("timm")),
    "vit, torchvision": (lambda: with_head(tiny_vit()), vit_names("torchvision")),
    "vit, torchvision before 2023": (lambda: with_head(tiny_vit()), vit_names("torchvision, old")),
    "vit without class token": (lambda: with_head(tiny_vit(pool="mean")), vit_names("timm")),
}


# --- torch's layouts ---


def weighted(model: keras.Model):
    for layer in model.layers:
        yield from weighted(layer) if isinstance(layer, keras.Model) else [(layer, v) for v in layer.weights]


def torch_layout(layer, name: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    if name in NORM:
        return NORM[name], value
    if name == "bias":
        return "bias", value
    if name != "kernel":
        return "", value
    if value.ndim == 4:
        return "weight", np.einsum("hwio->oihw", value)
    if layer.name in ("fc6", "aux1_fc", "aux2_fc"):
        height, width, channels = {"fc6": (7, 7, 512), "aux1_fc": (4, 4, 128), "aux2_fc": (4, 4, 128)}[layer.name]
        if value.shape[0] != height * width * channels:
            height, width, channels = 2, 2, 8  # the small AlexNet's
        return "weight", np.einsum("hwco->ochw", value.reshape(height, width, channels, -1)).reshape(value.shape[1], -1)
    return "weight", value.T[:, :, None, None] if "_se_" in layer.name else value.T


def torch_file(model: keras.Model, names: dict[str, str], seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(tensors under torch's names, the same values by our paths) for a model of ours."""
    rng, tensors, expected = np.random.default_rng(seed), {}, {}
    for layer, variable in weighted(model):
        value = rng.normal(size=variable.shape).astype("float32")
        expected[f"{layer.name}/{variable.name}"] = value
        kind, theirs = torch_layout(layer, variable.name, value)
        joint = "_" if names[layer.name].endswith("in_proj") else "."
        tensors[f"{names[layer.name]}{joint}{kind}" if kind else names[layer.name]] = theirs
        if kind == "running_mean":
            tensors[f"{names[layer.name]}.num_batches_tracked"] = np.array(7)
    return tensors, expected


def write(folder: Path, tensors: dict[str, np.ndarray], name: str = "model.safetensors") -> Path:
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, folder / name)
    return folder / name


def values(model: keras.Model) -> dict[str, np.ndarray]:
    return {f"{layer.name}/{variable.name}": keras.ops.convert_to_numpy(variable) for layer, variable in weighted(model)}


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


# --- every tensor in its place ---


@pytest.mark.parametrize(("build", "names"), FAMILIES.values(), ids=FAMILIES.keys())
def test_every_tensor_finds_its_weight(build, names, tmp_path):
    model = build()
    tensors, expected = torch_file(model, names)
    report = load_torch(model, write(tmp_path, tensors))
    assert_equal(values(model), expected)
    assert set(report.loaded) == {name for name in tensors if not name.endswith("num_batches_tracked")}
    assert report.skipped == report.kept == report.resized == ()


def test_timms_vgg_calls_its_dense_layers_convolutions(tmp_path):
    model = with_head(vgg("vgg11_bn", (32, 32, 3), hidden=3))
    tensors, expected = torch_file(model, {**vgg_names(VGG11_BN), "fc6": "pre_logits.fc1", "fc7": "pre_logits.fc2", "logits": "head.fc"})
    tensors["pre_logits.fc1.weight"] = tensors["pre_logits.fc1.weight"].reshape(3, 512, 7, 7)
    tensors["pre_logits.fc2.weight"] = tensors["pre_logits.fc2.weight"].reshape(3, 3, 1, 1)
    load_torch(model, write(tmp_path, tensors))
    assert_equal(values(model), expected)


def test_a_dense_layer_behind_a_flattening_reads_the_pixels_in_our_order(tmp_path):
    """Two pixels of two channels: torch's row is (c0p0, c0p1, c1p0, c1p1), ours (p0c0, p0c1, p1c0, p1c1)."""
    from kerasdl.weights.torch_file import _converted

    image = keras.Input((1, 2, 2))
    dense = layers.Dense(1)
    dense(layers.Dropout(0.5)(layers.Flatten()(image)))
    assert _converted(np.array([[1.0, 2.0, 3.0, 4.0]]), dense, "weight").ravel().tolist() == [1, 3, 2, 4]


def test_a_training_model_takes_the_file_into_its_nested_backbone(tmp_path):
    model = Classification().build(tiny_resnet(), SPEC)
    tensors, expected = torch_file(model, SE)
    load_torch(model, write(tmp_path, tensors))
    assert_equal(values(model), expected)


def test_names_of_a_model_trained_on_several_devices(tmp_path):
    model = with_head(tiny_resnet())
    tensors, expected = torch_file(model, SE)
    load_torch(model, write(tmp_path, {f"module.{name}": tensor for name, tensor in tensors.items()}))
    assert_equal(values(model), expected)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_number_types_become_the_models(dtype, tmp_path):
    model = with_head(tiny_resnet())
    tensors, expected = torch_file(model, SE)
    load_torch(model, write(tmp_path, {name: tensor.astype(dtype) for name, tensor in tensors.items()}))
    assert_equal(values(model), {name: value.astype(dtype).astype("float32") for name, value in expected.items()})


# --- what may differ ---


def test_another_number_of_classes_keeps_the_head_and_says_so(tmp_path):
    tensors, expected = torch_file(with_head(tiny_resnet(), classes=9), SE)
    model = with_head(tiny_resnet(), classes=5)
    head = {name: value for name, value in values(model).items() if name.startswith("logits")}
    report = load_torch(model, write(tmp_path, tensors))
    assert_equal(values(model), {**expected, **head})
    assert report.kept == ("logits",) and set(report.skipped) == {"fc.weight", "fc.bias"}
    assert "as they were: logits" in str(report)


def test_a_file_without_a_classifier_leaves_the_models_as_it_is(tmp_path):
    tensors, _ = torch_file(tiny_resnet(), SE)
    assert load_torch(with_head(tiny_resnet()), write(tmp_path, tensors)).kept == ("logits",)


def test_a_backbone_does_not_need_the_classifier(tmp_path):
    tensors, expected = torch_file(with_head(tiny_resnet()), SE)
    model = tiny_resnet()
    report = load_torch(model, write(tmp_path, tensors))
    assert_equal(values(model), {name: value for name, value in expected.items() if not name.startswith("logits")})
    assert set(report.skipped) == {"fc.weight", "fc.bias"} and report.kept == ()


def test_auxiliary_heads_are_named_when_the_model_has_none(tmp_path):
    tensors, expected = torch_file(with_aux_heads(), googlenet_names())
    model = with_head(googlenet((32, 32, 3)))
    report = load_torch(model, write(tmp_path, tensors))
    assert_equal(values(model), {name: value for name, value in expected.items() if not name.startswith("aux")})
    assert {name.split(".")[0] for name in report.skipped} == {"aux1", "aux2"} and len(report.skipped) == 18
    assert "mean 0.5 and std 0.5" in report.note


def test_positions_are_resampled_for_another_size(tmp_path):
    tensors, _ = torch_file(with_head(tiny_vit(16)), vit_names("timm"))
    grid = np.tile(np.linspace(0, 1, 4, dtype="float32")[:, None], (1, 4))  # from the upper to the lower edge
    tensors["pos_embed"] = np.concatenate([np.full((1, 1, 8), 9, "float32"), np.tile(grid.reshape(1, 16, 1), (1, 1, 8))], axis=1)
    model = with_head(tiny_vit(32))
    assert load_torch(model, write(tmp_path, tensors)).resized == ("positions 4x4 -> 8x8",)
    found = values(model)["positions/positions"]
    np.testing.assert_array_equal(found[:, 0], 9)  # the class token's stays
    rows = found[0, 1:, 0].reshape(8, 8)
    np.testing.assert_allclose(rows, np.tile(rows[:, :1], (1, 8)), atol=1e-6)
    assert (np.diff(rows[:, 0]) > 0).all() and rows.mean() == pytest.approx(0.5, abs=1e-5)


# --- what may not ---


def refusal(model: keras.Model, path: Path) -> str:
    """The error's text; the model is as before."""
    before = values(model)
    with pytest.raises(ValueError) as problem:
        load_torch(model, path)
    assert_equal(values(model), before)
    return str(problem.value)


def test_missing_and_left_over_tensors_are_listed_and_nothing_is_loaded(tmp_path):
    model = with_head(tiny_resnet())
    tensors, _ = torch_file(model, SE)
    del tensors["layer1.0.bn2.running_var"]
    tensors["layer9.0.conv1.weight"] = tensors.pop("layer1.0.conv1.weight")
    assert refusal(model, write(tmp_path, tensors)).splitlines() == [
        "model.safetensors does not fit the model 'resnet50'; nothing was loaded.",
        "The file has no tensor for 2 weights of the model: s1b1_a_conv/kernel, s1b1_b_bn/moving_variance.",
        "The model has no place for 1 tensors of the file: layer9.0.conv1.weight (4, 4, 1, 1).",
    ]


def test_two_tensors_for_one_weight_are_one_too_many(tmp_path):
    model = with_head(tiny_vit())
    tensors, _ = torch_file(model, vit_names("timm"))
    tensors["encoder.ln.bias"] = tensors["norm.bias"]
    assert "no place for 1 tensors of the file: norm.bias (8,)" in refusal(model, write(tmp_path, tensors))


def test_another_number_of_channels_shows_both_shapes(tmp_path):
    tensors, _ = torch_file(with_head(tiny_resnet()), SE)
    gray = with_head(resnet((1, 1), (32, 32, 1), "resnet50", width=4))
    text = refusal(gray, write(tmp_path, tensors))
    assert "conv1.weight (4, 3, 7, 7) would be (7, 7, 3, 4) and stem_conv/kernel is (7, 7, 1, 4)" in text
    assert "The file reads pictures of 3 channels, the model of 1" in text


def test_a_deeper_file_does_not_fit(tmp_path):
    tensors, _ = torch_file(with_head(resnet((1, 2), (32, 32, 3), "resnet50", width=4)), resnet_names(2, 2, "abc"))
    text = refusal(with_head(tiny_resnet()), write(tmp_path, tensors))
    assert "no place for 15 tensors" in text and "layer2.1.conv3.weight" in text


def test_positions_without_a_square_grid_are_refused(tmp_path):
    model = with_head(tiny_vit())
    tensors, _ = torch_file(model, vit_names("timm"))
    tensors["pos_embed"] = tensors["pos_embed"][:, :-1]
    assert "pos_embed (1, 16, 8) would be (1, 16, 8) and positions/positions is (1, 17, 8)" in refusal(model, write(tmp_path, tensors))


@pytest.mark.parametrize("name", ["resnet50.pth", "weights.pt", "pytorch_model.bin"])
def test_a_pickle_is_never_opened_and_the_conversion_is_told(name, tmp_path):
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    text = refusal(tiny_resnet(), tmp_path / name)
    assert text.startswith("a pickle can run any code") and "weights_only=True" in text and "save_file" in text


def test_unreadable_files_get_a_sentence(tmp_path):
    model = tiny_resnet()
    path = write(tmp_path, torch_file(model, SE)[0])
    whole = path.read_bytes()
    for damaged in (whole[:-4], whole[:100], b"", b"PK\x03\x04" + whole):
        path.write_bytes(damaged)
        assert refusal(model, path).startswith("the weight file is damaged or cut off (")
    assert "there is no such weight file. Received: " in refusal(model, tmp_path / "absent.safetensors")
    assert "come in a .safetensors file. Received: " in refusal(model, tmp_path / "model.h5")


def test_a_model_without_torch_relatives_says_so(tmp_path):
    import kerasdl

    save_file({"fc.bias": np.zeros(10, np.float32)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="torch weights exist for AlexNet, VGG, .* Received: the model 'lenet5'"):
        load_torch(kerasdl.create_model("lenet5", classes=10), tmp_path / "x.safetensors")


# --- the hub, from a cache on this disk ---

TIMM = {
    "mean": [0.4, 0.5, 0.6],
    "std": [0.1, 0.2, 0.3],
    "input_size": [3, 32, 48],
    "interpolation": "bicubic",
    "crop_pct": 0.95,
    "num_classes": 5,
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """`hub(repo, config, tensors)` puts a repository into the cache, as a download would; nothing is ever fetched."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def put(repo: str, config: dict | None, tensors: dict[str, np.ndarray]) -> None:
        commit = "0123456789abcdef0123456789abcdef01234567"
        folder = tmp_path / "hub" / f"models--{repo.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text(commit)
        (folder / "snapshots" / commit).mkdir(parents=True)
        if config is not None:
            (folder / "snapshots" / commit / "config.json").write_text(json.dumps(config))
        write(folder / "snapshots" / commit, tensors)

    return put


@pytest.mark.parametrize("config", [TIMM, {"architecture": "resnet50", "num_classes": 5, "pretrained_cfg": TIMM}], ids=["old", "new"])
def test_a_hub_name_brings_the_weights_and_what_their_pictures_must_be(hub, config):
    model = with_head(tiny_resnet())
    tensors, expected = torch_file(model, SE)
    hub("timm/resnet50.a1_in1k", config, tensors)
    found = load_pretrained(model, "timm/resnet50.a1_in1k")
    assert_equal(values(model), expected)
    assert (found.mean, found.std, found.image_size) == ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3), (32, 48))
    assert (found.interpolation, found.crop, found.classes) == ("bicubic", 0.95, 5)
    assert isinstance(found.report, Report) and "mean (0.4, 0.5, 0.6)" in str(found)


def test_the_scaling_of_a_file_is_in_its_config_or_that_of_torchvisions_weights(hub, tmp_path):
    hub("timm/resnet50.a1_in1k", TIMM, {})
    assert scaling("timm/resnet50.a1_in1k") == ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    assert scaling(str(write(tmp_path, {"conv1.weight": np.zeros(1)}))) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    google = str(write(tmp_path, {"inception3a.branch1.conv.weight": np.zeros(1)}))
    assert scaling(google) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": TIMM}))
    assert scaling(google) == ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    (tmp_path / "config.json").write_text(json.dumps(TIMM)[:-9])
    with pytest.raises(ValueError, match="the config.json of the weights is damaged"):
        scaling(google)


def test_a_repository_that_is_not_here_gets_one_sentence_while_offline(hub):
    with pytest.raises(ValueError) as problem:
        load_pretrained(tiny_resnet(), "timm/resnet50.absent")
    assert str(problem.value) == (
        "config.json is not in the local cache and the Hugging Face hub cannot be reached, or HF_HUB_OFFLINE is set. "
        "Received: 'timm/resnet50.absent'"
    )


def test_a_repository_must_say_how_its_pictures_were_scaled(hub):
    hub("someone/net", {"num_classes": 5}, {})
    with pytest.raises(ValueError, match=r"says in config.json .* Received: 'someone/net' without \['mean', 'std', 'input_size'\]"):
        load_pretrained(tiny_resnet(), "someone/net")


def test_what_the_hub_answers_becomes_a_sentence(monkeypatch):
    import httpx
    import huggingface_hub
    from huggingface_hub import errors

    response: Any = httpx.Response(404, request=httpx.Request("GET", "http://localhost"))
    model = tiny_resnet()
    answers = {
        "the hub has no such repository": errors.RepositoryNotFoundError("404", response=response),
        "asks its readers to log in": errors.GatedRepoError("403", response=response),
        "only timm's, with safetensors, are read": errors.RemoteEntryNotFoundError("404", response=response),
        r"cannot be reached, .* \(ConnectError: no route\)": httpx.ConnectError("no route"),
    }
    for sentence, answer in answers.items():

        def answering(*_, answer=answer, **__):
            raise answer

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", answering)
        with pytest.raises(ValueError, match=sentence):
            load_pretrained(model, "timm/resnet50.a1_in1k")


def test_a_bad_repository_name_gets_a_sentence(hub):
    with pytest.raises(ValueError, match="OWNER/NAME"):
        load_pretrained(tiny_resnet(), "timm/a/b")


def test_hub_names_are_told_from_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").write_text("")
    assert is_hub_name("timm/resnet50.a1_in1k") and is_hub_name("timm/vit_tiny_patch16_224.augreg_in21k")
    assert not any(map(is_hub_name, ["runs/mine", "runs/model.keras", "a/b/c", "x.safetensors", "./x", "/x/y", "runs/w.weights.h5"]))


# --- frozen stages ---


@pytest.mark.parametrize("nested", [False, True])
def test_frozen_stages_and_their_statistics_stay_while_the_rest_trains(nested):
    model = Classification().build(tiny_resnet(), SPEC) if nested else with_head(tiny_resnet())
    before = values(model)
    frozen = freeze(model, "stage1")
    ours = {name for name in before if name.startswith(("stem", "s1"))}
    assert frozen == sum(before[name].size for name in ours if "moving" not in name)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    pictures = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 3)).astype("float32")
    model.fit({"image": pictures} if nested else pictures, {"logits": np.arange(8) % 5} if nested else np.arange(8) % 5, verbose=0)
    changed = {name for name, value in values(model).items() if not np.array_equal(value, before[name])}
    assert changed == before.keys() - ours


def test_an_unknown_stage_lists_the_stages_and_freezes_nothing():
    model = with_head(tiny_resnet())
    with pytest.raises(ValueError, match=r"Received: 'stage7', stages are \['stage1', 'stage2'\]"):
        freeze(model, "stage7")
    assert all(layer.trainable for layer in model.layers)


def test_import_kerasdl_does_not_bring_the_hub():
    code = "import sys, kerasdl; print({'huggingface_hub', 'safetensors', 'keras'} & {name.split('.')[0] for name in sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
