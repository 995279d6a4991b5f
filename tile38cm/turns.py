"""
A turn of the reactor with less around each read.

Twisted runs every event in a logging context of its own, and looks twice at
its descriptor, and between two turns it looks through all it might have to
do: with one small packet per event that costs more than what is done with the
packet, and where a single client waits for each reply it is half of what he
waits for.  Here the one event that matters, bytes to read and nothing else,
goes straight to the descriptor, and the next turn begins at once unless
something is due; all else takes Twisted's way.  This is the one place that
knows how its epoll reactor works.

To be woken up costs more than all of that: some 50 µs, of which a client that
waits for each reply pays two per command.  So while single events follow each
other closely the reactor looks for the next one for a moment before it sleeps,
as network cards are polled and as hypervisors wait for a guest that was busy
just now.  Others come first on the processor meanwhile, and who sends now and
then costs nothing more.

For the same reason what a server is sent may wait a few turns for company, as
long as there is something to do here: a server that is woken up for each ten
reads spends half of its time with that.  And what came in a turn for many
connections may be taken together, see L{gather}; of these nothing is touched
but the number of the descriptor: with hundreds of them it is the objects that
are in no cache that take the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from operator import length_hint
from os import read, sched_yield
from select import EPOLLIN
from time import monotonic
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Client, Server
from twisted.logger import Logger

_log = Logger("tile38cm")
#: How many turns follow each other before Twisted's loop has its own.
MOST = 32
#: Events of one turn at most: what L{gather} collects of each, up to 64 KiB, is here at the same time.
AT_ONCE = 256
#: How many turns more than its own one a call waits at most that may come later.
COMPANY = 4
#: Seconds of looking for the next event before the reactor sleeps.
LOOK = 200e-6
#: Waits in a row that have to be shorter than that before it is worth it.
SHORT_WAITS = 8
#: Bytes read at once of a connection that has joined; as many as Twisted reads.
AT_MOST = 64 * 1024
#: The descriptor of no connection.
NO_DESCRIPTOR = -1
#: What takes who has joined, and the bytes that came for each.
Take = Callable[[Iterator[tuple[Any, bytes]]], None]
_TCP: frozenset[object] = frozenset((Client, Server))


def hasten(reactor: object) -> None:
    """
    Have a reactor's turns done like this from the next one on; one of another kind stays as it is.

    What a descriptor logs by C{twisted.python.log} has no prefix of its own any more; we
    log by C{twisted.logger}, which does not know them.
    """
    if type(reactor) is EPollReactor:
        reactor.doIteration = Turns(reactor)  # type: ignore[method-assign]  # the loop asks for it anew


def soon(reactor: Any) -> Callable[[Callable[[], None]], object]:
    """What calls a function once before the reactor waits again: when this turn's events are dealt with."""
    turns = _turns_of(reactor)
    return partial(reactor.callLater, 0) if turns is None else turns.soon


def later(reactor: Any) -> Callable[[Callable[[], None]], object]:
    """What calls a function once before the reactor sleeps: after some turns more if they have events."""
    turns = _turns_of(reactor)
    return partial(reactor.callLater, 0) if turns is None else turns.later


def gather(reactor: Any, take: Take) -> None:
    """
    Have all that comes in a turn for connections that L{join} taken together, if a reactor's turns are these.

    @param take: called instead of each C{dataReceived} with pairs of who has joined and bytes, at most one
        of each connection, which may have been lost meanwhile.  What it raises is the end of the
        connection whose pair it took last, and it is called again with the rest.
    """
    turns = _turns_of(reactor)
    if turns is not None:
        turns.take = take


def join(reactor: Any, protocol: Protocol, who: object) -> int:
    """
    Have what comes for a protocol taken together with what comes for others: at its C{connectionMade}.

    @param who: what C{take} knows it by; nothing else about it is touched when something comes.
    @return: the descriptor, for L{leave}; L{NO_DESCRIPTOR} if this cannot be.
    """
    turns = _turns_of(reactor)
    connection: Any = protocol.transport
    if turns is None or turns.take is None or connection.__class__ not in _TCP:
        return NO_DESCRIPTOR
    if connection.protocol is not protocol:
        return NO_DESCRIPTOR  # somebody stands between, and wants to see the bytes
    return turns.join(connection, who)


def leave(reactor: Any, descriptor: int) -> None:
    """The connection is lost: at its C{connectionLost}, before another one gets the descriptor."""
    turns = _turns_of(reactor)
    if turns is not None:
        turns.leave(descriptor)


def _turns_of(reactor: Any) -> Turns | None:
    turns = getattr(reactor, "doIteration", None)
    return turns if isinstance(turns, Turns) else None


class Turns:
    """The turns of one reactor; a call is a turn.

    @param now: tells seconds.
    """

    def __init__(self, reactor: Any, now: Callable[[], float] = monotonic) -> None:
        self._reactor = reactor
        self._poll: Callable[[float, int], list[tuple[int, int]]] = reactor._poller.poll
        self._selectables = reactor._selectables
        self._at_length = reactor._doReadOrWrite
        #: What is due when this turn's events are dealt with.
        self._due: list[Callable[[], None]] = []
        self.soon = self._due.append
        #: What is due when there is nothing else to do, and for how many turns it has not been.
        self._patient: list[Callable[[], None]] = []
        self.later = self._patient.append
        self._turns_patient = 0
        #: Whose bytes are taken together, and their connections, by descriptor; what takes the bytes.
        self._joined: dict[int, object] = {}
        self._connections: dict[int, Any] = {}
        self.take: Take | None = None
        self._now = now
        #: How many waits in a row were short.
        self._short_waits = 0

    def __call__(self, timeout: float | None) -> None:
        """
        Wait for events, at most so many seconds (C{None}: for ever), and deal with them.

        While events come, and nothing else is due, more turns follow before this returns.
        """
        reactor = self._reactor
        started = reactor._started
        for _ in range(MOST):
            if not self._turn(timeout) or timeout == 0 or reactor.threadCallQueue or reactor._justStopped:
                return
            if reactor._started != started:
                return  # crashed, as trial does behind each test: nobody wants another turn
            timeout = reactor.timeout()
            if timeout == 0:
                return

    def _turn(self, timeout: float | None) -> bool:
        """One turn; whether there were events."""
        selectables = self._selectables
        if self._due:
            # Delayed calls are made between two turns.
            self._end()
        if self._patient:
            timeout = 0
        try:
            events = self._wait(-1 if timeout is None else timeout, min(len(selectables), AT_ONCE))
        except InterruptedError:
            return False
        joined = self._joined
        came: list[tuple[Any, bytes]] = []
        for fd, event in events:
            if event == EPOLLIN and fd in joined:
                try:
                    data = read(fd, AT_MOST)
                except BlockingIOError:
                    continue
                except (OSError, MemoryError):
                    self._lost(fd, CONNECTION_LOST)
                    continue
                if data:
                    came.append((joined[fd], data))
                else:
                    self._lost(fd, CONNECTION_DONE)
                continue
            selectable: Any = selectables.get(fd)
            if selectable is None:
                # What came before in this turn has closed it.
                continue
            if event != EPOLLIN:
                self._apart(self._at_length, selectable, fd, event)
                continue
            why: object = None
            try:
                if selectable.__class__ in _TCP:
                    # As Connection.doRead does it, with two calls less.
                    try:
                        data = selectable.socket.recv(selectable.bufferSize)
                    except BlockingIOError:
                        continue
                    except OSError:
                        why = CONNECTION_LOST
                    else:
                        if data:
                            selectable.protocol.dataReceived(data)
                        else:
                            why = CONNECTION_DONE
                else:
                    why = selectable.doRead()
            except BaseException as error:
                _log.failure("what a connection brought could not be dealt with")
                why = error
            if why:
                self._apart(self._reactor._disconnectSelectable, selectable, why, True)
        if came and self.take is not None:
            self._hand_over(self.take, came)
        if self._patient:
            self._turns_patient += 1
            if not events or self._turns_patient > COMPANY:
                self._due += self._patient
                self._patient.clear()
                self._turns_patient = 0
        if self._due:
            self._end()
        return bool(events)

    def join(self, connection: Any, who: object) -> int:
        """See the function."""
        descriptor: int = connection.fileno()
        self._joined[descriptor], self._connections[descriptor] = who, connection
        return descriptor

    def leave(self, descriptor: int) -> None:
        """See the function."""
        self._joined.pop(descriptor, None)
        self._connections.pop(descriptor, None)

    def _hand_over(self, take: Take, came: list[tuple[Any, bytes]]) -> None:
        """What came in this turn; who fails at it fails alone."""
        rest = iter(came)
        while length_hint(rest):
            try:
                take(rest)
            except BaseException as error:
                _log.failure("what a connection brought could not be dealt with")
                failed = came[-1 - length_hint(rest)][0]
                for fd in [fd for fd, who in self._joined.items() if who is failed]:
                    self._lost(fd, error)

    def _lost(self, fd: int, why: object) -> None:
        """The end of a connection that has joined."""
        self._apart(self._reactor._disconnectSelectable, self._connections[fd], why, True)

    def _apart(self, what: Callable[..., object], *about: object) -> None:
        """Do what may end a connection: if that fails, others must not lose what came for them."""
        try:
            what(*about)
        except BaseException:
            _log.failure("the end of a connection could not be dealt with")

    def _wait(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """Events, as soon as there are any; none after so many seconds (negative: never)."""
        if 0 <= timeout < LOOK:
            return self._poll(timeout, most)
        events: list[tuple[int, int]] = []
        began = self._now()
        if self._short_waits >= SHORT_WAITS:
            while not (events := self._poll(0, most)) and self._now() - began < LOOK:
                sched_yield()
        if not events:
            events = self._poll(timeout, most)
        # Several at once: there is enough to do, and sleeping gives others the processor.
        short = len(events) == 1 and self._now() - began < LOOK
        self._short_waits = self._short_waits + 1 if short else 0
        return events

    def _end(self) -> None:
        due = self._due[:]
        self._due.clear()
        for call in due:
            try:
                call()
            except Exception:
                _log.failure("what was due at the end of a turn failed")
