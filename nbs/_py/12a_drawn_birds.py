# %% [markdown]
# # Drawn birds
#
# > Birds and captions drawn and written from attributes, measured and read back again.
#
# ::: {.callout-note}
# ## You will learn
#
# - how a bird is drawn from its attributes, and how least squares reads them back from pixels;
# - how captions are written from attributes and understood again.
#
# Runs in a few seconds on a laptop CPU. This is workshop: [lesson 12](12_birds.ipynb) uses its birds and its measure.
# :::

# %% [markdown]
# ![Drawing: attributes are drawn as a bird; fifty hypotheses of place and size are compared with it, the best is marked, and the attributes are read back.](drawings/measured.svg)

# %%
#| default_exp datasets.drawn_birds

# %%
#| export
import math, re
import numpy as np
import torch
import torch.nn.functional as F
from mmvae_nb.core import *
from mmvae_nb.data import *

# %%
from mmvae_nb.plotting import generation_grid, image_grid, set_style

set_style()

# %% [markdown]
# ## A bird in seven shapes
#
# The bird stands on a branch and looks to the left. It is made of ellipses (tail, belly, wing, head, eye), a bill that narrows to the left, and two legs.
# Each shape is a *mask*: 1 inside, 0 outside, and soft at the rim, computed for all birds at once from the distance to the rim. Attributes decide
# the colours of belly, wing and head, the size, and the length of the bill. Where exactly the bird stands, the tint of the sky, the tilt of
# the branch and the light are drawn at random. No caption mentions them: they are what a sentence can't know.

# %%
#| exports
bird_colours = dict(black=(28, 28, 30), white=(246, 246, 242), red=(196, 36, 40),
                    yellow=(238, 205, 45), blue=(45, 92, 200), brown=(124, 78, 42))
bird_attributes = {**dict.fromkeys(["belly", "wing", "head"], tuple(bird_colours)),
                   "size": ("small", "large"), "bill": ("short", "long")}   # and their values
_coats = torch.tensor(list(bird_colours.values()))/255

def _rim(x, y, cx, cy, a, b, angle=0.):
    "About the distance of (x, y) to the rim of an ellipse; positive inside."
    u = (x - cx)*math.cos(angle) + (y - cy)*math.sin(angle)
    v = (y - cy)*math.cos(angle) - (x - cx)*math.sin(angle)
    return (1 - ((u/a)**2 + (v/b)**2).sqrt())*min(a, b)

def bird_masks(dx, # (birds,): how far each stands to the right, in pixels of 64
               dy, # (birds,): how far below the usual place
               large, # (birds,): 1 for a large bird, 0 for a small one
               long_bill, # (birds,): 1 for a long bill, 0 for a short one
               side=64 # pixels of the picture
              ) -> dict: # name of a part -> (birds, side, side)
    "Where each part of each bird is: 0 outside to 1 inside, the hindmost part first."
    at = (torch.arange(side) + 0.5)*64/side - 32
    n = lambda v: v.float()[:, None, None]
    s, length = 0.78 + 0.22*n(large), 5. + 9.*n(long_bill)
    feet = n(dy) + 23                                       # at the same height, whatever the size
    x, y = (at[None, None, :] - n(dx))/s, (at[None, :, None] - feet)/s + 23
    u = (-17.5 - x)/length                                  # 0 at the head, 1 at the bill's tip
    bill = 4*(1 - .7*u) - (y + 9.5).abs()                   # narrow at the tip
    rims = {"tail": _rim(x, y, 20, 6, 11, 3.2, .35),
            "legs": torch.maximum(_rim(x, y, -2, 17, .9, 7), _rim(x, y, 3, 17, .9, 7)),
            "bill": torch.minimum(bill, torch.minimum(-14.5 - x, (1 - u)*length)),
            "belly": _rim(x, y, -1, 4, 17, 12, .25), "wing": _rim(x, y, 6.5, 2, 13, 6.2, .38),
            "head": _rim(x, y, -11.5, -10, 8.2, 8), "eye": _rim(x, y, -14, -11.2, 1.5, 1.5)}
    return {k: torch.sigmoid(3*s*r*side/64) for k, r in rims.items()}


# %%
#| exports
_skies = torch.tensor([[.72, .84, .95], [.80, .90, .78], [.95, .88, .76], [.86, .84, .92]])

def _paint(image, mask, colour):
    "Put `colour` (birds, 3) on `image` where `mask` is 1."
    return image + mask[:, None]*(colour[:, :, None, None] - image)

def _scenery(n, g, dy):
    "A sky of some tint, lighter on top, and a branch under the feet."
    tint = _skies[torch.randint(len(_skies), (n,), generator=g)]
    tint = tint*(.92 + .1*torch.rand(n, 1, generator=g))
    slope = .12*torch.rand(n, 1, generator=g)*torch.linspace(1, 0, 64)
    image = (tint[:, :, None, None] + slope[:, None, :, None]).expand(-1, -1, -1, 64)
    at, tilt = torch.arange(64) + 0.5, .2*torch.rand(n, 1, 1, generator=g) - .1
    away = at[None, :, None] - (55.5 + dy)[:, None, None] - (at - 32)*tilt
    wood = torch.tensor([.36, .29, .22])*(.8 + .5*torch.rand(n, 1, generator=g))
    return _paint(image, torch.sigmoid(2*(2.2 - away.abs())), wood)


# %%
#| exports
def draw_birds(attributes, # dict: name -> int64 tensor (n,), places in `bird_attributes[name]`
               seed # of everything that no attribute names: place, light, scenery
              ): # uint8 (n, 3, 64, 64)
    "Draw one bird for each row of attributes."
    n, g = len(attributes["belly"]), generator(seed, "birds")
    dx, dy = (4*torch.rand(n, 2, generator=g) - 2).unbind(1)
    def shade(colour):
        colour = colour + .04*torch.rand(n, 3, generator=g) - .02
        return colour*(.88 + .16*torch.rand(n, 1, generator=g))
    coat = {p: shade(_coats[attributes[p]]) for p in ("belly", "wing", "head")}
    dark = torch.tensor([.16, .14, .13]).expand(n, 3)
    coat |= {"tail": .9*coat["wing"], "legs": 1.5*dark,
             "bill": shade(torch.tensor([.85, .52, .14])),
             "eye": torch.where(attributes["head"][:, None] == 0, .95, .03).expand(n, 3)}
    masks = bird_masks(dx + 3, dy, attributes["size"], attributes["bill"])
    image = _scenery(n, g, dy)
    outline = torch.stack([masks[p] for p in ("tail", "bill", "belly", "wing", "head")]).amax(0)
    image = _paint(image, .65*F.max_pool2d(outline[:, None], 3, 1, 1)[:, 0], dark)
    for part, mask in masks.items(): image = _paint(image, mask, coat[part])
    light = .1*torch.linspace(1, -1, 64)[:, None]           # from above
    image = image*(1 + light*masks["belly"][:, None])
    image = image + .015*torch.randn(image.shape, generator=g)
    return (image.clamp(0, 1)*255).round().to(torch.uint8)


# %%
#| fig-cap: "Drawn birds; every attribute takes each of its values equally often, the rest is random."
#| fig-alt: "Four rows of twelve drawn birds on branches, in six colours, small and large, with short and long bills."
def random_birds(n, *name):
    "Attributes of `n` birds, every value as likely as any other."
    return {a: torch.randint(len(values), (n,), generator=generator(*name, a))
            for a, values in bird_attributes.items()}
some = random_birds(48, 0, "some birds")
birds = draw_birds(some, 0)
assert torch.equal(birds, draw_birds(some, 0)) and not torch.equal(birds, draw_birds(some, 1))
image_grid(birds, 12);


# %% [markdown]
# ## Reading the attributes back
#
# Suppose a model has drawn a bird. Which attributes does it have? We know how birds are built, so we can ask which bird explains the picture best. A
# *hypothesis* $h$ is a place and a size; it says which pixels belong to which part. Let $x_i$ be the colour of pixel $i$ (three numbers; $h$, $i$ and $j$ are indices of this
# section only). If every part has one colour, the best colour of part $j$ in the sense of least squares is the mean over its pixels $S_{hj}$, and what the hypothesis leaves unexplained is
#
# $$
# \begin{aligned}
# r_h = \sum_i \lVert x_i \rVert^2 - \sum_j \lvert S_{hj} \rvert \, \lVert \bar x_{hj} \rVert^2 ,
# \qquad \bar x_{hj} = \frac{1}{\lvert S_{hj} \rvert} \sum_{i \in S_{hj}} x_i .
# \end{aligned}
# \tag{1}
# $$
#
# (Expand $\sum_{i \in S_{hj}} \lVert x_i - \bar x_{hj} \rVert^2$ to see it.) The first sum is the same for all hypotheses, so it is enough to make the second one large: a matrix product.
# There are fifty hypotheses, five by five places and two sizes, and half the resolution is enough. The sky counts as a part; the rows of the branch are left out.
# The colours of the best hypothesis are then named by the nearest colour of the palette, and the bill is
# long if there is orange where only a long bill reaches. Nothing in this needs sharp edges, so it should work on blurred pictures, too. The test below tries that.

# %%
#| exports
def _layouts(side=32):
    "All hypotheses of place and size; for each, which pixels would belong to which part."
    at = torch.linspace(-2, 2, 5)
    dx, dy, large = torch.cartesian_prod(at, at, torch.arange(2.)).T
    masks = bird_masks(dx + 3, dy, large, torch.ones(50), side)
    short = bird_masks(dx + 3, dy, large, torch.zeros(50), side)["bill"]
    owner = torch.zeros_like(short).long()                         # 0 is the sky
    parts = [p for p in masks if p != "eye"]
    for i, p in enumerate(parts, 1): owner[masks[p] > 0.5] = i     # front parts last
    inside = {p: ((owner == i) & (masks[p] > 0.9)).float() for i, p in enumerate(parts, 1)}
    beyond = short.amax(1, keepdim=True) < 0.2                     # only a long bill reaches here
    inside["tip"] = ((masks["bill"] > 0.4) & beyond).float()
    upper = (torch.arange(side) < 12).float()[:, None]
    inside["sky"] = (owner == 0).float()*upper
    inside = {p: m.flatten(1) for p, m in inside.items()}
    seen = F.one_hot(owner, len(parts) + 1).float()
    seen[:, 23:] = 0                                               # the branch is not judged
    return large.long(), inside, seen.flatten(1, 2).movedim(-1, 0)

def _explained(x, seen):
    "How much of images (n, 3, pixels) each hypothesis explains by one colour for each part."
    return sum(((x@s.T)**2/s.sum(1).clamp(min=1)).sum(1) for s in seen)


# %%
#| exports
def measure_birds(images, # uint8, or float in [0, 1]: (n, 3, 64, 64)
                  batch=500 # images at once
                 ) -> dict: # name -> int64 (n,), as in `bird_attributes`
    "Read the attributes of drawn birds back from pixels: least squares over places and sizes."
    large, inside, seen = _layouts()
    found = {a: [] for a in bird_attributes}
    for part in as_float(images).cpu().split(batch):
        x = F.avg_pool2d(part, 2).flatten(2)
        best = _explained(x, seen).argmax(1)
        own = {p: m[best] for p, m in inside.items()}
        mean = {p: (x*m[:, None]).sum(2)/m.sum(1, keepdim=True) for p, m in own.items()}
        for p in ("belly", "wing", "head"): found[p].append(torch.cdist(mean[p], _coats).argmin(1))
        found["size"].append(large[best])
        orange = {p: mean[p][:, 0] - mean[p][:, 2] for p in ("tip", "sky")}
        found["bill"].append((orange["tip"] - orange["sky"] > 0.17).long())
    return {a: torch.cat(v) for a, v in found.items()}


# %%
many = random_birds(600, 1, "many birds")
pictures = draw_birds(many, "many")
blurred = F.avg_pool2d(F.pad(as_float(pictures), (2, 2, 2, 2), mode="replicate"), 5, 1)
share = lambda found, true: {a: (found[a] == true[a]).float().mean().item() for a in true}
right, right_blurred = share(measure_birds(pictures), many), share(measure_birds(blurred), many)
mixed_up = share(measure_birds(pictures.roll(1, 0)), many)
for a in many:
    print(f"{a:6} right {right[a]:.3f}, blurred {right_blurred[a]:.3f}, mixed up {mixed_up[a]:.3f}")
assert min(right.values()) > 0.95 and min(right_blurred.values()) > 0.95
assert all(abs(v - 1/len(bird_attributes[a])) < 0.08 for a, v in mixed_up.items())

# %% [markdown]
# Right on true pictures, right on blurred ones, and at chance (a sixth for colours, a half for size and bill) when pictures and attributes are mixed up: a scorer can be
# trusted only if all three hold. The third is the control: a scorer that had its answers from anywhere but the picture, from a leaked label for example, would not fall to chance there.
#
# What the winning hypothesis sees can be drawn: each part in the mean colour $\bar x_{hj}$ of its pixels.

# %%
#| fig-cap: "Equation (1) at work on blurred birds: the best hypothesis, each part in one colour. The rows of the branch are left out."
#| fig-alt: "Three rows of eight birds: drawn, blurred, and as flat patches of colour with the same place, size and colours, grey where the branch was."
_, _, seen = _layouts()
x = F.avg_pool2d(blurred[:8], 2).flatten(2)
best, hypothesis = _explained(x, seen).max(1)
own = seen[:, hypothesis].movedim(0, 1)                              # (birds, parts, pixels)
mean = torch.einsum("ncp,nkp->nkc", x, own)/own.sum(2, keepdim=True).clamp(min=1)
judged = own.sum(1, keepdim=True)                                    # 0 where the branch is
flat = torch.einsum("nkc,nkp->ncp", mean, own) + .7*(1 - judged)       # grey there
unexplained = (judged*x**2).sum((1, 2)) - best                       # equation (1), and by hand:
torch.testing.assert_close(unexplained, (judged*(x - flat)**2).sum((1, 2)), atol=.01, rtol=0)
flat = F.interpolate(flat.unflatten(2, (32, 32)), 64)
generation_grid({"drawn": pictures[:8], "blurred": blurred[:8], "as explained": flat},
                note="rendered data");

# %% [markdown]
# ## Captions from a grammar
#
# The captions imitate the real ones: one of six openings, which all name the belly and of which three name the size; then one to three of wing, head and bill, in any order
# and in one of two wordings each. Since a caption leaves things out, two birds that differ can have the same caption, and one bird has many. A pattern for each attribute
# reads it back.

# %%
#| exports
_openings = ("this bird has a {belly} belly", "a {size} bird with a {belly} belly",
             "this is a {size} bird with a {belly} belly", "this {size} bird has a {belly} belly",
             "the belly of this bird is {belly}", "a bird with a {belly} belly")
_details = {"wing": ("{wing} wings", "wings that are {wing}"),
            "bill": ("a {bill} bill", "a bill that is {bill}"),
            "head": ("a {head} head", "a {head} crown and a {head} nape")}

def bird_captions(attributes, # dict: name -> int64 tensor (n,), places in `bird_attributes[name]`
                  each, # captions for each bird
                  seed # of openings, wordings and what is left out
                 ) -> list: # n*each strings; those of one bird stand together
    "Describe each bird: the belly always, other parts as it comes."
    rng = np.random.default_rng(seed_of(seed, "captions"))
    names = {a: v.tolist() for a, v in attributes.items()}
    pick, captions = lambda options: options[rng.integers(len(options))], []
    for i in range(len(names["belly"])):
        words = {a: bird_attributes[a][v[i]] for a, v in names.items()}
        for _ in range(each):
            told = rng.permutation(list(_details))[:1 + rng.integers(3)]
            shown = [pick(_details[p]) for p in told]
            joined = " , ".join(shown[:-1]) + (" and " if len(shown) > 1 else "") + shown[-1]
            captions.append(f"{pick(_openings)} with {joined}".format(**words))
    return captions


# %%
#| exports
_phrases = {"belly": "{} belly|belly of this bird is {}", "wing": "{} wings|wings that are {}",
            "head": "{} (?:head|crown)", "bill": "{} bill|bill that is {}", "size": "{} bird"}
_patterns = {a: p.replace("{}", f"({'|'.join(bird_attributes[a])})") for a, p in _phrases.items()}

def read_captions(captions # strings
                 ) -> dict: # name -> int64 (n,), as in `bird_attributes`, -1 where it is not said
    "What captions of the grammar say about each attribute; the first mention counts."
    found = {a: [] for a in bird_attributes}
    for c in captions:
        for a, pattern in _patterns.items():
            said = re.search(pattern, c)
            found[a].append(bird_attributes[a].index(said[said.lastindex]) if said else -1)
    return {a: torch.tensor(v) for a, v in found.items()}


# %%
lines = bird_captions({a: v[:3] for a, v in some.items()}, 2, 0)
lines

# %%
said = read_captions(bird_captions(some, 3, 0))
for a, v in said.items():
    told = v >= 0
    assert torch.equal(v[told], some[a].repeat_interleave(3)[told])      # nothing false is said
    print(f"{a}: told in {told.float().mean():.0%} of the captions")

# %% [markdown]
# ## Three splits
#
# A split has its own random streams, and its own *species*: pairs of belly and wing. In training the wing's colour is the belly's or stands one, two or four places after it in the palette;
# three places after it is for the test, five for validation. So test birds have colours that were seen, in pairs that were not. The pictures are kept in the cache.

# %%
#| exports
_bird_counts = {"train": 4000, "validation": 500, "test": 1000}
_shifts = {"train": (0, 1, 2, 4), "validation": (5,), "test": (3,)}   # wing - belly, modulo 6

def drawn_birds(split # train, validation or test
               ): # attributes, images, captions: 5 for each bird
    "The drawn birds of one split, from the cache or drawn anew."
    n = _bird_counts[one_of("split", split, splits)]
    value = lambda a, m: torch.randint(m, (n,), generator=generator("birds", split, a))
    attributes = {"belly": value("belly", 6), "head": value("head", 6),
                  "size": value("size", 2), "bill": value("bill", 2)}
    shift = torch.tensor(_shifts[split])[value("wing", len(_shifts[split]))]
    attributes["wing"] = (attributes["belly"] + shift) % 6
    version = digest([n, np.__version__, torch.__version__], ["datasets.drawn_birds"])
    def drawn():
        parts = [({a: v[i:i + 500] for a, v in attributes.items()}, f"{split} {i}")
                 for i in range(0, n, 500)]
        return {"x": torch.cat([draw_birds(*p) for p in parts]).numpy()}
    x = cached_arrays(cache_dir("data")/f"birds-{split}-{version}.npz", drawn)["x"]
    return attributes, torch.from_numpy(x), bird_captions(attributes, 5, split)


# %%
attributes, pictures, captions = drawn_birds("validation")
assert pictures.shape == (500, 3, 64, 64) and len(captions) == 5*500
assert ((attributes["wing"] - attributes["belly"]) % 6 == 5).all()
right = share(measure_birds(pictures), attributes)
assert min(right.values()) > .97
{a: round(v, 3) for a, v in right.items()}

# %% [markdown]
# ## Recap
#
# - A bird is seven shapes with soft rims; five attributes decide colours and sizes, the rest is drawn at random.
# - Each of fifty hypotheses of place and size says which pixels belong to which part; least squares (Eq. 1) picks one, and the mean colours name the attributes.
# - A scorer must be right on true and on blurred pictures, and at chance on mixed-up pairs.
# - Captions are written with a grammar and read back by patterns: nothing false is said, much is left out.
#
# ## Exercises
#
# 1. `measure_birds` looks for one colour per part. Draw birds with a striped wing: how would you measure stripes?
# 2. Two birds differ in the bill only. How large is the share of captions that can't tell them apart?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. With one more hypothesis for the wing, in which its pixels belong to two parts, light and dark stripes; Eq. 1 decides.
# 2. One less the share of captions that name the bill, printed above: about one third.
# :::
#
# ## References
#
# - Wah and others (2011), [The Caltech-UCSD Birds-200-2011 dataset](https://www.vision.caltech.edu/datasets/cub_200_2011/): what is imitated.
