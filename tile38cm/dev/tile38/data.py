"""What a node holds: collections by key, hooks and channels by name, and when things end."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import NoReturn

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from tile38cm.dev.tile38.calls import Call, no_id, no_key
from tile38cm.dev.tile38.collection import Collection, Thing
from tile38cm.dev.tile38.hooks import Hook


@define(eq=False)
class Data:
    """All that the log makes.

    @ivar clock: Judges lifetimes; its seconds are those since 1970 on a running node.
    @ivar groups: What an object is to a hook, from its entering on: an id by hook, key and object.
    """

    clock: IReactorTime
    hooks: dict[str, Hook] = field(factory=dict)
    #: Whether there is no memory left for what C{SET} brings.
    full: bool = False
    groups: dict[tuple[str, str, str], str] = field(factory=dict)
    _collections: dict[str, Collection] = field(factory=dict)
    _keys: list[str] = field(factory=list)
    _ends: list[tuple[float, str, str]] = field(factory=list)

    def now(self) -> float:
        """The clock's seconds."""
        return self.clock.seconds()

    def keys(self) -> list[str]:
        """All keys, in their order."""
        return list(self._keys)

    def collections(self) -> Iterator[Collection]:
        """All collections."""
        return iter(self._collections.values())

    def get(self, key: str) -> Collection | None:
        """The collection under a key; none is ever empty."""
        return self._collections.get(key)

    def find(self, key: str, id: str) -> Thing | None:
        """The object, if key and id are there."""
        collection = self._collections.get(key)
        return None if collection is None else collection.get(id)

    def lack(self, key: str) -> Callable[[], NoReturn]:
        """What refuses an object that L{find} did not find: its key is not there, or only it is not."""
        return no_id if key in self._collections else no_key

    def put(self, key: str, thing: Thing) -> Thing | None:
        """Add or replace an object; returns what was there before."""
        collection = self._collections.get(key)
        if collection is None:
            collection = self.place(key, Collection())
        if thing.expires is not None:
            heappush(self._ends, (thing.expires, key, thing.id))
            self._prune()
        return collection.put(thing)

    def remove(self, key: str, id: str) -> Thing | None:
        """Take an object away, and its collection with the last one; returns it."""
        collection = self._collections.get(key)
        if collection is None:
            return None
        old = collection.remove(id)
        if not len(collection):
            self.drop(key)
        if self.groups:
            self._forget(lambda hook, at, thing: at == key and thing == id)
        return old

    def drop(self, key: str) -> Collection | None:
        """Take a collection away; returns it."""
        collection = self._collections.pop(key, None)
        if collection is not None:
            del self._keys[bisect_left(self._keys, key)]
        if self.groups:
            self._forget(lambda hook, at, thing: at == key)
        return collection

    def place(self, key: str, collection: Collection) -> Collection:
        """Put a collection under a key that is free."""
        insort(self._keys, key)
        self._collections[key] = collection
        for thing in collection.by_id():
            if thing.expires is not None:
                heappush(self._ends, (thing.expires, key, thing.id))
        return collection

    def forget_hook(self, name: str) -> None:
        """No object belongs to this hook any longer."""
        self._forget(lambda hook, at, thing: hook == name)

    def _forget(self, gone: Callable[[str, str, str], bool]) -> None:
        self.groups = {name: group for name, group in self.groups.items() if not gone(*name)}

    def clear(self, hooks: bool = True) -> None:
        """Everything goes; hooks stay if told so."""
        self._collections.clear()
        self._keys.clear()
        self._ends.clear()
        self.groups.clear()
        if hooks:
            self.hooks.clear()

    def ended(self) -> list[tuple[str, str]]:
        """Key and id of each object whose time is over; they are still there."""
        found, now = [], self.now()
        while self._ends and self._ends[0][0] <= now:
            _, key, id = heappop(self._ends)
            thing = self.find(key, id)
            if thing is not None and thing.expires is not None and thing.expires <= now:
                found.append((key, id))
        return list(dict.fromkeys(found))

    def _prune(self) -> None:
        """Lifetimes that were replaced leave entries behind; not many more than there are objects."""
        if len(self._ends) < 1000 or len(self._ends) < 4 * sum(map(len, self._collections.values())):
            return
        alive = []
        for key, collection in self._collections.items():
            alive += [(t.expires, key, t.id) for t in collection.by_id() if t.expires is not None]
        self._ends = alive
        heapify(self._ends)


#: Commands by name that need nothing but the data.
Commands = dict[str, Callable[[Data, Call], bytes]]
