"""Commands of the embedded node, with the replies of the real one."""

from __future__ import annotations

import json

from tests.unit.dev.tile38.bench import NodeCase


class ObjectTests(NodeCase):
    """Objects, fields and lifetimes."""

    def test_kinds(self) -> None:
        """Each kind of object comes back in each form."""
        self.script(
            """
            > SET fleet truck1 POINT 33.5 -112.2
            'OK'
            > GET fleet truck1
            '{"type":"Point","coordinates":[-112.2,33.5]}'
            > GET fleet truck1 POINT
            ['33.5', '-112.2']
            > GET fleet truck1 HASH 7
            '9tbnwf6'
            > SET fleet box BOUNDS 33 -113 34 -112
            'OK'
            > GET fleet box BOUNDS
            [['33', '-113'], ['34', '-112']]
            > GET fleet box
            '{"type":"Polygon","coordinates":[[[-113,33],[-112,33],[-112,34],[-113,34],[-113,33]]]}'
            > SET fleet hash HASH 9tbnthxzr
            'OK'
            > GET fleet hash POINT
            ['33.5123', '-112.26933000000001']
            > SET fleet text STRING | any text
            'OK'
            > GET fleet text
            'any text'
            > SET fleet shape OBJECT | {"type":"LineString", "coordinates":[[1,2.50],[3,4]], "bbox":[1.0]}
            'OK'
            > GET fleet shape
            '{"type":"LineString","coordinates":[[1,2.5],[3,4]],"bbox":[1.0]}'
            > STATS fleet nothing
            [['in_memory_size', '126', 'num_objects', '5', 'num_points', '6', 'num_strings', '1'], None]
            > BOUNDS fleet
            [['-113', '2.5'], ['3', '34']]
            """
        )

    def test_fields(self) -> None:
        """Fields are kept by name, those of zero are not, and NX, XX and FSET tell what they did."""
        self.script(
            """
            > SET fleet truck1 FIELD speed 90 FIELD age 0 FIELD name x POINT 33 -112
            'OK'
            > GET fleet truck1 WITHFIELDS POINT
            [['33', '-112'], ['name', 'x', 'speed', '90']]
            > FSET fleet truck1 speed 90 age 2
            1
            > FGET fleet truck1 age
            '2'
            > FEXISTS fleet truck1 none
            0
            > FSET fleet nobody speed 1
            '-ERR id not found'
            > FSET fleet nobody XX speed 1
            0
            > SET fleet truck1 NX POINT 1 1
            None
            > SET fleet nobody XX POINT 1 1
            None
            > SET fleet truck1 FIELD lat 1 POINT 1 1
            "-ERR invalid argument 'lat'"
            """
        )

    def test_lifetimes(self) -> None:
        """What is over is deleted, in the log as well."""
        self.script(
            """
            > SET fleet truck1 EX 10.5 POINT 33 -112
            'OK'
            > TTL fleet truck1
            10
            > EXPIRE fleet truck1 20
            1
            > TTL fleet truck1
            20
            > PERSIST fleet truck1
            1
            > TTL fleet truck1
            -1
            > EXPIRE fleet truck1 1
            1
            > TTL fleet nobody
            -2
            """
        )
        self.reactor.pump([0.25] * 6)
        self.assertEqual(self.ask("EXISTS fleet truck1"), "-ERR key not found")
        self.assertTrue(self.memory.log().endswith(b"*3\r\n$3\r\ndel\r\n$5\r\nfleet\r\n$6\r\ntruck1\r\n"))

    def test_removal(self) -> None:
        """One, by pattern, all of a key, everything."""
        for number in range(5):
            self.ask(f"SET fleet truck{number} POINT 33 -112")
        self.script(
            """
            > DEL fleet truck0
            1
            > DEL fleet truck0
            0
            > DEL fleet truck0 ERRON404
            '-ERR id not found'
            > PDEL fleet truck[12]
            2
            > RENAME fleet park
            'OK'
            > KEYS *
            ['park']
            > TYPE park
            'hash'
            > DROP park
            1
            > DROP park
            0
            > FLUSHDB
            'OK'
            """
        )

    def test_documents(self) -> None:
        """Texts as JSON documents."""
        self.script(
            """
            > JSET user 901 name.first Tom
            'OK'
            > JSET user 901 list.-1 5
            'OK'
            > JGET user 901
            '{"name":{"first":"Tom"},"list":[5]}'
            > JGET user 901 name.first
            'Tom'
            > JGET user 901 nothing
            None
            > JDEL user 901 list
            1
            """
        )


class SearchTests(NodeCase):
    """Searches."""

    def setUp(self) -> None:
        super().setUp()
        for number in range(4):
            self.ask(f"SET fleet truck{number} FIELD speed {number * 10} POINT 33.{number} -112")
        self.ask("SET fleet note STRING", "a note")

    def test_scan(self) -> None:
        """By id, in pages, with patterns and fields."""
        self.script(
            """
            > SCAN fleet LIMIT 2 IDS
            [2, ['note', 'truck0']]
            > SCAN fleet CURSOR 1 MATCH truck* WHERE speed 10 (30 IDS
            [0, ['truck1', 'truck2']]
            > SCAN fleet DESC LIMIT 1 POINTS
            [1, [['truck3', ['33.3', '-112'], ['speed', '30']]]]
            > SCAN fleet COUNT
            5
            > SEARCH fleet IDS
            [0, ['note']]
            > SCAN fleet WHEREIN speed 2 10 30 NOFIELDS HASHES 4
            [0, [['truck1', '9tbk'], ['truck3', '9tbm']]]
            """
        )

    def test_places(self) -> None:
        """By distance, and by area."""
        self.script(
            """
            > NEARBY fleet LIMIT 2 IDS POINT 33.31 -112
            [2, ['truck3', 'truck2']]
            > NEARBY fleet IDS POINT 33 -112 12000
            [0, ['truck0', 'truck1']]
            > WITHIN fleet IDS BOUNDS 33.05 -113 33.25 -111
            [0, ['truck1', 'truck2']]
            > INTERSECTS fleet IDS CIRCLE 33.2 -112 12000
            [0, ['truck1', 'truck2', 'truck3']]
            > WITHIN fleet BOUNDS 33.05 -113 33.15 -111
            [0, [['truck1', '{"type":"Point","coordinates":[-112,33.1]}', ['speed', '10']]]]
            > TEST POINT 1 1 WITHIN BOUNDS 0 0 2 2
            1
            """
        )

    def test_distances(self) -> None:
        """In metres, on a sphere."""
        _, rows = self.ask("NEARBY fleet DISTANCE LIMIT 2 IDS POINT 33.31 -112")
        self.assertEqual(
            [(id, round(float(far), 3)) for id, far in rows], [("truck3", 1111.949), ("truck2", 12231.442)]
        )

    def test_json(self) -> None:
        """In JSON, all objects have all fields."""
        self.ask("OUTPUT json")
        told = json.loads(self.ask("SCAN fleet MATCH truck[01] POINTS"))
        self.assertTrue(told.pop("elapsed"))
        rows = [
            {"id": "truck0", "point": {"lat": 33, "lon": -112}, "fields": [0]},
            {"id": "truck1", "point": {"lat": 33.1, "lon": -112}, "fields": [10]},
        ]
        self.assertEqual(told, {"ok": True, "fields": ["speed"], "points": rows, "count": 2, "cursor": 0})

    def test_errors(self) -> None:
        """What cannot be is refused in the server's words."""
        self.script(
            """
            > SCAN fleet FENCE
            '-FENCE is not allowed for SCAN'
            > NEARBY fleet DESC POINT 1 1
            '-DESC is not allowed for NEARBY'
            > SCAN fleet LIMIT 0
            "-ERR invalid argument '0'"
            > SCAN fleet LIMIT 1 LIMIT 2
            "-ERR duplicate argument 'LIMIT'"
            > NEARBY fleet
            "-ERR wrong number of arguments for 'nearby' command"
            > WITHIN fleet NOWHERE
            "-ERR invalid argument 'NOWHERE'"
            > FROB
            "-ERR unknown command 'FROB'"
            """
        )

    def test_nowhere(self) -> None:
        """Places that are none are answered."""
        none = "'-ERR these places are none for an embedded node'"
        self.script(
            f"""
            > SET fleet truck1 POINT 33 -112
            'OK'
            > WITHIN fleet IDS BOUNDS nan -115 -1 -115
            [0, []]
            > NEARBY fleet IDS POINT nan 1 1000
            [0, []]
            > TEST BOUNDS nan 1 2 3 INTERSECTS CIRCLE 1 1 100
            0
            > WITHIN fleet IDS CIRCLE nan 1 1000
            {none}
            > NEARBY fleet IDS POINT inf 1
            {none}
            """
        )


class NodeTests(NodeCase):
    """What is about the node."""

    def test_readonly(self) -> None:
        """Writes are refused, after a restart as well, and what ends is still taken away."""
        self.ask("SET fleet truck1 EX 1 POINT 33 -112")
        self.ask("READONLY yes")
        self.memory = self.memory.again()
        self.ask = self.memory.session()
        self.assertEqual(self.ask("SET fleet truck2 POINT 1 1"), "-ERR read only")
        self.assertEqual(self.ask("KEYS *"), ["fleet"])
        self.reactor.pump([0.25] * 6)
        self.assertEqual(self.ask("KEYS *"), [])

    def test_password(self) -> None:
        """Without it only health is told."""
        self.ask("CONFIG SET requirepass sesame")
        self.script(
            """
            > SERVER
            '-ERR authentication required'
            > HEALTHZ
            'OK'
            > AUTH wrong
            '-ERR invalid password'
            > AUTH sesame
            'OK'
            > CONFIG GET requirepass
            ['requirepass', 'sesame']
            > CONFIG SET nothing 1
            '-ERR Unsupported CONFIG parameter: nothing'
            """
        )

    def test_status(self) -> None:
        """It says that it is no real server, and where its log stands."""
        self.ask("SET k i STRING x")
        told = self.ask("SERVER")
        figures = dict(zip(told[::2], told[1::2], strict=True))
        self.assertTrue(figures["version"].endswith("-embedded"))
        self.assertEqual(figures["aof_size"], str(len(self.memory.log())))
        self.assertEqual(self.ask("ROLE"), ["master", len(self.memory.log()), []])
        self.assertIn("aof_rewrite_in_progress:0\r\n", self.ask("INFO persistence"))
        self.assertEqual(self.ask("GET k i"), "x")

    def test_full(self) -> None:
        """A node that may take no more takes no more objects."""
        self.ask("CONFIG SET maxmemory 1kb")
        self.assertIn("-OOM command not allowed", self.ask("SET k i STRING x"))
        self.ask("CONFIG SET maxmemory", "")
        self.assertEqual(self.ask("SET k i STRING x"), "OK")
