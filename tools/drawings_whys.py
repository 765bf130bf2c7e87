"""Fourth drawings of the main lessons: why a bound is close, a product right, a student needed.

And why noise comes from outside, why items come again, why near is not alike, and why a part of
what is lost without a modality can't be mended from the others.
"""
import math

from drawing_pen import Drawing
from drawings_steps import bar
from drawings_workshop import say


def normal(x, mean, sd):
    "The density of a Gaussian."
    return math.exp(-((x - mean)/sd)**2/2)/(sd*math.sqrt(2*math.pi))

def given_away(means, sd=1.):
    "Mean KL in nats of equal bells to their mixture, by a sum over a fine grid."
    lo, step = min(means) - 8*sd, sd/50
    total = 0.
    for i in range(int((max(means) + 8*sd - lo)/step)):
        parts = [normal(lo + i*step, m, sd) for m in means]
        q = sum(parts)/len(parts)
        total += step*sum(p*math.log(p/q) for p in parts if p)/len(parts)
    return total

def _gap(d, y, gap, why):
    "A bar between 0 and log 3, and its number."
    d.put("rect", "f-teacher", x=322, y=y - 52, width=round(136*gap/math.log(3), 1), height=16)
    d.put("rect", "s-ink no", x=322, y=y - 52, width=136, height=16, stroke_width=1.8)
    d.text(390, y - 60, f"{abs(gap):.2f} nats", size=15, weight=600)
    d.text(322, y - 18, "0", "f-soft", 15)
    d.text(458, y - 18, f"log 3 = {math.log(3):.2f}", "f-soft", 15, anchor="end")
    d.text(390, y + 4, why, size=15)

def _sum(y, at, sd, height):
    "Points of the sum of equal bells."
    heights = [(x, sum(math.exp(-((x - m)/sd)**2/2) for m in at)) for x in range(14, 303, 4)]
    return [(x, round(y - height*h, 1)) for x, h in heights]

def bound():
    "05: what the bound of a mixture gives away."
    d = Drawing("What the bound gives away",
                "Three rows with three orange bells, each drawn at a third of its height, and a "
                "line, their sum, the mixture. Where the bells agree the line is three times as "
                "high as a third, and a bar beside it, the gap, is empty. Where they overlap the "
                "bar is filled to two fifths. Where they lie apart the line is each third itself "
                "and the bar is nearly full; its end is log 3.", 462,
                "What the bound gives away")
    sd, third = 18, 24
    d.text(390, 66, "mean KL(q_A ‖ q)", "f-teacher", 15, 600)
    for y, apart, name, why in [(164, 0, "all agree", "q = q_A: log 1"),
                                (268, 1.5, "overlap", "between the two"),
                                (372, 5, "apart", "q = q_A/3: log 3")]:
        at = [158 + k*apart*sd for k in (-1, 0, 1)]
        d.axis(14, 302, y, "")
        for x in at[:3 if apart else 1]: d.bell(x, y, sd, third, width=1.8)
        d.path(_sum(y, at, sd, third), "s-ink no", 2.8)
        d.text(20, y - 46, name, weight=600, anchor="start")
        _gap(d, y, given_away([x/sd for x in at]), why)
    d.text(196, 108, "q", size=18, weight=600, slant=True)
    d.text(204, 152, "3 × q_A/3", "f-teacher", 15, 600, anchor="start")
    say(d, 406, "No part of the sum q lies below a third q_A/3, so no gap",
        "is above log 3. It is what z tells of A: can we see",
        "which bell it was drawn from?")
    return d

def _block(d, x, y, name, role="soft", state=""):
    "A factor of a product; a surplus one is struck out, a missing one is dashed."
    css = f"s-{role} " + ("no dash" if state == "missing" else f"f-{role} pale")
    d.put("rect", css, x=x, y=y, width=34, height=26, rx=5, stroke_width=2)
    d.text(x + 17, y + 18, name, f"f-{role}", 16, 600, slant=True)
    if state == "surplus": d.path([(x - 3, y + 29), (x + 37, y - 3)], "s-ink no", 3)

def _factors(d, x, y, n, posteriors, times_prior):
    "What is multiplied: n experts, with or without a prior in each, and how often it is there."
    count = n*posteriors + times_prior
    if count == 1: d.box(x - 10, y - 10, 174, 98, "ink")
    for i in range(n):
        if posteriors: _block(d, x + 40*i, y, "p", state="surplus" if i else "")
        _block(d, x + 40*i, y + 29, f"x_{i + 1}", "data")
    if times_prior: _block(d, x + 40*n, y, "p", state="surplus" if posteriors else "")
    if not count: _block(d, x + 40*n, y, "p", state="missing")
    said = {0: "never: one missing", 1: "once: right", 2: "twice: one too many"}
    d.text(x + 77, y + 78, said.get(count, f"{count} times: {count - 1} too many"), size=15,
           weight=600 if count == 1 else 400)

def priors():
    "05: how often the prior is in a product."
    d = Drawing("How often the prior is in a product",
                "A table. Rows are MoPoE's products: one expert, two, and three times the prior. "
                "Columns are two readings of an expert, as a posterior, where each holds a grey "
                "block p, the prior, and as a likelihood, where none does. As posteriors one "
                "expert has the prior once, which is right and framed, a pair twice, all three "
                "with the prior four times; what is too much is struck out. As likelihoods the "
                "prior is missing in the first two, dashed, and right, framed, in the last.", 476,
                "Count the prior p: once is right")
    for x, said in [(193, "a posterior"), (383, "a likelihood")]:
        d.text(x, 62, "if each q_m is", "f-soft", 15); d.text(x, 82, said, weight=600)
    for y, n, product, name in [(108, 1, "q_1", "one"), (216, 2, "q_1 q_2", "a pair"),
                                (324, 3, "q_1 q_2 q_3 p", "all three")]:
        d.text(14, y + 26, product, "f-teacher", 15, 600, anchor="start", slant=True)
        d.text(14, y + 48, name, "f-soft", 15, anchor="start")
        for x, posteriors in [(116, True), (306, False)]:
            _factors(d, x, y, n, posteriors, n == 3)
    say(d, 440, "Struck out: too much. Dashed: missing. Neither",
        "reading of an expert is right in all three rows.")
    return d

SCALE = 25                                          # of z, in the drawing's units
ANSWERS = [(-1., .1), (.5, .2), (2., .1)]           # means and variances: lesson 10's three answers

def picked(answers):
    "Mean and standard deviation of the best q for the mean of KL(q, answer): precisions average."
    tau = sum(1/v for _, v in answers)/len(answers)
    return sum(m/v for m, v in answers)/len(answers)/tau, tau**-.5

def covering(answers):
    "The same for KL(answer, q): the mean and the variance of the average."
    n, mean = len(answers), sum(m for m, _ in answers)/len(answers)
    return mean, math.sqrt(sum(v + (m - mean)**2 for m, v in answers)/n)

def _drawn(d, x, y, ground, ink, opacity=1):
    "A drawn street number."
    d.parts.append("<g>")
    d.put("rect", "s-data", x=x - 18, y=y - 18, width=36, height=36, rx=6, fill=ground,
          stroke_width=2.2)
    d.parts.append(f'<text x="{x}" y="{y + 9}" font-size="26" font-weight="700" fill="{ink}" '
                   f'text-anchor="middle" opacity="{opacity}">7</text></g>')

PALE = [("#a8a198", "#f3efe6", .4)]*3
DIFFERENT = [("#8a765c", "#f3e9cf"), ("#2f5583", "#e9eef6"), ("#86403a", "#f4d9a0")]

def _aim(d, y, role, name, best, target, numbers):
    "A digit, an encoder, its bell over the three answers, and three samples decoded."
    at = lambda z: round(226 + SCALE*(z - .5), 1)
    tall = lambda sd: round(56*normal(0, 0, sd), 1)
    d.tile(40, y - 30, "digit", 42); d.arrow([(63, y - 30), (78, y - 30)], "data")
    d.network(102, y - 30, 44, 64, role, name, narrow=.6)
    d.arrow([(126, y - 30), (142, y - 30)], role)
    d.axis(130, 322, y, "")
    mean, sd = best
    d.text(178, y - 78, target, "f-teacher", 15, slant=True)
    d.bell(at(mean), y, round(SCALE*sd, 1), tall(sd), role)
    for m, v in ANSWERS:
        d.bell(at(m), y, round(SCALE*v**.5, 1), tall(v**.5), "teacher", True, False, 1.8)
    for k in (-1.1, .1, 1.2):
        d.put("circle", "f-ink", cx=round(at(mean) + SCALE*sd*k, 1), cy=y, r=4)
    d.arrow([(314, y - 30), (336, y - 30)])
    d.network(360, y - 30, 44, 64, turned=True); d.arrow([(384, y - 30), (414, y - 30)])
    for k, number in enumerate(numbers): _drawn(d, 440, y - 72 + 42*k, *number)

def start():
    "10: what a start and a student are trained for."
    d = Drawing("The start picks, the student covers",
                "Two lanes from the same digit. Above, the teacher's own encoder gives a narrow "
                "orange bell in the middle of three dashed ones, the answers for three items with "
                "this digit; three samples lie together and decode to three equal pale street "
                "numbers. Below, the student gives a broad green bell over all three; its samples "
                "lie apart and decode to three different street numbers.", 430,
                "Both see x_1 alone, with different aims")
    d.text(20, 66, "start q_0: KL(q_0 ‖ p(z | x)) picks", "f-teacher", 16, 600, anchor="start")
    _aim(d, 176, "teacher", "e_1", picked(ANSWERS), "p(z | x)", PALE)
    d.text(20, 232, "student s_1: KL(q_T ‖ s_1) covers", "f-student", 16, 600, anchor="start")
    _aim(d, 342, "student", "s_1", covering(ANSWERS), "q_T", DIFFERENT)
    say(d, 392, "Dashed: the answers for three items with this digit.",
        "Dots: three samples. Right: the street numbers drawn.")
    return d

def _die(d, x, y, size=34):
    "A die, tilted: here something is drawn by chance."
    spots = "".join(f'<circle class="f-ink" cx="{a*size/4:g}" cy="{b*size/4:g}" r="{size/11:.1f}"/>'
                    for a, b in [(-1, -1), (1, -1), (0, 0), (-1, 1), (1, 1)])
    d.parts.append(f'<g transform="translate({x} {y}) rotate(12)"><rect class="f-paper s-ink" '
                   f'x="{-size/2:g}" y="{-size/2:g}" width="{size}" height="{size}" rx="7" '
                   f'stroke-width="2.4"/>{spots}</g>')

def _sampled(d, y, middle, name):
    "A lane: from a digit to a bell, by what stands in the `middle` to z, and to its likelihood."
    d.tile(38, y, "digit", 40); d.arrow([(60, y), (74, y)], "data")
    d.network(98, y, 44, 62, "teacher"); d.arrow([(121, y), (138, y)], "teacher")
    d.axis(140, 208, y + 24, ""); d.bell(174, y + 24, 12, 50)
    d.text(174, y - 36, name, "f-teacher", 16, 600, slant=True)
    middle(d, y)
    d.node(308, y, r=19); d.arrow([(328, y), (344, y)])
    d.network(368, y, 44, 62, turned=True); d.arrow([(391, y), (406, y)])
    d.text(437, y - 6, "log p", weight=600); d.text(437, y + 15, "(x | z)", size=15)

def _drawn_inside(d, y):
    "The draw stands between the bell and z."
    d.arrow([(212, y), (228, y)]); _die(d, 249, y); d.arrow([(271, y), (288, y)])

def _drawn_outside(d, y):
    "The draw enters from above; mean and deviation pass."
    d.arrow([(212, y), (288, y)], "teacher"); d.text(248, y - 8, "μ, σ", "f-teacher", 16, 600)
    d.arrow([(308, y - 46), (308, y - 21)]); _die(d, 308, y - 66)
    d.text(334, y - 60, "ε ~ N(0, I)", anchor="start", slant=True)

def reparameterised():
    "02: where the gradient of a draw ends, and how it passes."
    d = Drawing("Where the die stands",
                "Two lanes from a digit through the encoder to a bell, on to z, the decoder and "
                "log p(x | z). In the upper one a die stands between the bell and z; the gradient, "
                "purple dashed arrows from right to left, ends there at a thick bar, and bell and "
                "encoder get nothing. In the lower one the die stands outside, above z, "
                "and gives noise; the gradient runs through z, mean and deviation, and the bell, "
                "back to the encoder.", 476, "A gradient does not pass a die")
    d.text(20, 62, "z ~ q_λ(z): the die is on the way", weight=600, anchor="start")
    _sampled(d, 130, _drawn_inside, "q_λ")
    d.text(20, 234, "z = μ + σ ⊙ ε: it is outside", weight=600, anchor="start")
    _sampled(d, 332, _drawn_outside, "q_λ")
    for y, ends in [(174, (330, 270)), (376, (330, 212, 112))]:
        for a, b in zip((424, *ends), ends):
            d.arrow([(a - 4, y), (b + 4, y)], "gradient", dashed=True, width=3)
    bar(d, 262, 174, 34); d.text(174, 180, "no gradient", "f-gradient", 15, 600)
    d.text(322, 405, "∂z/∂μ = 1,  ∂z/∂σ = ε", "f-gradient", 15, 600)
    say(d, 436, "Nobody can differentiate a throw. But for a throw that",
        "is made, z is a straight line in μ and in σ.")
    return d

SHARE = .6                                          # of a batch continues: lesson 08's default
AGES = ["1–4", "5–8", "9–12", "13–16", "17 on"]      # which steps an item takes in this update
BATCHES = [["be/cad"], ["gf", "cad"], ["ih", "f", "ad"], ["kj", "h", "f", "d"]]    # by age

def ages(share, columns=5):
    "Shares of a batch by how often it was continued, in the long run; the last has the rest."
    return [(1 - share)*share**k for k in range(columns - 1)] + [share**(columns - 1)]

def _places(u, columns):
    "Where each item of an update stands; of two rows in a column the lower one is the line."
    return {c: (125 + 75*k + 24*i - 12*(len(row) - 1), 164 + 58*u - 24*j)
            for k, rows in enumerate(columns) for j, row in enumerate(rows.split("/")[::-1])
            for i, c in enumerate(row)}

def _batches(d):
    "Four updates, their items as small squares with a letter, and who goes on."
    rows = [_places(u, columns) for u, columns in enumerate(BATCHES)]
    for above, below in zip(rows, rows[1:]):
        for c in above:
            if c in below:
                (x0, y0), (x1, y1) = above[c], below[c]
                d.arrow([(x0 + 3, y0 + 12), (x1 - 4, y1 - 12)], "teacher", width=1.8)
    for u, items in enumerate(rows):
        d.text(14, 169 + 58*u, f"update {u + 1}", "f-soft", 15, anchor="start")
        for c, (x, y) in items.items():
            d.put("rect", "s-data f-paper", x=x - 10, y=y - 10, width=20, height=20, rx=5,
                  stroke_width=2)
            d.text(x, y + 5, c, "f-data", 15, 600)

def replay():
    "08: which items an update trains on."
    d = Drawing("Replay: an update goes on with old items",
                "Columns are the steps that an item takes, with a bell that narrows from left to "
                "right. Rows are four updates of five items. The first has five new ones in the "
                "first column. In each later row two are new, and three are continued from the "
                "row above, one column further right, along orange arrows. Below, bars for the "
                "shares of the columns after many updates: 40, 24, 14, 9 and 13 %.", 536,
                "Three of five items go on, two are new")
    d.text(14, 66, "steps", "f-soft", 15, anchor="start")
    for k, (said, sd) in enumerate(zip(AGES, (11.5, 9.5, 7.5, 6.5, 6))):
        x = 125 + 75*k
        d.text(x, 66, said, size=15, weight=600); d.bell(x, 114, sd, round(220/sd), width=2)
        if k: d.path([(x - 37, 54), (x - 37, 460)], "s-line no", 1.2)
    _batches(d)
    d.text(14, 442, "long run", "f-soft", 15, anchor="start")
    for k, share in enumerate(ages(SHARE)):
        x, tall = 125 + 75*k, round(120*share)
        d.put("rect", "f-teacher", x=x - 20, y=430 - tall, width=40, height=tall)
        d.text(x, 452, f"{100*share:.0f} %", size=15, weight=600)
    say(d, 490, "An update takes T = 4 steps with each item, but at all",
        "ages. Without replay 100 % would be in column 1–4.")
    return d

def kl_of_equals(apart, sd):
    "KL in nats between two Gaussians of the same deviation in one dimension."
    return (apart/sd)**2/2

def _two_bells(d, y, name, apart, sd, unit=26):
    "Two bells, a ruler from mean to mean in deviations, and their KL as a bar."
    left, right = 152 - apart*unit/2, 152 + apart*unit/2
    d.axis(14, 290, y, "")
    height = round(20/sd)
    d.text(20, y - height - 16, name, weight=600, anchor="start")
    for x in (left, right): d.bell(round(x, 1), y, round(sd*unit, 1), height)
    d.path([(left, y + 16), (right, y + 16)], "s-ink no", 2.4)
    count = round(apart/sd)
    for i in range(count + 1):
        x = round(left + (right - left)*i/count, 1)
        d.path([(x, y + 9), (x, y + 23)], "s-ink no", 2.4)
    d.text(right + 12, y + 22, f"{count} σ", weight=600, anchor="start")
    kl = kl_of_equals(apart, sd)
    d.put("rect", "f-teacher", x=308, y=y - 22, width=round(8*kl, 1), height=18)
    d.text(308, y - 32, f"½ · {count}² = {kl:.0f} nats", size=16, weight=600, anchor="start")

def near():
    "09: means that meet, posteriors that do not."
    d = Drawing("Closer, and further apart",
                "Three rows with two orange bells each, a ruler between their means whose marks "
                "are one deviation apart, and a bar, their KL. Above four deviations, 8 nats. In "
                "the middle the means are half as far apart and the bells as wide: two "
                "deviations, 2 nats. Below the means are as near as in the middle, but the bells "
                "are a third as wide: six deviations, 18 nats.", 470,
                "A KL counts the distance in widths")
    d.text(464, 64, "KL = ½ (distance/σ)²", "f-teacher", 15, 600, anchor="end")
    for y, name, apart, sd in [(124, "two starts", 4, 1),
                               (230, "half as far, as wide", 2, 1),
                               (374, "half as far, a third as wide", 2, 1/3)]:
        _two_bells(d, y, name, apart, sd)
    say(d, 430, "Below, the means are as near as in the middle. But",
        "narrow bells exclude each other, so the KL is larger.")
    return d


OPEN, GUESS = (-3., -1., 4.), -5.                   # means of items that share x_A, and of an s

def fault_and_floor(means, guess):
    "Nats of eq. (4) in lesson 03, for bells of deviation 1: KL(s || s*), -log C."
    star = sum(means)/len(means)                    # log s* is a mean of parabolas, less a constant
    return kl_of_equals(guess - star, 1), sum(kl_of_equals(m - star, 1) for m in means)/len(means)

def _seven(d, x, y, slant, size=34):
    "A handwritten seven that leans to the right (left if negative) by `slant` of its height."
    d.put("rect", "s-data", x=x - size/2, y=y - size/2, width=size, height=size, rx=6,
          fill="#11151a", stroke_width=2.4)
    at = [(-.22, -.27), (.2, -.27), (-.02, .29)]
    corners = "L".join(f"{x + size*(a - slant*b):.1f} {y + size*b:.1f}" for a, b in at)
    d.put("path", "no", d=f"M{corners}", stroke="#fff", stroke_width=3.2)

def _sharing(d, x, y, unit=19):
    "Three items with one word, their posteriors, the best compromise and a worse answer."
    d.axis(13, 288, y, "")
    d.text(288, y + 18, "z", "f-soft", slant=True)
    d.bell(x + GUESS*unit, y, unit, 84, "student")
    d.bell(x, y, unit, 84, "ink")
    for m in OPEN:
        d.bell(x + m*unit, y, unit, 84, "soft", dashed=True, filled=False, width=2)
        _seven(d, x + m*unit, y + 28, .15 + .09*m)
    for m, said, role in [(GUESS, "s", "student"), (0, "s*", "ink"),
                          (OPEN[-1], "p(z | x)", "soft")]:
        d.text(x + m*unit, y - 94, said, f"f-{role}", 17, 600, slant=True)
    left, wide = x + OPEN[0]*unit - 17, (OPEN[-1] - OPEN[0])*unit + 34
    d.put("rect", "s-data", x=left, y=y + 54, width=wide, height=34, rx=6, fill="#fbfaf5",
          stroke_width=2.4)
    d._write(left + wide/2, y + 77, "seven", 18, "#1f2733", 600)
    d.text(left - 12, y + 77, "x_A", "f-data", 17, 600, anchor="end", slant=True)

def _split(d, y, scale=12):
    "The loss of s as a bar in two parts, and two ways down."
    fault, ground = fault_and_floor(OPEN, GUESS)
    floor = round(y - scale*ground, 1)
    top = round(floor - scale*fault, 1)
    d.text(470, top - 14, "mean KL to p(z | x), nats", "f-soft", 15, anchor="end")
    d.put("rect", "f-student", x=322, y=top, width=34, height=round(floor - top, 1))
    d.put("rect", "f-soft", x=322, y=floor, width=34, height=round(y - floor, 1))
    middle = (floor + top)/2 - 4
    for at, role, name, what in [(middle, "student", f"fault {fault:.1f}", "KL(s ‖ s*)"),
                                 (floor + 22, "ink", f"floor {ground:.1f}", "−log C")]:
        d.text(366, at, name, f"f-{role}", 15, 600, anchor="start")
        d.text(366, at + 20, what, f"f-{role}", 15, anchor="start")
    d.path([(298, floor), (472, floor)], "s-ink no", 4)
    d.path([(298, y), (472, y)], "s-soft no", 1.4)
    d.arrow([(309, top), (309, floor - 3)], "student", width=3)
    d.arrow([(458, top), (458, y)], "gradient", dashed=True, width=3)
    d.text(298, y + 20, "0", "f-soft", 15, anchor="start")
    d.text(472, y + 20, "the climb", "f-gradient", 15, 600, anchor="end")

def floor():
    "03: what a reader of x_A loses, and which part of it can be mended."
    d = Drawing("Fault and floor",
                "Left, three handwritten sevens of different slant share one word, seven. Above "
                "each stands its true posterior, a dashed grey bell. A black bell, s*, lies in "
                "their middle, a green one, s, to the left of all. Right, the loss of s as a bar: "
                "above a thick line, the floor, a green part, the fault, 12.5 nats; below it a "
                "grey part of 4.3. A green arrow ends on the floor, a purple dashed one, the "
                "climb, goes through it down to zero.", 396,
                "One answer for three sevens has a floor")
    _sharing(d, 165, 196)
    _split(d, 290)
    say(d, 340, "Better reading of x_A ends at s*, on the floor.",
        "The climb of the full ELBO has every view in its",
        "gradient, so each seven gets a bell of its own.")
    return d


WHYS = dict(bound=bound, priors=priors, start=start, reparameterised=reparameterised,
            replay=replay, near=near, floor=floor)
