"""The tools' C."""

from ..core import native

globals().update({name: value for name, value in vars(native).items() if not name.startswith("__")})
