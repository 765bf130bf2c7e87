"The drawings of the pages on states, calls and data: what is made of what."
import math

from drawing_pen import Drawing
from drawings_workshop import say


def card(d, x, y, w, h, lines, role="ink", filled=False, size=15, dashed=False):
    "A frame with lines in it, the first one bold, centred at (x, y)."
    d.box(x - w/2, y - h/2, w, h, role, dashed, filled)
    for i, line in enumerate(lines):
        d.text(x, y + 5 + 20*(i - (len(lines) - 1)/2), line, size=size, weight=400 if i else 600)

def state():
    "00a: a state in two kinds of things."
    d = Drawing("A state as numbers and words",
                "A nested state is taken apart: its tensors go to a file of numbers, how they were "
                "nested goes as JSON into the header of the file. A pickle, which says which "
                "function to call, is crossed out.", 292,
                "A state: numbers and their nesting")
    card(d, 88, 118, 136, 110, ["state", "Adam: step 40", "0: m, v", "rng, history"], "teacher",
         True)
    d.arrow([(158, 94), (232, 78)]); d.arrow([(158, 142), (232, 158)])
    d.text(194, 70, "tensors", size=15); d.text(190, 174, "nesting", size=15)
    d.box(236, 54, 224, 130, "ink")
    for k in range(3):
        for j in range(8):
            d.put("rect", "s-data f-data pale", x=250 + 16*j, y=64 + 13*k, width=16, height=13,
                  stroke_width=1.4)
    d.text(388, 88, "numbers", "f-data", anchor="start", size=15)
    d.path([(236, 116), (460, 116)], "s-line no", 2)
    d.text(348, 142, "{“0”: {“step”: 40, …}}", size=15)
    d.text(348, 168, "JSON in the header", "f-soft", 15)
    card(d, 88, 222, 136, 40, ["pickle: call f"], size=15); d.cross(20, 202, 136, 40, "ink")
    d.text(170, 227, "to read it is to run it", "f-soft", 15, anchor="start")
    say(d, 270, "Numbers and words can only be read: to the bit.")
    return d

def door():
    "00c: refused at the door, or far inside."
    d = Drawing("Refused at the door",
                "A call with a list where a dict belongs. Without a check it goes through three "
                "functions and fails in the last with a message about something else. With the "
                "annotation read at the call it is refused in one line that names the argument.",
                280, "Refused at the door, or far inside")
    for y, said in [(92, "unchecked"), (178, "@checked")]:
        d.text(20, y - 26, said, weight=600, anchor="start")
        card(d, 76, y + 8, 112, 34, ["JVAE([e, d])"], "data", size=14)
        d.arrow([(134, y + 8), (160, y + 8)])
    for k in range(3):
        d.box(164 + 52*k, 82, 38, 36, "ink")
        d.arrow([(202 + 52*k, 100), (215 + 52*k, 100)], width=2)
    d.text(322, 96, "list has no “items”,", size=15, anchor="start")
    d.text(322, 116, "in a file of ours", "f-soft", 15, anchor="start")
    d.path([(168, 164), (168, 208)], "s-teacher no", 5)
    d.text(182, 182, "specs: got [e, d], allowed:", size=15, weight=600, anchor="start")
    d.text(182, 202, "a dict: name → ModalitySpec", size=15, weight=600, anchor="start")
    say(d, 240, "The annotation that an editor shows is also what the",
        "call is held to: one line, and it names the argument.")
    return d

def triples():
    "02b: partners by class."
    d = Drawing("Triples that share a digit",
                "Three pools with the items of class seven: handwritten digits, street numbers and "
                "four strings with the word at another offset. Lines join one of each to a triple; "
                "in the next epoch other lines do.", 336,
                "A triple: one of each pool, of one class")
    for x, name, count in [(90, "mnist", "pool of sevens"), (240, "svhn", "pool of sevens"),
                           (390, "text", "4 strings")]:
        d.box(x - 66, 52, 132, 180); d.text(x, 74, name, weight=600)
        d.text(x, 222, count, "f-soft", 14)
    for i in range(3):
        d.tile(90, 104 + 42*i, "digit", 36); d.tile(240, 104 + 42*i, "number", 36)
    for i, said in enumerate(("seven···", "·seven··", "··seven·", "···seven")):
        d.box(336, 82 + 31*i, 108, 27, "data"); d.text(390, 101 + 31*i, said, size=14)
    for ys, dashed in [((104, 188, 126), False), ((188, 146, 188), True)]:
        d.path([(110, ys[0]), (220, ys[1])], "s-ink no" + (" dash" if dashed else ""), 2.4)
        d.path([(260, ys[1]), (334, ys[2])], "s-ink no" + (" dash" if dashed else ""), 2.4)
    d.text(240, 258, "solid: this epoch; dashed: the next", size=15)
    say(d, 290, "Partners are drawn anew, by a seed. The few words are",
        "the same in training and test: known by heart.")
    return d

def _light(d, x):
    "A slope of light over the square at x."
    for k in range(4):
        d.parts.append(f'<rect x="{x - 42 + 21*k}" y="62" width="21" height="84" '
                       f'fill="#ffffff" opacity="{.06*k:g}"/>')

def rendered():
    "02c: a street number, step by step."
    d = Drawing("How a street number is rendered",
                "Four squares from left to right: a white glyph as a mask, the same tilted with "
                "parts of neighbours, in two muted colours, and with a slope of light and noise.",
                268, "From a glyph to a street number")
    names = [("glyph", "a mask"), ("map", "tilt, slant"), ("two colours", "muted"),
             ("light", "slope, noise")]
    for i, (name, what) in enumerate(names):
        x = 70 + 114*i
        fill = ("#11151a", "#11151a", "#8a765c", "#776650")[i]
        d.put("rect", "s-data", x=x - 42, y=62, width=84, height=84, rx=8, fill=fill,
              stroke_width=2.4)
        ink = "#ffffff" if i < 2 else "#f3e9cf"
        turn = "" if not i else f' transform="rotate(-9 {x} 104)"'
        d.parts.append(f'<g{turn}><path class="no" stroke="{ink}" stroke-width="9" '
                       f'd="M{x - 17} 82L{x + 18} 80L{x - 4} 130"/></g>')
        beside = f"M{x - 38} 84L{x - 38} 126M{x + 38} 80L{x + 30} 100L{x + 38} 122"
        if i: d.parts.append(f'<path class="no" stroke="{ink}" stroke-width="8" d="{beside}"/>')
        if i == 3: _light(d, x)
        d.text(x, 170, name, size=16, weight=600); d.text(x, 190, what, "f-soft", 15)
        if i < 3: d.arrow([(x + 45, 104), (x + 68, 104)], "soft", width=2)
    say(d, 226, "A digit may be brighter or darker than its ground:",
        "so a linear map of the pixels says little about it.")
    return d

def shipped():
    "02j: a file and its card."
    d = Drawing("A model and its card",
                "A folder with a file of weights and beside it a card that names data, updates, "
                "scores and a checksum. pretrained compares the checksum and gives a model that "
                "infers and generates.", 290,
                "A trained model, and the card beside it")
    d.box(16, 54, 248, 150, "line"); d.text(30, 76, "weights/", "f-soft", 15, anchor="start")
    card(d, 84, 136, 104, 92, ["weights", "fp16, recipe", "in the header"], "teacher", True, 14)
    card(d, 200, 136, 112, 92, ["card", "data, updates,", "scores, hash"], "ink", size=14)
    d.arrow([(266, 130), (318, 130)]); d.text(292, 114, "equal?", size=14)
    d.network(352, 130, 52, 64, "student"); d.node(396, 130, r=14)
    d.network(440, 130, 52, 64, turned=True)
    d.text(392, 190, "pretrained(name)", size=15, weight=600)
    say(d, 238, "Another file under the same name is refused. The card",
        "says what the numbers rest on, so they can be checked.")
    return d

def measured():
    "12a: from attributes to a bird and back."
    d = Drawing("From attributes to a bird, and back",
                "Attributes on the left are drawn as a bird. Fifty hypotheses, a grid of places "
                "in two sizes, are compared with it; the best says which pixels belong to which "
                "part, and the attributes are read back.", 280,
                "Drawn from attributes, and read back")
    words = ["attributes", "blue belly", "short bill", "small"]
    card(d, 68, 116, 104, 100, words, "data", True)
    d.arrow([(122, 116), (144, 116)], "data"); d.tile(188, 116, "bird", 80)
    d.arrow([(232, 116), (256, 116)])
    for k, (x0, gap) in enumerate([(270, 11), (262, 15)]):
        for i in range(25):
            best = k == 0 and i == 13
            d.put("circle", "f-teacher" if best else "s-soft no", cx=x0 + gap*(i % 5),
                  cy=(76 if not k else 136) + (gap - 2)*(i//5), r=4 if best else 2.6,
                  stroke_width=1.4)
    d.arrow([(334, 116), (354, 116)]); card(d, 410, 116, 104, 100, words, "data")
    d.text(188, 184, "drawn", "f-soft", 15); d.text(292, 212, "50 hypotheses", "f-soft", 15)
    d.text(410, 184, "read back", "f-soft", 15)
    say(d, 242, "A scorer can be trusted if it is right on blurred birds,",
        "too, and at chance where pictures are mixed up.")
    return d

def species():
    "12b: pairs of colours in three splits."
    d = Drawing("Species of drawn birds",
                "A grid of six belly colours by six wing colours. Cells on the diagonal and one, "
                "two and four places to its right, round the end, are for training; three places "
                "are for the test, five for validation.", 310,
                "A test bird: known colours, a new pair")
    d.text(135, 62, "wing: six colours", size=15)
    d.text(20, 154, "belly", size=15, anchor="start")
    for i in range(6):
        for j in range(6):
            after = (j - i) % 6
            x, y = 66 + 27*j, 72 + 27*i
            css = "s-data f-data pale" if after in (0, 1, 2, 4) else "s-ink no"
            d.put("rect", css, x=x, y=y, width=24, height=24, rx=5, stroke_width=1.8)
            if after in (3, 5):
                d.text(x + 12, y + 17, "T" if after == 3 else "V", weight=600)
    d.put("rect", "s-data f-data pale", x=256, y=84, width=24, height=24, rx=5, stroke_width=1.8)
    d.text(290, 102, "training: 24 pairs", anchor="start")
    d.text(268, 136, "T", weight=600); d.text(290, 136, "test: 6", anchor="start")
    d.text(268, 168, "V", weight=600); d.text(290, 168, "validation: 6", anchor="start")
    d.tile(276, 214, "bird", 48)
    d.text(308, 210, "a caption names the", "f-soft", anchor="start")
    d.text(308, 231, "belly, often the wing", "f-soft", anchor="start")
    say(d, 272, "Each colour was seen in training, but not in this pair:",
        "a list of birds known by heart is of no use.")
    return d

def collage():
    "13a: a face, drawn and measured."
    d = Drawing("A face drawn from back to front, and measured",
                "A hidden style gives attributes that keep company. Five layers from hair behind "
                "the head to hat make a face. On the face small frames show where the measure "
                "looks: hair, cheek, mouth, compared with a frame on the skin.", 296,
                "A face, layer by layer, and measured")
    d.node(46, 118, "", r=27); d.text(46, 123, "style", "f-soft", 15)
    d.arrow([(76, 118), (96, 118)])
    words = ["attributes", "necktie,", "moustache,", "no lipstick"]
    card(d, 152, 118, 108, 96, words, "data", True, 14)
    d.arrow([(208, 118), (230, 118)], "data")
    for k in range(5):
        d.put("rect", "f-paper s-data", x=234 + 9*k, y=74 + 8*k, width=52, height=52, rx=6,
              stroke_width=1.8)
    d.text(270, 190, "hair, head, …, hat", "f-soft", 15)
    d.arrow([(326, 118), (348, 118)]); d.tile(408, 118, "face", 112)
    for x, y, w, h in [(396, 72, 24, 12), (380, 118, 14, 12), (396, 138, 24, 14),
                       (402, 108, 12, 10)]:
        d.put("rect", "no", x=x, y=y, width=w, height=h, stroke="#1f2733", stroke_width=2.4)
    d.text(408, 196, "patches", "f-soft", 15)
    say(d, 236, "Each patch is compared with the same face’s own skin,",
        "so tone and light cancel. What no attribute names is",
        "drawn at random: a model needs its z for that.")
    return d

def persons():
    "13b: texts that start anywhere, splits by person."
    d = Drawing("Texts that start anywhere, and splits by person",
                "Above, one text of attributes in a row of 256 letters, three times with another "
                "start. Below, faces in groups, one group a person; whole groups go to training, "
                "validation and test.", 330,
                "Three starts, and nobody in two splits")
    for k, x in enumerate((96, 210, 40)):
        y = 56 + 34*k
        d.box(20, y, 440, 26, "line"); d.box(x, y, 176, 26, "data", filled=True)
        d.text(x + 88, y + 18, "smiling, wearing hat", size=14)
    for x, w, said, groups in [(16, 198, "training", 3), (222, 104, "validation", 1),
                               (334, 130, "test", 2)]:
        d.box(x, 170, w, 94); d.text(x + w/2, 256, said, size=15, weight=600)
        for g in range(groups):
            left = x + w/2 + 62*(g - (groups - 1)/2)
            for k in range(3): d.tile(left - 8 + 8*k, 196 + 9*k, "face", 34)
    say(d, 290, "No image tells where its text starts. A person seen in",
        "training would make the test too easy.")
    return d

def streams():
    "00: one seed, streams by name."
    d = Drawing("One seed, streams by name",
                "A seed and three names are hashed to three streams of random numbers: pairs, "
                "noise, test. Below, without names: the second stream of run zero is the first of "
                "run one.", 306, "One seed, many streams, by name")
    d.put("circle", "f-paper s-ink", cx=52, cy=110, r=25, stroke_width=2.4)
    d.text(52, 106, "seed", size=14); d.text(52, 122, "0", size=15, weight=600)
    for k, name in enumerate(("pairs", "noise", "test")):
        y = 70 + 40*k
        d.arrow([(80, 110 + (y - 110)*.4), (118, y)])
        card(d, 166, y, 92, 30, [name], "data", True)
        d.arrow([(214, y), (246, y)]); d.text(282, y + 5, "hash", "f-soft", 15)
        d.arrow([(308, y), (334, y)])
        for i in range(9):
            dy = 9*math.sin(7*k + 2.4*i*(k + 1.3))
            d.put("circle", "f-ink", cx=344 + 13*i, cy=round(y + dy, 1), r=3)
    for x, name, first in [(88, "run 0", 0), (288, "run 1", 1)]:
        d.text(x - 60, 197, name, size=15, anchor="start", weight=600)
        for k in range(2): card(d, x + 22 + 56*k, 192, 46, 28, [str(first + k)], "line")
    d.path([(166, 208), (166, 222), (310, 222), (310, 208)], "s-ink no dash", 2)
    d.text(238, 240, "counted, not named: the same numbers", size=15)
    say(d, 268, "A name keeps its numbers when other streams come",
        "or go, so a change here moves nothing there.")
    return d

def legend():
    "00b: what shapes and colours mean."
    d = Drawing("What shapes and colours mean",
                "A legend. Blue squares are data, dashed with a question mark if missing, pale if "
                "generated. Bells are posteriors, trapeziums networks, a circle is z. Orange is "
                "the teacher, green the student, a purple dashed arrow a gradient.", 380,
                "How to read the drawings")
    rows = [(84, "data", "data: given, missing, made"), (150, "ink", "networks narrow or widen"),
            (216, "teacher", "teacher: its posterior"), (272, "student", "student: its posterior"),
            (322, "gradient", "gradient: what should change")]
    for k, state in enumerate(("given", "hole", "guess")): d.tile(44 + 50*k, 84, "digit", 42, state)
    d.network(44, 150, 44, 50); d.node(96, 150, r=19); d.network(148, 150, 44, 50, turned=True)
    for y, role, sd, high in [(216, "teacher", 10, 44), (272, "student", 14, 30)]:
        d.network(50, y, 44, 44, role); d.arrow([(73, y), (92, y)], role)
        d.axis(94, 178, y + 22, ""); d.bell(136, y + 22, sd, high, role)
    d.arrow([(34, 322), (166, 322)], "gradient", dashed=True, width=3)
    for y, role, said in rows: d.text(196, y + 6, said, f"f-{role}", 16, 600, "start")
    say(d, 362, "A circle is the latent z; a bell says where z may be.")
    return d


PLUMBING = dict(streams=streams, legend=legend, state=state, door=door, triples=triples,
                rendered=rendered, shipped=shipped, measured=measured, species=species,
                collage=collage, persons=persons)
