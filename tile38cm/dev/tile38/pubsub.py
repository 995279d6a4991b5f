"""Channels: who listens, and what he gets."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from tile38cm.dev.tile38.globs import matches

#: Is given pattern (or nothing), channel and text.
Listener = Callable[[str | None, str, str], object]


@define(eq=False)
class Hub:
    """Listeners by channel, and by pattern."""

    channels: dict[str, set[Listener]] = field(factory=dict)
    patterns: dict[str, set[Listener]] = field(factory=dict)

    def join(self, name: str, listener: Listener, pattern: bool) -> None:
        """Listen to a channel, or to all that fit."""
        (self.patterns if pattern else self.channels).setdefault(name, set()).add(listener)

    def leave(self, name: str, listener: Listener, pattern: bool) -> None:
        """Listen no longer; may be called again."""
        table = self.patterns if pattern else self.channels
        listeners = table.get(name, set())
        listeners.discard(listener)
        if not listeners:
            table.pop(name, None)

    def publish(self, channel: str, text: str) -> int:
        """Tell all who listen; returns how many that are."""
        told = [(None, listener) for listener in self.channels.get(channel, ())]
        fitting = [name for name in self.patterns if matches(name, channel)]
        found: list[tuple[str | None, Listener]] = [*told]
        found += [(name, listener) for name in fitting for listener in self.patterns[name]]
        for pattern, listener in found:
            listener(pattern, channel, text)
        return len(found)
