"""L{tile38cm.claim}: one manager for a Tile38, and none that a sandbox keeps from starting."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.claim import Claim, ClaimedError
from tile38cm.settings import Address


class Refusing(MemoryReactorClock):
    """A reactor that gets no name."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def listenUNIX(self, address: Any, *arguments: object, **named: object) -> IListeningPort:
        raise CannotListenError("any", address, OSError(self._number, os.strerror(self._number)))


class ClaimTests(SynchronousTestCase):
    """A claim on reactors that give the name, or do not"""

    def test_taken(self) -> None:
        """The sentence has the address and the flags, and without a number nobody is invented."""
        claim = Claim(Refusing(errno.EADDRINUSE), Address("192.0.2.1", 1))
        said = str(self.assertRaises(ClaimedError, claim.take))
        self.assertTrue(said.startswith("another process manages Tile38 at 192.0.2.1:1 already"), said)
        self.assertIn("--server.port", said)

    def test_holder(self) -> None:
        """The process that has the name is told by its number."""
        claim = Claim(Refusing(errno.EADDRINUSE), Address(f"of process {os.getpid()}", 1))
        with socket.socket(socket.AF_UNIX) as holder:
            holder.bind(claim.name)
            holder.listen()
            said = str(self.assertRaises(ClaimedError, claim.take))
        self.assertTrue(said.startswith(f"process {os.getpid()} manages Tile38 at "), said)

    def test_sandbox(self) -> None:
        """Where such names are forbidden nobody is kept from starting."""
        claim = Claim(Refusing(errno.EPERM), Address("127.0.0.1", 9851))
        claim.take()
        self.release(claim)

    def release(self, claim: Claim) -> None:
        """At once."""
        self.successResultOf(Deferred.fromCoroutine(claim.release()))

    def test_name(self) -> None:
        """It tells Tile38s apart, knows the usual name of this machine, and fits however long it is."""
        reactor = MemoryReactorClock()
        local = Claim(reactor, Address("localhost", 9851)).name
        self.assertEqual(local, b"\0tile38cm of 127.0.0.1:9851")
        self.assertEqual(Claim(reactor, Address("127.0.0.1", 9851)).name, local)
        self.assertNotEqual(Claim(reactor, Address("127.0.0.1", 9852)).name, local)
        with socket.socket(socket.AF_UNIX) as holder:
            holder.bind(Claim(reactor, Address("ä" * 200, 9851)).name)

    def test_released(self) -> None:
        """It is held until it is given back, and nobody is talked to meanwhile."""
        reactor = MemoryReactorClock()
        claim = Claim(reactor, Address("127.0.0.1", 9851))
        claim.take()
        ((name, factory, *_),) = reactor.unixServers
        self.assertEqual(name, claim.name)
        self.assertIsNone(factory.buildProtocol(None))
        self.release(claim)
        self.release(claim)
