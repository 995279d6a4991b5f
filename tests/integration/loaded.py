"""A real Tile38 that has read its log when it is said to be ready."""

from __future__ import annotations

from tests.real import EmbeddedTile38, RealTile38, ReplyError


class LoadedTile38(RealTile38):
    """C{PING} is answered while it still loads; C{AOFMD5} is not, but is on any follower."""

    def ready(self) -> bool:
        try:
            self.command("AOFMD5", 0, 1)
        except ReplyError as error:
            return "LOADING" not in str(error)
        return True


class LoadedEmbedded(EmbeddedTile38, LoadedTile38):
    """The same of the embedded node."""
