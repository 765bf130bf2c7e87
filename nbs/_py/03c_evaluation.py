# %% [markdown]
# # Evaluation
#
# > All numbers of one model on the test split, by one call.
#
# ::: {.callout-note}
# ## You will learn
#
# - which numbers are measured, and what each is measured on;
# - how one function serves models that can do different things: it asks what they can, never what they are called;
# - what of an evaluation is drawn at random, and why every method gets the same draws.
#
# Runs in under a minute on a laptop CPU.
# :::
#
# The metrics are those of lesson 03a; this page is the protocol: on which items, from which posterior, with which noise. It uses words of later
# lessons (ELBO, teacher, refinement) and can be read after them. What is measured depends on what the model *can* do:
#
# | section | number | for models that |
# |---|---|---|
# | generated | judge's scores, FID with its floor | infer from a part of the modalities |
# | probe | linear accuracy on posterior means | infer from a part |
# | parts | negative ELBO of all modalities, from some | infer from a part |
# | students | KL between teacher and student | have `divergences` |
# | noise | KL between two refinements of one item | refine |
# | joint | negative ELBO of the joint posterior, and of the best Gaussian per item | are nobody's students, and do not refine |
# | along $t$ | negative ELBO, probe, generations at several $t$ | refine |
# | ascent | negative ELBO after plain gradient ascent | refine on decoders that are not their own |
# | teachers | judge's scores of items generated from all modalities | need all modalities |

# %% [markdown]
# ![Drawing: from a word through encoder, z and decoder to a digit and a judge; at the posterior the KL and the probe are measured, at the decoder the ELBO, at the picture the FID, at the judge the coherence.](drawings/evaluation.svg)

# %%
#| default_exp evaluation

# %%
#| export
import contextlib, warnings
from collections.abc import Callable
from dataclasses import dataclass
import numpy as np, torch
from mmvae_nb.core import *
from mmvae_nb.signatures import *
from mmvae_nb.states import check_weights
from mmvae_nb.data import MultimodalData
from mmvae_nb.distributions import *
from mmvae_nb.metrics import *
from mmvae_nb.amortization_gap import gradient_ascent
from mmvae_nb.vae import check_results
from mmvae_nb.watching import must_show


# %% [markdown]
# ## Rows
#
# A number is a row: metric, condition (what was given, and what was wanted of it), value, the number of items or points behind it, and, where there is
# one, the floor that it stands beside. Numbers that are means over items keep the items, so that two methods can be compared item by item.

# %%
#| exports
@dataclass(frozen=True)
class Rows:
    "The numbers of one evaluation, and the vectors they are the means of."
    rows: list # of dicts: metric, condition, value, n; floor and features where there are such
    items: dict # "metric|condition" -> (items,), float32, where there is a number per item

    @property
    def frame(self):
        "A pandas table with a line per number."
        import pandas as pd
        columns = ["metric", "condition", "value", "n", "floor", "features"]
        return pd.DataFrame(self.rows, columns=columns)


# %% [markdown]
# ## On which items
#
# All methods are evaluated on the same test items in the same pairings, and with the same noise: each section draws from a stream of its own name. Posteriors are
# inferred in slices of 500; the ELBO is measured on the first 500. The *floor* of an FID is the distance of other real images of the same classes, no item
# twice; if training and test share no classes, it takes half of the test split.

# %%
#| exports
class _Bench:
    "What every section needs: the model, the items, the judge, and the rows so far."
    size = 500      # items inferred at once, and items whose ELBO is measured
    def __init__(self, model, train, test, judge, samples, probe_points, oracle_items, seed, tell):
        train, test = (d.complete() if getattr(d, "partial", False) else d for d in (train, test))
        self.model, self.train, self.test, self.judge = model, train, test, judge
        self.seed, self.tell, self.rows, self.items = seed, tell, [], {}
        self.names, self.device = list(test.modalities), next(model.parameters()).device
        # items refined at once: few enough for a processor's caches, many enough for a card
        self.slice = self.size if self.device.type == "cuda" else 64
        self.same_classes = train.class_names == test.class_names
        self.samples = min(samples, len(test) if self.same_classes else len(test)//2)
        self.trial = self.samples < 100                # a trial of the code: few steps will do
        self.batch, self.labels = test.take(self.samples)
        self.points, self.point_labels = train.take(min(probe_points, len(train)))
        self.part = self.first(self.batch, self.size)  # for the ELBO
        self.oracle_items, self.few = oracle_items, self.first(self.part, oracle_items)
        self.features = _features(judge, self.device, self.samples)

    @staticmethod
    def first(data, n): return {m: x[:n] for m, x in data.items()}

    def add(self, metric, condition, value, n=None, **more):
        "One number; a vector is kept, and its mean reported."
        value = np.asarray(torch.as_tensor(value).detach().cpu(), dtype=float)
        if value.ndim: self.items[f"{metric}|{condition}"] = value.astype(np.float32)
        self.rows.append({"metric": metric, "condition": condition, "value": float(value.mean()),
                          "n": int(self.samples if n is None else n), **more})
        self.say(f"{metric} {condition}")

    def say(self, text):
        "Tell how far the evaluation is."
        step = len(self.rows)
        self.tell(step=step, total=max(60, step + 1), text=text)

    def infer(self, infer, data, names):
        "The posterior that `infer` gives for some modalities of a batch, slice by slice."
        starts = range(0, len(data[names[0]]), self.size)
        parts = [infer({n: data[n][i:i + self.size] for n in names}) for i in starts]
        for q in parts: check_results(", ".join(names), q.mean)
        return type(parts[0]).cat(parts)

def _features(judge, device, samples):
    "The FID's features: image -> {metric: the judge's, and general ones where n is not small}."
    own, general = getattr(judge, "features", {}), {}
    for metric, make in _GENERAL.items() if own and samples >= 1000 else ():
        with contextlib.suppress(MmvaeError): general[metric] = make(device=device)
    return {n: {"fid": f, **general} for n, f in own.items()}

_GENERAL = {"fid_imagenet": imagenet_features, "fid_inception": inception_features}


# %% [markdown]
# ## What was generated
#
# From a posterior, with $z$ sampled as the talk's slide 36 seems to, and from one modality also with its mean: what does the data set's judge say of it (lesson 03a; for digits
# coherence and, for text, the word at its best offset, since the offset cannot be known from a digit), and how far are the images
# from real ones? The floor of an agreement, where there is one, is that of the same generated items with other items' partners.

# %%
#| exports
class _Distances:
    "The FIDs of generated images, each beside its floor."
    def __init__(self, e):
        self.e = e
        self.real = {n: {k: extract_features(e.batch[n], f) for k, f in fs.items()}
                     for n, fs in e.features.items()}
        self.floors = {n: self.fids(n, self.others()[n]) for n in e.features}

    def others(self):
        "Other real items of the same classes, none of them judged."
        if self.e.same_classes: return self.e.train.take(self.e.samples)[0]
        return {n: x[self.e.samples:] for n, x in self.e.test.take(2*self.e.samples)[0].items()}

    def fids(self, n, made, general=True):
        return {k: frechet_distance(self.real[n][k], extract_features(made, f))
                for k, f in self.e.features[n].items() if general or k == "fid"}

    def add(self, n, made, direction):
        "General features are slow: only for samples of what one or two modalities give."
        for k, value in self.fids(n, made, general="," not in direction).items():
            name = self.e.features[n][k].name
            self.e.add(k, direction, value, floor=self.floors[n][k], features=name)


# %%
#| exports
def _scores(e, to, made, direction):
    "What the judge says of generated items, and of the same items with partners mixed up."
    if e.judge is None: return
    mixed = getattr(e.judge, "by_chance", ())
    chance = e.judge.scores(to, made.roll(1, 0), e.batch, e.labels) if mixed else {}
    number = lambda v: float(torch.as_tensor(v, dtype=torch.float).mean())
    for metric, value in e.judge.scores(to, made, e.batch, e.labels).items():
        in_range(f"{metric} of {to}, from the judge", number(value))                    # no nan
        floor = {"floor": number(chance[metric])} if metric in mixed else {}
        e.add(metric, direction, value, value.numel() if torch.is_tensor(value) else None, **floor)

@torch.no_grad()
def _generated(e, distances, q, given, suffix="", mean=False):
    "Judge what is generated from `q`, which has seen `given`: all other modalities."
    g = generator(e.seed, "generate", "+".join(sorted(given)), device=e.device)
    z = q.mean if mean else q.rsample(generator=g)
    for to in [n for n in e.names if n not in given]:
        made = torch.cat([e.model.generate(z[i:i + e.size], to=to)[to]
                          for i in range(0, len(z), e.size)])
        direction = f"{'+'.join(given)}->{to}{suffix}"
        _scores(e, to, made, direction)
        if to in e.features: distances.add(to, made, direction)


# %% [markdown]
# ## Probe and ELBO
#
# The probe is fitted on posterior means of training items, as many as asked for and 500, as MoPoE does; only if the test items have labels of the same classes. The negative ELBO
# of each item is a mean over four samples of $z$.

# %%
#| exports
def _probe(e, z, z_test, condition, also=500):
    "Logistic regression on posterior means of training items: all of them, and fewer."
    if e.labels is None or e.point_labels is None or not e.same_classes: return
    wanted = {"linear_accuracy": len(z), **({f"linear_accuracy_{also}": also} if also else {})}
    for metric, n in wanted.items():
        n = min(n, len(z))
        predicted = linear_probe(z, e.point_labels[:len(z)], z_test, e.labels, points=n,
                                 predictions=True)
        e.add(metric, condition, (predicted == e.labels.cpu().numpy()).astype(float), n)

@torch.no_grad()
def _nelbo(e, q, data=None, repeats=4):
    "Negative ELBO of each item, with the same noise for every posterior."
    g = generator(e.seed, "elbo", device=e.device)
    data = e.part if data is None else data
    found = -torch.stack([e.model.elbo(data, q, g) for _ in range(repeats)]).mean(0)
    check_results(", ".join(data), found)
    return found


# %% [markdown]
# ## From some modalities to others
#
# One modality, two modalities, and for two also the product with the surplus prior divided out (lesson 02d, if posteriors are Gaussian).

# %%
#| exports
def _given_sets(names, pairs=True):
    "Each modality alone; of three or more also each with its neighbour."
    alone = [[n] for n in names]
    if not pairs or len(names) < 3: return alone
    return alone + [list(p) for p in zip(names, names[1:] + names[:1])]

def _divided(m, data):
    "The product of what a model infers from each modality, with the surplus priors divided out."
    return product_of_experts([m.infer({n: x}) for n, x in data.items()], divide_prior=True)

@torch.no_grad()
def _from_some(e, distances, infer, given, label):
    "All numbers of the posterior that `infer` gives for some modalities; returns it."
    q, z = (e.infer(infer, data, given) for data in (e.batch, e.points))
    _generated(e, distances, q, given, label)
    if len(given) == 1: _generated(e, distances, q, given, f", mean of z{label}", mean=True)
    _probe(e, z.mean, q.mean, "+".join(given) + label)
    some = len(e.part[e.names[0]])
    e.add("negative_elbo", "+".join(given) + label, _nelbo(e, q[:some]), some)
    return q

def _from_parts(e, distances, m, suffix):
    for given in _given_sets(e.names, pairs=not suffix):
        q = _from_some(e, distances, m.infer, given, suffix)
        if len(given) > 1 and isinstance(q, DiagonalGaussian):
            infer = lambda data: _divided(m, data)
            _from_some(e, distances, infer, given, f", prior divided{suffix}")


# %% [markdown]
# ## Teacher and student
#
# $\mathrm{KL}(\text{teacher} \,\|\, \text{student})$ in nats, for models that have both. How much of it is noise? A refined posterior depends on the
# samples of $z$ drawn on the way, which no student can know. The KL between two refinements of the same item with different noise says how much. Beside it stands the width of the teacher:
# the mean over coordinates of the log-variance.

# %%
#| exports
@torch.no_grad()
def _divergences(e, m, suffix):
    if not hasattr(m, "divergences") or getattr(m, "alone", False): return       # no teacher
    seed_everything(e.seed, "divergences")
    starts = range(0, e.samples, e.size)
    kls = [m.divergences({n: e.batch[n][i:i + e.size] for n in e.names}) for i in starts]
    for n in e.names: e.add("teacher_student_kl", n + suffix, torch.cat([k[n] for k in kls]))

def _width(e, condition, q):
    if isinstance(q, DiagonalGaussian):
        e.add("teacher_log_variance", condition, q.logvar.mean(-1), len(q))
    e.add("kl_to_prior", condition, q.kl(), len(q))

def _refined_twice(e):
    seed_everything(e.seed, "twice")
    first, second = e.model.targets(e.part), e.model.targets(e.part)
    for n in e.names:
        e.add("refinement_noise_kl", n, first[n].kl(second[n]), len(first[n]))
        _width(e, n, first[n])


# %% [markdown]
# ## Negative ELBO of the joint posterior, and of the best Gaussian
#
# Within one model (or on shared decoders) negative ELBOs can be compared; between models with different decoders they mix
# the quality of inference with that of the decoders. The oracle is a free Gaussian per item, started at the joint posterior (lesson 07).

# %%
#| exports
def _slices(e, data, what):
    "The items of a batch, few at a time, with word of how far it is."
    count = len(data[e.names[0]])
    for i in range(0, count, e.slice):
        e.say(f"{what}: {i} of {count} items")
        yield slice(i, i + e.slice), {n: x[i:i + e.slice] for n, x in data.items()}

def _ascended(e, data, q, steps, **how):
    "Gradient ascent on the ELBO of `data`, from `q`."
    climb = lambda part, q: gradient_ascent(lambda q: e.model.elbo(part, q, path=True), q, steps,
                                            **how)
    return DiagonalGaussian.cat([climb(part, q[i]) for i, part in _slices(e, data, "ascent")])

def _joint(e):
    "The joint posterior, and the oracle of a model whose inference needs all modalities."
    with torch.no_grad(): q = e.model.infer(e.part)
    e.add("negative_elbo", "all", _nelbo(e, q), len(q))
    if not (e.model.needs_all and e.oracle_items and isinstance(q, DiagonalGaussian)): return
    seed_everything(e.seed, "oracle")
    best = _ascended(e, e.few, q[:e.oracle_items], 8 if e.trial else 600)
    same_items = _nelbo(e, q[:e.oracle_items], e.few)
    e.add("negative_elbo", "all, the oracle's items", same_items, len(best))
    e.add("negative_elbo", "oracle", _nelbo(e, best, e.few), len(best))


# %% [markdown]
# ## A teacher that refines, over t
#
# From each start: the negative ELBO to $t = 64$, or 16 where there is no oracle to compare with (what lies beyond the trained $T$ is extrapolation). For the teacher with its own
# decoders also the probe and what is generated, at some $t$. A refined posterior has *seen every modality*: these are no
# cross-modal generations.

# %%
#| exports
def _trajectories(e, data, t):
    "Posteriors at every t, from every start: a list of dicts."
    seed_everything(e.seed, "refine")
    parts = [e.model.trajectories(p, t) for _, p in _slices(e, data, f"refining to t = {t}")]
    return [{n: DiagonalGaussian.cat([p[n] for p in at]) for n in e.names} for at in zip(*parts)]

def _over_t(e):
    longest = 64 if e.oracle_items and not e.trial else 16
    for t, qs in enumerate(_trajectories(e, e.part, longest)):
        if t > 8 and t not in (12, 16, 24, 32, 48, 64): continue
        for n in e.names: e.add("negative_elbo", f"{n}, t={t}", _nelbo(e, qs[n]), len(qs[n]))

def _judged_over_t(e, distances):
    "What is generated from refined posteriors at several t, and their probe; returns those at T."
    shown = (0, 1, 2, 4, 8, 16) if e.oracle_items else (0, 1, 2, 3)
    judged = _trajectories(e, e.batch, max(*shown, e.model.steps))
    fit = _trajectories(e, e.first(e.points, 2000), max(shown))
    for t in shown:
        for n in e.names:
            _generated(e, distances, judged[t][n], [n], f", t={t}, teacher")
            _probe(e, fit[t][n].mean, judged[t][n].mean, f"{n}, t={t}, teacher", also=None)
    return judged[e.model.steps]


# %% [markdown]
# On decoders that are not the teacher's own, what does the learned refiner gain over plain gradient ascent (Adam) with the same number of gradient evaluations, from the same starts?
# Its learning rate is chosen for each number of steps on validation items.

# %%
#| exports
def _ascent(e, validation, rates=(0.03, 0.1, 0.3, 1.0)):
    held_out, _ = validation.take(100)
    for steps in (1, 2) if e.trial else (1, 2, 4, 8, 16, 32, 64):
        seed_everything(e.seed, "ascent")
        with torch.no_grad(): held, here = e.model.starts(held_out), e.model.starts(e.few)
        tried = {(n, lr): _nelbo(e, _ascended(e, held_out, held[n], steps, lr=lr), held_out)
                 for n in e.names for lr in rates}
        losses = {k: v.mean().item() for k, v in tried.items()}
        best = {n: min(rates, key=lambda lr, n=n, loss=losses: loss[n, lr]) for n in e.names}
        for n in e.names:
            q = _ascended(e, e.few, here[n], steps, lr=best[n])
            e.add("negative_elbo", f"{n}, ascent={steps}", _nelbo(e, q, e.few), len(q))


# %% [markdown]
# ## Teachers
#
# Generated from a posterior that has seen every modality: a ceiling, not cross-modal generation.

# %%
#| exports
def _teachers(e, posteriors):
    for condition, q in posteriors.items():
        g = generator(e.seed, "generate", condition, device=e.device)
        with torch.no_grad(): made = e.model.generate(q.rsample(generator=g))
        for n in e.names: _scores(e, n, made[n], f"{condition}->{n}")

def _inferring(e):
    "The sections of a model that infers from all modalities at once."
    if e.model.needs_all:
        with torch.no_grad(): _width(e, "all", e.model.infer(e.part))
    if e.model.teacher is None: _joint(e)
    if e.model.needs_all:
        with torch.no_grad(): _teachers(e, {"all": e.model.infer(e.batch)})

def _refining(e, distances, validation, along_t):
    "The sections of a model that refines."
    _refined_twice(e)
    _over_t(e)
    if along_t and e.model.own_decoders: last = _judged_over_t(e, distances)
    else: last = _trajectories(e, e.batch, e.model.steps)[e.model.steps]
    if along_t and not e.model.own_decoders and validation is not None and e.oracle_items:
        _ascent(e, validation)
    _teachers(e, {f"all, from {n}": q for n, q in last.items()})


# %% [markdown]
# ## One call
#
# The model is put into evaluation mode without gradients, and given back as it was; so is the random state of the process.

# %%
#| exports
@contextlib.contextmanager
def _at_rest(model):
    "Within: evaluation mode, and no gradients for parameters."
    modes = [(m, m.training) for m in model.modules()]
    trained = [p for p in model.parameters() if p.requires_grad]
    try: yield model.eval().requires_grad_(False)
    finally:
        for m, mode in modes: m.training = mode
        for p in trained: p.requires_grad_(True)

def _sections(e, validation, along_t):
    "Measure whatever the model can do."
    model, variants, distances = e.model, e.model.variants(), _Distances(e)
    if not (model.refines or model.needs_all):
        for suffix, m in variants.items(): _from_parts(e, distances, m, suffix)
    for suffix, m in variants.items(): _divergences(e, m, suffix)
    if model.refines: _refining(e, distances, validation, along_t)
    else: _inferring(e)


# %%
#| exports
def _check_asked(model, judge, train, test, validation):
    own = isinstance(getattr(judge, "features", {}), dict) and callable(getattr(judge, "scores", 0))
    if judge is not None and not own:
        raise MmvaeError(f"judge: got a {type(judge).__name__}, allowed: None, or an object with "
                         "`scores` and `features`, a dict, name -> features of images")
    if not callable(getattr(model, "check", None)):
        raise MmvaeError(f"model: got a {type(model).__name__}, allowed: a `MultimodalVAE`, or one "
                         "with its methods (`check`, `infer`, `elbo`, `generate`)")
    for what, data in dict(train=train, test=test, validation=validation).items():
        if data is not None: must_show(model, data, what)
    a, b = (set(d.class_names or ()) for d in (train, test))
    if train.class_names != test.class_names and not (a and b and a.isdisjoint(b)):
        warnings.warn(f"class_names: those of train ({train.class_names!s:.40}) are not those of "
                      f"test ({test.class_names!s:.40}), so there is no linear accuracy",
                      stacklevel=4)

@checked
def evaluate(model: torch.nn.Module, # yours or ours; what it can do decides what is measured
             train: MultimodalData, # `MultimodalData`: for the probe, and for the floor of the FID
             test: MultimodalData, # `MultimodalData` to measure on, with labels or without
             judge=None, # object with `features` and `scores` (lesson 03b); None: nothing is judged
             validation: MultimodalData | None = None, # to choose the rate of plain ascent
             samples: int = 1500, # test items; fewer than 100: a trial with few steps
             probe_points: int = 5000, # training items of the probe
             oracle_items: int = 250, # test items that get a free Gaussian each, 0 for none
             seed: int = 0, # of all noise
             along_t: bool = True, # of a model that refines: generations at several t
             tell: Callable = write_status # called with step, total and text after each number
            ) -> Rows:
    "All numbers of `model`: generations, probe, KLs and ELBOs. It and the random state stay as is."
    in_range("samples", samples, low=2, whole=True)
    in_range("probe_points", probe_points, low=2, whole=True)
    in_range("oracle_items", oracle_items, low=0, whole=True)
    _check_asked(model, judge, train, test, validation)
    check_weights("model", model, model.state_dict())
    with keeping_random_state(), _at_rest(model):
        seed = in_range("seed", seed, 0, whole=True)
        seed_everything(seed, "evaluation")      # for models whose own inference draws
        e = _Bench(model, train, test, judge, samples, probe_points, oracle_items, seed, tell)
        model.check(e.batch, all=True)
        _sections(e, validation, along_t)
    return Rows(e.rows, e.items)


# %% [markdown]
# ## One model, trained in seconds
#
# MVTCAE on digits (lesson 06), 150 updates: far from converged, which is why the numbers below are no result of this course. It has never heard of this page, and neither has
# the page of it.

# %%
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.judges.classes import ClassJudge
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.mvtcae import MVTCAE
from mmvae_nb.networks import default_specs
from mmvae_nb.training import fit

train, validation, test = (mnist_svhn_text(s) for s in ("train", "validation", "test"))
specs = default_specs(train.modalities)
seed_everything(0, "evaluation"); model = MVTCAE(specs)
fit(model, train, 150, batch_size=32, lr=2e-3, progress=False, device="cpu")
judge = ClassJudge(train, validation, updates=150)
how = dict(samples=99, probe_points=500)
rows = evaluate(model, train, test, judge, **how)
rows.frame.pivot_table(index="condition", columns="metric", values="value").round(2)

# %% [markdown]
# Three of the numbers by hand, each from its definition:

# %%
batch, labels = test.take(99); points, point_labels = train.take(500)
value = {(r["metric"], r["condition"]): r["value"] for r in rows.rows}
with torch.no_grad():
    q, joint = model.infer({"text": batch["text"]}), model.infer(batch)
    kl = joint.kl(q).mean().item()
    nelbo = -torch.stack([model.elbo(batch, q, g) for g in [generator(0, "elbo")]*4]).mean().item()
    z = model.infer({"text": points["text"]}).mean
assert abs(kl - value["teacher_student_kl", "text"]) < 1e-3*kl
assert abs(nelbo - value["negative_elbo", "text"]) < 1e-3*nelbo
assert linear_probe(z, point_labels, q.mean, labels, points=500) == value["linear_accuracy", "text"]
assert abs(rows.items["teacher_student_kl|text"].mean() - kl) < 1e-3*kl    # numbers per item

# %% [markdown]
# The same call gives the same numbers, leaves the model and the stream of random numbers alone, and asks a model that needs everything nothing that it can't answer:

# %%
seed_everything(0, "z"); wanted = torch.randn(3); seed_everything(0, "z")
again, once_more = (evaluate(model, train, test, **how).rows for _ in range(2))
assert again == once_more
assert torch.equal(torch.randn(3), wanted) and all(p.requires_grad for p in model.parameters())
joint_only = evaluate(JVAE(specs), train, test, judge, **how, oracle_items=8).frame
assert set(joint_only.condition) == {"all", "oracle", "all, the oracle's items", *[f"all->{n}" for n in specs]}
oracle = joint_only[joint_only.metric == "negative_elbo"].set_index("condition").value
oracle.round(1)

# %% [markdown]
# ## Recap
#
# - `evaluate(model, train, test, judge)` measures what the model can do, on the same items and with the same noise for every model.
# - A model says what it can by its attributes (lesson 03); there is no list of names.
# - `rows.frame` is a table, `rows.items` holds the numbers per item, for intervals as in lesson 03a.
#
# ## Exercises
#
# 1. Why is the probe of a *test* item with other classes than the training items left out, and its FID not?
# 2. A model that was never trained: which of its numbers should be near which value?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. A logistic regression can only name classes it was fitted on. An FID compares sets of pictures, and its floor is then taken from other test items.
# 2. Coherence near one over the number of classes; KL between posteriors from single modalities and the joint one near zero, since all are near the prior; the FID far above its floor. The accuracy of the probe
#    need not be near chance: even random features of a digit tell something of its class.
# :::
#
# ## References
#
# - G. Alain, Y. Bengio, [Understanding intermediate layers using linear classifier probes](https://arxiv.org/abs/1610.01644), 2016: what a linear probe tells, and what it does not.
# - Y. Shi and others, [Variational mixture-of-experts autoencoders for multimodal deep generative models](https://arxiv.org/abs/1911.03393), 2019: coherence of what is generated across modalities.
# - T. Sutter and others, [Generalized multimodal ELBO](https://arxiv.org/abs/2105.02470), 2021: the protocol (probe, coherence, likelihood) that the field follows.
