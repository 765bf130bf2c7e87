# %% [markdown]
# # Teacher, student and the hypotheses
#
# > Slides 33 and 66-69: is the iterative teacher easier to imitate, are its students better, and if not, why not?
#
# The talk states two hypotheses (slide 33). *One:* with iterative inference a single modality reaches the shared representation. *Two:* it closes the amortization
# gap of the joint posterior, too, so that it infers better than JMVAE. Its second experiment (slides 66-69) adds: the iterative teacher should be
# easier to distil than a JVAE. Each of these is a difference between two methods that we can measure on the same test items.

# %%
import matplotlib.pyplot as plt
import numpy as np
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
part: str = "teacher_student_kl"  # which part of the experiments

# %%
report = open_report(part, dataset, scale, source, results, seeds, items, device)
report

# %%
records = report.records()
print({m: len(report.seeds_of(m)) for m in report.methods}, "seeds")

# %% [markdown]
# ## Slide 68: the KL between teacher and student

# %%
table = report.talk()
print(table_text(table[(table.slide == 68) & table.method.isin(report.methods)]))

# %% [markdown]
# ## The hypotheses, in numbers
#
# Differences between methods, seed by seed over the same test items, so that positive means "as the talk expects"; only seeds that both methods were run with. The interval is the same for every row: 95 % by
# Student's t over the differences of the seeds, whose number stands beside it (lesson 03a). "Supported" means that the whole interval is above zero, "contradicted" that it is below, "open" everything else.
# One seed has no interval, so what rests on one seed is open, whatever its size.

# %%
singles = ["mnist", "svhn", "text"]
four = ["svhn->mnist", "text->mnist", "mnist->svhn", "text->svhn"]
six = [*four, "mnist->text", "svhn->text"]
def claims_about(a, b, *rows):
    return [{"claim": text, "metric": metric, **difference(records, a, b, metric, conditions, sign)}
            for text, metric, conditions, sign in rows]

ahead = "iterative student ahead of JMVAE student, mean of"
claims = claims_about("iterative_student", "jmvae_student",
    (f"{ahead} four directions", "fid", four, -1),
    (f"{ahead} three modalities", "linear_accuracy", singles, 1),
    (f"{ahead} six directions", "coherence", six, 1),
    ("iterative teacher easier to imitate than JVAE, mean of three modalities",
     "teacher_student_kl", singles, -1))
if (records.metric == "fid_imagenet").any():                        # measured on 1,000 items or more
    claims += claims_about("iterative_student", "jmvae_student",
        (f"{ahead} four directions, ImageNet's features", "fid_imagenet", four, -1))
ahead = "same decoders: student of refined ahead of JMVAE student"
claims += claims_about("refined_student", "jmvae_student",
    (ahead, "fid", four, -1), (ahead, "linear_accuracy", singles, 1), (ahead, "coherence", six, 1),
    ("same decoders: refined posterior easier to imitate than joint posterior",
     "teacher_student_kl", singles, -1),
    ("same decoders: student of refined nearer the optimum in negative ELBO",
     "negative_elbo", singles, -1))

# %%
claims = report.table(pd.DataFrame(claims), "hypotheses")
with pd.option_context("display.max_colwidth", 100): display(claims.round(4))

# %% [markdown]
# ## Why the KL is what it is
#
# The KL from teacher to student has three sources. What one modality cannot know is common to all teachers. A *narrow* teacher is
# expensive: a student that is off by a given distance pays by that distance in units of the teacher's deviation. And a refined posterior is *random*: it
# depends on the samples of $z$ drawn on the way, which no student can know. The last is measured by refining the same items
# twice and taking the KL between the two results.
#
# That KL is no summand of the first, and it may be the larger one: both of its sides are narrow, so a small distance between them costs much, while a student may be as wide as it needs to be.
# Read it as a sign of how much the teacher's answer depends on its noise.

# %%
teachers = {"jmvae_student": "jvae", "iterative_student": "iterative", "refined_student": "refined"}
def causes(*students):
    "Where the KL of some students comes from, all on the seeds that they share."
    same = on_shared_seeds(records, *students, *[teachers[s] for s in students])
    means = same.groupby(["method", "metric", "condition"]).value.mean()
    value = lambda *key: means.get(key, np.nan)
    rows = []
    for student, n in [(s, n) for s in students for n in singles]:
        teacher = teachers[student]
        c = "all" if teacher == "jvae" else n
        noise = 0. if teacher == "jvae" else value(teacher, "refinement_noise_kl", n)
        rows.append({"teacher": method_name(teacher), "from": n, "seeds": same.seed.nunique(),
                     "KL to the student": value(student, "teacher_student_kl", n),
                     "KL between two refinements": noise,
                     "teacher's mean log variance": value(teacher, "teacher_log_variance", c),
                     "teacher's KL to the prior": value(teacher, "kl_to_prior", c)})
    return pd.DataFrame(rows).set_index(["teacher", "from"])
compared = {"own decoders": causes("jmvae_student", "iterative_student"),
            "the JVAE's decoders": causes("jmvae_student", "refined_student")}
pd.concat(compared).round(2)

# %%
#| fig-cap: "KL from teacher to student, and between two refinements of the same items with other noise. Left and right are means over different numbers of seeds; within a panel all are of the same seeds."
#| fig-alt: "Two panels of bars, for two teachers and three modalities each; beside each bar the KL between two refinements of the same items."
fig, axes = plt.subplots(1, 2, figsize=(11, 3.2), sharex=True, layout="constrained")
for ax, (whose, cause) in zip(axes, compared.items()):
    y = np.arange(len(cause))[::-1]
    ax.barh(y + .2, cause["KL to the student"], .4, label="teacher to student")
    noise = cause["KL between two refinements"]
    ax.barh(y - .2, noise, .4, label="teacher to itself, other noise")
    ax.set_yticks(y, [f"{t}, from {report.title(n)}" for t, n in cause.index], fontsize=8)
    ax.set(xlabel="KL (nats per item)", title=f"{whose}, {cause.seeds.iloc[0]} seed(s)")
axes[1].legend(fontsize=8)
report.save(fig, "teacher_student_kl");

# %% [markdown]
# ## Is the refined posterior better than the joint encoder's?
#
# On the JVAE's decoders this can be read off directly; the page on the gap does so at length. In short, every line on the same seeds, those of the student of refined.
# (The oracle is dear, so it has fewer test items than the others: column *items*.)

# %%
steps = report.runs("refined")[0]["parameters"]["steps"]
shown = [("joint encoder", "jvae", "all"), ("oracle", "jvae", "oracle")]
for n in singles:
    shown += [(f"refined from {n}, t={t}", "refined", f"{n}, t={t}") for t in (steps, 16)]
    shown += [(f"student of joint, {n}", "jmvae_student", n),
              (f"student of refined, {n}", "refined_student", n)]
same = on_shared_seeds(records, "jvae", "jmvae_student", "refined", "refined_student")
same = same[same.metric == "negative_elbo"].groupby(["method", "condition"])
same = same.agg({"value": "mean", "seed": "nunique", "n": "first"})
same = same.reindex([(m, c) for _, m, c in shown]).set_axis([label for label, *_ in shown])
same.columns = ["negative ELBO (nats)", "seeds", "items"]
same.round(1)
