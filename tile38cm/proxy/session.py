"""
What one client is to this node, and the commands that concern nothing else.

Servers are spoken to over connections that clients share, so they know of no
client: who has logged in, how replies are to be written and what it calls
itself is known here.
"""

from __future__ import annotations

import hmac

from attrs import frozen

from tile38cm.proxy.badge import Badge
from tile38cm.proxy.exchange import Exchange
from tile38cm.proxy.sides import Side
from tile38cm.settings import Secret
from tile38cm.wire.catalogue import catalogue
from tile38cm.wire.commands import Class, Command
from tile38cm.wire.forms import RESP, RESP3, Form
from tile38cm.wire.greeting import Greeting
from tile38cm.wire.requests import Request
from tile38cm.wire.resp import Output, okay

#: What an unknown client may say: Tile38 answers these before C{AUTH} too.
_BEFORE_LOGIN = frozenset(("ping", "echo", "output", "auth", "hello", "quit", "healthz"))
_OUTPUTS: dict[bytes, Output] = {b"json": "json", b"resp": "resp"}


@frozen
class Login:
    """
    How clients log in.

    @param password: what C{AUTH} must say; C{None}: as a server without one, none is right.
    @param required: whether clients must log in, as no certificate tells who they are.
    """

    password: Secret | None = None
    required: bool = False

    def accepts(self, args: list[bytes]) -> bool:
        """Whether this C{AUTH} is right."""
        if self.password is None or len(args) != 2:
            return False
        return hmac.compare_digest(args[1], self.password.value.encode())


class Session:
    """
    One client's.

    @param trusted: it need not log in, whatever C{login} says.
    @ivar forward: who is asked instead for what only a leader may run; C{None}: it is refused or asked here.
    @ivar form: how replies to RESP are written: as RESP2, or as RESP3.
    """

    def __init__(self, side: Side, login: Login, badge: Badge, trusted: bool) -> None:
        self._side = side
        self._login = login
        self._badge = badge
        # What another node sends is never sent on to a third.
        self.forward = None if trusted else side.forward
        self.logged_in = trusted or not login.required
        self.form: Form = RESP

    def answer(self, request: Request, command: Command, output: Output, idle: bool) -> Exchange | None:
        """
        What is answered without a server; C{None}: this must be asked.

        @param output: what C{OUTPUT} has chosen.
        @param idle: all that was asked before is answered.
        """
        problem = self._problem(request.form, command)
        if problem is not None:
            self._side.counters.refused += 1
            return self.settled(request.form, command, problem)
        match command.name:
            case "auth":
                return self._auth(request, command)
            case "quit":
                return self.settled(request.form, command, last=True)
            case "output" if len(request.args) == 2:
                return self._output(request, command)
            case "client":
                return self._client(request, command, output)
            case "hello" if request.form is RESP:
                return self._hello(request, command, idle)
            case "command" if request.form is RESP:
                return self._command(request, command)
        return None

    def settled(
        self, form: Form, command: Command, problem: str | None = None, last: bool = False
    ) -> Exchange:
        """An answer of our own: an error, or that it is done."""
        return Exchange.settled(form, command, self._side.clock.seconds(), problem, last)

    def _problem(self, form: Form, command: Command) -> str | None:
        if not self.logged_in and command.name not in _BEFORE_LOGIN:
            if form.password is None:
                return "ERR authentication required"
            if not self._login.accepts([b"AUTH", form.password]):
                return "ERR invalid password"
        if command.class_ is Class.PRIVATE:
            return "ERR 'tile38cm' must be the first command of a connection between nodes"
        if command.leader and self.forward is not None:
            return self.forward.refusal(command)
        return self._side.refusal(command)

    def _auth(self, request: Request, command: Command) -> Exchange:
        """The server knows only this node's own login."""
        accepted = self._logs_in(request.args)
        return self.settled(request.form, command, None if accepted else "ERR invalid password")

    def _logs_in(self, args: list[bytes]) -> bool:
        """Whether this C{AUTH} is right; one that is wrong logs nobody out."""
        accepted = self._login.accepts(args)
        self.logged_in = self.logged_in or accepted
        return accepted

    def _hello(self, request: Request, command: Command, idle: bool) -> Exchange:
        """The server does not know it."""
        greeting = Greeting.of(request.args)
        problem = greeting.problem
        if problem is None and greeting.login is not None and not self._logs_in(greeting.login):
            problem = "WRONGPASS invalid password"
        if problem is None and not self.logged_in:
            problem = "NOAUTH authentication required"
        form = {0: self.form, 2: RESP, 3: RESP3}[greeting.protocol]
        if problem is None and form is not self.form and not idle:
            problem = "ERR HELLO cannot change the protocol while replies are due"
        exchange = self.settled(request.form, command, problem)
        if problem is None:
            self.form = form
            if greeting.name is not None:
                self._badge.answer(greeting.name, "resp", 0.0)
            role = "master" if self._side.gate is not None else "replica"
            exchange.reply = greeting.reply(3 if form is RESP3 else 2, role, self._badge.number)
        return exchange

    def _client(self, request: Request, command: Command, output: Output) -> Exchange | None:
        """Of clients the server knows nothing."""
        answer = self._badge.answer(request.args, output, self._side.clock.seconds())
        if answer is None:
            return None
        if isinstance(answer, str):
            return self.settled(request.form, command, answer)
        return self._told(request, command, answer)

    def _command(self, request: Request, command: Command) -> Exchange | None:
        """The server does not know it."""
        reply = catalogue(request.args)
        return None if reply is None else self._told(request, command, reply)

    def _output(self, request: Request, command: Command) -> Exchange | None:
        """Connections to servers are shared by all clients that chose the same."""
        output = _OUTPUTS.get(request.args[1].lower())
        if output is None:
            return None
        exchange = self._told(request, command, okay(output))
        exchange.output = output
        return exchange

    def _told(self, request: Request, command: Command, reply: bytes) -> Exchange:
        exchange = self.settled(request.form, command)
        exchange.reply = reply
        return exchange
