"""The C core, calibrated: importing this module finds out the running glibc's layout or raises ImportError.

What python/module.c adds here is listed in __init__.pyi.
"""

import sys

from ._load import load

load(sys.modules[__name__])


def __getattr__(name):  # DEV
    import lwp.native

    return getattr(lwp.native, name)
