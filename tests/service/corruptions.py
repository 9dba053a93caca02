"""Ways to spoil a bundle, functions of a seeded generator and its folder; sums are mended, so that the parsers are reached."""

from __future__ import annotations

import hashlib
import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

Spoil = Callable[[random.Random, Path], None]
NUMBERS = [0, -1, 1, 2, 7, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, -(2**63), 10**400, 1e308, -0.0, float("nan"), float("inf"), 0.5]
TEXTS = [
    "",
    "x",
    "model",
    "../..",
    "/etc/passwd",
    "\x00",
    "é",
    "\ud800",
    "CON",
    "a\\b",
    "x" * 5000,
    "int64",
    "tensor(float)",
    "batch",
    "1.0",
]
PATHS = [
    "../x",
    "/etc/passwd",
    "a//b",
    "./model.onnx",
    "con.txt",
    "MODEL.ONNX",
    "x" * 300,
    "a\\b",
    "C:x",
    "dir/",
    "",
    ".",
    "a ",
    "new\nline",
]
OPERATORS = (
    "Loop If Scan ConstantOfShape Range Expand Tile Conv Reshape Gather Resize Pad TopK Cast Softmax Gemm MatMul Einsum NonZero".split()
)
OPERATORS += "OneHot LSTM BatchNormalization QuantizeLinear MaxPool Slice Concat Split Squeeze Identity SequenceConstruct Optional".split()


# --- JSON ---


def junk(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(7 if depth < 3 else 5)
    if kind == 5:
        return [junk(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 6:
        return {rng.choice(TEXTS): junk(rng, depth + 1) for _ in range(rng.randrange(4))}
    return [None, rng.random() < 0.5, rng.choice(NUMBERS), rng.choice(TEXTS), rng.randrange(-3, 40)][kind]


def deep(rng: random.Random) -> Any:
    value: Any = 0
    for _ in range(rng.choice([20, 40, 500])):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def places(value: Any, here: tuple = ()) -> list[tuple]:
    """Every key and index of a document, by its path."""
    inner = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    return [path for key, child in inner for path in [(*here, key), *places(child, (*here, key))]]


def change_document(rng: random.Random, document: Any) -> None:
    """One to four places replaced, removed, doubled, renamed, wrapped or joined by a stranger; the top fields as often as all others."""
    for _ in range(rng.randint(1, 4)):
        paths = places(document)
        if not paths:
            return
        *above, key = rng.choice([path for path in paths if len(path) == 1] if rng.random() < 0.3 else paths)
        holder: Any = document
        for step in above:
            holder = holder[step]
        how = rng.choice(["replace", "replace", "number", "text", "remove", "double", "rename", "wrap", "add", "deep"])
        if how in ("replace", "number", "text", "deep", "wrap"):
            new = {"number": rng.choice(NUMBERS), "text": rng.choice(TEXTS), "wrap": [holder[key]]}
            holder[key] = junk(rng) if how == "replace" else deep(rng) if how == "deep" else new[how]
        elif how == "remove":
            del holder[key]
        elif how == "double" and isinstance(holder, list):
            holder.append(holder[key])
        elif how == "rename" and isinstance(holder, dict):
            holder[rng.choice(TEXTS)] = holder.pop(key)
        elif isinstance(holder, dict):
            holder[rng.choice(TEXTS)] = junk(rng)


def spoil_card(rng: random.Random, folder: Path) -> None:
    """The card's values, types and keys; README.md names its new fingerprint, as a careful forger's would."""
    card = read_card(folder)
    if rng.random() < 0.25:
        change_files(rng, card)
    else:
        change_document(rng, card)
    write_card(folder, card, rng.random() < 0.7)


def change_files(rng: random.Random, card: dict[str, Any]) -> None:
    """Paths of the files, and names of the graphs."""
    how, path = rng.randrange(4), rng.choice(PATHS)
    if how == 0:
        card["files"][path] = "0" * 64
    elif how == 1:
        name = rng.choice(list(card["files"]))
        card["files"][path] = card["files"].pop(name)
    elif how == 2:
        card["graphs"][path] = next(iter(card["graphs"].values()))
    else:
        card["graphs"] = {rng.choice([path, "a.b.onnx", "model.pkl", "sub/model.onnx"]): next(iter(card["graphs"].values()))}


def spoil_card_bytes(rng: random.Random, folder: Path) -> None:
    path = folder / "card.json"
    path.write_bytes(changed_bytes(rng, path.read_bytes()))


def spoil_words(rng: random.Random, folder: Path) -> None:
    """vocab.json of a captioner, of others the card."""
    path = folder / "vocab.json"
    if not path.exists():
        return spoil_card(rng, folder)
    words = json.loads(path.read_text())
    change_document(rng, words)
    path.write_bytes(dumped(words) if rng.random() < 0.7 else changed_bytes(rng, path.read_bytes()))
    mend(folder)


# --- bytes ---


def changed_bytes(rng: random.Random, whole: bytes) -> bytes:
    """Cut, flipped, swapped, removed, doubled, or with a number of it changed."""
    data = bytearray(whole)
    for _ in range(rng.randint(1, 5)):
        if not data:
            break
        at = rng.randrange(len(data)) if rng.random() < 0.5 else rng.randrange(min(len(data), 400))
        size = rng.choice([1, 2, 4, 16, 64, 512])
        how = rng.randrange(8)
        if how == 0:
            del data[at:]
        elif how in (1, 2):
            data[at] ^= 1 << rng.randrange(8)
        elif how == 3:
            other = rng.randrange(len(data))
            data[at : at + size], data[other : other + size] = data[other : other + size], data[at : at + size]
        elif how == 4:
            del data[at : at + size]
        elif how == 5:
            data[at:at] = data[at : at + size]
        elif how == 6:
            data[at : at + 1] = rng.choice([b"\xff", b"\x00", b"\x7f", b"\x80", b"\xff\xff\xff\xff\x0f", b"\xff" * 9 + b"\x01"])
        else:
            data[at : at + 4] = struct.pack("<I", rng.choice([0, 1, 2**31, 2**32 - 1, len(data)]))
    return bytes(data)


def spoil_graph_bytes(rng: random.Random, folder: Path) -> None:
    path = rng.choice(sorted(folder.glob("*.onnx")))
    path.write_bytes(changed_bytes(rng, path.read_bytes()))
    mend(folder)


def spoil_graph_type(rng: random.Random, folder: Path) -> None:
    """Another kind of file, or text, or nothing, under the name of a graph."""
    path = rng.choice(sorted(folder.glob("*.onnx")))
    kinds = [
        b"",
        b"PK\x03\x04" + bytes(40),
        b"\x80\x04N.",
        b"\x18\0\0\0ORTM" + bytes(64),
        b"{}",
        b"\x7fELF" + bytes(60),
        rng.randbytes(200),
    ]
    path.write_bytes(rng.choice(kinds))
    mend(folder)


# --- ONNX by its structure ---


def spoil_graph(rng: random.Random, folder: Path) -> None:
    path = rng.choice(sorted(folder.glob("*.onnx")))
    model = onnx.load(path, load_external_data=False)
    for _ in range(rng.randint(1, 3)):
        rng.choice([change_node, change_attribute, change_constant, change_value, change_header, nest, weights_elsewhere])(rng, model)
    path.write_bytes(model.SerializeToString())
    mend(folder)


def change_node(rng: random.Random, model: onnx.ModelProto) -> None:
    node = rng.choice(model.graph.node)
    how = rng.randrange(6)
    names = [name for one in model.graph.node for name in [*one.input, *one.output]] or ["x"]
    if how == 0:
        node.op_type = rng.choice([*OPERATORS, "NoSuch", ""])
    elif how == 1 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice([*names, "", "nowhere"])
    elif how == 2 and node.input:
        del node.input[rng.randrange(len(node.input)) :]
    elif how == 3:
        model.graph.node.insert(rng.randrange(len(model.graph.node)), node)
    elif how == 4:
        node.input.extend([rng.choice(names)] * rng.choice([1, 3, 2000]))
    else:
        node.domain = rng.choice(["com.microsoft", "ai.onnx.ml", "org.example", "ai.onnx"])


def change_attribute(rng: random.Random, model: onnx.ModelProto) -> None:
    nodes = [node for node in model.graph.node if node.attribute]
    if not nodes:
        return
    attribute = rng.choice(rng.choice(nodes).attribute)
    numbers = [0, -1, 1, 3, 2**31, 2**40, 2**63 - 1, -(2**63)]
    attribute.type = rng.choice([attribute.type] * 4 + [0, 1, 2, 3, 4, 5, 7, 99])  # pyright: ignore[reportAttributeAccessIssue]
    attribute.i = rng.choice(numbers)
    if attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(numbers)
        attribute.ints.extend(rng.choices(numbers, k=rng.choice([0, 1, 50])))
    if rng.random() < 0.2:
        attribute.name = rng.choice(["axis", "to", "kernel_shape", "body", "value", ""])


def change_constant(rng: random.Random, model: onnx.ModelProto) -> None:
    if not model.graph.initializer:
        return
    tensor = rng.choice(model.graph.initializer)
    how = rng.randrange(5)
    if how == 0:
        tensor.dims.append(rng.choice([0, -1, 2, 2**20, 2**40, 2**62]))
    elif how == 1 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice([0, -1, 1, 2**20, 2**40, 2**62])
    elif how == 2:
        tensor.data_type = rng.randrange(40)
    elif how == 3:
        tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]
    else:
        kind: Any = {int(TensorProto.INT64): np.int64, int(TensorProto.FLOAT): np.float32}.get(tensor.data_type)
        if kind is not None and len(tensor.raw_data) >= kind(0).nbytes:  # shapes and axes are such constants
            values = np.frombuffer(tensor.raw_data, kind).copy()
            extremes = [0, -1, 1, 2**30, 2**40, 2**62] if kind is np.int64 else [np.nan, np.inf, 1e38, 0]
            values[rng.randrange(len(values))] = rng.choice(extremes)
            tensor.raw_data = values.tobytes()


def change_value(rng: random.Random, model: onnx.ModelProto) -> None:
    value = rng.choice([*model.graph.input, *model.graph.output, *model.graph.value_info])
    kind = value.type.tensor_type
    how = rng.randrange(4)
    if how == 0:
        kind.elem_type = rng.randrange(30)
    elif how == 1 and kind.shape.dim:
        kind.shape.dim[rng.randrange(len(kind.shape.dim))].dim_value = rng.choice([0, -1, 1, 3, 2**31, 2**62])
    elif how == 2:
        kind.shape.dim.add().dim_param = rng.choice(["batch", "", "x" * 1000])
    else:
        value.name = rng.choice(["", "image", "x", "y" * 1000])


def change_header(rng: random.Random, model: onnx.ModelProto) -> None:
    how = rng.randrange(4)
    if how == 0 and model.opset_import:
        model.opset_import[0].version = rng.choice([-1, 0, 1, 5, 13, 26, 999, 2**62])
    elif how == 1:
        model.ir_version = rng.choice([-1, 0, 1, 3, 99, 2**62])
    elif how == 2:
        model.opset_import.append(helper.make_opsetid(rng.choice(["", "com.microsoft", "org.example"]), rng.choice([1, 17, 99])))
    else:
        node = helper.make_node("Self", ["a"], ["b"], domain="local")
        function = helper.make_function("local", "Self", ["a"], ["b"], [node], [helper.make_opsetid("local", 1)])
        model.functions.append(function)  # that calls itself


def nest(rng: random.Random, model: onnx.ModelProto) -> None:
    """Graphs in If nodes in graphs, or a Loop of very many turns."""
    if rng.random() < 0.3:
        turns = onnx.numpy_helper.from_array(np.array(rng.choice([0, 10, 2**62])), "turns")
        body = helper.make_graph(
            [helper.make_node("Identity", ["going"], ["on"])],
            "body",
            [helper.make_tensor_value_info("turn", TensorProto.INT64, []), helper.make_tensor_value_info("going", TensorProto.BOOL, [])],
            [helper.make_tensor_value_info("on", TensorProto.BOOL, [])],
        )
        model.graph.initializer.append(turns)
        model.graph.node.append(helper.make_node("Loop", ["turns", ""], [], body=body))
        return
    inner = helper.make_graph([], "leaf", [], [])
    for _ in range(rng.choice([1, 5, 20, 45])):
        inner = helper.make_graph([helper.make_node("If", ["c"], ["d"], then_branch=inner, else_branch=inner)], "g", [], [])
        if inner.ByteSize() > 2_000_000:
            break
    model.graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=inner, else_branch=inner))


def weights_elsewhere(rng: random.Random, model: onnx.ModelProto) -> None:
    """External data at another place: of the machine, of the process's memory, or nowhere."""
    if not model.graph.initializer:
        return
    tensor = rng.choice(model.graph.initializer)
    places = [
        "../secret.bin",
        "/etc/passwd",
        "*/_ORT_MEM_ADDR_/*",
        "card.json",
        "README.md",
        "model.onnx.data",
        "",
        "sub/../../secret.bin",
        "a\\b",
    ]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    for key, value in (
        ("location", rng.choice(places)),
        ("offset", str(rng.choice([0, -1, 2**40]))),
        ("length", str(rng.choice([0, 8, 2**40]))),
    ):
        tensor.external_data.add(key=key, value=value)


# --- sample.npz ---


def spoil_sample(rng: random.Random, folder: Path) -> None:
    path = folder / "sample.npz"
    if not path.exists():
        return spoil_graph_bytes(rng, folder)
    how = rng.randrange(5)
    if how == 0:
        path.write_bytes(changed_bytes(rng, path.read_bytes()))
    else:
        path.write_bytes(rewritten(rng, path.read_bytes(), how))
    mend(folder)


def rewritten(rng: random.Random, data: bytes, how: int) -> bytes:
    """One array of another form: spoilt bytes, a header that lies, objects to unpickle, or zeros that unfold."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    if how == 1:
        members[name] = changed_bytes(rng, members[name])
    elif how == 2:
        shape = rng.choice(["(10000000000000,)", "(-1, 5)", "(2,) * 99", "()", "(1e3,)", "(" * 300, "(1,)"])
        kind = rng.choice(["<f4", "|O", "<U9", "<f99", "V100000000", "<M8[s]"])
        members[name] = npy(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}")
    elif how == 3:
        stream = io.BytesIO()
        np.save(stream, np.array([{"a": 1}], object), allow_pickle=True)
        members[name] = stream.getvalue()
    else:
        members[rng.choice([name, "../../out.npy", "/tmp/out.npy", "model/input/x.npy"])] = bytes(rng.choice([0, 10, 30_000_000]))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for one, content in members.items():
            archive.writestr(one, content)
    return stream.getvalue()


def npy(header: str) -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(64)


# --- the folder ---


def spoil_folder(rng: random.Random, folder: Path) -> None:
    """Files missing, in excess, links, folders in the place of files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path, how = rng.choice(files), rng.randrange(7)
    if how == 0:
        path.unlink()
    elif how == 1:
        (folder / rng.choice(["more.bin", "sub"])).write_bytes(b"x")
    elif how in (2, 3):
        path.unlink()
        path.symlink_to(rng.choice(["/etc/passwd", "../secret.bin", "nowhere", path.name, str(folder / "card.json")]))
    elif how == 4:
        (folder / "link").symlink_to(rng.choice(["/", "..", ".", "examples"]))
    elif how == 5:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(b"")
        if rng.random() < 0.5:
            mend(folder)


def spoil_signature(rng: random.Random, folder: Path) -> None:
    path = folder / "bundle.sig"
    how = rng.randrange(3)
    if how == 0:
        path.write_bytes(changed_bytes(rng, path.read_bytes()))
    elif how == 1:
        document = json.loads(path.read_text())
        change_document(rng, document)
        path.write_bytes(dumped(document))
    else:
        rng.choice([spoil_card, spoil_graph_bytes, spoil_graph])(rng, folder)


KINDS: dict[str, Spoil] = {
    "card: values, types, keys": spoil_card,
    "card: bytes": spoil_card_bytes,
    "vocab.json": spoil_words,
    "graph: bytes": spoil_graph_bytes,
    "graph: another file type": spoil_graph_type,
    "graph: structure": spoil_graph,
    "sample.npz": spoil_sample,
    "files, links, folders": spoil_folder,
    "signature": spoil_signature,
}


# --- mending ---


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def read_card(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "card.json").read_text(encoding="utf-8"))


def fingerprint(card: Any) -> str:
    kept = {key: value for key, value in card.items() if key != "files"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def mend(folder: Path) -> None:
    """The card tells the sha256 of the files as they are."""
    card = read_card(folder)
    write_card(folder, card, True)


def write_card(folder: Path, card: Any, mended: bool) -> None:
    readme = folder / "README.md"
    if mended and isinstance(card, dict) and isinstance(card.get("files"), dict):
        old = fingerprint(read_card(folder))
        for name, graph in card["graphs"].items() if isinstance(card.get("graphs"), dict) else []:
            if isinstance(graph, dict) and "sha256" in graph and (folder / name).is_file():
                graph["sha256"] = digest(folder / name)
        if readme.is_file():
            readme.write_text(readme.read_text(encoding="utf-8").replace(old, fingerprint(card)), encoding="utf-8")
        for name in card["files"]:
            if is_own(folder, name):
                card["files"][name] = digest(folder / name)
    (folder / "card.json").write_bytes(dumped(card))


def is_own(folder: Path, name: str) -> bool:
    try:
        return bool(name) and not name.startswith("/") and ".." not in name and (folder / name).is_file()
    except (OSError, ValueError):
        return False


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
