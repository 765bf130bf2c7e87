# %% [markdown]
# # How many iterations?
#
# > Slides 53-58, and T at test and at training: what more iterations buy, what they cost, and which T to use.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from mmvae_nb.core import *
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
part: str = "iterations"  # which part of the experiments

# %%
report = open_report(part, dataset, scale, source, results, seeds, items, device)
report

# %%
trained_T = report.runs("iterative")[0]["parameters"]["steps"]
print(f"the teacher was trained with T = {trained_T}")

# %% [markdown]
# ## Slides 53 to 58: six directions
#
# The talk does not say whether these pictures come from the teacher or from a student, so both are drawn, after $T = 1, 2, 4, 16$ iterations.
#
# - The *teacher* starts from the given modality and is refined by the full ELBO. **It has seen the target**: its pictures show what the refined
#   posterior holds, and are no cross-modal generation.
# - The *student* has been distilled from the teacher at that $T$ and sees the given modality only.
#
# Same test items, same noise, $z$ sampled. The students here were trained for fewer updates than the main ones, all from the
# same trajectories.

# %%
teacher, students = report.load("iterative"), report.load("iterative_student_over_t")
batch, labels = report.data().take(10)
shown_T = [1, 2, 4, 16]
def drawn(posteriors, given, to):
    "What is decoded at each T, below what was given and the truth."
    rows = {f"{given}, given": report.show(given, batch[given]),
            "ground truth": report.show(to, batch[to])}
    for t in shown_T:
        z = posteriors[t].rsample(generator=generator(0, "iterations", device=report.device))
        with torch.no_grad(): made = teacher.generate(z, to=to)
        rows[f"T = {t}"] = report.show(to, made[to])
    return rows
def draw(slide, given, to):
    noise = generator(0, "refine", device=report.device)
    path = teacher.trajectory(batch, given, max(shown_T), noise)
    with torch.no_grad(): single = {t: students.at(t).infer({given: batch[given]}) for t in shown_T}
    seen = report.title(given)
    direction = f"{seen} -> {report.title(to)}"
    blocks = {f"{direction}, teacher: has seen the target": drawn(path, given, to),
              f"{direction}, student: sees {seen} only": drawn(single, given, to)}
    for who, (name, rows) in zip(("teacher", "student"), blocks.items()):
        figure = side_by_side({name: rows}, note=f"{report.note}, z sampled")
        report.save(figure, f"slide_{slide}_over_t_{who}")


# %%
#| fig-cap: "Slide 53: svhn to mnist. First the teacher, which has seen the target, then the student."
#| fig-alt: "Two blocks with what was given, the ground truth and what is generated after 1, 2, 4 and 16 iterations."
draw(53, "svhn", "mnist")

# %%
#| fig-cap: "Slide 54: text to mnist. First the teacher, which has seen the target, then the student."
#| fig-alt: "Two blocks with what was given, the ground truth and what is generated after 1, 2, 4 and 16 iterations."
draw(54, "text", "mnist")

# %%
#| fig-cap: "Slide 55: mnist to svhn. First the teacher, which has seen the target, then the student."
#| fig-alt: "Two blocks with what was given, the ground truth and what is generated after 1, 2, 4 and 16 iterations."
draw(55, "mnist", "svhn")

# %%
#| fig-cap: "Slide 56: text to svhn. First the teacher, which has seen the target, then the student."
#| fig-alt: "Two blocks with what was given, the ground truth and what is generated after 1, 2, 4 and 16 iterations."
draw(56, "text", "svhn")

# %%
#| fig-cap: "Slide 57: mnist to text. First the teacher, which has seen the target, then the student."
#| fig-alt: "Two blocks with what was given, the ground truth and what is generated after 1, 2, 4 and 16 iterations."
draw(57, "mnist", "text")

# %%
#| fig-cap: "Slide 58: svhn to text. First the teacher, which has seen the target, then the student."
#| fig-alt: "Two blocks with what was given, the ground truth and what is generated after 1, 2, 4 and 16 iterations."
draw(58, "svhn", "text")

# %% [markdown]
# ## T at test
#
# One teacher, trained with one $T$, used with others; and a set of students for each. Means over the three starts, or over
# directions, $z$ sampled, and over the seeds that *both* have; bands are one standard deviation over seeds, where there are several.

# %%
over = [0, 1, 2, 4, 8, 16]
all_records = report.records()
same = on_shared_seeds(all_records, "iterative", "iterative_student_over_t")
same = same[~same.condition.str.contains("mean of z")]           # z sampled
def spread(method, metric, suffix):
    "Mean over conditions that end in `suffix`, for each seed: (seeds,)."
    found = same[(same.method == method) & (same.metric == metric)]
    return found[found.condition.str.endswith(suffix)].groupby("seed").value.mean().to_numpy()

measures = ["negative_elbo", "linear_accuracy", "coherence", "fid", "teacher_student_kl"]
records = []
for t in over:
    who = {"teacher (sees all)": ("iterative", f", t={t}, teacher"),
           "student": ("iterative_student_over_t", f", T={t}")}
    for label, (method, suffix) in who.items():
        for metric in measures:
            end = f", t={t}" if metric == "negative_elbo" and method == "iterative" else suffix
            v = spread(method, metric, end)
            if not len(v): continue
            std = v.std(ddof=1) if len(v) > 1 else np.nan
            records.append({"who": label, "T": t, "metric": metric, "value": v.mean(), "std": std,
                            "seeds": len(v)})
iterations = report.table(pd.DataFrame(records), "iterations")
iterations.pivot_table("value", ["metric", "who", "seeds"], "T", sort=False).round(3)

# %%
#| fig-cap: "Teacher and student against T at test. The teacher sees every modality; the student sees one. The dotted line is the T of training."
#| fig-alt: "Four panels: negative ELBO, linear accuracy, coherence and FID against T from 0 to 16, each with a line for teacher and student."
labels_of = {"negative_elbo": "negative ELBO (nats)", "linear_accuracy": "linear accuracy",
             "coherence": "coherence, six directions",
             "fid": "FID (judge features), four directions"}
fig, axes = plt.subplots(1, 4, figsize=(14, 3.2))
for ax, (metric, label) in zip(axes, labels_of.items()):
    for who, g in iterations[iterations.metric == metric].groupby("who", sort=False):
        line, = ax.plot(g["T"], g.value, marker=".", label=who,
                        color=ROLE_COLOURS[who.split()[0]])
        if g["std"].notna().any():
            ax.fill_between(g["T"], g.value - g["std"], g.value + g["std"], alpha=.2, lw=0,
                            color=line.get_color())
    ax.axvline(trained_T, ls=":", color="0.6")
    ax.set(xlabel="T at test", ylabel=label, xticks=over)
    if metric == "negative_elbo": ax.set_yscale("log")
axes[0].legend(fontsize=8)
report.save(fig, "iterations_over_t");

# %% [markdown]
# ## Students of full length
#
# The students above share one short training. These two sets were trained as long as every student of this scale, taught by the same teachers: after one iteration, and after the number that the
# teacher was trained with. *Ahead by* is positive where $T = 1$ is better, with an interval of Student's t over the seeds.

# %%
six = [f"{a}->{b}" for a in report.modalities for b in report.modalities if a != b]
asked = {"fid": ([d for d in six if not d.endswith("text")], -1), "coherence": (six, 1),
         "linear_accuracy": (list(report.modalities), 1)}
def compared(metric, where, sign):
    "Means over conditions and seeds, and how far T = 1 is ahead."
    pair = "iterative_student_t1", "iterative_student"
    both = matched(all_records, *pair, metric, where).mean()
    return {"T = 1": both[pair[0]], f"T = {trained_T}": both[pair[1]],
            **difference(all_records, *pair, metric, where, sign)}
pd.DataFrame({m: compared(m, *what) for m, what in asked.items()}).T


# %% [markdown]
# ## T at training
#
# Teachers trained with $T = 1, 2, 4, 8$ for the same, small number of updates; means over the seeds there are, and bands of one standard deviation. Each update
# costs about $T + 1$ passes through the decoders, so equal updates are not equal cost; seconds stand beside. A curve that turns upwards beyond its own $T$ is what
# goes wrong with a small one: the refiner has never seen a posterior that far along, and its steps lead away.

# %%
def of_seeds(m, metric, suffix=""):
    "Mean over the starts, for each seed: (seeds,)."
    r = all_records[(all_records.method == m) & (all_records.metric == metric)]
    r = r[r.condition.isin([n + suffix for n in report.modalities])]
    return r.groupby("seed").value.mean().to_numpy()
def row(T):
    m = f"iterative_t{T}"
    runs = report.runs(m)
    return {"T at training": T, "seeds": len(runs), "updates": runs[0]["updates"],
            "seconds": np.mean([r["seconds"] for r in runs]),
            **{f"negative ELBO, t={t}": of_seeds(m, "negative_elbo", f", t={t}").mean()
               for t in over},
            "KL between two refinements": of_seeds(m, "refinement_noise_kl").mean()}
training = pd.DataFrame([row(T) for T in (1, 2, 4, 8)]).set_index("T at training")
training.round(1)

# %%
#| fig-cap: "Negative ELBO (mean over starts) against t at test, for teachers trained with different T. The axis ends a little above t = 0; what lies beyond is in the table."
#| fig-alt: "Four curves against t from 0 to 16, one for each T at training; those of small T turn upwards."
columns = [f"negative ELBO, t={t}" for t in over]
def line(T):
    "Means over the seeds, and their standard deviations if there are several."
    v = np.stack([of_seeds(f"iterative_t{T}", "negative_elbo", f", t={t}") for t in over])
    return v.mean(1), v.std(1, ddof=1) if v.shape[1] > 1 else None
lines = {f"trained with T = {T}": line(T) for T in training.index}
ax = line_chart(over, lines, "t at test", "negative ELBO (nats per item)")
ax.set_ylim(.98*training[columns].min().min(), 1.05*training[columns[0]].max())
report.save(ax.figure, "iterations_at_training");

# %%
per_update = training.seconds/training.updates
relative = (per_update/per_update[1]).round(2).to_dict()
print("seconds per update, relative to T = 1:", relative)
best = {t: training[f"negative ELBO, t={t}"].idxmin() for t in (4, 8, 16)}
print("T at training with the lowest negative ELBO at",
      ", ".join(f"t = {t}: {T}" for t, T in best.items()))
student = iterations[(iterations.who == "student")].pivot_table("value", "T", "metric")
print("student: best T by accuracy", student.linear_accuracy.idxmax(),
      "| by coherence", student.coherence.idxmax(), "| by FID", student.fid.idxmin())

# %% [markdown]
# Which $T$, then? The lines above name the best of this run for each measure, and if they disagree there is no answer without saying what the students are for.
# Lesson 11 weighs them under *Which T?*, with the numbers of our runs on real data: few iterations for students, more only where a refined posterior itself is wanted.
