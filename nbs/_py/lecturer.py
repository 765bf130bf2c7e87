# %% [markdown]
# # For lecturers
#
# > Two plans, what to ask, what is often misunderstood, and how to prepare the room.
#
# ::: {.callout-note}
# ## In one glance
#
# - Two plans, one lecture of 90 minutes, or three. Both go through the course from top to bottom.
# - Each lesson runs by itself and needs no download. What an earlier lesson would have trained comes from a cache, or is
#   trained on the spot; so a class can enter at any lesson.
# - `make cache` fills the cache, `make handouts` writes notebooks without solutions, `make slides` writes slides that need no
#   network.
# :::

# %%
from pathlib import Path
import pandas as pd
import mmvae_nb

# %% [markdown]
# ## How long the lessons run
#
# Processor seconds for a lesson from top to bottom, start of Python included, each with a cache of its own: first an empty one, then
# the one it has just filled. One thread on a slow machine that had other work to do: by the clock it takes longer while others compute, and
# less on a newer machine or with more threads. Measure yours with `python tools/times.py time`; it replaces the rows of the table. Not all lessons of the
# workshop have been timed.

# %%
file = Path(mmvae_nb.__file__).parents[1]/"results"/"lesson_seconds.csv"
times = pd.read_csv(file, index_col="lesson")
workshop = times.index.str.match(r"00_|\d\d[a-z]_")     # with a letter, or plumbing
times[~workshop]


# %%
def total(times):
    "How many lessons, and their minutes with empty and with filled caches."
    minutes = (times.sum()/60).round(1)
    return (f"{len(times)} lessons: {minutes.empty_cache_s} minutes, "
            f"with filled caches {minutes.filled_cache_s}")
print("the course,", total(times[~workshop]))
print("the workshop,", total(times[workshop]))

# %% [markdown]
# ## The room
#
# On each machine, once, with a network for the first line only:
#
# ```bash
# make venv      # Python packages, about 2 GB
# make cache     # runs every lesson once and keeps what was trained
# make lab       # JupyterLab on the lessons
# ```
#
# The weights lie in `_cache/`, under names made of their settings and the source they depend on. So `_cache/` can be
# copied to machines with the same version of the lessons; another version does not find them and trains its own. For slides,
# npm fetches reveal.js the first time and keeps it in the same folder: run `make slides` before you
# leave the network. If npm can't fetch it, one line says what to put where.
#
# *Live*, below, means that the cells of this section are run in front of the class, after those above it
# (in JupyterLab: *Run All Above Selected Cell* while you talk about the sections before). *Shown* means slides or the site.

# %% [markdown]
# ## One lecture of 90 minutes
#
# The thread: what is a posterior, what if a modality is missing, and how can one be inferred better than by a single pass? The first 38 minutes tell all of it with bells (lesson 01); the rest is the same story with networks, lesson by lesson.
#
# | minute | section | how | ask | answer |
# |---|---|---|---|---|
# | 0 | 01: [One hidden thing, two views](01_story.ipynb#one-hidden-thing-two-views); [Inference](01_story.ipynb#inference-from-what-is-seen-to-what-is-hidden) | live | The cheap thermometer says 1.0, the good one 1.6. How warm is it, and how sure are you? | 1.3: near the good one, drawn towards the usual 0, and surer than from either alone. |
# | 8 | 01: [How good is a guess? The ELBO](01_story.ipynb#how-good-is-a-guess-the-elbo) | shown; write (3) on the board and leave it there | In the last line of (3), what changes if the guess gets better, and what can't? | The KL shrinks and the ELBO rises by as much; $\log p(x)$ does not contain $q$. |
# | 16 | 01: [A view is missing](01_story.ipynb#a-view-is-missing); [Climb from one view](01_story.ipynb#climb-from-one-view-by-the-gradient-of-all) | live | Is 0 a missing reading? Then: where is the second reading in the climb? | No, 0 is a reading, and a wrong one. In the climb it is in the gradient and nowhere else. |
# | 25 | 01: [A student](01_story.ipynb#a-student-because-the-second-view-is-missing); exercise *the student of a teacher with faults*, in pairs | shown, handout | What can no student know? | What the other thermometer would have said. So it is broad, and rightly so: equation (5). |
# | 38 | 02: [A model with something hidden](02_vae.ipynb#a-model-with-something-hidden), then [The naive version, by hand](02_vae.ipynb#the-naive-version-by-hand) | live | Which line is inference, which is learning? | `q = ...encoder(x)...` is inference; the optimiser's step improves both networks at once. |
# | 46 | 03: [One latent, several modalities](03_multimodal_elbo.ipynb#one-latent-several-modalities); [The joint VAE](03_multimodal_elbo.ipynb#the-joint-vae) | shown | What would you feed the joint encoder if the picture is missing? | Collect answers (zeros, the mean, noise): the encoder was trained on none of them. |
# | 51 | 03: [The missing modality](03_multimodal_elbo.ipynb#the-missing-modality) | live | Find the row that is worse than the prior. | The digit with zeros for the rest. Black is evidence, as the 0 of the thermometer was. |
# | 57 | 04: [The idea](04_jmvae.ipynb#the-idea); 05: [Every subset has an opinion](05_mopoe.ipynb#every-subset-has-an-opinion); 06: [What the modalities share](06_mvtcae.ipynb#what-the-modalities-share), two minutes each | shown, the drawings | Two doctors disagree. When would you multiply their opinions, when average? | Multiply if their evidence is independent, and take the prior out once; average if only one of them can be right. |
# | 63 | 07: [Three readers of one picture](07_amortization_gap.ipynb#three-readers-of-one-picture); 08: [The learned way](08_iterative_inference.ipynb#the-learned-way) | shown | Why not climb the ELBO for each item, as the slow way does? | It takes hundreds of gradients for each new item; a network can learn the steps. |
# | 71 | 09: [One change of view](09_multimodal_iterative.ipynb#one-change-of-view); [Walk along t](09_multimodal_iterative.ipynb#walk-along-t), with the slider | live | Start at the MNIST digit. At $t = 4$ the word is right. Has the model generated it from the digit? | No. Since $t = 1$ the gradient has shown it the word. |
# | 79 | 10: [The idea](10_distillation.ipynb#the-idea) | shown | Which part of (2) can a better student reduce? | The second. The first is what its modality does not tell. |
# | 84 | [11](11_findings.ipynb), and the verdicts on [Home](index.ipynb#the-result) | shown | Which claims are supported, and by which comparison? | Better students is one claim, easier to imitate another. |
#
# *If you are late:* the exercise at minute 25 can become home work, which gives ten minutes back; at 57 show only lesson 05. Keep
# the last six minutes: without the evidence the lecture is an advertisement. *If something live fails,* the site has every output of these
# cells: keep those five sections open in tabs.
#
# *The day before:* run `make cache`, `make slides` and `make docs`; open the four lessons that are live (01, 02, 03, 09) in JupyterLab and run each to the
# section; check that the slider of 09 moves; give out the handout of 01, of which the class needs only the exercise.

# %% [markdown]
# ## Three lectures of 90 minutes
#
# **First: one thing seen, and two.** Home work before: none. After: the written exercises of 01 and 02.
#
# | minute | section | how | ask |
# |---|---|---|---|
# | 0 | [01](01_story.ipynb): to How good is a guess? The ELBO | live | Every $z$ is possible. What makes one more plausible than another? |
# | 18 | 01: What an encoder loses; A view is missing; Climb from one view | live | Which answers on the line are guesses at the same truth? |
# | 30 | 01: A student; What no student can know | shown | Two measures, two best students. Which one draws well? |
# | 38 | 01: exercise *the student of a teacher with faults* | handout | |
# | 50 | [02](02_vae.ipynb): from A model with something hidden to The gradient | shown | Why can't we draw $z$ from the prior and average? |
# | 64 | 02: The naive version, by hand; The exported version | live | What does the second row of the figure lose, and why? |
# | 72 | 02: What goes wrong | live | How would you notice it in your own work? |
# | 80 | 02: exercise *another hidden beta* | handout | |
#
# **Second: several modalities.** After: the written exercises of 05, and 04 in code.
#
# | minute | section | how | ask |
# |---|---|---|---|
# | 0 | [03](03_multimodal_elbo.ipynb): to The joint VAE | shown | Why is the logarithm a sum over modalities? |
# | 14 | 03: The missing modality | live | Order the answers before you look. |
# | 21 | 03: exercise *the posterior of whatever is there* | handout | What does the answer say if nothing is there? |
# | 32 | 03: A part of the amortization gap, and what part | shown | Which part of (4) can training reduce? |
# | 40 | [04](04_jmvae.ipynb): The idea; The objective; The pull on the teacher | shown, the last live | Who gives way, the teacher or the student? |
# | 52 | [05](05_mopoe.ipynb): Every subset has an opinion; When is a product right? | shown | Two doctors disagree. When would you multiply their opinions, when average? |
# | 62 | 05: Why mixtures lose | live | Each subset must explain all modalities. What does one that sees the word do about the colours? |
# | 70 | [06](06_mvtcae.ipynb): What the modalities share; Its own encoders, and students | shown | What has an expert to do, beside being a factor of the product? |
# | 80 | 06: exercise *a total correlation* | handout | |
#
# **Third: the method.** Before: 03 in code, if it was not done. The table at the top of [03a](03a_metrics.ipynb) is good to have read before the last quarter of an hour.
#
# | minute | section | how | ask |
# |---|---|---|---|
# | 0 | [07](07_amortization_gap.ipynb): Three readers of one picture; The best Gaussian: climb for each item | shown | Which gap closes if the encoder gets wider, which if $q$ gets a full covariance? |
# | 14 | [08](08_iterative_inference.ipynb): A refiner in eight lines; Ours | shown | What should a refiner do far from the optimum, what near it? |
# | 26 | 08: Did it work? | live | |
# | 32 | 08: exercise *the natural gradient* | handout | |
# | 42 | [09](09_multimodal_iterative.ipynb): to Walk along t | shown, the last two live | Where does the information about the other modalities come in? |
# | 58 | 09: exercise *climb by hand* | handout | Does the summit depend on the start? |
# | 68 | [10](10_distillation.ipynb): The idea; Students; What the students of the JVAE can do | shown, the last live | Why not show the teacher's own pictures? |
# | 78 | [11](11_findings.ipynb); [14a](14a_talk.ipynb): Ours, from the records | shown | A model copies training images. What does each metric say? And what would you run next, to settle what is left open? |
#
# If the second lecture is too full, leave out 06: it is for those who ask what a product of experts can do without mixtures, and nothing later needs it.

# %% [markdown]
# ## What is often misunderstood
#
# - *"The loss is lower, so the model is better."* Only between losses that are the same function. A mean over
#   pixels, another likelihood or other weights change the function ([02](02_vae.ipynb), What goes wrong).
# - *"The gap is the KL between $q$ and the prior."* That KL is a term of the ELBO and should not be zero. The gap is the KL
#   between $q$ and the true posterior, equation (3) of 02; it can't be computed directly, only the ELBO can be compared with
#   a better one ([07](07_amortization_gap.ipynb), The split).
# - *"A missing modality is a black image."* A black image is evidence, for something that never occurs. Leaving it out
#   means that its likelihood is not in the product ([03](03_multimodal_elbo.ipynb), exercise in code).
# - *"A product of experts is always better, it is sharper."* Sharper is right only if the experts bring independent evidence.
#   Each of them has already used the prior, so a plain product counts it several times ([05](05_mopoe.ipynb#when-is-a-product-right)).
# - *"Refined from MNIST, so it is generation from MNIST."* After the first step the gradient has seen all modalities. Only
#   students may be shown as cross-modal generation ([09](09_multimodal_iterative.ipynb), The catch).
# - *"A small KL from teacher to student means good students."* It is small also if the teacher says little. Compare what
#   the students can do ([11](11_findings.ipynb)).
# - *"The student is worse than the teacher, so distillation failed."* Part of the difference is what the one modality does not
#   tell, and no student can have it ([10](10_distillation.ipynb), equation (2)).
# - *"More iterations are better."* For the ELBO up to a point, and only if the refiner met such places in
#   training; students gain realism from more and lose some of what was given ([09](09_multimodal_iterative.ipynb), What goes wrong; [11](11_findings.ipynb#which-t)).
# - *"The FID is 12, that is good."* Against which floor, in whose features, from how many images?
#   ([03a](03a_metrics.ipynb))
# - *"High accuracy of the probe, so it generates the right digit."* The probe reads $z$ and never looks at a picture; coherence
#   does.

# %% [markdown]
# ## Handouts and grading
#
# `make handouts` writes the lessons to `_handouts/` without outputs and without solutions: written answers become
# *YOUR ANSWER HERE*, code becomes a `NotImplementedError`. The cell below such a blank checks the answer against
# something independent: a closed form, a loop, a grid. nbgrader cuts the solutions and marks the cells, so its commands work on
# what is handed in:
#
# ```bash
# # runs each notebook: which checks fail, which were changed
# .venv/bin/nbgrader validate handed_in/*.ipynb
# ```
#
# It runs the whole notebook, so run `make cache` first; and it runs what students wrote, so do it where that is safe. For a gradebook
# (`nbgrader generate_assignment`, `autograde`, `export`), make the source of an assignment with
#
# ```bash
# .venv/bin/python tools/handouts.py --with-solutions --out COURSE/source/NAME \
#     nbs/02d_distributions.ipynb
# ```
#
# Each check is worth one point, the written answers none until you say so. The class can see the checks,
# and the solutions are in the repository: for marks that count, change the exercise or ask for an explanation.
#
# The exercises in code need the imports of a lesson and its module, nothing that is trained. So they can be done without running the
# lesson: run the cells with imports, then `from mmvae_nb.NAME import *` with the name of the module.

# %% [markdown]
# ## How exercises are written
#
# For those who add some. A lesson ends in *Exercises*. Questions are a list; their answers are a callout with the heading
# *Solutions*, which the site folds and the handout cuts as a whole. An exercise in code is a heading `### In code: ...` with the
# task, then two code cells, the first with the directives `code-fold: true` and `code-summary: "Solution"` on top:
#
# ```python
# def double(x):
#     "Twice x."
#     ### BEGIN SOLUTION
#     return 2*x
#     ### END SOLUTION
# ```
#
# ```python
# for x in (0, 1.5, -3): assert double(x) == x + x
# ```
#
# The site folds the first, the tests run both, the handout cuts what is between the marks. The code cell after a solution is always its
# check. It must not use the solution's own formula, and a thoughtless answer (nothing, zero, the first argument) must
# fail: `tests/test_classroom.py` tries these on every lesson. Both cells may use the lesson's imports and its
# module only.

# %% [markdown]
# ## Slides
#
# `make slides` writes `_slides/`: a reveal.js deck for each lesson, and `index.html`. Each `##` of a lesson starts a slide, what does not
# fit goes below it: *right* goes to the next section, *down* deeper into this one. Long paragraphs are cut to their
# first sentences, and the whole paragraph is in the speaker's notes (key S opens them in a window of their own, also from a file; allow the pop-up). Figures stand alone with their captions; of long code the
# signatures are shown, of cells that only check something nothing. The decks are made from the saved lessons and need neither
# tags nor a network. `make slides NB=nbs/02_vae.ipynb` makes one deck.
