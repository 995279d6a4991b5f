"""Makes C{tile38cm} a subcommand of C{twist} and C{twistd}.

Every use of those commands loads this file, so it imports nothing of ours.
"""

from twisted.application.service import ServiceMaker

tile38cm = ServiceMaker(
    "tile38cm",
    "tile38cm.tap",
    "High availability for Tile38: a writer proxy, a reader proxy, and who leads.",
    "tile38cm",
)
