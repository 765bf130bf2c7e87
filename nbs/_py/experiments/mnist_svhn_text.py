# %% [markdown]
# # All methods on MNIST-SVHN-Text
#
# > Slides 36-38 and 44-49 with every method, and what the talk does not show: the teachers, all directions, the text.

# %%
import pandas as pd
from mmvae_nb.experiments.runs import *
from mmvae_nb.experiments.table import METHODS
from mmvae_nb.plotting import *

# %%
set_style()

# %% tags=["parameters"]
dataset: str = "mnist_svhn_text"  # name of the data set
source: str = "rendered"  # rendered or real data
items: int = 200  # source items per image modality, None for all
results: str = "_runs/smoke"  # folder for the results of a scale
device: str = "cpu"  # auto, cpu, cuda, cuda:N, mps
scale: str = "smoke"  # name of the scale
seeds: int = 1  # how many seeds were run
part: str = "mnist_svhn_text"  # which part of the experiments

# %%
report = open_report(part, dataset, scale, source, results, seeds, items, device)
report

# %%
students = ["mopoe", "mvtcae", "mvtcae_student", "jmvae", "jmvae_student", "iterative_student"]
models = {m: report.load(m) for m in students}
test, table = report.data(), report.talk()
batch, labels = test.take(20)
first, second = ({n: x[i:i + 10] for n, x in batch.items()} for i in (0, 10))
def rows(given, to, items=first, sample=True):
    return generated_rows(models, test, items, given, to, sample)
def blocks(to, givens, **options):
    return {f"{report.title(g)} -> {report.title(to)}": rows(g, to, **options) for g in givens}
def draw(slide, to, givens, note="z sampled", name="cross_modal", **options):
    figure = side_by_side(blocks(to, givens, **options), note=f"{report.note}, {note}", columns=1)
    report.save(figure, f"slide_{slide}_{name}")


# %% [markdown]
# ## How it was made
#
# Every generative model got the same number of updates, and all students have the same networks and the same number of updates. MVTCAE is
# shown twice: with its own encoders, and with students distilled from it. The last two lines use the JVAE's decoders, so that
# only inference differs from the JMVAE student.

# %%
def described(method):
    runs = report.runs(method)
    mean = lambda field: sum(r[field] for r in runs)/len(runs)
    trained = sum(p.numel() for p in untrained(runs[0]).parameters() if p.requires_grad)
    return {"method": method_name(method), "trained parameters": trained,
            "updates": runs[0]["updates"],
            "items per update": runs[0]["parameters"]["batch_size"],
            "seconds": round(mean("seconds")),
            "validation loss": round(mean("validation_loss"), 1)}
methods = pd.DataFrame([described(m) for m in report.methods])
report.table(methods, "methods", float_format=None).set_index("method")

# %% [markdown]
# Seconds are as each run wrote them down. Where runs come from several machines, or some had a card, they can't be compared: the pace of an update
# on one machine is in *Time and memory*.
#
# ## The talk's tables
#
# Slides 37, 38, 64, 65 and 68, mean and standard deviation over seeds, with the talk's value where it has one. FID uses the features of our own digit classifiers,
# so its size cannot be compared with the talk's; the floor, real images against other real images, says where zero lies.

# %%
wanted = table[table.slide.notna() & table.method.isin(report.methods)]
print(table_text(wanted))

# %% [markdown]
# ## Slide 36, with every method
#
# Street numbers from a digit and from a word. The same test items and the same noise for every method. A method
# that has not seen the street number cannot know its colours or font: look for the right number.

# %%
#| fig-cap: "Street numbers generated from a handwritten digit (top) and from a word (bottom), z sampled."
#| fig-alt: "Two blocks of street numbers: what was given, ground truth and one row per method."
draw(36, "svhn", ["mnist", "text"], name="all_methods")

# %% [markdown]
# ## Slide 44: the same from the mean
#
# Without the noise of sampling, what is left is what each posterior is sure of.

# %%
#| fig-cap: "The same from the mean of z."
#| fig-alt: "Two blocks of street numbers, smoother than before."
draw(44, "svhn", ["mnist", "text"], note="mean of z", sample=False)

# %% [markdown]
# ## Slide 45: digits from street numbers and words

# %%
#| fig-cap: "Handwritten digits generated from a street number (top) and from a word (bottom), z sampled."
#| fig-alt: "Two blocks of handwritten digits: what was given, ground truth and one row per method."
draw(45, "mnist", ["svhn", "text"])

# %% [markdown]
# ## Slide 46: words from images
#
# Text is shown as text. The offset of a word is drawn at random in the data and cannot be read off an image.

# %%
#| fig-cap: "Words generated from a handwritten digit (top) and from a street number (bottom)."
#| fig-alt: "Two blocks of words in eight letters: what was given, ground truth and one row per method."
draw(46, "text", ["mnist", "svhn"])

# %% [markdown]
# ## Slides 47 and 48: more items
#
# The talk shows these directions a second time beside MVTCAE; here they are with other test items.

# %%
#| fig-cap: "Street numbers from digits and from words, ten other test items."
#| fig-alt: "Two blocks of street numbers: what was given, ground truth and one row per method."
draw(47, "svhn", ["mnist", "text"], items=second)

# %%
#| fig-cap: "Digits from street numbers and from words, ten other test items."
#| fig-alt: "Two blocks of handwritten digits: what was given, ground truth and one row per method."
draw(48, "mnist", ["svhn", "text"], items=second)

# %% [markdown]
# ## Slide 49: words, students only

# %%
#| fig-cap: "Words from images, ten other test items, from the mean of z."
#| fig-alt: "Two blocks of words in eight letters: what was given, ground truth and one row per method."
draw(49, "text", ["mnist", "svhn"], items=second, note="mean of z", sample=False)


# %% [markdown]
# ## Text in numbers
#
# *Exact*: the share of generated texts that are the right word at some offset. *Edit distance*: the smallest number of letters to change over all
# offsets. *Coherence*: the text classifier finds the right digit.

# %%
def wide(metric, keep=lambda c: True, methods=tuple(METHODS)):
    t = table[(table.metric == metric) & table.condition.map(keep) & table.method.isin(methods)]
    if not len(t): return pd.DataFrame()
    def cell(r): return f"{r.value:.3f}" + ("" if pd.isna(r["std"]) else f" ± {r['std']:.3f}")
    cells = t.assign(text=t.apply(cell, axis=1))
    cells = cells.pivot_table("text", "condition", "method", aggfunc="first", sort=False)
    ordered = [m for m in METHODS if m in cells]
    n = t.groupby("method").n_seeds.max()
    few = n.index[n < report.seeds]
    few = {m: f"{method_name(m)} ({n[m]} of {report.seeds} seeds)" for m in few}
    return cells[ordered].rename(columns=few).rename(columns=method_name).fillna("")
compared = [*students, "refined_student"]
to_text = lambda c: c.endswith("->text")
wide("text_exact", to_text, compared)

# %%
wide("text_edit_distance", to_text, compared)

# %% [markdown]
# ## Coherence in all directions
#
# How often a classifier of the target modality finds the given digit in what was generated. "Prior divided" is the second kind of product
# for two given modalities; it is the subject of a page of its own, *Two modalities given*.

# %%
wide("coherence", lambda c: "t=" not in c, compared)

# %% [markdown]
# The teachers' posterior has *seen every modality*. What is generated from it shows what the decoders can do, and is no
# cross-modal generation.

# %%
wide("coherence", lambda c: c.startswith("all"), ["jvae", "iterative", "refined"])

# %% [markdown]
# ## FID in Inception features
#
# With the same weights as everybody's, where they were found; empty otherwise.

# %%
wide("fid_inception", lambda c: "t=" not in c, compared)

# %% [markdown]
# ## Fewer points for the probe
#
# The linear probe fitted on 500 points, as MoPoE's authors do.

# %%
wide("linear_accuracy_500", lambda c: "t=" not in c, compared)

# %% [markdown]
# ## Negative ELBO of the full triple
#
# Each model on its own decoders (the last ones on the JVAE's), from what it was given.

# %%
wide("negative_elbo", lambda c: "t=" not in c and "ascent" not in c, ["jvae", *compared])

# %%
report.table(table, "mnist_svhn_text");
