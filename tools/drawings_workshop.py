"The drawings of the lettered lessons and of the guide: how a number or a file comes about."
import math

from drawing_pen import Drawing

VIEWS = "digit", "number", "word"


def say(d, y, *lines):
    "What the drawing teaches, in a sentence or two below it."
    for i, line in enumerate(lines): d.text(20, y + 22*i, line, "f-soft", anchor="start")

def ladder():
    "07a: annealed importance sampling."
    d = Drawing("A ladder from the proposal to the posterior",
                "Four bells on four rungs, the proposal below, the posterior on top, each "
                "a little further right. A sample goes up a rung, where its weight is multiplied "
                "by the upper density over the lower, and across, by a Markov chain step.", 404,
                "A ladder instead of a leap")
    bells, z = [(100, 25), (150, 23), (204, 21), (256, 16)], (120, 172, 224, 264)
    for r, (x, sd) in enumerate(bells):
        y = 320 - 74*r
        d.axis(24, 350, y, ""); d.bell(x, y, sd, 42, "teacher", filled=r in (0, 3))
        name = {0: "f_0 = q(z)", 3: "f_3 = p(x, z)"}.get(r, f"f_{r}")
        d.text(362, y - 14, name, "f-teacher", 15, 600, "start", slant=True)
        d.text(362, y + 4, f"γ_{r}" + {0: " = 0", 3: " = 1"}.get(r, ""), "f-soft", 15,
               anchor="start")
        if r: d.arrow([(z[r - 1], y), (z[r] - 4, y)], "teacher", width=3)
        if r < 3:
            d.arrow([(z[r], y), (z[r], y - 70)])
            d.text(z[r] + 10, y - 34, f"× f_{r + 1}(z_{r})/f_{r}(z_{r})", "f-ink", 15, 600, "start")
        d.put("circle", "f-ink", cx=z[r], cy=y, r=5)
        d.text(z[r] + 12, y + 18, f"z_{r}", size=15, slant=True)
    say(d, 366, "Up: the weight is multiplied. Across: a Markov chain",
        "step that keeps f_r. The expected weight is p(x).")
    return d

def holes():
    "09a: a batch with holes."
    d = Drawing("An item trains with what it has",
                "Four items in three groups: one has all three modalities, two lack the street "
                "number, one has the street number only. Beside each group stands the posterior "
                "that sees what is there, what it has to explain, and the group's share.", 408,
                "An item trains with what it has")
    groups = [(100, [(1, 1, 1)], "x_1, x_2, x_3", "1/4"), (170, [(1, 0, 1)]*2, "x_1, x_3", "2/4"),
              (288, [(0, 1, 0)], "x_2", "1/4")]
    d.text(92, 62, "items", "f-data", 15, 600); d.text(262, 62, "input, and targets", size=15)
    d.text(424, 62, "share n_A/n", size=15)
    for y, rows, there, share in groups:
        d.box(18, y - 26, 148, 52 + 48*(len(rows) - 1))
        for i, row in enumerate(rows):
            for x, view, has in zip((46, 92, 138), VIEWS, row):
                d.tile(x, y + 48*i, view, 38, "given" if has else "hole")
        middle = y + 24*(len(rows) - 1)
        d.arrow([(168, middle), (192, middle)], "data")
        d.text(200, middle - 4, f"q(z | {there})", "f-teacher", 16, 600, "start", slant=True)
        d.text(200, middle + 18, f"explains {there}", size=16, anchor="start")
        d.text(424, middle + 6, share, size=18, weight=600)
    d.text(240, 344, "L = Σ_A  n_A/n · L_A(x_A)", size=17, weight=600)
    say(d, 374, "A hole is no input and no target: it costs nothing.",
        "Items with the same holes are an ordinary batch.")
    return d

def _chain(d):
    "From a word to a digit that is judged."
    d.tile(40, 158, "word", 46); d.arrow([(64, 158), (80, 158)], "data")
    d.network(104, 158, 44, 62, "student"); d.arrow([(127, 158), (142, 158)], "student")
    d.axis(144, 216, 184, ""); d.bell(180, 184, 12, 54, "student")
    d.arrow([(216, 158), (230, 158)]); d.node(250, 158, r=18)
    d.arrow([(270, 158), (284, 158)]); d.network(308, 158, 44, 62, turned=True)
    d.arrow([(331, 158), (345, 158)]); d.tile(372, 158, "digit", 48, "guess")
    d.arrow([(398, 158), (412, 158)]); d.network(436, 158, 44, 62, "soft")

def evaluation():
    "03c: which number is measured where."
    d = Drawing("Where each number is measured",
                "From a word an encoder gives a posterior, a z is drawn, a decoder makes a digit, "
                "a judge looks at it. Arrows say what is measured: at the posterior the KL to the "
                "teacher and the probe, at the decoder the ELBO, at the picture the FID, at the "
                "judge the coherence.", 330,
                "Where each number is measured")
    _chain(d)
    for x, y, said in [(84, 206, "infer"), (250, 206, "draw"), (308, 206, "decode"),
                       (436, 206, "judge")]:
        d.text(x, y, said, "f-soft", 15)
    for x, up, name, what in [(180, 1, "KL", "teacher ‖ student"), (372, 1, "FID", "many of them"),
                              (150, 0, "probe", "class, from the mean"),
                              (300, 0, "ELBO", "all modalities"),
                              (424, 0, "coherence", "right class?")]:
        ends = ((x, 126), (x, 104)) if up else ((x, 216), (x, 236))
        d.arrow(ends, "soft")
        d.text(x, 76 if up else 254, name, weight=600)
        d.text(x, 95 if up else 273, what, size=15)
    say(d, 310, "The same items and the same noise for every method.")
    return d

def _row(d, y, name):
    d.text(20, y + 6, name, weight=600, anchor="start")

def _weighed(d):
    "Samples of a proposal, each with its weight."
    d.axis(116, 262, 318, ""); d.bell(189, 318, 24, 46, "student")
    for x in (146, 164, 176, 186, 193, 204, 220, 238):
        d.put("circle", "f-ink", cx=x, cy=318, r=4)
    d.text(274, 290, "mean of the weights", anchor="start", size=15)
    d.text(274, 312, "p(x, z_k)/q(z_k), ± error", weight=600, anchor="start", size=15)

def using():
    "03d: four uses."
    d = Drawing("Four uses of a trained model",
                "Four rows. Infer: a digit goes through an encoder to a bell. Generate: a z of the "
                "bell is decoded into a street number. Impute: of three modalities the missing "
                "one is filled. Log-likelihood: many z under a wide bell, each with a weight.", 388,
                "Four uses of a trained model")
    for y, name in zip((84, 154, 224, 294), ("infer", "generate", "impute", "log p(x)")):
        _row(d, y, name)
    for y in (84, 154):
        d.tile(140, y, "digit", 42); d.arrow([(162, y), (178, y)], "data")
        d.network(202, y, 44, 50, "student"); d.arrow([(225, y), (242, y)], "student")
    d.axis(246, 320, 106, ""); d.bell(283, 106, 13, 44, "student")
    d.text(330, 90, "q(z | x_1)", "f-student", 17, 600, "start", slant=True)
    d.node(262, 154, r=18); d.arrow([(282, 154), (300, 154)])
    d.network(324, 154, 44, 50, turned=True); d.arrow([(347, 154), (366, 154)])
    d.tile(392, 154, "number", 44, "guess")
    for i, view in enumerate(VIEWS):
        d.tile(138 + 44*i, 224, view, 38, "hole" if i == 1 else "given")
        d.tile(346 + 44*i, 224, view, 38, "guess" if i == 1 else "given")
    d.arrow([(250, 224), (262, 224)], "data"); d.node(284, 224, r=18)
    d.arrow([(304, 224), (322, 224)])
    _weighed(d)
    say(d, 350, "What is given stays as it is. Several draws show what",
        "one mean hides; the error bar says if K is enough.")
    return d

def _held(d):
    "What a checkpoint holds, and what it is refused for."
    d.box(20, 214, 250, 84, "teacher", filled=True); d.box(284, 214, 176, 84, "ink")
    d.text(145, 238, "○  to go on", weight=600)
    d.text(145, 262, "weights, optimiser, schedule,", size=15)
    d.text(145, 284, "random states, history", size=15)
    d.text(372, 238, "to be refused", weight=600)
    d.text(372, 262, "other settings,", size=15); d.text(372, 284, "another model", size=15)

def checkpoints():
    "02h: killed and resumed."
    d = Drawing("Killed, and gone on as if nothing had been",
                "Two lines of updates with circles where the state is saved. The upper one runs "
                "through. The lower one is killed between two circles, goes back to the last "
                "circle and ends in the same state. Below, what a checkpoint holds.", 362,
                "Killed, and on from the last ○")
    for y, said in [(84, "one run"), (150, "killed")]:
        _row(d, y, said)
        d.path([(106, y), (452 if y < 100 else 324, y)], "s-teacher no", 3)
    for s in (-7, 7): d.path([(317, 150 - s), (331, 150 + s)], "s-ink no", 3)
    d.arrow([(324, 166), (324, 190), (279, 190), (279, 160)], "soft")
    d.text(334, 194, "lost, done again", "f-soft", 15, anchor="start")
    d.path([(279, 150), (452, 150)], "s-teacher no dash", 3)
    for y in (84, 150):
        for x in (106, 192, 279, 365, 452):
            d.put("circle", "f-paper s-ink", cx=x, cy=y, r=6, stroke_width=2.2)
    for y in (113, 121): d.path([(445, y), (459, y)], "s-ink no", 2.6)
    d.text(436, 122, "equal", size=15, anchor="end")
    _held(d)
    say(d, 326, "Written beside the old one, then renamed: at any",
        "moment there is a whole checkpoint.")
    return d

def _glyph(d, kind, x, y):
    "Data of a kind, in a blue frame, centred."
    if kind == "image": return d.tile(x, y, "digit", 40)
    d.box(x - 24, y - 17, 48, 34, "data")
    if kind == "series":
        wave = [round(9*math.sin(i/2.2)*math.exp(-i/16), 1) for i in range(19)]
        return d.path([(x - 18 + 2*i, y - w) for i, w in enumerate(wave)], "s-data no")
    if kind == "table":
        for dx in (-8, 8): d.path([(x + dx, y - 17), (x + dx, y + 17)], "s-data no", 1.6)
        return d.path([(x - 24, y - 5), (x + 24, y - 5)], "s-data no", 1.6)
    d.text(x, y + 5, dict(counts="0 3 17", vector="−.4 2", binary="1 0 1")[kind], size=14)

def _bars(d, x, y, heights, step):
    for i, h in enumerate(heights):
        d.put("rect", "f-ink", x=x + step*i, y=y - h, width=6, height=h)

def _law(d, kind, x, y):
    "A likelihood, its foot at y."
    shapes = dict(image=lambda s: math.exp(-abs(s)/5), vector=lambda s: math.exp(-s*s/40),
                  series=lambda s: (1 + s*s/12)**-1.2)
    d.axis(x - 38, x + 38, y, "")
    if kind in shapes:
        points = [(x + 2*s, round(y - 28*shapes[kind](s), 1)) for s in range(-18, 19)]
        d.path(points, "s-ink no", 2.4)
    if kind == "counts": _bars(d, x - 37, y, (10, 22, 26, 20, 14, 9, 6, 4), 10)
    if kind == "binary": _bars(d, x - 20, y, (10, 25), 34)
    if kind == "table":
        d.path(d.curve(x - 22, y, 5, 26), "s-ink no", 2.2)
        _bars(d, x - 2, y, (18, 10, 4), 8); _bars(d, x + 24, y, (8, 22), 8)

def kinds():
    "02f: from the kind to the networks and the likelihood."
    d = Drawing("The kind decides",
                "A table of six rows. Each kind of data has networks that read and write it, and a "
                "likelihood: images convolutions and Laplace, vectors a layer and a Gaussian, "
                "counts logarithms and the negative binomial, truth values Bernoulli, series "
                "convolutions over time and Student's t, a table a law for each column.", 438,
                "The kind decides")
    rows = [("image", "convolutions", "Laplace"), ("vector", "hidden layer", "Gaussian"),
            ("counts", "log(1 + x)", "neg. binomial"),
            ("binary", "hidden layer", "Bernoulli"), ("series", "along time", "Student’s t"),
            ("table", "each column", "each its own")]
    d.text(44, 64, "data", "f-data", 16, 600); d.text(202, 64, "networks", weight=600)
    d.text(368, 64, "likelihood p(x | z)", weight=600)
    for i, (kind, net, law) in enumerate(rows):
        y = 100 + 54*i
        _glyph(d, kind, 44, y); d.text(76, y + 5, kind, size=15, anchor="start")
        d.arrow([(132, y), (148, y)], "data"); d.text(210, y + 5, net, size=14)
        d.arrow([(270, y), (286, y)]); _law(d, kind, 328, y + 14)
        d.text(373, y + 5, law, size=14, anchor="start")
    d.text(240, 420, "You say the kind; networks and likelihood follow from it.", "f-soft", 15)
    return d

def _verdicts(d):
    "What is made of the judge's answers."
    d.text(336, 94, "label: 7", "f-data", 16, 600, "start")
    d.text(336, 118, "cross-entropy", size=15, anchor="start")
    d.arrow([(400, 126), (400, 152), (150, 152), (150, 142)], "gradient", dashed=True)
    d.text(230, 170, "gradient", "f-gradient", 15, 600)
    d.text(336, 212, "“a 7”", size=16, weight=600, anchor="start")
    d.text(336, 236, "coherence: was", size=15, anchor="start")
    d.text(336, 256, "a 7 given?", size=15, anchor="start")
    d.arrow([(211, 254), (211, 272)], "soft"); d.text(211, 290, "64 features: FID", size=15)

def judge():
    "03b: trunk, head, and what is made of them."
    d = Drawing("A judge has a trunk and a head",
                "Above, real digits and their labels train a classifier. Below, a generated digit "
                "goes through the same trunk to 64 features and through the head to a class: the "
                "features give the FID, the class the coherence.", 330,
                "Trained on real, asked about generated")
    for y, state in ((104, "given"), (222, "guess")):
        for k in range(3): d.tile(44 + 10*k, y - 6 + 6*k, "digit", 44, state)
        d.arrow([(92, y), (116, y)], "data" if y < 200 else "ink")
        d.network(150, y, 62, 70, "soft"); d.text(150, y + 6, "trunk", size=15, weight=600)
        d.arrow([(182, y), (202, y)])
        for k in range(5):
            d.put("rect", "s-ink no", x=206, y=y - 28 + 11*k, width=11, height=11, stroke_width=1.6)
        d.arrow([(221, y), (242, y)])
        d.box(244, y - 20, 58, 40, "soft", filled=True)
        d.text(273, y + 6, "head", size=15, weight=600)
        d.arrow([(304, y), (326, y)])
    _verdicts(d)
    say(d, 316, "A model can’t look better than its judge is right.")
    return d

def _noted(d):
    "The words beside the curves."
    d.text(202, 150, "best weights", "f-teacher", 16, 600)
    d.text(466, 112, "patience 3: stop", weight=600, anchor="end")
    d.text(112, 104, "held-out items", anchor="start")
    d.text(376, 216, "training", "f-soft", anchor="start")
    d.text(72, 70, "loss", "f-soft")
    d.text(452, 252, "updates  (○ a look)", "f-soft", anchor="end")
    d.arrow([(356, 182), (356, 194), (220, 194), (220, 182)], "teacher", dashed=True)

def watching():
    "02i: early end and best weights."
    d = Drawing("When to stop, and what to keep",
                "A loss that falls on the training items, and one on held-out items that falls, "
                "turns and rises. Circles are the looks; the lowest is marked best; three looks "
                "later without a better one the training ends and goes back to the best weights.",
                322, "When to stop, and what to keep")
    d.path([(40, 60), (40, 232), (452, 232)], "s-soft no", 1.6)
    curve = lambda top, deep, rate: [(44 + 4*i, round(top + deep*(1 - math.exp(-i/rate)), 1))
                                     for i in range(81)]
    train = curve(70, 150, 26)
    held = [(x, round(y - .0125*max(0, i - 20)**2, 1))
            for i, (x, y) in enumerate(curve(62, 128, 18))]
    d.path(train, "s-soft no dash", 2.4); d.path(held, "s-ink no", 3)
    looks = held[8:81:12]
    for i, (x, y) in enumerate(looks):
        d.put("circle", "f-teacher" if i == 3 else "f-paper s-ink", cx=x, cy=y,
              r=7 if i == 3 else 5, stroke_width=2.2)
        if i > 3: d.text(x, y - 14, i - 3, size=15, weight=600)
    _noted(d)
    say(d, 284, "A look has the same noise each time and changes no",
        "weight; after 3 without a new best, the best return.")
    return d

def _caption(d):
    "A caption, its numbers and its padding; returns its words."
    words = ["this", "bird", "has", "a", "red", "belly", "end", ""]
    for i, (word, n) in enumerate(zip(words, (12, 5, 9, 4, 31, 17, 2, 0))):
        x = 20 + 55*i
        d.box(x, 62, 53, 54, "data" if word else "line", dashed=not word, filled=bool(word))
        d.text(x + 26.5, 83, word)
        d.text(x + 26.5, 107, n, "f-ink" if word else "f-soft", size=16, weight=600)
    d.text(458, 140, "padding: counts for nothing", "f-soft", anchor="end")
    return words

def writing():
    "12c: words as numbers, and what a word is written from."
    d = Drawing("From words to numbers, and back",
                "A caption as a row of words, under each its number in the vocabulary; after the "
                "end mark the row is filled up with zeros that do not count. Below, the word red "
                "is written from a plan for its place, made of z, and from the four words before.",
                398, "A row of numbers, and a word at a time")
    words = _caption(d)
    d.node(44, 210, r=22); d.arrow([(68, 210), (92, 210)])
    d.network(118, 210, 46, 58, turned=True)
    d.arrow([(142, 210), (164, 210)])
    for i in range(8):
        d.box(168 + 36*i, 194, 33, 32, "teacher" if i == 4 else "line", filled=i == 4)
        d.text(184.5 + 36*i, 216, i + 1, "f-ink" if i == 4 else "f-soft")
    d.text(312, 182, "a plan for each place, from z alone")
    d.arrow([(328, 228), (328, 262)], "teacher")
    for i, word in enumerate(words[:4]):
        d.box(54 + 54*i, 264, 50, 34, "data", filled=True); d.text(79 + 54*i, 287, word)
    d.arrow([(270, 281), (296, 281)], "data"); d.box(300, 264, 56, 34, "ink")
    d.text(328, 287, "red", weight=600)
    d.text(240, 328, "p(x_5 | plan_5(z), x_1, …, x_4)", size=18, slant=True)
    say(d, 360, "“a red”: the window knows grammar. That the belly",
        "is red no earlier word tells: it has to be in z.")
    return d

def _steps(d):
    "A glyph for each of the six steps."
    for k in range(2):
        for j in range(4):
            d.put("rect", "s-data f-data pale", x=50 + 40*k, y=76 + 13*j, width=28, height=13,
                  stroke_width=1.8)
    d.network(212, 104, 38, 50); d.network(268, 104, 38, 50, turned=True)
    d.text(240, 110, "z", slant=True, size=18)
    d.network(370, 104, 46, 56, "teacher"); d.bell(426, 126, 10, 46); d.axis(398, 454, 126, "")
    d.path([(48, 214), (48, 276), (122, 276)], "s-soft no", 1.6)
    d.path([(50 + 2*i, 274 - round(54*math.exp(-i/9), 1)) for i in range(35)], "s-teacher no", 3)
    d.network(206, 248, 44, 50, "student"); d.bell(272, 268, 12, 40, "student")
    d.axis(236, 308, 268, "")
    d.box(376, 222, 40, 50, "ink"); d.path([(384, 240), (408, 240)], "s-ink no")
    d.path([(384, 252), (408, 252)], "s-ink no")

def own():
    "The guide: from arrays to a file."
    d = Drawing("From your arrays to a file",
                "Six steps in two rows, from left to right. Arrays, in which a row is an item. A "
                "specification for each modality, with the scale you set. The teacher. Training. "
                "Students and a judge of real items. A file that a colleague opens.", 384,
                "From your arrays to a file")
    places = [(84, 106), (240, 106), (396, 106), (84, 252), (240, 252), (396, 252)]
    names = [("1  data", "row i: one item"), ("2  specs", "you set the scale"),
             ("3  teacher", "JVAE or iterative"), ("4  fit", "watch KL and parts"),
             ("5  distill", "judge: is it right?"), ("6  save", "load, generate")]
    for (x, y), (name, what) in zip(places, names):
        d.text(x, y + 52, name, size=17, weight=600); d.text(x, y + 72, what, "f-soft", 15)
    _steps(d)
    for y in (104, 248):
        d.arrow([(144, y), (172, y)], "soft"); d.arrow([(312, y), (336, y)], "soft")
    d.path([(466, 104), (470, 104), (470, 196), (10, 196), (10, 240)], "s-soft no", 2)
    d.arrow([(10, 240), (10, 248), (36, 248)], "soft", width=2)
    say(d, 350, "The scale says how large an error is small. Too large,",
        "and z is not worth its KL: the posterior collapses.")
    return d


WORKSHOP = dict(ladder=ladder, holes=holes, evaluation=evaluation, using=using,
                checkpoints=checkpoints, kinds=kinds, judge=judge, watching=watching,
                writing=writing, own=own)
