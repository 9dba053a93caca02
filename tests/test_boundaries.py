"""Who may import whom, read from the source: the folders stay apart as the README says they do."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PURE = ("models", "layers", "tasks", "losses", "metrics", "recipes")  # Keras 3 on any backend
HEAVY = ("tensorflow", "keras", "tensorflow_datasets", "sklearn", "matplotlib", "tf2onnx", "onnx", "onnxruntime")


def sources(part: str) -> list[Path]:
    """The files of `kerasdl/models` or `kerasdl/losses`, a folder or a module, as the part has grown."""
    return sorted((ROOT / part).rglob("*.py")) + [path for path in [ROOT / f"{part}.py"] if path.exists()]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_by(node: ast.AST, path: Path) -> list[str]:
    """Full names of what an import statement brings in; `from a import b` gives a.b, for b may be a module."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    package = module_name(path).split(".") if path.name == "__init__.py" else module_name(path).split(".")[:-1]
    base = package[: len(package) - node.level + 1] if node.level else []
    base = ".".join([*base, *filter(None, [node.module])])
    return [base, *(f"{base}.{alias.name}" for alias in node.names)]


def by_string(node: ast.AST) -> list[str]:
    """import_module("x") and __import__("x") are imports too."""
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in ("import_module", "__import__"):
            return [node.args[0].value]
    return []


def walk_top(tree: ast.AST):
    """What runs when the module is imported: everything outside function bodies and `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from walk_top(node)


def imports(path: Path, walk=ast.walk) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return {name for node in walk(tree) for name in [*imported_by(node, path), *by_string(node)]}


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def offences(parts, rule, walk=ast.walk) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for part in parts
        for path in sources(part)
        for name in sorted(imports(path, walk))
        if rule(name)
    ]


def test_the_reader_of_imports_sees_every_form_of_import(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    path = tmp_path / "kerasdl" / "models" / "x.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import a.b\nfrom c import d\nfrom .. import data\nfrom ..tasks import y\ndef f():\n    import e\n    import_module('g')\n"
    )
    assert imports(path) == {"a.b", "c", "c.d", "kerasdl", "kerasdl.data", "kerasdl.tasks", "kerasdl.tasks.y", "e", "g"}
    assert {"e", "g"}.isdisjoint(imports(path, walk_top))


def test_nothing_imports_export():
    assert offences(["kerasdl", "apps"], lambda name: within(name, "export")) == []


def test_only_export_imports_apps_and_of_it_only_the_runtime():
    assert offences(["kerasdl"], lambda name: within(name, "apps")) == []
    assert offences(["export"], lambda name: within(name, "apps") and name != "apps" and not within(name, "apps.runtime")) == []


def test_apps_import_neither_the_library_nor_a_training_framework():
    assert offences(["apps"], lambda name: within(name, "kerasdl", "tensorflow", "keras", "tf2onnx", "onnx")) == []


def test_the_runtime_needs_only_numpy_pillow_and_onnxruntime():
    ours = {*sys.stdlib_module_names, "numpy", "PIL", "onnxruntime", "apps"}
    assert offences(["apps/runtime"], lambda name: name.split(".")[0] not in {*ours, "cryptography"}) == []
    assert offences(["apps/runtime"], lambda name: within(name, "cryptography"), walk_top) == []  # asked for only where a key is given
    assert offences(["apps/runtime"], lambda name: within(name, "apps") and name != "apps" and not within(name, "apps.runtime")) == []


def test_models_and_layers_know_neither_tasks_nor_data():
    assert offences(["kerasdl/models", "kerasdl/layers"], lambda name: within(name, "kerasdl.tasks", "kerasdl.data")) == []


@pytest.mark.parametrize("part", PURE)
def test_the_part_is_pure_keras(part):
    assert offences([f"kerasdl/{part}"], lambda name: within(name, "tensorflow", "tensorflow_datasets", "jax", "torch")) == []


def test_tensorflow_is_imported_inside_functions_only():
    heavy = ("tensorflow", "tensorflow_datasets")
    assert offences(["kerasdl"], lambda name: within(name, *heavy), walk_top) == []


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_kerasdl_loads_nothing_heavy():
    loaded = run_python("import sys, kerasdl; print(*sorted({name.split('.')[0] for name in sys.modules}))").split()
    assert set(loaded).isdisjoint({*HEAVY, "numpy", "PIL"})


def test_every_module_of_apps_imports_where_the_training_side_does_not_exist():
    names = [module_name(path) for path in sources("apps") if path.name != "__main__.py"]
    assert names
    run_python(f"""
import importlib, sys
for absent in ("tensorflow", "keras", "kerasdl", "export", "tf2onnx", "onnx"):
    sys.modules[absent] = None
for name in {names}:
    importlib.import_module(name)
""")


def test_the_pure_parts_import_and_train_on_jax_where_tensorflow_does_not_exist():
    names = [module_name(path) for part in PURE for path in sources(f"kerasdl/{part}")]
    run_python(f"""
import importlib, os, sys
os.environ["KERAS_BACKEND"] = "jax"
for absent in ("tensorflow", "tensorflow_datasets"):
    sys.modules[absent] = None
for name in {names}:
    importlib.import_module(name)

import keras, kerasdl, numpy as np
model = kerasdl.create_model("lenet5", classes=10, image_shape=(32, 32, 1))
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
history = model.fit(np.zeros((8, 32, 32, 1), "float32"), np.arange(8), epochs=1, verbose=0)
assert np.isfinite(history.history["loss"]).all()
""")
