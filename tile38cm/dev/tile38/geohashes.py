"""Geohashes, quadkeys and map tiles as boxes and places."""

from __future__ import annotations

from math import atan, ceil, exp, floor, log10, pi

import pygeohash

from tile38cm.dev.tile38.sphere import Box


def encode(x: float, y: float, letters: int) -> str:
    """The geohash of a place."""
    return pygeohash.encode(y, x, precision=letters)


def box_of(geohash: str) -> Box:
    """What a geohash covers.

    @raise ValueError: It is none.
    """
    found = pygeohash.decode_exactly(geohash.lower())
    lat, lon = found.latitude, found.longitude
    lat_error, lon_error = found.latitude_error, found.longitude_error
    return lon - lon_error, lat - lat_error, lon + lon_error, lat + lat_error


def place_of(geohash: str) -> tuple[float, float]:
    """Longitude and latitude inside a geohash, with as few digits as tell it from its neighbours.

    @raise ValueError: It is none.
    """
    west, south, east, north = box_of(geohash)
    return _short(west, east), _short(south, north)


def _short(least: float, most: float) -> float:
    unit = float(f"1e{floor(log10(most - least))}")
    return ceil(least / unit) * unit


def tile_box(x: int, y: int, zoom: int) -> Box:
    """What a tile of the web's maps covers."""
    west, north = _corner(x, y, zoom)
    east, south = _corner(x + 1, y + 1, zoom)
    return west, south, east, north


def _corner(x: int, y: int, zoom: int) -> tuple[float, float]:
    size = 256 << zoom
    across, down = (min(max(each << 8, 0), size - 1) / size for each in (x, y))
    return 360 * (across - 0.5), 90 - 360 * atan(exp(-(0.5 - down) * 2 * pi)) / pi


def quadkey_box(key: str) -> Box:
    """What a quadkey's tile covers.

    @raise ValueError: It is none.
    """
    x = y = 0
    for letter in key:
        quarter = "0123".index(letter)
        x, y = x * 2 + (quarter & 1), y * 2 + (quarter >> 1)
    return tile_box(x, y, len(key))
