# %% [markdown]
# # The headline comparison
#
# > MoPoE, the student of a JVAE and the student of the iterative teacher: slides 36, 37 and 38 of the talk.

# %%
import pandas as pd
from mmvae_nb.experiments.runs import *
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
part: str = "headline"  # which part of the experiments

# %%
report = open_report(part, dataset, scale, source, results, seeds, items, device)
report

# %%
shown = ["mopoe", "jmvae_student", "iterative_student"]
runs = {m: report.runs(m) for m in report.methods}
test = report.data()
test


# %% [markdown]
# ## What was trained
#
# Every generative model of the comparison got the same number of updates, and so did its students. *Minutes* are the runs' own clocks, mostly on
# machines that other runs shared, so they compare nothing; the page *Time and memory* has the time of an update measured alone. A refined posterior costs several passes through the decoders. Validation losses are those of different objectives: do not compare them.

# %%
def trained(m, r):
    mean = lambda field: sum(x[field] for x in r)/len(r)
    return {"method": method_name(m), "updates": r[0]["updates"],
            "batch": r[0]["parameters"]["batch_size"], "minutes": round(mean("seconds")/60, 1),
            "validation loss": round(mean("validation_loss"), 1)}
pd.DataFrame([trained(m, r) for m, r in runs.items()]).set_index("method")

# %% [markdown]
# ## Slide 36: what they draw
#
# The same test items for every row and the same noise: $z$ is sampled from each student's posterior. The top row
# is what was given, the second the ground truth, that is, the item's own street number. A student that has seen only the digit or the
# word cannot know its colours or font, so look for the right *number*, not for the same picture.

# %%
models = {m: report.load(m) for m in shown}
batch, labels = test.take(10)
def made(given, to): return generated_rows(models, test, batch, given, to)


# %%
#| fig-cap: "Cross-modal generation of street numbers from a handwritten digit and from a word."
#| fig-alt: "Two blocks of five rows: the digit or word that was given, the ground truth, and the street numbers of MoPoE, JMVAE student and iterative student."
blocks = {"MNIST -> SVHN": made("mnist", "svhn"), "Text -> SVHN": made("text", "svhn")}
figure = side_by_side(blocks, note=f"{report.note}, z sampled", columns=1)
report.save(figure, "slide_36_cross_modal");

# %% [markdown]
# ## Slides 37 and 38: the numbers
#
# FID (lower is better) uses features of our own digit classifiers, not Inception's, so its size cannot be compared
# with the talk's; the floor, real images against other real images of the same number, says where zero lies.

# %%
table = report.talk()
headline = table[table.method.isin(shown) & table.slide.isin([37, 38])]
report.table(headline, "headline")
talk_table(headline, 37).round(2)

# %%
talk_table(headline, 38).round(4)

# %%
print(table_text(headline))
references = report.judges()["references"]
accuracy = {n: references[f"coherence|{n}"]["real"] for n in test.modalities}
print("accuracy of the judges on test items:", {n: round(v, 3) for n, v in accuracy.items()})

# %% [markdown]
# ## The teachers
#
# The iterative teacher's negative ELBO after each refinement, from each single modality. The dotted line marks the $T$ that it was trained with, what lies
# beyond is extrapolation. The dashed line is the JVAE's joint encoder on its *own* decoders: between
# models, inference and decoders both differ.

# %%
#| fig-cap: "Negative ELBO of the full triple against the refinement iteration t, test items."
#| fig-alt: "Three curves, one per starting modality, against t from 0 to 16, with a dashed line for the JVAE."
own = table[table.metric == "negative_elbo"]
steps = runs["iterative"][0]["parameters"]["steps"]
def curve(n): return own[(own.method == "iterative") & own.condition.str.startswith(f"{n}, t=")]
curves = {f"start: {n}": curve(n) for n in test.modalities}   # t = 0, 1, ...
joint = own[(own.method == "jvae") & (own.condition == "all")].value.item()
over = [int(c.split("=")[1]) for c in next(iter(curves.values())).condition]
over = [t for t in over if t <= 16]
def upto(column): return column.tolist()[:len(over)]
lines = {k: (upto(c.value), upto(c["std"]) if seeds > 1 else None) for k, c in curves.items()}
axes = line_chart(over, lines, "refinement iteration t", "negative ELBO (nats per item)")
axes.axhline(joint, ls="--", color="0.4"); axes.axvline(steps, ls=":", color="0.7")
axes.annotate("JVAE, joint encoder", (16, joint), ha="right", va="bottom", fontsize=8)
report.save(axes.figure, "headline_nelbo_over_t");

# %%
print(f"JVAE, joint posterior: {joint:.0f} nats")
for k, c in curves.items():
    steps_down = pd.Series(c.value.tolist()[:steps + 1]).diff().dropna() < 0
    said = [f"t={t} {v:.0f}" for t, v in zip(over, c.value) if t in (0, 1, 2, 3, 4, 8, 16)]
    print(f"iterative teacher, {k}: " + ", ".join(said),
          f"| falls at every t up to {steps}: {bool(steps_down.all())}")

# %% [markdown]
# ## The verdict
#
# In how many conditions the iterative student is ahead of the JMVAE student (mean over seeds), and by how much in the mean of all: seed by seed, with a 95 % interval of
# Student's t over the seeds. "Supported" means that the whole interval is above zero, "contradicted" that it is below, "open" everything else; one seed has no interval and leaves everything open.

# %%
records, students = report.records(), ("iterative_student", "jmvae_student")
def verdict(metric, sign):
    found = records[(records.metric == metric) & records.method.isin(students)].condition
    conditions = [c for c in found.unique() if not {"+", ","} & set(c)]      # one modality given
    each = [difference(records, *students, metric, c, sign)["better by"] for c in conditions]
    both = matched(records, *students, metric, conditions).mean()
    return {"measure": metric, "ahead in": f"{sum(v > 0 for v in each)} of {len(each)}",
            "JMVAE student": both.jmvae_student, "iterative student": both.iterative_student,
            **difference(records, *students, metric, conditions, sign)}
signs = {"fid": -1, "linear_accuracy": 1, "coherence": 1, "teacher_student_kl": -1}
pd.DataFrame([verdict(*s) for s in signs.items()]).set_index("measure").round(3)

# %% [markdown]
# The KL to the teacher compares students of *different* teachers: a
# teacher whose posterior is broader is easier to imitate.
