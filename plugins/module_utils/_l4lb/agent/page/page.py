# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status page: one file that needs no other, and a policy that lets it have none.

See https://www.w3.org/TR/CSP3/ for the policy.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from ..web.message import Request, Response

HTML, STYLE, SCRIPT = FILES = ("page.html", "page.css", "page.js")
"""Of files/page. The first has places for the others, which it names in braces."""


class Page:
    """The answer to whoever asks for the page."""

    def __init__(self, files: Mapping[str, str]) -> None:
        """files: the text of each of FILES."""
        style, script = files[STYLE], files[SCRIPT]
        html = files[HTML].replace("{style}", style).replace("{script}", script)
        self._body = html.encode()
        self._headers = {
            "Content-Security-Policy": policy(style, script),
            "Referrer-Policy": "no-referrer",
        }

    async def __call__(self, _request: Request) -> Response:
        """The same for everybody."""
        return Response("text/html; charset=utf-8", [self._body], self._headers)


def policy(style: str, script: str) -> str:
    """Nothing is let in but these, and nothing asked but where the page came from."""
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src {_source(style)}",
            f"script-src {_source(script)}",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
