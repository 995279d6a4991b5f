"""A hook or a channel: a search that is asked again with each change."""

from __future__ import annotations

from attrs import frozen

from tile38cm.dev.tile38.asked import Search


@frozen
class Hook:
    """One of them; a channel has no endpoints of its own.

    @ivar words: The search as it was given, C{NEARBY} and all that follows.
    @ivar expires: A moment in the clock's seconds.
    """

    name: str
    channel: bool
    search: Search
    words: tuple[str, ...]
    endpoints: tuple[str, ...] = ()
    metas: tuple[tuple[str, str], ...] = ()
    expires: float | None = None

    @property
    def key(self) -> str:
        """The collection that it watches."""
        return self.search.key

    def same(self, other: Hook) -> bool:
        """Whether it asks for the same."""
        mine = (self.name, self.endpoints, self.metas, self.words, self.expires)
        return mine == (other.name, other.endpoints, other.metas, other.words, other.expires)
