# %% [markdown]
# # Faces and attributes
#
# > Slides 50-52 and 59: faces from texts, texts from faces, and both over the iterations.
#
# **Data.** Faces of 64 x 64 and their attributes as a text of 256 letters (lesson 13). At the scales `smoke` and `quick` the faces are
# drawn; at `real` they are photographs of CelebA, split by person. Its terms forbid publishing faces, so pictures of a real run go to a folder that
# is not published; this page then shows numbers only. **Networks.** Convolutions for the image, plan and window for the text; the same for all methods.
#
# The talk does not name the data of its slides 50 and 59; by their place and labels they look like this one.

# %%
import pandas as pd
import torch
from mmvae_nb.core import *
from mmvae_nb.experiments.runs import *
from mmvae_nb.plotting import *

# %%
set_style()

# %% tags=["parameters"]
dataset: str = "celeba"  # name of the data set
source: str = "rendered"  # rendered or real data
items: int = 200  # source items per image modality, None for all
results: str = "_runs/smoke"  # folder for the results of a scale
device: str = "cpu"  # auto, cpu, cuda, cuda:N, mps
scale: str = "smoke"  # name of the scale
seeds: int = 1  # how many seeds were run
part: str = "celeba"  # which part of the experiments

# %%
report = open_report(part, dataset, scale, source, results, seeds, items, device)
report

# %%
shown = ["mopoe", "mvtcae", "iterative_student"]
compared = ["mopoe", "mvtcae", "jmvae_student", "iterative_student"]
record, test = report.judges(), report.data()
runs = {m: report.runs(m) for m in report.methods}
print(test)


# %%
def trained(m, r):
    p = r[0]["parameters"]
    return {"method": method_name(m), "updates": r[0]["updates"], "batch": p["batch_size"],
            "learning rate": p["lr"], "latent": p["latent"],
            "T": p["steps"] if "iterative" in m else "",
            "minutes": round(sum(x["seconds"] for x in r)/len(r)/60, 1), "seeds": len(r)}
pd.DataFrame([trained(m, r) for m, r in runs.items()]).set_index("method")

# %%
models = {m: report.load(m) for m in [*compared, "iterative", "iterative_student_to_10"]}
batch, _ = test.take(8)
tidy = lambda texts: [t.strip("*").replace(",", ", ") for t in texts]
written = lambda tokens: tidy(test.modalities["text"].decode(tokens))
def rows_for(given, to, name):
    "What each model makes of `to` from `given`, called `name`; text without padding."
    rows = generated_rows({m: models[m] for m in shown}, test, batch, given, to)
    rows = {name if k == f"{given}, given" else k: v for k, v in rows.items()}
    return {k: tidy(v) if isinstance(v, list) else v for k, v in rows.items()}
note = f"{report.note}, z sampled"

# %% [markdown]
# ## Slide 50: faces from texts
#
# MoPoE and MVTCAE infer $z$ from the text by their own encoders; the third row is the student of the iterative teacher. The text names neither light nor
# background, so look for the attributes only.

# %%
#| fig-cap: "Faces from attribute texts: the text, its face, and what each method draws."
#| fig-alt: "Rows of eight drawn faces under their attribute texts: ground truth, MoPoE, MVTCAE, iterative student."
rows = rows_for("text", "image", "text")
report.save(generation_grid(rows, note=note), "slide_50_methods");

# %% [markdown]
# ## Slide 59: texts from faces

# %%
#| fig-cap: "Attribute texts from faces: the face, its own text, and what each method writes."
#| fig-alt: "A row of eight drawn faces; below each the texts of ground truth, MoPoE, MVTCAE and the iterative student."
rows = rows_for("image", "text", "face")
report.save(generation_grid(rows, note=note), "slide_59_image_to_text");


# %% [markdown]
# ## Slides 51 and 52: over the iterations
#
# The talk shows T = 1, 2 and 10 and does not say whether teacher or student. Both are here. A refined posterior of the **teacher** has *seen the face it
# is asked to draw*: its rows are no cross-modal generation. The **student** distilled at each T has seen the text (or the face) only.
# In the table above, *Iterative students, T up to 10* is this set of students, trained for fewer updates than the main one; the column T is that of the teacher's own training, so T = 10 here goes beyond it.

# %%
def over_t(given, to):
    "Rows of teacher and student at T = 1, 2, 10, started from `given`."
    seed_everything(0, "refine")
    path = models["iterative"].trajectories(batch, 10)
    show = lambda x: written(x) if to == "text" else x
    rows = {given: show_given(given), f"true {to}": show(batch[to])}
    teacher, students = models["iterative"], models["iterative_student_to_10"]
    with torch.no_grad():
        for t in (1, 2, 10):
            rows[f"teacher, T = {t}"] = show(teacher.generate(path[t][given].mean, to=to)[to])
        for t in (1, 2, 10):
            made = students.at(t).generate({given: batch[given]}, to=to)
            rows[f"student, T = {t}"] = show(made[to])
    return rows
def show_given(given): return written(batch[given]) if given == "text" else batch[given]


# %%
#| fig-cap: "Faces from texts over the iterations: the teacher, which sees the face, and the student, which does not."
#| fig-alt: "Rows of eight drawn faces: texts, true faces, teacher at T = 1, 2, 10, students at T = 1, 2, 10."
figure = generation_grid(over_t("text", "image"), note=f"{report.note}, mean of z")
report.save(figure, "slide_51_over_t_text_to_image");

# %%
#| fig-cap: "Texts from faces over the iterations: the teacher, which sees the text, and the student, which does not."
#| fig-alt: "Eight drawn faces; below each its text and the texts by the teacher at T = 1, 2, 10 and by the students at T = 1, 2, 10."
figure = generation_grid(over_t("image", "text"), note=f"{report.note}, mean of z")
report.save(figure, "slide_52_over_t_image_to_text");

# %% [markdown]
# ## The numbers
#
# Agreement is the balanced count of lesson 13: 1 if all attributes are right, 0.5 for any constant answer. *Chance* is what the same generated items get with the
# attributes of other faces. The *floor* of the FID is that of real faces against other real faces. For drawn faces `attribute_measured` is exact; `attribute_agreement` is the classifier's opinion, whose accuracy stands below.

# %%
own = report.table(report.talk(), "celeba")
def scores(direction, names):
    "A measure per column: the value, and chance or the FID's floor where that was measured."
    t = own[own.condition.eq(direction) & own.metric.isin(names) & own.method.isin(compared)]
    beside = lambda r: f" ({'floor' if r.metric == 'fid' else 'chance'} {r.floor:.3f})"
    cell = lambda r: f"{r.value:.3f}" + (beside(r) if pd.notna(r.floor) else "")
    t = t.assign(cell=[cell(r) for r in t.itertuples()])
    t = t.pivot(index="method", columns="metric", values="cell").reindex(compared)
    return t.rename(index=method_name)
scores("text->image", ["attribute_measured", "attribute_agreement", "fid"])

# %% [markdown]
# With the mean of $z$ instead of a sample:

# %%
scores("text->image, mean of z", ["attribute_measured", "attribute_agreement", "fid"])

# %% [markdown]
# And texts from faces:

# %%
scores("image->text", ["attribute_match", "attribute_exact", "text_valid"])

# %%
means = {k: round(v, 3) for k, v in record["facts"].items() if k.endswith("mean")}
print("the judge on held-out images:", means)
pd.DataFrame(record["references"]).T.round(3)

# %%
facts = {tuple(k.split(", ")): v for k, v in record["facts"].items() if ", " in k}
attributes = [a for kind, a in facts if kind == "accuracy" and a != "mean"]
per_attribute = pd.DataFrame({a: {kind: v for (kind, b), v in facts.items() if b == a}
                              for a in attributes}).T
per_attribute.round(3)

# %% [markdown]
# ## Teacher and student, and over T

# %%
kl = own[own.metric.eq("teacher_student_kl")]
kl = kl.assign(method=kl.method.map(method_name))
kl[["method", "condition", "value", "n"]].round(2)

# %%
measures = ["attribute_agreement", "attribute_measured", "attribute_match", "fid"]
student = own[own.method.eq("iterative_student_to_10") & own.metric.isin(measures)]
student = student.rename(columns={"floor": "chance (FID: floor)"})
student[["metric", "condition", "value", "chance (FID: floor)"]].round(3)

# %% [markdown]
# ## Differences
#
# The iterative student against each of the others over the same test items; the interval is Student's t over the seeds that both have (95 %, lesson 03a). One seed has none and leaves every difference open.

# %%
records = report.records()
def against(other, metric, condition):
    row = difference(records, "iterative_student", other, metric, condition)
    return {"metric": metric, "against": method_name(other), **row}
measured = "attribute_agreement" if test.real else "attribute_measured"
wanted = [(measured, "text->image"), ("attribute_match", "image->text")]
pd.DataFrame([against(o, *w) for w in wanted for o in compared[:-1]]).round(3)
