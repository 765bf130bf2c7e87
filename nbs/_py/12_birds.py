# %% [markdown]
# # Birds and their captions
#
# > A judge of pictures and sentences (colours, trigrams, CCA), and birds drawn from captions.
#
# ::: {.callout-note}
# ## You will learn
#
# - what a picture and a sentence share, and why that is harder to check than a digit and its name;
# - judges for pictures and sentences when there is no class to recognise: colours, trigrams, CCA;
# - why the judges themselves must be judged: by their accuracy, by chance, and by what real pairs get;
# - what a JVAE's students draw from captions, and why the mean of $z$ is more often right than a sample.
#
# Runs in about a minute on a laptop CPU, half of it for training a model and its students, which are then kept in the cache.
# :::

# %% [markdown]
# ![Drawing: a bird and a sentence about it, with z between them; arrows infer z from either and decode either from z.](drawings/birds.svg)

# %%
#| default_exp judges.birds

# %%
#| export
import math
from collections import Counter
import numpy as np
import torch
import torch.nn.functional as F
from mmvae_nb.core import *
from mmvae_nb.datasets.drawn_birds import measure_birds, read_captions
from mmvae_nb.judges.classes import cached_classifier
from mmvae_nb.metrics import CanonicalCorrelation, extract_features

# %%
import pandas as pd
from mmvae_nb.checkpoints import cached
from mmvae_nb.data import Modality, splits
from mmvae_nb.datasets.birds import CAPTION_LENGTH, caption_tokens, caption_vocabulary, cub
from mmvae_nb.datasets.drawn_birds import bird_attributes
from mmvae_nb.distillation import Students
from mmvae_nb.multimodal_elbo import JVAE
from mmvae_nb.plotting import generation_grid, line_chart, set_style
from mmvae_nb.pretrained_models import pretrained
from mmvae_nb.text import cub_specs
from mmvae_nb.training import fit

# %%
set_style()

# %% [markdown]
# ## What a picture and a sentence share
#
# A digit and its name share one of ten classes, and that is all. A photograph of a bird and a sentence about it share more, and less
# clearly: the sentence names a few colours, perhaps the bill; it is silent on the branch, the sky and the pose, and what it does say, another writer
# would say differently. So two questions that were easy with digits become hard. *What* should a picture generated from a sentence show? And how is
# one to *check* that it does, when there is no class to recognise?
#
# We go at it from two sides. A **drawn** data set has a truth by construction: every bird is drawn from five attributes (the colours of belly, wing and head, the size, the length
# of the bill), and the attributes can be measured back from the pixels of any picture, also of a generated one. It is small, fast, and scored exactly; code and figures call it *rendered*, and on this page every cell uses it. The **real** one is
# Caltech-UCSD Birds-200-2011, "CUB" (Wah and others, 2011), with the ten captions for each photograph that Reed and others (2016) collected; the
# talk uses it on slides 39, 40, 60 and 68, and here [a section](#what-the-experiments-found) does, from records. There, judges must be trained, and the judges themselves must be judged.
#
# ## Two sources
#
# [Lesson 12a](12a_drawn_birds.ipynb) draws birds from attributes, writes captions about them with a grammar, and reads both back (`measure_birds`, `read_captions`);
# [lesson 12b](12b_photographed_birds.ipynb) turns captions into tokens and reads the real birds, whose photographs can't be carried in a package. `cub` gives either in the same form.
# A *species* of drawn bird is a pair of belly and wing, and no species is in two splits (of six colours in a row, wings three places after the belly are for testing, five places for validation). Both lessons can be skipped at first.

# %%
train, validation, test = (cub(s) for s in splits)
seen, unseen = ({d.class_names[i] for i in d.labels["image"].tolist()} for d in (train, test))
assert not seen & unseen
assert train.modalities["text"].vocabulary == test.modalities["text"].vocabulary
train

# %%
#| fig-cap: "Six birds of unseen species, and one of the five captions of each."
#| fig-alt: "Six drawn birds, and below each one of its captions."
batch, _ = test.take(6)
rows = {"bird": batch["image"], "caption": test.modalities["text"].decode(batch["text"])}
generation_grid(rows, note="rendered data");

# %% [markdown]
# ## Networks that write
#
# The picture gets [lesson 02e](02e_networks.ipynb)'s convolutions. A caption needs more than lesson 02e's text networks: [lesson 12c](12c_text.ipynb) builds a decoder that writes each word from
# a *plan* made of $z$ and from a *window* on the last four words, and shows what goes wrong without either. Padding does not count, and the text has a large weight, or $z$ would not be used. (Below: the number of features that each encoder hands on, the likelihood, and its weight.)

# %%
specs, text = cub_specs(train.modalities), train.modalities["text"]
{n: (s.features, type(s.likelihood).__name__, round(s.weight, 1)) for n, s in specs.items()}

# %% [markdown]
# ## Judging birds
#
# **Colours.** For drawn birds `measure_birds` is exact ([lesson 12a](12a_drawn_birds.ipynb#reading-the-attributes-back)). For real ones we train a classifier on real photographs; its classes are the colours that
# the captions of a photograph name most often. It is asked about generated birds: does it see the main colour of the caption? Captions are noisy labels (a "black and white bird" has one
# main colour only by counting), so the classifier's own accuracy on unseen classes stands beside every result, and so does *chance*: the same generated
# birds with the captions of others. Some colours are common; a model that draws every bird brown is right more often than one time in nine.
#
# **Language.** A *trigram model* counts which word follows which two in training captions. The perplexity, $\exp$ of the mean negative log-probability
# per word, tells whether generated captions read like real ones. A low value alone means little: the same usual sentence for all birds has a
# very low one. So the number of different captions stands beside it.

# %%
#| exports
caption_colours = ("black", "white", "brown", "yellow", "red", "grey", "orange", "blue", "green")
_same_colour = {"gray": "grey"}

def colour_counts(tokens, # int64 (n, length)
                  modality # the `Modality` of the captions
                 ) -> torch.Tensor: # (n, colours), how often each colour is named
    "How often each of `caption_colours` is named in each caption."
    column = torch.full((modality.num_tokens,), len(caption_colours))
    for i, w in enumerate(modality.vocabulary):
        w = _same_colour.get(w, w)
        if w in caption_colours: column[i] = caption_colours.index(w)
    return F.one_hot(column[tokens.cpu()], len(caption_colours) + 1).sum(1)[:, :-1]

def main_colour(tokens, # int64 (n, length)
                modality # the `Modality` of the captions
               ) -> torch.Tensor: # int64 (n,), place in `caption_colours`, -1 for none
    "The colour a caption names most often; among equals, the one named first."
    counts = colour_counts(tokens, modality).float()
    begun = [colour_counts(tokens[:, :k], modality) for k in range(1, tokens.shape[1] + 1)]
    first = torch.stack(begun).clamp(max=1).sum(0)
    best = (counts + first/100).argmax(1)
    return torch.where(counts.sum(1) > 0, best, -1)


# %%
lines = ["a black bird with a white belly and black wings", "a small bird",
         "grey and white , it has a white and a gray head"]           # 2 and 2: grey came first
known = caption_vocabulary(lines, 0)
m = Modality("text", "text", (CAPTION_LENGTH,), known)
named = main_colour(caption_tokens(m, lines), m).tolist()
assert [caption_colours[i] if i >= 0 else None for i in named] == ["black", None, "grey"]


# %%
#| exports
class Trigrams:
    "A language model of three words, interpolated with two and one: how usual a caption is."
    def __init__(self, tokens, # (n, length), training captions
                 num_tokens, # size of the vocabulary
                 pad=0, # token that fills a caption up
                 end=2, # token that ends it
                 shares=(.6, .25, .1)): # of three, two and one words; the rest is uniform
        self.num_tokens, self.pad, self.end, self.shares = num_tokens, pad, end, shares
        self.counts = [Counter() for _ in range(4)]
        for words in map(self._words, tokens.tolist()):
            for i in range(2, len(words)):
                for k in range(4):                                  # k = 0: all words
                    self.counts[k][tuple(words[i - k + 1:i + 1])] += 1
            for i in range(2, len(words)):
                for k in (1, 2): self.counts[k][("before", *words[i - k:i])] += 1

    def _words(self, row):
        "Two marks of the beginning, then the caption to its end mark, without padding."
        caption = row[:row.index(self.end) + 1] if self.end in row else row
        return [-1, -1] + [t for t in caption if t != self.pad]

    def _p(self, words, i):
        c, p = self.counts, (1 - sum(self.shares))/self.num_tokens
        for k, share in zip((3, 2, 1), self.shares):
            before = c[0][()] if k == 1 else c[k - 1][("before", *words[i - k + 1:i])]
            if before: p += share*c[k][tuple(words[i - k + 1:i + 1])]/before
        return p

    def perplexity(self, tokens # int64 (n, length)
                  ) -> float:
        "exp of the mean negative log-probability of a word, the end mark included."
        rows = map(self._words, tokens.tolist())
        logs = [math.log(self._p(w, i)) for w in rows for i in range(2, len(w))]
        return math.exp(-sum(logs)/max(len(logs), 1))


# %% [markdown]
# Its probabilities must sum to one over the vocabulary, whatever came before, and it must like what it has seen:

# %%
language = Trigrams(train.pools["text"], text.num_tokens)
before = language._words(train.pools["text"][0].tolist())[:6]
total = sum(language._p(before + [t], len(before)) for t in range(text.num_tokens))
assert abs(total - 1) < 1e-9
usual, shuffled = test.pools["text"][:500], test.pools["text"][:500].clone()
for r in shuffled: r[:8] = r[:8][torch.randperm(8, generator=generator("words"))]
print(f"test captions {language.perplexity(usual):.1f}, "
      f"their first words shuffled {language.perplexity(shuffled):.1f}")
assert language.perplexity(shuffled) > 3*language.perplexity(usual)


# %% [markdown]
# **Belonging together.** The cosine of lesson 03a's [canonical correlation](03a_metrics.ipynb#do-a-picture-and-a-sentence-belong-together) needs features of both sides. A caption's are the mean of its words' vectors, trained on the
# training captions by FastText (Bojanowski and others, 2017), where frequent words count less and the direction that all captions share is taken out
# (SIF; Arora and others, 2017). A picture's are those of a classifier of species, the same that the FID uses where Inception's weights are not at hand.

# %%
#| exports
def word_vectors(data, # training data with captions
                 size=300, # numbers per word
                 epochs=5, # passes over the captions
                 seed=0 # of FastText
                ) -> np.ndarray: # float32 (words of the vocabulary, size)
    "A vector for each word of the vocabulary, by FastText (gensim), from the cache or trained now."
    m, (tokens, _) = data.modalities["text"], data.items("text")
    version = digest([data.checksum, size, epochs, seed], ["judges.birds"])
    def trained():
        FastText = from_extra("gensim.models").FastText
        sentences = [s.split() for s in m.decode(tokens)]
        net = FastText(sentences, vector_size=size, min_count=1, epochs=epochs, workers=1,
                       seed=seed_of(seed, "words") % 2**32, bucket=20000)
        return {"x": np.stack([net.wv[w] for w in m.vocabulary]).astype(np.float32)}
    return cached_arrays(cache_dir("words")/f"{data.name}-{version}.npz", trained)["x"]


# %%
#| exports
class CaptionFeatures:
    "A vector per caption: word vectors weighted by a/(a + p(word)), less their first direction."
    def __init__(self, data, # training data with captions
                 a=1e-3, # a word as frequent as this has half the weight of a rare one
                 size=300): # numbers per caption
        tokens, _ = data.items("text")
        self.vectors, skip = word_vectors(data, size), 3                       # marks don't count
        share = torch.bincount(tokens.flatten(), minlength=len(self.vectors)).float().cpu().numpy()
        share[:skip] = 0
        self.weights = np.where(np.arange(len(share)) < skip, 0, a/(a + share/share.sum()))
        self.first = None
        self.first = np.linalg.svd(self(tokens[:20000]), full_matrices=False)[2][0]

    def __call__(self, tokens # int64 (n, length)
                ) -> np.ndarray: # (n, size)
        tokens = tokens.cpu().numpy()
        w = self.weights[tokens]
        x = np.einsum("nl,nld->nd", w, self.vectors[tokens])
        x = x/np.maximum((w > 0).sum(1, keepdims=True), 1)
        return x if self.first is None else x - np.outer(x@self.first, self.first)


# %%
#| exports
class BirdJudge:
    "Judges birds and captions: colours, attributes of drawn birds, CCA, trigrams."
    by_chance = ("cosine_similarity", "main_colour", "belly_right", "attributes_right")
    def __init__(self, train, # training data
                 validation=None, # data of other classes on which the colour classifier is tried
                 updates=400, # training steps of each classifier
                 seed=0, # for their weights, order and shifts
                 width=16, # channels of their first layers
                 device="cpu"): # where they train and judge
        self.data, self.validation, m = train, validation, train.modalities["text"]
        images, species = train.items("image")
        tokens, _ = train.items("text")
        self.out = torch.arange(len(images)) % 10 == 9      # on these the species judge is tried
        known = torch.where(self.out.to(species.device), -1, species)
        how = dict(updates=updates, seed=seed, device=device, width=width)
        self.species = cached_classifier(train, "image", labels=known, what="species", **how)
        self.colour = cached_classifier(train, "image", labels=_told_colours(train), what="colour",
                                        **how)
        self.features = {"image": self.species}
        self.captions, self.trigrams = CaptionFeatures(train), Trigrams(tokens, m.num_tokens)
        mine = train.take(len(images))[0]
        self.cca = CanonicalCorrelation(*self._both(mine["image"], mine["text"]))

    def _both(self, images, tokens):
        "The features that the CCA compares."
        return extract_features(images, self.species), self.captions(tokens)

    def scores(self, to, # image or text
               made, # generated items of that modality
               batch, # dict: the true items they belong to
               labels=None # not used: species are not asked for
              ) -> dict: # name of a measure -> number per item, or one number for all
        "For pictures: colour, cosine, attributes of drawn birds. For captions also how usual."
        x, t = (made, batch["text"]) if to == "image" else (batch["image"], made)
        m = self.data.modalities["text"]
        named, own = main_colour(batch["text"], m), main_colour(t, m)
        seen = self.colour.predict(made).cpu() if to == "image" else own
        out = {"cosine_similarity": torch.from_numpy(self.cca.cosine(*self._both(x, t))),
               "main_colour": (seen == named)[named >= 0].float()}
        if to == "text": out |= _caption_scores(made, m, self.trigrams)
        return out if self.data.real else out | _drawn_scores(x, t, m)

    def facts(self) -> dict: # name -> number
        "How good the judge itself is on real items it was not trained on."
        return _species_facts(self) | ({} if self.validation is None else _colour_facts(self))


# %% [markdown]
# What it says of drawn birds and of captions, and how good it is itself:

# %%
#| exports
def _drawn_scores(images, tokens, modality):
    "What the caption says against what is drawn: the belly, and the mean over all it says."
    said, drawn = read_captions(modality.decode(tokens)), measure_birds(images)
    right = torch.stack([(drawn[a] == v).float() for a, v in said.items()], 1)
    told = torch.stack([v >= 0 for v in said.values()], 1).float()
    share = (right*told).sum(1)/told.sum(1).clamp(min=1)
    return {"belly_right": right[:, 0]*told[:, 0], "attributes_right": share}

def _caption_scores(tokens, modality, trigrams):
    "Trigram perplexity, pad marks before the end, length, and how many captions differ."
    lines = modality.decode(tokens)
    inner = [r[:r.index(2)] if 2 in r else r for r in tokens.tolist()]
    return {"trigram_perplexity": trigrams.perplexity(tokens),
            "pad_runs": torch.tensor([float(0 in r) for r in inner]),
            "caption_words": torch.tensor([float(len(r)) for r in inner]),
            "distinct_captions": len(set(lines))/len(lines)}


# %%
#| exports
def _told_colours(data):
    "The main colour of each image by all its captions together."
    owner, m = data.keys["text"].cpu(), data.modalities["text"]
    named = colour_counts(data.items("text")[0], m).float()
    counts = torch.zeros(len(data), len(caption_colours)).index_add_(0, owner, named)
    return torch.where(counts.sum(1) > 0, counts.argmax(1), -1)

def _species_facts(judge):
    "The species judge on training images that it has not seen."
    images, species = judge.data.items("image")
    hit = judge.species.predict(images[judge.out]) == species[judge.out]
    return {"accuracy, species (held-out images)": hit.float().mean().item(),
            "most frequent species": species.bincount().max().item()/len(species)}

def _colour_facts(judge):
    "The colour judge on images of other classes."
    x, colours = judge.validation.items("image")[0], _told_colours(judge.validation)
    known = colours >= 0
    hit = (judge.colour.predict(x).cpu() == colours)[known]
    most = colours[known].bincount().max().item()/int(known.sum())
    return {"accuracy, main colour (held-out classes)": hit.float().mean().item(),
            "most frequent main colour": most}


# %% [markdown]
# True test pairs and mixed-up pairs, judged. This is the scale on which generated pairs will be read.

# %%
judge = BirdJudge(train, validation, updates=150)
true, _ = test.take(400)
number = lambda v: float(torch.as_tensor(v, dtype=torch.float).mean())
judged = {}
for to in ("image", "text"):
    for who, items in {"true": true[to], "mixed up": true[to].roll(1, 0)}.items():
        scores = judge.scores(to, items, true)
        judged[to, who] = pd.Series({k: number(v) for k, v in scores.items()})
    right, mixed = judged[to, "true"], judged[to, "mixed up"]
    assert right["attributes_right"] > 0.95 > 0.6 > mixed["attributes_right"]
    assert right["cosine_similarity"] > mixed["cosine_similarity"] + 0.1
plain = lambda v: "" if pd.isna(v) else f"{v + 0:.2f}".replace("-0.00", "0.00")
pd.DataFrame(judged).reindex(judged["text", "true"].index).map(plain)

# %% [markdown]
# (A score with two empty cells is one of captions only.) And the classifiers themselves, each beside the commonest answer:

# %%
pd.Series(judge.facts()).round(2).to_frame("share")


# %% [markdown]
# How to read it: the attributes are exact, so true pairs have 1. The *colour* classifier is far from 1 on true pictures: it errs, and
# it has learnt the colour that all captions of a bird together name most often, which a single caption need not name at all. So its measure is what true pictures get, not 1. (No ceiling either: a bird drawn with nothing but the colours of the caption can please it more than a true one.) A *cosine* of true pairs is small, too. (For
# captions `main_colour` is 1 by construction, as a true caption is compared with itself; perplexity and length can't tell true from mixed up, since they look at no bird.)
#
# ## Birds from sentences
#
# Everything else is what it was for digits: a JVAE, then students of one modality each (lessons 03 and 10; tables call them *JMVAE student*, as the talk does). Not a line of training code is new. Here they get half a minute:

# %%
def fresh():
    "A JVAE of birds and captions."
    seed_everything(0, "birds")
    return JVAE(specs, latent=64)
run = dict(updates=200, batch_size=32, lr=4e-3)
taught = dict(run, updates=150)
code = ["multimodal_elbo", "text", "distillation", "training", "datasets.birds"]
joint = cached("birds-jvae", fresh, lambda m: fit(m, train, **run), run, code)
seed_everything(0, "birds, students")
brief = cached("birds-students", lambda: Students(joint),
               lambda m: fit(m, train, **taught), [run, taught], code)

# %% [markdown]
# Eight times as long, 1,600 updates and 1,200 for the students, takes a few minutes. Such students [come with the course](02j_pretrained.ipynb), those of the experiments below (scale `quick`: the smallest of lesson 14 that shows anything), the same networks on the same drawn birds. Both get the same captions and the same birds:

# %%
students = pretrained("cub_jmvae_student")
shown = {"caption": text.decode(batch["text"]), "its bird": batch["image"]}
with torch.no_grad():
    for name, m in {"half a minute": brief, "shipped": students}.items():
        shown[f"{name}:\nfrom caption"] = m.generate({"text": batch["text"]}, to="image")["image"]
        told = m.generate({"image": batch["image"]}, to="text")["text"]
        shown[f"{name}:\nfrom bird"] = text.decode(told)

# %%
#| fig-cap: "Birds drawn from six captions, and captions written from six birds, by students of a JVAE: after half a minute of training, and those that come with the course."
#| fig-alt: "Columns of six. After half a minute all captions give nearly the same brown blur of a bird, and the captions written name wrong colours. The shipped students draw birds with the belly, the head and the size of the caption, and say of each bird its belly, its head and its size."
generation_grid(shown, note="rendered data, unseen species, mean of z");

# %% [markdown]
# After half a minute the model has learnt what all birds have in common and nearly nothing of what tells them apart: one bird for all captions, and sentences whose belly is mostly another's. The shipped students draw birds of the size and the belly that the caption asks for, and often the head and the wings. Where
# a caption does not say something, the mean of $z$ does not choose but averages: the sixth's head, of which nothing is said, is a grey smudge, and where no size is named (second, fifth, sixth) two sizes show through each other. Their captions can stumble: the fifth names the bill twice. How often are they right, over 400 pairs of unseen species?

# %%
with torch.no_grad():
    made = students.generate({"text": true["text"]}, to="image")["image"]
    told = students.generate({"image": true["image"]}, to="text")["text"]
shares = {}
for way, picture, captions in (("drawn from the caption", made, true["text"]),
                               ("said of the bird", true["image"], told)):
    found, said = measure_birds(picture), read_captions(text.decode(captions))
    hit = {a: (found[a] == v)[v >= 0] for a, v in said.items()}
    shares[way] = {a: f"{h.float().mean():.2f} of {len(h)}" for a, h in hit.items()}
    assert all(hit[a].float().mean() > .7 for a in ("belly", "head", "size"))
shares["by chance"] = {a: f"{1/len(bird_attributes[a]):.2f}" for a in said}
pd.DataFrame(shares)

# %% [markdown]
# The belly, the largest patch of colour, is nearly always right, head and wing mostly, although these pairs of belly and wing never came in training. The bill is at chance in both directions. It
# is the smallest part that a caption names, a few pixels. The decoder can draw it: given bird *and* caption, the JVAE draws nearly all that is said (0.95 right in the [report](../results/quick/tables/cub.csv), more than birds with bills at chance could get). So it is lost in the inference from one modality. And the captions of the students hardly ever speak of wings. Two in three true ones do, but nothing in a
# picture says which details its captions will pick, and the mean of $z$ gives the same kind of sentence to nearly all birds: belly, size, head, often the bill. How far each method gets stands [further down](#what-the-experiments-found).
#
# ## A mean, or a sample?
#
# These birds are decoded from the *mean* of the student's posterior. A sample would be the honest answer to "what might this bird look like?", as it also draws
# what the caption leaves open. A student's posterior has to be wide there: it covers the teacher's posteriors of all birds with such a caption (lesson 10). Let us shrink its deviation by a
# factor $c$, from a full sample ($c = 1$) down to the mean ($c = 0$), with the same noise.

# %%
factors, noise = (0, .25, .5, .75, 1), torch.randn(400, 64, generator=generator("tau"))
with torch.no_grad(): q = students.infer({"text": true["text"]})
def right(z):
    "Shares of bellies, and of all that captions say, that are right in birds decoded from `z`."
    with torch.no_grad(): scores = judge.scores("image", students.generate(z)["image"], true)
    return [scores[k].mean().item() for k in ("belly_right", "attributes_right")]
belly, attributes = zip(*[right(q.mean + c*q.std*noise) for c in factors])
assert belly[0] > .8 and attributes[0] > attributes[-1]

# %%
#| fig-cap: "What is right in birds drawn from captions when the student's deviation is multiplied by c: 0 is the mean, 1 a sample."
#| fig-alt: "Two curves against c. Both are level up to a quarter and fall from there to the sample, the belly from nearly 1, all attributes from a lower value."
line_chart(factors, {"belly": (belly, None), "all that is said": (attributes, None)},
           "factor c on the deviation", "share that is right");


# %% [markdown]
# Up to a quarter of the deviation nothing is lost; from there on, the wider, the less is right. Why? In the sample, coordinates of $z$ wander off together that no bird of the training set had in that combination: the student's posterior takes
# them as independent, and the JVAE's decoder has only ever seen $z$ from the narrow posteriors of whole pairs. If that is the reason, decoders that are trained on wide posteriors, too, should mind less. Those of the iterative
# teacher and of MoPoE are (lessons 09 and 05), and in the next section they lose less, MoPoE nothing. That fits, and is no proof.
#
# ## What the experiments found
#
# Species of the test were never seen in training. In brackets stands what chance gets: the same birds or captions, paired with those of others. *True pairs* is what the judge says of true birds with their captions.
#
# *Drawn birds* (scale `quick`, one seed, 500 pairs; 1,600 updates, students 1,200; all measures are in the [report](../results/quick/tables/cub.csv)). The belly, and all that the caption says; the FID is in the features of our species classifier:
#
# | | MoPoE | JMVAE student | iterative student | true pairs |
# |---|---|---|---|---|
# | bird from caption: belly right | 0.99 (0.16) | 0.70 (0.16) | 0.83 (0.16) | 1.00 |
# | the same, mean of $z$ | 1.00 (0.16) | 0.98 (0.16) | 1.00 (0.16) | 1.00 |
# | bird from caption: all it says right | 0.74 (0.27) | 0.68 (0.27) | 0.74 (0.26) | 1.00 |
# | the same, mean of $z$ | 0.75 (0.27) | 0.84 (0.26) | 0.87 (0.26) | 1.00 |
# | caption from bird: belly right | 0.99 (0.15) | 0.97 (0.15) | 0.97 (0.16) | 1.00 |
# | the same, mean of $z$ | 1.00 (0.16) | 0.98 (0.15) | 0.99 (0.16) | 1.00 |
# | caption from bird: all it says right | 0.82 (0.29) | 0.90 (0.31) | 0.83 (0.29) | 1.00 |
# | the same, mean of $z$ | 0.84 (0.28) | 0.90 (0.31) | 0.85 (0.31) | 1.00 |
# | FID of birds | 104 | 102 | 82 | 1.8 |
# | the same, mean of $z$ | 104 | 71 | 70 | 1.8 |
# | KL from its teacher, pictures (nats) | – | 8 | 37 | – |
# | KL from its teacher, text (nats) | – | 80 | 75 | – |
#
# *From captions*, with the mean both students are right about nearly all bellies, and about six sevenths of all that is said. Sampled, the iterative student keeps more of it than the JMVAE student. MoPoE's samples are as good as its mean: sampled, it has the most bellies right, and of all that is said no more than the iterative student.
# *From birds* the JMVAE student's captions are right more often than the iterative student's and than MoPoE's, but there are fewer of them: 31 different ones in 100, against 72 and 52. *FID* of both students is lower with the mean; MoPoE's is the same, and the highest.
#
# ![Rows of eight: captions, the drawn birds they were written about, and birds drawn from the captions by MoPoE, the JMVAE student and the iterative student. All stand on a branch; their colours agree with the caption in part.](../results/quick/figures/slide_39_text_to_image.png)
#
# *Real birds* (scale `long`; half of the set: 4,126 photographs of 70 species to train on, 675 of 23 other species judged; 5,000 updates of 32 items, students as many; both students and their teachers with three seeds, MoPoE with one; [report](experiments/cub.ipynb)). The colour classifier is right for 0.41 of true photographs. (On validation species, too; there the commonest colour alone would be right for 0.26.) A caption's colour is compared with that of *one* caption that somebody wrote of the photograph:
#
# | | MoPoE | JMVAE student | iterative student | true pairs |
# |---|---|---|---|---|
# | bird from caption: main colour right | 0.15 (0.14) | 0.34 (0.21) | 0.29 (0.20) | 0.41 |
# | the same, mean of $z$ | 0.12 (0.13) | 0.42 (0.15) | 0.27 (0.14) | 0.41 |
# | bird from caption: cosine | 0.019 (0.001) | 0.034 (0.005) | 0.032 (0.007) | 0.077 |
# | the same, mean of $z$ | 0.030 (0.017) | 0.072 (0.006) | 0.026 (-0.002) | 0.077 |
# | caption from bird: main colour right | 0.31 (0.21) | 0.31 (0.21) | 0.25 (0.19) | 1.00 |
# | the same, mean of $z$ | 0.30 (0.20) | 0.34 (0.22) | 0.30 (0.19) | 1.00 |
# | caption from bird: cosine | 0.004 (-0.005) | 0.051 (0.007) | 0.032 (-0.003) | 0.077 |
# | the same, mean of $z$ | 0.005 (0.004) | 0.051 (0.011) | 0.066 (-0.002) | 0.077 |
# | captions from birds that differ | 0.02 | 0.85 | 0.97 | 0.94 |
# | FID of birds | 415 | 50 | 52 | 7.3 |
# | the same, mean of $z$ | 621 | 314 | 474 | 7.3 |
# | KL from its teacher, pictures (nats) | – | 89 | 90 | – |
# | KL from its teacher, text (nats) | – | 135 | 110 | – |
#
# ![Rows of eight: captions, the photographs they were written about, and what three methods draw from the captions. MoPoE draws grey-green fog; the JMVAE student blurs in strong colours, here and there a bird in that of the caption; the iterative student darker, smoother blurs in fewer colours, hardly one of them a bird.](../results/long/figures/slide_39_text_to_image.png)
#
# *Colour.* With the mean of $z$ the JMVAE student's birds have the main colour of their caption as often as true photographs do, nearly three times as often as by chance; the iterative student's not quite twice as often, in each of the three seeds less often than the other's, and the cosines say the same. Sampled, both are less far above chance; the JMVAE student is ahead in each seed, too, but an interval over three seeds includes zero (open). MoPoE's colours are at chance. Shapes are blurs; of the samples above a stranger would call few a bird.
#
# *Captions* read well (no runs of padding, and more usual words than people's: trigram perplexity about 6, theirs is 11.8) and say something about the bird in the photograph: both students name its colour more often than chance. The JMVAE student does in each seed more often than the iterative one (open), and by the cosine it is ahead in two of three (open); from the mean that is the iterative student, by 0.016 (0.001 to 0.031). MoPoE's score comes from 14 different captions for 675 birds. [The report](experiments/cub.ipynb) has captions of eight birds by each method (slide 60).
#
# *FID* of samples is a little smaller for the JMVAE student, in each seed; in the talk the iterative student is a little ahead. Do not read much into it: from the mean of $z$, whose colours are further above chance, the students' is six to nine times as large. For faces the mean's FID is the larger one, too (lesson 13), for the drawn birds above it is the smaller. A likely
# reason is that the speckles of a sampled $z$ pass for texture in the features of a classifier of photographs; we have not tested it.
#
# *KL from teacher to student.* For text the JMVAE student's is larger, for pictures a little smaller; in the talk it is smaller for both (slide 68). These are two
# teachers: the numbers tell how hard each is to imitate, not which student is better. (The talk's cosines, -0.005 to 0.008, are of another judge.)
#
# *Would longer training help?* Not tried from here on. Over the last third of the updates the JVAE's loss of validation species fell by 0.7 % only, and at the end it was 6,550 nats for their pictures and 6,230 for those of training: photographs
# learnt by heart, or other species being harder; which of the two was not tested. (The learning rate went to zero meanwhile, so a loss that falls little is no proof that more updates would be in vain.) The next step would be more photographs, or networks that know some. (All from the records `results/long/runs/cub-jvae-*.json`, a mean over seeds.) At equal updates the iterative teachers took 36 to 43 minutes on a core, the JVAEs 11 to 12.
#
# Colour came with two changes, chosen on the validation species: lesson 02e's coarse picture beside the convolutions, and
# longer training, of the students above all. In an earlier run without them, which is not kept, agreement was at chance.
#
# ## What goes wrong, and how you would notice
#
# - **Padding counted** ([lesson 12c](12c_text.ipynb)). The mean per place looks splendid (nearly half of the places are padding) and captions hold runs of pad marks. `pad_runs` counts them.
# - **$z$ unused.** The sentences are fine and all the same. The KL of the text is near zero, and `distinct_captions` is low.
# - **A leak in the vocabulary** ([lesson 12b](12b_photographed_birds.ipynb#words-to-tokens)). Words are counted over all splits; a test caption then never has an unknown word. Build it from the training split.
# - **A split by item, not by class.** A photograph of the same species is in both; a model that recognises species looks as if it understood words.
# - **A measure without its scale.** A cosine of 0.008, the talk's best, means nothing until one knows what real pairs and mixed-up pairs get.
# - **Everything grey-brown.** With eight colours and smaller birds that could stand anywhere, a first trial (not kept) still drew grey-brown birds when it ended: where nothing is known of a
#   colour, the best guess is the middle. Six colours, larger birds that move less and a higher learning rate together cured it. Look at the pictures before the loss: it fell all the time.
#
# ## Recap
#
# - A drawn data set with attributes that can be measured back gives exact scores; the scorer itself must be right on true, blurred and
#   mixed-up pairs.
# - A caption decoder with a plan from $z$ and a short window writes readable sentences; what lasts longer than the window has to come from $z$.
# - A student's posterior is wide where the caption leaves things open: what its mean gets right, its samples partly lose.
# - Where judges are trained, their own accuracy, chance, and the value of real pairs belong beside every number.
#
# ## Exercises
#
# 1. A model draws the same brown bird for every caption. Which of the judge's scores would notice, and which would not?
# 2. The colour judge is right for two thirds of true pictures, say. A model's birds get 0.5, by chance 0.2. Is a half of its birds wrong?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. `main_colour` and `belly_right` are then at their values by chance, the share of captions whose main colour or belly is brown, and `attributes_right` near its own; the cosine is near zero. The FID, which is not one of the judge's scores, grows, since there is no variety. The trigram
#    perplexity says nothing about pictures.
# 2. No: birds as true as photographs would get two thirds, too. Between chance (0.2) and those (0.67) the model has gone about two thirds of the way.
# :::
#
# ### In code: how often each word is seen
#
# The judge's trigram model mixes three, two and one words. Fill in `bigram_probability`, the plain share: how often `word` follows `before` among all words that follow `before`.
# Sentences are lists of tokens; 0 stands for the end and nothing follows it. The check compares with a table of counts.

# %%
#| code-fold: true
#| code-summary: "Solution"
def bigram_probability(sentences, before, word):
    "The share of `word` among the tokens that follow `before`; 0 where `before` is never followed."
    ### BEGIN SOLUTION
    after = [b for s in sentences for a, b in zip(s, s[1:]) if a == before]
    return after.count(word)/len(after) if after else 0.
    ### END SOLUTION


# %%
rng = np.random.default_rng(0)
sentences = [[*rng.integers(1, 5, rng.integers(2, 9)).tolist(), 0] for _ in range(200)]
table = np.zeros((5, 5))
for s in sentences:
    for i in range(1, len(s)): table[s[i - 1], s[i]] += 1
table = table/np.maximum(table.sum(1, keepdims=True), 1)
for a in range(5):
    for b in range(5): assert abs(bigram_probability(sentences, a, b) - table[a, b]) < 1e-12
assert bigram_probability(sentences, 0, 1) == 0 and bigram_probability([[1, 1, 2]], 1, 1) == .5

# %% [markdown]
# ## References
#
# - Wah and others (2011), [The Caltech-UCSD Birds-200-2011 dataset](https://www.vision.caltech.edu/datasets/cub_200_2011/): 11,788 photographs of 200 species, with boxes and attributes.
# - Reed and others (2016), [Learning deep representations of fine-grained visual descriptions](https://arxiv.org/abs/1605.05395) (the captions).
# - Shi and others (2019), [Variational mixture-of-experts autoencoders](https://arxiv.org/abs/1911.03393) (CUB with captions; the CCA score).
# - Bojanowski and others (2017), [Enriching word vectors with subword information](https://arxiv.org/abs/1607.04606): vectors for words, also for those that training never saw.
# - Arora, Liang, Ma (2017), [A simple but tough-to-beat baseline for sentence embeddings](https://openreview.net/forum?id=SyK00v5xx): a weighted mean of word vectors is a good vector of a sentence.
