# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: python3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Slide map
#
# > Every slide of the talk: where it is explained, and what makes its figure or table anew.
#
# The talk is Oshima, Suzuki and Matsuo, *Improving multimodal information integration with iterative amortized inference* (October
# 2023, in Japanese). The paper that followed a year later is *Enhancing Unimodal Latent Representations in Multimodal VAEs through Iterative Amortized Inference* ([arXiv 2410.11403](https://arxiv.org/abs/2410.11403), October 2024). Slides are counted from 1 to 74 in the order of
# the published file; the last five are spares. Its numbers are [in lesson 14a](14a_talk.ipynb#what-the-talk-reports), and
# [one table](../results/long/tables/talk.csv) has each of them beside ours. What is not there yet has no link.

# %%
#| code-fold: true
#| code-summary: "The map, as data"
# first and last slide | what it shows | lesson#section ... | tables and reports (figures are found by the slide's number)
MAP = """
1 1 | title | index |
2 2 | multimodal data: images and text that belong together | 02a#what-a-batch-is |
3 3 | the VAE: infer a latent variable, generate from it | 02#a-model-with-something-hidden |
4 4 | the multimodal VAE: one latent variable, several modalities | 03#one-latent-several-modalities |
5 5 | a modality is missing, and inference from the rest is poor | 03#the-missing-modality |
6 6 | the amortization gap on a line | 08 07 | report:gap_decomposition
7 7 | the aim: the missing-modality problem as part of that gap | 09#one-change-of-view 03#the-missing-modality |
8 8 | JMVAE: unimodal encoders pulled to the joint one | 04#the-objective |
9 9 | MoPoE, and that it has a limit when modalities are missing | 05#every-subset-has-an-opinion 05#why-mixtures-lose |
10 12 | iterative amortized inference in three steps: generate, differentiate, update | 08#the-learned-way 08#iterating-and-training |
13 14 | the gap before and after iterating | 08#did-it-work-twenty-latents 07 |
15 15 | the aim once more | 09#one-change-of-view |
16 18 | the three steps with the multimodal ELBO, started from one modality | 09#one-change-of-view |
19 19 | the catch: that ELBO needs every modality | 09#the-catch-it-needs-what-is-missing |
20 20 | the way out: a model of one modality, trained to agree | 10#the-idea 10#students-of-the-refined-teacher |
21 25 | ideal, joint, unimodal and refined inference on a line | 09#negative-elbo-against-t 10#all-of-them-on-the-line | fig:gap_decomposition fig:refiners_over_t table:gap_decomposition
26 27 | the distilled model (the student) on the same line | 10#students 10#all-of-them-on-the-line | fig:gap_decomposition
28 28 | JMVAE once more | 04#the-objective |
29 31 | JMVAE on the line: it cannot close the joint encoder's own gap | 04#the-pull-on-the-teacher 08 | fig:gap_decomposition
32 32 | so the iterative students may be better | 11#the-two-hypotheses | table:hypotheses
33 33 | the two hypotheses | 11#the-two-hypotheses | table:hypotheses
34 34 | what is compared, and by which measures | 14#methods 03a |
35 35 | the data: MNIST-SVHN-Text and CUB | 02a#the-triples 02b#the-real-sets 12#two-sources |
36 36 | street numbers from a digit, and from a word | 11#the-pictures | report:headline
37 37 | FID in four directions | 03a#the-fréchet-distance | table:headline
38 38 | linear classification of the latents | 03a#the-linear-probe | table:headline
39 39 | CUB: birds from captions | 12#what-the-experiments-found | report:cub
40 40 | CUB: FID and cosine similarity | 12#what-the-experiments-found 03a#the-fréchet-distance | report:cub table:cub
41 41 | what the comparison suggests | 11#is-it-the-inference-or-the-decoders | table:hypotheses report:teacher_student_kl
42 42 | conclusion; left open: distillation, more data, the number of iterations | 11#which-t 11#what-would-settle-it | report:iterations report:distillation_variants
43 43 | references | 02#references 08#references 04#references 05#references |
44 44 | street numbers again, from the mean of the posterior | 11#a-sample-or-the-mean | report:mnist_svhn_text
45 45 | MNIST digits from street numbers, and from words | 05#why-mixtures-lose 10#students-of-the-refined-teacher | report:mnist_svhn_text
46 48 | words, street numbers and digits: MoPoE, MVTCAE and the talk's method | 06#its-own-encoders-and-students | report:mnist_svhn_text
49 49 | words, with MVTCAE's students | 06#its-own-encoders-and-students | report:mnist_svhn_text
50 50 | images from text (by its place, bimodal CelebA) | 13#what-the-experiments-found | table:celeba report:celeba
51 52 | CelebA after 1, 2 and 10 iterations, both directions | 13#what-the-experiments-found 11#which-t | table:celeba report:celeba
53 58 | all six directions after 1, 2, 4 and 16 iterations | 11#which-t | report:iterations
59 59 | text from images (by its place, bimodal CelebA) | 13#what-the-experiments-found | table:celeba report:celeba
60 60 | CUB: captions from birds | 12#what-the-experiments-found | report:cub
61 63 | two modalities given: pictures and words | 10#students 02d#product-of-experts | report:products_of_students
64 64 | two modalities given: FID | 03a#the-fréchet-distance 02d#product-of-experts | table:products_of_students
65 65 | two modalities given: linear classification | 03a#the-linear-probe | table:products_of_students
66 66 | why the iterative teacher may be easier to imitate | 10#the-idea 11#is-the-iterative-teacher-easier-to-imitate | fig:teacher_student_kl
67 67 | second experiment: KL between teacher and student | 03a#the-distance-from-student-to-teacher 12#what-the-experiments-found | report:teacher_student_kl report:cub
68 68 | its result on both data sets | 03a#the-distance-from-student-to-teacher 12#what-the-experiments-found | fig:teacher_student_kl table:hypotheses table:cub report:cub
69 69 | what it suggests | 11#is-the-iterative-teacher-easier-to-imitate | report:teacher_student_kl
70 70 | the method in one picture | 09#one-change-of-view |
71 71 | the missing modality in one picture | 03#the-missing-modality |
72 72 | slide 36 again | 11#the-pictures | report:headline
73 74 | slide 38 again | 03a#the-linear-probe | table:headline
"""

# %% [markdown]
# ## The map
#
# The cell below turns the map into links. A figure or table is taken from the largest scale that may show it, which stands in brackets (lesson 14): `quick` is of drawn data, the others of real data. Pictures made from real faces are not shown, so those of slides 50 to 52 and 59 are of drawn ones; their table is of real ones.

# %%
#| code-fold: true
#| code-summary: "From the map to links"
import re
from pathlib import Path
from IPython.display import Markdown
from mmvae_nb.experiments.table import REPORTS, SCALES

L = {p.stem.split("_")[0]: p.stem for p in sorted(Path(".").glob("[0-9][0-9]*_*.ipynb"))}

def headings(name):
    "The headings of a lesson or report by their anchors; empty if there is none such."
    mirror = Path("_py")/f"{name}.py"
    said = re.findall(r"(?m)^# #+ (.+)$", mirror.read_text(encoding="utf-8")) if mirror.exists() else []
    return {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-"): h for h in said}

def title(name): return next(iter(headings(name).values()), None)

def lesson(entry):
    "A link to a section of a lesson, or to the lesson."
    number, _, anchor = entry.partition("#")
    name = L.get(number, number)
    said = headings(name)[anchor] if anchor else title(name)      # an anchor that is not there ends here
    return f"[{number if number in L else 'home:'} {said}]({name}.ipynb{'#' + anchor if anchor else ''})"

def newest(folder, name):
    "The file of `results/` from the largest scale that has it, as a list."
    suffix = "png" if folder == "figures" else "csv"
    found = (Path("../results")/s/folder/f"{name}.{suffix}" for s in reversed(SCALES))
    return [f for f in found if f.exists()][:1]

def of_slides(first, last):
    "The figures of these slides that reports say they make."
    numbers = {f"slide_{n:02d}_" for n in range(first, last + 1)}
    listed = sorted(f for r in REPORTS.values() for f in r.figures)
    return [f for name in listed if name[:9] in numbers for f in newest("figures", name)]

def made(first, last, entries):
    "Links to figures, tables and reports; a name that no report lists ends here."
    kinds, files, reports = {"fig": "figures", "table": "tables"}, of_slides(first, last), []
    for kind, name in (e.split(":") for e in entries):
        if kind == "report": reports.append(REPORTS[name].notebook); continue
        assert any(name in getattr(r, kinds[kind]) for r in REPORTS.values()), name
        files += newest(kinds[kind], name)
    links = [f"[{f.stem.removeprefix('slide_').replace('_', ' ')} ({f.parts[2]})]({f.as_posix()})"
             for f in files]
    return ", ".join(links + [f"[report: {title('experiments/' + r)}](experiments/{r}.ipynb)"
                              for r in reports])


# %%
#| echo: false
slides, rows = [], ["| slides | what they show | explained in | made anew by |", "|---|---|---|---|"]
for line in MAP.strip().splitlines():
    span, said, lessons, entries = (part.strip() for part in line.split("|"))
    first, last = map(int, span.split())
    slides += range(first, last + 1)
    rows.append(f"| {first}{f'–{last}' if last > first else ''} | {said} | {', '.join(map(lesson, lessons.split()))} "
                f"| {made(first, last, entries.split())} |")
assert slides == list(range(1, 75))
Markdown("\n".join(rows))

# %% [markdown]
# ## What the talk leaves open
#
# Where the talk leaves something open (which $T$ its tables use, whether samples or means are shown, teacher or student) the report says what
# we chose. A refined *teacher* has seen the target modality: its pictures (slides 51 to 58) are no cross-modal generation, and the reports
# show the student's beside them. Slides 50 and 59 are titled MNIST-SVHN-Text; their place and labels suggest CelebA, and that is how we read them.
