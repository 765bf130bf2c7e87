# %% [markdown]
# # Judges of classes
#
# > A small classifier tells what was generated, and lends the FID its eyes.
#
# ::: {.callout-note}
# ## You will learn
#
# - the trunk and head of a classifier that judges one item without a look at its neighbours;
# - how it is trained and kept in the cache;
# - what every judge of a data set answers: `features`, `scores`, `facts`.
#
# Runs in under a minute on a laptop CPU; classifiers are then kept in the cache.
# :::

# %%
#| default_exp judges.classes

# %%
#| export
import warnings
import torch
import torch.nn.functional as F
from torch import nn
from mmvae_nb.core import *
from mmvae_nb.data import as_float
from mmvae_nb.metrics import *

# %%
from mmvae_nb.datasets.digits import mnist_svhn_text

train, test = mnist_svhn_text("train"), mnist_svhn_text("test")


# %% [markdown]
# ## A judge
#
# Two of the metrics need somebody who can tell a three from an eight in a picture: a classifier,
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
# `predict` and `features` work in slices of the batch, without dropout, so that a thousand images
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
        self.name = f"{name} ({num_features})"

    def forward(self, x): return self.head(self._trunk(x))
    def _trunk(self, x): return self.trunk(as_float(x)*2 - 1 if self.kind == "image" else x)
    def features(self, x, batch_size=500): return _sliced(self, self._trunk, x, batch_size)
    def predict(self, x, batch_size=500): return _sliced(self, self, x, batch_size).argmax(-1)


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
def _shifted(x, g, most=2):
    "Each image of `x` moved by up to `most` pixels in both directions, the border repeated."
    n, c, h, w = x.shape
    dy, dx = torch.randint(2*most + 1, (2, n, 1), generator=g, device=x.device)
    rows = (dy + torch.arange(h, device=x.device))[:, None, :, None]
    columns = (dx + torch.arange(w, device=x.device))[:, None, None, :]
    items = torch.arange(n, device=x.device)[:, None, None, None]
    channels = torch.arange(c, device=x.device)[None, :, None, None]
    return F.pad(as_float(x), (most,)*4, mode="replicate")[items, channels, rows, columns]

def _mistyped(x, num_tokens, g, share=0.1):
    "`x` with a share of its tokens replaced by random ones."
    hit = torch.rand(x.shape, generator=g, device=x.device) < share
    return torch.where(hit, torch.randint(num_tokens, x.shape, generator=g, device=x.device), x)


# %%
g = generator("metrics")
dot = torch.zeros(200, 1, 9, 9); dot[:, :, 4, 4] = 1
moved = _shifted(dot, g)
places = {tuple(p.tolist()) for p in moved[:, 0].nonzero()[:, 1:]}
assert (moved.sum((1, 2, 3)) == 1).all() and len(places) == 25
assert {p for place in places for p in place} == {2, 3, 4, 5, 6}
assert 0.08 < (_mistyped(torch.zeros(1000, 8).long(), 100, g) != 0).float().mean() < 0.12


# %% [markdown]
# The training loop is deliberately plain; lesson 6 has the one for models. Weights and noise are
# drawn from streams named after the seed, and the global random state is left as it was found.

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
    _check_labels(labels, len(x), num_classes)
    updates, device = in_range("updates", updates, low=1, whole=True), resolve_device(str(device))
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(seed, "classifier weights"))
        net = Classifier(x.shape[1:], num_classes, kind, num_tokens, width, name=name).to(device)
        _fit(net, x.to(device), labels.to(device), updates, seed, batch_size, num_tokens, progress)
    return net.eval().requires_grad_(False)


# %%
#| exports
def _check_labels(labels, n, num_classes):
    "Refuse labels that don't belong to `n` items of `num_classes` classes."
    in_range("num_classes", num_classes, low=2, whole=True)
    if len(labels) != n: raise MmvaeError(f"labels: got {len(labels)}, allowed: {n}, one per item")
    if n == 0: raise MmvaeError("x: got no items, allowed: at least one")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise MmvaeError(f"labels: got {low} to {high}, allowed: 0 to {num_classes - 1}")

def _fit(net, x, y, updates, seed, batch_size, num_tokens, progress):
    "Minimise the cross-entropy with AdamW and a one-cycle learning rate."
    g = generator(seed, "classifier batches", device=x.device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=max(updates, 2))
    steps = range(updates)
    if progress:
        from tqdm.auto import tqdm
        steps = tqdm(steps, desc=net.name, mininterval=1)
    for _ in steps:
        i = torch.randint(len(x), (batch_size,), generator=g, device=x.device)
        item = _shifted(x[i], g) if net.kind == "image" else _mistyped(x[i], num_tokens, g)
        loss = F.cross_entropy(net(item), y[i])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()


# %% [markdown]
# Every table of a run asks for the same judges, so they are kept in the cache. The file's name
# carries a digest of the settings, of the data's checksum and of this module's source. If any of
# the three changes, the old file is not found and a new judge is trained.

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
    x, y = data.items(modality)
    own = labels is not None
    if own: y = torch.as_tensor(labels).to(x.device)
    if y is None: raise MmvaeError(f"data: {data.name} has no labels, a judge needs them")
    tokens = m.num_tokens if m.kind == "text" else None
    classes = len(data.class_names) if data.class_names and not own else int(y.max()) + 1
    how = dict(kind=m.kind, num_tokens=tokens, updates=updates, seed=seed, width=width)
    given = {"labels": y.tolist()} if own else {}
    key = digest({**how, **given, "modality": modality, "data": data.checksum}, ["judges.classes"])
    name = f"{modality} {what} classifier".replace("  ", " ")
    path = cache_dir("classifiers")/f"{data.name}-{name.replace(' ', '-')}-{key}.safetensors"
    net = Classifier(m.shape, classes, m.kind, tokens, width, name=name)
    if not _load(net, path):
        net = train_classifier(x[y >= 0], y[y >= 0], classes, device=device, progress=progress,
                               name=name, **how)
        _save(net, path)
    return net.to(resolve_device(str(device))).eval().requires_grad_(False)


# %%
#| exports
def _save(net, path):
    "Write the weights of `net` to `path`, whole or not at all."
    from safetensors.torch import save
    with atomic_path(path) as tmp:
        tmp.write_bytes(save({k: v.cpu().contiguous() for k, v in net.state_dict().items()}))

def _load(net, path):
    "Load weights into `net`; False if there are none, or none that fit."
    from safetensors.torch import load_file
    if not path.exists(): return False
    try: net.load_state_dict(load_file(path))
    except Exception as e:   # a damaged file: say so, and train anew
        warnings.warn(f"{path}: not usable ({type(e).__name__}), training again")
        return False
    return True


# %%
judges = {m: cached_classifier(train, m, updates=250) for m in train.modalities}
again = cached_classifier(train, "svhn", updates=250)
assert all(torch.equal(a, b) for a, b in zip(judges["svhn"].parameters(), again.parameters()))
text, labels = train.items("text")
letters = train.modalities["text"].num_tokens
direct = train_classifier(text, labels, 10, "text", letters, updates=60)
assert (direct.predict(text) == labels).all() and not direct.training


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
                 updates=400, seed=0, width=16, device="cpu"): # of the classifiers
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
