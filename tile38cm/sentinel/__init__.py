"""Redis Sentinel's questions, answered: how today's clients find the leader's W.

L{tile38cm.sentinel.scene}
    What there is to say of the cluster, as a frozen value.
L{tile38cm.sentinel.encoding}
    Replies, as RESP2 or RESP3 has them.
L{tile38cm.sentinel.answers}
    Each command's reply to a scene; pure.
L{tile38cm.sentinel.listener}
    The port: connections, subscriptions, and what is published when another node leads.

Nothing here decides anything: a cluster is operated by C{tile38ctl}, and what would
change it (C{SENTINEL FAILOVER}, C{SET}, C{MONITOR}, ...) is refused.
"""
