"""Replication: how the local Tile38 gets what the leader has.

On the leader:

- L{stream<tile38cm.replication.stream>}: an C{AOF} stream cut into whole commands;
  what C{PUBLISH} has mangled is found and never passed on.  Pure.
- L{log_feed<tile38cm.replication.log_feed>}: the local log through that, for one follower.
- L{source<tile38cm.replication.source>}: answers followers, each from where it stands.
- L{messages<tile38cm.replication.messages>}: what is published, for the subscribers of followers.
- L{outflow<tile38cm.replication.outflow>}: what one of them is sent, as fast as it takes it.
- L{history<tile38cm.replication.history>}: continue or start over, by the tree of epochs.  Pure.

On a follower:

- L{replica<tile38cm.replication.replica>}: follows whoever leads;
  L{session<tile38cm.replication.session>}: its data.
- L{intake<tile38cm.replication.intake>}: what arrives, on its way in; knows the position.
- L{markers<tile38cm.replication.markers>}: positions inside the log, longer lifetimes.  Pure.
- L{recovery<tile38cm.replication.recovery>}, L{matching<tile38cm.replication.matching>}: where
  a log stands after a crash: its last marker, and what stands behind that.  The latter is pure.
- L{virtual_leader<tile38cm.replication.virtual_leader>}: the listener B, which poses
  as the leader of the local Tile38 and feeds it.
- L{conversation<tile38cm.replication.conversation>}: what it answers, so that Tile38
  keeps its log.  Pure.
- L{caller<tile38cm.replication.caller>}: one connection of that Tile38, protected.
- L{delivery<tile38cm.replication.delivery>}: bytes on their way into it.

On both:

- L{backlog<tile38cm.replication.backlog>}: the last bytes delivered, for others to catch up
  from; L{spill<tile38cm.replication.spill>}: the same on disk.
- L{local_log<tile38cm.replication.local_log>}: reads, copies and empties the local
  Tile38's log.

For people:

- L{tail<tile38cm.replication.tail>}, L{replay<tile38cm.replication.replay>}: what a node had to
  give up, kept in a file, and given back.
- L{compare<tile38cm.replication.compare>}, with C{compare_pages}, C{held} and C{direct}: whether
  two servers hold the same, without stopping writes.

The flow::

    leader's Tile38 -> log_feed -> source -> (mTLS) -> replica -> intake -> virtual_leader -> local Tile38
"""
