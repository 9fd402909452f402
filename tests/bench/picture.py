"""Growth curves as SVG: both axes logarithmic, so that what grows in proportion is a line at 45
degrees of the decades, and what is constant is level."""

import html
import math
import os
import re

import figures

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 300, 70, 20, 40, 50

FRAME = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" font-family="sans-serif" font-size="12">
<rect width="{w}" height="{h}" fill="white"/>
<text x="{left}" y="22" font-size="14">{title}</text>
{body}
</svg>
"""


def decades(low, high):
    """Powers of ten around all figures; one decade at least."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return first, max(last, first + 1)


def draw(title, xs, x_name, ys):
    """The text of a picture of one curve; all figures are above 0."""
    x0, x1 = decades(min(xs), max(xs))
    y0, y1 = decades(min(ys), max(ys))

    def x_at(x):
        return LEFT + (math.log10(x) - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)

    def y_at(y):
        return HEIGHT - BOTTOM - (math.log10(y) - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)

    body = []
    for power in range(x0, x1 + 1):
        x = x_at(10.0 ** power)
        body.append('<path d="M%.1f %d V%d" stroke="#ddd"/>' % (x, TOP, HEIGHT - BOTTOM))
        body.append('<text x="%.1f" y="%d" text-anchor="middle">%s</text>' % (
            x, HEIGHT - BOTTOM + 18, format(10 ** power, ",")))
    for power in range(y0, y1 + 1):
        y = y_at(10.0 ** power)
        body.append('<path d="M%d %.1f H%d" stroke="#ddd"/>' % (LEFT, y, WIDTH - RIGHT))
        body.append('<text x="%d" y="%.1f" text-anchor="end">%s</text>' % (
            LEFT - 6, y + 4, format(10.0 ** power, ",g")))
    points = [(x_at(x), y_at(y)) for x, y in zip(xs, ys)]
    body.append('<polyline points="%s" fill="none" stroke="#06c" stroke-width="2"/>' % " ".join(
        "%.1f,%.1f" % p for p in points))
    for (x, y), figure in zip(points, ys):
        body.append('<circle cx="%.1f" cy="%.1f" r="3" fill="#06c"/>' % (x, y))
        body.append('<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>' % (
            x, y - 8, figures.number(figure)))
    body.append('<text x="%d" y="%d" text-anchor="middle">%s</text>' % (
        (LEFT + WIDTH - RIGHT) // 2, HEIGHT - 10, html.escape(x_name)))
    return FRAME.format(w=WIDTH, h=HEIGHT, left=LEFT, title=html.escape(title),
                        body="\n".join(body))


def draw_all(folder, xs, x_name, rows):
    """A file for each row that has a curve; their paths."""
    paths = []
    for name, ys in rows.items():
        if len(ys) != len(xs) or min(ys) <= 0:
            continue
        path = os.path.join(folder, re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".svg")
        with open(path, "w", encoding="utf-8") as f:
            f.write(draw(name, xs, x_name, ys))
        paths.append(path)
    return paths
