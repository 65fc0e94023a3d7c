"""The tools' C: importing this module loads the second shared object, beside the core's, or raises ImportError.

What lwp/native/module.c adds here is listed in __init__.pyi.
"""

import sys

from ..core import _core  # first: the core says what is in its way before the dynamic linker would

try:
    from ._tools import attach

    attach(sys.modules[__name__])
except ImportError as error:
    raise ImportError(
        f"the tools' C has not been built with this core, {_core.__file__}: "
        f"`{sys.executable} -m pip install .` in the source tree, or `-e .`, builds both ({error})"
    ) from error
