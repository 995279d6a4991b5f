"""
The way of nearly all requests: each the only one of its client that is under way.

What came in one turn of the reactor is gone through in one loop that does what
L{Client.dataReceived} and all behind it would do, where nothing is in the way;
else it leaves it to them.  The less it touches the better: with some hundred
clients, and a server that works on the same processor, hardly anything that a
request needs is in a cache when it comes, and then each step costs four times
what it costs by itself.  So both a request and its reply get by with the
client's L{Line}: neither the connection nor the conversation is looked at, and
the socket is known by its number.
"""

from __future__ import annotations

from collections.abc import Iterable

from tile38cm.proxy.exchange import Packet
from tile38cm.proxy.line import Line
from tile38cm.wire.bundles import plain_request


def take(arrivals: Iterable[tuple[Line, bytes]]) -> None:
    """What clients sent, each known by its line, of each what came at once."""
    for line, data in arrivals:
        lane = line.express
        if (
            lane is None
            or line.queue
            or not lane.usable
            or (known := plain_request(data)) is None
            or known[2] != line.weight
            or (known[0] and not line.side.writes)
        ):
            line.port.dataReceived(data)
            continue
        leader, heavy, weight = known
        side = line.side
        packet = Packet(data, leader, side.clock.seconds(), line, line.mode)
        if weight:
            packet.weight, packet.heavy = weight, heavy
            line.heavy = heavy
        line.heard = True
        line.queue.append(packet)
        line.asked = 1
        line.kept = len(data)
        side.in_flight += 1
        side.counters.proxied += 1
        lane.submit(packet)
