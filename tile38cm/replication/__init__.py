"""Replication: how the local Tile38 gets what the leader has.

On the leader:

- L{stream<tile38cm.replication.stream>}: an C{AOF} stream cut into whole commands;
  what C{PUBLISH} has mangled is found and never passed on.  Pure.
- L{log_feed<tile38cm.replication.log_feed>}: the local log through that, for one follower.
- L{source<tile38cm.replication.source>}: answers followers, each from where it stands.
- L{history<tile38cm.replication.history>}: continue or start over, by the tree of epochs.  Pure.

On a follower:

- L{replica<tile38cm.replication.replica>}: follows whoever leads.
- L{virtual_leader<tile38cm.replication.virtual_leader>}: the listener B, which poses
  as the leader of the local Tile38 and feeds it.
- L{conversation<tile38cm.replication.conversation>}: what it answers, so that Tile38
  keeps its log.  Pure.
- L{caller<tile38cm.replication.caller>}: one connection of that Tile38, protected.
- L{delivery<tile38cm.replication.delivery>}: bytes on their way into it.

On both:

- L{backlog<tile38cm.replication.backlog>}: the last bytes delivered, for others to catch up from.
- L{local_log<tile38cm.replication.local_log>}: reads, copies and empties the local
  Tile38's log.

The flow::

    leader's Tile38 -> log_feed -> source -> (mTLS) -> replica -> virtual_leader -> local Tile38
"""
