"""What others see of a node.

 - L{tile38cm.operate.registration}: W and R in Consul's catalog, for as long as the node runs
 - L{tile38cm.operate.metrics}: its figures, sent to a dogstatsd agent

L{tile38cm.operate.ctl} is C{tile38ctl}, the operator's command line.

Both of the above only look at the node: neither decides anything, and a node without them serves the same.
"""
