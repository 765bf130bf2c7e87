"The drawings of single lessons, in the language of the four of the method."
import math

from drawing_pen import Drawing

VIEWS = "digit", "number", "word"


def data():
    "02: a batch."
    d = Drawing("A batch",
                "A batch is a table of items: a digit, a street number and a word in each row. "
                "In the second batch the word is missing: its key is absent, no zeros stand in.",
                268,
                "A batch: a name for each view")
    for x0, views, said in [(62, VIEWS, "everything there"), (306, VIEWS[:2], "word missing")]:
        for j, view in enumerate(views):
            d.text(x0 + 60*j, 72, ("mnist", "svhn", "text")[j], size=15)
            for i in range(2): d.tile(x0 + 60*j, 112 + 58*i, view, 48)
        d.text(x0 + 60, 226, said, weight=600)
    d.box(400, 84, 52, 114, "data", dashed=True)
    d.text(240, 252, "A missing view is an absent key, never a block of zeros.", "f-soft", 15)
    return d

def distributions():
    "03: a product and a mixture of two bells."
    d = Drawing("Product and mixture",
                "Two bells. Their product is one narrow bell between them; their mixture is a "
                "broad curve with a hump under each.", 250,
                "Two opinions, two ways to combine")
    for x, said, rule in [(126, "product", "“and”: narrower"), (354, "mixture", "“or”: broader")]:
        d.axis(x - 102, x + 100, 172, "")
        for s in (-1, 1): d.bell(x + 28*s, 172, 24, 62, "data", dashed=True, filled=False)
        d.text(x, 200, said, weight=600); d.text(x, 222, rule, "f-soft")
    d.bell(126, 172, 17, 92)
    points = [(x, 172 - 44*sum(math.exp(-((x - 354 - 28*s)/24)**2/2) for s in (-1, 1)))
              for x in range(262, 447, 3)]
    d.path(points, "s-teacher f-teacher pale", 2.6)
    return d

def networks():
    "04: encoder and decoder."
    d = Drawing("Encoder and decoder",
                "A digit goes into an encoder, which gives a bell over z; a sample of it goes "
                "into a decoder, which gives a digit.", 232,
                "Two networks for each view")
    d.tile(50, 112, "digit", 56); d.arrow([(80, 112), (100, 112)], "data")
    d.network(134, 112, 62, 84, "teacher"); d.arrow([(166, 112), (184, 112)], "teacher")
    d.axis(188, 292, 140, ""); d.bell(240, 140, 16, 60); d.text(240, 164, "z", slant=True, size=18)
    d.arrow([(296, 112), (316, 112)]); d.network(350, 112, 62, 84, turned=True)
    d.arrow([(382, 112), (402, 112)]); d.tile(432, 112, "digit", 56, "guess")
    d.text(134, 184, "encoder", weight=600); d.text(350, 184, "decoder", weight=600)
    d.text(134, 206, "q(z | x)", "f-soft", slant=True)
    d.text(350, 206, "p(x | z)", "f-soft", slant=True)
    return d

def vae():
    "05: the ELBO as two pulls on one bell."
    d = Drawing("The ELBO is two pulls on one bell",
                "The bell q stands between the broad prior and the place where the data would "
                "like it. One arrow pulls it to what explains x, the other back to the prior.", 290,
                "The ELBO: two pulls on one bell")
    d.axis(30, 444, 190)
    d.bell(150, 190, 38, 62, "soft", dashed=True, filled=False); d.text(112, 116, "prior", "f-soft")
    d.bell(272, 190, 17, 104); d.text(272, 76, "q(z | x)", "f-teacher", 17, 600, slant=True)
    d.tile(416, 104, "digit", 52); d.text(416, 156, "explained", size=15)
    d.text(416, 174, "best here", size=15)
    d.arrow([(292, 140), (370, 140)], "gradient", dashed=True, width=3)
    d.arrow([(250, 140), (186, 140)], "gradient", dashed=True, width=3)
    d.text(352, 222, "+ E_q[log p(x | z)]", weight=600); d.text(352, 244, "explain x", "f-soft")
    d.text(124, 222, "− KL(q ‖ prior)", weight=600)
    d.text(124, 244, "say no more than needed", "f-soft")
    d.text(240, 274, "sum = ELBO  ≤  log p(x)", weight=600)
    return d

def training():
    "06: one update, again and again."
    d = Drawing("One update, again and again",
                "Batch, loss, gradient, step, in a ring; beside it a falling curve with flags "
                "where the state is saved.", 262,
                "One update, again and again")
    for x, y, said in [(70, 96, "batch"), (180, 96, "loss"),
                       (180, 186, "gradient"), (70, 186, "step")]:
        d.text(x, y + 6, said, "f-gradient" if said == "gradient" else "f-ink", weight=600)
    d.arrow([(100, 96), (154, 96)], "data"); d.arrow([(180, 112), (180, 166)])
    d.arrow([(140, 186), (96, 186)], "gradient", dashed=True); d.arrow([(70, 168), (70, 114)])
    points = [(270 + 3*i, 90 + 104*(1 - math.exp(-i/14))) for i in range(58)]
    d.path([(266, 70), (266, 206), (452, 206)], "s-soft no", 1.6); d.path(points, "s-teacher no", 3)
    for i in (18, 38, 57):
        x, y = points[i]
        d.put("circle", "f-paper s-ink", cx=x, cy=y, r=5, stroke_width=2.2)
    d.text(372, 96, "loss"); d.text(360, 232, "updates  (○ saved)", "f-soft")
    d.text(125, 232, "killed? go on from ○", "f-soft")
    return d

def metrics():
    "07: three questions."
    d = Drawing("Three questions to a model",
                "From a word: can the digit be read off z; does the drawn picture show the "
                "right digit; do drawn pictures look like real ones.", 280,
                "Three questions to a model")
    d.tile(54, 148, "word", 54); d.arrow([(84, 148), (108, 148)], "data")
    d.network(140, 148, 58, 74, "student"); d.arrow([(170, 148), (192, 148)], "student")
    d.node(220, 148); d.arrow([(248, 148), (276, 148)]); d.network(308, 148, 56, 74, turned=True)
    d.arrow([(338, 148), (362, 148)]); d.tile(396, 148, "digit", 60, "guess")
    d.arrow([(220, 120), (220, 90)], "soft"); d.text(184, 78, "probe: is 7 in z?")
    d.arrow([(396, 116), (396, 90)], "soft"); d.text(452, 78, "coherence: a 7?", anchor="end")
    d.arrow([(396, 180), (396, 206)], "soft")
    d.text(452, 230, "FID: do many of them look real?", anchor="end")
    d.text(240, 264, "No single number answers all three.", "f-soft")
    return d

def gap():
    "08: three levels."
    d = Drawing("Three levels",
                "Three horizontal levels. The highest is log p(x). Below it, lower by the "
                "approximation gap, the ELBO of the best Gaussian. Below that, by the "
                "amortization gap, the ELBO of the encoder's.", 314,
                "What an encoder loses")
    for y, said, role, what in [(80, "log p(x)", "ink", "as good as can be"),
                                (134, "ELBO of q*", "gradient", "the best bell for this x"),
                                (228, "ELBO of q(z | x)", "teacher", "one network for all x")]:
        d.path([(24, y), (272, y)], f"s-{role} no", 4)
        d.text(284, y - 2, said, f"f-{role}", 16, 600, "start")
        d.text(284, y + 18, what, "f-soft", 15,
                                                                        anchor="start")
    for y0, y1, said in [(82, 132, "approximation gap"), (136, 226, "amortization gap")]:
        d.path([(44, y0 + 5), (44, y1 - 5)], "s-soft no", 2)
        d.arrow([(44, y1 - 16), (44, y1 - 2)], "soft")
        d.arrow([(44, y0 + 16), (44, y0 + 2)], "soft")
        d.text(58, (y0 + y1)/2 + 6, said, anchor="start")
    d.text(20, 276, "The first is the price of the shape, the second", "f-soft", anchor="start")
    d.text(20, 298, "of one network for all. It can be won back.", "f-soft", anchor="start")
    return d

def refine():
    "09: a path on contours."
    d = Drawing("Refinement walks uphill",
                "Contour lines of the ELBO over the two numbers of a posterior, mean and "
                "spread; from the encoder's answer a path of orange dots goes up to the top; a "
                "purple arrow at each dot is the gradient.", 300,
                "From the encoder’s answer, uphill")
    for k in range(5, 0, -1):
        d.put("ellipse", "s-line " + ("f-teacher pale" if k == 1 else "no"), cx=306, cy=140,
              rx=30*k,
              ry=17*k, transform="rotate(-14 306 140)", stroke_width=1.8)
    path = [(70, 208), (140, 204), (206, 184), (258, 160), (300, 142)]
    d.path(path, "s-teacher no", 3)
    for i, (x, y) in enumerate(path):
        d.put("circle", "f-teacher", cx=x, cy=y, r=6)
        if i < 3: d.arrow([(x, y - 9), (x + 34, y - 9 - (26, 38, 34)[i])], "gradient", dashed=True)
    d.text(62, 236, "q_0: the encoder", "f-teacher", anchor="start", weight=600)
    d.text(312, 124, "q*", size=18, weight=600, slant=True)
    d.text(20, 160, "gradient", "f-gradient", anchor="start", weight=600)
    d.text(20, 262, "A gradient says uphill. A learned refiner says how far:", "f-soft",
           anchor="start")
    d.text(20, 284, "so a few steps are enough.", "f-soft", anchor="start")
    return d

def pull():
    "12: students pull back."
    d = Drawing("Students and teacher move towards each other",
                "A narrow orange bell, the joint encoder's, and a broad green one, a student's. "
                "A green arrow pulls the student to the teacher, a smaller one the teacher to "
                "the student.", 262,
                "JMVAE: the teacher gives way, too")
    d.axis(40, 440, 178)
    d.bell(316, 178, 15, 100); d.text(316, 68, "joint  q(z | x_1, x_2)", "f-teacher", 16, 600)
    d.bell(156, 178, 36, 58, "student")
    d.text(122, 106, "student  q_1(z | x_1)", "f-student", 16, 600)
    d.arrow([(196, 146), (290, 146)], "student", dashed=True, width=3.4)
    d.arrow([(298, 118), (252, 118)], "teacher", dashed=True, width=1.8)
    d.text(240, 210, "loss = − ELBO of the joint  +  α · KL(joint ‖ student)", weight=600, size=15)
    d.text(240, 240, "A posterior that is easy to copy says less about x.", "f-soft")
    return d

def subsets():
    "13: products in a mixture."
    d = Drawing("A mixture of products",
                "Two dashed expert bells, from x1 and from x2, and their narrow product; below, "
                "the mixture of all three as one curve with several humps.", 318,
                "MoPoE: every subset votes")
    d.axis(30, 444, 166); x1, x2, xp = 150, 320, 246
    d.bell(x1, 166, 40, 54, "data"); d.bell(x2, 166, 30, 66, "data"); d.bell(xp, 166, 20, 86)
    for x, y, said, role in [(112, 100, "{x_1}", "data"), (362, 96, "{x_2}", "data"),
                             (246, 70, "product", "teacher")]:
        d.text(x, y + 2, said, f"f-{role}", 16, 600)
    parts = [(x1, 40, 54), (x2, 30, 66), (xp, 20, 92)]
    points = [(x, 274 - .66*sum(h*math.exp(-((x - m)/s)**2/2) for m, s, h in parts)/1.2)
              for x in range(40, 440, 3)]
    d.axis(30, 444, 274); d.path(points, "s-ink no", 2.8)
    d.arrow([(88, 174), (88, 222)], "soft")
    d.text(100, 202, "mean of all = mixture", "f-soft", anchor="start")
    d.text(240, 302, "Each vote must explain every view, seen or not.", "f-soft")
    return d

def information():
    "14: areas of information."
    d = Drawing("What counts twice",
                "Two overlapping circles, the information of x1 and of x2. z is a dashed "
                "outline round the overlap. What is in both is gained twice and paid once; what "
                "is in one is gained once and paid once.", 316,
                "MVTCAE: keep what is shared")
    for x in (182, 298): d.put("circle", "s-data f-data pale", cx=x, cy=146, r=92, stroke_width=2.4)
    d.put("ellipse", "s-teacher no dash", cx=240, cy=146, rx=48, ry=82, stroke_width=3)
    d.text(104, 70, "x_1", "f-data", 20, 600, slant=True)
    d.text(376, 70, "x_2", "f-data", 20, 600, slant=True)
    d.text(240, 128, "both", weight=600); d.text(240, 150, "+2 −1")
    d.text(240, 182, "z", "f-teacher", 20, 600, slant=True)
    d.text(138, 146, "slant"); d.text(138, 168, "+1 −1", "f-soft"); d.text(342, 146, "colour")
    d.text(342, 168, "+1 −1", "f-soft")
    d.text(20, 268, "What both views have counts twice and is paid once,", "f-soft", anchor="start")
    d.text(20, 290, "so it is worth encoding. The rest brings nothing.", "f-soft", anchor="start")
    return d

def _pair(d, view, lines):
    "A picture and its words with a z between them."
    d.tile(68, 130, view, 96); d.node(214, 130)
    for y, x0, x1 in [(122, 121, 186), (138, 186, 121), (122, 242, 309), (138, 309, 242)]:
        d.arrow([(x0, y), (x1, y)], "student" if (y == 138) == (x0 > 240) else "ink")
    d.text(153, 108, "infer", "f-student", 15); d.text(277, 162, "infer", "f-student", 15)
    d.text(153, 162, "decode", size=15); d.text(277, 108, "decode", size=15)
    d.box(313, 78, 150, 104, "data")
    for i, line in enumerate(lines): d.text(388, 108 + 24*i, line)

def birds():
    "16: a picture and a sentence."
    d = Drawing("Birds",
                "A bird and a sentence about it, with z between them.", 262,
                "A bird and what is said of it")
    _pair(d, "bird", ["a small blue bird", "with a short bill", "and a white eye"])
    d.text(240, 226, "The sentence says little, the picture much:", "f-soft")
    d.text(240, 248, "is size, colour, bill of the drawn bird as told?", "f-soft")
    return d

def faces():
    "17: a picture and attributes."
    d = Drawing("Faces",
                "A drawn face and a list of its attributes, with z between them.", 262,
                "A face and its attributes")
    _pair(d, "face", ["brown hair,", "smiling,", "young"])
    d.text(240, 226, "Most faces share most attributes, so", "f-soft")
    d.text(240, 248, "“90 % right” can be worth nothing.", "f-soft")
    return d

def reproduce():
    "18: the graph of jobs."
    d = Drawing("From data to a table",
                "A chain of boxes: data, train, students, evaluate, report.", 214,
                "From data to a table, by one command")
    for i, (said, role) in enumerate([("data", "data"), ("train", "teacher"),
                                      ("students", "student"),
                                      ("evaluate", "ink"), ("report", "ink")]):
        x = 18 + 91*i
        d.box(x, 84, 76, 48, role, filled=role != "ink")
        d.text(x + 38, 113, said, size=14, weight=600)
        if i < 4: d.arrow([(x + 77, 108), (x + 91, 108)], "soft", width=2)
    d.text(240, 180, "Each box runs when what it needs is there;", "f-soft")
    d.text(240, 202, "what has run is not run again.", "f-soft")
    return d

def recording():
    "02k: a card that waits, and one that does not."
    d = Drawing("A card that waits for Python, and one that does not",
                "Above, Python launches kernels one by one, and the card works for a moment and "
                "waits for the next. Below, one launch starts the recording, and the card works "
                "without a gap and is done earlier.", 290,
                "As written, and recorded")
    for y, said in [(70, "as written"), (186, "recorded")]:
        d.text(20, y + 3, said, weight=600, anchor="start")
        for row, who in enumerate(["Python", "card"]):
            d.text(20, y + 32 + 40*row, who, "f-soft", anchor="start")
    for i in range(8):
        x = 90 + 45*i
        d.box(x, 84, 38, 24, "ink"); d.arrow([(x + 38, 96), (x + 42, 124)], "soft", width=1.6)
        d.box(x + 40, 126, 9, 24, "teacher", filled=True)
        d.box(136 + 9*i, 242, 9, 24, "teacher", filled=True)
    d.box(90, 200, 38, 24, "ink"); d.arrow([(128, 212), (134, 240)], "soft", width=1.6)
    d.text(224, 260, "the same work, and no gaps", "f-soft", anchor="start")
    return d


LESSON = dict(data=data, distributions=distributions, networks=networks, vae=vae, training=training,
              metrics=metrics, gap=gap, refine=refine, pull=pull, subsets=subsets,
              information=information, birds=birds, faces=faces, reproduce=reproduce,
              recording=recording)
