# The public name of observe/trace.py.
from .observe.trace import *  # noqa: F403
from .observe.trace import __all__ as __all__
from .observe.trace import __doc__ as __doc__
