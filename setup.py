"""Only what pyproject.toml can't say: the C core is a cffi module."""

from setuptools import setup

setup(cffi_modules=["runtime/native/build.py:ffi"])
