# %% [markdown]
# # mmvae_nb
#
# > Multimodal VAEs, step by step: a tutorial that is a package and an experiment.
#
# A multimodal VAE learns one hidden description of things seen in several ways, say a handwritten digit, a street number and a word, and
# generates any view from it. To find that description (*inference*) it was trained to look at all views; when some are missing, inference suffers.
# These lessons build the usual answers (the models JMVAE, MVAE, MMVAE, MoPoE, MVTCAE, CRMVAE) and *multimodal iterative amortized inference* from first principles, and run again the experiments
# of the talk that proposed it (Oshima, Suzuki and Matsuo, October 2023; *the talk*, on these pages). The paper that followed is *Enhancing Unimodal Latent Representations in Multimodal VAEs through Iterative Amortized
# Inference* ([arXiv 2410.11403](https://arxiv.org/abs/2410.11403), October 2024).
#
# ## The method in four drawings
#
# **One hidden description makes every view.** To draw one view from another, find the description $z$ and decode it.
#
# ![Drawing: one hidden z at the top; arrows lead from it through three decoders down to a handwritten seven, a street number and the word seven.](drawings/model.svg)
#
# **The usual way to find it breaks.** An encoder that was trained on all views together can't do without one; zeros in its place are not absent data but wrong data.
#
# ![Drawing: a joint encoder with three inputs. Two are empty, dashed squares; only the word is there. Its answer is a bell away from the true one.](drawings/hole.svg)
#
# **So start from the view that is there, and climb.** Decode the guess into *all* views, ask the gradient of the ELBO how to move it, and let a small network, the refiner, take the step. A view that the start has not seen enters through the gradient alone. Start, refiner and decoders are trained together, and the decoders learn from every step of the climb, from a posterior of one view to the refined one.
#
# ![Drawing: a digit starts a bell; the bell is decoded into all views and compared with all views of the data; the gradient of that comparison goes to a refiner, which moves the bell.](drawings/loop.svg)
#
# **Then let a student copy the answer.** It sees one view only and imitates where the climb ended, so the other views, and the teacher, are needed in training and never again.
#
# ![Drawing: above, the teacher needs all views and is crossed out after training; its narrow bell is copied by a student's broader bell, below, which comes from the word alone.](drawings/student.svg)
#
# [The story with Gaussians](01_story.ipynb) tells it with formulas that can be solved by hand; blue is data, orange the teacher, green the student, purple the gradient, in the drawings and wherever a figure shows such a role. Where a figure compares methods, each method has a colour of its own.
#
# ## The result
#
# The method infers from one modality (one view), refines the answer step by step so that it explains *all* of them (by the gradient of the training objective, the ELBO), and then
# distils the result into a *student* that needs that one modality only. Street numbers drawn from a handwritten digit, and from a word:
#
# ![Two blocks of pictures, five rows each: the digit or word that was given, true street numbers, then those of MoPoE (nearly grey), the JMVAE student and the iterative student (both draw blurred digits in many colours, some of them unreadable).](../results/long/figures/slide_36_cross_modal.png)
#
# Pictures and numbers are of models of 10,000 updates, their students of 5,000. Test items of real data: the digits of MNIST's official test file, and 1,500 street numbers. (All street numbers are from the first 10,000 of SVHN's test file, none in two splits, so these numbers compare with no others on SVHN.) FID, coherence and KL are over 1,500 test triples. A student that saw only the digit or the word can't know colour
# or font: look for the right *number*.

# %%
#| echo: false
import pandas as pd
from pathlib import Path
from IPython.display import Markdown
from mmvae_nb.core import read_json
from mmvae_nb.experiments.runs import difference, matched
from mmvae_nb.experiments.talk import metric_rows

records = metric_rows(Path("../results/long")).query("dataset == 'mnist_svhn_text'")
SINGLE = ["mnist", "svhn", "text"]
SIX = [f"{a}->{b}" for a in SINGLE for b in SINGLE if a != b]
to = lambda n: [d for d in SIX if d.endswith(n)]
def right(method):
    "Coherence of street numbers like those above, in per cent, from digits and from words."
    r = records[(records.method == method) & (records.metric == "coherence")]
    return " and ".join(f"{100*r.value[r.condition == d].mean():.0f}" for d in ("mnist->svhn", "text->svhn"))
Markdown(f"Our classifier sees the right number in {right('jmvae_student')} % of the JMVAE student's (drawn from digits, and from words), in {right('iterative_student')} % of the iterative student's and in {right('mopoe')} % of MoPoE's: grey can be right.")

# %% [markdown]
# The talk claims that iterative students beat *JMVAE students* in FID and linear accuracy and are nearer to their teacher in KL; coherence is added here. A JMVAE student is, as in the talk, a student of the JVAE (joint VAE), whose one encoder sees everything. Both kinds of teachers, and MoPoE, were trained at two learning rates: a *lower* (0.002), where each has the smaller loss on validation items and which the pictures are of, and a *higher* (0.004). *Ahead by*: iterative student against JMVAE student, seed by seed, with a 95 % interval of Student's t over the seeds (trainings of both). *Supported*: the whole interval is above zero; *contradicted*: below; *open*: neither.

# %%
#| echo: false
RATES = {"lower": ("iterative_student", "jmvae_student"),
         "higher": ("iterative_fast_student", "jvae_fast_student")}
lines = [("shows what was given: coherence ↑ (6)", "coherence", SIX, 1, 3),
         ("the same, from the mean of z ↑ (6)", "coherence", [f"{d}, mean of z" for d in SIX], 1, 3),
         ("words written: spelt right ↑ (2)", "text_exact", to("text"), 1, 3),
         ("digits drawn: FID ↓ (2)", "fid", to("mnist"), -1, 1),
         ("digits drawn: FID, ImageNet ↓ (2)", "fid_imagenet", to("mnist"), -1, 0),
         ("street numbers drawn: FID ↓ (2)", "fid", to("svhn"), -1, 1),
         ("street numbers drawn: FID, ImageNet ↓ (2)", "fid_imagenet", to("svhn"), -1, 0),
         ("represents the class of pictures: linear accuracy ↑ (2)", "linear_accuracy", SINGLE[:2], 1, 3),
         ("imitates its teacher: KL from it ↓ (3)", "teacher_student_kl", SINGLE, -1, 1)]
def line(said, metric, where, sign, digits):
    "Means over seeds and conditions, and by how much the iterative students are ahead at each rate."
    mean = lambda m: records[(records.method == m) & (records.metric == metric) & records.condition.isin(where)].value.mean()
    mopoe = " / ".join(f"{mean(m):.{digits}f}" for m in ("mopoe", "mopoe_fast"))
    both = [matched(records, *pair, metric, where).mean() for pair in RATES.values()]
    at = lambda k: " / ".join(f"{b.iloc[k]:.{digits}f}" for b in both)
    leads = []
    for pair in RATES.values():
        d = difference(records, *pair, metric, where, sign)
        ahead, low, high = (f"{d[k]:.{digits}f}" for k in ("better by", "low", "high"))
        leads.append(f"**{d['verdict']}**: {ahead} ({low} to {high})")
    return [said, "–" if "nan" in mopoe else mopoe, at(1), at(0), *leads]
seeds = {rate: records.seed[records.method == pair[0]].nunique() for rate, pair in RATES.items()}
head = ["", "MoPoE, lower / higher rate", "JMVAE student, lower / higher rate", "iterative student, lower / higher rate",
        *(f"ahead by, {rate} rate ({n} seeds)" for rate, n in seeds.items())]
row = lambda cells: f"| {' | '.join(map(str, cells))} |"
Markdown("\n".join([row(head), "|---"*len(head) + "|", *(row(line(*what)) for what in lines)]))


# %% [markdown]
# In brackets in the first column: over how many directions or modalities the mean is taken.
# FID ([lesson 03a](03a_metrics.ipynb)) says how far the generated images are from real ones, in the features of our own digit classifiers or of a network trained on ImageNet (EfficientNet-Lite0; neither compares with published FIDs, which use Inception); coherence how often they show the right digit; linear accuracy how
# well the digit can be read off the latent variable.
#
# MoPoE, the usual baseline, mixes products of single encoders and has no student. The [slide map](slide_map.ipynb) leads from each slide of the talk to its explanation and its figure. The other methods are in [lesson 11](11_findings.ipynb), with the minutes that a training takes: the iterative teacher about three times those of the JVAE, for as many updates.
#
# **The honest verdict**, on MNIST-SVHN-Text:
#
# - *What was given* shows more often in what the iterative students draw and write, at either rate: supported, with $z$ sampled. With $z$ at its mean it is open, and MVTCAE's students are ahead ([lesson 11](11_findings.ipynb#a-sample-or-the-mean)). Sampled, no other method's mean is higher; but MoPoE's digits are right more often, and the JMVAE students spell more words right (open).
# - *Better pictures?* Digits: supported, by our classifiers, at either rate. Street numbers: contradicted at the higher rate, by both kinds of features; open at the lower. MVTCAE's students draw street numbers as near to real ones; by ImageNet's features CRMVAE is nearest on the whole.
# - *Each at the rate where its mean FID is better* (by our classifiers, on this very test, so a description): the iterative students are ahead in coherence and with digits, behind in words spelt right and in KL, open in that FID ([lesson 11](11_findings.ipynb#the-other-rate)). ImageNet's mean FID prefers the lower rate for both.
# - *Reading off the class*: no difference to speak of. *Easier to imitate* the iterative teacher is not, here.
# - *At equal minutes* the JMVAE students win back about half of the lead, in coherence and in FID (one seed, their worst, lower rate, [lesson 11](11_findings.ipynb#more-minutes-for-the-jvae)).
# - *How many iterations?* Four, everywhere above. Students taught after one show what was given more often than those, and their street numbers look less real: both by whole intervals, at half the updates ([lesson 11](11_findings.ipynb#which-t)).
# - *Why it leads* is not settled. Its *targets* were refined, and its *decoders* have learned from every step of the climb. [Lesson 11](11_findings.ipynb#is-it-the-inference-or-the-decoders) has students with one of the two. Refined targets with other decoders gain next to nothing, or are behind in FID. Such decoders with other targets lose most of the lead or all of it. So neither alone was seen to make it; perhaps they work together (one to three seeds, not all at both rates).

# %%
#| echo: false
def values(said, dataset, metric, condition, sign=1):
    "Both students, with what chance gets in brackets, what true pairs get, and the lead."
    t = others[(others.dataset == dataset) & (others.metric == metric) & (others.condition == condition)]
    mean = lambda m, k: t[k][t.method == m].mean()
    digits = 0 if metric in ("fid", "teacher_student_kl") else 2
    chance = lambda m: f" ({mean(m, 'floor'):.2f})"*(digits > 0)
    pair = [f"{mean(m, 'value'):.{digits}f}" + chance(m) for m in ("jmvae_student", "iterative_student")]
    d = difference(t, "iterative_student", "jmvae_student", metric, condition, sign)
    ahead, low, high = (f"{d[k]:.{digits + (digits == 0)}f}" for k in ("better by", "low", "high"))
    verdicts.append(d["verdict"])
    return [said, *pair, true(dataset, metric, condition, t), f"**{d['verdict']}**: {ahead} ({low} to {high})"]
def true(dataset, metric, condition, t):
    "What photographs and their texts get: from the judge's record; of an FID its floor."
    if metric == "fid": return f"{t.floor.mean():.1f}"
    judged = read_json(f"../results/long/runs/{dataset}-judges.json")["references"]
    found = judged.get(f"{metric}|{condition.split(',')[0].split('->')[-1]}")
    return f"{found['real']:.2f}" if found else "–"
others, verdicts = metric_rows(Path("../results/long")), []
draw, tell, mean = "text->image", "image->text", ", mean of z"
rows = [values("bird from caption: main colour ↑", "cub", "main_colour", draw), values("the same, mean of z ↑", "cub", "main_colour", draw + mean),
        values("caption from bird: main colour ↑", "cub", "main_colour", tell), values("FID of birds ↓", "cub", "fid", draw, -1),
        values("face from text: attributes ↑", "celeba", "attribute_agreement", draw), values("the same, mean of z ↑", "celeba", "attribute_agreement", draw + mean),
        values("text from face: attributes ↑", "celeba", "attribute_match", tell), values("FID of faces ↓", "celeba", "fid", draw, -1)]
n = {v: verdicts.count(v) for v in ("supported", "contradicted", "open")}
rows += [values(f"KL from its teacher, {said} ↓", data, "teacher_student_kl", k, -1) for data, k, said in
         (("cub", "image", "birds"), ("cub", "text", "captions"), ("celeba", "image", "faces"), ("celeba", "text", "texts"))]
Markdown("This is one data set. On two others, photographs of *birds* with captions ([lesson 12](12_birds.ipynb)) and of *faces* with texts ([lesson 13](13_faces.ipynb)), little of it is seen again: "
         f"of the first {sum(n.values())} rows, which are about what is drawn or written, the intervals support {n['supported']}, contradict {n['contradicted']} and leave {n['open']} open (three seeds, lower rate). In brackets what chance gets; *true*: what photographs and texts that belong together get from the same judge, of an FID its floor.\n\n"
         + "\n".join([row(["", "JMVAE student", "iterative student", "true", "iterative student ahead by"]), "|---|---|---|---|---|", *map(row, rows)])
         + "\n\n(A FID of real birds says little, [lesson 12](12_birds.ipynb#what-the-experiments-found). A KL says how hard a teacher is to imitate, not which student is better.)")

# %% [markdown]
# ## Start in a few clicks
#
# 1. **Read.** With an hour, follow [the plan](#if-you-have-an-hour); else open [the story with Gaussians](01_story.ipynb) or any lesson below: text, formulas, code and its output stand on the page.
# 2. **Run.** You need git, make and Python 3.11 or newer. The first `make` sets up an environment of its own (about 2 GB, some minutes, once); then
#    open `02_vae.ipynb` and run all cells: your first trained model, about a minute. Or on Colab, with nothing installed here: below the title of each lesson stands *Colab*; it opens a notebook whose first cell brings the course, its models and its packages.
# 3. **Play.** [The playground](playground.ipynb): draw a digit or type a word, and see in your browser what each method makes of it.
# 4. **Use your own data.** [Bring your own modalities](howto_own_modalities.ipynb): copy one listing, put in your files.
#
# ```bash
# git clone https://github.com/mmvae-nb/mmvae_nb && cd mmvae_nb
# make lab     # the lessons in JupyterLab
# make run     # a small one on drawn data, one rate and seed: seven to fourteen minutes on two cores
# make test    # every lesson and every test
# ```
#
# No accelerator and no download of data is needed: the package makes what the lessons use. Real data is used only where you ask
# for it, and every table says which it was. Questions? [The FAQ](faq.ipynb).

# %% [markdown]
# ## The course
#
# Each lesson is a module of the package, runs from top to bottom on a laptop, and ends in exercises with solutions. *Read* is for the text alone, at 230 words a minute, without code and exercises; *run* is for a laptop CPU.

# %%
#| echo: false
import json, re
from pathlib import Path

def minutes_to_read(path, sections=()):
    "Of the text above the exercises, or of some sections: a formula is one word, code none."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    text = re.split(r"(?m)^## Exercises", text)[0]
    if sections:
        parts = re.split(r"(?m)^(?=## )", re.sub(r"(?ms)^::: \{.*?^:::$", "", text))
        found = {p.split("\n")[0][3:].strip(): p for p in parts}
        text = "".join(found[s] for s in sections)
    text = re.sub(r"(?s)```.*?```|!\[.*?\]\(.*?\)|\{.*?\}|^:::.*?$", " ", text)
    text = re.sub(r"(?s)\$\$.*?\$\$|\$[^$]+\$|\]\([^)]*\)", " x ", text)
    return round(len(re.findall(r"\w[\w'’-]*", text))/230)

def opening(path):
    "Title, subtitle and run time of a lesson, from its first cell."
    text = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
    time = re.search(r"(?s)Runs in (.+?)(?: on a laptop|[,;.])", text)
    quote = " ".join(re.findall(r"(?m)^> (.+)$", text))
    return re.search(r"(?m)^# (.+)$", text)[1], quote, " ".join(time[1].split()) if time else ""

def listed(paths):
    "A table of lessons."
    lines = ["| | lesson | in one line | read | run |", "|---|---|---|---|---|"]
    for p in paths:
        name, quote, time = opening(p)
        lines.append(f"| {p.name.split('_')[0]} | [{name}]({p.name}) | {quote} "
                     f"| {minutes_to_read(p)} min | {time} |")
    return Markdown("\n".join(lines))

lessons = sorted(Path(".").glob("[0-9][0-9]*_*.ipynb"))
course = [p for p in lessons if re.match(r"(?!00)\d\d_", p.name)]
workshop = [p for p in lessons if p not in course]
assert len(course) > 12
listed(course)

# %% [markdown]
# Lessons 01 to 11 are the course, in order; what follows applies it (12, 13) and reproduces it (14).
#
# ### If you have an hour
#
# The method and what became of it, from the home page to the verdicts. Leave out the code and the exercises. The minutes are those of the text; pictures, tables and formulas take the rest of the hour. Names of other methods on the way (MVTCAE, CRMVAE, MMVAE, JMVAE-kl) have a line each in [the zoo](zoo.ipynb).

# %%
#| echo: false
HOUR = [("index", [], "this page"),
        ("01_story", [], "the whole story, with formulas that can be solved by hand"),
        ("03_multimodal_elbo", ["One digit, three ways", "One latent, several modalities", "The missing modality",
                                "A part of the amortization gap, and what part"],
         "the model, and what breaks when a modality is missing"),
        ("08_iterative_inference", ["A refiner in eight lines", "The learned way"], "a network that climbs "
         "(what later pages call our refiner also has the posterior's own units, a memory and a bounded step)"),
        ("09_multimodal_iterative", ["One change of view", "Walk along t", "The catch: it needs what is missing"],
         "start at one modality, climb by all"),
        ("10_distillation", ["The idea", "Students", "What the students of the JVAE can do",
                             "Students of the refined teacher"], "a student for each modality"),
        ("11_findings", ["In short", "The two hypotheses", "Does refining work?",
                         "Is it the inference, or the decoders?", "Recap"],
         "what holds, what does not, what is open")]
anchor = lambda heading: re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
def step(name, sections, said):
    "A line of the plan."
    path = Path(f"{name}.ipynb")
    where = ", ".join(f"[{s}]({path.name}#{anchor(s)})" for s in sections)
    title = f"[{opening(path)[0]}]({path.name}), " if name != "index" else ""
    return minutes_to_read(path, sections), title + said + (f": {where}" if where else "")
plan = [step(*s) for s in HOUR]
assert 35 < sum(n for n, _ in plan) <= 50                # figures and formulas take the rest
Markdown("\n".join(f"1. {said} ({n} min)" for n, said in plan))

# %% [markdown]
# ### The workshop
#
# It holds what the lessons are built with: plumbing, pictures, readers of data, judges, the machinery of the experiments. Skip it at first.

# %%
#| echo: false
listed(workshop)

# %%
#| echo: false
more = {"howto_own_modalities": "from two arrays on disk to trained students",
        "in_150_lines": "data, model, refiner and students in one file of plain PyTorch",
        "zoo": "what each method maximises, and how it infers from a part",
        "slide_map": "from each slide to its explanation and figure",
        "notation": "every symbol of the series",
        "glossary": "the field's terms in English and Japanese",
        "faq": "short answers, with measured numbers",
        "bench": "what every method costs, beside another library and a floor",
        "lecturer": "for those who teach from this course"}
there = {n: said for n, said in more.items() if Path(f"{n}.ipynb").exists()}
pages = [p.stem for p in sorted(Path(".").glob("[a-z]*.ipynb"))]
others = {n: "" for n in pages if n not in {*more, "index"}}
titles = {n: opening(Path(f"{n}.ipynb"))[0] for n in {**there, **others}}
Markdown("Also here:\n\n" + "\n".join(f"- [{titles[n]}]({n}.ipynb)" + (f": {said}" if said else "")
                                      for n, said in {**there, **others}.items()))

# %% [markdown]
# ## Who it is for
#
# - You know how to train a neural network in PyTorch and have seen a VAE, or are about to: read the course from [the story](01_story.ipynb) on.
# - You have modalities of your own: [the how-to](howto_own_modalities.ipynb), then lessons 02e and 10.
# - You want to check the numbers: [lesson 14](14_reproduce.ipynb) has the command of each result, and the section
#   *Results* of the sidebar shows the reports.
# - You teach: each lesson runs by itself, without a download, and has exercises.
