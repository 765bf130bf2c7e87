"""Draw the pictures at the head of the lessons: nbs/drawings/*.svg.

    python tools/drawings.py [--check]     --check: exit 1 if a file is not what is drawn

The four drawings of the method are here, those of single lessons in the files beside this one
whose names begin with `drawings_`, all methods side by side in `drawings_zoo.py`. Shapes and
colours keep their meaning on every page: blue squares are data, orange bells and networks the
teacher, green ones the student, purple dashes a gradient.
"""
import argparse, sys

from drawing_pen import Drawing
from drawings_experiments import EXPERIMENTS
from drawings_lessons import LESSON
from drawings_mechanisms import MECHANISMS
from drawings_plumbing import PLUMBING
from drawings_steps import STEPS
from drawings_whys import WHYS
from drawings_workshop import WORKSHOP
from drawings_zoo import zoo
from notebooks import ROOT

VIEWS = "digit", "number", "word"


def model():
    "The generative model: z makes every view."
    d = Drawing("The model",
                "One hidden variable z at the top. From it three arrows lead through three "
                "decoders down to three views of the same seven: a handwritten digit, a street "
                "number, the word seven.", 352,
                "One hidden z makes every view")
    d.node(240, 88)
    d.text(278, 84, "what the views share", "f-soft", anchor="start")
    d.text(278, 104, "(nobody sees it)", "f-soft", anchor="start")
    for i, (x, view) in enumerate(zip((90, 240, 390), VIEWS), 1):
        d.arrow([(240 + (x - 240)*.16, 114), (x, 160)])
        d.box(x - 54, 162, 108, 36, "ink")
        d.text(x, 186, f"p(x_{i} | z)", slant=True)
        d.arrow([(x, 200), (x, 226)])
        d.tile(x, 258, view, 60)
        d.text(x, 310, f"x_{i}", slant=True)
    d.text(240, 337, "Drawing one view from another: find z, then decode it.", "f-soft", 16)
    return d

def hole():
    "The joint encoder lacks an input."
    d = Drawing("The joint encoder with a hole",
                "Three inputs of one encoder: the first two are missing, only the word seven is "
                "there. The encoder needs all three; its answer, an orange bell, lies away from "
                "the dotted bell of the right answer, the posterior given all three.", 372,
                "The joint encoder has a hole")
    for i, (y, view) in enumerate(zip((92, 164, 236), VIEWS), 1):
        d.tile(56, y, view, 56, "given" if view == "word" else "hole")
        d.text(102, y + 6, f"x_{i}", slant=True)
        d.arrow([(120, y), (154, 164 + (y - 164)*.62)], "data", dashed=view != "word")
    d.network(204, 164, 94, 150, "teacher")
    d.text(203, 160, "joint", weight=600); d.text(203, 180, "encoder", weight=600)
    d.arrow([(254, 164), (284, 164)], "teacher")
    d.axis(286, 452, 226)
    d.bell(408, 226, 15, 92, "ink", dashed=True, filled=False)
    d.bell(334, 226, 13, 80)
    d.text(334, 250, "its answer", "f-teacher")
    d.text(404, 92, "the truth,"); d.text(404, 112, "given all views")
    d.text(334, 270, "q(z | holes)", "f-teacher", slant=True)
    d.text(20, 312, "It was trained with every view in front of it.", "f-soft", anchor="start")
    d.text(20, 334, "Zeros in the holes are not absent data but wrong", "f-soft",
           anchor="start")
    d.text(20, 356, "data, and it believes them.", "f-soft", anchor="start")
    return d

def loop():
    "Iterative inference from one view by the gradient of all."
    d = Drawing("The loop",
                "A handwritten digit starts a posterior, an orange bell. The bell is decoded "
                "into all three views, these are compared with the three real ones, and the "
                "gradient of that comparison, a purple dashed arrow, goes to the refiner, which "
                "moves the bell. The street number and the word enter through the gradient "
                "only.", 488,
                "Start from one view,|climb by the gradient of all")
    d.text(50, 98, "start", "f-soft"); d.tile(50, 134, "digit", 52)
    d.arrow([(78, 134), (96, 134)], "data")
    d.network(120, 134, 46, 56, "teacher"); d.text(120, 140, "e_1", slant=True)
    d.arrow([(144, 134), (166, 134)], "teacher")
    d.axis(172, 284, 164, ""); d.bell(228, 164, 17, 66)
    d.text(228, 188, "q_t", "f-teacher", 18, 600, slant=True)
    d.arrow([(290, 134), (378, 134), (378, 174)], "teacher")
    d.text(388, 122, "decode all", anchor="middle")
    _compared(d)
    d.arrow([(262, 330), (178, 330)], "gradient", dashed=True, width=3)
    d.text(220, 314, "gradient", "f-gradient", weight=600)
    d.text(220, 354, "∇ELBO", "f-gradient", 15, 600)
    d.network(122, 330, 104, 72, "teacher", narrow=.7); d.text(122, 336, "refiner", weight=600)
    d.arrow([(122, 292), (122, 230), (228, 230), (228, 196)], "teacher")
    d.text(136, 222, "next:  q_{t+1}", "f-teacher", anchor="start")
    d.text(240, 450, "x_2 and x_3 are never fed into a network:", weight=600)
    d.text(240, 472, "what they know arrives in the gradient alone.", weight=600)
    return d

def _compared(d):
    "The box where guesses and data meet."
    d.box(264, 178, 200, 242, "gradient")
    d.text(364, 200, "guess", "f-soft", 15)
    d.text(364, 408, "ELBO: how good?", "f-gradient", weight=600)
    for x, view in zip((300, 364, 428), VIEWS):
        d.tile(x, 232, view, 48, "guess")
        d.text(x, 286, "≈", "f-gradient", 30, 600)
    for i, (x, view) in enumerate(zip((300, 364, 428), VIEWS), 1):
        d.tile(x, 318, view, 48)
        d.text(x, 364, f"x_{i}", slant=True)
    d.text(364, 386, "the data, all views", "f-soft", 15)

def student():
    "Students copy the refined posterior."
    d = Drawing("The student",
                "Above: the teacher needs all three views; its refined posterior is a narrow "
                "orange bell; the teacher is crossed out after the training. Below: the word "
                "alone goes through the student, a green network, to a broader green bell that "
                "copies the orange one, and from there every view is decoded.", 482,
                "A student copies the answer,|then the teacher goes")
    _teacher(d)
    d.arrow([(394, 154), (394, 244)], "student", dashed=True)
    d.text(384, 204, "copy: make KL(q_T ‖ s) small", "f-student", anchor="end", weight=600)
    d.tile(46, 288, "word", 52)
    d.arrow([(74, 288), (104, 288)], "data")
    d.network(158, 288, 104, 76, "student", narrow=.6); d.text(158, 294, "student", weight=600)
    d.arrow([(212, 288), (336, 288)], "student")
    d.axis(342, 446, 312); d.bell(394, 312, 17, 54, "student")
    d.text(394, 336, "s(z | x_3)", "f-student", 17, 600, slant=True)
    d.arrow([(394, 346), (394, 400), (300, 400)], "student")
    d.text(388, 392, "decode", anchor="end")
    for x, view in zip((162, 214, 266), VIEWS): d.tile(x, 400, view, 48, "guess")
    d.text(20, 444, "The word alone is enough now. The student’s bell", "f-soft", anchor="start")
    d.text(20, 466, "stays broad where a word leaves things open.", "f-soft", anchor="start")
    return d

def _teacher(d):
    "What is needed for training only, crossed out."
    for x, view in zip((46, 98, 150), VIEWS): d.tile(x, 116, view, 44)
    d.arrow([(176, 116), (200, 116)], "data")
    d.box(204, 88, 104, 56, "teacher", filled=True)
    d.text(256, 112, "teacher:"); d.text(256, 132, "the loop")
    d.arrow([(310, 116), (336, 116)], "teacher")
    d.axis(342, 446, 146); d.bell(394, 146, 11, 64); d.text(360, 102, "q_T", "f-teacher", 18, 600)
    d.cross(24, 92, 150, 50); d.cross(212, 92, 88, 50)
    d.text(20, 176, "needs every view: used in training only", "f-soft", anchor="start")


METHOD = dict(model=model, hole=hole, loop=loop, student=student)

def drawn():
    "File name -> text, for every drawing."
    every = {**METHOD, **LESSON, **MECHANISMS, **WORKSHOP, **PLUMBING, **EXPERIMENTS,
             **STEPS, **WHYS, "zoo": zoo}
    return {f"{name}.svg": make().svg() for name, make in every.items()}

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check, folder = p.parse_args(argv).check, ROOT/"nbs"/"drawings"
    said = lambda f: f.read_text(encoding="utf-8") if f.exists() else None
    old = [n for n, text in drawn().items() if said(folder/n) != text]
    if not check:
        folder.mkdir(exist_ok=True)
        for n in old: (folder/n).write_text(drawn()[n], encoding="utf-8")
    for n in old: print(f"nbs/drawings/{n}: {'not what is drawn now' if check else 'written'}")
    return int(check and bool(old))


if __name__ == "__main__": sys.exit(main())
