# %% [markdown]
# # Evaluate one model
#
# > FID, linear probe, coherence, text, teacher-student KL and ELBO on the test split: one row per number.
#
# Every method is evaluated on the same test items, and with the same noise where there is any. Numbers per item are kept,
# too, so that the reports can compare methods item by item.

# %%
import contextlib
import numpy as np
import torch
import mmvae_nb.metrics as metrics
import mmvae_nb.experiments.runs as runs
from mmvae_nb.core import *
from mmvae_nb.distributions import DiagonalGaussian, product_of_experts
from mmvae_nb.amortization_gap import gradient_ascent

# %% tags=["parameters"]
dataset: str = "mnist_svhn_text"  # name of the data set
source: str = "rendered"  # rendered or real data
items: int = 200  # source items per image modality, None for all
results: str = "_runs/smoke"  # folder for the results of a scale
device: str = "cpu"  # auto, cpu, cuda, cuda:N, mps
method: str = "jvae"  # what to evaluate
seed: int = 0  # of the run
probe_points: int = 100  # training points of the linear probe
samples: int = 80  # test items
oracle_items: int = 250  # test items that get a free Gaussian each, 0 for none
judge_updates: int = 10  # updates of the digit classifiers
judge_width: int = 16  # channels of their first layer

# %%
device = resolve_device(device)
model, run = runs.load_run(results, dataset, method, seed, device)
model.requires_grad_(False)
train, validation, test = (runs.load_data(dataset, split, source, items, device)
                           for split in ("train", "validation", "test"))
judge = runs.make_judge(dataset, train, validation, judge_updates, judge_width, device)
same_classes = train.class_names == test.class_names
samples = min(samples, len(test) if same_classes else len(test)//2)   # see the floor below
batch, labels = test.take(samples)
points, point_labels = train.take(probe_points)
part = {n: x[:500] for n, x in batch.items()}       # for the ELBO
names, size = list(test.modalities), 500
images = list(judge.features)
features = {n: [f] for n, f in judge.features.items()}
with contextlib.suppress(MmvaeError):                # where the weights are there
    inception = metrics.inception_features(device=device)
    for n in images: features[n].append(inception)
real = {n: [metrics.extract_features(batch[n], f) for f in features[n]] for n in images}
# the floor of an FID: other real images of the same classes, no item twice
def second_half(): return {n: x[samples:] for n, x in test.take(2*samples)[0].items()}
others = train.take(samples)[0] if same_classes else second_half()
def fids(n, made):
    return [metrics.frechet_distance(r, metrics.extract_features(made, f))
            for r, f in zip(real[n], features[n])]
floors = {n: fids(n, others[n]) for n in images}

# %%
rows, per_item = [], {}
def add(metric, condition, value, n=samples, **more):
    "One number; a vector is kept and its mean reported."
    value = np.asarray(torch.as_tensor(value).detach().cpu(), dtype=float)
    if value.ndim: per_item[f"{metric}|{condition}"] = value.astype(np.float32)
    rows.append({"metric": metric, "condition": condition, "value": float(value.mean()),
                 "n": int(n), **more})
    write_status(step=len(rows), total=max(60, len(rows) + 1), text=f"{metric} {condition}")

def key(given): return "+".join(given)
def sliced(fn, data):
    "`fn` of slices of a batch; it returns a posterior or a tensor."
    starts = range(0, len(next(iter(data.values()))), size)
    parts = [fn({n: x[i:i + size] for n, x in data.items()}) for i in starts]
    is_posterior = isinstance(parts[0], DiagonalGaussian)
    return DiagonalGaussian.cat(parts) if is_posterior else torch.cat(parts)


# %% [markdown]
# ## What was generated
#
# From a posterior, with $z$ sampled as the talk's slide 36 seems to, and from one modality also with its mean: what does the data set's judge say of it (lesson 07; for digits
# coherence and, for text, the word at its best offset, since the offset cannot be known from a digit), and how far are the images
# from real ones? The floor of an FID is that of real images against other real images; the floor of an agreement, where
# there is one, that of the same generated items with other items' partners.

# %%
@torch.no_grad()
def judge_generated(q, given, targets, suffix="", mean=False):
    g = generator(seed, "generate", key(sorted(given)), device=device)
    z = q.mean if mean else q.rsample(generator=g)
    for to in targets:
        made = torch.cat([model.generate(z[i:i + size], to=to)[to] for i in range(0, len(z), size)])
        direction = f"{key(given)}->{to}{suffix}"
        add_scores(to, made, direction)
        if to in images:
            for f, value, floor in zip(features[to], fids(to, made), floors[to]):
                name = "fid" if f is judge.features[to] else "fid_inception"
                add(name, direction, value, floor=floor, features=f.name)

def add_scores(to, made, direction):
    "What the judge says of generated items, and of the same items with partners mixed up."
    chance = judge.scores(to, made.roll(1, 0), batch, labels) if judge.by_chance else {}
    number = lambda v: float(torch.as_tensor(v, dtype=torch.float).mean())
    for metric, value in judge.scores(to, made, batch, labels).items():
        floor = {"floor": number(chance[metric])} if metric in judge.by_chance else {}
        add(metric, direction, value, value.numel() if torch.is_tensor(value) else samples, **floor)

def probe(z, z_test, condition, wanted=(probe_points, 500)):
    "Logistic regression on posterior means of training items, if test classes are the same."
    if labels is None or not same_classes: return
    for n, metric in zip(wanted, ["linear_accuracy", "linear_accuracy_500"]):
        n = min(n, len(z))
        predicted = metrics.linear_probe(z, point_labels[:len(z)], z_test, labels, points=n,
                                         predictions=True)
        add(metric, condition, (predicted == labels.cpu().numpy()).astype(float), n)

@torch.no_grad()
def nelbo(q, data=part, repeats=4):
    "Negative ELBO of each item, the same noise for every posterior."
    g = generator(seed, "elbo", device=device)
    return -torch.stack([model.elbo(data, q, g) for _ in range(repeats)]).mean(0)


# %% [markdown]
# ## From some modalities to others
#
# One modality, two modalities, and for two also the product with the surplus prior divided out.

# %%
singles = [[n] for n in names]
pairs = [list(p) for p in zip(names, names[1:] + names[:1])] if len(names) > 2 else []
def pick(data, given): return {n: data[n] for n in given}
def divided(m, data):
    return product_of_experts([m.infer({n: x}) for n, x in data.items()], divide_prior=True)

@torch.no_grad()
def from_parts(m, suffix="", given_sets=singles + pairs):
    for given in given_sets:
        kinds = {suffix: m.infer}
        if len(given) > 1: kinds[f", prior divided{suffix}"] = lambda data: divided(m, data)
        for label, infer in kinds.items():
            q, z = (sliced(infer, pick(data, given)) for data in (batch, points))
            others = [n for n in names if n not in given]
            judge_generated(q, given, others, label)
            if len(given) == 1:
                judge_generated(q, given, others, f", mean of z{label}", mean=True)
            probe(z.mean, q.mean, key(given) + label)
            some = len(part[names[0]])
            add("negative_elbo", key(given) + label, nelbo(q[:some]), some)


# %%
over_t, refines = hasattr(model, "at"), hasattr(model, "trajectories")
variants = {f", T={t}": model.at(t) for t in model.over} if over_t else {"": model}
if not refines and method != "jvae":
    for suffix, m in variants.items(): from_parts(m, suffix, singles if over_t else singles + pairs)

# %% [markdown]
# ## Teacher and student
#
# $\mathrm{KL}(\text{teacher} \,\|\, \text{student})$ in nats, for methods that have both, and the width of both: the mean over
# coordinates and items of the log variance.

# %%
for suffix, m in variants.items():
    if not hasattr(m, "divergences"): continue
    seed_everything(seed, "divergences")
    starts = range(0, samples, size)
    with torch.no_grad():
        kls = [m.divergences({n: batch[n][i:i + size] for n in names}) for i in starts]
    for n in names: add("teacher_student_kl", n + suffix, torch.cat([k[n] for k in kls]))

# %% [markdown]
# How much of it is noise? A refined posterior depends on the samples of $z$ drawn on the way, which no student can know. The KL between
# two refinements of the same item with different noise says how much.

# %%
if refines and hasattr(model, "targets"):
    seed_everything(seed, "twice")
    first, second = model.targets(part), model.targets(part)
    for n in names:
        add("refinement_noise_kl", n, first[n].kl(second[n]), len(part[n]))
        add("teacher_log_variance", n, first[n].logvar.mean(-1), len(part[n]))
        add("kl_to_prior", n, first[n].kl(), len(part[n]))
elif method == "jvae":
    with torch.no_grad(): q = model.infer(part)
    add("teacher_log_variance", "all", q.logvar.mean(-1), len(q))
    add("kl_to_prior", "all", q.kl(), len(q))

# %% [markdown]
# ## Negative ELBO of the joint posterior, and of the best Gaussian
#
# Within one model (or on shared decoders) negative ELBOs can be compared; between models with different decoders they mix
# the quality of inference with that of the decoders. The oracle is a free Gaussian per item, started at the joint posterior.

# %%
few = {n: x[:oracle_items] for n, x in part.items()}
smoke = samples < 100
def climb(data, q, steps, **how):
    "Gradient ascent on the ELBO of `data`, from `q`."
    return gradient_ascent(lambda q: model.elbo(data, q, path=True), q, steps, **how)
if not refines and not over_t and not hasattr(model, "teacher"):
    with torch.no_grad(): q = model.infer(part)
    add("negative_elbo", "all", nelbo(q), len(q))
    if method == "jvae" and oracle_items:
        seed_everything(seed, "oracle")
        q = climb(few, q[:oracle_items], 8 if smoke else 600)
        add("negative_elbo", "oracle", nelbo(q, few), len(q))

# %% [markdown]
# ## A teacher that refines, over t
#
# From each start: the negative ELBO to $t = 64$, or 16 where there is no oracle to compare with (what lies beyond the trained $T$ is extrapolation). For the teacher with its own
# decoders also the probe and what is generated, at some $t$. A refined posterior has *seen every modality*: these are no
# cross-modal generations.

# %%
shown = (0, 1, 2, 4, 8, 16) if oracle_items else (0, 1, 2, 3)
longest = 64 if oracle_items and not smoke else 16
def refined(data, t):
    "Posteriors at every t, from every start: a list of dicts."
    seed_everything(seed, "refine")
    return model.trajectories(data, t)
if refines:
    for t, qs in enumerate(refined(part, longest)):
        if t > 8 and t not in (12, 16, 24, 32, 48, 64): continue
        for n in names: add("negative_elbo", f"{n}, t={t}", nelbo(qs[n]), len(part[n]))
    judged = refined(batch, max(*shown, model.steps) if method == "iterative" else model.steps)
if method == "iterative":
    fit = refined({n: x[:2000] for n, x in points.items()}, max(shown))
    for t in shown:
        for n in names:
            judge_generated(judged[t][n], [n], [m for m in names if m != n], f", t={t}, teacher")
            probe(fit[t][n].mean, judged[t][n].mean, f"{n}, t={t}, teacher", (2000,))

# %% [markdown]
# Plain gradient ascent (Adam) with the same number of gradient evaluations, from the same starts. Its learning rate is chosen
# for each number of steps on validation items.

# %%
if refines and method == "refined" and oracle_items:
    held_out, _ = validation.take(100)
    rates = (0.03, 0.1, 0.3, 1.0)
    for steps in ((1, 2, 4, 8, 16, 32, 64) if not smoke else (1, 2)):
        seed_everything(seed, "ascent")
        with torch.no_grad(): held, here = model.starts(held_out), model.starts(few)
        def tried(n, lr): return nelbo(climb(held_out, held[n], steps, lr=lr), held_out).mean()
        best = {n: min(rates, key=lambda lr: tried(n, lr).item()) for n in names}
        for n in names:
            q = climb(few, here[n], steps, lr=best[n])
            add("negative_elbo", f"{n}, ascent={steps}", nelbo(q, few), len(few[n]))

# %% [markdown]
# ## Teachers
#
# Generated from a posterior that has seen every modality: a ceiling, not cross-modal generation.

# %%
if refines or method == "jvae":
    if method == "jvae":
        with torch.no_grad(): q = {"all": model.infer(batch)}
    else: q = {f"all, from {n}": p for n, p in judged[model.steps].items()}
    for condition, p in q.items():
        g = generator(seed, "generate", condition, device=device)
        with torch.no_grad(): made = model.generate(p.rsample(generator=g))
        for n in names: add_scores(n, made[n], f"{condition}->{n}")

# %%
paths = runs.run_paths(results, dataset, method, seed)
with atomic_path(paths["items"]) as tmp, open(tmp, "wb") as f: np.savez_compressed(f, **per_item)
write_json(paths["metrics"], {
    "dataset": dataset, "method": method, "seed": seed, "data": run["data"],
    "checksum": train.checksum, "device": str(device), "torch": torch.__version__, "rows": rows})
print(f"{len(rows)} numbers")
