"""An environment where the package is installed from a wheel."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest
from shared_by_workers import made_once
from this_machine import TREE


@dataclass(frozen=True)
class Environment:
    """A virtual environment that finds the packages of this one, except ours."""

    python: Path

    @classmethod
    def make(cls, folder: Path) -> Environment:
        venv.create(folder, symlinks=True)
        site = sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
        # Last of all, as the system's packages are after a user's; their own .pth files are not looked at.
        Path(site, "zz_outer.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
        return cls(folder / "bin" / "python")

    def run(self, *arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Its python with these arguments; of the variables that change what Python does, only those given."""
        return self.execute(str(self.python), *arguments, cwd=cwd, **variables)

    def execute(self, *command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "LWP_"))}
        clean["PYTEST_ADDOPTS"] = "-p no:asyncio"  # pytest-asyncio warns at each start of an option that is not set
        return subprocess.run(
            command, cwd=cwd, env={**clean, **variables}, capture_output=True, text=True, timeout=100, check=False
        )


PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """One that has our package from a wheel, LWP_WHEEL or one that is built here; nothing is downloaded."""
    for needed in ("pip", "setuptools"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"without {needed} no wheel can be built")
    if int(importlib.metadata.version("setuptools").partition(".")[0]) < 77:
        pytest.skip("setuptools older than 77 can't build a wheel alone")
    return Environment(made_once(tmp_path_factory, "installed", _install) / "venv" / "bin" / "python")


def _install(folder: Path) -> None:
    environment = Environment.make(folder / "venv")
    wheel = os.environ.get("LWP_WHEEL") or _build(folder)
    # ignore-installed: the environment finds this one's packages, and pip would be content with ours among them.
    install = ["--python", str(environment.python), "install", "--no-deps", "--no-index", "--ignore-installed"]
    subprocess.run([*PIP, *install, wheel], check=True, timeout=100)


def _build(folder: Path) -> str:
    source, wheels = folder / "source", folder / "wheels"
    (source / "tools").mkdir(parents=True)
    names = ("pyproject.toml", "setup.py", "tools/build_backend.py", "README.md", "LICENSE")
    for name in (*names, "lwp_gunicorn.py", "lwp_pytest.py", "lwp_runtime.py"):
        shutil.copy(TREE / name, source / name)
    for package in ("lwp", "runtime"):
        shutil.copytree(TREE / package, source / package, ignore=shutil.ignore_patterns("*.so", "*.o", "__pycache__"))
    wheel = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(wheels), str(source)]
    subprocess.run([*PIP, *wheel], check=True, timeout=100)
    return str(next(wheels.iterdir()))
