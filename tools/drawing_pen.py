"A pen for small drawings in SVG: shapes with one meaning and one colour each, on light and dark."
import math, re
from html import escape

# One colour for each role, on a light and on a dark page; the lessons draw with the light ones
ROLES = dict(data=("#0072b2", "#5db8f0"), teacher=("#c94f00", "#ff9a55"),
             student=("#00805d", "#35d0a2"), gradient=("#a8487f", "#ea9cc9"))
PAPER = dict(paper=("#ffffff", "#20262e"), ink=("#1f2733", "#e8ecf1"), soft=("#566070", "#aab4c1"),
             line=("#c9d0d9", "#4a5563"))
WIDTH = 480   # of every drawing, in its own units; on a phone they are three quarters of a pixel
LOWERED = 12.4   # size of the smallest letters, those of a subscript

KINDS = dict(no="fill:none", cross="stroke-opacity:.8", dash="stroke-dasharray:6 4",
             pale="fill-opacity:.16", faint="opacity:.5")

def style(shapes):
    """The style sheet of these shapes (SVG), with no rule that none of them needs. It follows the
    page's scheme where a page gives one, else the reader's."""
    classes = set(" ".join(re.findall(r'class="([^"]*)"', shapes)).split())
    needed = {n: c for n, c in {**ROLES, **PAPER}.items() if classes & {f"f-{n}", f"s-{n}"}}
    side = lambda i: "".join(f"--{n}:{c[i]};" for n, c in needed.items())
    colours = {f"{k}-{n}": f"{what}:var(--{n})" for n in needed for k, what in
               (("f", "fill"), ("s", "stroke"))}
    rules = "".join(f".{c}{{{r}}}" for c, r in {**colours, **KINDS}.items() if c in classes)
    return (f"svg{{{side(0)}font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',"
            f"sans-serif}}@media(prefers-color-scheme:dark){{svg{{{side(1)}}}}}{rules}"
            "path,rect,circle,ellipse{stroke-linejoin:round;stroke-linecap:round}")

def subscripts(said, size=16):
    "`q_{t+1}` and `x_1` as SVG text with lowered, smaller letters: 9 pixels on a phone, or more."
    share = max(72, math.ceil(100*LOWERED/size))
    low = lambda m: (f'<tspan dy="4" font-size="{share}%">{m[1] or m[2]}</tspan><tspan dy="-4">'
                     "&#8203;</tspan>")
    return re.sub(r"_(?:\{([^}]*)\}|(\w))", low, escape(str(said)))


class Drawing:
    "A card that shapes are put on, in order; `svg()` is the file."
    def __init__(self, title, # one line, for screen readers
                 told, # what is to be seen, in sentences, for screen readers
                 height, # in units; the width is `WIDTH`
                 head="" # a heading inside the drawing; lines are split at |
                ):
        self.title, self.told, self.height, self.parts = title, told, height, []
        for i, line in enumerate(head.split("|") if head else []):
            self.text(20, 32 + 24*i, line, size=19, weight=600, anchor="start")

    def put(self, tag, css="", **at):
        "One element; underscores in names become hyphens."
        given = "".join(f' {k.replace("_", "-")}="{v}"' for k, v in at.items())
        self.parts.append(f'<{tag} class="{css}"{given}/>')

    def text(self, x, y, said, css="f-ink", size=16, weight=400, anchor="middle", slant=False):
        "A line of text; `_x` and `_{xy}` lower letters."
        style = ' font-style="italic"' if slant else ""
        self.parts.append(f'<text class="{css}" x="{x:g}" y="{y:g}" font-size="{size}" '
                          f'font-weight="{weight}" text-anchor="{anchor}"{style}>'
                          f'{subscripts(said, size)}</text>')

    def path(self, points, css="s-ink no", width=2.2, smooth=False):
        "A line through points; `smooth` takes every second point as a control point."
        at = [f"{x:g} {y:g}" for x, y in points]
        if smooth: d = f"M{at[0]}" + "".join(f"Q{a} {b}" for a, b in zip(at[1::2], at[2::2]))
        else: d = "M" + "L".join(at)
        self.put("path", css, d=d, stroke_width=width)

    def arrow(self, points, role="ink", dashed=False, smooth=False, width=2.4):
        "A line with a head at its last point."
        (x0, y0), (x1, y1) = points[-2:]
        size = math.hypot(x1 - x0, y1 - y0)
        ux, uy = (x1 - x0)/size, (y1 - y0)/size
        short = [*points[:-1], (x1 - 7*ux, y1 - 7*uy)]
        self.path(short, f"s-{role} no" + (" dash" if dashed else ""), width, smooth)
        sides = [(x1 - 11*ux + s*6*uy, y1 - 11*uy - s*6*ux) for s in (-1, 1)]
        corners = "L".join(f"{x:.1f} {y:.1f}" for x, y in [(x1, y1), *sides])
        self.put("path", f"f-{role}", d=f"M{corners}Z")

    # ---- data: a rounded square with a blue edge

    def tile(self, x, y, view="digit", size=52, state="given"):
        "A view, centred at (x, y): a digit, a street number, a word, ...; or its absence."
        at = dict(x=f"{x - size/2:g}", y=f"{y - size/2:g}", width=size, height=size, rx=7)
        if state == "hole":
            self.put("rect", "s-data no dash", stroke_width=2.2, **at)
            self.text(x, y + size*.15, "?", "f-data", size=round(size*.46), weight=600)
            return
        grounds = dict(digit="#11151a", number="#8a765c", word="#fbfaf5", bird="#dbe7d3",
                       face="#e6ddd2")
        self.parts.append(f'<g class="{"faint" if state == "guess" else ""}">')
        self.put("rect", "s-data", fill=grounds[view], stroke_width=2.6, **at)
        getattr(self, f"_{view}")(x, y, size)
        self.parts.append("</g>")

    def _digit(self, x, y, s):
        at = [(x - .22*s, y - .25*s), (x + .24*s, y - .27*s), (x - .04*s, y + .31*s)]
        d = "L".join(f"{a:g} {b:g}" for a, b in at)
        self.parts.append(f'<path class="no" d="M{d}" stroke="#fff" stroke-width="{s*.1:g}"/>')

    def _write(self, x, y, said, size, fill, weight=700):
        self.parts.append(f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" font-weight="{weight}" '
                          f'text-anchor="middle" fill="{fill}">{said}</text>')

    def _number(self, x, y, s): self._write(x, y + s*.25, "7", s*.72, "#f3e9cf")
    def _word(self, x, y, s): self._write(x, y + s*.09, "seven", s*.26, "#1f2733", 600)

    def _bird(self, x, y, s):
        p = lambda a, b: f"{x + a*s:g} {y + b*s:g}"
        self.parts.append(f'<path fill="#55708c" d="M{p(-.36, .22)}Q{p(-.3, -.12)} {p(.04, -.1)}'
                          f'Q{p(.08, -.32)} {p(.24, -.28)}L{p(.38, -.2)}L{p(.26, -.14)}'
                          f'Q{p(.28, .24)} {p(-.08, .22)}Z"/><circle cx="{x + .2*s:g}" '
                          f'cy="{y - .2*s:g}" r="{s*.03:g}" fill="#fff"/>')

    def _face(self, x, y, s):
        p = lambda a, b: f"{x + a*s:g} {y + b*s:g}"
        self.parts.append(f'<ellipse cx="{x:g}" cy="{y + .05*s:g}" rx="{.25*s:g}" ry="{.31*s:g}" '
                          f'fill="#d9a27c"/><path fill="#5b4030" d="M{p(-.27, .02)}Q{p(-.3, -.4)} '
                          f'{p(0, -.38)}Q{p(.3, -.4)} {p(.27, .02)}Q{p(.16, -.2)} {p(-.05, -.18)}'
                          f'Q{p(-.2, -.16)} {p(-.27, .02)}Z"/><path fill="none" stroke="#7a2f2a" '
                          f'stroke-width="{s*.035:g}" d="M{p(-.1, .18)}Q{p(0, .27)} {p(.1, .18)}"/>'
                          f'<circle cx="{x - .09*s:g}" cy="{y:g}" r="{s*.03:g}" fill="#222"/>'
                          f'<circle cx="{x + .09*s:g}" cy="{y:g}" r="{s*.03:g}" fill="#222"/>')

    # ---- a latent is a circle, a posterior a bell, a network a trapezium

    def node(self, x, y, name="z", r=26):
        "A hidden variable."
        self.put("circle", "s-ink f-paper", cx=x, cy=y, r=r, stroke_width=2.4)
        self.text(x, y + 6, name, size=20, slant=True)

    def curve(self, x, y, sd, height, reach=3):
        "Points of a bell with its foot at (x, y); a small one needs fewer."
        half = 24 if sd > 20 else 16
        steps = [reach*(i/half - 1) for i in range(2*half + 1)]
        return [(round(x + sd*s, 1), round(y - height*math.exp(-s*s/2), 1)) for s in steps]

    def bell(self, x, y, sd=20, height=60, role="teacher", dashed=False, filled=True, width=2.6):
        "A posterior: a bell with its foot at (x, y)."
        css = f"s-{role} " + (f"f-{role} pale" if filled else "no") + (" dash" if dashed else "")
        self.path(self.curve(x, y, sd, height), css, width)

    def axis(self, x0, x1, y, name="z"):
        "A line for z."
        self.path([(x0, y), (x1, y)], "s-soft no", 1.4)
        if name: self.text(x1 + 10, y + 5, name, "f-soft", slant=True)

    def network(self, x, y, w=54, h=58, role="ink", name="", turned=False, narrow=.5):
        "A network, centred at (x, y): it narrows to the right, or, `turned`, widens."
        a, b = (h*narrow/2, h/2) if turned else (h/2, h*narrow/2)
        at = [(x - w/2, y - a), (x + w/2, y - b), (x + w/2, y + b), (x - w/2, y + a)]
        corners = "L".join(f"{p:g} {q:g}" for p, q in at)
        self.put("path", f"s-{role} f-{role} pale", d=f"M{corners}Z", stroke_width=2.2)
        if name: self.text(x, y + 6, name, size=16)

    def box(self, x, y, w, h, role="line", dashed=False, filled=False):
        "A frame with its upper left corner at (x, y)."
        css = f"s-{role} " + (f"f-{role} pale" if filled else "no") + (" dash" if dashed else "")
        self.put("rect", css, x=x, y=y, width=w, height=h, rx=10, stroke_width=2)

    def cross(self, x, y, w, h, role="teacher"):
        "Cross out a rectangle."
        for a, b in [((x, y), (x + w, y + h)), ((x, y + h), (x + w, y))]:
            self.path([a, b], f"s-{role} no cross", 5)

    def svg(self):
        "The file."
        edge = dict(x=1, y=1, width=WIDTH - 2, height=self.height - 2, rx=12)
        inner = "".join(f' {k}="{v}"' for k, v in edge.items())
        shown = (540, round(540*self.height/WIDTH))
        card = f'<rect class="f-paper s-line"{inner} stroke-width="1.5"/>'
        shapes = "\n".join([card, *self.parts])
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" '
                f'width="{shown[0]}" height="{shown[1]}" role="img" aria-labelledby="t d">\n'
                f'<title id="t">{escape(self.title)}</title>\n'
                f'<desc id="d">{escape(self.told)}</desc>\n<style>{style(shapes)}</style>\n'
                f"{shapes}\n</svg>\n")
