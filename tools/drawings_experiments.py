"The drawings of the pages on experiments: who makes what, and when."
from drawing_pen import Drawing
from drawings_plumbing import card
from drawings_workshop import say


def graph():
    "14c: what one change makes old."
    d = Drawing("What a change makes old",
                "Two chains of jobs, train and evaluate, for MoPoE and for the JVAE, which meet in "
                "a report. The lesson on MoPoE has changed: its training, its evaluation and the "
                "report, in orange, run again; the JVAE's jobs, in grey, stay.", 296,
                "One lesson changes: what runs again?")
    for y, name, role in [(92, "05 MoPoE", "teacher"), (180, "03 JVAE", "line")]:
        new = role == "teacher"
        card(d, 70, y, 100, 50, [name, "changed" if new else "as it was"], role, new, dashed=True)
        for x, job in [(188, "train"), (300, "evaluate")]:
            card(d, x, y, 88, 40, [job], role, new)
        d.arrow([(122, y), (142, y)], "soft"); d.arrow([(233, y), (254, y)], "soft")
        d.arrow([(345, y), (372, 136 + (y - 136)*.2)], "soft")
    card(d, 418, 136, 86, 44, ["report"], "teacher", True)
    d.text(244, 142, "orange runs again, grey stays", "f-soft", 15)
    say(d, 242, "A job rests on its parameters, on other jobs’ files, on",
        "its notebook and the modules that its code uses.")
    return d

def talk():
    "14a: the talk's numbers and ours."
    d = Drawing("The talk's numbers and ours",
                "From the left the 52 numbers of the talk, written down once; from below the "
                "records of all evaluations. Both meet in one table with a column for the talk's "
                "value and one for ours.", 292, "One table: the talk’s value beside ours")
    card(d, 84, 100, 128, 56, ["the talk", "52 numbers"], "ink")
    for k in range(3):
        d.put("rect", "f-paper s-data", x=24 + 8*k, y=158 + 8*k, width=108, height=44, rx=10,
              stroke_width=2)
    d.text(94, 202, "records", size=15)
    d.arrow([(150, 100), (196, 118)]); d.arrow([(156, 190), (196, 170)], "data")
    d.box(200, 68, 262, 150, "ink")
    for x, said in [(252, "row"), (354, "talk"), (424, "ours")]:
        d.text(x, 90, said, size=15, weight=600)
    d.path([(200, 100), (462, 100)], "s-line no", 2)
    for y, cells in [(124, ("slide 37, FID", "194.5", "…")),
                     (150, ("slide 38, probe", "0.979", "…")),
                     (184, ("MVTCAE, …", "", "…")), (206, ("no row in the talk", "", ""))]:
        for x, said in zip((212, 354, 424), cells):
            if said: d.text(x, y, said, "f-ink" if y < 200 else "f-soft", 14,
                            anchor="start" if x < 300 else "middle")
    d.path([(200, 162), (462, 162)], "s-line no", 2)
    say(d, 250, "First every row of the talk, in its order, then rows of",
        "our own. The table is made whole, from all records.")
    return d

def runs():
    "14b: from a name to a run, and two methods on the same seeds."
    d = Drawing("Compared on the same seeds",
                "Above, a name leads to a record and weights, and those to a model. Below, two "
                "rows of runs with the seeds zero to four: lines join runs of the same seed; a "
                "run whose partner is missing is left out.", 322,
                "From a name to a model; seed with seed")
    card(d, 70, 92, 100, 40, ["mopoe, 0"], "ink"); d.arrow([(122, 92), (148, 92)])
    card(d, 214, 92, 128, 52, ["record", "+ weights"], "teacher", True)
    d.arrow([(280, 92), (306, 92)]); d.network(336, 92, 48, 56, "teacher")
    d.node(378, 92, r=14); d.network(420, 92, 48, 56, turned=True)
    for y, name in [(170, "method A"), (240, "method B")]:
        d.text(20, y + 5, name, anchor="start", weight=600)
        for k in range(5):
            there = not (k == 3 and y > 200)
            d.put("circle", "f-paper s-teacher" + ("" if there else " dash"), cx=146 + 66*k, cy=y,
                  r=15, stroke_width=2.4)
            if there: d.text(146 + 66*k, y + 5, k, size=15)
            if y > 200 and there: d.path([(146 + 66*k, 187), (146 + 66*k, 223)], "s-ink no", 2.4)
    d.text(344, 210, "left out", "f-soft", 15)
    say(d, 286, "A seed fixes pairs, items and teacher, so a difference",
        "of two runs with one seed is one of the methods.")
    return d

def job():
    "14d: what a job leaves."
    d = Drawing("What a job leaves",
                "A notebook and parameters go into papermill. If all cells run, it leaves results, "
                "an executed copy and the words of a report. If one fails, it leaves a line and a "
                "copy up to that cell.", 286, "One notebook, other parameters")
    card(d, 74, 96, 108, 44, ["notebook"], "ink")
    card(d, 74, 164, 108, 52, ["parameters", "seed = 3"], "data", True)
    d.arrow([(130, 100), (168, 120)]); d.arrow([(130, 160), (168, 140)], "data")
    d.box(170, 84, 84, 92, "ink")
    for k in range(4):
        d.put("rect", "s-ink no" if k != 1 else "s-data f-data pale", x=182, y=94 + 19*k, width=60,
              height=13, rx=3, stroke_width=1.8)
    d.arrow([(256, 114), (286, 96)]); d.arrow([(256, 150), (286, 186)], dashed=True)
    d.text(294, 84, "all cells ran:", size=15, weight=600, anchor="start")
    d.text(294, 104, "results, executed copy,", size=15, anchor="start")
    d.text(294, 124, "a report’s words", size=15, anchor="start")
    d.text(294, 176, "a cell failed:", size=15, weight=600, anchor="start")
    d.text(294, 196, "one line, and a copy", size=15, anchor="start")
    d.text(294, 216, "up to that cell", size=15, anchor="start")
    say(d, 252, "The blue cell is put in after the one with the defaults,",
        "so the same notebook serves every run.")
    return d

def watch():
    "14e: who decides, who runs, who tells."
    d = Drawing("Who decides, who runs, who tells",
                "Snakemake starts the jobs that are out of date. Each job writes a status file, "
                "and from these files one line of progress is made.", 268,
                "Many jobs, one line")
    card(d, 78, 120, 116, 64, ["Snakemake", "what is old?"], "ink")
    for k, (y, role) in enumerate([(72, "teacher"), (120, "teacher"), (168, "student")]):
        d.arrow([(138, 120 + (y - 120)*.4), (178, y)])
        card(d, 218, y, 76, 32, [f"job {k + 1}"], role, True, 14)
        d.arrow([(257, y), (280, y)], "soft")
        d.box(284, y - 13, 60, 26, "line"); d.text(314, y + 5, ("40 %", "75 %", "5 %")[k], size=14)
        d.arrow([(346, y), (372, 120 + (y - 120)*.3)], "soft")
    card(d, 420, 120, 98, 64, ["2 of 9 jobs", "1 h left"], "ink", size=14)
    d.text(314, 202, "status files", "f-soft", 15); d.text(420, 172, "one line", "f-soft", 15)
    say(d, 232, "Interrupted, it ends when its jobs have ended; the lock",
        "on the results goes last, so no second run begins.")
    return d

def commands():
    "14f: from words to one line or a result."
    d = Drawing("From words to a function",
                "The words of a command line go through a parser to a function that does the work. "
                "Wrong words end in one line and exit code two.", 250,
                "A command is a parser and a function")
    card(d, 96, 100, 152, 40, ["mmvae table …"], "data", True, 14)
    d.arrow([(174, 100), (200, 100)], "data")
    d.network(232, 100, 60, 64); d.text(232, 156, "parser", "f-soft", 15)
    d.arrow([(264, 92), (308, 84)]); card(d, 385, 84, 150, 36, ["function: does it"], size=14)
    d.arrow([(264, 110), (308, 138)], dashed=True); d.box(310, 118, 150, 62, "ink", dashed=True)
    d.text(385, 142, "scale: got rael,", size=14); d.text(385, 164, "allowed: … (exit 2)", size=14)
    say(d, 212, "Whatever is wrong is said in one line, whether a word",
        "or a module of your own that can’t be imported.")
    return d

def tuning():
    "14g: one setting at a time."
    d = Drawing("One setting at a time",
                "A star: the default in the middle, along each arm one setting with its values: "
                "learning rate, beta, weight of the text, and a knob of the method's own. A box "
                "says that a trial is scored on validation items.", 350,
                "The same search for every method")
    arms = [(-1, -1, ("4e-3", "1e-3"), "learning rate", 74), (1, -1, ("2.5", "0.5"), "β", 74),
            (-1, 1, ("0.3",), "weight of text", 248), (1, 1, ("b", "a"), "its own knobs", 272)]
    for ux, uy, values, name, label in arms:
        for k, value in enumerate(values):
            far = len(values) - k
            x, y = 240 + 64*ux*far, 166 + 32*uy*far
            d.path([(x - 45*ux, y - 22.5*uy), (x - 20*ux, y - 10*uy)], "s-soft no", 2)
            d.put("circle", "f-paper s-ink", cx=x, cy=y, r=21, stroke_width=2)
            d.text(x, y + 5, value, size=14)
        d.text(240 + 128*ux, label, name, size=15, weight=600)
    d.put("circle", "f-paper s-teacher", cx=240, cy=166, r=31, stroke_width=2.4)
    d.text(240, 171, "default", size=15)
    say(d, 306, "Scored on validation items only; a change is taken if",
        "it gains at least 0.02 and costs no more time.")
    return d

def slices():
    "14h: processes that share jobs."
    d = Drawing("Processes that share jobs",
                "Two rows of time, one for each process, cut by a dashed line where a slice ends. "
                "Each takes the next job that is ready and that the other has not locked; a "
                "training that is cut goes on from its last circle in the next slice.", 290,
                "Two processes, no scheduler, in slices")
    for y, name in [(92, "process 1"), (158, "process 2")]:
        d.text(20, y + 5, name, anchor="start", weight=600)
        d.path([(112, y + 24), (460, y + 24)], "s-line no", 2)
    for x, y, w, said, role in [(116, 92, 96, "train A", "teacher"),
                                (216, 92, 86, "train C", "teacher"),
                                (116, 158, 140, "train B", "teacher"),
                                (260, 158, 42, "", "student"),
                                (322, 92, 50, "C", "teacher"), (376, 92, 80, "report", "ink"),
                                (322, 158, 96, "student", "student")]:
        d.box(x, y - 17, w, 36, role, filled=role != "ink")
        if said: d.text(x + w/2, y + 6, said, size=14)
    for x in (240, 266, 292): d.put("circle", "f-paper s-ink", cx=x, cy=119, r=4.5, stroke_width=2)
    d.path([(312, 60), (312, 196)], "s-ink no dash", 2.4)
    d.text(312, 214, "8 minutes are over", size=15)
    say(d, 246, "Each takes the first job that is ready and not locked.",
        "What was cut goes on from its last ○ in the next slice.")
    return d


EXPERIMENTS = dict(graph=graph, talk=talk, runs=runs, job=job, watch=watch, commands=commands,
                   tuning=tuning, slices=slices)
