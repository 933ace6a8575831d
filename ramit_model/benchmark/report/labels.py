"""Placement of the names of points in a plot: near their points, without overlaps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from numpy.typing import NDArray

Array = NDArray[np.float64]
Box = tuple[float, float, float, float]

GAPS = (2, 6, 12, 20, 30, 42, 56, 72, 90, 110, 140, 170, 200)
"""Pixels between marker and name that are tried."""
# Right, left, above, below, diagonal, then what is between.
ANGLES = np.deg2rad([0, 180, 90, 270, 45, 135, 315, 225, 22, 158, 338, 202, 68, 112, 292, 248])
PREFERENCE = np.tile(0.1 * np.arange(len(ANGLES)), len(GAPS))
"""Cost of each place: of two that are as near, the earlier angle is better."""
PADDING = 2
"""Pixels kept free around a name."""


def place_names(
    axes: Axes, names: Sequence[Annotation], radii: Array, colors: Sequence[str], *, near: float, linewidth: float
) -> None:
    """Put names beside their markers, with a line to those farther away.

    Args:
        axes: Plot with its final limits.
        names: Names, (N), annotations of the points where the markers are.
        radii: Radii of the markers, (N,), pixels.
        colors: Colors of the lines, (N).
        near: Pixels between a marker and its name within which no line is needed.
        linewidth: Width of the lines, points.
    """
    extents = [name.get_window_extent() for name in names]
    sizes = np.array([(extent.width, extent.height) for extent in extents])
    centers: Array = axes.transData.transform([name.xy for name in names])
    frame = axes.get_window_extent()
    corners = place_labels(centers, radii, sizes, (frame.x0, frame.y0, frame.x1, frame.y1))
    for name, color, center, radius, corner, size in zip(names, colors, centers, radii, corners, sizes, strict=True):
        name.set_position(tuple(corner - center))
        end = np.clip(center, corner, corner + size)
        way = end - center
        distance = float(np.hypot(*way))
        if distance > radius + near:
            line = axes.transData.inverted().transform([center + way * radius / distance, end])
            axes.plot(line[:, 0], line[:, 1], color=color, linewidth=linewidth, zorder=2)


def place_labels(centers: Array, radii: Array, sizes: Array, frame: Box) -> Array:
    """Place names so that they neither overlap each other or a marker nor leave the frame.

    Each name takes the best of several places around its marker, first one after the other, then each again with
    the others in place. Deterministic.

    Args:
        centers: Centers of the markers, (N, 2), pixels.
        radii: Radii of the markers, (N,), pixels.
        sizes: Widths and heights of the names, (N, 2), pixels.
        frame: Left, bottom, right, top.

    Returns:
        Lower left corners of the names, (N, 2), pixels.
    """
    markers = np.concatenate([centers - radii[:, None], centers + radii[:, None]], axis=1)
    candidates = [_places(*around) for around in zip(centers, radii, sizes, strict=True)]
    boxes = np.full((len(centers), 4), np.nan)
    lines = np.full((len(centers), SAMPLES, 2), np.nan)
    for _ in range(5):
        for index, places in enumerate(candidates):
            others = np.arange(len(centers)) != index
            ways = _samples(centers[index], places)
            placed = boxes[others & ~np.isnan(boxes[:, 0])]
            cost = 10 * (_overlap(places, placed) + _overlap(places, markers) + _outside(places, frame))
            # A line through another name or marker, or a name on another's line, misleads.
            cost += 20 * _hits(ways, np.concatenate([placed, markers[others]]))
            cost += 20 * _inside(lines[others].reshape(-1, 2)[None], places).sum(axis=1)
            cost += 0.3 * np.hypot(*(ways[:, -1] - centers[index]).T) + PREFERENCE
            best = int(np.argmin(cost))
            boxes[index], lines[index] = places[best], ways[best]
    return boxes[:, :2] + PADDING


SAMPLES = 12
"""Points that stand for a line."""


def _places(center: Array, radius: float, size: Array) -> Array:
    """Boxes (C, 4) around a marker where its name may go, with the padding."""
    directions = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
    half = size / 2 + PADDING
    # The name touches the circle around the marker with a side where the direction is along an axis, else a corner.
    touching = np.clip(1.6 * directions, -1, 1) * half
    middles = np.concatenate([center + directions * (radius + gap) + touching for gap in GAPS])
    return np.concatenate([middles - half, middles + half], axis=1)


def _samples(center: Array, places: Array) -> Array:
    """Points (C, SAMPLES, 2) of the line from a marker to each place."""
    ends = np.clip(center, places[:, :2], places[:, 2:])
    return center + (ends - center)[:, None] * np.linspace(0, 1, SAMPLES)[:, None]


def _overlap(places: Array, obstacles: Array) -> Array:
    """Area that each place shares with obstacles, (C,)."""
    low = np.maximum(places[:, None, :2], obstacles[None, :, :2])
    high = np.minimum(places[:, None, 2:], obstacles[None, :, 2:])
    return np.prod(np.clip(high - low, 0, None), axis=2).sum(axis=1)


def _outside(places: Array, frame: Box) -> Array:
    """Area of each place outside the frame, (C,)."""
    return np.prod(places[:, 2:] - places[:, :2], axis=1) - _overlap(places, np.array([frame]))


def _inside(points: Array, boxes: Array) -> NDArray[Any]:
    """Which points (1 or B, P, 2) are inside which of the boxes (B, 4): (B, P)."""
    return np.all((points > boxes[:, None, :2]) & (points < boxes[:, None, 2:]), axis=2)


def _hits(ways: Array, boxes: Array) -> Array:
    """How many points of each way (C, P, 2) are in boxes, (C,)."""
    inside = [_inside(ways, np.broadcast_to(box, (len(ways), 4))).sum(axis=1) for box in boxes]
    return np.sum(inside, axis=0, dtype=np.float64) if inside else np.zeros(len(ways))
