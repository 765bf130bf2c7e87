# %% [markdown]
# # The methods side by side
#
# > What each method trains, how it infers from a part of the views, and what it needs for that.
#
# ![Drawing: eight panels, from the JVAE's one encoder of both views over products and mixtures of the views' bells to students and the iterative teacher.](drawings/zoo.svg)
#
# $\times$ is a product of bells, $+$ a mixture of them; blue are the data, orange what the decoders learn from, green what is drawn to it, purple a gradient. $\mathcal L(x; q)$ is the ELBO of all modalities ([lesson 03](03_multimodal_elbo.ipynb)), $q_m$ an encoder of one modality, $M$ their number, $A$ the modalities that are given.
#
# | method | what is minimised | inference from $A$ | encoders | lesson |
# |---|---|---|---|---|
# | JVAE | $-\mathcal L(x; q_\phi)$ | not possible: it needs all | 1 joint | [03](03_multimodal_elbo.ipynb) |
# | JMVAE-kl | $-\mathcal L(x; q_\phi) + \alpha \sum_m \mathrm{KL}(q_\phi \Vert q_m)$ | product of the $q_m$; of all: the joint encoder | 1 joint, $M$ | [04](04_jmvae.ipynb) |
# | MVAE | $-\mathcal L(x; q)$, $q$ the product of all $q_m$ and the prior | product of the $q_m$ and the prior | $M$ | [05](05_mopoe.ipynb) |
# | MMVAE | mean over $m$ of $-\mathcal L(x; q_m)$ | product of the $q_m$ | $M$ | [05](05_mopoe.ipynb) |
# | MoPoE | mean over all subsets of $-\mathcal L(x; q_A)$ | product of the $q_m$ | $M$ | [05](05_mopoe.ipynb) |
# | MVTCAE | reconstruction, a KL to the prior, and KLs from the product to each $q_m$ | product of the $q_m$ | $M$ | [06](06_mvtcae.ipynb) |
# | CRMVAE | the same, and each $q_m$ reconstructs its own modality | product of the $q_m$ | $M$ | [06](06_mvtcae.ipynb) |
# | iterative teacher | mean over $t$ of $-\mathcal L(x; q_t)$ | not possible: its gradient needs all | $M$, and one refiner | [09](09_multimodal_iterative.ipynb) |
# | students of any teacher | $\mathrm{KL}(q_{\mathrm{teach}} \Vert s_m)$ | product of the $s_m$ | $M$, beside the teacher's | [10](10_distillation.ipynb) |
#
# *Product of the $q_m$*: over $m$ in $A$; one modality gives its own encoder's answer. (The drawing shows what each method *trains*: MMVAE and MoPoE train mixtures, with a bump for each part, and are used with the product here. CRMVAE's panel is MVTCAE's.)
#
# ## In numbers
#
# On MNIST-SVHN-Text, from one modality, scale `long` ([lesson 11](11_findings.ipynb) says what was run and how far the differences can be trusted): means over seeds, and over directions or, for linear accuracy, digits and street numbers (words are read off nearly perfectly by all).
#
# - *Trained* are the millions of weights that the method's own training moves. A student trains its encoders alone: its teacher and their decoders stand still.
# - *In use* are the millions that it takes from any one modality to any other: the $M$ encoders of one modality and the $M$ decoders. These are the same networks for all methods, so the numbers to their right are not those of a larger network.
# - *Milliseconds* are those of an update of 64 items on one core ([Time and memory](bench.ipynb)), the teacher and its students with $T = 4$. A student's update is that of all students, without their teacher's training.
# - The time of an answer has no column, because it does not tell them apart: from one modality to another it is one pass through the same encoder and the same decoder.
# - *MVAE* stands here for the full product alone. As published it is trained on single modalities and random subsets as well, for the very sake of answers from one modality, which are so poor in its row. *MMVAE* is trained by equation (2) of lesson 05; as published it keeps the density of the mixture and uses several importance samples.
# - *Learning rates* are 0.002 for all but MMVAE, which has 0.004. JVAE, iterative teacher and MoPoE were trained at both ([lesson 11](11_findings.ipynb#the-other-rate)).
# - *FID* is by our own classifiers. By ImageNet's features the order can be another ([lesson 11](11_findings.ipynb)).
# - A *dash* has one of two reasons. The JVAE and the iterative teacher give no answer from one modality, so nothing of theirs is in use or judged here. And the benchmark did not time CRMVAE, nor the students of MVTCAE and CRMVAE.

# %%
#| echo: false
import pandas as pd, torch
from pathlib import Path
from mmvae_nb.datasets.digits import mnist_svhn_text
from mmvae_nb.experiments.runs import METHODS, make_model
from mmvae_nb.experiments.talk import metric_rows
from mmvae_nb.networks import default_specs

specs = default_specs(mnist_svhn_text("test").modalities)
def built(method):
    "A model of `method`, with its teacher, on the device without memory."
    teacher = METHODS[method].teacher
    with torch.device("meta"): return make_model(method, specs, teacher=teacher and built(teacher))

def millions(weights): return f"{sum(w.numel() for w in weights)/1e6:.2f}"
def sizes(method):
    "Of one method: what it trains, and what takes one modality to another; in millions."
    m = built(method)
    used = [] if m.needs_all else [*m.encoders.parameters(), *m.decoders.parameters()]
    return {"trained, millions": millions(w for w in m.parameters() if w.requires_grad),
            "in use, millions": millions(used) if used else "–"}


# %%
#| echo: false
records = metric_rows(Path("../results/long")).query("dataset == 'mnist_svhn_text'")
views = ["mnist", "svhn", "text"]
six = [f"{a}->{b}" for a in views for b in views if a != b]
asked = {"FID, digits ↓": ("fid", [d for d in six if d.endswith("mnist")], 1),
         "FID, street numbers ↓": ("fid", [d for d in six if d.endswith("svhn")], 1), "coherence ↑": ("coherence", six, 3),
         "linear accuracy, pictures ↑": ("linear_accuracy", views[:2], 3)}
pace = pd.read_csv("../results/bench/steps.csv").query("who == 'ours' and precision == 'float32' and batch == 64")
pace = pace.set_index("method").median_ms
shown = {"JVAE": "jvae", "JMVAE-kl": "jmvae", "MVAE": "mvae", "MMVAE": "mmvae", "MoPoE": "mopoe", "MVTCAE": "mvtcae",
         "CRMVAE": "crmvae", "iterative teacher": "iterative", "JMVAE student": "jmvae_student",
         "MVTCAE student": "mvtcae_student", "CRMVAE student": "crmvae_student", "iterative student": "iterative_student"}
timed = {"iterative": "iterative_t4", "jmvae_student": "jvae_student"}
def numbers(method):
    "Of one method: sizes, pace, seeds, and the four merits."
    r = records[records.method == method]
    value = lambda metric, where: r.value[(r.metric == metric) & r.condition.isin(where)].mean()
    found = {said: f"{value(m, where):.{digits}f}" for said, (m, where, digits) in asked.items()}
    ms = pace.get(timed.get(method, method))
    return {**sizes(method), "ms an update": "–" if ms is None else f"{ms:.0f}", "seeds": r.seed.nunique(),
            **{k: "–" if v == "nan" else v for k, v in found.items()}}
pd.DataFrame({said: numbers(m) for said, m in shown.items()}).T

# %% [markdown]
# ## Which of them are bounds?
#
# With all weights $w_m = \beta = 1$:
#
# - JVAE, MVAE, the single posteriors of MMVAE and MoPoE, and every step of the iterative teacher have ELBOs, which are lower bounds of $\log p(x)$; so are means of them.
# - JMVAE-kl subtracts something that is never negative from a bound: a bound still, and a looser one.
# - MVTCAE bounds another quantity, the total correlation that $z$ explains, up to entropies that no model changes.
# - CRMVAE is no bound with more than one modality. A student's loss is none: it is a distance to a teacher.
#
# ## What to expect of them
#
# - *Who is made for a missing modality?* Mixtures train each $q_m$ to explain all modalities, those it has not seen as well, and pay for it with blur ([lesson 05](05_mopoe.ipynb#why-mixtures-lose)). Students don't touch the decoders, so they can't blur them; the training of their teacher may have ([lesson 11](11_findings.ipynb#by-whose-eyes) on the fainter street numbers of the iterative student at one learning rate of two).
# - *Who needs complete items?* The JVAE, and with it the JMVAE student, whose teacher it is. The losses above are written for items that have every modality; all others train on what is there as well ([lesson 09a](09a_missing.ipynb)): JMVAE-kl takes the product of its encoders for an item with a hole, and the iterative teacher refines by the modalities that an item has.
# - *What did they do in experiments?* Measured numbers stand [in lesson 11](11_findings.ipynb) and in the reports of the section *Results*.
