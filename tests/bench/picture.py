"""Growth curves as SVG: both axes logarithmic, so that what grows in proportion is a line at 45
degrees of the decades, and what is constant is level."""

import html
import math

import figures

# RIGHT holds the curves' names.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 840, 420, 70, 280, 40, 50
COLOURS = ("#06c", "#c30", "#080", "#909", "#960", "#066")

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


def apart(wanted, distance):
    """The nearest places to those wanted, in their order, that far from each other."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    out, last = list(wanted), -math.inf
    for i in order:
        out[i] = last = max(wanted[i], last + distance)
    return out


def draw(title, xs, x_name, curves):
    """The text of a picture of `curves`, {name: figures}; all figures are above 0, and there are no
    more curves than colours.  The first figure of each stands at its point, the last at its name."""
    right = WIDTH - RIGHT
    x0, x1 = decades(min(xs), max(xs))
    y0, y1 = decades(min(map(min, curves.values())), max(map(max, curves.values())))

    def x_at(x):
        return LEFT + (math.log10(x) - x0) / (x1 - x0) * (right - LEFT)

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
        body.append('<path d="M%d %.1f H%d" stroke="#ddd"/>' % (LEFT, y, right))
        body.append('<text x="%d" y="%.1f" text-anchor="end">%s</text>' % (
            LEFT - 6, y + 4, format(10.0 ** power, ",g")))
    names_at = apart([y_at(ys[-1]) for ys in curves.values()], 15)
    firsts_at = apart([y_at(ys[0]) - 8 for ys in curves.values()], 13)
    for colour, (name, ys), name_at, first_at in zip(COLOURS, curves.items(), names_at, firsts_at):
        points = [(x_at(x), y_at(y)) for x, y in zip(xs, ys)]
        body.append('<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>' % (
            " ".join("%.1f,%.1f" % p for p in points), colour))
        body += ['<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (*p, colour) for p in points]
        body.append('<text x="%.1f" y="%.1f" fill="%s">%s</text>' % (
            points[0][0] + 6, first_at, colour, figures.number(ys[0])))
        body.append('<text x="%d" y="%.1f" fill="%s">%s %s</text>' % (
            right + 8, name_at + 4, colour, figures.number(ys[-1]), html.escape(name)))
    body.append('<text x="%d" y="%d" text-anchor="middle">%s</text>' % (
        (LEFT + right) // 2, HEIGHT - 10, html.escape(x_name)))
    return FRAME.format(w=WIDTH, h=HEIGHT, left=LEFT, title=html.escape(title),
                        body="\n".join(body))
