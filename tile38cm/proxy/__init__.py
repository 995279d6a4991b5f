"""W and R, the two ports that applications use.

L{tile38cm.proxy.listener}
    The factory behind a port: who is let in, and for what.
L{tile38cm.proxy.client}
    One connection: bytes to requests, replies to bytes.
L{tile38cm.proxy.express}
    All clients' short requests of one turn, where nothing is in their way.
L{tile38cm.proxy.session}
    Who a client is, and the commands that concern nothing else: answered without a server.
L{tile38cm.proxy.badge}
    What a client says of itself: C{CLIENT}.
L{tile38cm.proxy.conversation}
    One client's requests in order: held, sent, released, judged when a server is lost.
L{tile38cm.proxy.port}
    Where the replies of a conversation go.
L{tile38cm.proxy.exchange}
    One request with its reply, and what must be true before the reply is released.
L{tile38cm.proxy.hold}
    What a client has asked and nobody was sent yet, paid for from the node's budget.
L{tile38cm.proxy.line}
    A client's requests that have no answer: what they cost, what becomes of them when a server is lost.
L{tile38cm.proxy.passage}
    Which of a client's requests go now, and on which connection.
L{tile38cm.proxy.link}
    The way to a client's server: chosen, connected, left.
L{tile38cm.proxy.lanes}
    Connections to servers that clients share.
L{tile38cm.proxy.preparation}
    What a fresh connection to a server is asked first.
L{tile38cm.proxy.upstream}
    One connection to a server: prepared, written to, its replies told apart.
L{tile38cm.proxy.coverage}
    Answered batches until the sync set has acknowledged them.
L{tile38cm.proxy.flow}
    Large replies while they come, and L{tile38cm.proxy.question}: what this node itself asks a side.
L{tile38cm.proxy.sides}
    What makes W and R different, who waits there, draining.
L{tile38cm.proxy.live}
    Fences and subscriptions: two connections become a pipe.
L{tile38cm.proxy.errands}
    Writes that came to R, in the name of one client.
L{tile38cm.proxy.beside}
    Questions about this node itself.
L{tile38cm.proxy.limits}
    Limits, counters, the budget for what is held.
L{tile38cm.proxy.partners}
    What all this needs of gate, routes and the nodes' own protocol.

A request's way::

    express: one short plain request, nothing else under way? -> upstream at once
    client -> wire.bundles: a packet of plain requests? nothing in its way? -> upstream at once
           -> else wire.requests -> wire.commands: refused? answered here
           -> conversation: held until there is a server and, on a leader's W, an open gate
           -> link -> a lane, or an upstream of its own -> at the end of the turn: gate, one send -> server
    client <- conversation: in order, when gate and acknowledgements allow <- wire.replies <- upstream
"""
