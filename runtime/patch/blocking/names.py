"""Names of hosts: the C library looks them up in calls that show no descriptor, so helpers do them."""

from __future__ import annotations

import _socket
import socket
from typing import Any

from .stand_in import stands_in_for
from .waiting import by_helper, on_helper


def is_numeric(family: int, address: Any) -> bool:
    try:
        socket.inet_pton(family, address[0])
    except (OSError, TypeError, ValueError):
        return False
    return True


@stands_in_for(_socket.getaddrinfo)  # socket.getaddrinfo() calls it
def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
    if host is None or any(is_numeric(family, (host,)) for family in (socket.AF_INET, socket.AF_INET6)):
        return _stock_getaddrinfo(host, port, *args, **kwargs)  # answered without a name server
    return on_helper(_stock_getaddrinfo, host, port, *args, **kwargs)


_stock_getaddrinfo = _socket.getaddrinfo
for _stock in (socket.getnameinfo, socket.gethostbyname, socket.gethostbyname_ex, socket.gethostbyaddr):
    stands_in_for(_stock)(by_helper(_stock))
