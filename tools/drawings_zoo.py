"The methods side by side: how each makes one bell out of two views."
import math

from drawing_pen import Drawing

WIDE, HIGH = 228, 158


def _views(d, x, y):
    "Two views at the left of a panel."
    for k, view in enumerate(("digit", "number")): d.tile(x + 30, y + 62 + 52*k, view, 36)

def _own(d, x, y, role="teacher"):
    "An encoder for each view."
    for k in (0, 1):
        d.arrow([(x + 50, y + 62 + 52*k), (x + 64, y + 62 + 52*k)], "data", width=2)
        d.network(x + 82, y + 62 + 52*k, 32, 36, role)
        d.path([(x + 98, y + 62 + 52*k), (x + 116, y + 80 + 16*k)], f"s-{role} no", 2)

def _joint(d, x, y):
    for k in (0, 1): d.arrow([(x + 50, y + 62 + 52*k), (x + 66, y + 68 + 40*k)], "data", width=2)
    d.network(x + 90, y + 88, 44, 100, "teacher")
    d.arrow([(x + 114, y + 88), (x + 136, y + 88)], "teacher", width=2)

def _rule(d, x, y, sign, r=13):
    "How the bells of the encoders become one."
    d.put("circle", "f-paper s-teacher", cx=x + 124, cy=y + 88, r=r, stroke_width=2)
    d.text(x + 124, y + 94, sign, "f-teacher", 16, 700)

def _humps(d, x, y, parts):
    "A mixture: the mean of some bells, (place, width) each."
    points = [(x + s, y + 114 - 42*sum(math.exp(-((s - m)/w)**2/2) for m, w in parts)/1.3)
              for s in range(146, 223, 2)]
    d.path(points, "s-teacher f-teacher pale", 2.4)

def jvae(d, x, y): _views(d, x, y); _joint(d, x, y); d.bell(x + 180, y + 114, 11, 60)

def jmvae(d, x, y):
    _views(d, x, y); _joint(d, x, y); d.bell(x + 198, y + 114, 8, 64)
    d.bell(x + 160, y + 114, 9, 34, "student")
    d.arrow([(x + 166, y + 66), (x + 186, y + 66)], "student", width=2)

def mvae(d, x, y):
    _views(d, x, y); _own(d, x, y); _rule(d, x, y, "×"); d.bell(x + 182, y + 114, 9, 66)

def mmvae(d, x, y):
    _views(d, x, y); _own(d, x, y); _rule(d, x, y, "+")
    _humps(d, x, y, [(168, 8), (200, 8)])

def mopoe(d, x, y):
    _views(d, x, y); _own(d, x, y); _rule(d, x, y, "×+", 16)
    _humps(d, x, y, [(166, 7), (204, 7), (185, 4)])

def mvtcae(d, x, y):
    mvae(d, x, y)
    d.bell(x + 162, y + 114, 7, 30, "student"); d.bell(x + 202, y + 114, 7, 30, "student")
    for s in (-1, 1):
        d.arrow([(x + 182 + 30*s, y + 74), (x + 182 + 12*s, y + 74)], "student", width=2)

def students(d, x, y):
    _views(d, x, y); _own(d, x, y, "student")
    d.bell(x + 178, y + 80, 8, 42); d.bell(x + 178, y + 136, 13, 34, "student")
    d.arrow([(x + 178, y + 84), (x + 178, y + 98)], "student", width=2)
    d.put("circle", "f-paper s-student", cx=x + 124, cy=y + 88, r=13, stroke_width=2)
    d.text(x + 124, y + 94, "×", "f-student", 18, 700)

def iterative(d, x, y):
    _views(d, x, y)
    d.arrow([(x + 50, y + 62), (x + 64, y + 62)], "data", width=2)
    d.network(x + 82, y + 62, 32, 36, "teacher")
    d.arrow([(x + 100, y + 62), (x + 136, y + 62)], "teacher", width=2)
    d.bell(x + 178, y + 92, 11, 56)
    d.arrow([(x + 50, y + 118), (x + 178, y + 118), (x + 178, y + 98)], "gradient", dashed=True)
    d.text(x + 116, y + 138, "gradient", "f-gradient", 14, 600)

PANELS = {"JVAE": jvae, "JMVAE-kl": jmvae, "MVAE": mvae, "MMVAE": mmvae, "MoPoE": mopoe,
          "MVTCAE": mvtcae, "Students": students, "Iterative teacher": iterative}

def zoo():
    "All methods."
    d = Drawing("The methods side by side",
                "Eight panels. JVAE: one encoder of both views. JMVAE-kl: the same; a student's "
                "bell drawn to its. MVAE: a product of each view's bell. MMVAE: their mixture. "
                "MoPoE: a mixture of products. MVTCAE: a product, with each view's bell drawn to "
                "it. Students: an encoder for each view copies a teacher's bell. Iterative "
                "teacher: one view starts, all views correct by the gradient.", 706,
                "From two views to one bell")
    for i, (name, draw) in enumerate(PANELS.items()):
        x, y = 8 + 236*(i % 2), 46 + 164*(i//2)
        d.box(x, y, WIDE, HIGH)
        d.text(x + 12, y + 26, name, size=16, weight=600, anchor="start")
        draw(d, x, y)
    return d
