# %% [markdown]
# # Playground
#
# > Draw a digit, type a word, choose a street number: trained models make the other views, here in your browser.
#
# ![Drawing: a digit starts a bell; the bell is decoded into all views and compared with all views of the data; the gradient of that comparison goes to a refiner, which moves the bell.](drawings/loop.svg)
#
# ## What is given
#
# Any view that is ticked is given to the models; the others they have to imagine.
#
# <div data-playground="given"><p class="pg-off">Here stand a pad to draw on and the other views, once the page's script runs: it needs the built site (a web server or the opened file) and JavaScript. In JupyterLab, see the pictures further down.</p></div>
#
# ## Every view, by each method
#
# One row for each method, all with the same noise. At *mean*, $z$ is the mean of $q(z \mid \text{given})$; each other place of the slider is another sample. The street number of the mean is grey, because a digit says nothing of its colours: the mean lies between dark on light and light on dark. Pale letters are those the model is not sure of.
#
# <div data-playground="views"></div>
#
# With two or three views given, each method combines them by its own rule: the product of its encoders' or students' Gaussians ([lesson 05](05_mopoe.ipynb), [lesson 10](10_distillation.ipynb)).
#
# *What to try:* give a digit and another word; the views can't both be right, so whom does each method believe? Give the word alone and move the slider: the digits change their hand, and should not change their class.
#
# ## The refinement, step by step
#
# The iterative teacher starts from each given view alone ($t = 0$) and climbs the ELBO of everything that is given ([lesson 09](09_multimodal_iterative.ipynb)). Each row is one start: the 20 coordinates of $q_t$ (a line at the mean, a bar of one standard deviation to each side), and what it generates. Below the buttons is the negative ELBO, with four samples of $z$ that are the same at every $t$.
#
# <div data-playground="refine"></div>
#
# A row that starts from the word knows nothing of the hand that drew the digit; the gradient brings it in, so its digit comes to look like yours. If the word contradicts the digit, watch which of the two gives way.
#
# <script src="site/playground/playground.js"></script>

# %% [markdown]
# ## The same in Python
#
# The page computes what the package computes. Its models were trained on real digits and street numbers for 10,000 updates, their students for 5,000 (scale `long` of [lesson 14](14_reproduce.ipynb)). One row for each model; a digit of each class is given, and one sample of $z$ is drawn, with the same noise for all. (The digits are of the set that the lessons use, so the models may have seen them in training; nothing is measured here.)

# %%
import matplotlib.pyplot as plt
from mmvae_nb.core import generator
from mmvae_nb.plotting import *
from mmvae_nb.pretrained_models import pretrained
from mmvae_nb.datasets.digits import mnist_svhn_text

set_style()
data = mnist_svhn_text("test")
first = [data.labels["mnist"].tolist().index(d) for d in range(10)]
digits = data.pools["mnist"][first]
models = {n: pretrained(f"real_{n}") for n in ("mopoe", "jmvae_student", "iterative_student")}

# %%
#| fig-cap: "Ten handwritten digits, and the street numbers that each method makes of them (one sample of q)."
#| fig-alt: "A row of ten handwritten digits from 0 to 9, and below it a row of generated street numbers for each method."
fig, axes = plt.subplots(1 + len(models), figsize=(7, 0.85*(1 + len(models))))
image_grid(digits, 10, "given", axes[0])
for ax, (name, model) in zip(axes[1:], models.items()):
    made = model.generate({"mnist": digits}, to="svhn", sample=True, generator=generator("a still"))
    image_grid(made["svhn"], 10, method_name(name), ax)

# %% [markdown]
# Look for the number that was given. MoPoE's street numbers are nearly grey, and so are its samples, not only its mean; of the students' many can be read and some are another number ([lesson 11](11_findings.ipynb) counts them).
#
# And the refinement from a digit and its word, the negative ELBO at $t = 0$ and 8, from either start. (This three is not the one that the pad above begins with, so these are not the numbers of its first rows.)

# %%
from mmvae_nb.multimodal_iterative import nelbo_over_t
teacher = pretrained("real_iterative")
words = data.modalities["text"].encode(["three"])
batch = {"mnist": digits[3:4], "text": words}
for start in batch:
    path = nelbo_over_t(teacher, batch, start, steps=8)
    print(f"from {start:5}: {path[0]:6.0f} -> {path[-1]:6.0f} nats")

# %% [markdown]
# ## How it works
#
# **The models** are the ones that `pretrained` opens (lesson [02j](02j_pretrained.ipynb)); `make playground` writes them for the page. Each is a graph in the ONNX format: encoders, rule of combination, decoders. The step of the refinement is a graph as well, and the gradient of the ELBO is part of it, because it is traced from the package's `elbo_gradient` operation by operation. The script of the page holds no derivative and no network.
#
# **The weights** are rounded to 8 bits with a scale for each row, so that the page stays small. The package with weights so rounded gives the same numbers as the page; the tests hold the two together to a thousandth.
#
# **What runs them.** Three libraries were looked at in November 2026. *onnxruntime-web* 1.30.0 (September 2026, a release every month or two; 14 MB of WebAssembly, 3.7 MB when packed) takes the graph as PyTorch's exporter writes it. *TensorFlow.js* 4.22.0 (no release since 2024; 1.5 MB, and 0.4 MB of WebAssembly) and *jax-js* 0.1.25 (September 2026, young; 0.6 MB) have gradients of their own, but every network would have to be written again for them. A small decoder, batch 16, one thread: 34 ms of CPU time in onnxruntime-web, 26 ms in TensorFlow.js; jax-js's WebAssembly did not finish 30 passes within a minute. The first was chosen: what is not written twice can't differ.
#
# **Offline.** A page opened as a file may load scripts but no data, so graphs, weights and runtime are packed into scripts beside it; one thread, no worker, nothing from outside. No other page loads them.
#
# **A drawn digit** is treated as the training digits were: scaled into a box of 20 pixels, drawn anew with a pen of constant width and soft edges, and centred by its centre of mass in 28 by 28.
#
# ## References
#
# - [ONNX Runtime Web](https://onnxruntime.ai/docs/tutorials/web/): the runtime of this page, MIT licence.
# - Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, [*Gradient-based learning applied to document recognition*](http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf), 1998: how the digits were scaled and centred.
