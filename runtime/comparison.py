# The public name of tlsmap/comparison.py.
from .tlsmap.comparison import *  # noqa: F403
from .tlsmap.comparison import __all__ as __all__
from .tlsmap.comparison import __doc__ as __doc__
