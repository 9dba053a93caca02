"""The same random weights and the same normalised pictures give the logits of torchvision and of timm, within 1e-4 of the largest."""

import copy
from functools import lru_cache, partial

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.weights import load_torch

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore:::(torch|torchvision|timm).*")]
torch = pytest.importorskip("torch")
TOLERANCE = 1e-4

# our model, the peer's, (height, width)
CASES = [
    ("alexnet", "torchvision/alexnet", (224, 224)),
    ("alexnet", "torchvision/alexnet", (97, 129)),
    ("vgg11", "torchvision/vgg11", (224, 224)),
    ("vgg11", "torchvision/vgg11", (97, 129)),
    ("vgg11", "timm/vgg11", (224, 224)),
    ("vgg11_bn", "torchvision/vgg11_bn", (224, 224)),
    ("vgg11_bn", "timm/vgg11_bn", (224, 224)),
    ("googlenet", "torchvision/googlenet", (224, 224)),
    ("googlenet", "torchvision/googlenet", (225, 225)),
    ("googlenet", "torchvision/googlenet", (97, 129)),
    ("resnet18", "torchvision/resnet18", (224, 224)),
    ("resnet18", "torchvision/resnet18", (97, 129)),
    ("resnet18", "timm/resnet18", (225, 225)),
    ("resnet50", "torchvision/resnet50", (224, 224)),
    ("resnet50", "timm/resnet50", (225, 225)),
    ("se_resnet18", "timm/seresnet18", (224, 224)),
    ("se_resnet50", "timm/seresnet50", (224, 224)),
    ("se_resnet50", "timm/seresnet50", (97, 129)),
    ("densenet121", "torchvision/densenet121", (224, 224)),
    ("densenet121", "timm/densenet121", (225, 225)),
    ("densenet161", "torchvision/densenet161", (97, 129)),
    ("vit_ti16", "timm/vit_tiny_patch16_224", (224, 224)),
    ("vit_s32", "timm/vit_small_patch32_224", (224, 224)),
    ("vit_b16", "torchvision/vit_b_16", (224, 224)),
]


@lru_cache(maxsize=1)
def peer(name: str, **options):
    """A model of torchvision or timm without its published weights, to run."""
    maker, name = name.split("/")
    if name == "seresnet18":  # the paper's 64 / 16 channels; timm's own rounds them up to a multiple of 8
        from timm.layers import SEModule  # pyright: ignore[reportMissingImports]

        options = {"block_args": {"attn_layer": partial(SEModule, rd_divisor=1)}}
    if maker == "timm":
        return randomised(pytest.importorskip("timm").create_model(name, **options).eval())
    models = pytest.importorskip("torchvision").models
    options |= {"init_weights": False} if name == "googlenet" else {}
    return randomised(models.get_model(name, weights=None, **options).eval())


def randomised(net):
    """Every tensor random, so that no two can be exchanged unseen; BatchNormalization statistics near those of the data."""
    generator = torch.Generator().manual_seed(0)
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d | torch.nn.LayerNorm)]
    statistics = [module for module in norms if isinstance(module, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for name, tensor in net.named_parameters():
            fan_in = tensor[0].numel() if name.endswith("weight") else 100  # tokens, positions and biases: 0.1
            tensor.normal_(0, fan_in**-0.5, generator=generator)
        for module in norms:
            module.weight.uniform_(0.5, 1.5, generator=generator)
        for module in statistics:
            module.momentum = None  # the plain mean of what it sees
        if statistics:
            net.train()(torch.randn(4, 3, 160, 160, generator=generator))  # few pixels would make some variances tiny, and float32 coarse
        for module in statistics:
            module.running_mean += 0.1 * module.running_var.sqrt() * torch.randn(module.running_mean.shape, generator=generator)
            module.running_var *= torch.empty_like(module.running_var).uniform_(0.5, 1.5, generator=generator)
    return net.eval()


def saved(net, folder) -> str:
    safetensors = pytest.importorskip("safetensors.torch")
    path = str(folder / "peer.safetensors")
    safetensors.save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, path)
    return path


def pictures(size: tuple[int, int], count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, *size, 3)).astype("float32")


def logits(model: keras.Model, images: np.ndarray):
    return model(images, training=False)  # eager: one call is not worth a compilation


def theirs(net, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return net(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()


def difference(ours, reference: np.ndarray) -> float:
    ours = keras.ops.convert_to_numpy(ours)
    assert ours.shape == reference.shape and np.isfinite(reference).all()
    assert np.ptp(reference, axis=0).max() > 1e-3 * np.abs(reference).max()  # the pictures matter, or equality would say nothing
    return float(np.abs(ours - reference).max() / np.abs(reference).max())


@pytest.mark.parametrize(
    ("name", "peer_name", "size"), CASES, ids=lambda value: "x".join(map(str, value)) if isinstance(value, tuple) else value
)
def test_logits_are_the_peers(name, peer_name, size, tmp_path, record):
    net, images = peer(peer_name), pictures(size)
    model = kerasdl.create_model(name, image_shape=(*size, 3))
    report = load_torch(model, saved(net, tmp_path))
    assert report.kept == report.resized == () and all(skipped.startswith("aux") for skipped in report.skipped)
    found = difference(logits(model, images), theirs(net, images))
    record(name, peer_name, "x".join(map(str, size)), found)
    assert found < TOLERANCE
    keras.backend.clear_session()


def test_auxiliary_logits_are_torchvisions(tmp_path, record):
    net, images = peer("torchvision/googlenet", aux_logits=True, transform_input=False), pictures((224, 224))
    model = kerasdl.create_model("googlenet", aux=True)
    assert load_torch(model, saved(net, tmp_path)).skipped == ()
    ours, seen = logits(model, images), {}
    for aux, block in ((net.aux1, net.inception4a), (net.aux2, net.inception4d)):
        block.register_forward_hook(lambda module, inputs, output, aux=aux: seen.update({aux: aux(output).numpy()}))
    reference = {"logits": theirs(net, images), "aux1": seen[net.aux1], "aux2": seen[net.aux2]}
    for output, value in reference.items():
        found = difference(ours[output], value)
        record("googlenet", f"torchvision/googlenet {output}", "224x224", found)
        assert found < TOLERANCE


def test_googlenet_that_scales_its_input_is_ours_with_mean_and_std_of_one_half(tmp_path):
    net = peer("torchvision/googlenet", transform_input=True)
    model = kerasdl.create_model("googlenet")
    assert "mean 0.5 and std 0.5" in str(load_torch(model, saved(net, tmp_path)))
    images = np.random.default_rng(2).uniform(size=(2, 224, 224, 3)).astype("float32")
    imagenet = ((images - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).astype("float32")
    assert difference(logits(model, (images - 0.5) / 0.5), theirs(net, imagenet)) < TOLERANCE


def test_a_vit_at_another_size_is_timms_with_resampled_positions(tmp_path, record):
    timm = pytest.importorskip("timm")
    size, images = (192, 160), pictures((192, 160))
    net = peer("timm/vit_tiny_patch16_224")
    other = timm.create_model("vit_tiny_patch16_224", img_size=size).eval()
    other.load_state_dict(
        timm.models.vision_transformer.checkpoint_filter_fn(net.state_dict(), other, interpolation="bicubic", antialias=True)
    )
    model = kerasdl.create_model("vit_ti16", image_shape=(*size, 3))
    assert load_torch(model, saved(net, tmp_path)).resized == ("positions 14x14 -> 12x10",)
    found = difference(logits(model, images), theirs(other, images))
    record("vit_ti16", "timm/vit_tiny_patch16_224, resized", "192x160", found)
    assert found < TOLERANCE


def test_a_vit_without_class_token_is_timms_pooled_one(tmp_path, record):
    net, images = peer("timm/vit_tiny_patch16_224", class_token=False, global_pool="avg", fc_norm=False), pictures((224, 224))
    model = kerasdl.create_model("vit_ti16", pool="mean")
    load_torch(model, saved(net, tmp_path))
    found = difference(logits(model, images), theirs(net, images))
    record("vit_ti16", "timm/vit_tiny_patch16_224, pooled", "224x224", found)
    assert found < TOLERANCE


def test_the_advice_on_a_pickle_makes_a_file_that_loads(tmp_path, monkeypatch):
    net, images = peer("torchvision/resnet18"), pictures((64, 64))
    monkeypatch.chdir(tmp_path)
    torch.save(net.state_dict(), "resnet18.pth")
    model = kerasdl.create_model("resnet18", image_shape=(64, 64, 3))
    with pytest.raises(ValueError) as problem:
        load_torch(model, "resnet18.pth")
    exec(str(problem.value).split("trust it: ")[1].split(". Received")[0], {})
    load_torch(model, "resnet18.safetensors")
    assert difference(logits(model, images), theirs(net, images)) < TOLERANCE


def test_half_precision_files_load_as_their_rounded_values(tmp_path):
    for dtype in (torch.float16, torch.bfloat16):
        net = copy.deepcopy(peer("torchvision/resnet18")).to(dtype)
        model = kerasdl.create_model("resnet18", image_shape=(64, 64, 3))
        load_torch(model, saved(net, tmp_path))
        np.testing.assert_array_equal(model.get_layer("logits").kernel, net.fc.weight.detach().float().numpy().T)
