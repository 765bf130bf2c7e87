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
from scipy import stats
import mmvae_nb.reproduce as reproduce
from mmvae_nb.core import *
from mmvae_nb.metrics import paired_interval
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
table = reproduce.write_talk_table(results)
table = table[table.dataset == dataset]
data_used = f"{'real' if source == 'real' else 'rendered'} data, scale {scale}"
kept = {(m, s): reproduce.load_items(results, dataset, m, s)
        for m in reproduce.PARTS[part][0] for s in reproduce.seeds_of(m, seeds)}
print(f"{data_used}, {seeds} seed(s)")

# %% [markdown]
# ## Slide 68: the KL between teacher and student

# %%
print(table_text(table[(table.slide == 68) & table.method.isin(reproduce.PARTS[part][0])]))


# %% [markdown]
# ## The hypotheses, in numbers
#
# Differences between methods, paired over seeds and test items, so that positive means "as the talk expects". The interval holds 95 % of bootstrap draws over
# seeds and items. FID has no value per item: there the interval is Student's t over seeds, and missing with a single seed.
# "Supported" means that the whole interval is above zero, "contradicted" that it is below, "open" everything else.

# %%
def paired(metric, conditions, a, b, sign):
    "Interval of sign*(a - b), averaged over conditions; and the number of seeds."
    both = range(min(len(reproduce.seeds_of(m, seeds)) for m in (a, b)))
    if metric == "fid":
        read = lambda m, s: read_json(reproduce.run_paths(results, dataset, m, s)["metrics"])
        rows = [[read(m, s)["rows"] for s in both] for m in (a, b)]
        mean = lambda r: np.mean([x["value"] for x in r if x["metric"] == "fid"
                                  and x["condition"] in conditions])
        d = np.array([sign*(mean(x) - mean(y)) for x, y in zip(*rows)])
        if len(both) < 2: return d.mean(), np.nan, np.nan, len(both)
        return d.mean(), *stats.t.interval(0.95, len(d) - 1, d.mean(), stats.sem(d)), len(both)
    one = lambda m, s, c: kept[m, s][f"{metric}|{c}"]
    lead = lambda s: np.mean([sign*(one(a, s, c) - one(b, s, c)) for c in conditions], 0)
    return *paired_interval([lead(s) for s in both]), len(both)

def verdict(low, high):
    if np.isnan(low) or low <= 0 <= high: return "open"
    return "supported" if low > 0 else "contradicted"


# %%
singles = ["mnist", "svhn", "text"]
four = ["svhn->mnist", "text->mnist", "mnist->svhn", "text->svhn"]
six = [*four, "mnist->text", "svhn->text"]
claims = []
def claim(text, metric, conditions, a, b, sign):
    mean, low, high, n = paired(metric, conditions, a, b, sign)
    claims.append({"claim": text, "metric": metric, "better by": mean, "low": low, "high": high,
                   "seeds": n, "verdict": verdict(low, high)})

def claims_about(a, b, *rows):
    for text, metric, conditions, sign in rows: claim(text, metric, conditions, a, b, sign)
ahead = "iterative student ahead of JMVAE student, mean of"
claims_about("iterative_student", "jmvae_student",
    (f"{ahead} four directions", "fid", four, -1),
    (f"{ahead} three modalities", "linear_accuracy", singles, 1),
    (f"{ahead} six directions", "coherence", six, 1),
    ("iterative teacher easier to imitate than JVAE, mean of three modalities",
     "teacher_student_kl", singles, -1))
ahead = "same decoders: student of refined ahead of JMVAE student"
claims_about("refined_student", "jmvae_student",
    (ahead, "fid", four, -1), (ahead, "linear_accuracy", singles, 1), (ahead, "coherence", six, 1),
    ("same decoders: refined posterior easier to imitate than joint posterior",
     "teacher_student_kl", singles, -1),
    ("same decoders: student of refined nearer the optimum in negative ELBO",
     "negative_elbo", singles, -1))

# %%
claims = pd.DataFrame(claims)
with atomic_path(f"{results}/tables/hypotheses.csv") as tmp:
    claims.to_csv(tmp, index=False, float_format="%.6g")
with pd.option_context("display.max_colwidth", 100): display(claims.round(3))


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
def mean_of(method, metric, condition):
    v = table[(table.method == method) & (table.metric == metric)]
    v = v[v.condition == condition].value
    return v.item() if len(v) else np.nan
teachers = {"jmvae_student": "jvae", "iterative_student": "iterative", "refined_student": "refined"}
cause = []
for student, teacher in teachers.items():
    for n in singles:
        c = "all" if teacher == "jvae" else n
        noise = mean_of(teacher, "refinement_noise_kl", n) if teacher != "jvae" else 0.
        cause.append({"teacher": method_name(teacher), "from": n,
                      "KL to the student": mean_of(student, "teacher_student_kl", n),
                      "KL between two refinements": noise,
                      "teacher's mean log variance": mean_of(teacher, "teacher_log_variance", c),
                      "teacher's KL to the prior": mean_of(teacher, "kl_to_prior", c)})
cause = pd.DataFrame(cause).set_index(["teacher", "from"])
cause.round(2)

# %%
#| fig-cap: "KL from teacher to student, and between two refinements of the same items with other noise."
#| fig-alt: "Bars for three teachers and three modalities; beside each bar the KL between two refinements of the same items."
fig, ax = plt.subplots(figsize=(6.5, 3.8))
y = np.arange(len(cause))[::-1]
ax.barh(y + .2, cause["KL to the student"], .4, label="teacher to student")
ax.barh(y - .2, cause["KL between two refinements"], .4, label="teacher to itself, other noise")
ax.set_yticks(y, [f"{t}, from {n}" for t, n in cause.index], fontsize=8)
ax.set_xlabel("KL (nats per item)"); ax.legend(fontsize=8)
save_figure(fig, f"{results}/figures/teacher_student_kl.png");

# %% [markdown]
# ## Is the refined posterior better than the joint encoder's?
#
# On the JVAE's decoders this can be read off directly; the page on the gap does so at length. In short:

# %%
joint, oracle = (mean_of("jvae", "negative_elbo", c) for c in ("all", "oracle"))
steps = read_json(reproduce.run_paths(results, dataset, "refined", 0)["run"])["parameters"]["steps"]
line = {"joint encoder": joint, "oracle": oracle}
for n in singles:
    for t in (steps, 16):
        line[f"refined from {n}, t={t}"] = mean_of("refined", "negative_elbo", f"{n}, t={t}")
    line[f"student of joint, {n}"] = mean_of("jmvae_student", "negative_elbo", n)
    line[f"student of refined, {n}"] = mean_of("refined_student", "negative_elbo", n)
pd.Series(line, name="negative ELBO (nats)").round(1).to_frame()
