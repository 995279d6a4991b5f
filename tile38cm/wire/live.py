"""
Both directions of a live connection, between a client's protocol and RESP.

What a client says is passed on by whole requests, so that one which announces
10^12 bytes makes neither this program nor Tile38 wait for them.
"""

from __future__ import annotations

from typing import NamedTuple

from tile38cm.wire.forms import RESP, Form, WebSocketForm
from tile38cm.wire.replies import ReplyParser
from tile38cm.wire.requests import Request, RequestParser
from tile38cm.wire.websocket import BadFrame, FrameParser, Opcode, frame


class Said(NamedTuple):
    """What becomes of a client's bytes: some for the server, some for the client, or the end of both."""

    server: bytes = b""
    client: bytes = b""
    over: bool = False


class Talk:
    """
    One client that speaks with its server.

    @param requests: the client's parser, with what it has not given out yet.
    @param fence: the live command was a search.
    """

    def __init__(self, form: Form, requests: RequestParser, fence: bool) -> None:
        self._form = form
        self._first_of_fence = fence
        self._requests = requests
        self._replies = ReplyParser()
        self._frames: FrameParser | None = None
        if isinstance(form, WebSocketForm):
            self._frames = FrameParser()
            self._frames.feed(requests.rest())

    def told(self, data: bytes) -> bytes:
        """
        What the server tells, as the client wants it; its first message is the first reply.

        @raise BadReply: the server does not speak RESP.
        """
        if self._form is RESP:
            return data
        self._replies.feed(data)
        whole = b""
        while (message := self._replies.next()) is not None:
            whole += self._form.encode_live(message, self._first_of_fence)
            self._first_of_fence = False
        return whole

    def said(self, data: bytes) -> Said:
        """What the client says; nothing may be said any more after the end."""
        return self._request(data) if self._frames is None else self._frame(self._frames, data)

    def _request(self, data: bytes) -> Said:
        if data:
            self._requests.feed(data)
        server = b""
        while (event := self._requests.next()) is not None:
            if not isinstance(event, Request) or event.form.once:
                return Said(server, over=True)
            server += event.raw
        return Said(server)

    def _frame(self, frames: FrameParser, data: bytes) -> Said:
        """Nothing that a client says has a meaning but that it is there, or leaves."""
        frames.feed(data)
        client = b""
        try:
            while (came := frames.next()) is not None:
                if came.opcode == Opcode.PING:
                    client += frame(came.payload[:125], Opcode.PONG)
                elif came.opcode == Opcode.CLOSE:
                    return Said(b"", client + frame(came.payload[:2], Opcode.CLOSE), over=True)
        except BadFrame:
            return Said(b"", client, over=True)
        return Said(b"", client)
