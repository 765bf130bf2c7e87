# %% [markdown]
# # All of it in 150 lines
#
# > Data, model, refiner, teacher, students and a check: one file of plain PyTorch, nothing imported from this package.
#
# ![Drawing: a digit starts a bell; the bell is decoded into all views and compared with all views of the data; the gradient of that comparison goes to a refiner, which moves the bell.](drawings/loop.svg)
#
# [The story with Gaussians](01_story.ipynb) with neural networks, as short as it can be and still be the method. Copy it, run it (well under a minute on one core), change it. The two views are the halves of scikit-learn's small digits, so nothing is downloaded.
#
# What to look for as you read:
#
# - *section 3*: the ELBO is one line, a sum over the views minus a KL;
# - *section 4*: the other view reaches the refiner as a gradient and in no other way; what a step is given is detached;
# - *section 5*: `iterative_teacher` has no joint encoder, and `distil` takes any teacher, the joint encoder, too;
# - *section 6*: the three answers to a missing half, by one measure.

# %%
#| echo: false
from pathlib import Path
from IPython.display import Markdown
Markdown(f"```python\n{Path('in_150_lines.py').read_text(encoding='utf-8')}```")

# %% [markdown]
# And this is what it prints:

# %%
#| echo: false
import in_150_lines as program
scores, path, students, decoders = program.main()

# %% [markdown]
# Read the first line of nats first: what is left of the joint encoder when half of its input is filled with zeros. Both sets of students are well ahead of it, and this is the point of having students at all. The climb's students are ahead of the joint encoder's by little, in one run with one seed: that is no evidence. What the evidence says, on real data and over seeds, stands [in lesson 11](11_findings.ipynb).
#
# And this is what the students of the climb make of one half, on digits that no training has seen. To the decoders goes a draw of $z$ from the student's bell, so two rows below each other show what the student is unsure of:

# %%
#| code-fold: true
#| code-summary: "Drawing"
#| fig-cap: "Upper block: the left half is given, the right half is drawn, twice. Lower block: the other way round. Strokes go on across the middle, softly, as a grey pixel is one of which the decoder is not sure."
#| fig-alt: "Two blocks of small digits, four rows each: a half beside an empty one, two completions, the data."
import torch
from mmvae_nb.plotting import side_by_side
def completed(view, items=10):
    "Rows of pictures: the half that is given, two draws of the other, and the data."
    other = {"left": "right", "right": "left"}[view]
    x = {v: program.test[v][:items] for v in program.VIEWS}
    whole = lambda half: torch.cat([{view: x[view], other: half}[v].unflatten(1, (8, 4))
                                    for v in program.VIEWS], 2)[:, None]
    draw = lambda: decoders[other](program.sample(students(view, x[view]))).sigmoid()
    return {"given": whole(torch.full_like(x[other], .5)), "draw 1": whole(draw()),
            "draw 2": whole(draw()), "data": whole(x[other])}
with torch.no_grad():
    side_by_side({f"{v} half given": completed(v) for v in program.VIEWS}, columns=1);

# %% [markdown]
# What the package adds to these lines: several kinds of data and likelihoods, weights, a refiner that stays stable at any number of steps ([lesson 08](08_iterative_inference.ipynb)), checkpoints, metrics, and experiments.
