"""A Tile38-compatible node: for trying out, for development, for tests.

C{python -m tile38cm.dev.tile38 -h HOST -p PORT -d FOLDER} runs one.  It reads and writes Tile38's own
log, follows Tile38 and is followed by it.  What it lacks it answers as Tile38 answers an unknown
command, or a word that cannot stand there, and says so in its log: scripts, C{WHERE} with
expressions, hooks to anything but HTTP.

From the bottom up:

- C{text}, C{values}, C{globs}: numbers, field values, patterns, as Tile38 reads and writes them
- C{sphere}, C{geometry}, C{geojson}, C{geohashes}: places, shapes and distances
- C{collection}, C{data}: objects under their keys
- C{calls}: one command, its words, its reply, what it changed
- C{filters}, C{asked}, C{areas}, C{searches}: what a search asks for
- C{shown}, C{objects}, C{documents}, C{scans}: commands about objects, documents, many objects
- C{hooks}, C{fences}, C{hook_commands}: events
- C{logfile}, C{shrinking}, C{config}: what is on the disk
- C{pubsub}, C{node}: what all connections share
- C{status}, C{administration}, C{replication}: commands about the node
- C{commands}: the table of all
- C{live}, C{monitor}, C{connection}: what goes over a socket
- C{following}: the follower's side of the replication
- C{webhooks}: events by HTTP
"""
