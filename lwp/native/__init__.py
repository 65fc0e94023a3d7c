"""The C of the tools, beside the core's: importing this module loads the second shared object, or raises ImportError.

What the C adds here is listed in __init__.pyi.
"""

import sys

from lwp_runtime import load

load("native")  # first: the core says what obstacle there is before the dynamic linker would

from ._tools import attach  # noqa: E402

attach(sys.modules[__name__])
