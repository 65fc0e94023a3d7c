# The public name of observe/waits.py.
from .observe.waits import *  # noqa: F403
from .observe.waits import __all__ as __all__
from .observe.waits import __doc__ as __doc__
