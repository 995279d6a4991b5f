"""Distances on the earth, taken for a sphere of 6371 km, in metres; places in degrees."""

from __future__ import annotations

from math import acos, asin, atan2, cos, degrees, fmod, pi, radians, sin, sqrt, tan

EARTH = 6371e3

#: West, south, east, north.
Box = tuple[float, float, float, float]


def haversine(lat_a: float, lon_a: float, lat_b: float, lon_b: float) -> float:
    """The haversine of the angle between two places."""
    a, b = radians(lat_a), radians(lat_b)
    return sin((b - a) / 2) ** 2 + cos(a) * cos(b) * sin(radians(lon_b - lon_a) / 2) ** 2


def distance(lat_a: float, lon_a: float, lat_b: float, lon_b: float) -> float:
    """Metres between two places."""
    return EARTH * 2 * asin(min(1.0, sqrt(haversine(lat_a, lon_a, lat_b, lon_b))))


def within_reach(meters: float) -> float:
    """The haversine of a distance."""
    return sin(0.5 * around(meters) / EARTH) ** 2 if meters > 0 else 0.0


def around(meters: float) -> float:
    """A distance without the times that it goes round the earth."""
    return fmod(meters, 2 * pi * EARTH)


def destination(lat: float, lon: float, meters: float, bearing: float) -> tuple[float, float]:
    """Latitude and longitude after so many metres towards C{bearing}, in degrees from north."""
    angle, course, start = meters / EARTH, radians(bearing), radians(lat)
    end = asin(sin(start) * cos(angle) + cos(start) * sin(angle) * cos(course))
    east = radians(lon) + atan2(sin(course) * sin(angle) * cos(start), cos(angle) - sin(start) * sin(end))
    return degrees(end), degrees(fmod(east + 3 * pi, 2 * pi) - pi)


def box_around(lat: float, lon: float, meters: float) -> Box:
    """What holds every place within a distance; across a pole or 180° it goes all round."""
    turn, middle = meters / EARTH, radians(lat)
    if cos(turn) > 0.999999999999999:
        return lon, lat, lon, lat
    south, north = middle - turn, middle + turn
    if north > pi / 2 or south < -pi / 2:
        return -180.0, degrees(max(south, -pi / 2)), 180.0, degrees(min(north, pi / 2))
    touch = asin(sin(middle) / cos(turn))
    half = acos((cos(turn) - sin(touch) * sin(middle)) / (cos(touch) * cos(middle)))
    west, east = radians(lon) - half, radians(lon) + half
    if west < -pi or east > pi:
        west, east = -pi, pi
    return degrees(west), degrees(south), degrees(east), degrees(north)


def to_box(lat: float, lon: float, box: Box) -> float:
    """Metres from a place to the nearest of a box; none inside.

    After Schubert, Zimek, Kriegel, "Geodetic Distance Queries on R-Trees" (2013).
    """
    west, south, east, north = (radians(side) for side in box)
    y, x = radians(lat), radians(lon)
    if south >= north and west >= east:
        return distance(box[1], box[0], lat, lon)
    if west <= x <= east:
        return EARTH * max(south - y, y - north, 0.0)
    to_west, to_east = (west - x) % (2 * pi), (x - east) % (2 * pi)
    gap, edge = (to_west, box[0]) if to_west <= to_east else (to_east, box[2])
    if gap >= pi / 2:
        corner = box[3] if tan(y) >= tan((north + south) / 2) * cos(gap) else box[1]
        return distance(lat, lon, corner, edge)
    if tan(y) >= tan(north) * cos(gap):
        return distance(lat, lon, box[3], edge)
    if tan(y) <= tan(south) * cos(gap):
        return distance(lat, lon, box[1], edge)
    return EARTH * asin(cos(y) * sin(gap))
