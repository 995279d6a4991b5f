"""What goes over Tile38's port: bytes in, events out; no transport, no clock.

L{tile38cm.wire.resp}
    Encodes requests, replies and errors.
L{tile38cm.wire.fed}
    Bytes that came and have not been given out.
L{tile38cm.wire.requests}
    Finds requests in what a client sends, as Tile38 does it, within limits.
L{tile38cm.wire.native}, L{tile38cm.wire.http}, L{tile38cm.wire.websocket}
    What of them is not RESP.
L{tile38cm.wire.forms}
    In which protocol a request came, and so how its reply is written.
L{tile38cm.wire.status}
    What the manager adds to C{SERVER} and its like.
L{tile38cm.wire.resp3}, L{tile38cm.wire.catalogue}
    What clients of Redis want and Tile38 does not speak.
L{tile38cm.wire.live}
    Both directions of a live connection.
L{tile38cm.wire.greeting}
    C{HELLO}, which Tile38 does not know and clients begin with.
L{tile38cm.wire.bundles}
    Finds packets of plain requests that can be sent on as they are.
L{tile38cm.wire.weights}
    How much a request may hold up others on a connection that they share.
L{tile38cm.wire.replies}
    Finds whole replies, byte for byte, in what a server sends.
L{tile38cm.wire.commands}
    The one table of commands: class, keys, who may answer it, what happens twice.
L{tile38cm.wire.hazards}
    Requests that would end a server.

Client bytes: C{RequestParser.feed -> next -> Request(args, raw, form) -> classify(args) -> Command}.
Server bytes: C{ReplyParser.feed -> next -> bytes of one reply}.
"""
