# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: python3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Questions and answers
#
# > Short answers, with what was measured. The tables below are read from the committed results.
#
# Tables of models come from `results/long/tables` or, where it says so, from `results/half/tables`: real MNIST and SVHN, seeds as stated there. The others say where they are from.

# %%
#| echo: false
import pandas as pd
from IPython.display import Markdown

def table(name, scale="real"): return pd.read_csv(f"../results/{scale}/tables/{name}.csv")

def markdown(frame, digits):
    "A table in Markdown; `digits` after the point for each column of numbers."
    show = lambda c, v: "" if pd.isna(v) else f"{v:,.{digits[c]}f}" if c in digits else str(v)
    rows = [list(frame.columns), ["---"]*frame.shape[1]]
    rows += [[show(c, v) for c, v in zip(frame.columns, r)] for r in frame.values]
    return Markdown("\n".join("| " + " | ".join(r) + " |" for r in rows))


# %% [markdown]
# ## Which method shall I use?
#
# - All modalities are always there: a [JVAE](03_multimodal_elbo.ipynb#the-joint-vae), the simplest of all.
# - Some may be missing when the model is used: students. Of a JVAE if training time is short, of the
#   [iterative teacher](09_multimodal_iterative.ipynb) if samples matter and a few times the training time is fine.
# - Students are not wanted: [MoPoE](05_mopoe.ipynb) answers for any subset by itself and [MVTCAE](06_mvtcae.ipynb) does too, at the
#   price that the table shows.
#
# Means over directions or modalities, five seeds of 10,000 updates, students 5,000; minutes are for one run on one core at the pace of [Time and memory](bench.ipynb), of a student including its teacher (MVTCAE's student at the pace of the JVAE's). "JMVAE student" is the talk's name for a
# student of a trained JVAE:

# %%
#| echo: false
all_rows, costs = table("mnist_svhn_text", "long"), table("benchmarks").set_index("method")
UPDATES = {False: 10_000, True: 5_000}                     # of a student: True
steps = pd.read_csv("../results/bench/steps.csv").query("who == 'ours' and precision == 'float32' and batch == 64")
pace = steps.set_index("method").median_ms
timed = {"iterative": "iterative_t4", "jmvae_student": "jvae_student", "mvtcae_student": "jvae_student"}
def single(metric, method):
    "The mean over all conditions with one modality given."
    alone = ~all_rows.condition.str.contains(r"[+,]")
    alone &= ~((all_rows.metric == "linear_accuracy") & (all_rows.condition == "text"))    # nearly 1 for all
    return all_rows[(all_rows.metric == metric) & (all_rows.method == method) & alone].value.mean()
teachers = {"mopoe": [], "mvtcae": [], "jmvae_student": ["jvae"], "mvtcae_student": ["mvtcae"],
            "iterative_student": ["iterative"]}
markdown(pd.DataFrame([{"method": costs.name[m], "FID (lower is better)": single("fid", m),
                        "coherence": single("coherence", m),
                        "linear accuracy, pictures": single("linear_accuracy", m),
                        "minutes": sum(pace[timed.get(k, k)]*UPDATES[k.endswith("student")]
                                       for k in [m, *before])/60_000}
                       for m, before in teachers.items()]),
         {"FID (lower is better)": 1, "coherence": 2, "linear accuracy, pictures": 3, "minutes": 0})

# %% [markdown]
# One data set and one network size: on yours, try the JVAE's students first, with the teacher's learning rate searched at full length and by what you want of the students (at the higher of two the teachers' own loss on validation items was worse, and the JMVAE students better in FID by our classifiers, while coherence and FID by ImageNet's features left it open: [lesson 11](11_findings.ipynb#the-other-rate)), then the iterative ones. The iterative students' pictures show what was given more often at either rate
# (with $z$ sampled; from its mean that is open), and are the better digits by our classifiers; their street numbers are the worse ones at the higher rate. Refined targets alone, on decoders that were not trained along the refinement, have gained nothing yet (one seed on the JVAE's decoders, three on others: [lesson 11](11_findings.ipynb#is-it-the-inference-or-the-decoders)).
#
# ## How do I choose the likelihood and its scale?
#
# Laplace for images, Gaussian for vectors, Bernoulli for nearly black-and-white pixels, categorical for text
# ([lesson 02d](02d_distributions.ipynb#likelihoods)). `replace(spec, likelihood=Bernoulli())` is all there is to do: the default decoder then gives logits. Counts have `NegativeBinomial` and `Poisson`, numbers with
# outliers `StudentT`, tables of mixed columns a law for each ([lesson 02f](02f_kinds.ipynb)); times and angles need [one of your own](howto_own_modalities.ipynb#a-likelihood-of-your-own). The scale is in the units of the data: set it near the error that you would be content with, then look
# at the KL to the prior. The best value for given errors is the mean absolute error (Laplace) or the root of the mean squared error
# (Gaussian). A scale that is too large collapses the posterior, as
# [this example](howto_own_modalities.ipynb#the-number-to-get-right-the-scale) shows; one that is too small spends all of $z$ on noise, and samples from the
# prior get worse.
#
# ## How do I choose the weights $w_m$?
#
# Start from `default_specs`: inversely to the number of values, so that no modality drowns the others, a tenth of that for text, and never above 100
# ([lesson 02e](02e_networks.ipynb#from-modalities-to-specifications)). Then watch each modality's own term while training: if one does not move while
# the total falls, double its weight. With weights other than 1 the objective is no longer a bound on the likelihood.
#
# ## How many iterations T?
#
# A few for training the teacher, one to four to teach students, 8 to 16 only where a refined posterior itself is used. The *teacher* improves fast up to
# $t = 4$, and slowly from there. The FID of its *students* falls most at the first step, and their coherence is best there; linear accuracy falls with every step. (Scale `half`: teachers
# of 5,000 updates, students trained for a short while, at all $T$ alike; intervals are in [lesson 11](11_findings.ipynb#which-t).)

# %%
#| echo: false
t = table("iterations", "half")
wide = t.pivot_table("value", "T", ["who", "metric"]).reset_index()
teacher, student = "teacher (sees all)", "student"
of = lambda who, metric: t[(t.who == who) & (t.metric == metric)].set_index("T").value
assert of(student, "coherence").idxmax() == 1 and of(student, "linear_accuracy").is_monotonic_decreasing   # else rewrite it
assert (-of(student, "fid").diff()).idxmax() == 1 and of(teacher, "negative_elbo").is_monotonic_decreasing
columns = {"teacher: negative ELBO (nats)": (teacher, "negative_elbo", 0),
           "students: FID": (student, "fid", 1),
           "students: linear accuracy, three modalities": (student, "linear_accuracy", 3),
           "students: coherence": (student, "coherence", 2)}
markdown(pd.DataFrame({"T": wide["T"].astype(str),
                       **{name: wide[who, metric] for name, (who, metric, _) in columns.items()}}),
         {name: digits for name, (_, _, digits) in columns.items()})

# %% [markdown]
# A teacher must not be used with many more iterations than it has met in training unless refinements were continued (`replay`,
# [lesson 08](08_iterative_inference.ipynb#iterating-and-training)): look at the curve first.
#
# ## What does an update of each method cost?

# %%
#| echo: false
known = [m for m in costs.index if timed.get(m, m) in pace and m != "mvtcae_student"]      # not timed
ms = [pace[timed.get(m, m)] for m in known]
of = {m: costs.name[m] + ", T = 4"*m.startswith("iterative") for m in known}
markdown(pd.DataFrame({"method": pd.Series(of), "trained parameters": costs.parameters_trained[known],
                       "ms per update": ms, "relative to the JVAE": [k/pace["jvae"] for k in ms]}),
         {"trained parameters": 0, "ms per update": 0, "relative to the JVAE": 2})

# %% [markdown]
# Updates of 64 items in float32 on one core, timed side by side ([Time and memory](bench.ipynb), which has other batches and a GPU).

# %% [markdown]
# ## How large should the latent space be?
#
# We have not measured this: digits have 20 in all results, as MoPoE has on the same data, birds and faces 64. What theory says is one-sided. Coordinates that are not needed can fall back to
# the prior at no cost in KL, so too large is the safer error; too small cannot be mended by training. A check after training: count the coordinates with a KL
# above 0.1 nats ([lesson 02](02_vae.ipynb#what-goes-wrong-a-mean-is-a-hidden-beta)). If all are in use, try more, and let validation items decide.
#
# ## How much memory does it take?
#
# The data of a `TensorData` lie in memory, on the device that trains; images as bytes. So images take one byte per value. (What does not fit: `TensorData` reads a float32 or `uint8` `np.memmap` on the CPU batch by batch, and `fit` takes any `DataLoader`,
# [the guide's checklist](howto_own_modalities.ipynb#checklist).)

# %%
#| echo: false
shapes = {"MNIST, all of it": (70_000, 784), "SVHN, all of it": (99_289, 3072),
          "100,000 colour images of 64 x 64": (100_000, 3*64*64)}
sizes = [{"data": k, "items": n, "megabytes": n*d/1e6} for k, (n, d) in shapes.items()]
markdown(pd.DataFrame(sizes), {"items": 0, "megabytes": 0})

# %% [markdown]
# On top come weights, gradients and Adam's two moments (16 bytes for each trained parameter of the table further up) and the activations, which grow with the
# batch. The table says by how many MB the peak memory of a fresh process rises in the first three training steps, from before the model is made: on the CPU, in
# float32, on MNIST-SVHN-Text with the default networks ([Time and memory](bench.ipynb#peak-memory), which has bf16 and a GPU):

# %%
#| echo: false
memory = pd.read_csv("../results/bench/memory.csv").query("who == 'ours' and precision == 'float32'")
memory = memory.assign(rise=memory.peak_mb - memory.before_mb).pivot(index="method", columns="batch", values="rise")
named = {"jvae": "JVAE", "mopoe": "MoPoE", "iterative_t4": "iterative teacher, T = 4", "iterative_t8": "iterative teacher, T = 8",
         "iterative_student": "students of the iterative teacher"}
rise = memory.loc[list(named)].rename(index=named)
more = rise.loc["iterative teacher, T = 8"]/rise.loc["JVAE"]
assert ((more > 1.25) & (more < 1.45)).all()
sizes = {f"{n:,} items": rise[n] for n in rise.columns}
shown = pd.DataFrame({"model": rise.index, **sizes, "more per further item": (rise[1024] - rise[256])/768})
markdown(shown, {**dict.fromkeys(sizes, 0), "more per further item": 2})

# %% [markdown]
# One run each. The $T + 1$ passes of the iterative teacher through the decoders do not pile up: the gradient of each is taken before the next, so
# with $T = 8$ the memory rises by 1.3 to 1.4 times what the JVAE needs. If memory is short, lower the batch size first.
#
# ## Can the *training* data lack modalities?
#
# `TensorData(arrays, present="given")` takes items that lack modalities (`None`, rows of nothing but NaN, or a mask), and the rest of a program stays as it is. All methods train on them
# but the JVAE, whose one encoder reads everything at once and says so; for it, `data.complete()` is the part without holes. Never fill holes with zeros: they are not absent data but wrong
# data, and [lesson 09a](09a_missing.ipynb) measures what they cost.
# Holes cost time, because items that lack different things can't go through the networks together: a batch is taken pattern by pattern. Four vectors of 16 numbers of which 30 % are missing make 13 patterns in a batch of 64 on average, and an update took
# 54 ms in place of 13 for MVAE, 52 in place of 13 for MoPoE (default networks, processor time of one thread, best of five rounds of 15 updates that took turns). Larger batches cost less an item, because four modalities have no more than 15 patterns.
# When the models are *used*, any subset will do but for the JVAE and the iterative teacher, which need all: a missing modality is an absent key.
#
# ## Why is it worse with more modalities given?
#
# Students of several modalities are multiplied, and each is a posterior with the prior in it, so the plain product counts the prior too often: it is too sure, and pulled to the middle
# ([lesson 10](10_distillation.ipynb#students), equation 5). So the surplus is divided out, unless `distill(..., students={"divide_prior": False})` or, as nothing is trained anew, `students.divide_prior = False`
# afterwards. It is no cure for all. Small digits in two halves and a label, students of a JVAE, three seeds, 597 test items, right halves made:
#
# | given | digit read from the made half | squared error | KL to the teacher (nats) |
# |---|---|---|---|
# | label | 1.000 | 0.0529 | 6.78 |
# | left half | 0.782 | 0.0460 | 5.31 |
# | both, plain product | 0.925 | 0.0403 | 5.33 |
# | both, surplus prior divided out | 0.931 | 0.0409 | 4.94 |
#
# The label alone is a typical digit of its class, so it is read best and is furthest from the *true* half. Which number counts is for you to say; try both.
#
# ## An FID without Inception's weights?
#
# `fid(real, generated, features)` takes any extractor of features; by default ours is the digit classifier of lesson 03a, trained in seconds and
# without a download. Its values can be compared with each other, at the same number of images, beside their floor
# (`fid_floor`), and *not* with published ones. If you have the weights, `inception_features` uses them
# ([lesson 03a](03a_metrics.ipynb#the-standard-features)).
#
# ## Why is my KL zero?
#
# The posterior has collapsed to the prior: $z$ tells nothing, and all reconstructions look alike. The commonest cause first:
#
# 1. A *mean* over pixels where a sum belongs: a hidden $\beta$ of hundreds ([lesson 02](02_vae.ipynb#what-goes-wrong-a-mean-is-a-hidden-beta)).
# 2. The likelihood's scale is too large for the data ([example with numbers](howto_own_modalities.ipynb#the-number-to-get-right-the-scale)).
# 3. It is only the beginning: small networks on street numbers sit on a plateau first ([lesson 02e](02e_networks.ipynb#where-to-normalise-and-where-not)).
# 4. $\beta$ above 1 was asked for.
#
# If only *one* modality is ignored, its weight is too small, or its decoder is stuck.
#
# ## Why can the student's KL to its teacher not reach zero?
#
# Because one modality does not tell what the others do ([lesson 10](10_distillation.ipynb#the-idea), equation 2). It is no measure of quality between
# different teachers.
#
# ## How do I rerun everything?
#
# `make reproduce SCALE=long` makes most of what lesson 11 reports, in about 14 hours on two cores; [lesson 14](14_reproduce.ipynb#which-command-made-which-result) has the command of every result. Run it with `MMVAE_DATA` set to the folder of the data (`make data` says what was found and
# `data/README.md` where it comes from). Jobs that are up to date are not run again; an interrupted one goes on from its last
# checkpoint. One part only: `make reproduce SCALE=long PART=gap_decomposition`. Without real data: `SCALE=quick`. See [lesson 14](14_reproduce.ipynb).
#
# ## Does it use my GPU?
#
# `fit` takes `device="auto"`: CUDA or Apple's MPS where there is one, else the CPU. `precision="bf16"` trains in mixed precision; `accelerate launch` runs on
# several devices ([lesson 02g](02g_training.ipynb#several-devices)). `record=True` launches an update on CUDA whole ([lesson 02k](02k_recording.ipynb)). Scale `paper` is meant for one GPU. The results on this
# site come from CPUs and, about half of those of scale `long`, from a GPU; the column `device` of the reports says which.
#
# ## May I use the numbers?
#
# Code and text are Apache-2.0. SVHN is for non-commercial use only; `data/README.md` lists the terms of every set. Please cite the authors of the methods: each
# lesson ends in references.
