# %% [markdown]
# # Drawn faces
#
# > `draw_faces` builds faces from 14 attributes, `measure_faces` reads them back from pixels.
#
# ::: {.callout-note}
# ## You will learn
#
# - how attributes keep company, and how a face is drawn from them;
# - how each attribute is measured back, and how far a blur or noise misleads the measure.
#
# Runs in half a minute on a laptop CPU. This is workshop: [lesson 13](13_faces.ipynb) uses its faces and its measure.
# :::

# %% [markdown]
# ![Drawing: a hidden style gives attributes that keep company; layers from back to front make a face, and small frames on it show where each attribute is measured.](drawings/collage.svg)

# %%
#| default_exp datasets.drawn_faces

# %%
#| export
import numpy as np, torch
import torch.nn.functional as F
from mmvae_nb.core import *
from mmvae_nb.data import *

# %%
import matplotlib.pyplot as plt, pandas as pd
from scipy.ndimage import gaussian_filter
from mmvae_nb.plotting import *

set_style()

# %% [markdown]
# ## What is drawn
#
# The names are those of fourteen of CelebA's forty attributes ([lesson 13b](13b_photographed_faces.ipynb#what-is-said-of-a-face)), those that can be drawn, and seen, at this size.

# %%
#| exports
drawn_attributes = tuple("""Bald Bangs Big_Nose Black_Hair Blond_Hair Brown_Hair Eyeglasses
    Gray_Hair Mustache Rosy_Cheeks Smiling Wearing_Hat Wearing_Lipstick Wearing_Necktie""".split())

# %% [markdown]
# Attributes keep company. In photographs a necktie and a moustache go together more often than
# chance, lipstick and rosy cheeks too. A drawn set without such company would be too easy in one
# respect: a model could learn each attribute by itself. So each face is of one of two hidden styles
# with different shares, and within a style the attributes are independent. Three rules hold: one
# state of the hair, and neither bangs nor a hat on a bald head (under a hat nobody could see that
# it is bald).

# %%
#| exports
hair_states = ("Bald", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")   # exactly one
_hair_shares = ((.22, .28, .14, .22, .14), (.02, .28, .3, .25, .15))       # of the two styles
_shares = dict(Bangs=(.15, .45), Big_Nose=(.5, .2), Eyeglasses=(.3, .3), Mustache=(.55, .03),
               Rosy_Cheeks=(.1, .5), Smiling=(.4, .6), Wearing_Hat=(.2, .2),
               Wearing_Lipstick=(.04, .7), Wearing_Necktie=(.55, .1))

def sample_attributes(n, # how many faces
                      seed # names the random stream: a number or a word
                     ) -> torch.Tensor: # bool (n, 14)
    "Attributes of `n` faces, in the company they keep."
    rng = np.random.default_rng(seed_of("attributes", seed))
    style = rng.integers(2, size=n)
    kind = (rng.random((n, 1)) > np.cumsum(_hair_shares, 1)[style, :-1]).sum(1)
    y = {a: kind == i for i, a in enumerate(hair_states)}
    y |= {a: rng.random(n) < np.array(s)[style] for a, s in _shares.items()}
    for a in ["Bangs", "Wearing_Hat"]: y[a] &= ~y["Bald"]
    return torch.from_numpy(np.stack([y[a] for a in drawn_attributes], 1))


# %%
y = sample_attributes(20_000, "look")
share = y.double().mean(0)
assert torch.equal(y[:, [drawn_attributes.index(a) for a in hair_states]].sum(1), torch.ones(20_000))
assert share.min() > .1 and share.max() < .52
together = y.double().T.corrcoef()[drawn_attributes.index("Mustache"),
                                   drawn_attributes.index("Wearing_Necktie")]
assert together > .2
pd.DataFrame({"share": share.numpy()}, index=drawn_attributes).round(2)

# %% [markdown]
# ## Drawing a face
#
# A picture is built from back to front, like a collage: ground, hair behind the head, shoulders,
# head, features, hair in front, hat. Nearly every part is an ellipse or a piece of one. To draw an
# ellipse without jagged edges, each pixel asks how far it is from the edge, and is painted in
# proportion. Let $(x, y)$ be the place of the pixel seen from the middle of the ellipse, and $r_x$,
# $r_y$ its radii. With $f = (x/r_x)^2 + (y/r_y)^2$, which is 1 on the edge, the distance inwards is
# about
#
# $$\begin{aligned} d \approx \frac{1 - f}{\lVert \nabla f \rVert}
#   = \frac{1 - f}{2\sqrt{(x/r_x^2)^2 + (y/r_y^2)^2}}, \qquad
#   \text{cover} = \min(1, \max(0, d/s + \tfrac12)) \end{aligned}\tag{1}$$
#
# with $s = 1$ pixel for a crisp edge, more for a soft one. (It is one step of Newton's method. The
# letters $x$, $y$, $d$, $f$ and $s$ mean this in this section only.)

# %%
#| exports
_grid = np.arange(64, dtype=np.float32) + .5            # middles of the pixels

def _step(d): return np.clip(d + .5, 0, 1)

def _cover(x, y, rx, ry, soft=1, ring=0):
    "How much of each pixel an ellipse around (0, 0) covers, or its outline `ring` wide; Eq. 1."
    u, v = x / rx, y / ry
    d = (1 - u*u - v*v) / (2 * np.sqrt((u / rx)**2 + (v / ry)**2) + np.float32(1e-6))
    return np.clip((ring / 2 - np.abs(d) if ring else d) / np.float32(soft) + np.float32(.5), 0, 1)


# %% [markdown]
# The check: the covers of all pixels sum up to the area $\pi r_x r_y$, wherever the middle lies.

# %%
for rx, ry, x, y in [(10, 10, 32, 32), (15.2, 20.7, 31.3, 30.9), (3.5, 2, 20.2, 40.6)]:
    area = _cover(_grid - np.float32(x), (_grid - np.float32(y))[:, None], rx, ry).sum()
    assert abs(area / (np.pi * rx * ry) - 1) < .03, area


# %% [markdown]
# A canvas holds some dozens of faces at once, and where the middle of each is. `paint` lays a
# colour over an ellipse, in those faces that have the part. It works on the window of pixels that
# the part can touch; with that, and with all faces of a canvas in one NumPy operation, eight
# thousand faces take a few seconds.

# %%
#| exports
def _window(middle, radius):
    "The pixels that an ellipse can touch in any of the faces."
    low, high = np.min(middle - radius) - 3, np.max(middle + radius) + 4
    return slice(int(np.clip(low, 0, 63)), int(np.clip(high, 1, 64)))

class _Canvas:
    "Faces in the making: floats `(n, 3, 64, 64)`. Places are relative to each face's middle."
    def __init__(self, x, y):
        self.x, self.y, self.pixels = x, y, np.zeros((len(x), 3, 64, 64), "f4")

    def paint(self, colour, where, x, y, rx, ry, clip=None, alpha=1, **how):
        "Lay `colour` over an ellipse in the faces `where`; `clip` cuts it to a piece."
        n = len(self.x)
        rows = np.flatnonzero(np.broadcast_to(where, n))
        if len(rows) == 0: return
        each = lambda v: np.broadcast_to(np.asarray(v, "f4"), n)[rows, None, None]
        x, y, rx, ry, left, top = map(each, (x, y, rx, ry, self.x, self.y))
        xs, ys = _window(left + x, rx), _window(top + y, ry)
        px, py = _grid[xs] - left, _grid[ys][:, None] - top
        mask = np.float32(alpha) * _cover(px - x, py - y, rx, ry, **how)
        if clip: mask = mask * clip(px, py, rows)
        colour = np.broadcast_to(np.asarray(colour, "f4"), (n, 3))[rows, :, None, None]
        here = self.pixels[rows, :, ys, xs]
        self.pixels[rows, :, ys, xs] = here + mask[:, None] * (colour - here)

    def both(self, colour, where, x, *rest, **how):
        "The same on the left and on the right."
        for side in (-1, 1): self.paint(colour, where, side * x, *rest, **how)


# %% [markdown]
# What no attribute names must vary too, or a model could do without a latent space for it: skin,
# ground, clothes, colour of the eyes, width of head and jaw, length of the hair, a shift of up to
# one pixel (CelebA's faces are aligned as well), and the light. The hair's colours, in contrast,
# are attributes: they vary only a little around four fixed ones. Hats are blue to violet, which
# neither hair nor skin ever is.

# %%
#| exports
_hair_colours = dict(Black_Hair=(34, 30, 34), Blond_Hair=(236, 196, 92), Brown_Hair=(112, 62, 30),
                     Gray_Hair=(172, 174, 180))
_skins = ((250, 219, 192), (238, 195, 160), (218, 168, 128), (190, 138, 102), (160, 112, 84))
_palettes = dict(
    hat=((52, 82, 160), (28, 128, 140), (100, 72, 168), (70, 130, 190)),
    lips=((200, 24, 52), (176, 16, 60), (214, 40, 84)),
    tie=((176, 32, 44), (36, 60, 130), (40, 100, 70), (110, 40, 100)),
    top=((96, 140, 150), (180, 110, 100), (120, 130, 170), (140, 160, 110), (200, 170, 120),
         (90, 90, 110)),
    ground=((196, 214, 220), (214, 206, 190), (190, 208, 188), (206, 196, 214), (170, 188, 204),
            (222, 200, 190)),
    eye=((70, 45, 30), (70, 110, 150), (80, 115, 75), (100, 75, 45)),
    frame=((28, 28, 34), (60, 34, 22)))


# %%
#| exports
def _paints(a, n, rng):
    "The colours of `n` faces, each (n, 3); `a`: dict of attributes."
    jitter = lambda c, s=6: np.asarray(c, "f4") + rng.normal(0, s, (n, 3)).astype("f4")
    c = {k: jitter(np.float32(v)[rng.integers(len(v), size=n)]) for k, v in _palettes.items()}
    tone = rng.uniform(0, len(_skins) - 1.001, n)
    between = [np.interp(tone, range(len(_skins)), channel) for channel in np.transpose(_skins)]
    c["skin"] = jitter(np.stack(between, 1), 3)
    hair = sum(a[h][:, None] * np.float32(v) for h, v in _hair_colours.items())
    c["hair"] = jitter(hair, 5)
    bald = a["Bald"][:, None]
    c["brow"] = np.where(bald, (70, 48, 36), c["hair"] * .7)
    c["beard"] = np.minimum(np.where(bald, (64, 44, 34), c["hair"] * .8), c["skin"] * .5)
    return c

def _nuisances(n, rng):
    "What no attribute names, one number a face."
    u = lambda low, high: rng.uniform(low, high, n).astype("f4")
    return dict(x=32 + u(-1, 1), y=u(-1, 1), width=u(14.5, 17), jaw=u(.72, .9), dusk=u(.8, .95),
                long=rng.random(n) < .5, collar=rng.random(n) < .3, gain=u(.93, 1.05),
                slope_x=rng.normal(0, .05, n), slope_y=rng.normal(0, .04, n))


# %% [markdown]
# Now the parts, from back to front. In each function `k` is the canvas, `a` the attributes, `c` the
# colours and `p` the nuisances. Numbers are pixels from the middle line (x) and from the upper edge
# (y).

# %%
#| exports
def _behind(k, a, c, p):
    "Ground, hair behind the head, shoulders, neck and what is worn there."
    down = (_grid / 64)[:, None]
    k.pixels[:] = c["ground"][..., None, None] * (1 - down * (1 - p["dusk"][:, None, None, None]))
    hair, tie, shade = ~a["Bald"], a["Wearing_Necktie"], c["skin"] * .8
    k.paint(c["hair"] * .78, hair & p["long"], 0, 33, p["width"] + 6.5, 25)
    k.paint(c["hair"] * .78, hair & ~p["long"], 0, 24, p["width"] + 3.5, 19.5)
    k.paint(np.where(tie[:, None], (52, 54, 68), c["top"]), True, 0, 71, 29, 16.5)
    k.paint(shade, True, 0, 50, 6.8, 10)
    vee = lambda wide: lambda x, y, i: _step(wide - np.abs(x) - .75 * (y - 54))
    k.paint(shade, ~tie & p["collar"], 0, 56, 9, 7, clip=vee(6.5))
    k.paint((244, 244, 246), tie, 0, 61, 12, 9, clip=vee(10.5))
    k.paint(shade, tie, 0, 50, 6.8, 6)
    k.paint(c["tie"] * .85, tie, 0, 57, 2.6, 2.2)
    k.paint(c["tie"], tie, 0, 65, 3.2, 8)


# %%
#| exports
def _head(k, a, c, p):
    "Ears and face, with soft inner edges; the shine of a bald head; cheeks."
    skin, w = c["skin"], p["width"]
    k.both(skin * .9, True, w + .4, 32, 2.8, 4.4)
    for colour, inset, how in [(skin * .9, 0, {}), (skin, 1.5, dict(soft=4))]:
        k.paint(colour, True, 0, 29, w - inset, 18.5 - inset, **how)
        k.paint(colour, True, 0, 35.5 - inset / 3, w * p["jaw"] - inset, 17.5 - inset, **how)
    k.paint(np.minimum(skin * 1.12, 255), a["Bald"], -5, 16, 5, 3, soft=3, alpha=.7)
    k.both(skin * (.98, .5, .56), a["Rosy_Cheeks"], 9.5, 38.5, 4.6, 3.4, soft=3, alpha=.75)

def _hair_in_front(k, a, c, p):
    "The cap of hair around the face, strands at the sides, shine, bangs."
    hair, w = ~a["Bald"], p["width"]
    around = lambda x, y, i: (_step(33 - y)
                              * (1 - _cover(x, y - 38, (w - 1.2)[i, None, None], 21.5)))
    k.paint(c["hair"], hair, 0, 24, w + 3.5, 19.5, clip=around)
    k.both(c["hair"], hair & p["long"], w + 2.6, 36, 4.2, 20)
    k.paint(np.minimum(c["hair"] * 1.25 + 14, 255), hair, -7, 9.5, 6, 2.2, soft=2.5, alpha=.55)
    fringe = lambda x, y, i: _step(21.8 + 1.1 * np.sin(1.1 * x + i[:, None, None]) - y)
    k.paint(c["hair"] * .93, a["Bangs"], 0, 20.5, w - .3, 9, clip=fringe)


# %%
#| exports
def _eyes_and_nose(k, a, c, p):
    "Brows, eyes, a nose that is small or big."
    skin, big = c["skin"], a["Big_Nose"]
    k.both(c["brow"], True, 7.8, 25.6, 4.2, 2.2, clip=lambda x, y, i: _step(25.4 - y))
    k.both((70, 46, 40), True, 7.6, 30, 4, 2.7)
    k.both((250, 250, 250), True, 7.6, 30.5, 3.6, 2.2)
    k.both(c["eye"], True, 7.6, 30.3, 2, 2.1)
    k.both((16, 14, 18), True, 7.6, 30.3, 1.1, 1.2)
    for side in (-7.6, 7.6): k.paint((255, 255, 255), True, side - .7, 29.6, .6, .6)
    k.paint(skin * .8, True, 1.2, 37, 1.2, 4.5, soft=2, alpha=.5)
    k.paint(skin * (.74, .68, .66), ~big, 0, 40.2, 2.6, 1.1)
    k.paint(skin * (.74, .6, .57), big, 0, 38.8, 6.4, 3.6)
    k.paint(skin * (1, .86, .82), big, 0, 37.6, 2.4, 2.6, soft=2)
    k.both(skin * .45, big, 2.6, 41.2, 1.2, .8)


# %%
#| exports
def _mouth(k, a, c, p):
    "A closed mouth or a smile with teeth, lips with or without lipstick, a moustache."
    smile, lips = a["Smiling"], c["skin"] * (.84, .56, .55)
    lips = np.where(a["Wearing_Lipstick"][:, None], c["lips"], lips)
    under = lambda top: lambda x, y, i: _step(y - top + .02 * x**2)     # the corners go up
    k.paint(lips, smile, 0, 45.6, 9, 6.6, clip=under(45.8))
    k.paint((252, 250, 246), smile, 0, 46, 6.2, 3.7, clip=under(47.4))
    k.both(lips, ~smile, 1.7, 47.2, 3.2, 1.4)
    k.paint(lips, ~smile, 0, 48.3, 4.6, 1.8)
    k.paint(lips * .6, ~smile, 0, 47.8, 4.8, .5)
    k.both(c["beard"], a["Mustache"], 3.4, 43.9, 4.4, 1.9)

def _worn(k, a, c, p):
    "Glasses and hat."
    on, hat, w = a["Eyeglasses"], a["Wearing_Hat"], p["width"]
    k.both((225, 235, 245), on, 7.6, 30.6, 5.6, 4.8, alpha=.22)
    k.both(c["frame"], on, 7.6, 30.6, 5.8, 5, ring=1.5)
    k.both(c["frame"], on, 6.3 + w / 2, 29.5, 3.2, .9)
    k.paint(c["frame"], on, 0, 29.6, 2.4, .9)
    band = lambda top: lambda x, y, i: _step(15 - y) * _step(y - top)
    k.paint(c["hat"], hat, 0, 14.5, w + 3.2, 13.5, clip=band(-9))
    k.paint(np.minimum(c["hat"] * 1.25 + 10, 255), hat, -6, 6, 6, 2.5, soft=3, alpha=.5)
    k.paint((236, 226, 200), hat, 0, 14.5, w + 3.2, 13.5, clip=band(10.6))
    k.paint(c["hat"] * .8, hat, 0, 15, 27, 2.6)


# %% [markdown]
# Light falls on everything: a gain, and a slope from left to right and from top to bottom.

# %%
#| exports
def _checked(attributes):
    "The attributes as a dict of bool arrays; refused if no face can have them."
    y = torch.as_tensor(attributes).cpu().numpy().astype(bool)
    if y.ndim != 2 or y.shape[1] != len(drawn_attributes):
        raise MmvaeError(f"attributes: got shape {y.shape}, allowed: (n, {len(drawn_attributes)})")
    a = dict(zip(drawn_attributes, y.T))
    if (sum(a[h].astype(int) for h in hair_states) != 1).any():
        raise MmvaeError(f"attributes: got not one state of the hair, allowed: one of "
                         f"{', '.join(hair_states)}")
    if (a["Bald"] & (a["Bangs"] | a["Wearing_Hat"])).any():
        raise MmvaeError("attributes: got Bald with Bangs or Wearing_Hat, allowed: Bald alone")
    return a

def _lit(pixels, p):
    "Bytes: the pixels under each face's light."
    gain, across, down = (p[k][:, None, None, None] for k in ["gain", "slope_x", "slope_y"])
    lit = pixels * (gain + across * (_grid / 32 - 1) + down * (_grid / 32 - 1)[:, None])
    return np.clip(lit + .5, 0, 255).astype(np.uint8)


# %%
#| exports
def draw_faces(attributes, # bool (n, 14), columns as in `drawn_attributes`
               seed # names the random stream of all that no attribute names
              ) -> torch.Tensor: # uint8 (n, 3, 64, 64)
    "Draw one face for each row of attributes."
    a = _checked(attributes)
    n, rng = len(a["Bald"]), np.random.default_rng(seed_of("faces", seed))
    c, p, out = _paints(a, n, rng), _nuisances(n, rng), np.empty((n, 3, 64, 64), np.uint8)
    for first in range(0, n, 64):
        rows = slice(first, first + 64)
        some = [{k: v[rows] for k, v in d.items()} for d in (a, c, p)]
        canvas = _Canvas(some[2]["x"], some[2]["y"])
        for part in (_behind, _head, _hair_in_front, _eyes_and_nose, _mouth, _worn):
            part(canvas, *some)
        out[rows] = _lit(canvas.pixels, some[2])
    return torch.from_numpy(out)


# %%
#| fig-cap: "Drawn faces. The attributes are drawn as above, everything else at random."
#| fig-alt: "Three rows of ten drawn faces with different hair, hats, glasses, ties and smiles."
y = sample_attributes(30, "look")
faces = draw_faces(y, "look")
assert faces.shape == (30, 3, 64, 64) and faces.dtype == torch.uint8
assert torch.equal(faces, draw_faces(y, "look"))                       # repeatable
assert not torch.equal(faces, draw_faces(y, "elsewhere"))
fig, ax = plt.subplots(figsize=(10, 3.1))
image_grid(faces, columns=10, ax=ax);

# %% [markdown]
# One attribute at a time: the same person, with brown hair and nothing else, then with each
# attribute in turn.

# %%
#| fig-cap: "The same person, each time with one attribute."
#| fig-alt: "Fourteen pictures of one person, each with one attribute: bald, bangs, big nose ..."
index = {a: i for i, a in enumerate(drawn_attributes)}
hairs = [index[a] for a in hair_states]
one_each = torch.zeros(14, 14, dtype=torch.bool)
one_each[:, index["Brown_Hair"]] = True
one_each[hairs, index["Brown_Hair"]] = False
one_each.fill_diagonal_(True)
same = torch.cat([draw_faces(row[None], 34) for row in one_each])
named = [a.replace("_", " ") for a in drawn_attributes]
rows = {"": same[:7], "with": named[:7], " ": same[7:], "and": named[7:]}
fig = generation_grid(rows, note="data: drawn faces", cell=1.2)

# %% [markdown]
# What can't be drawn is refused.

# %%
for bad in [torch.zeros(2, 14), torch.ones(2, 14), torch.zeros(2, 13)]:
    try: draw_faces(bad, 0)
    except MmvaeError as e: print(e)
    else: raise AssertionError("drawn")


# %% [markdown]
# ## Measuring a face
#
# Since we know where everything is drawn, we can look there. Every measurement compares one patch
# with the same face's own skin (between and below the brows, where nothing else is ever drawn), so
# that tone of skin and light cancel: a moustache is a patch under the nose whose red is well below
# that of the skin. Means over patches change little under blur, which generated images always
# have.

# %%
#| exports
def _patch(x, columns, rows, both=False):
    "Mean colour (n, 3) of a rectangle, or of it and its mirror image."
    (a, b), (c, d) = columns, rows
    mean = x[:, :, c:d, a:b].mean((2, 3))
    return (mean + x[:, :, c:d, 64 - b:64 - a].mean((2, 3))) / 2 if both else mean

def _far(colour, other):
    "How far apart two colours are, light aside: `other` may be up to 15 % darker, 10 % lighter."
    gain = ((colour * other).sum(-1) / (other * other).sum(-1)).clamp(.85, 1.1)
    return (colour - gain[:, None] * other).abs().sum(-1)


# %% [markdown]
# Hair is read where it is free: above the forehead, or at the temples if there is a hat. The
# nearest of the four colours and of the face's own skin (then it is bald) wins. A hat is the only
# thing in its place that is more blue than red.

# %%
#| exports
def _above(x, skin):
    "Evidence for hair, bangs and hat: positive if present."
    temple, crown = _patch(x, (16, 20), (20, 24), both=True), _patch(x, (28, 36), (12, 15))
    brim, fringe = _patch(x, (22, 42), (14, 16)), _patch(x, (28, 36), (19, 21))
    hat = brim[:, 2] - brim[:, 0] - .1
    hair = torch.where(hat[:, None] > 0, temple, crown)
    d = {h: _far(hair, torch.tensor(c, device=x.device) / 255) for h, c in _hair_colours.items()}
    d["Bald"] = _far(crown, skin) + 9 * (hat > 0)
    e = {h: torch.stack([v for k, v in d.items() if k != h]).amin(0) - d[h] for h in hair_states}
    to_hair = temple - skin
    along = ((fringe - skin) * to_hair).sum(1) / (to_hair.square().sum(1) + 1e-4)
    return e | {"Wearing_Hat": hat, "Bangs": torch.where(e["Bald"] > 0, -.5, along - .5)}


# %% [markdown]
# The rest is one line each. Lipstick is the exception, because lips take two shapes: there we take
# the twelve reddest places of the mouth, and ask less of a smile, whose lips are thin.

# %%
#| exports
def _below(x, skin):
    "Evidence for all attributes from the eyes down: positive if present."
    patch = lambda *where: _patch(x, *where) / skin
    cheek, teeth = patch((20, 25), (37, 41), True), patch((28, 36), (47, 50))
    corner, rim = patch((24, 26), (46, 49), True), patch((22, 27), (34, 37), True)
    shirt, coat = _patch(x, (27, 29), (57, 61), True), _patch(x, (18, 22), (59, 63), True)
    e = {"Big_Nose": .91 - patch((27, 30), (37, 40), True)[:, 0],
         "Eyeglasses": .9 - (patch((30, 34), (28, 31))[:, 0] + rim[:, 0]) / 2,
         "Mustache": .85 - patch((27, 37), (43, 45))[:, 0],
         "Rosy_Cheeks": .89 - cheek[:, 1] / cheek[:, 0],
         "Smiling": teeth[:, 1] - corner[:, 1] - .05,
         "Wearing_Necktie": shirt[:, 2] - coat[:, 2] - .25}
    mouth = F.avg_pool2d(x[:, :, 44:54, 23:41], 3, 1)
    red = 1 - mouth[:, 1] / mouth[:, 0] * (skin[:, 0] / skin[:, 1])[:, None, None]
    reddest = red.flatten(1).topk(12).values.mean(1)
    return e | {"Wearing_Lipstick": reddest - torch.where(e["Smiling"] > 0, .34, .4)}


# %%
#| exports
def measure_faces(images # uint8, or float in [0, 1]: (n, 3, 64, 64)
                 ) -> torch.Tensor: # bool (n, 14), columns as in `drawn_attributes`
    "Read every attribute of drawn (or generated) faces back from the pixels."
    x = torch.as_tensor(images)
    if x.ndim != 4 or x.shape[1:] != (3, 64, 64):
        raise MmvaeError(f"images: got shape {tuple(x.shape)}, allowed: (n, 3, 64, 64)")
    x = as_float(x).float().clamp(1 / 255, 1)
    skin = (_patch(x, (30, 34), (24, 27)) + _patch(x, (30, 34), (34, 36))) / 2
    found = _above(x, skin) | _below(x, skin)
    return torch.stack([found[a] > 0 for a in drawn_attributes], 1)


# %% [markdown]
# To see where it looks, we let `_patch` note down every rectangle that it is asked for.

# %%
#| fig-cap: "Where `measure_faces` looks. Dotted: the mouth, of which it takes the twelve reddest places."
#| fig-alt: "A drawn face with glasses, moustache, smile and tie, yellow frames over hair, temples, brows, nose, cheeks, mouth and collar."
looked, own = [], _patch
def noting(x, columns, rows, both=False):
    looked.append((*columns, *rows))
    if both: looked.append((64 - columns[1], 64 - columns[0], *rows))
    return own(x, columns, rows, both)
has = [index[a] for a in ("Eyeglasses", "Mustache", "Smiling", "Wearing_Necktie")]
one = draw_faces(one_each[has].any(0)[None], 34)
_patch = noting; measure_faces(one); _patch = own
ax = image_grid(one, 1, ax=plt.subplots(figsize=(4, 4))[1])
for left, right, top, bottom, line in [(*r, "-") for r in looked] + [(23, 41, 44, 54, ":")]:
    ax.add_patch(plt.Rectangle((left - .5, top - .5), right - left, bottom - top, ls=line,
                               fill=False, ec="yellow"))

# %% [markdown]
# How often is it right? On fresh drawings; after a Gaussian blur of one pixel, with noise of
# deviation 0.05 on top; after a blur of two pixels; and, as the other end of the scale, against the
# attributes of *another* face. There the answer should be right as often as two random faces agree,
# which is $p^2 + (1 - p)^2$ for an attribute of share $p$.

# %%
y = sample_attributes(1500, "check")
x = draw_faces(y, "check")
noise = torch.randn(x.shape, generator=generator("faces"))
blurred = {s: torch.from_numpy(gaussian_filter(x / 255, (0, 0, s, s))) for s in (1, 2)}
others = torch.randperm(len(y), generator=generator("others"))
tries = {"drawn": (x, y), "blur 1": (blurred[1], y),
         "blur 1 and noise": ((blurred[1] + .05 * noise).clamp(0, 1), y),
         "blur 2": (blurred[2], y), "shuffled": (x, y[others])}
right = pd.DataFrame({k: (measure_faces(a) == b).double().mean(0) for k, (a, b) in tries.items()},
                     index=drawn_attributes)
p = y.double().mean(0).numpy()
assert right[["drawn", "blur 1"]].min().min() > .99 and right["blur 1 and noise"].min() > .95
assert abs(right["shuffled"] - p**2 - (1 - p)**2).max() < .05
right.round(3)

# %% [markdown]
# Up to a blur of one pixel the measurement is as good as the truth. At two pixels the nose and the
# lips begin to melt into their surroundings: of a very blurred face "no big nose" is a weak
# statement.

# %% [markdown]
# The rendered splits are drawn from streams of their own and kept in the cache. The file's name
# holds a fingerprint of 64 faces drawn afresh, so a change of the drawing code is noticed.

# %%
#| exports
face_counts = {"train": 6000, "validation": 500, "test": 1500}

def rendered_faces(split # train, validation or test
                  ): # images (n, 3, 64, 64) uint8 and their attributes, bool (n, 14)
    "The drawn faces of one split, from the cache or drawn anew."
    y = sample_attributes(face_counts[one_of("split", split, splits)], split)
    few = draw_faces(y[:64], split)              # they look different if the drawing has changed
    path = cache_dir("data")/f"faces-{split}-{digest([len(y), few.tolist()])}.npz"
    x = cached_arrays(path, lambda: {"x": draw_faces(y, split).numpy()})["x"]
    return torch.from_numpy(x), y


# %%
images, attributes = rendered_faces("validation")
assert images.shape == (500, 3, 64, 64) and attributes.shape == (500, 14)
assert (measure_faces(images) == attributes).double().mean() > .999

# %% [markdown]
# ## Recap
#
# - Attributes are sampled in company, and a face is painted from back to front; everything no attribute names is drawn at random.
# - A cover in proportion to the distance from the edge (Eq. 1) paints ellipses without jagged edges.
# - Every attribute is measured beside the face's own skin. The measure is right on drawings, also blurred by a pixel, and at chance on the attributes of another face.
#
# ## Exercises
#
# 1. Why does `_cover` in Eq. 1 not simply use $1 - \sqrt f$ as the distance?
# 2. Draw 500 faces twice from the same attributes with different seeds. What does a model need $z$
#    for that the text can't tell it? Measure how much of the variance of the pixels that is.
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. $1 - \sqrt f$ is a distance in units of the radius, and the radius differs with the direction:
#    an edge would be crisp at the ends of a flat ellipse and blurred along it. The gradient turns
#    it into pixels.
# 2. `a, b = draw_faces(y, 1) / 255, draw_faces(y, 2) / 255`; half of `(a - b).square().mean()` is
#    the variance that the attributes leave, to be compared with `a.var(0).mean()`. It is a
#    large part: ground, clothes, skin and length of hair fill more pixels than a moustache.
# :::
#
# ## References
#
# - Z. Liu, P. Luo, X. Wang, X. Tang, [Deep learning face attributes in the wild](https://arxiv.org/abs/1411.7766), ICCV 2015: the names of the attributes.
