"""Replication: how the local Tile38 gets what the leader has.

- L{stream<tile38cm.replication.stream>}: a leader's C{AOF} stream cut into whole
  commands; what C{PUBLISH} has mangled is found and never passed on.  Pure.
- L{conversation<tile38cm.replication.conversation>}: what a leader answers when
  a Tile38 wants to follow it, so that the follower keeps its log.  Pure.
- L{caller<tile38cm.replication.caller>}: one connection of that Tile38, protected.
- L{delivery<tile38cm.replication.delivery>}: bytes on their way into it.
- L{virtual_leader<tile38cm.replication.virtual_leader>}: the listener B, which poses
  as the leader of the local Tile38 and feeds it.
- L{local_log<tile38cm.replication.local_log>}: reads, copies and empties the local
  Tile38's log.

The flow::

    leader's AOF -> stream -> (mTLS) -> virtual_leader -> local Tile38
"""
