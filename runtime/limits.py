# The public name of observe/limits.py.
from .observe.limits import *  # noqa: F403
from .observe.limits import __all__ as __all__
from .observe.limits import __doc__ as __doc__
