# %% [markdown]
# # The story with Gaussians
#
# > One hidden temperature, two thermometers: the whole method of this course with nothing but bells.
#
# ::: {.callout-note}
# ## You will learn
#
# - what *inference* is, and how a missing view spoils it;
# - what the ELBO is, and what an encoder loses by it;
# - the method of this course: climb from one view by the gradient of all, then teach a student.
#
# No neural network and no training: every number on this page has a formula. Runs in about ten seconds on a laptop CPU.
# :::

# %%
#| default_exp linear_gaussian

# %%
#| code-fold: true
#| code-summary: "Imports"
import torch
import matplotlib.pyplot as plt
from mmvae_nb.plotting import ROLE_COLOURS, set_style

# %% [markdown]
# ## One hidden thing, two views
#
# ![Drawing: one hidden z at the top; arrows lead from it through three decoders down to a handwritten seven, a street number and the word seven.](drawings/model.svg)
#
# Things are seen in several ways. A seven may come as a handwritten digit, as a street number, as a word. What these *views* (or *modalities*) share is not seen itself: it is a hidden, or *latent*, variable $z$. If we knew $z$, we could draw every view.
#
# To see through all of it we take the smallest case. The hidden thing is one number: how warm it is today, in units of what is usual for the season (0 is an average day).
# It is seen by two thermometers. The first is cheap and often wrong by a whole unit; the second is good. Here are 300 days:

# %%
noise = torch.tensor([1.0, 0.4])                       # how far the two thermometers are off
z = torch.randn(300, generator=torch.Generator().manual_seed(0))
x = z[:, None] + noise*torch.randn(300, 2, generator=torch.Generator().manual_seed(1))
assert abs((x - z[:, None]).std(0) - noise).max() < .1

# %%
#| code-fold: true
#| code-summary: "Drawing"
#| fig-cap: "300 days. What both thermometers say goes up with the temperature; the first scatters more."
#| fig-alt: "Two scatter plots against the hidden temperature: a broad cloud for the cheap thermometer, a narrow one for the good one."
DATA, TEACHER, STUDENT, GRADIENT = ROLE_COLOURS.values()
set_style()
fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.7), sharey=True)
for m, ax in enumerate(axes):
    ax.scatter(z, x[:, m], s=8, color=DATA, alpha=.6)
    ax.set(xlabel="hidden temperature z", title=["cheap: $x_1$", "good: $x_2$"][m])
axes[0].set_ylabel("reading");


# %% [markdown]
# In formulas, with $\mathcal N(\text{mean}, \text{variance})$ for a bell and $v_m$ for the variance of a thermometer's noise ($v_1 = 1$, $v_2 = 0.16$):
#
# $$
# \begin{aligned}
# p(z) = \mathcal N(0, 1), \quad p(x_m \mid z) = \mathcal N(z, v_m).
# \end{aligned}\tag{1}
# $$
#
# $p(z)$, what is known before anything is seen, is the *prior*. $p(x_m \mid z)$ leads from the hidden to the seen: in later lessons this is a neural network, the *decoder*.
#
# ## Inference: from what is seen to what is hidden
#
# One day the cheap thermometer says 1.0, the good one 1.6. How warm is it? Every $z$ is possible, but some are more plausible than others. A picture of plausibility is a bell:

# %%
def posterior(x, v):
    "Mean and variance of p(z | x) from lists of readings and of noise variances; both may be empty."
    precision = 1 + sum(1/vm for vm in v)                   # the 1 is the prior's
    return sum(xm/vm for xm, vm in zip(x, v))/precision, 1/precision

v, today = [1., .16], [1.0, 1.6]
truth = posterior(today, v)
print(f"mean {truth[0]:.2f}, variance {truth[1]:.3f}")

# %%
#| code-fold: true
#| code-summary: "Drawing"
#| fig-cap: "What is known of z: before, from either thermometer alone, and from both."
#| fig-alt: "A broad bell at zero, a narrower one at 0.5, a narrow one at 1.4, and the narrowest and highest at 1.3."
grid = torch.linspace(-3, 4, 1401)
bell = lambda q: torch.exp(-(grid - q[0])**2/2/q[1])/(2*torch.pi*q[1])**.5
fig, ax = plt.subplots(figsize=(6.4, 2.8))
for said, given, style in [("before (prior)", [], dict(color="0.5", ls=":")),
                           ("from $x_1$ alone", [0], dict(color=DATA, ls="--")),
                           ("from $x_2$ alone", [1], dict(color=DATA, ls="-.")),
                           ("from both", [0, 1], dict(color="k"))]:
    ax.plot(grid, bell(posterior([today[m] for m in given], [v[m] for m in given])), label=said, **style)
ax.set(xlabel="temperature z", ylabel="plausibility"); ax.legend();

# %% [markdown]
# Each thermometer makes the bell narrower, the good one much more so. This is *Bayes' rule*: multiply the prior by how well each $z$ explains what is seen. The result is the *posterior*, and finding it is *inference*.
# A product of bells is a bell, and it is easiest to write with *precisions*, one over the variance, because precisions add up. For any subset $A$ of the views:
#
# $$
# \begin{aligned}
# p(z \mid x_A) &= \mathcal N\Big( \frac{\sum_{m \in A} x_m/v_m}{P_A},\; \frac{1}{P_A} \Big), \\
# P_A &= 1 + \sum_{m \in A} \frac{1}{v_m}.
# \end{aligned}\tag{2}
# $$
#
# Is it right? Multiply the bells on a fine grid, and look:

# %%
#| code-fold: true
#| code-summary: "Check"
for given in [[], [0], [1], [0, 1]]:
    product = torch.exp(-grid**2/2 - sum((today[m] - grid)**2/v[m]/2 for m in given))
    weight = product/product.sum()
    mean = (weight*grid).sum()
    mine = posterior([today[m] for m in given], [v[m] for m in given])
    assert abs(mean - mine[0]) < .02 and abs((weight*(grid - mean)**2).sum() - mine[1]) < .03


# %% [markdown]
# ## How good is a guess? The ELBO
#
# With neural networks in place of (1) there is no formula (2). Then one *guesses* a bell $q(z)$ and asks how good it is. A good bell does two things. It lies where $z$ explains what is seen; and it does not claim more than the data supports, so it stays near the prior. The two pull in different directions:
#
# ![Drawing: a bell between the broad prior on the left, to which one dashed arrow pulls it, and the place that explains x on the right, to which another pulls it.](drawings/vae.svg)
#
# How well it explains, less what it claims, is one number, the *evidence lower bound* or ELBO. Its unit is the *nat*, the unit of natural logarithms; one nat more means the data are $e$, about 2.7, times as probable. Let us draw it first: for bells of three widths, moved from left to right.

# %%
def explains(x, v, q):
    "The mean over z ~ q of log p(x | z), in nats."
    mean, var = torch.as_tensor(q[0]), torch.as_tensor(q[1])
    log = lambda vm: torch.log(torch.tensor(2*torch.pi*vm))
    return sum(-(log(vm) + ((xm - mean)**2 + var)/vm)/2 for xm, vm in zip(x, v))

def kl(q, p=(0., 1.)):
    "KL(q || p) of two bells, (mean, variance) each: how far q is from p, in nats."
    ratio = torch.as_tensor(q[1]/p[1])
    return (ratio - 1 - ratio.log() + (q[0] - p[0])**2/p[1])/2

def elbo(x, v, q): return explains(x, v, q) - kl(q)


# %%
#| code-fold: true
#| code-summary: "Drawing"
#| fig-cap: "The ELBO of today's two readings. Only one bell reaches the ceiling: the posterior from both."
#| fig-alt: "Three hills over the mean of q; the one with the posterior's width touches a dashed ceiling, the others stay below."
log_p = elbo(today, v, truth)
fig, ax = plt.subplots(figsize=(6.4, 2.8))
for width, style in [(.9, "--"), (truth[1]**.5, "-"), (.15, ":")]:
    ax.plot(grid, elbo(today, v, (grid, width**2)), style, color=TEACHER, label=f"$\\sigma$ = {width:.2f}")
ax.axhline(log_p, color="k", ls="--", lw=1); ax.text(-.2, log_p + .15, "log p(x)")
ax.plot(truth[0], log_p, "k*", ms=11)
ax.set(xlabel="mean of q", ylabel="ELBO (nats)", xlim=(-.3, 3.3), ylim=(-11, -1.5)); ax.legend(loc="lower center");

# %% [markdown]
# There is a ceiling, and it is $\log p(x)$: how plausible the model finds this day's two readings at all. The drawing in a formula, with $\mathbb E_q$ for the mean over $z$ drawn from $q$:
#
# $$
# \begin{aligned}
# \mathcal L(x; q) &= \underbrace{\mathbb E_q[ \log p(x_1 \mid z) + \log p(x_2 \mid z) ]}_{\text{explain all views}} \\
#   &\quad - \underbrace{\mathrm{KL}(q \,\|\, p(z))}_{\text{claim no more than needed}} \\
#   &= \log p(x) - \mathrm{KL}\big(q \,\|\, p(z \mid x)\big), \quad x = (x_1, x_2).
# \end{aligned}\tag{3}
# $$
#
# $\mathrm{KL}(q \,\|\, p)$ is the *Kullback-Leibler divergence*, $\mathbb E_q[\log q(z) - \log p(z)]$: zero if the two are the same, and larger the less alike they are. So the last line says: **the ELBO falls short of its ceiling by the distance of the guess from the truth.** We can't see that distance, but we can compute the ELBO, and when it rises the distance falls.
# (Why the last line? By Bayes' rule $p(z)\, p(x_1 \mid z)\, p(x_2 \mid z) = p(x_1, x_2)\, p(z \mid x_1, x_2)$. Take logarithms, the mean over $q$, and subtract $\mathbb E_q \log q$ on both sides.)

# %%
#| code-fold: true
#| code-summary: "Check"
for q in [(0., 1.), (1., .3), (2., .05)]:
    assert abs(elbo(today, v, q) - (log_p - kl(q, truth))) < 1e-5
both = torch.tensor([[1 + v[0], 1.], [1., 1 + v[1]]])           # the covariance of x_1 and x_2
dense = torch.distributions.MultivariateNormal(torch.zeros(2), both)
assert abs(dense.log_prob(torch.tensor(today)) - log_p) < 1e-4

# %% [markdown]
# ## What an encoder loses
#
# To find the best bell for each day anew is slow, so one trains an *encoder*: one function that answers for every $x$ at once. The work is shared out over all days, *amortized*. But one function of limited size can't be right for every day. Ours is as limited as can be: a single weight $a$, the same for both thermometers, for the mean; the variance, which is the same on all days, is given to it as it should be.

# %%
a = torch.linspace(0, 1, 1001)
needed, var = torch.tensor([1/v[0], 1/v[1]])*truth[1], truth[1]       # the weights of eq. (2)
spread = torch.tensor([[1 + v[0], 1.], [1., 1 + v[1]]])
off = a[:, None] - needed                                             # error of each weight
loss = (off @ spread*off).sum(1)/var/2                                # mean KL over all days
best_a = a[loss.argmin()].item()
encoder = lambda x: (best_a*(x[0] + x[1]), var)
print(f"best weight {best_a:.2f}; KL to the truth: {loss.min():.2f} nats in the mean, "
      f"{kl(encoder(today), truth):.2f} today")

# %%
#| code-fold: true
#| code-summary: "Drawing"
#| fig-cap: "Ten days: the encoder's means (orange) and the right ones (black). The best single weight still misses."
#| fig-alt: "Ten pairs of points on ten rows, orange beside black, joined by grey lines of different lengths."
fig, ax = plt.subplots(figsize=(6.4, 2.6))
for row, day in enumerate(x[:10]):
    right, said = posterior(day, v)[0], encoder(day)[0]
    ax.plot([right, said], [row, row], color="0.7")
    ax.plot(right, row, "k*", ms=9); ax.plot(said, row, "o", color=TEACHER)
ax.set(xlabel="mean of z", ylabel="day", yticks=[]);

# %% [markdown]
# What the encoder loses against the best bell, in nats of ELBO, is the **amortization gap**: here 0.43 nats in the mean over all days, and as much today. (A second loss, the *approximation gap*, comes from a family of bells that doesn't hold the truth; with one latent there is none. We meet it below.)
#
# ## A view is missing
#
# ![Drawing: a joint encoder with three inputs. Two are empty, dashed squares; only the word is there. Its answer is a bell away from the true one.](drawings/hole.svg)
#
# Now the good thermometer is away for repair. The encoder was made for both: what shall stand in for $x_2$? Suppose somebody puts in 0, "no data", or the average. To be fair we take the *best* encoder, the exact posterior (2).
#
# ::: {.callout-tip collapse="true"}
# ## Predict, then open: which answer is further from the truth on today's readings: (a) the exact encoder with $x_2 = 0$, (b) the exact posterior from $x_1$ alone, (c) the prior, which has seen nothing?
#
# The prior (9.9 nats), then the filled hole (6.1), then $x_1$ alone (3.7). A hole filled with 0 is not missing data but *wrong data*: the encoder believes that the good thermometer said 0, and is as sure as if it had. On days when the good thermometer would have said about 0 this does no harm; but nobody can tell which days these are.
# :::

# %%
imputed = posterior([today[0], 0.], v)
alone = posterior(today[:1], v[:1])
guesses = {"prior": (0., 1.), "both, x2 filled with 0": imputed, "from x1 alone": alone,
           "encoder of both": encoder(today), "exact, from both": truth}
{said: round(float(kl(q, truth)), 2) for said, q in guesses.items()}


# %%
#| code-fold: true
#| code-summary: "Drawing"
#| fig-cap: "All guesses are judged by one number, the ELBO of both readings."
#| fig-alt: "Five dots on a line: the prior far left, then the filled hole, x1 alone, the encoder of both, and the exact posterior at the right end."
def on_a_line(guesses, colours=None):
    "The guesses' ELBOs of both readings as dots on one line each, the ceiling dashed."
    fig, ax = plt.subplots(figsize=(6.4, .5 + .42*len(guesses)))
    for row, (said, q) in enumerate(guesses.items()):
        ax.plot(elbo(today, v, q), row, "o", ms=9, color=(colours or {}).get(said, TEACHER))
    ax.axvline(log_p, color="k", ls="--", lw=1)
    ax.set(xlabel="ELBO of both readings (nats)", yticks=range(len(guesses)), yticklabels=guesses)
on_a_line(guesses, {"prior": "0.5", "exact, from both": "k"})


# %% [markdown]
# This picture is the thesis of the talk that the course follows. All these answers, also those from one view, are guesses at *one* truth, the posterior from everything. So the loss by a missing view is a part of the amortization gap, and whatever closes that gap may help.
#
# ## Climb from one view by the gradient of all
#
# ![Drawing: a digit starts a bell; the bell is decoded into all views and compared with all views of the data; the gradient of that comparison goes to a refiner, which moves the bell.](drawings/loop.svg)
#
# If a guess is bad for a day, why not improve it *for that day*? Start with the guess from $x_1$ alone, compute the ELBO of *both* readings, and take a step in the direction in which it rises: the gradient. Again, and again.
# First the picture: what do the bells do?

# %%
def climb(x, v, q, steps=8, rate=.35):
    "Bells q_0, ..., q_T, each a step up the ELBO of all of `x` from the one before."
    path, P = [q], 1 + sum(1/vm for vm in v)
    for _ in range(steps):
        mean, var = path[-1]
        g_mean = sum((xm - mean)/vm for xm, vm in zip(x, v)) - mean
        g_logvar = (1 - var*P)/2
        grown = torch.tensor(2*rate*g_logvar).exp()
        path.append((mean + rate*var*g_mean, var*grown.item()))
    return path

path = climb(today, v, alone)
print("KL to the truth (nats):", *(f"{kl(q, truth):.3f}" for q in path))

# %%
#| code-fold: true
#| code-summary: "Drawing"
#| fig-cap: "From x1 alone (palest) to the posterior from both (dashed), in eight steps. Right: the distance left."
#| fig-alt: "Left: orange bells. The first step leads past the dashed bell to its right; the next come back and get narrower until they cover it. Right: a falling curve."
fig, (left, right) = plt.subplots(1, 2, figsize=(6.6, 2.8), width_ratios=[3, 2])
for t, q in enumerate(path): left.plot(grid, bell(q), color=TEACHER, alpha=.2 + .1*t)
left.plot(grid, bell(truth), "k--", lw=1); left.set(xlabel="temperature z", yticks=[], xlim=(-1, 3.2))
right.semilogy([float(kl(q, truth)) for q in path], "o-", color=TEACHER)
right.set(xlabel="step t", ylabel="KL to the truth (nats)");

# %% [markdown]
# The steps follow the derivatives of (3) in the mean $\mu$ and in the logarithm of the variance $\sigma^2$:
#
# $$
# \begin{aligned}
# \frac{\partial \mathcal L}{\partial \mu} &= \sum_m \frac{x_m - \mu}{v_m} - \mu, \\
# \frac{\partial \mathcal L}{\partial \log \sigma^2} &= \tfrac12 \big( 1 - \sigma^2 P \big), \quad P = 1 + \sum_m \frac{1}{v_m}.
# \end{aligned}\tag{4}
# $$
#
# The first step goes past the summit, from a mean of 0.5 to 1.7, because the bell is still broad and a step is measured in its variance; the next ones come back as it narrows.
#
# Look where the second reading is: nowhere but in the gradient. It is never given to an encoder. (We multiply the gradients by $\sigma^2$ and by 2, so that a step has the right size whatever the bell's width; lesson 08 says why, and learns the step by a network, the *refiner*.)
# After eight steps the guess that began with one view is nearer to the truth than the encoder of both:

# %%
assert kl(path[-1], truth) < kl(encoder(today), truth) < kl(path[0], truth)
also = climb(today, v, posterior(today[1:], v[1:]), 40)[-1]          # from x2 alone: the same summit
assert abs(also[0] - truth[0]) < 1e-3 and abs(also[1] - truth[1]) < 1e-3
mean = torch.tensor(.3, requires_grad=True); logvar = torch.tensor(-.5, requires_grad=True)
elbo(today, v, (mean, logvar.exp())).backward()                      # eq. (4), by autograd
P = 1 + 1/v[0] + 1/v[1]
assert abs(mean.grad - ((1.0 - .3)/v[0] + (1.6 - .3)/v[1] - .3)) < 1e-4
assert abs(logvar.grad - (1 - torch.tensor(-.5).exp()*P)/2) < 1e-4


# %% [markdown]
# ## A student, because the second view is missing
#
# There is a catch. The climb needs the ELBO of both readings, and we wanted to do *without* the second. But while we train, both are there. So the climb may be the **teacher** of a **student** that sees $x_1$ only:
#
# ![Drawing: above, the teacher needs all views and is crossed out after training; its narrow bell is copied by a student's broader bell, below, which comes from the word alone.](drawings/student.svg)
#
# What should the student answer when the cheap thermometer says 1.0? On the many days with this reading the good one said this or that, and the teacher answered each time differently:

# %%
def others(x1, n, seed=0):
    "Readings of the good thermometer on `n` days on which the cheap one says `x1`."
    mean, var = posterior([x1], v[:1])
    noise = torch.randn(n, generator=torch.Generator().manual_seed(seed))
    return mean + (var + v[1])**.5*noise

answers = [posterior([today[0], x2], v) for x2 in others(today[0], 12)]
means = torch.stack([q[0] for q in answers])

# %%
#| code-fold: true
#| code-summary: "Drawing"
#| fig-cap: "The teacher's answers (orange) on twelve days with the same x1, and the student (green) that covers them."
#| fig-alt: "Twelve narrow orange bells at different places, and one broad green bell over all of them."
fig, ax = plt.subplots(figsize=(6.4, 2.8))
for q in answers: ax.plot(grid, bell(q), color=TEACHER, alpha=.35, lw=1)
ax.plot(grid, bell(alone), color=STUDENT, lw=3, label="student: covers them all")
ax.set(xlabel="temperature z", yticks=[], xlim=(-2, 3.6)); ax.legend();


# %% [markdown]
# The student $s(z \mid x_1)$ is the bell that is nearest to all of them in the mean, $\min_s \mathbb E\, \mathrm{KL}(q_T \,\|\, s)$ over the days with this $x_1$. It takes over the mean of the answers, and its variance has two parts: how unsure the teacher is, and how far its answers lie apart,
#
# $$
# \begin{aligned}
# \mu_s = \mathbb E[\mu_T], \quad \sigma_s^2 = \mathbb E[\sigma_T^2] + \mathrm{Var}[\mu_T].
# \end{aligned}\tag{5}
# $$
#
# If the teacher's climb has arrived at the truth, the student is the exact posterior from $x_1$ alone: measured by the KL that it is trained with, nobody who sees $x_1$ only can do better. And if the teacher is the poor encoder? Then the student copies its faults:

# %%
def student_of(teacher, x1, n=200_000):
    "The best student's mean and variance at `x1`, eq. (5), over `n` days with this reading."
    mean, var = teacher(x1, others(x1, n))
    return mean.mean().item(), torch.as_tensor(var).mean().item() + mean.var().item()

of_climb = student_of(lambda x1, x2: posterior([x1, x2], v), today[0])
of_encoder = student_of(lambda x1, x2: encoder([x1, x2]), today[0])
assert abs(of_climb[0] - alone[0]) < .01 and abs(of_climb[1] - alone[1]) < .01
print(f"nats to the exact posterior from x1: student of a climb that has arrived {kl(alone, of_climb):.2f}, "
      f"student of the encoder {kl(alone, of_encoder):.2f}")

# %% [markdown]
# So here the student of the refined teacher loses nothing against the exact answer, that of the encoder of both 0.24 nats. This is the argument of the talk in one number. Whether it holds with neural networks is a question for experiments, and [the answer](11_findings.ipynb) is less simple.
#
# ## What no student can know
#
# The student is broad, and by the ELBO of both readings it is *behind* its teacher by far. Better training would not mend that, because $x_1$ does not say more. So keep two losses apart: what an *encoder* loses although the data would say more, which a climb wins back, and what a *missing view* takes away, which nobody wins back to whom that view is missing.

# %%
line = {"prior": (0., 1.), "both, x2 filled with 0": imputed, "student of x1": of_climb,
        "encoder of both": encoder(today), "climb from x1, 8 steps": path[-1], "exact, from both": truth}

# %%
#| code-fold: true
#| code-summary: "Drawing"
#| fig-cap: "The line once more, with the climb (it has seen x2, through the gradient) and the student (it has not)."
#| fig-alt: "Six dots on a line; the student in the middle, the climb at the right end beside the exact posterior."
on_a_line(line, {"prior": "0.5", "exact, from both": "k", "student of x1": STUDENT})

# %% [markdown]
# How much must every reader of $x_1$ lose, in the mean over the days that share it? Write $S$ for the variance given both views and $S_1$ for that given the first. By the measure of the student, $\mathrm{KL}(\text{truth} \,\|\, s)$, the least possible mean is the information that $x_2$ adds about $z$; by the ELBO, $\mathrm{KL}(s \,\|\, \text{truth})$, the least is more, and another bell reaches it, as narrow as the truth:
#
# $$
# \begin{aligned}
# \min_s \mathbb E\, \mathrm{KL}(p(z \mid x) \,\|\, s) &= \tfrac12 \log \frac{S_1}{S}, \\
# \min_s \mathbb E\, \mathrm{KL}(s \,\|\, p(z \mid x)) &= \tfrac12 \Big( \frac{S_1}{S} - 1 \Big).
# \end{aligned}\tag{6}
# $$
#
# Only the climb can go below such a floor, because the other view is in its gradient. Two measures, two best students: keep this in mind when a later lesson says that a student draws better and has the worse ELBO.

# %%
S1, S = alone[1], truth[1]
x2 = others(today[0], 200_000)
truths = posterior([today[0], x2], v)
floors = torch.log(torch.tensor(S1/S))/2, torch.tensor((S1/S - 1)/2)
assert abs(kl(truths, alone).mean() - floors[0]) < .01               # the student
assert abs(kl((alone[0], S), truths).mean() - floors[1]) < .02       # as narrow as the truth
print(f"least mean loss of a reader of x1: {floors[0]:.2f} as a student, {floors[1]:.2f} by the ELBO")

# %% [markdown]
# ## Any number of views, of any size
#
# The same formulas hold with vectors: $p(z) = \mathcal N(0, I)$ and $p(x_m \mid z) = \mathcal N(W_m z + b_m, \mathrm{diag}\, v_m)$, with a matrix, a shift and noise variances for each view. `LinearGaussian` is this model. Nothing in it is estimated, so the tests of the package use it as a known answer. First, what a view is and what a batch of views is:

# %%
#| export
from collections.abc import Mapping
import torch
from torch.distributions import LowRankMultivariateNormal, MultivariateNormal
from mmvae_nb.core import *
from mmvae_nb.distributions import DiagonalGaussian, _stream
from mmvae_nb.missing import check_finite


# %%
#| exports
#| code-fold: true
#| code-summary: "What a view is"
def _double(name, x):
    "The same in double precision; `MmvaeError` for what holds no numbers."
    try: return torch.as_tensor(x, dtype=torch.double)
    except (TypeError, ValueError, RuntimeError) as e:
        raise MmvaeError(f"{name}: got a {type(x).__name__} of no numbers, allowed: a tensor, "
                         "array or list of numbers") from e

def _view(name, W, b, sd):
    "W, b and noise variances of a view in double precision; `MmvaeError` if they don't fit."
    W, b, sd = (_double(f"views, {name!r}", x) for x in (W, b, sd))
    if W.ndim != 2 or b.shape != W.shape[:1]:
        raise MmvaeError(f"views: got W {tuple(W.shape)}, b {tuple(b.shape)} for {name!r}, "
                         "allowed: W (D, L) and b (D,)")
    if sd.shape not in ((), b.shape) or not ((sd > 0) & sd.isfinite()).all():
        raise MmvaeError(f"views: got sd {sd.tolist()} for {name!r}, allowed: a number above 0, "
                         "or one for each coordinate")
    return W, b, (sd**2).expand_as(b)


# %%
#| exports
#| code-fold: true
#| code-summary: "Several views, and a batch of them"
def _all_views(views):
    "Each view as `_view` gives it; `MmvaeError` if they don't go together."
    if not views: raise MmvaeError("views: got none, allowed: at least one")
    three = lambda v: isinstance(v, (tuple, list)) and len(v) == 3
    if not isinstance(views, Mapping) or not all(map(three, views.values())):
        raise MmvaeError(f"views: got {' '.join(repr(views).split()):.60}, allowed: a dict, "
                         "name -> (W, b, sd)")
    made = {n: _view(n, *v) for n, v in views.items()}
    widths = sorted({W.shape[1] for W, _, _ in made.values()})
    if len(widths) == 1: return made
    raise MmvaeError(f"views: got W of {widths} columns, allowed: as many in each")

def _present(views, batch):
    "The data of a batch, in the model's order; `MmvaeError` if data and views don't fit."
    for n in batch: one_of("view", n, list(views))
    data = {n: _double(n, batch[n]) for n in views if n in batch}
    for n, x in data.items():
        first = next(iter(data))
        if x.shape != (*data[first].shape[:1], len(views[n][1])):
            raise MmvaeError(f"{n}: got shape {tuple(x.shape)}, allowed: "
                             f"(items, {len(views[n][1])}), as many items as in {first}")
        check_finite(n, x)
    return data


# %% [markdown]
# Now the model: (2), (3) and $\log p(x)$ with matrices.

# %%
#| exports
#| code-fold: true
#| code-summary: "Views: their names and their noise, and how to draw from them"
class _Views:
    "Views x_m = W_m z + b_m + noise, with z ~ N(0, I)."
    def __init__(self, views # name -> (W (D, L), b (D,), sd: a number or (D,))
                ):
        self.views, self.names = _all_views(views), list(views)
        self.latent = self.views[self.names[0]][0].shape[1]

    def _stacked(self, batch): # W, b, noise variances and data of the views there, put together
        data = _present(self.views, batch)
        if not data: raise MmvaeError(f"batch: got no view, allowed: {', '.join(self.names)}")
        W, b, var = (torch.cat(part) for part in zip(*(self.views[n] for n in data)))
        return W, b, var, torch.cat([*data.values()], 1)

    def sample(self, n, # items
               generator=None # random stream; torch's own by default
              ) -> tuple: # z (n, L), and a dict: name -> x (n, D)
        "Hidden and seen of `n` items."
        n, generator = in_range("n", n, 0, 10**9, True), _stream(generator, torch.device("cpu"))
        noise = lambda d: torch.randn(n, d, generator=generator, dtype=torch.double)
        z = noise(self.latent)
        return z, {m: z @ W.T + b + var.sqrt()*noise(len(b))
                   for m, (W, b, var) in self.views.items()}


# %%
#| exports
class LinearGaussian(_Views):
    "Exact answers about views x_m = W_m z + b_m + sd_m*noise; a batch: name -> x (n, D)."
    def posterior(self, batch) -> MultivariateNormal:
        "p(z | the views in `batch`) of its n items, with full covariance; eq. (2)."
        W, b, var, x = self._stacked(batch)
        precision = torch.eye(self.latent, dtype=torch.double) + W.T @ (W/var[:, None])
        mean = torch.linalg.solve(precision, (((x - b)/var) @ W).T).T
        return MultivariateNormal(mean, precision_matrix=precision)

    def log_prob(self, batch, given=None): # given: other views of the items, whose values are known
        "log p(batch), or log p(batch | given), per item in nats."
        twice = set(batch) & set(given or {})
        if twice: raise MmvaeError(f"given: got {', '.join(twice)}, allowed: others than in batch")
        W, b, var, x = self._stacked({**batch, **(given or {})})
        log_p = LowRankMultivariateNormal(b, W, var).log_prob(x)
        return log_p - self.log_prob(given) if given else log_p

    def elbo(self, batch, q): # q: n Gaussians, diagonal or full, wherever they come from
        "Eq. (3) per item, in nats; differentiable in `q`."
        W, b, var, x = self._stacked(batch)
        mean, cov = _moments(q, (len(x), self.latent))
        squares = (x - b - mean @ W.T)**2 + torch.einsum("dl,nlk,dk->nd", W, cov, W)
        log_x = -((2*torch.pi*var).log() + squares/var).sum(1)/2
        trace = cov.diagonal(dim1=1, dim2=2).sum(1)
        return log_x - (trace + (mean**2).sum(1) - self.latent - torch.logdet(cov))/2


# %%
#| exports
def _moments(q, shape):
    "Mean (n, L) and covariance (n, L, L) of Gaussians of either kind; none is used for two items."
    own = getattr(getattr(q, "mean", None), "shape", None)
    if own != shape:
        got = f"a {type(q).__name__}" if own is None else f"means of shape {tuple(own)}"
        raise MmvaeError(f"q: got {got}, allowed: Gaussians, diagonal or full, {shape}")
    full = getattr(q, "covariance_matrix", None)
    return q.mean.double(), torch.diag_embed(q.var).double() if full is None else full


# %% [markdown]
# The two thermometers are its smallest case, and it agrees with what we did by hand:

# %%
two = LinearGaussian({"cheap": ([[1.]], [0.], 1.), "good": ([[1.]], [0.], .4)})
batch = {"cheap": torch.tensor([[1.0]]), "good": torch.tensor([[1.6]])}
exact = two.posterior(batch)
assert abs(exact.mean - truth[0]) < 1e-6 and abs(exact.variance - truth[1]) < 1e-6
assert abs(two.log_prob(batch) - log_p) < 1e-5
guess = DiagonalGaussian(torch.tensor([[1.]]), torch.tensor([[.3]]).log())
assert abs(two.elbo(batch, guess) - elbo(today, v, (1., .3))) < 1e-5

# %% [markdown]
# With two latents there is a new loss. Let the views see different mixtures of both. Then the posterior is a *tilted* ellipse, while the bells of a VAE have one mean and one variance for each coordinate, so they can't tilt:

# %%
tilted = LinearGaussian({"a": ([[1., .9]], [0.], .3), "b": ([[.2, 1.]], [0.], .8)})
_, days = tilted.sample(5, torch.Generator().manual_seed(0))
p = tilted.posterior(days)
print(f"correlation {p.covariance_matrix[0, 0, 1]/p.variance[0].prod().sqrt():.2f}")


# %% [markdown]
# Among the bells that can't tilt the best has the posterior's mean and the reciprocal of the *precision's* diagonal as its variances: along each axis it is as wide as the ellipse is in a cut through its middle, not as wide as its shadow. What it loses is the **approximation gap**; what an encoder loses on top of it is the amortization gap of above; and what a subset of the views must lose at least stands in (6).

# %%
#| exports
def best_diagonal(model, batch) -> DiagonalGaussian:
    "The diagonal Gaussians with the largest ELBO, one per item of `batch`."
    p = model.posterior(batch)
    return DiagonalGaussian(p.mean, -p.precision_matrix.diagonal(dim1=1, dim2=2).log())

def gaps(model, # a `LinearGaussian`
         batch, # all that is to be explained: name -> x (n, D)
         q # a `DiagonalGaussian` of its items, wherever it comes from
        ) -> dict: # of (n,) nats: log_prob = elbo + approximation + amortization
    "What `q` loses against log p(x), and to what."
    best, log_p = model.elbo(batch, best_diagonal(model, batch)), model.log_prob(batch)
    elbo = model.elbo(batch, q)
    return dict(log_prob=log_p, elbo=elbo, approximation=log_p - best, amortization=best - elbo)

def floors(model, # a `LinearGaussian`
           given # names of the views that are seen
          ) -> dict: # nats
    "Eq. (6): the least mean KL between p(z | all) and any reader of `given`, in either direction."
    for n in given: one_of("given", n, model.names)
    zeros = {n: torch.zeros(1, len(b)) for n, (_, b, _) in model.views.items()}
    some = model.posterior({n: zeros[n] for n in given}).covariance_matrix[0]
    P = model.posterior(zeros).precision_matrix[0]
    return dict(student=(torch.logdet(P) + torch.logdet(some)).item()/2,
                elbo=(torch.trace(P @ some).item() - model.latent)/2)


# %%
lost = gaps(tilted, days, best_diagonal(tilted, days))
assert (lost["amortization"].abs() < 1e-9).all() and (lost["approximation"] > 0).all()
for name, floor in floors(two, ["cheap"]).items(): print(name, round(floor, 2))
print("approximation gap:", round(lost["approximation"][0].item(), 2), "nats")
assert abs(floors(two, ["cheap"])["elbo"] - (S1/S - 1)/2) < 1e-6

# %%
#| code-fold: true
#| code-summary: "Drawing"
#| fig-cap: "The posterior of one day (black), and the best bell that can't tilt (orange). The KL between them is the approximation gap."
#| fig-alt: "A long tilted black ellipse and a small upright orange one with the same centre."
best, turn = best_diagonal(tilted, days), torch.linspace(0, 6.3, 200).double()
ring = torch.stack([turn.cos(), turn.sin()])
fig, ax = plt.subplots(figsize=(4.2, 3.4))
ax.plot(*(p.mean[0, :, None] + p.scale_tril[0] @ ring), color="k", label="posterior")
ax.plot(*(best.mean[0, :, None] + best.std[0, :, None]*ring), color=TEACHER, label="best without tilt")
ax.set(xlabel="first coordinate of z", ylabel="second coordinate", aspect="equal"); ax.legend(loc="lower left");


# %% [markdown]
# ## Recap
#
# - One hidden $z$ makes every view. Inference is the way back.
# - The ELBO is explaining less claiming; it falls short of $\log p(x)$ by the distance of the guess from the truth (3).
# - An encoder answers for all items at once and so for none quite right: the amortization gap. A missing view makes that loss larger, and a hole filled with zeros is wrong data.
# - Climbing from one view by the gradient of *all* closes the gap, because the view that the start has not seen speaks through the gradient.
# - A student copies the result and needs one view only. It is broad where that view leaves things open, and no student can know better (6).
#
# With neural networks for the bells' parameters all this becomes [the VAE](02_vae.ipynb), [several modalities](03_multimodal_elbo.ipynb), [the gap](07_amortization_gap.ipynb), [the refiner](08_iterative_inference.ipynb), [the method](09_multimodal_iterative.ipynb) and [its students](10_distillation.ipynb). The method as one file: [all of it in 150 lines](in_150_lines.ipynb).
#
# ## Exercises
#
# 1. The good thermometer gets worse and worse ($v_2 \to \infty$). What becomes of the posterior from both, and of the two floors (6)?
# 2. Two students, one for each thermometer, have answered: $s_1 = p(z \mid x_1)$, $s_2 = p(z \mid x_2)$. Both readings are here. Why is the product of the two bells not the posterior from both, and what must be divided out?
# 3. The climb uses steps of rate 0.35. From which rate on does its mean overshoot, and from which on does it run away? (Put the variance at its final value.)
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. Its term in (2) vanishes, so $P \to 1 + 1/v_1$: the posterior from $x_1$ alone. Then $S = S_1$ and both floors are 0: what says nothing can't be missed.
# 2. The prior is in both of them, so the product has it twice: precision $(1 + 1/v_1) + (1 + 1/v_2)$ where (2) has $1 + 1/v_1 + 1/v_2$. Divide by the prior once, that is, subtract 1 from the precision and nothing from the weighted mean. Lesson 10 does so with `divide_prior`.
# 3. With $\sigma^2 = 1/P$ the gradient in the mean is $P(\mu^* - \mu)$ for the final mean $\mu^*$, and $\sigma^2$ times it is $\mu^* - \mu$: each step takes the share *rate* of the way. Above 1 it overshoots, above 2 each overshoot is larger than the last.
# :::
#
# ### In code: the student of a teacher with faults
#
# A teacher says $\mathcal N(a_1 x_1 + a_2 x_2, t)$, right or wrong. Fill in `best_student`: mean and variance of the best student of $x_1$, by (5), without sampling. You need the mean and variance of $x_2$ given $x_1$; with (1) they are $x_1/(1 + v_1)$ and $v_1/(1 + v_1) + v_2$. The check draws days and answers.

# %%
#| code-fold: true
#| code-summary: "Solution"
def best_student(a1, a2, t, x1, v1, v2):
    "Mean and variance of the bell nearest to the teacher's answers at `x1`."
    ### BEGIN SOLUTION
    mean, var = x1/(1 + v1), v1/(1 + v1) + v2              # of x_2 given x_1
    return a1*x1 + a2*mean, t + a2**2*var
    ### END SOLUTION


# %%
g = torch.Generator().manual_seed(3)
hidden = torch.randn(400_000, generator=g)
seen = [hidden + s*torch.randn(400_000, generator=g) for s in (1., .4)]
near = (seen[0] - .8).abs() < .05                                       # the days with x_1 = 0.8
for a1, a2, t in [(.12, .76, .12), (.4, .4, .3)]:
    said = a1*seen[0] + a2*seen[1] + t**.5*torch.randn(400_000, generator=g)
    mean, var = best_student(a1, a2, t, .8, 1., .16)
    assert abs(said[near].mean() - mean) < .03 and abs(said[near].var() - var) < .04

# %% [markdown]
# ## References
#
# - C. M. Bishop, [Pattern Recognition and Machine Learning](https://www.microsoft.com/en-us/research/publication/pattern-recognition-machine-learning/), 2006, sections 2.3.3 and 12.2. Linear Gaussian models with every step of the algebra; free to read. For those who want (2) with matrices derived.
# - D. M. Blei, A. Kucukelbir, J. D. McAuliffe, [Variational Inference: A Review for Statisticians](https://arxiv.org/abs/1601.00670), 2017. The ELBO without any neural network: the natural next reading after this page.
# - C. Cremer, X. Li, D. Duvenaud, [Inference Suboptimality in Variational Autoencoders](https://arxiv.org/abs/1801.03558), 2018. Where the two gaps get their names, and how large they are in real VAEs.
# - J. Marino, Y. Yue, S. Mandt, [Iterative Amortized Inference](https://arxiv.org/abs/1807.09356), 2018. Where the climb is learned by a network.
# - Y. Oshima, M. Suzuki, Y. Matsuo, [Enhancing Unimodal Latent Representations in Multimodal VAEs through Iterative Amortized Inference](https://arxiv.org/abs/2410.11403), 2024. The method of this page with neural networks, on images and text.
