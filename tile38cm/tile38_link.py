"""Connections to the local Tile38 server, and the ways in which it does not do what is asked.

Only txredisapi's protocol is used.  Its connection pool keeps time with the
global reactor; Twisted's L{ClientService} does the same work with ours.
"""

from __future__ import annotations

from typing import Any

from twisted.application.internet import ClientService
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from txredisapi import RedisError, RedisProtocol, ResponseError

from tile38cm.settings import Secret
from tile38cm.tasks import within

#: Seconds between attempts to connect: the first, and the most.
FIRST_RETRY, LONGEST_RETRY = 0.05, 1.0

Word = bytes | str | int


class Tile38Error(Exception):
    """The local Tile38 did not do what was asked of it."""


class Unreachable(Tile38Error):
    """No answer: not connected, connection lost, or too late.

    What was asked may still take effect.
    """


class Loading(Tile38Error):
    """Tile38 is reading its log after a start; ask again later."""


class Refused(Tile38Error):
    """Tile38 answered with an error; C{text} is its own, without C{ERR}."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class CatchingUp(Refused):
    """A follower that has never caught up since its start tells nothing of its data."""


def refusal(text: str) -> Tile38Error:
    """The typed error for the text of an error reply."""
    if text.startswith("LOADING"):
        return Loading(text)
    text = text.removeprefix("ERR ").strip()
    return CatchingUp(text) if text == "catching up to leader" else Refused(text)


class _Conversation(RedisProtocol):  # type: ignore[misc]  # txredisapi is not typed
    """txredisapi's protocol, which logs in by itself and leaves pools and timers to others."""

    _log = Logger()

    def __init__(self, password: Secret | None) -> None:
        # Latin-1 gives every byte a character, so nothing fails to decode; with
        # charset None txredisapi compares bytes with str, an error under python -b.
        super().__init__(charset="latin-1", convertNumbers=False)
        self._secret = password

    def connectionMade(self) -> None:
        super().connectionMade()
        if self._secret is not None:
            # Nobody waits for it: commands follow in order, and are refused if this is.
            self.execute_command(b"AUTH", self._secret.value.encode()).addErrback(self._not_logged_in)

    def _not_logged_in(self, failure: Failure) -> None:
        self._log.warn("Tile38 does not take the password: {error}", error=failure.value)


class _Conversations(Factory):
    """Builds conversations; C{noisy} off, since a local server comes and goes."""

    noisy = False

    def __init__(self, password: Secret | None) -> None:
        self._password = password

    def buildProtocol(self, addr: IAddress | None) -> _Conversation:
        return _Conversation(self._password)


class Knock(Protocol):
    """A connection on which nothing is asked but its end.

    C{QUIT} in Tile38's own framing has no reply, and so waits for no lock: a reply
    to anything, C{PING} included, has the log written out before, for which Tile38
    needs the lock that a long search may hold (C{netServe} in its server.go).
    """

    def __init__(self) -> None:
        self.opened: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Ask for the end."""
        assert self.transport is not None
        self.transport.write(b"$4 QUIT\r\n")

    def dataReceived(self, data: bytes) -> None:
        """It runs."""
        self._end(None)  # with -o resp it says +OK

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It runs, if it was that which ended the connection."""
        self._end(None if reason.check(ConnectionDone) else reason)

    def _end(self, problem: Failure | None) -> None:
        if not self.opened.called:
            self.opened.callback(None) if problem is None else self.opened.errback(problem)

    def abort(self) -> None:
        """Close at once."""
        assert self.transport is not None
        self.transport.abortConnection()  # type: ignore[attr-defined]  # TCP has it


class Link:
    """One connection that comes back by itself and is logged in before use."""

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IStreamClientEndpoint,
        password: Secret | None,
        longest_retry: float = LONGEST_RETRY,
    ) -> None:
        self._clock = clock
        self._service = ClientService(
            endpoint,
            _Conversations(password),
            retryPolicy=lambda failures: min(FIRST_RETRY * 2.0 ** min(failures, 10), longest_retry),
            clock=clock,
        )

    def start(self) -> None:
        """Begin to connect."""
        if not self._service.running:
            self._service.startService()

    async def stop(self) -> None:
        """Close the connection; what is asked fails with L{Unreachable}."""
        if self._service.running:
            await self._service.stopService()

    async def ask(self, timeout: float, *words: Word) -> Any:
        """The reply to one command, within C{timeout} seconds, or a L{Tile38Error}."""
        if not self._service.running:
            raise Unreachable("the client of Tile38 is stopped")
        try:
            return await within(self._exchange(words), timeout, self._clock)
        except ResponseError as error:
            raise refusal(str(error)) from None
        except TimeoutError:
            raise Unreachable(f"no answer from Tile38 within {timeout:g} s") from None
        except CancelledError:
            if self._service.running:
                raise
            raise Unreachable("the client of Tile38 was stopped") from None
        except RedisError as error:
            raise Unreachable(f"Tile38 does not answer: {error}") from None
        except Tile38Error:
            raise
        except Exception as error:
            # The endpoint's own errors (refused, no route, DNS) have no common base.
            raise Unreachable(f"Tile38 cannot be reached: {error}") from error

    async def _exchange(self, words: tuple[Word, ...]) -> Any:
        protocol: Any = await self._service.whenConnected(failAfterFailures=1)
        try:
            return await protocol.execute_command(*map(_encoded, words))
        except CancelledError:
            # Whoever asks next must not queue behind an answer that does not come.
            protocol.transport.abortConnection()
            raise
        except ResponseError as error:
            if "authentication required" in str(error):
                # The password may have been set or changed since: log in anew next time.
                protocol.transport.abortConnection()
            raise


def _encoded(word: Word) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode()
