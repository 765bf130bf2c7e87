# %% [markdown]
# # Street numbers: a renderer
#
# > `street_numbers` draws house numbers from fixed seeds, in SVHN's stead.
#
# ::: {.callout-note}
# ## You will learn
#
# - how a rendered street number is made: shape, projection, colour, light;
# - how close the rendered ones come to the photographed ones, and in what they are easier;
# - why street numbers are so much harder than MNIST: a digit may be brighter or darker than its ground.
#
# Runs in under half a minute on a laptop CPU. This is workshop: nothing of it is needed to follow the course.
# :::

# %% [markdown]
# ![Drawing: four squares: a white glyph, the same tilted with parts of neighbours, in two muted colours, and with a slope of light.](drawings/rendered.svg)

# %%
#| default_exp datasets.street_numbers

# %%
#| export
import functools, math
from pathlib import Path
import numpy as np
import torch
from mmvae_nb.core import *
from mmvae_nb.data import splits

# %%
import pandas as pd
from matplotlib import pyplot as plt
from sklearn.linear_model import RidgeClassifier
from mmvae_nb.data import as_float

# %% [markdown]
# ## Why rendered, and why muted
#
# SVHN, the photographed street numbers, can't be carried in a package. So that every lesson runs
# without a download, we draw something like them: a digit in one of several typefaces near the
# centre, neighbours cut off by the border in most images, a slight tilt and perspective, blur,
# noise, a gentle change of light, and muted colours.
#
# Muted matters. In our trials with vivid random colours a VAE of this size learnt the colours and
# nothing of the digit. Real walls and plates are nearly grey anyway: in SVHN the mean of the red or
# the blue channel is typically within some 12 of 255 of the image's grey mean. We take ink and
# ground at least 55 of 255 apart in grey, either one the darker, and give each a colour cast,
# mostly between warm and cold, with a deviation of about 12 in red and in blue.
#
# ## Shapes
#
# Each glyph is drawn once, large, and kept as a mask.

# %%
#| exports
_typefaces = ["DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
              "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSerif", "DejaVuSerif-Bold",
              "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic",
              "cmb10", "cmss10", "cmtt10"]   # files that matplotlib carries

def _glyph(face, character):
    "A mask of one character, cut to its ink."
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont
    path = Path(matplotlib.get_data_path())/"fonts"/"ttf"/f"{face}.ttf"
    font = ImageFont.truetype(str(path), 96, layout_engine=ImageFont.Layout.BASIC)
    mask = Image.new("L", (160, 160))
    ImageDraw.Draw(mask).text((40, 20), character, fill=255, font=font)
    return mask.crop(mask.getbbox())

@functools.lru_cache(maxsize=None)
def _glyphs():
    "Masks of the ten digits in every typeface."
    return [[_glyph(face, d) for d in "0123456789"] for face in _typefaces]


# %%
#| fig-cap: "The digit 4 in the typefaces used for rendered street numbers."
#| fig-alt: "Fifteen white digits 4 in sans, serif, monospaced, bold and slanted faces."
fig, axes = plt.subplots(1, len(_typefaces), figsize=(9, 1))
for ax, row in zip(axes, _glyphs()): ax.imshow(row[4], cmap="gray"); ax.axis("off")


# %% [markdown]
# One image's shape is drawn at twice the size. The digit and its neighbours are put side by side;
# digits of a house number stand close together, which is why a crop of one shows parts of others.

# %%
#| exports
def _lay_out(p, digit, size):
    "A wide canvas with the digit in the middle and its neighbours; `p`: this image's numbers."
    from PIL import Image
    canvas = Image.new("L", (8 * size, 4 * size))
    def put(d, x, side):   # centred on x (side 0), to the right (1) or left (-1) of x
        glyph, height = _glyphs()[p["face"]][d], int(2 * p["height"])
        width = max(int(height * glyph.width / glyph.height * p["stretch"]), 5)
        corner = int(x - width * (1 - side) / 2), 2 * size - height // 2
        canvas.paste(255, corner, glyph.resize((width, height)))
        return width
    beside = put(digit, 4 * size, 0) / 2 + 2 * p["gap"]
    if p["left"]: put(p["left_digit"], 4 * size - beside, -1)
    if p["right"]: put(p["right_digit"], 4 * size + beside, 1)
    return canvas


# %% [markdown]
# Then one projective map tilts, slants and foreshortens. It is a 3 by 3 matrix that leads from a
# place in the image back to a place on the canvas: shift the digit's centre to the origin, tilt
# and slant, shift to the centre of the canvas. The lower row makes one side a little larger than
# the other.

# %%
#| exports
def _projection(p, size):
    "Eight numbers that lead from image places to canvas places, both at twice the size."
    c, s = math.cos(p["tilt"]), math.sin(p["tilt"])
    there = np.array([[1, 0, 4 * size], [0, 1, 2 * size], [0, 0, 1]])
    turn = np.array([[c, p["slant"] * c - s, 0], [s, p["slant"] * s + c, 0],
                     [p["lean_x"] / size, p["lean_y"] / size, 1]])
    here = np.array([[1, 0, -size - 2 * p["dx"]], [0, 1, -size - 2 * p["dy"]], [0, 0, 1]])
    m = there @ turn @ here
    return (m / m[2, 2]).flatten()[:8]

def _mask(p, digit, size):
    "Ink (0 none to 1 full) of one street number."
    from PIL import Image, ImageFilter
    canvas = _lay_out(p, digit, size)
    image = canvas.transform((2 * size, 2 * size), Image.Transform.PERSPECTIVE,
                             _projection(p, size), Image.Resampling.BILINEAR).reduce(2)
    image = image.filter(ImageFilter.GaussianBlur(float(p["blur"])))
    return np.asarray(image, dtype=np.float32) / 255


# %% [markdown]
# ## Light and colour
#
# The numbers behind all shapes are drawn at once, and so are light and colour. The light is a
# slope across the image plus clouds: a coarse grid of 4 by 4 random greys, interpolated.

# %%
#| exports
def _shapes(n, rng):
    "The random numbers behind the shapes of `n` street numbers: a dict of arrays."
    u, g = lambda a, b: rng.uniform(a, b, n), lambda s: rng.normal(0, s, n)
    return dict(face=rng.integers(len(_typefaces), size=n), height=u(20, 29), stretch=u(.8, 1.15),
                left=u(0, 1) < .6, right=u(0, 1) < .6, gap=u(0, 4),
                left_digit=rng.integers(10, size=n), right_digit=rng.integers(10, size=n),
                tilt=g(.07), slant=g(.1), dx=g(1.2), dy=g(1.2), lean_x=g(.04), lean_y=g(.04),
                blur=u(.4, 1.6))

def _lighting(n, rng, size):
    "A gentle slope of light plus clouds, grey: `(n, size, size)`."
    line, grid = np.linspace(-.5, .5, size), np.linspace(0, 3, size)
    slope, clouds = rng.normal(0, 10, (2, n, 1, 1)), rng.normal(0, 4, (n, 4, 4))
    lift = np.maximum(0, 1 - abs(grid[:, None] - np.arange(4)))   # linear interpolation
    return slope[0] * line + slope[1] * line[:, None] + lift @ clouds @ lift.T


# %%
#| exports
def _ground_and_ink(n, rng):
    "Ground and ink colours of `n` images, each `(n, 3, 1, 1)`."
    apart = np.minimum(55 + rng.exponential(40, n), 200) * rng.choice([-1, 1], n)   # ink - ground
    ground = rng.normal(116, 50, n) - .3 * apart
    ground = np.clip(ground, 10 + np.maximum(0, -apart), 245 - np.maximum(0, apart))
    warm = np.array([.8, 0, -.8])                                # warm to cold
    bluish = np.array([-1, -1, 3])                               # SVHN is a little blue
    cast = lambda: rng.normal(0, 14, (n, 1)) * warm + rng.normal(0, 4, (n, 3)) + bluish
    return [(grey[:, None] + cast())[..., None, None] for grey in (ground, ground + apart)]


# %% [markdown]
# ## A street number
#
# Everything together: ground where there is no ink, ink where there is, then light and noise. The
# random numbers come from a stream named after the split. Two splits therefore share no image.
# (They do share the typefaces. A split by typeface would be another, harder task.)

# %%
#| exports
def render_street_numbers(digits, # whole numbers 0..9: the digit of each image
                          *names, # names of the random stream
                          size=32 # pixels on a side
                         ): # uint8 array (n, 3, size, size)
    "Draw one street number for each digit."
    for d in np.asarray(digits).tolist(): in_range("digits", d, 0, 9, whole=True)
    rng, n = np.random.default_rng(seed_of("street numbers", *names)), len(digits)
    p = _shapes(n, rng)
    ink = np.stack([_mask({k: v[i] for k, v in p.items()}, int(digits[i]), size)
                    for i in range(n)])[:, None]
    ground_rgb, ink_rgb = _ground_and_ink(n, rng)
    image = ground_rgb * (1 - ink) + ink_rgb * ink + _lighting(n, rng, size)[:, None]
    image += rng.normal(0, 1, image.shape) * rng.uniform(1, 5, (n, 1, 1, 1))
    return np.clip(image, 0, 255).round().astype(np.uint8)


# %%
some = render_street_numbers(np.arange(40) % 10, "look")
assert some.shape == (40, 3, 32, 32) and some.dtype == np.uint8
assert np.array_equal(some, render_street_numbers(np.arange(40) % 10, "look"))      # repeatable
assert not np.array_equal(some, render_street_numbers(np.arange(40) % 10, "elsewhere"))

# %%
#| fig-cap: "Rendered street numbers, 0 to 9 from left to right. The digit in the middle counts."
#| fig-alt: "4 by 10 small colour images, each with a digit in the middle and parts of others."
fig, axes = plt.subplots(4, 10, figsize=(9, 3.7))
for ax, x in zip(axes.flat, some): ax.imshow(x.transpose(1, 2, 0)); ax.axis("off")

# %% [markdown]
# Rendering all 5,400 images takes a few seconds, so they are kept in the cache, under a name that
# holds a fingerprint of the drawing code. A damaged cache file is drawn anew.

# %%
#| exports
street_counts = {"train": 4000, "validation": 400, "test": 1000}

def street_numbers(split # train, validation or test
                  ): # images (n, 3, 32, 32) uint8 and their digits
    "The rendered street numbers of one split, from the cache or drawn anew."
    import matplotlib, PIL
    n = street_counts[one_of("split", split, splits)]
    versions = [PIL.__version__, matplotlib.__version__, np.__version__]
    key = digest([n, versions], ["datasets.street_numbers"])
    path = cache_dir("data")/f"street-{split}-{key}.npz"
    digits = np.arange(n) % 10
    x = cached_arrays(path, lambda: {"x": render_street_numbers(digits, split)})["x"]
    return torch.from_numpy(x), torch.from_numpy(digits)


# %% [markdown]
# ## How close are they to the real ones?
#
# Close in the plain statistics, and visibly cleaner to the eye. The table sets the rendered test
# images beside the first 10,000 photographs of SVHN's test set (measured once and written down
# here).

# %%
x, y = street_numbers("test")
v = x.numpy() / 255
ours = [*v.mean((0, 2, 3)), *v.std((0, 2, 3))]
ours += [np.median(v.mean(1).std((1, 2))), abs(np.diff(v)).mean()]
svhn = [.454, .454, .470, .220, .227, .229, .112, .032]
names = [f"{s} of {c}" for s in ["mean", "deviation"] for c in ["red", "green", "blue"]]
names += ["median deviation within an image", "mean step between neighbouring pixels"]
assert np.allclose(ours, svhn, atol=.03)
pd.DataFrame({"rendered": ours, "SVHN": svhn}, index=names).round(3)


# %% [markdown]
# One property of street numbers deserves a look, because it explains why they are so much harder
# than MNIST: the digit may be brighter *or* darker than its ground. A linear classifier on the
# pixels can't say "different from the ground", so it does hardly better than chance. Give it the
# distance of each pixel from the image's median grey instead, and it reads most of the digits.

# %%
def accuracy(features):
    (a, digit_a), (b, digit_b) = street_numbers("train"), street_numbers("test")
    model = RidgeClassifier(30.).fit(features(a), digit_a)
    return model.score(features(b), digit_b)

def grey(x): return as_float(x).mean(1).flatten(1)
def distance(x): return (grey(x) - grey(x).median(1, keepdim=True).values).abs()

raw, unsigned = accuracy(grey), accuracy(distance)
assert raw < .3 and unsigned > .7
print(f"chance 0.10, pixels {raw:.2f}, distance from the median grey {unsigned:.2f}")

# %% [markdown]
# ## Recap
#
# - A rendered street number is a glyph, a projective map, two muted colours and some light; all from one seed.
# - The statistics of the colours match SVHN's, the task is easier: numbers from the two are not to be compared.
# - A digit is brighter *or* darker than its ground, so a linear map of the pixels says little about it.
#
# ## Exercises
#
# 1. Replace the `abs()` in `distance` by nothing. Why does the accuracy fall to that of the
#    pixels?
# 2. Draw the numbers with a colour cast of 60 instead of 14 and look at them. What would a small VAE learn first?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. Without it the sign of the contrast is back: the mean image of a class is nearly
#    flat grey, because bright and dark digits cancel, and a linear model sees little else.
# 2. The colours: they then explain most of the variance of the pixels, and the shape of a digit little of it.
# :::
#
# ## References
#
# - Y. Netzer et al., [Reading digits in natural images with unsupervised feature
#   learning](http://ufldl.stanford.edu/housenumbers/), NIPS workshop 2011: SVHN.
# - The typefaces are [DejaVu](https://dejavu-fonts.github.io/), STIX and Computer Modern, as matplotlib carries them.
