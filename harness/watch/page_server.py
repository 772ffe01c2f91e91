"""Serve a few pages to browsers on this machine, and nothing else.

Only GET and HEAD of the given paths are answered; no file is read and no folder listed. A request
must name this machine in its Host header: otherwise a foreign page whose name is made to resolve to
this machine (DNS rebinding) could read the answers.
"""

from __future__ import annotations

import ipaddress
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple, Self

from harness.errors import InputError

_IDLE_S = 30.0
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Answer(NamedTuple):
    """The response for a path."""

    kind: str
    """Media type."""
    body: bytes
    policy: str = "default-src 'none'"
    """Content security policy."""


class PageServer(AbstractContextManager["PageServer"]):
    """HTTP server, running for the length of a ``with`` block."""

    def __init__(self, host: str, port: int, pages: Mapping[str, Callable[[], Answer]]) -> None:
        """Bind the address; requests are answered only inside the ``with`` block.

        Args:
            host: Address or name to listen on.
            port: 0 picks a free one.
            pages: Path -> function that returns its response, called from any thread.

        Raises:
            InputError: the address cannot be used.
        """
        kind = type("_Handler", (_Handler,), {"pages": dict(pages), "host": host})
        family = _Server6 if ":" in host else _Server
        try:
            self._server = family((host, port), kind)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{host}:{port}: cannot listen there: {reason}; choose another --host or --port"
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )

    @property
    def url(self) -> str:
        """Address for a browser."""
        host, port = self._server.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{shown}:{port!s}/"

    def __enter__(self) -> Self:
        """Start answering requests."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on ``host``."""
    if host == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def is_own_name(header: str | None, host: str) -> bool:
    """Whether a Host header names this machine.

    An IP address always does, since DNS rebinding needs a name. Any port is accepted, since it may
    have been forwarded.

    Args:
        header: The header; None if there is none.
        host: Address or name that the server listens on.
    """
    if not header:
        return False
    name, _, rest = header.partition("]") if header.startswith("[") else (header, "", "")
    if not rest and name.count(":") == 1:
        name = name.partition(":")[0]
    name = name.lstrip("[").lower().rstrip(".")
    if is_loopback(host):
        return is_loopback(name)
    return _address(name) is not None or name in {
        "localhost",
        host.lower(),
        socket.gethostname().lower(),
    }


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


class _Server(socketserver.ThreadingTCPServer):
    """Uses one thread per request; none of them keeps the program from ending."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    pages: Mapping[str, Callable[[], Answer]] = {}
    host = ""
    timeout = _IDLE_S
    server_version = "harness"
    sys_version = ""

    def do_GET(self) -> None:
        """Send a page."""
        self._answer(has_body=True)

    def do_HEAD(self) -> None:
        """Send the headers of a page."""
        self._answer(has_body=False)

    def log_message(self, *_: object) -> None:
        """Log nothing: the terminal belongs to whoever watches."""

    def _answer(self, *, has_body: bool) -> None:
        if not is_own_name(self.headers.get("Host"), self.host):
            self._send(HTTPStatus.FORBIDDEN, _text("wrong Host header"), has_body)
        elif self.path not in self.pages:
            self._send(HTTPStatus.NOT_FOUND, _text("no such page"), has_body)
        else:
            self._send(HTTPStatus.OK, self.pages[self.path](), has_body)

    def _send(self, status: HTTPStatus, answer: Answer, has_body: bool) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
            self.send_header("Content-Security-Policy", f"{answer.policy}; frame-ancestors 'none'")
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            self.end_headers()
            if has_body:
                self.wfile.write(answer.body)
        except (ConnectionError, TimeoutError):  # the browser has disconnected
            self.close_connection = True


def _text(text: str) -> Answer:
    return Answer("text/plain; charset=utf-8", f"{text}\n".encode())
