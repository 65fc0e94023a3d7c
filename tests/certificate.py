"""A certificate for servers of tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def pem(tmp_path: Path) -> str:
    """A key and its certificate for localhost."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    file = tmp_path / "both.pem"
    make = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run(
        ["openssl", *make.split(), "-keyout", str(file), "-out", f"{file}.cert"], check=True, capture_output=True
    )
    file.write_text(file.read_text() + Path(f"{file}.cert").read_text())
    return str(file)
