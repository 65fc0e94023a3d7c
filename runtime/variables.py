# The public name of tlsmap/variables.py.
from .tlsmap.variables import *  # noqa: F403
from .tlsmap.variables import __all__ as __all__
from .tlsmap.variables import __doc__ as __doc__
