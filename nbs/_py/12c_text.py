# %% [markdown]
# # Networks that write
#
# > Encoder, decoder and likelihood of texts: a plan from z and a window of words.
#
# ::: {.callout-note}
# ## You will learn
#
# - why a decoder of independent words loses the thread, and how a plan and a window keep it;
# - a likelihood of text that ends, and how it writes;
# - how $z$ falls silent about a text, and how one notices;
# - the networks of birds ([lesson 12](12_birds.ipynb)) and of faces ([lesson 13](13_faces.ipynb)), whose texts start anywhere.
#
# Runs in one to two minutes on a laptop CPU, most of it for training three small models, which are then kept in the cache.
# :::

# %% [markdown]
# ![Drawing: a caption as a row of words and their numbers, filled up with zeros; below, the fifth word is written from a plan for its place, made of z, and the four words before it.](drawings/writing.svg)

# %%
#| default_exp text

# %%
#| export
import math
from dataclasses import replace
from functools import partial
import torch
import torch.nn.functional as F
from torch import nn
from mmvae_nb.core import *
from mmvae_nb.networks import *

# %%
from mmvae_nb.checkpoints import cached
from mmvae_nb.data import Modality
from mmvae_nb.datasets.birds import cub
from mmvae_nb.datasets.faces import celeba
from mmvae_nb.training import fit
from mmvae_nb.vae import Loss


# %% [markdown]
# ## A decoder that writes sentences
#
# [Lesson 02e](02e_networks.ipynb)'s text decoder gives, for each place, a distribution over words, and the places are independent given $z$:
# $p(x \mid z) = \prod_l p(x_l \mid z)$, where $x$ is the caption alone and $x_l$ its word at place $l$. For a word of eight letters that is enough. For a sentence it is not. If $z$ leaves open whether the bird
# "has black wings" or "has a red head", each place picks its likeliest word by itself, and the two sentences run into one another: "has a black head".
#
# A decoder that sees all words before, $p(x_l \mid x_{<l}, z)$, writes well but has a different trouble: it can do without $z$. What the earlier words tell about the
# next one it need not be told by $z$; in the extreme, $z$ is ignored and the KL is zero (*posterior collapse*, Bowman and others, 2016). We take the
# middle: each word sees a **plan** for its place, made from $z$ alone, and a **window** of the last four words, some of which are hidden while training:
#
# $$
# \begin{aligned}
# p(x \mid z) = \prod_{l} p\big(x_l \mid \mathrm{plan}_l(z),\; x_{l-4}, \dots, x_{l-1}\big) .
# \end{aligned}
# \tag{1}
# $$
#
# What the decoder knows when it writes the first six words of a caption (a dot stands for a place before the beginning, or for a hidden word):
#
# | place $l$ | 1 | 2 | 3 | 4 | 5 | 6 |
# |---|---|---|---|---|---|---|
# | from $z$ | plan 1 | plan 2 | plan 3 | plan 4 | plan 5 | plan 6 |
# | window | · · · · | · · · this | · · this bird | · this bird has | this bird has a | bird has a red |
# | the same while training | · · · · | · · · this | · · · bird | · this bird has | this · has a | bird has · red |
# | word to write | this | bird | has | a | red | belly |
#
# The window makes neighbouring words fit ("a" before "red"); that the belly is *red* no earlier word tells, so it has to be in the plan, that is, in $z$. And the window is a
# convolution: all places are scored at once while training. Only writing goes word by word.
#
# (`anywhere` and `blank` below are for the texts of lesson 13, which begin at a random place.)
#
# Our contract asks a likelihood for `log_prob(x, params)`, where `params` is whatever the decoder returned. Here that is a `Plan`: the vectors
# for all places together with the decoder that can turn them into scores.

# %%
#| exports
class GlobalMaxPool(nn.Module):
    "The largest value over all places: (batch, features, places) -> (batch, features)."
    def forward(self, x): # (batch, features, places)
        return x.amax(-1)

def _layers(convolution, features, n):
    "`n` convolutions that halve or double the number of places."
    return [l for _ in range(n)
            for l in (convolution(features, features, 4, 2, 1), norm(features), nn.SiLU())]

class CaptionEncoder(nn.Module):
    "Tokens -> features: convolutions that halve the text down to 8 places."
    def __init__(self, num_tokens, # size of the vocabulary
                 length, # tokens of one text: 16, 32, 64, ...
                 features=128, # channels of all layers; 8 times as many come out
                 anywhere=False): # may the text start anywhere? Then only what is found counts
        super().__init__()
        halvings = math.log2(length/8)
        if halvings < 1 or halvings % 1:
            raise MmvaeError(f"text length: got {length}, allowed: 16, 32, 64, ...")
        self.embedding = nn.Embedding(num_tokens, features)
        layers = _layers(nn.Conv1d, features, int(halvings))
        self.net, self.features = nn.Sequential(*layers, nn.Flatten()), 8*features
        if anywhere:
            wide = nn.Conv1d(features, 4*features, 4, 2, 1)
            net = nn.Sequential(*layers[:6], wide, nn.SiLU(), GlobalMaxPool())
            self.net, self.features = net, 4*features
    def forward(self, tokens): # int64 (batch, length)
        return self.net(self.embedding(tokens).transpose(1, 2))


# %%
#| exports
class CaptionDecoder(nn.Module):
    "z -> a `Plan`: what to write where; a word is written knowing the plan and the last few words."
    def __init__(self, latent, # dimensions of z
                 num_tokens, # size of the vocabulary
                 length, # tokens of one text: 16, 32, 64, ...
                 features=128, # numbers in a plan
                 window=4, # how many words it looks back
                 drop=0.2, # share of them hidden while training
                 anywhere=False): # may the text start anywhere? Then every place has the same plan
        super().__init__()
        layers = _layers(nn.ConvTranspose1d, features, int(math.log2(length/8)))
        self.plan = nn.Sequential(nn.Linear(latent, 4*features), nn.SiLU(),
                                  nn.Linear(4*features, 8*features), nn.SiLU(),
                                  nn.Unflatten(1, (features, 8)), *layers,
                                  nn.Conv1d(features, features, 1))
        if anywhere:
            self.plan = nn.Sequential(nn.Linear(latent, 4*features), nn.SiLU(),
                                      nn.Linear(4*features, features),
                                      nn.Unflatten(1, (features, 1)))
        self.places = nn.Parameter(torch.zeros(length, features)) if anywhere else None
        self.embedding = nn.Embedding(num_tokens + 1, features)  # the last: before the text, hidden
        self.look_back = nn.Conv1d(features, features, window)
        self.window, self.drop = window, drop
        self.out, self.nothing = nn.Linear(features, num_tokens), num_tokens
    def forward(self, z): # (batch, latent)
        vectors = self.plan(z).transpose(1, 2)
        return Plan(self, vectors if self.places is None else vectors + self.places)


# %%
#| exports
class Plan:
    "Parameters of a text likelihood: a vector per place, and the decoder that makes words of it."
    def __init__(self, decoder, # a `CaptionDecoder`
                 vectors): # what to write at each place: (batch, length, features)
        self.decoder, self.vectors = decoder, vectors

    def logits(self, tokens): # int64 (batch, length)
        "Scores of each word given those before it: (batch, length, vocabulary)."
        d = self.decoder
        before = F.pad(tokens, (d.window, 0), value=d.nothing)[:, :-1]
        if d.training and d.drop:
            hidden = torch.rand(before.shape, device=before.device) < d.drop
            before = torch.where(hidden, d.nothing, before)
        past = d.look_back(d.embedding(before).transpose(1, 2)).transpose(1, 2)
        return d.out(F.silu(self.vectors + past))

    def write(self, choose): # scores (batch, vocabulary) -> the next token of each (batch,)
        "Write word by word: int64 (batch, length)."
        d, n = self.decoder, len(self.vectors)
        tokens = torch.full((n, d.window), d.nothing, device=self.vectors.device)
        for at in self.vectors.unbind(1):
            past = d.look_back(d.embedding(tokens[:, -d.window:]).transpose(1, 2))[:, :, 0]
            tokens = torch.cat([tokens, choose(d.out(F.silu(at + past)))[:, None]], 1)
        return tokens[:, d.window:]


# %%
#| exports
class CaptionLikelihood:
    "Likelihood of text that ends: `params` are a `Plan`; what follows the end mark does not count."
    def __init__(self, pad=None, # token that fills the text up; None if all places count
                 banned=(), # tokens that are never written
                 end=None, # token after which only `pad` is written
                 blank=None): # token before a text that may start anywhere
        self.pad, self.banned, self.end, self.blank = pad, tuple(banned), end, blank
        if end is not None and pad is None:
            raise MmvaeError(f"pad: got None, allowed: the token that follows the end mark ({end})")

    def log_prob(self, x, # int64 (batch, length)
                 params): # a `Plan`
        "The log-probability of each text, of the places that count: (batch,)."
        each = -F.cross_entropy(params.logits(x).transpose(1, 2), x, reduction="none")
        return (each if self.pad is None else each*(x != self.pad)).sum(1)

    def _finished(self, tokens):
        "Everything after the first end mark becomes padding."
        if self.end is None: return tokens
        over = (tokens == self.end).cumsum(1) - (tokens == self.end).long()
        return torch.where(over > 0, self.pad, tokens)

    def _without(self, scores, *tokens):
        "Scores where `tokens` can't be chosen."
        index = torch.tensor(tokens, dtype=torch.long, device=scores.device)
        return scores.index_fill(-1, index, -torch.inf)

    def _allowed(self, scores): return self._without(scores, *self.banned)

    def mean(self, params): # a `Plan`
        "The likeliest next word, again and again: a mean of sentences is no sentence."
        if self.blank is not None: return self._from_its_start(params)
        return self._finished(params.write(lambda s: self._allowed(s).argmax(-1)))

    def _from_its_start(self, params):
        "The likeliest place to start, then the likeliest next token, again and again."
        silent = torch.full(params.vectors.shape[:2], self.blank, device=params.vectors.device)
        wait = params.logits(silent).log_softmax(-1)[:, :, self.blank].double()   # log p(not yet)
        starts = torch.log1p(-wait.exp().clamp(max=1 - 1e-12))        # log p(starts if not before)
        begin = wait.cumsum(1) - wait + starts                        # log p(starts here)
        start, place = begin.argmax(1), iter(range(silent.shape[1]))
        def choose(scores):
            at, scores = next(place), self._allowed(scores)
            first = self._without(scores, self.blank).argmax(-1)
            token = torch.where(start == at, first, scores.argmax(-1))
            return torch.where(start > at, self.blank, token)
        return params.write(choose)

    def sample(self, params, # a `Plan`
               generator=None): # a `torch.Generator`; torch's own by default
        "Each next word drawn by its probability: int64 (batch, length)."
        def draw(scores):
            p = self._allowed(scores).softmax(-1)
            return torch.multinomial(p, 1, generator=generator)[:, 0]
        return self._finished(params.write(draw))


# %%
#| exports
def caption_spec(num_tokens, # size of the vocabulary
                 length, # tokens of one text: 16, 32, 64, ...
                 weight=1.0, # w_m
                 features=128, # width of the networks
                 window=4, # how many tokens the decoder looks back
                 anywhere=False, # may the text start anywhere?
                 pad=None, # token that does not count; None if all places count
                 banned=(), # tokens that are never written
                 end=None, # token after which only `pad` is written
                 blank=None # token before a text that may start anywhere
                ) -> ModalitySpec:
    "A text that is written word by word, from a plan and a window."
    return ModalitySpec(
        partial(CaptionEncoder, num_tokens, length, features, anywhere),
        (4 if anywhere else 8)*features,
        partial(CaptionDecoder, num_tokens=num_tokens, length=length, features=features,
                window=window, anywhere=anywhere),
        CaptionLikelihood(pad, banned, end, blank), weight)

def cub_specs(modalities # dict: name -> `Modality`; the first tokens are <pad>, <unk>, <end>
             ) -> dict: # name -> `ModalitySpec`
    "Lesson 02e's networks for the image, and `caption_spec` for every text."
    specs = default_specs(modalities)
    texts = {n: m for n, m in modalities.items() if m.kind == "text"}
    def of(n, m):
        spec = caption_spec(m.num_tokens, m.shape[0], specs[n].weight, pad=0, banned=(0, 1), end=2)
        return replace(spec, modality=m)
    return specs | {n: of(n, m) for n, m in texts.items()}


# %% [markdown]
# Each modality's networks know its own vocabulary, also where there are two texts:

# %%
two = {n: Modality(n, "text", (16,), ("<pad>", "<unk>", "<end>", *words))
       for n, words in {"english": "red blue bird".split(), "latin": ["avis", "rubra"]}.items()}
assert [s.decoder(4).out.out_features for s in cub_specs(two).values()] == [6, 5]

# %% [markdown]
# The words after the end mark must not count, nor may they leak: what a caption is worth may depend on no later word.

# %%
train, test = cub("train"), cub("test")
specs, text = cub_specs(train.modalities), train.modalities["text"]
seed_everything(0)
decoder, likelihood = specs["text"].decoder(8).eval(), specs["text"].likelihood
tokens, z = train.pools["text"][:4], torch.randn(4, 8)
plan = decoder(z)
changed = tokens.clone(); changed[:, 10:] = 5
scores, others = plan.logits(tokens), plan.logits(changed)
torch.testing.assert_close(scores[:, :11], others[:, :11])   # the place after a change, not before
assert not torch.allclose(scores[:, 11], others[:, 11])
by_hand = [sum(scores[i].log_softmax(-1)[l, t] for l, t in enumerate(row) if t != 0)
           for i, row in enumerate(tokens)]
torch.testing.assert_close(likelihood.log_prob(tokens, plan), torch.stack(by_hand))

# %% [markdown]
# Writing greedily, step by step, must agree with scoring all at once: each word written is the likeliest of its row of scores.

# %%
with torch.no_grad():
    greedy = decoder(z).write(lambda s: s.argmax(-1))
    assert torch.equal(greedy, plan.logits(greedy).argmax(-1))
    written = likelihood.mean(plan)
assert not set(likelihood.banned) & set(written[written != 0].tolist())     # <pad> only at the end
{n: (s.features, type(s.likelihood).__name__, round(s.weight, 1)) for n, s in specs.items()}


# %% [markdown]
# Now the two kinds of decoder side by side: a VAE of the captions alone, trained briefly, with independent words and with plan and window. We look at what becomes of
# captions on their way through $z$, and at how many nats $z$ carries.

# %%
class TextVAE(nn.Module):
    "A VAE of one text modality, its log-likelihood multiplied by `weight`."
    def __init__(self, spec, weight, latent=16):
        super().__init__()
        self.weight, self.spec = weight, spec
        self.encoder, self.decoder = UnimodalEncoder(spec, latent), spec.decoder(latent)
    def forward(self, batch):
        q = self.encoder(batch["text"])
        fit = self.spec.likelihood.log_prob(batch["text"], self.decoder(q.rsample()))
        return Loss((q.kl() - self.weight*fit).mean(), {"kl": q.kl().mean().detach()})


# %%
kinds = {"independent words": (default_specs(train.modalities)["text"], 1.),
         "plan and window": (specs["text"], 1.),
         "plan and window, weighted": (specs["text"], specs["text"].weight)}
how = dict(updates=900, batch_size=32, lr=3e-3, progress=False)
three = test.take(3)[0]["text"]
print("captions", *text.decode(three), sep="\n   ")
for name, (spec, weight) in kinds.items():
    seed_everything(0)
    vae = cached(f"captions-{name.replace(' ', '-')}", lambda: TextVAE(spec, weight),
                 lambda m: fit(m, train, **how), [how, weight],
                 ["text", "vae", "training", "datasets.birds"])
    with torch.no_grad(): q = vae.encoder(three)
    said = text.decode(spec.likelihood.mean(vae.decoder(q.mean)))
    print(f"{name}: KL {q.kl().mean():.1f} nats", *said, sep="\n   ")


# %% [markdown]
# Independent words lose the thread wherever $z$ leaves the wording open. Plan and window write sentences, but with the plain ELBO always *the same* one: the KL is zero. Even
# a window of four words is enough for the collapse that Bowman and others describe: at first the window helps more than $z$ does, and the KL makes $z$ cost from the first
# update. The last model has the weight that the text gets beside an image (lesson 02e: 38), so a nat of text is worth 38 nats of KL, and $z$ is used. **Watch the KL
# whenever a decoder sees its own past.**

# %% [markdown]
# ## Texts that start anywhere
#
# The text of a face names its attributes, letter by letter, and starts at a random place among 256 ([lesson 13b](13b_photographed_faces.ipynb#the-text)). It is read and written by the
# same networks with one change for a text that may start
# *anywhere*: the encoder keeps, of each feature, the largest value over all places, so that it knows what was said and not where; and the decoder's plan is the same vector at
# every place, beside a window on the last eight letters. A plan for each place is of no use before $z$ knows the start, so with it $z$ learnt nothing of the text in a first run.
# The padding mark counts like any letter.
#
# The weight of the text is MoPoE's, 16 to 1/3 for the image, so 48 to 1; above we saw how $z$ falls silent about a text that counts too little. And what is written from a face has one more question to
# answer: where to start. A face can't know; letter by letter "not yet" is always the likeliest answer, and nothing would ever be written. So the likeliest *start* is chosen first: the decoder
# says, for each place, how probable it is that nothing was written before it and something is written there.

# %%
#| exports
def celeba_specs(modalities # dict: name -> `Modality`
                ) -> dict: # name -> `ModalitySpec`
    "Lesson 02e's networks for the image; for the text letters, all of its places counted."
    m = modalities["text"]
    text = caption_spec(m.num_tokens, m.shape[0], 48., features=64, window=8, anywhere=True,
                        blank=m.vocabulary.index("*"))
    return {**default_specs(modalities), "text": replace(text, modality=m)}


# %%
faces = celeba("validation")
specs = celeba_specs(faces.modalities)
few, _ = faces.take(3)
for name, spec in specs.items(): assert spec.encoder()(few[name]).shape == (3, spec.features)
plan, likelihood = specs["text"].decoder(5).eval()(torch.randn(3, 5)), specs["text"].likelihood
each = plan.logits(few["text"]).log_softmax(-1).gather(2, few["text"][:, :, None])
own = likelihood.log_prob(few["text"], plan)
torch.testing.assert_close(own, each.sum((1, 2)))                 # all 256 places count
{n: (s.features, type(s.likelihood).__name__, round(s.weight, 1)) for n, s in specs.items()}

# %% [markdown]
# ## Recap
#
# - Independent words contradict one another where $z$ leaves the wording open; a plan made of $z$ and a window on the last words keep the thread.
# - Padding does not count, the end mark does; what is written is the likeliest next word, again and again.
# - A window alone can carry a language: then $z$ is not used, and the KL says so. The weight of the text decides.
# - A text that starts anywhere is read by what it says, wherever that stands, and written from its likeliest start on.
#
# ## Exercises
#
# 1. Let the window grow to 16 words and set `drop` to 0. What becomes of the KL of the text VAE, and of its captions?
# 2. Count padding in the likelihood (`CaptionLikelihood(pad=None)`) and train the text VAE again. What becomes of the log-likelihood per caption, and of its mean per *place*? Why is that no progress?
#
# ::: {.callout-tip collapse="true"}
# ## Solutions
#
# 1. The KL falls: most of what the next word will be can be read from the words before. The captions stay fluent and have less to do with $z$.
# 2. Per caption it can only fall: each place of padding adds the logarithm of a probability. Once trained the sum is nearly the same, since padding after padding is almost sure; but the mean per
#    place is now over all 32 places and looks nearly twice as good. At the start padding is nearly half of the loss, and the gradient goes there first.
# :::
#
# ## References
#
# - Bowman and others (2016), [Generating sentences from a continuous space](https://arxiv.org/abs/1511.06349).
# - T. Sutter, I. Daunhawer, J. Vogt, [Generalized multimodal ELBO](https://arxiv.org/abs/2105.02470), ICLR 2021: the weight of CelebA's text.
