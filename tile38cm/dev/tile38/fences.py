"""Events: what a fence says of a change."""

from __future__ import annotations

import os
import secrets
from itertools import count
from math import floor

import shapely
from attrs import frozen

from tile38cm.dev.tile38.asked import Roam, Search
from tile38cm.dev.tile38.calls import Change
from tile38cm.dev.tile38.collection import Thing
from tile38cm.dev.tile38.data import Data
from tile38cm.dev.tile38.geometry import Geo, Shape, apart, intersects, within
from tile38cm.dev.tile38.globs import is_pattern, matches, matches_any
from tile38cm.dev.tile38.hooks import Hook
from tile38cm.dev.tile38.scans import event_row
from tile38cm.dev.tile38.sphere import Box, box_around
from tile38cm.dev.tile38.text import format_float, json_string, timestamp

#: Behind which event another one follows.
_SECOND = {"enter": "inside", "exit": "outside", "cross": "outside"}
_ORDER = {"exit": 1, "outside": 2, "enter": 3, "inside": 4}
_numbers = count(secrets.randbits(24))


@frozen
class Fence:
    """A search that is asked of each change: a hook's, or a live connection's without a name."""

    search: Search
    name: str = ""
    metas: tuple[tuple[str, str], ...] = ()

    @property
    def head(self) -> str:
        """The members that tell whose event it is."""
        hook = f',"hook":{json_string(self.name)}' if self.name else ""
        metas = ",".join(f"{json_string(name)}:{json_string(value)}" for name, value in self.metas)
        return f'{hook},"meta":{{{metas}}}' if metas else hook


def of_hook(hook: Hook) -> Fence:
    """The fence of a hook or a channel."""
    return Fence(hook.search, hook.name, hook.metas)


def events(data: Data, fence: Fence, change: Change) -> list[str]:
    """The events that this fence has for a change of its collection, in their order."""
    accept = fence.search.accept
    if change.key != fence.search.key or (accept is not None and change.command not in accept):
        return []
    tail = f'{fence.head},"key":{json_string(change.key)}'
    when = f'"time":"{timestamp(change.time)}"'
    if change.command == "drop":
        return [f'{{"command":"drop"{tail},{when}}}']
    thing = change.thing
    if thing is None or not thing.geo.spatial or not matches_any(fence.search.filter.patterns, thing.id):
        return []
    if change.command == "fset" and fence.search.nofields:
        return []
    if change.command == "del":
        return [f'{{"command":"del"{tail},"id":{json_string(thing.id)},{when}}}']
    if fence.search.output == "count":
        return []
    if isinstance(fence.search.area, Roam):
        return _roaming(data, fence, change, thing, tail, when)
    return _placed(data, fence, change, thing, tail, when)


def _placed(data: Data, fence: Fence, change: Change, thing: Thing, tail: str, when: str) -> list[str]:
    detect = _detect(fence.search, change, thing)
    wanted = fence.search.detect
    if wanted is not None and detect not in wanted:
        detect = _SECOND.get(detect, "")
        if detect not in wanted:
            return []
    group = _group(data, fence.name, change.key, thing.id, detect)
    row = event_row(fence.search, thing)
    second = _SECOND.get(detect, "")
    told = [detect, *([second] if second and (wanted is None or second in wanted) else [])]
    return [_event(change.command, group, each, tail, when, row) for each in told]


def _event(command: str, group: str, detect: str, tail: str, when: str, row: str) -> str:
    return f'{{"command":"{command}","group":"{group}","detect":"{detect}"{tail},{when},{row}'


def _detect(search: Search, change: Change, thing: Thing) -> str:
    """One word for what happened."""
    before, before_filtered = _inside(search, change.old)
    after, after_filtered = _inside(search, thing)
    if before and after:
        return "inside"
    if before:
        return "exit"
    if after:
        return "inside" if change.command == "fset" else "enter"
    if change.command == "fset":
        return "outside"
    filtered = before_filtered or after_filtered
    crosses = not filtered and change.old is not None and _crosses(search, change.old, thing)
    return "cross" if crosses else "outside"


def _inside(search: Search, thing: Thing | None) -> tuple[bool, bool]:
    """Whether it is in the area and passes; and whether it is, but does not pass."""
    if thing is None or not isinstance(search.area, Geo):
        return False, False
    meets = within if search.command == "within" else intersects
    if not meets(thing.geo, search.area):
        return False, False
    passes = search.filter.passes(thing)
    return passes, not passes


def _crosses(search: Search, old: Thing, thing: Thing) -> bool:
    line = shapely.LineString([old.geo.center, thing.geo.center])
    return isinstance(search.area, Geo) and intersects(Shape("LineString", "", (line,), 2), search.area)


def _group(data: Data, hook: str, key: str, id: str, detect: str) -> str:
    """The id that all events of an object have from its entering on."""
    name = (hook, key, id)
    if detect in ("enter", "cross") or name not in data.groups:
        number = next(_numbers) % 2**24
        data.groups[name] = f"{int(data.now()) % 2**32:08x}{_MACHINE}{os.getpid() % 2**16:04x}{number:06x}"
    return data.groups[name]


_MACHINE = secrets.token_hex(3)


# -- roaming ----------------------------------------------------------------------


def _roaming(data: Data, fence: Fence, change: Change, thing: Thing, tail: str, when: str) -> list[str]:
    search, roam = fence.search, fence.search.area
    assert isinstance(roam, Roam)
    if search.detect is not None and "roam" not in search.detect:
        return []
    if change.command != "set":
        group = _group(data, fence.name, change.key, thing.id, "roam")
        return [_event(change.command, group, "roam", tail, when, event_row(search, thing))]
    near = _neighbours(data, roam, thing)
    left = _neighbours(data, roam, change.old) if change.old is not None else {}
    far = {id: other for id, other in left.items() if id not in near}
    if search.nodwell:
        near = {id: other for id, other in near.items() if id not in left}
    if not near and not far:
        return []
    group = _group(data, fence.name, change.key, thing.id, "roam")
    event = _event(change.command, group, "roam", tail, when, event_row(search, thing))
    return [
        f"{event[:-1]},{_company(data, roam, kind, thing, other)}}}"
        for kind, others in (("nearby", near), ("faraway", far))
        for other in sorted(others.values(), key=lambda other: (apart(thing.geo, other.geo), other.id))
    ]


def _neighbours(data: Data, roam: Roam, thing: Thing) -> dict[str, Thing]:
    """Those of the other collection that are in the box around it."""
    collection = data.get(roam.key)
    if collection is None:
        return {}
    x, y = thing.geo.center
    found = collection.around(box_around(y, x, roam.meters))
    return {
        other.id: other
        for other in found
        if other.id != thing.id
        and (matches(roam.id, other.id) if is_pattern(roam.id) else other.id == roam.id)
    }


def _company(data: Data, roam: Roam, kind: str, thing: Thing, other: Thing) -> str:
    meters = format_float(floor(apart(thing.geo, other.geo) * 1000) / 1000)
    named = f'"key":{json_string(roam.key)},"id":{json_string(other.id)}'
    scan = f',"scan":[{_scan(data, roam, other)}]' if roam.scan else ""
    return f'"{kind}":{{{named},"object":{other.geo.text},"meters":{meters}{scan}}}'


def _scan(data: Data, roam: Roam, other: Thing) -> str:
    collection = data.get(roam.key)
    assert collection is not None
    found = [each for each in collection.by_id() if matches(other.id + roam.scan, each.id) and each != other]
    rows = [f'{{"id":{json_string(other.id)},"self":true,"object":{other.geo.text}}}']
    rows += [f'{{"id":{json_string(each.id)},"object":{each.geo.text}}}' for each in found]
    return ",".join(rows)


def hook_events(data: Data, change: Change) -> list[tuple[Hook, str]]:
    """The events of all hooks and channels for a change: leaving before entering, then by name."""
    found = [
        (hook, event)
        for hook in data.hooks.values()
        if hook.key == change.key and _concerned(hook.search, change)
        for event in events(data, of_hook(hook), change)
    ]
    return sorted(found, key=lambda each: (_ORDER.get(_word(each[1]), 0), each[0].name))


def _word(event: str) -> str:
    _, _, behind = event.partition('"detect":"')
    return behind.partition('"')[0]


def _concerned(search: Search, change: Change) -> bool:
    """Whether the change touches the fence's box, or the fence tells of what is outside, too."""
    if search.detect is None or "outside" in search.detect or not isinstance(search.area, Geo):
        return search.detect is None or "outside" in search.detect
    west, south, east, north = search.area.box
    boxes = [thing.geo.box for thing in (change.thing, change.old) if thing is not None]
    if "cross" in search.detect and len(boxes) == 2:
        boxes.append(_union(*boxes))
    return any(b[0] <= east and b[2] >= west and b[1] <= north and b[3] >= south for b in boxes)


def _union(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])
