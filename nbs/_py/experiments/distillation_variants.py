# %% [markdown]
# # Variants of distillation
#
# > Warm start, direction of the KL, wider students, more iterations of the teacher: what helps, on the validation split.
#
# The main comparison uses one setting for all teachers: students from scratch, $\mathrm{KL}(\text{teacher} \,\|\, \text{student})$, the standard network. Here the students
# of one iterative teacher are trained for the short time of the studies with one thing changed at a time. Validation items only, one seed: a guide
# to choices, not a result.

# %%
import dataclasses
import pandas as pd
import torch
from mmvae_nb.core import *
from mmvae_nb.distillation import Students
from mmvae_nb.experiments.runs import *
from mmvae_nb.experiments.table import scale_of
from mmvae_nb.judges.classes import cached_classifier
from mmvae_nb.metrics import coherence, linear_probe
from mmvae_nb.networks import UnimodalEncoder
from mmvae_nb.training import fit

# %% tags=["parameters"]
dataset: str = "mnist_svhn_text"  # name of the data set
source: str = "rendered"  # rendered or real data
items: int = 200  # source items per image modality, None for all
results: str = "_runs/smoke"  # folder for the results of a scale
device: str = "cpu"  # auto, cpu, cuda, cuda:N, mps
scale: str = "smoke"  # name of the scale
seeds: int = 1  # how many seeds were run
part: str = "distillation_variants"  # which part of the experiments

# %%
report = open_report(part, dataset, scale, source, results, seeds, items, device)
report

# %%
train, validation = (report.data(s) for s in ("train", "validation"))
s, device = scale_of(scale, dataset), report.device
teacher = report.load("iterative")
how = dict(updates=s.judge_updates, width=s.judge_width, device=device)
judges = {n: cached_classifier(train, n, **how) for n in train.modalities}
batch, labels = validation.take(min(600, s.samples))
pool, pool_labels = train.take(min(2000, s.probe_points))
names = list(train.modalities)
print(f"{report.note}, validation split, "
      f"{s.study_updates} updates of {s.batch_size} items")


# %%
def wider(students):
    for n, spec in students.specs.items():
        wide = dataclasses.replace(spec, hidden=1024)
        students.encoders[n] = UnimodalEncoder(wide, students.latent)
    return students
variants = {"as in the main comparison": lambda: Students(teacher),
            "warm start": lambda: Students(teacher, warm_start=True),
            "reverse KL": lambda: Students(teacher, direction="reverse"),
            "wider head (1024)": lambda: wider(Students(teacher)),
            f"T = {2*teacher.steps} at distillation":
                lambda: Students(teacher, steps=2*teacher.steps)}

def judge(students):
    seed_everything(0, "divergences")
    with torch.no_grad():
        q = {n: students.infer({n: batch[n]}) for n in names}
        targets = students.targets(batch)
        kl = [targets[n].kl(q[n]).mean().item() for n in names]
        means = {n: students.infer({n: pool[n]}).mean for n in names}
        accuracy = [linear_probe(means[n], pool_labels, q[n].mean, labels,
                                 points=len(pool_labels)) for n in names]
        g = generator(0, "variants", device=device)
        made = {n: students.generate(q[n].rsample(generator=g)) for n in names}
    hits = [coherence(made[a][b], labels, judges[b]) for a in names for b in names if a != b]
    mean = lambda v: sum(v)/len(v)
    return {"KL(teacher || student)": mean(kl), "linear accuracy": mean(accuracy),
            "coherence": mean(hits)}

rows = {}
for name, make in variants.items():
    seed_everything(0, "variants"); students = make()
    history = fit(students, train, s.study_updates, s.batch_size, s.lr, 0, device, s.precision)
    rows[name] = judge(students.eval())

# %%
variants = pd.DataFrame(rows).T.rename_axis("variant")
report.table(variants, "distillation_variants", index=True, float_format="%.5g").round(3)

# %% [markdown]
# The KL of every row is the forward one, whatever was trained, and towards the teacher at the $T$ of that row.
