# SPDX-License-Identifier: GPL-2.0
"""A bar chart of small differences, as SVG, with nothing but Python."""
from html import escape

COLOURS = ["#4477aa", "#ee7733", "#228833"]
FONT = "font-family='sans-serif' font-size='13'"
LEFT, RIGHT, TOP = 330, 90, 92
BAR, SPACE = 18, 18


def nice_step(span, parts=6):
    """A round step (1, 2 or 5 times a power of ten) for an axis of SPAN."""
    power = 1e-9
    while True:
        for factor in (1, 2, 5):
            if span / (factor * power) <= parts:
                return factor * power
        power *= 10


def text(x, y, words, more=""):
    """One line of text at (X, Y)."""
    return f"<text x='{x:.1f}' y='{y:.1f}' {FONT} {more}>{escape(words)}</text>"


# pylint: disable-next=too-many-arguments,too-many-positional-arguments,too-many-locals
def chart(title, subtitle, series, rows, limit, width=900):
    """SVG text. SERIES: names of the bars in each row; ROWS: (label,
    [difference in per cent, ...]); LIMIT: in per cent, drawn as a line."""
    values = [v for _, row in rows for v in row] + [0, limit]
    low, high = min(values), max(values)
    room = (high - low) * 0.1
    low, high = (low - room if low < 0 else 0), high + room
    plot = width - LEFT - RIGHT
    each = BAR * len(series) + SPACE
    bottom = TOP + each * len(rows)
    height = bottom + 56

    def at(value):
        return LEFT + (value - low) / (high - low) * plot

    out = [f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' "
           f"height='{height}' viewBox='0 0 {width} {height}'>",
           f"<rect width='{width}' height='{height}' fill='white'/>",
           text(16, 26, title, "font-weight='bold'"),
           text(16, 46, subtitle, "fill='#555'")]
    x = 16
    for name, colour in zip(series, COLOURS):
        out += [f"<rect x='{x}' y='60' width='12' height='12' "
                f"fill='{colour}'/>", text(x + 18, 71, name)]
        x += 44 + 8 * len(name)
    step = nice_step(high - low)
    tick = int(low / step) * step
    while tick <= high:
        out += [f"<line x1='{at(tick):.1f}' x2='{at(tick):.1f}' y1='{TOP}' "
                f"y2='{bottom}' stroke='#ddd'/>",
                text(at(tick), bottom + 18, f"{tick:+.4g} %" if
                     abs(tick) > step / 2 else "0",
                     "text-anchor='middle' fill='#555'")]
        tick += step
    for index, (label, row) in enumerate(rows):
        y = TOP + each * index + SPACE / 2
        out.append(text(LEFT - 12, y + BAR * len(row) / 2 + 4, label,
                        "text-anchor='end'"))
        for value, colour in zip(row, COLOURS):
            start, end = sorted((at(0), at(value)))
            out.append(f"<rect x='{start:.1f}' y='{y:.1f}' "
                       f"width='{max(end - start, 1):.1f}' "
                       f"height='{BAR - 3}' fill='{colour}'/>")
            out.append(text(max(end, at(0)) + 5, y + BAR - 6,
                            f"{value:+.4f} %"))
            y += BAR
    out += [f"<line x1='{at(0):.1f}' x2='{at(0):.1f}' y1='{TOP}' "
            f"y2='{bottom}' stroke='black'/>",
            f"<line x1='{at(limit):.1f}' x2='{at(limit):.1f}' y1='{TOP - 6}' "
            f"y2='{bottom}' stroke='#cc3311' stroke-width='2' "
            "stroke-dasharray='6 4'/>",
            text(at(limit), bottom + 38, f"limit {limit:+.4g} %",
                 "text-anchor='middle' fill='#cc3311'"),
            "</svg>", ""]
    return "\n".join(out)
