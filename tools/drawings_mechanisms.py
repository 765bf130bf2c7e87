"Second drawings of the main lessons, for what their text explains step by step."
from drawing_pen import Drawing
from drawings_workshop import VIEWS, say


def elbo():
    "03: where each term of the ELBO arises."
    d = Drawing("Where each term of the ELBO arises",
                "Three views go into a joint encoder, which gives mean and deviation of q. With "
                "noise they make one z, and z goes to three decoders. Beside each decoded view "
                "stands its weighted log-likelihood; below, the bell q over the broad prior stands "
                "for the KL.", 382,
                "One z for all: where each term arises")
    for i, (y, view) in enumerate(zip((92, 154, 216), VIEWS), 1):
        d.tile(36, y, view, 42); d.arrow([(59, y), (76, 154 + (y - 154)*.6)], "data")
        d.arrow([(206 if i == 2 else 200, 154 + 10*(i - 2)), (224, y)])
        d.network(246, y, 42, 48, turned=True); d.arrow([(268, y), (284, y)])
        d.tile(306, y, view, 42, "guess")
        d.text(334, y + 5, f"w_{i} log p(x_{i} | z)", size=15, weight=600, anchor="start")
    d.network(100, 154, 48, 128, "teacher"); d.arrow([(125, 154), (164, 154)], "teacher")
    d.node(185, 154, r=19); d.text(147, 144, "μ, σ", "f-teacher", 15, 600)
    d.text(176, 84, "noise ε", size=15); d.arrow([(185, 92), (185, 133)])
    d.text(244, 268, "z = μ + σ ⊙ ε", anchor="start", slant=True)
    d.path([(100, 220), (100, 238)], "s-teacher no dash")
    d.axis(24, 216, 306, ""); d.bell(120, 306, 30, 30, "soft", dashed=True, filled=False)
    d.bell(100, 306, 10, 62); d.text(128, 258, "q", "f-teacher", 18, 600, slant=True)
    d.text(192, 284, "p(z)", "f-soft", slant=True)
    d.text(244, 300, "− β KL(q(z) ‖ p(z))", weight=600, anchor="start")
    d.text(240, 338, "L(x; q)  =  three log-likelihoods  −  β KL", size=17, weight=600)
    say(d, 366, "All three come from the same z; the KL comes once.")
    return d

EXPERTS = {"x_1": (-13, 1/18**2), "x_2": (3, 1/14**2), "x_3": (13, 1/17**2)} # mean, precision

def _product(d, s, x, y):
    "The product of some experts, in a small frame of its own."
    tau = sum(EXPERTS[m][1] for m in s)
    mean, sd = sum(EXPERTS[m][0]*EXPERTS[m][1] for m in s)/tau, tau**-.5
    d.axis(x - 50, x + 50, y, "")
    role = "data" if len(s) == 1 else "teacher"
    d.path([(a, b) for a, b in d.curve(round(x + mean, 1), y, sd, round(600/sd), 2.4)
            if abs(a - x) < 51], f"s-{role} f-{role} pale", 2.4)
    d.text(x, y + 20, "{" + ", ".join(s) + "}", size=15)

def lattice():
    "05: the subsets of three modalities."
    d = Drawing("Every subset of three",
                "Seven small bells in three rows: below one for each modality, above one for each "
                "pair, on top one for all three. Each is the product of the experts in it, so it "
                "is narrower than those below it. The top alone is MVAE's, the lowest row alone "
                "MMVAE's, all seven are MoPoE's.", 398,
                "Three modalities, seven products")
    rows = [(330, [("x_1",), ("x_2",), ("x_3",)]),
            (222, [("x_1", "x_2"), ("x_1", "x_3"), ("x_2", "x_3")]), (114, [("x_1", "x_2", "x_3")])]
    places = {s: ((70, 178, 286)[i if len(row) > 1 else 1], y)
              for y, row in rows for i, s in enumerate(row)}
    for small, (x0, y0) in places.items():
        for large, (x1, y1) in places.items():
            if set(small) < set(large) and len(large) == len(small) + 1:
                d.path([(x0, y0 - 54), (x1, y1 + 28)], "s-line no", 2)
    for s, (x, y) in places.items(): _product(d, s, x, y)
    for y, name, what in [(92, "MVAE", "top, × the prior"), (200, "MoPoE", "mixture of all 7"),
                          (308, "MMVAE", "mixture of 3")]:
        d.text(350, y, name, weight=600, anchor="start")
        d.text(350, y + 20, what, "f-soft", 14, anchor="start")
    say(d, 380, "Upwards, precisions add: each row is surer.")
    return d

def _losses(d):
    "Which KLs the two methods add up."
    d.text(20, 314, "MVTCAE", weight=600, anchor="start")
    d.text(112, 314, "(1 − κ) KL(q ‖ p)  +  κ/M Σ KL(q ‖ q_m)", size=15, anchor="start")
    d.text(20, 340, "CRMVAE", "f-student", 16, 600, anchor="start")
    d.text(112, 340, "KL(q ‖ p)  +  Σ KL(q ‖ q_m), and dashed:", size=15, anchor="start")
    d.text(112, 360, "each q_m alone decodes its own x_m", size=15, anchor="start")

def ties():
    "06: which KL ties what."
    d = Drawing("What ties what",
                "On one axis the narrow bell q in the middle, over the broad dashed prior, and at "
                "its sides the bells of two encoders. Arrows from q to them and to the prior are "
                "the KLs. From q both views are decoded; dashed arrows, from each encoder to its "
                "own view, are CRMVAE's.", 424,
                "MVTCAE and CRMVAE: what ties what")
    d.axis(24, 454, 252)
    d.bell(240, 252, 64, 34, "soft", dashed=True, filled=False)
    for x, i in ((102, 1), (378, 2)):
        s = 1 if x < 240 else -1
        d.tile(240 - 96*s, 86, VIEWS[i - 1], 46)
        d.bell(x, 252, 25, 56, "student")
        d.text(x, 278, f"q_{i}(z | x_{i})", "f-student", 16, 600, slant=True)
        d.arrow([(240 - 24*s, 206), (x + 28*s, 206)], "teacher")
        d.text(x + 74*s, 196, f"KL(q ‖ q_{i})", "f-teacher", 15, 600)
        d.arrow([(240 - 12*s, 114), (240 - 68*s, 92)])
        d.arrow([(x, 188), (240 - 104*s, 114)], "student", dashed=True)
    d.bell(240, 252, 13, 104); d.text(240, 134, "q ∝ q_1 q_2", "f-teacher", 17, 600, slant=True)
    d.text(324, 228, "p", "f-soft", slant=True); d.text(240, 278, "KL(q ‖ p)", "f-teacher", 15, 600)
    _losses(d)
    say(d, 390, "Solid: from q every view is decoded. Nobody decodes",
        "x_2 from q_1: what goes across comes by the KLs.")
    return d

def _answer(d):
    "Of the refiner: a step and a proposal, and the gate between them."
    d.network(410, 292, 92, 88, "teacher", narrow=.6, turned=True)
    d.text(412, 298, "refiner", weight=600)
    d.text(464, 354, "sees q_t and its age, too", "f-soft", 14, anchor="end")
    for y, role, name, what in [(266, "teacher", "step", "μ + σ c tanh(o)"),
                                (318, "teacher", "proposal", "μ\u0303")]:
        d.arrow([(362, 292 + (y - 292)*.5), (340, y)], "teacher", width=2)
        d.box(170, y - 19, 168, 38, role)
        d.text(180, y + 6, name, size=15, weight=600, anchor="start")
        d.text(330, y + 6, what, size=14, anchor="end", slant=True)
        d.arrow([(168, y), (152, 292 + (y - 292)*.5)], "teacher", width=2)
    d.put("circle", "f-paper s-teacher", cx=138, cy=292, r=15, stroke_width=2.2)
    d.text(138, 298, "γ", "f-teacher", 17, 600)
    d.arrow([(121, 292), (90, 292)], "teacher"); d.text(108, 280, "r_t", "f-teacher", 15, 600)

def _gradient(d):
    "In units of the posterior, and remembered."
    d.box(280, 58, 180, 84, "gradient", filled=True)
    for y, said in [(82, "units: per deviation"), (104, "σ ∂L/∂μ,  ∂L/∂log σ²"), (128, "symlog")]:
        d.text(370, y, said, size=15, weight=600 if y < 90 else 400)
    d.arrow([(370, 142), (370, 162)], "gradient", dashed=True)
    d.box(280, 164, 180, 58, "gradient", filled=True)
    d.text(370, 186, "memory, a mean:", size=15, weight=600)
    d.text(370, 210, "0.9 ḡ_{t−1} + 0.1 g_t", size=15)
    d.arrow([(410, 222), (410, 246)], "gradient", dashed=True)

def unrolled():
    "08: one step of the refiner."
    d = Drawing("One step of the refiner",
                "A bell q at t is decoded and its ELBO's gradient, a purple dashed arrow, is put "
                "into the bell's own units and into a memory. The refiner network gives a bounded "
                "step and a proposal; a gate mixes them, and the next bell comes out.", 424,
                "One step of the refiner, unrolled")
    d.axis(20, 120, 126, ""); d.bell(70, 126, 17, 62)
    d.text(70, 150, "q_t", "f-teacher", 18, 600, slant=True)
    d.arrow([(112, 100), (140, 100)], "teacher"); d.box(142, 72, 92, 56, "ink")
    d.text(188, 96, "decode,", size=15); d.text(188, 116, "ELBO", size=15, weight=600)
    d.arrow([(236, 100), (278, 100)], "gradient", dashed=True, width=3)
    d.text(256, 86, "g", "f-gradient", 18, 600, slant=True)
    _gradient(d)
    _answer(d)
    d.axis(20, 120, 318, ""); d.bell(62, 318, 11, 76)
    d.text(62, 342, "q_{t+1}", "f-teacher", 18, 600, slant=True)
    d.arrow([(62, 232), (62, 162)], "soft")
    d.text(74, 204, "again, T times", "f-soft", anchor="start")
    say(d, 390, "Near the top the step is what is needed, far from it",
        "the proposal. With age r_t shrinks, and the walk rests.")
    return d

def aims():
    "10: whose answer a student copies."
    d = Drawing("One target for all students, or one for each",
                "Left, a JVAE: one orange bell from all modalities is copied by three green "
                "students. Right, the iterative teacher: each modality starts a refinement of its "
                "own, so there are three orange bells, each copied by the student of the same "
                "modality.", 372,
                "One target for all, or one for each")
    d.box(12, 48, 222, 258); d.box(246, 48, 222, 258)
    d.text(123, 76, "JVAE", weight=600); d.text(357, 76, "iterative teacher", weight=600)
    for i, (y, view) in enumerate(zip((118, 190, 262), VIEWS), 1):
        for x in (40, 274):
            d.tile(x, y, view, 36); d.arrow([(x + 20, y), (x + 34, y)], "data", width=2)
            d.network(x + 52, y, 32, 40, "student"); d.text(x + 51, y + 5, f"s_{i}", size=14)
            d.arrow([(x + 69, y), (x + 80, y)], "student", width=2)
            d.bell(x + 102, y + 18, (8, 9, 10)[i - 1], (42, 37, 32)[i - 1], "student")
        d.arrow([(186, 190 + (y - 190)*.3), (168, y)], "student", dashed=True)
        d.bell(438, y + 18, 6, 46); d.arrow([(418, y), (404, y)], "student", dashed=True)
        d.text(438, y + 34, "q_T" + "⁽¹⁾⁽²⁾⁽³⁾"[3*i - 3:3*i], "f-teacher", 15, 600)
    d.bell(202, 216, 6, 56); d.text(204, 240, "q_φ", "f-teacher", 17, 600)
    say(d, 334, "Each student sees one modality and makes KL(q ‖ s)",
        "small: it has to cover all answers that x_m leaves open.")
    return d


MECHANISMS = dict(elbo=elbo, lattice=lattice, ties=ties, unrolled=unrolled, aims=aims)
