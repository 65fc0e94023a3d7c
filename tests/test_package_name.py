"""The package under whatever name it is loaded."""

from __future__ import annotations

import ast
from pathlib import Path

import runtime


def test_the_package_imports_itself_relatively() -> None:
    # "runtime" may be a module of the program's.
    wrong = []
    for path in Path(runtime.__file__).parent.rglob("*.py*"):
        if path.suffix not in (".py", ".pyi"):
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            wrong += [f"{path}:{node.lineno}" for name in names if name.partition(".")[0] == "runtime"]
    assert not wrong
