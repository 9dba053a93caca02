"""A serving model becomes a SavedModel and an ONNX graph.

The ONNX graph comes from tf2onnx's `from_function` on a function of ours, because only there are the names of inputs and
outputs, `training=False` and operator handlers in our hands (`model.export(format="onnx")` leaks training mode and names the
output `Identity:0`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.finishing import finish, simplify
from export.gates import Contract, ExportRefused, check_supported, first_line, nodes_of

if TYPE_CHECKING:
    import keras
    import onnx

OPSET = 17  # what every runtime reads
OPSETS = range(17, 27)  # Gelu is one operator from 20 on; OPSETS_HERE
CONVERTED = 17  # written by tf2onnx; it ends at 18, where GlobalAveragePool becomes a ReduceMean. onnx converts to what is above
LARGE = 1024  # elements; weights of two dimensions and more from this size on do not go through the converter


def float32_twin(model: keras.Model) -> keras.Model:
    """The same model computing in float32: itself when it already does, else a copy with the same weights."""
    if not any(layer.compute_dtype in ("float16", "bfloat16") for layer in model._flatten_layers()):
        return model
    try:
        twin = type(model).from_config(in_float32(model.get_config()))
        twin.set_weights(model.get_weights())
    except Exception as error:
        raise ExportRefused(f"a mixed-precision model must be rebuildable from its config in float32. Received: {error}") from error
    return twin


def in_float32(config: Any) -> Any:
    """The config with every half-precision policy and dtype replaced."""
    if isinstance(config, dict):
        return {key: in_float32(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(in_float32(value) for value in config)
    return "float32" if config in ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16") else config


def signature(model: keras.Model) -> list[Any]:
    """The named TensorSpecs of a serving model's inputs."""
    import tensorflow as tf

    return [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in model.inputs]


def serving_function(model: keras.Model) -> Any:
    """A tf.function named arguments -> dict of named outputs, in inference mode."""
    import tensorflow as tf

    names = [tensor.name for tensor in model.inputs]

    def serve(*tensors):
        feeds = dict(zip(names, tensors, strict=True))
        return model(feeds if isinstance(model.input, dict) else list(tensors) if len(names) > 1 else tensors[0], training=False)

    return tf.function(serve, input_signature=signature(model), jit_compile=False, autograph=False)


def to_saved_model(graphs: dict[str, keras.Model], folder: Path) -> None:
    """Write one SavedModel with a signature and a method per graph; the first is serving_default too.

    Straight through `tf.saved_model.save`: keras.export.ExportArchive stores every weight twice.
    """
    import tensorflow as tf

    module: Any = tf.Module()
    module.weights = [variable.value for model in graphs.values() for variable in model.variables]
    signatures = {}
    for name, model in graphs.items():
        signatures[name] = serving_function(model).get_concrete_function()
        setattr(module, name, signatures[name])  # the function itself would be traced and stored a second time
    signatures["serving_default"] = next(iter(signatures.values()))
    with quiet("absl", "tensorflow"):
        tf.saved_model.save(module, str(folder), signatures=signatures)


def to_onnx(model: keras.Model, outputs: Sequence[str] = (), opset: int = OPSET) -> onnx.ModelProto:
    """The ONNX graph of a serving model; `outputs` are the names that must come first.

    tf2onnx copies its graph a dozen times a round, constants and all: it is given the graph with the large weights as inputs, which get
    their values afterwards. For ResNet-50 that is 1.6 GB in place of 6.9 and an eighth of the time.
    """
    if opset not in OPSETS:
        raise ExportRefused(f"opset must be {OPSETS.start} to {OPSETS.stop - 1}. Received: {opset}")
    return finished(*converted(model), model, outputs, opset)


def converted(model: keras.Model) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """What tf2onnx writes, with the weights that are still inputs of it by their names."""
    import tf2onnx

    function, weights = with_weights_as_inputs(model)
    with complaints_of("tf2onnx") as complaints, plain_grouped_convolution():
        try:
            proto, _ = tf2onnx.convert.from_function(
                function, function.input_signature, opset=CONVERTED, custom_op_handlers={"Erfc": (erfc, [])}
            )
        except Exception as error:  # TensorFlow's tracing and tf2onnx raise whatever they please
            raise ExportRefused(f"the model must convert to ONNX. Received: {type(error).__name__}: {first_line(error)}") from error
    check_supported(complaints)
    return proto, weights


def finished(
    proto: onnx.ModelProto, weights: dict[str, Any], model: keras.Model, outputs: Sequence[str] = (), opset: int = OPSET
) -> onnx.ModelProto:
    """The same graph at an operator set, with its weights, short and in order; empties `proto`."""
    proto = simplify(at_opset(tidy(proto, model, outputs), opset))
    give_weights(proto, weights)
    layers = [layer.name for layer in model._flatten_layers() if not hasattr(layer, "layers")]  # a model inside is no layer
    proto = tidy(finish(proto, layers), model, outputs)
    proto.ir_version = ir_version(proto)
    return proto


def ir_version(proto: onnx.ModelProto) -> int:
    """The least that the operator set may be written in, so that the most runtimes read it."""
    import onnx

    return onnx.helper.find_min_ir_version_for(list(proto.opset_import), ignore_unknown=True)


def with_weights_as_inputs(model: keras.Model) -> tuple[Any, dict[str, Any]]:
    """A tf.function of the serving model that takes its kernels and tables as further inputs, and these by their names.

    Vectors stay constants: the converter needs their values to move transposes past them.
    """
    import keras
    import tensorflow as tf

    serve: Any = serving_function(model).python_function
    given = signature(model)
    weights = {f"kerasdl_weight_{i}": variable for i, variable in enumerate(large_weights(model))}

    def whole(*tensors):
        mapping = list(zip(weights.values(), tensors[len(given) :], strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return serve(*tensors[: len(given)])

    specs = [tf.TensorSpec(variable.shape, variable.dtype, name=name) for name, variable in weights.items()]
    return tf.function(whole, input_signature=given + specs, jit_compile=False, autograph=False), weights


def large_weights(model: keras.Model) -> list[Any]:
    return [variable for variable in model.variables if len(variable.shape) > 1 and np.prod(variable.shape) >= LARGE]


def give_weights(proto: onnx.ModelProto, weights: dict[str, Any]) -> None:
    """Turn the inputs that stand for weights into constants."""
    import onnx

    taken = {name for node in nodes_of(proto) for name in node.input}
    kept = [type(value).FromString(value.SerializeToString()) for value in proto.graph.input if value.name not in weights]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    for name, variable in weights.items():
        if name in taken:
            proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(variable.numpy()), name))


def at_opset(proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The same graph at an operator set beyond what tf2onnx can write."""
    import onnx

    if opset <= CONVERTED:
        return proto
    try:
        converted = onnx.version_converter.convert_version(proto, opset)
    except Exception as error:
        raise ExportRefused(f"the graph must convert to opset {opset}. Received: {first_line(error)}") from error
    converted.ir_version = ir_version(converted)
    return converted


@contextmanager
def plain_grouped_convolution() -> Iterator[None]:
    """Trace grouped convolutions as one Conv2D: Keras hides them in a function compiled by XLA, which no converter looks into."""
    import tensorflow as tf
    from keras.src.backend.tensorflow import nn

    original = nn.conv

    def conv(inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
        if data_format == "channels_first" or inputs.shape[-1] == kernel.shape[-2]:
            return original(inputs, kernel, strides, padding, data_format, dilation_rate)
        options: Any = {"strides": strides, "padding": padding.upper(), "dilations": dilation_rate}
        return tf.nn.convolution(inputs, tf.convert_to_tensor(kernel), **options)

    nn.conv = conv
    try:
        yield
    finally:
        nn.conv = original


def erfc(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Erfc(x) = 1 - Erf(x): lets exact GELU through tf2onnx."""
    x, out = node.input[0], node.output[0]
    shape, dtype = ctx.get_shape(out), ctx.get_dtype(out)
    ctx.remove_node(node.name)
    erf = ctx.make_node("Erf", [x]).output[0]
    one = ctx.make_const(name + "_one", np.array(1, np.float32)).output[0]
    ctx.make_node("Sub", [one, erf], outputs=[out], shapes=[shape], dtypes=[dtype], name=name)


def tidy(proto: onnx.ModelProto, model: keras.Model, outputs: Sequence[str] = ()) -> onnx.ModelProto:
    """Name the dimensions, put the main output first, drop stale shapes and the operator sets that nothing uses."""
    inputs, results = contract(model, outputs)
    for value in [*proto.graph.input, *proto.graph.output]:
        _, shape = {**inputs, **results}.get(value.name, (None, None))
        if shape is not None and len(value.type.tensor_type.shape.dim) in (0, len(shape)):
            name_dimensions(value, shape)
    order = list(results)
    ranked = sorted(proto.graph.output, key=lambda value: order.index(value.name) if value.name in order else len(order))
    copies = [type(value).FromString(value.SerializeToString()) for value in ranked]
    del proto.graph.output[:]
    proto.graph.output.extend(copies)
    used = {node.domain for node in nodes_of(proto)}
    for entry in [entry for entry in proto.opset_import if entry.domain and entry.domain not in used]:
        proto.opset_import.remove(entry)
    proto.producer_name, proto.doc_string, proto.graph.doc_string = "kerasdl", "", ""  # tf2onnx counts what it converted
    proto.graph.name = "model"
    return proto


def name_dimensions(value: onnx.ValueInfoProto, shape: Sequence[int | str]) -> None:
    dims = value.type.tensor_type.shape
    dims.ClearField("dim")
    for size in shape:
        dim = dims.dim.add()
        if isinstance(size, str):
            dim.dim_param = size
        else:
            dim.dim_value = size


def contract(model: keras.Model, outputs: Sequence[str] = ()) -> tuple[Contract, Contract]:
    """What the graph of a serving model must take and give: two maps from a name to (dtype, shape), the main output first."""
    if not isinstance(model.output, dict):
        raise ExportRefused(f"a serving model must give a dict of named outputs. Received: {type(model.output).__name__}")
    given = {name: facts(tensor, "present") for name, tensor in model.output.items()}
    missing = [name for name in outputs if name not in given]
    if missing:
        raise ExportRefused(f"the serving model must give {', '.join(outputs)}. Received: {', '.join(given)}")
    order = [*outputs, *(name for name in sorted(given) if name not in outputs)]
    return {tensor.name: facts(tensor) for tensor in model.inputs}, {name: given[name] for name in order}


def facts(tensor: Any, grown: str = "past") -> tuple[str, list[int | str]]:
    """(dtype, shape) of a symbolic Keras tensor; a dynamic first dimension is batch, one behind the depth (a state's) is called `grown`."""
    names = ["batch", "height", "width", "depth", grown]
    if tensor.name == "image" and isinstance(tensor.shape[1], int):  # channels first
        names = ["batch", "channels", "height", "width"]
    shape = [names[min(i, 4)] if size is None else size for i, size in enumerate(tensor.shape)]
    return tensor.dtype, shape


def add_metadata(proto: onnx.ModelProto, entries: dict[str, str]) -> None:
    """Write the key-value pairs that `session.get_modelmeta().custom_metadata_map` gives back."""
    for key, value in entries.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value


@contextmanager
def full_precision() -> Iterator[None]:
    """No TensorFloat-32 for a while: on a GPU it would put Keras, the reference, 1e-3 away from itself."""
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


@contextmanager
def complaints_of(logger_name: str) -> Iterator[list[str]]:
    """The errors that a library logs instead of raising, kept off the screen."""
    lines = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger(logger_name)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Raise the level of chatty loggers for a while."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
