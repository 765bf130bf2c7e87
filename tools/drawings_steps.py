"Third drawings of the main lessons: the step of each that is hardest to follow in words."
import math

from drawing_pen import Drawing
from drawings_workshop import VIEWS, say


def bar(d, x, y, h=30):
    "A thick bar: here a gradient is stopped."
    d.path([(x, y - h/2), (x, y + h/2)], "s-ink no", 5)

def _lane(d, y, views, role, name, sd, height, at=226):
    "From views through an encoder to a bell, and through a decoder to a street number."
    for k, view in enumerate(views):
        up = y + 46*(k - (len(views) - 1)/2)
        d.tile(44, up, view, 40); d.arrow([(66, up), (86, y + (up - y)*.5)], "data")
    d.network(114, y, 50, 84, role, name, narrow=.6); d.arrow([(140, y), (160, y)], role)
    d.axis(164, 288, y + 32, ""); d.bell(at, y + 32, sd, height, role)
    d.arrow([(292, y), (322, y)]); d.text(304, y - 10, "z", slant=True)
    d.network(352, y, 54, 66, turned=True); d.text(352, y + 6, "x_2", slant=True)
    d.arrow([(380, y), (404, y)]); d.tile(428, y, "number", 44, "guess")

def across():
    "04: what generates, and what was trained."
    d = Drawing("From one view to another",
                "Above, in training: digit and street number go through the joint encoder to a "
                "narrow orange bell, and from there through the decoder to the street number. "
                "Below, in use: the digit alone goes through its own encoder to a broad green bell "
                "and through the same decoder. Dashed in the broad bell stand two joint bells of "
                "this digit: the upper lane's, at the same place, and that with another street "
                "number. Between the two lanes stands the KL.", 460,
                "x_2 from x_1: trained above, used below")
    d.text(20, 64, "in training: both views are there", "f-soft", 15, anchor="start")
    _lane(d, 124, VIEWS[:2], "teacher", "joint", 10, 74, 260)
    d.text(260, 180, "q(z | x)", "f-teacher", 16, 600, slant=True)
    d.arrow([(260, 190), (260, 226)], "teacher")
    d.text(248, 208, "KL(q ‖ q_1)", "f-teacher", 15, 600, anchor="end")
    d.path([(352, 160), (352, 246)], "s-soft no dash", 1.8)
    d.text(364, 212, "the same net", "f-soft", 15, anchor="start")
    d.text(20, 228, "in use: x_1 alone", "f-soft", 15, anchor="start")
    for x in (192, 260): d.bell(x, 316, 10, 74, "teacher", dashed=True, filled=False, width=1.8)
    _lane(d, 284, VIEWS[:1], "student", "own", 21, 52)
    d.text(226, 342, "q_1(z | x_1)", "f-student", 16, 600, slant=True)
    d.text(240, 376, "log of the lower row  ≥  E log of the upper  −  KL", size=15, weight=600)
    say(d, 404, "Dashed: the upper bell, and the one with another x_2.",
        "One bell for all of them must be broad, so it covers z",
        "that the decoder never met in training.")
    return d

def _forward(d):
    "Both lanes of `stopped`, up to the decoders that they share."
    for y, views, role, name in [(116, VIEWS[:2], "teacher", "φ"),
                                 (276, VIEWS[:1], "student", "q_m")]:
        for k, view in enumerate(views):
            at = y + 42*(k - (len(views) - 1)/2)
            d.tile(38, at, view, 36); d.arrow([(58, at), (72, y + (at - y)*.5)], "data")
        d.network(98, y, 46, 72, role, name, narrow=.6)
        d.arrow([(122, y - 12), (144, y - 12)], role)
        d.axis(146, 254, y + 28, ""); d.arrow([(258, y - 12), (294, y - 12)])
        d.text(428, y - 18, "explain all:", size=15); d.arrow([(356, y - 12), (380, y - 12)])
    d.bell(200, 144, 9, 66); d.bell(200, 304, 17, 46, "student")
    d.box(296, 74, 60, 244, "ink"); d.text(326, 190, "θ", size=20, slant=True)
    d.text(326, 214, "decode", size=14)

def stopped():
    "04: which gradient goes where."
    d = Drawing("Three groups, three gradients",
                "Two lanes lead into the same decoders: all views through the joint encoder, one "
                "view through a student. Gradients, purple dashed arrows, go back from both "
                "reconstructions into the decoders; from the upper one on to the joint encoder; "
                "from the KL between the two bells to the student. Thick bars stop them on the "
                "way from the decoders to the student and from the KL to the joint encoder.", 394,
                "Three groups, three gradients")
    _forward(d)
    for y in (128, 288):
        d.arrow([(386, y), (358, y)], "gradient", dashed=True)
        d.text(428, y + 6, "½ log p", "f-gradient", 16, 600)
    d.arrow([(294, 128), (226, 128)], "gradient", dashed=True)
    d.text(276, 153, "× 2", "f-gradient", 15, 600)
    d.arrow([(176, 128), (124, 128)], "gradient", dashed=True)
    d.arrow([(294, 288), (272, 288)], "gradient", dashed=True); bar(d, 266, 288)
    d.arrow([(200, 212), (200, 256)], "gradient", dashed=True)
    d.arrow([(172, 288), (124, 288)], "gradient", dashed=True)
    d.path([(200, 176), (200, 184)], "s-gradient no", 2.4)
    d.path([(184, 172), (216, 172)], "s-ink no", 5)
    d.text(200, 202, "KL(q ‖ q_m)", "f-gradient", 15, 600)
    say(d, 352, "At a thick bar (sg) a gradient ends. So the upper",
        "encoder is a JVAE’s; only θ learns from both lanes.")
    return d

HELD = (("slant", "data"), ("shared", "teacher"), ("colour", "data"))

def _blocks(d, y, which, h=24, cost=False):
    "A term as blocks: which parts of z it counts; a cost is dashed and empty."
    for k in which:
        role = HELD[k][1]
        d.put("rect", f"s-{role} " + ("no dash" if cost else f"f-{role} pale"), x=212 + 82*k,
              y=y - h/2, width=78, height=h, rx=5, stroke_width=2)
        if h > 20: d.text(251 + 82*k, y + 5, HELD[k][0], size=15)

def _sums(d, y, terms, h):
    "The terms of one form under each other, and what is left."
    for k, (said, which) in enumerate(terms):
        cost = said.startswith("−")
        d.text(196, y + (h + 10)*k + 5, said, size=15, anchor="end")
        _blocks(d, y + (h + 10)*k, which, h, cost)

def forms():
    "06: total correlation in two forms."
    d = Drawing("One number, written in two ways",
                "z holds three parts: a slant that x1 alone tells, what is shared, a colour that "
                "x2 alone tells. Filled blocks are gains, dashed ones costs. In the first form "
                "each view's information is gained and all of z is paid. In the second, at half "
                "height, what is paid is what the other view adds. In both the columns of slant "
                "and colour cancel and the shared part is left once.", 470,
                "What one view alone has cancels, twice")
    d.text(20, 72, "(1)  pay for all of z", weight=600, anchor="start")
    _sums(d, 100, [("I(x_1; z)", (0, 1)), ("+ I(x_2; z)", (1, 2)), ("− I(x; z)", (0, 1, 2))], 24)
    d.text(20, 214, "(2)  pay for what one view leaves open", weight=600, anchor="start")
    _sums(d, 238, [("½ I(x_1; z)", (0, 1)), ("+ ½ I(x_2; z)", (1, 2)), ("− ½ I(x; z | x_1)", (2,)),
                   ("− ½ I(x; z | x_2)", (0,))], 12)
    d.path([(20, 332), (454, 332)], "s-soft no", 1.6)
    d.text(196, 360, "left, both times", size=15, weight=600, anchor="end")
    _blocks(d, 355, (1,), 24)
    for k in (0, 2): d.text(251 + 82*k, 360, "0", "f-soft")
    d.text(240, 400, "MVTCAE:  (1 − κ) × (1)  +  κ × (2)", size=16, weight=600)
    say(d, 430, "The costs get different bounds: (1) pulls q to the prior,",
        "(2) to q_1 and to q_2. So κ matters for the bounds only.")
    return d

BANANA = [(-54, 34), (-62, -6), (-40, -30), (-14, -58), (30, -44), (58, -34), (58, -18),
          (56, 0), (36, -8), (6, -18), (-10, 2), (-20, 18), (-26, 38), (-40, 60), (-54, 34)]

def _reader(d, x, y, role, at=None, turned=0):
    "The true posterior, in grey, and on it the answer of one reader."
    points = [(x + a, y + b) for a, b in BANANA]
    d.path(points, "s-soft f-soft pale", 1.6, smooth=True)
    if at is None: d.path(points, f"s-{role} no", 3, smooth=True); return
    (a, b), (rx, ry) = at
    d.put("ellipse", f"s-{role} f-{role} pale", cx=x + a, cy=y + b, rx=rx, ry=ry, stroke_width=3)

def readers():
    "07: three readers, what each loses, and how each is had."
    d = Drawing("Three readers of one picture",
                "Three panels with the same bent grey hill, the true posterior. The first reader "
                "answers with the hill itself. The second with an upright purple ellipse over its "
                "bend, a little of which sticks out. The third, the encoder, with an orange "
                "ellipse beside that place. Between the panels stand the approximation and the "
                "amortization gap.", 380,
                "One x, one hill, three readers")
    answers = [("ink", None, "p(z | x)", "any shape", "formula, grid,", "or samples"),
               ("gradient", ((-21, -10), (17, 25)), "q*", "best Gaussian", "climb, for", "each x"),
               ("teacher", ((2, 4), (21, 15)), "q_φ", "one pass", "the encoder", "as it is")]
    for x, (role, at, name, kind, *how) in zip((86, 240, 394), answers):
        d.box(x - 68, 54, 136, 128, "line"); _reader(d, x, 116, role, at)
        d.text(x, 206, name, f"f-{role}", 18, 600, slant=True); d.text(x, 228, kind, size=15)
        for k, line in enumerate(how): d.text(x, 312 + 20*k, line, "f-soft", 15)
    for x, said in [(163, "approximation"), (317, "amortization")]:
        d.arrow([(x - 62, 244), (x + 62, 244)], "soft"); d.text(x, 264, said, size=15, weight=600)
        d.text(x, 282, "gap", size=15, weight=600)
    say(d, 362, "Grey: what is true. Below: how we get each answer.")
    return d

def tilted():
    "07: why the best Gaussian is as wide as a slice."
    d = Drawing("Slice and shadow",
                "A tilted grey ellipse, the true posterior of two coordinates. A purple circle "
                "crosses it on the two axes: the best diagonal Gaussian. Below, "
                "a short purple bar, the slice, and a longer grey one, the shadow.", 410,
                "As wide as the slice, not the shadow")
    x, y, r, s = 152, 164, 92, 55.2                     # correlation 0.8: slice 0.6 of the shadow
    d.axis(36, 264, y, ""); d.path([(x, 58), (x, 270)], "s-soft no", 1.4)
    d.text(282, y + 5, "z_1", "f-soft", slant=True); d.text(x + 22, 66, "z_2", "f-soft", slant=True)
    d.put("ellipse", "s-ink f-soft pale", cx=x, cy=y, rx=round(r*1.8**.5, 1), ry=round(r*.2**.5, 1),
          transform=f"rotate(-45 {x} {y})", stroke_width=2.4)
    d.put("circle", "s-gradient f-gradient pale", cx=x, cy=y, r=s, stroke_width=3)
    for w, at, role in [(s, 292, "gradient"), (r, 316, "ink")]:
        for k in (-1, 1): d.path([(x + k*w, y), (x + k*w, at + 6)], f"s-{role} no dash", 1.4)
        d.path([(x - w, at), (x + w, at)], f"s-{role} no", 5)
    d.text(262, 296, "slice: z_2 is known", "f-gradient", 15, 600, anchor="start")
    d.text(262, 321, "shadow: it is not", size=15, anchor="start")
    d.text(290, 92, "p(z | x)", size=17, weight=600, anchor="start", slant=True)
    d.text(290, 112, "tilted", "f-soft", 15, anchor="start")
    d.text(290, 216, "q*", "f-gradient", 18, 600, anchor="start", slant=True)
    d.text(290, 238, "variance 1/P_{ll}", size=15, anchor="start")
    say(d, 354, "A wider q* would reach where p(z | x) is nearly nil,",
        "and this KL makes that dear. What a slice cannot say,",
        "the tilt, is the approximation gap.")
    return d

STEPPED = [(-9, 21, 40), (-2, 16, 50), (3, 12, 60), (5, 10, 68), (6, 9, 72)]  # shift, sd, height

def _handed_on(d, x):
    "From a bell to the next refiner; a bar stops gradients."
    d.arrow([(x + 24, 190), (x + 38, 166), (x + 52, 140)], "teacher", width=2)
    bar(d, x + 38, 166, 22)

def _trained(d, xs):
    "A row for each group of networks, a purple dot where a step's loss trains it."
    for y, name, role, which in [(320, "e_1", "teacher", (0,)),
                                 (350, "f_ω", "teacher", (1, 2, 3, 4)),
                                 (380, "decoders", "ink", (0, 1, 2, 3, 4))]:
        d.path([(112, y), (462, y)], "s-line no", 1.4)
        d.text(20, y + 5, name, f"f-{role}", 16, 600, anchor="start")
        for t in which: d.put("circle", "f-gradient", cx=xs[t], cy=y, r=8)

def paid():
    "09: one item on its way, and whom each step trains."
    d = Drawing("One item on its way",
                "Five bells from left to right, each narrower than the one before. The first is "
                "made by the encoder from the digit alone, each later one by the refiner from the "
                "one before, which all three views enter by their gradient; a thick bar stops the "
                "gradient of training there. Each bell has its ELBO. Dots below: the first trains "
                "the start, the others the refiner, all of them the decoders.", 454,
                "One item on its way, and who learns")
    xs = [132 + 76*t for t in range(5)]
    for y, said in [(76, "enters"), (126, "made by"), (268, "scored")]:
        d.text(20, y + 5, said, "f-soft", anchor="start")
    for t, (x, (shift, sd, height)) in enumerate(zip(xs, STEPPED)):
        if t: d.text(x, 80, "x_1 x_2 x_3", "f-data", 15)
        else: d.tile(x, 76, "digit", 38)
        d.arrow([(x, 88 if t else 97), (x, 110)], "gradient" if t else "data", t > 0)
        d.network(x, 130, 40, 42, "teacher", "f_ω" if t else "e_1", narrow=.65)
        d.arrow([(x, 150), (x, 164)], "teacher", width=2)
        d.axis(x - 34, x + 34, 230, ""); d.bell(x + shift, 230, sd*.5, height*.8)
        d.text(x, 250, f"q_{t}", "f-teacher", 16, 600, slant=True)
        d.text(x, 276, f"L_{t}", weight=600)
        d.arrow([(x, 286), (x, 306)], "gradient", dashed=True)
        if t < 4: _handed_on(d, x)
    _trained(d, xs)
    say(d, 416, "x_2 and x_3 enter as a gradient only. At a bar nothing",
        "flows back: L_3 trains the step to q_3, none before it.")
    return d

def _decoders(d, x, y, known):
    "A decoder and the bells it was trained on."
    for shift, sd, height, role in known: d.bell(x - 26 + shift, y + 18, sd, height, role)
    d.arrow([(x + 4, y), (x + 18, y)], width=2); d.network(x + 40, y, 38, 40, turned=True)

def _target(d, x, y, refined):
    "A target: a joint encoder's bell, or one that a gradient has moved."
    if not refined: d.bell(x, y + 18, 10, 36); return
    d.bell(x - 26, y + 18, 14, 24, dashed=True, filled=False)
    d.arrow([(x - 20, y - 12), (x + 12, y - 12)], "gradient", dashed=True)
    d.bell(x + 24, y + 18, 8, 44)

def _students(d, x, y, whole, filled=True):
    "Three students; those that are not taught, or begin as nothing, are dashed."
    for i in (-1, 0, 1):
        if whole or (filled and i == 0): d.network(x + 36*i, y, 28, 36, "student")
        else:
            corners = [(-14, -18), (14, -9), (14, 9), (-14, 18), (-14, -18)]
            d.path([(x + 36*i + a, y + b) for a, b in corners], "s-student no dash", 1.8)

def _clock(d, x, y, hours):
    "A clock with a share of its face filled."
    a = 2*math.pi*hours
    d.put("circle", "s-soft no", cx=x, cy=y, r=19, stroke_width=2.2)
    d.put("path", "f-soft", d=f"M{x} {y}V{y - 19}A19 19 0 {int(hours > .5)} 1 "
          f"{x + 19*math.sin(a):.1f} {y - 19*math.cos(a):.1f}Z")

# Of the bells that decoders have met in training: shift, sd, height, whose
JOINT = [(0, 8, 44, "teacher")]
WAY = [(-8, 13, 24, "teacher"), (0, 10, 34, "teacher"), (6, 7, 46, "teacher")]
COVERED = [(0, 8, 44, "teacher"), (-2, 15, 26, "student")]
DIFFERENCES = [("decoders", "half the recipe"),
               ("targets", "the JVAE’s decoders,|all starts, half the recipe"),
               ("an item teaches", "a third of the items"), ("encoders’ start", "warm or cold"),
               ("minutes of an hour", "equal minutes")]

def _recipe(d, x, ys, ours):
    "Icons of one recipe, from above: the iterative student's if it is `ours`."
    _decoders(d, x, ys[0], WAY if ours else JOINT)
    _target(d, x, ys[1], ours)
    _students(d, x, ys[2], not ours); _students(d, x, ys[3], ours, False)
    _clock(d, x, ys[4], .8 if ours else .25)

def recipes():
    "11: what differs between two recipes, and what a control exchanges."
    d = Drawing("Two recipes, and what was exchanged",
                "The JMVAE student on the left and the iterative student on the right, in five "
                "rows: what their decoders were trained on, their targets, how many students an "
                "item teaches, whether their encoders start warm, and their minutes. Between "
                "them stand the controls that exchange it.", 478,
                "Two recipes, and what was exchanged")
    ys = [112, 182, 256, 324, 390]
    for x, said in [(84, "JMVAE student"), (396, "iterative student")]:
        d.text(x, 66, said, size=15, weight=600)
    for y, (name, controls) in zip(ys, DIFFERENCES):
        d.text(240, y - 8, name, size=15, weight=600)
        d.path([(170, y), (310, y)], "s-ink no", 2)
        for i, line in enumerate(controls.split("|")):
            d.text(240, y + 19 + 18*i, line, "f-soft", 15)
    _recipe(d, 84, ys, False); _recipe(d, 396, ys, True)
    say(d, 440, "Grey: the controls that exchange a line. None of them",
        "exchanges all, so none speaks for the whole lead.")
    return d

def _student_of(d, x, y, letter, known, refined, how):
    "A card: the bells its decoders have met, its target, how its training differs."
    d.box(x - 84, y - 75, 168, 150, "ink")
    d.text(x - 72, y - 47, letter, size=20, weight=600, anchor="start")
    d.text(x + 74, y - 49, how, "f-soft", 15, anchor="end")
    _decoders(d, x - 6, y - 12, known); _target(d, x + 2, y + 48, refined)

def halves():
    "11: two by two."
    d = Drawing("Half the recipe",
                "Four cards in a square, each with the bells its decoders have met and, below, its "
                "target. A and C above: narrow bells only. B below A: a student's broad green "
                "bell, too. D below C: all bells of the refinement. A and B copy a joint target, C "
                "and D a refined one. Arrows downwards exchange decoders, arrows to the right "
                "targets, the diagonal both.", 512, "Two by two: exchange one half at a time")
    for x, y, letter, known, refined, how in [
            (104, 130, "A", JOINT, False, "cold"), (376, 130, "C", JOINT, True, "warm"),
            (104, 364, "B", COVERED, False, "warm"), (376, 364, "D", WAY, True, "warm")]:
        _student_of(d, x, y, letter, known, refined, how)
    for y, said in [(130, "C over A"), (364, "D over B")]:
        d.arrow([(192, y), (288, y)]); d.text(240, y - 10, "targets", size=15, weight=600)
        d.text(240, y + 22, said, "f-soft", 15)
    for x, said, where, dx in [(84, "B over A", "start", 12), (396, "D over C", "end", -12)]:
        d.arrow([(x, 209), (x, 285)])
        d.text(x + dx, 242, "decoders", size=15, weight=600, anchor=where)
        d.text(x + dx, 264, said, "f-soft", 15, anchor=where)
    d.arrow([(192, 209), (288, 285)], width=3.4)
    d.text(250, 238, "both", size=15, weight=600, anchor="start")
    say(d, 470, "Each card: what its decoders met; below, its target.",
        "A starts cold. What is compared has one rate.")
    return d


STEPS = dict(across=across, stopped=stopped, forms=forms, readers=readers, tilted=tilted,
             paid=paid, recipes=recipes, halves=halves)
