"""A node: its data and its log, who leads it, and what it does with a command."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from attrs import define, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from tile38cm.dev.tile38 import config as configuration
from tile38cm.dev.tile38.calls import Call, Change, NotThere
from tile38cm.dev.tile38.data import Data
from tile38cm.dev.tile38.fences import hook_events
from tile38cm.dev.tile38.hook_commands import ended_hooks
from tile38cm.dev.tile38.hooks import Hook
from tile38cm.dev.tile38.logfile import LogFile
from tile38cm.dev.tile38.pubsub import Hub
from tile38cm.dev.tile38.shrinking import snapshot

#: What C{SERVER} says; no real server has such a version.
VERSION = "1.37.0-embedded"
#: Seconds between two looks for what has ended, and between two looks at the buffer of the log.
EXPIRE_EVERY, SYNC_EVERY = 0.2, 1.0
#: Commands of one connection before the others have their turn: some ten milliseconds, so that who asks
#: whether the node lives is answered in time, also under load.
SLICE = 100


@define(eq=False)
class Client:
    """Who is at the other end of a connection.

    @ivar json: What the first request's protocol or C{OUTPUT} chose; C{None} before that.
    @ivar port: Where a follower listens, by its own word.
    """

    id: int
    host: str
    source_port: int
    opened: float
    close: Callable[[], object]
    json: bool | None = None
    trusted: bool = False
    name: str = ""
    last: float = 0.0
    port: int = 0
    announced: str = ""

    @property
    def address(self) -> str:
        """C{host:port}."""
        return f"{self.host}:{self.source_port}"


class Watcher(Protocol):
    """A live connection that is told of each change."""

    def changed(self, change: Change) -> None:
        """Something was written."""


class LogReader(Protocol):
    """A live connection that gets the log, and messages to channels."""

    def wake(self) -> None:
        """The file has grown."""

    def message(self, channel: str, text: str) -> None:
        """Something was published."""

    def cut(self) -> None:
        """The file is another one from now on."""


@frozen
class Options:
    """How the node is run."""

    folder: Path
    port: int = 9851
    appendonly: bool = True
    filename: str = "appendonly.aof"
    json: bool = False
    http: bool = True


@define
class Counters:
    """What C{INFO} counts."""

    connections: int = 0
    commands: int = 0
    messages: int = 0
    expired: int = 0


#: A command's reply, at once or later.
Reply = bytes | Deferred[bytes]
#: Does a command, whoever may give it; the client is C{None} where it comes from a log.
Run = Callable[["Node", Call, Client | None], Reply]


def memory() -> int:
    """Bytes that this process has taken at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Node:
    """Everything but the sockets.

    @ivar caught_up: Whether this follower has what its leader had; C{caught_up_once} since the start.
    @ivar held: Whether the log has to stay as it is for the moment.
    @ivar on_follow: Called when the leader to follow is another one.
    @ivar ask_leader: Why host and port cannot be followed, or nothing.
    @ivar send_hook: Sends a hook's event to its endpoints; C{pending} counts those not taken yet.
    """

    log = Logger()

    def __init__(self, reactor: Any, options: Options, run: Run) -> None:
        options.folder.mkdir(parents=True, exist_ok=True)
        self.reactor, self.options, self._run = reactor, options, run
        self.config = configuration.load(options.folder / "config")
        self.file = LogFile(options.folder / options.filename) if options.appendonly else None
        self.data = Data(reactor)
        self.hub = Hub()
        self.counters = Counters()
        self.started = reactor.seconds()
        self.clients: dict[int, Client] = {}
        self.watchers: set[Watcher] = set()
        self.readers: set[LogReader] = set()
        self.monitors: set[Callable[[Call, Client], object]] = set()
        self.caught_up = self.caught_up_once = self.held = False
        self.leader_offset = 0
        self.on_follow: Callable[[], object] = lambda: None
        self.ask_leader: Callable[[str, int], Deferred[str]] = lambda host, port: succeed(" anyone")
        self.send_hook: Callable[[Hook, str], object] = lambda hook, event: None
        self.pending: Callable[[], int] = lambda: 0
        self._timers = [LoopingCall(self.expire), LoopingCall(self._sync)]
        if self.file is not None:
            self.file.on_flush = self._wake

    # -- its life ---------------------------------------------------------------

    def start(self) -> None:
        """Read the log, and begin to let things end.

        @raise tile38cm.dev.tile38.logfile.Damaged: The log cannot be read.
        """
        count = self.load()
        self.log.info("an embedded node, for development: {count} commands read", count=count)
        for timer, seconds in zip(self._timers, (EXPIRE_EVERY, SYNC_EVERY), strict=True):
            timer.clock = self.reactor
            _ = timer.start(seconds, now=False).addErrback(self._mistake)

    def stop(self) -> None:
        """Write what is left, and be quiet."""
        for timer in self._timers:
            if timer.running:
                timer.stop()
        if self.file is not None:
            self.file.close()
            self.file = None

    def _mistake(self, failure: Any) -> None:
        self.log.failure("a mistake in the node", failure)

    def load(self) -> int:
        """Do what the log says, into what is there; returns how many commands that were."""
        count = 0
        for args in self.file.load() if self.file is not None else ():
            self.replay(args)
            count += 1
        return count

    def replay(self, args: list[str]) -> Call:
        """Do one command of a log, whoever leads.

        @raise Refusal: It cannot be done, for another reason than a key or an id that is not there.
        """
        call = Call(args)
        try:
            self._run(self, call, None)
        except NotThere:
            call.changes.clear()
        return call

    # -- writing ------------------------------------------------------------------

    @property
    def log_size(self) -> int:
        """Bytes of the log, those of the buffer included."""
        return self.file.size if self.file is not None else 0

    def record(self, call: Call) -> None:
        """Log what a command changed, and tell of it; nothing if it changed nothing."""
        if not call.changes:
            return
        if self.file is not None:
            self.file.append(call.args)
        for change in call.changes:
            for part in change.parts or (change,):
                self._tell(part)

    def _tell(self, change: Change) -> None:
        if self.data.hooks and not self.config.follow_host:
            for hook, event in hook_events(self.data, change):
                if hook.channel:
                    self.publish(hook.name, event)
                else:
                    self.counters.messages += 1
                    self.send_hook(hook, event)
        for watcher in list(self.watchers):
            watcher.changed(change)

    def publish(self, channel: str, text: str) -> int:
        """Send a message to who listens here, and to followers; returns how many listen here."""
        for reader in list(self.readers):
            reader.message(channel, text)
        return self.hub.publish(channel, text)

    def show(self, call: Call, client: Client) -> None:
        """Tell those who watch of a command that was done, or tried."""
        for told in list(self.monitors):
            told(call, client)

    def flush(self) -> None:
        """Let the file have what the buffer has."""
        if self.file is not None:
            self.file.flush()

    def _wake(self) -> None:
        for reader in list(self.readers):
            reader.wake()

    def judge_memory(self) -> None:
        """See whether there is room for more."""
        self.data.full = 0 < self.config.memory < memory()

    def _sync(self) -> None:
        self.judge_memory()
        if self.file is not None and self.file.buffered:
            self.file.sync()

    def expire(self) -> None:
        """Take away what is over, as commands of the log."""
        if self.held:
            return
        gone = [["del", key, id] for key, id in self.data.ended()]
        self.counters.expired += len(gone)
        for args in [*gone, *ended_hooks(self.data)]:
            self.record(self.replay(args))

    # -- following ------------------------------------------------------------------

    def set_caught_up(self, yes: bool) -> None:
        """Say whether this follower has caught up."""
        self.caught_up = yes
        self.caught_up_once = self.caught_up_once or yes

    def forget(self) -> None:
        """Empty the collections; hooks stay, as with Tile38."""
        self.data.clear(hooks=False)

    def shrink(self) -> None:
        """Write the log anew with only what is there; every reader of the old one is cut off."""
        if self.file is None:
            return
        path = self.file.path.with_name(f"{self.file.path.name}-shrink")
        with open(path, "wb") as new:
            new.writelines(snapshot(self.data))
            new.flush()
            os.fsync(new.fileno())
        for reader in list(self.readers):
            reader.cut()
        self.file.replace(path)
