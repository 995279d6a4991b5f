"""High availability for Tile38: one manager beside each server.

From the top down; imports go down only, C{tests/unit/test_layers.py} has the table:

 - L{tile38cm.tap}: the command line of C{twist}; L{tile38cm.dev}: a cluster here, a Consul in memory
 - L{tile38cm.service}: one node's life, started and stopped in order
 - L{tile38cm.claim}: no other manager here; L{tile38cm.antecedents}: what came before this start
 - L{tile38cm.node}: its parts, built and joined; L{tile38cm.duties}: what the election asks for, done;
   L{tile38cm.routing}: where requests go, and whether they may; L{tile38cm.figures}: what it knows of itself;
   L{tile38cm.erasure}: starting over, one node at a time; L{tile38cm.handover}: another node leads;
   L{tile38cm.requests}: switchovers and shrinks that operators ask for;
   L{tile38cm.gatelog}: when the gate was open
 - L{tile38cm.proxy}: W and R: clients' requests to the leader, or to a follower
 - L{tile38cm.sentinel}: Redis Sentinel's questions, answered, so that its clients find the leader
 - L{tile38cm.replication}: the bridge that the local Tile38 follows, and where the leader's bytes come from
 - L{tile38cm.operate}: what an operator sees: the registration, metrics, C{tile38ctl}
 - L{tile38cm.health}: does the local server answer; L{tile38cm.vitals}: does it starve;
   L{tile38cm.state}: what survives a restart; L{tile38cm.footing}: whether all that was acknowledged did
 - L{tile38cm.peers}: the connections to the other nodes, heartbeats, what is said on them
 - L{tile38cm.tile38}, L{tile38cm.tile38_link}: the local server, connections to it;
   L{tile38cm.tls}: certificates, and who is at the other end
 - L{tile38cm.coordination}: who leads: Consul below, pure rules of promises, terms and the gate beside it
 - L{tile38cm.flags}, L{tile38cm.logs}: what may be said on the command line; how events become lines
 - L{tile38cm.tasks}: coroutines that somebody owns; L{tile38cm.sending}: bytes to sockets at once;
   L{tile38cm.turns}: the reactor's turns, with less around each read;
   L{tile38cm.disk}: what is on disk for sure; L{tile38cm.endpoints}: ways to addresses, and where to listen
 - L{tile38cm.wire}: Tile38's protocol as pure functions of bytes
 - L{tile38cm.model}, L{tile38cm.settings}: the words and the configuration, as frozen values

A write: client → W (C{proxy}) → the leader's W over mTLS → gate (C{coordination}) → Tile38; the
reply waits until the followers of the sync set have acknowledged it (C{replication}), and passes
the gate once more.  A read: client → R → the local Tile38 if it has caught up, else another's R.
"""

__version__ = "0.1.0.dev0"
