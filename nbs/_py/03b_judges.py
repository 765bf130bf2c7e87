# %% [markdown]
# # Judges of classes
#
# > Classifiers that judge what was generated, and the judge of data with classes.
#
# ::: {.callout-note}
# ## You will learn
#
# - the trunk and head of a classifier that judges one item without a look at its neighbours;
# - how it is trained and kept in the cache;
# - what every judge of a data set answers: `features`, `scores`, `facts`.
#
# Runs in under a minute on a laptop CPU; classifiers are then kept in the cache. This is workshop: [lesson 03a](03a_metrics.ipynb)
# says what is measured, this one who looks.
# :::

# %% [markdown]
# ![Drawing: above, real digits and labels train a trunk and a head; below, generated digits go through both, the features give the FID and the class the coherence.](drawings/judge.svg)

# %%
#| default_exp judges.classes

# %%
#| export
import warnings
import torch
import torch.nn.functional as F
from torch import nn
from mmvae_nb.checkpoints import load_weights, save_weights
from mmvae_nb.core import *
from mmvae_nb.data import as_float
from mmvae_nb.metrics import text_scores

# %%
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.metrics import coherence
from mmvae_nb.plotting import image_grid, set_style

set_style()

# %%
train, test = mnist_svhn_text("train"), mnist_svhn_text("test")


# %% [markdown]
# ## A judge
#
# Two of the metrics, [coherence](03a_metrics.ipynb#coherence) and the [Fréchet distance](03a_metrics.ipynb#the-fréchet-distance), need somebody who can tell a three from an eight in a picture: a classifier,
# trained on real images and their labels, that looks at generated ones. It has two parts. The
# *trunk* turns an item into 64 features; the *head* is one linear layer from the features to a
# score for each class. Coherence uses the head's verdict, the FID uses the features.
#
# The trunk for images halves the picture until it is 4 by 4, whatever size it had. Its
# normalisation is `GroupNorm`, which works within one image. With batch normalisation, and with
# dropout left on (a well-known research code judges its samples that way), the verdict on an image
# would depend on its neighbours or on chance.

# %%
#| exports
def _image_trunk(shape, width, num_features):
    "Convolutions that halve an image down to 4 x 4, then `num_features` numbers."
    first = 2 if max(shape[1:]) < 64 else 4     # large images are thinned out sooner
    channels, size = width, -(-max(shape[1:]) // first)
    def block(i, o, stride, k=3):
        return [nn.Conv2d(i, o, k, stride, k//2), nn.GroupNorm(8, o), nn.ReLU()]
    layers = block(shape[0], width, first, 2*first + 1)
    while size > 4:
        layers += block(channels, 2*width, 1) + block(2*width, 2*width, 2)
        channels, size = 2*width, -(-size // 2)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.2),
                         nn.Linear(16*channels, num_features), nn.ReLU())


# %% [markdown]
# The trunk for text looks at short runs of characters and keeps, for each of its filters, the
# strongest response anywhere in the text. So a word is recognised wherever it starts.

# %%
#| exports
class _TextTrunk(nn.Module):
    "Embedding, two convolutions over the tokens, the maximum over positions, then features."
    def __init__(self, num_tokens, width, num_features):
        super().__init__()
        self.embed = nn.Embedding(num_tokens, 2*width)
        self.net = nn.Sequential(nn.Conv1d(2*width, 4*width, 3, padding=1), nn.ReLU(),
                                 nn.Conv1d(4*width, 4*width, 3, padding=1), nn.ReLU())
        self.out = nn.Sequential(nn.Dropout(0.2), nn.Linear(4*width, num_features), nn.ReLU())

    def forward(self, tokens):
        return self.out(self.net(self.embed(tokens).transpose(1, 2)).amax(-1))


# %% [markdown]
# `Classifier` puts trunk and head together. It takes images as bytes or as fractions, and its
# `logits`, `predict` and `features` work in slices of the batch, without dropout, so that a thousand images
# give the same answer at once and one by one.

# %%
#| exports
class Classifier(nn.Module):
    "A small judge: `forward` gives class scores, `features` what they are computed from."
    def __init__(self, shape, # of one item: (channels, height, width) or (length,)
                 num_classes, # how many classes it tells apart
                 kind="image", # image or text
                 num_tokens=None, # size of the vocabulary, for text
                 width=16, # channels of the first layer; for images a multiple of 8
                 num_features=64, # numbers handed to the last layer
                 name="classifier"): # how tables call it
        super().__init__()
        in_range("width", width, low=1, whole=True)
        if one_of("kind", kind, ["image", "text"]) == "text":
            in_range("num_tokens", num_tokens, low=1, whole=True)
            self.trunk = _TextTrunk(num_tokens, width, num_features)
        elif width % 8:   # its GroupNorm has 8 groups
            raise MmvaeError(f"width: got {width}, allowed for images: a multiple of 8")
        else: self.trunk = _image_trunk(shape, width, num_features)
        self.head = nn.Linear(num_features, num_classes)
        self.kind, self.shape, self.num_features = kind, tuple(shape), num_features
        self.num_tokens, self.name = num_tokens, f"{name} ({num_features})"

    def forward(self, x): # items, as they come: (batch, *shape)
        return self.head(self._trunk(x))

    def _trunk(self, x): return self.trunk(as_float(x)*2 - 1 if self.kind == "image" else x)

    def features(self, x, # items (n, *shape), on any device
                 batch_size=500): # items at once
        "What the head looks at, without dropout and gradients: (n, num_features) on x's device."
        return _sliced(self, self._trunk, x, batch_size)

    def logits(self, x, # items (n, *shape), on any device
               batch_size=500): # items at once
        "Scores of the classes, without dropout and gradients: (n, classes) on x's device."
        return _sliced(self, self, x, batch_size)

    def predict(self, x, # items (n, *shape), on any device
                batch_size=500): # items at once
        "The class with the highest score: int64 (n,)."
        return self.logits(x, batch_size).argmax(-1)


# %%
#| exports
def _sliced(module, fn, x, batch_size):
    "`fn` on slices of `x`, in evaluation mode and without gradients; the result on x's device."
    if tuple(x.shape[1:]) != module.shape:
        raise MmvaeError(f"x: got items of shape {tuple(x.shape[1:])}, allowed: {module.shape}")
    was, device = module.training, next(module.parameters()).device
    module.eval()
    try:
        with torch.no_grad(): parts = [fn(c.to(device)).float() for c in x.split(batch_size)]
    finally: module.train(was)
    return torch.cat(parts).to(x.device)


# %%
with torch.random.fork_rng():
    torch.manual_seed(0)
    judge = Classifier((3, 32, 32), 10).train()         # untrained, dropout on
    x = test.items("svhn")[0][:7]
    one_by_one = torch.cat([judge.features(x[i:i+1]) for i in range(7)])
assert judge.features(x).shape == (7, 64) and judge.training
torch.testing.assert_close(judge.features(x), one_by_one, atol=1e-5, rtol=1e-4)
torch.testing.assert_close(judge.features(x), judge.features(x/255), atol=1e-5, rtol=1e-4)
assert torch.equal(judge.logits(x).argmax(-1), judge.predict(x))
assert not torch.equal(judge(x), judge(x))              # with dropout, forward is a game of chance
for shape in [(1, 28, 28), (3, 64, 64)]:
    assert Classifier(shape, 5)(torch.zeros(2, *shape)).shape == (2, 5)
try: judge.predict(torch.zeros(2, 1, 28, 28))
except MmvaeError as e: print(e)


# %% [markdown]
# Training data is small, so each image is moved a little at every sight of it, at most two pixels
# up or down and left or right, with the border pixels repeated. In text one character in ten is
# replaced at random: generated words have typing errors, which the pool of real words has not.

# %%
#| exports
def shifted(x, # images (n, C, H, W)
            g, # a `torch.Generator` on x's device
            most=2 # pixels in each direction
           ) -> torch.Tensor: # float, of the same shape
    "Each image moved at random, the border repeated."
    n, c, h, w = x.shape
    dy, dx = torch.randint(2*most + 1, (2, n, 1), generator=g, device=x.device)
    rows = (dy + torch.arange(h, device=x.device))[:, None, :, None]
    columns = (dx + torch.arange(w, device=x.device))[:, None, None, :]
    items = torch.arange(n, device=x.device)[:, None, None, None]
    channels = torch.arange(c, device=x.device)[None, :, None, None]
    return F.pad(as_float(x), (most,)*4, mode="replicate")[items, channels, rows, columns]

def mistyped(x, # int64 tokens (n, length)
             num_tokens, # size of the vocabulary
             g, # a `torch.Generator` on x's device
             share=0.1 # of the tokens
            ) -> torch.Tensor: # of the same shape
    "Texts with some tokens replaced by random ones."
    hit = torch.rand(x.shape, generator=g, device=x.device) < share
    return torch.where(hit, torch.randint(num_tokens, x.shape, generator=g, device=x.device), x)


# %%
g = generator("metrics")
dot = torch.zeros(200, 1, 9, 9); dot[:, :, 4, 4] = 1
moved = shifted(dot, g)
places = {tuple(p.tolist()) for p in moved[:, 0].nonzero()[:, 1:]}
assert (moved.sum((1, 2, 3)) == 1).all() and len(places) == 25
assert {p for place in places for p in place} == {2, 3, 4, 5, 6}
assert 0.08 < (mistyped(torch.zeros(1000, 8).long(), 100, g) != 0).float().mean() < 0.12

# %%
#| fig-cap: "One street number as the classifier meets it in eight updates: moved by up to two pixels, the border repeated."
#| fig-alt: "Eight copies of one street number, each moved a little."
image_grid(shifted(test.items("svhn")[0][:1].repeat(8, 1, 1, 1), g), 8);


# %% [markdown]
# The training loop is deliberately plain; [lesson 6](02g_training.ipynb) has the one for models. It leaves open what an error costs, because
# a judge of faces ([lesson 13](13_faces.ipynb#a-judge-for-faces)) answers several yes-or-no questions where this one names a class.

# %%
#| exports
def fit_judge(net, # a `Classifier`, trained in place
              x, # items, on the device of `net`
              y, # what to answer to each, as `loss` takes it
              loss, # (scores, answers) -> scalar
              updates, # training steps
              stream, # generator of order and noise, on the device of `net`
              lr=2e-3, # the largest learning rate of one cycle
              batch_size=128, # items in a step
              progress=False # show a progress bar?
             ):
    "Minimise `loss` with AdamW and a one-cycle learning rate, on items shifted or mistyped anew."
    optimiser = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=max(updates, 2))
    for _ in _counted(updates, net.name) if progress else range(updates):
        i = torch.randint(len(x), (batch_size,), generator=stream, device=x.device)
        cost = loss(net(_disturbed(net, x[i], stream)), y[i])
        optimiser.zero_grad(set_to_none=True)
        cost.backward()
        optimiser.step()
        schedule.step()

def _disturbed(net, x, g):
    "Items as they are met in training: images shifted, texts mistyped."
    return shifted(x, g) if net.kind == "image" else mistyped(x, net.num_tokens, g)

def _counted(updates, name):
    "The numbers of the updates, with a progress bar."
    from tqdm.auto import tqdm
    return tqdm(range(updates), desc=name, mininterval=1)


# %% [markdown]
# Weights and noise are drawn from streams named after the seed, and the global random state is left as it was found.

# %%
#| exports
def train_classifier(x, # items: uint8 or float images, or int64 tokens
                     labels, # their classes, int64
                     num_classes, # how many classes there are
                     kind="image", # image or text
                     num_tokens=None, # size of the vocabulary, for text
                     updates=400, # training steps
                     seed=0, # for weights, order and noise
                     device="cpu", # where to train
                     width=16, # channels of the first layer; 32 costs 2.5 times as much
                     batch_size=128, # items in a step
                     name="classifier", # how tables call it
                     progress=False # show a progress bar?
                    ) -> Classifier: # in evaluation mode
    "Train a small classifier from scratch."
    _check_classes(labels, len(x), num_classes)
    updates, device = in_range("updates", updates, low=1, whole=True), resolve_device(str(device))
    stream = generator(seed, "classifier batches", device=device)
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(seed, "classifier weights"))
        net = Classifier(x.shape[1:], num_classes, kind, num_tokens, width, name=name).to(device)
        fit_judge(net, x.to(device), labels.to(device), F.cross_entropy, updates, stream,
                  batch_size=batch_size, progress=progress)
    return net.eval().requires_grad_(False)

def _check_classes(labels, n, num_classes):
    "Refuse labels that don't belong to `n` items of `num_classes` classes."
    in_range("num_classes", num_classes, low=2, whole=True)
    if len(labels) != n: raise MmvaeError(f"labels: got {len(labels)}, allowed: {n}, one per item")
    if n == 0: raise MmvaeError("x: got no items, allowed: at least one")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise MmvaeError(f"labels: got {low} to {high}, allowed: 0 to {num_classes - 1}")


# %% [markdown]
# Every table of a run asks for the same judges, so they are kept in the cache. The file's name
# carries a digest of the settings, of the data's checksum and of the source that a judge is made by. If any of
# the three changes, the old file is not found and a new judge is trained. A file that is damaged is named in a warning, and replaced.

# %%
#| exports
def cached_judge(net, # a fresh `Classifier` of the right sizes
                 path, # the file its weights are kept in
                 train # () -> a trained one
                ) -> Classifier: # in evaluation mode, without gradients
    "`net` with the weights kept at `path`, or the one trained now and kept there."
    if path.exists():
        try: return load_weights(net, path).requires_grad_(False)
        except MmvaeError as e: warnings.warn(f"{e}; not usable, training again", stacklevel=2)
    net = train()
    save_weights(net, path)
    return net.eval().requires_grad_(False)


# %%
#| exports
def cached_classifier(data, # training data: a `MultimodalData`
                      modality, # name of the modality to judge
                      updates=400, # training steps
                      seed=0, # for weights, order and noise
                      device="cpu", # where to train and judge
                      width=16, # channels of the first layer
                      progress=False, # show a progress bar?
                      labels=None, # class of each item, -1: left out; the data's by default
                      what="" # what these labels are, such as "colour"
                     ) -> Classifier: # in evaluation mode
    "The classifier of `modality` from the cache, trained and stored there if need be."
    m = data.modalities[one_of("modality", modality, data.modalities)]
    y, classes = _answers(data, modality, labels)
    tokens = m.num_tokens if m.kind == "text" else None
    how = dict(kind=m.kind, num_tokens=tokens, updates=updates, seed=seed, width=width)
    own = {} if labels is None else {"labels": y.tolist()}
    key = digest({**how, **own, "modality": modality, "data": data.checksum}, ["judges.classes"])
    name = f"{modality} {what} classifier".replace("  ", " ")
    path = cache_dir("classifiers")/f"{data.name}-{name.replace(' ', '-')}-{key}.safetensors"
    x = data.items(modality)[0]
    train = lambda: train_classifier(x[y >= 0], y[y >= 0], classes, device=device, name=name,
                                     progress=progress, **how)
    net = Classifier(m.shape, classes, m.kind, tokens, width, name=name)
    return cached_judge(net, path, train).to(resolve_device(str(device)))

def _answers(data, modality, labels):
    "The class of each item, -1 for those left out, and how many classes there are."
    x, y = data.items(modality)
    if labels is not None:
        y = torch.as_tensor(labels).to(x.device)
        return y, int(y.max()) + 1
    if y is None: raise MmvaeError(f"data: {data.name} has no labels, a judge needs them")
    return y, len(data.class_names) if data.class_names else int(y.max()) + 1


# %%
judges = {m: cached_classifier(train, m, updates=250) for m in train.modalities}
again = cached_classifier(train, "svhn", updates=250)
assert all(torch.equal(a, b) for a, b in zip(judges["svhn"].parameters(), again.parameters()))
text, labels = train.items("text")
letters = train.modalities["text"].num_tokens
direct = train_classifier(text, labels, 10, "text", letters, updates=60)
assert (direct.predict(text) == labels).all() and not direct.training
found = {m: round(coherence(*test.items(m), judges[m]), 3) for m in judges}
assert found["mnist"] > .9 and found["svhn"] > .8 and found["text"] == 1
found                                                             # on test items it has not seen


# %% [markdown]
# ## One judge for a whole data set
#
# The experiments evaluate every data set by the same notebook, so all judges answer the same three questions: which `features` an FID of each image
# modality should use, what `scores` generated items get (a number per item, given the true items they belong to), and with which `facts`
# the judge itself must be taken. For a data set with classes that is coherence and, for words, the edit distance.

# %%
#| exports
class ClassJudge:
    "Judges generated items by their class: a classifier for each modality."
    by_chance = ()   # scores that need their value by chance beside them; here: none
    def __init__(self, train, # training data with labels
                 validation=None, # data on which the judge itself is tried
                 updates=400, # training steps of each classifier
                 seed=0, # for their weights, order and noise
                 width=16, # channels of their first layers
                 device="cpu"): # where they train and judge
        self.data, self.validation = train, validation
        self.nets = {n: cached_classifier(train, n, updates, seed, device, width)
                     for n in train.modalities}
        self.features = {n: self.nets[n] for n, m in train.modalities.items() if m.kind == "image"}

    def scores(self, to, # name of the modality generated
               made, # its items
               batch, # dict: the true items
               labels=None # their classes
              ) -> dict: # name of a measure -> number per item, or one number for all
        "Coherence; for text also exact words and edit distance."
        out = {"coherence": (self.nets[to].predict(made).cpu() == labels.cpu()).float()}
        if self.data.modalities[to].kind == "text":
            if not self.data.class_names:
                raise MmvaeError(f"class_names: {self.data.name} has none, allowed: the text of "
                                 f"each class, to compare generated {to} with")
            words = [self.data.class_names[int(i)] for i in labels]
            found = text_scores(self.data.modalities[to].decode(made), words)
            out |= {"text_exact": found["exact"], "text_edit_distance": found["distance"]}
        return out

    def facts(self) -> dict: # name -> number
        "The accuracy of each classifier on the validation split."
        if self.validation is None:
            raise MmvaeError("validation: got None, allowed: data to try the judge on")
        hit = lambda n, x, y: (self.nets[n].predict(x).cpu() == y.cpu()).float().mean().item()
        return {f"accuracy, {n}": hit(n, *self.validation.items(n)) for n in self.nets}


# %%
judge = ClassJudge(train, test, updates=250)
batch, labels = test.take(200)
scores = judge.scores("text", batch["text"], batch, labels)
assert scores["text_exact"] == 1 and scores["text_edit_distance"] == 0          # true words are right
mixed = judge.scores("svhn", batch["svhn"].roll(1, 0), batch, labels)["coherence"].mean()
assert mixed < .25                                                # partners of others: near one in ten
assert list(judge.features) == ["mnist", "svhn"]
judge.facts()

# %% [markdown]
# ## What goes wrong, and how you would notice
#
# - *A judge that is wrong itself.* A model can't look more coherent than its judge is right. Read `facts()` first: they are the ceiling.
# - *A judge with dropout on.* Ask it twice about the same image; the answers must be equal.
# - *A judge trained on generated items.* It learns the model's mistakes and calls them right. Train on real items, always.
#
# ## Recap
#
# - `Classifier` judges an item by itself; `features`, `logits` and `predict` work in slices, without dropout.
# - `train_classifier` trains one, `cached_classifier` keeps it; `fit_judge` and `cached_judge` are for judges of other questions, such as those of [faces](13_faces.ipynb).
# - A judge of a data set has `features`, `scores` and `facts`; `ClassJudge` is the one of data with classes.
#
# ## Exercises
#
# 1. Why does the text trunk keep the *strongest* response over all positions, and not their mean?
# 2. Train the judge of street numbers for 25 updates instead of 250. What becomes of the coherence of true items, and what would become of a model's?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. A word covers three to five of eight places, the rest are spaces. A mean would weaken its response by the share of the spaces, and by another amount for each length; the maximum is the
#    same wherever the word stands.
# 2. It falls for both, and for about the same items: each wrong verdict on a true item would be a wrong verdict on a perfect copy of it.
# :::
#
# ## References
#
# - Y. Wu, K. He, [Group Normalization](https://arxiv.org/abs/1803.08494), 2018.
# - I. Loshchilov, F. Hutter, [Decoupled weight decay regularization](https://arxiv.org/abs/1711.05101), 2019: AdamW.
# - L. Smith, N. Topin, [Super-convergence](https://arxiv.org/abs/1708.07120), 2018: the one-cycle learning rate.
