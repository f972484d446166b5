"""Closes the network: any connection but one to this machine raises.

`conftest.py` calls it for the test process and puts this folder on PYTHONPATH, so that Python runs it at the start of
every process that a test starts.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

_connect, _connect_ex, _getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo
_LOCAL_NAMES = {"localhost", "ip6-localhost", "", socket.gethostname()}


class NetworkClosedError(RuntimeError):
    """A test, or what it calls, tried to leave this machine. No library catches it as a network error and retries."""


def _is_local(host: object) -> bool:
    if host is None or host in _LOCAL_NAMES:
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text in _LOCAL_NAMES
    return address.is_loopback or address.is_unspecified


def _refuse_unless_local(host: object) -> None:
    if not _is_local(host):
        raise NetworkClosedError(f"the tests are offline, and something reached for {host!r}")


def _guarded_connect(self: socket.socket, address: Any) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6):
        _refuse_unless_local(address[0])
    return _connect(self, address)


def _guarded_connect_ex(self: socket.socket, address: Any) -> int:
    if self.family in (socket.AF_INET, socket.AF_INET6):
        _refuse_unless_local(address[0])
    return _connect_ex(self, address)


def _guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
    _refuse_unless_local(host)
    return _getaddrinfo(host, *args, **kwargs)


def close_network() -> None:
    """Guards `connect`, `connect_ex` and name look-up of this process. Calling it twice does nothing more."""
    socket.socket.connect = _guarded_connect  # type: ignore[method-assign]
    socket.socket.connect_ex = _guarded_connect_ex  # type: ignore[method-assign]
    socket.getaddrinfo = _guarded_getaddrinfo


close_network()
