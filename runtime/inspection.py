# The public name of tlsmap/inspection.py.
from .tlsmap.inspection import *  # noqa: F403
from .tlsmap.inspection import __all__ as __all__
from .tlsmap.inspection import __doc__ as __doc__
