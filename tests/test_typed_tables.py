"Tables and losses that are typed into lessons 12 and 13 say what the records of the experiments say."
import json, re
from statistics import mean

import pytest
from scipy import stats

from site_helpers import ROOT

HEADS = {"MoPoE": "mopoe", "MVTCAE": "mvtcae", "JMVAE student": "jmvae_student",
         "iterative student": "iterative_student"}
BIRDS = ["MoPoE", "JMVAE student", "iterative student"]
DRAW, TELL = "text->image", "image->text"
def both(label, metric, condition, digits=2):
    "A row for sampled z, and one for its mean."
    return [(label, metric, condition, digits),
            ("the same, mean of $z$", metric, f"{condition}, mean of z", digits)]
KL = [(f"KL from its teacher, {said} (nats)", "teacher_student_kl", n, 0)
      for n, said in (("image", "pictures"), ("text", "text"))]
TABLES = { # lesson, words before the table, scale, data set, heads, rows: (label, metric, condition, digits)
    "drawn birds": ("12_birds", "*Drawn birds* (scale", "quick", "cub", BIRDS, [
        *both("bird from caption: belly right", "belly_right", DRAW),
        *both("bird from caption: all it says right", "attributes_right", DRAW),
        *both("caption from bird: belly right", "belly_right", TELL),
        *both("caption from bird: all it says right", "attributes_right", TELL),
        *both("FID of birds", "fid", DRAW, 0), *KL]),
    "real birds": ("12_birds", "*Real birds* (scale", "long", "cub", BIRDS, [
        *both("bird from caption: main colour right", "main_colour", DRAW),
        *both("bird from caption: cosine", "cosine_similarity", DRAW, 3),
        *both("caption from bird: main colour right", "main_colour", TELL),
        *both("caption from bird: cosine", "cosine_similarity", TELL, 3),
        ("captions from birds that differ", "distinct_captions", TELL, 2), *both("FID of birds", "fid", DRAW, 0), *KL]),
    "drawn faces": ("13_faces", "*Drawn faces* (scale", "quick", "celeba", list(HEADS), [
        *both("face from text, measured", "attribute_measured", DRAW),
        *both("text from face", "attribute_match", TELL),
        ("text from face: every attribute right", "attribute_exact", TELL, 2),
        *both("FID of faces", "fid", DRAW, 0), *KL]),
    "real faces": ("13_faces", "*Real faces* (scale", "long", "celeba", list(HEADS), [
        *both("face from text, judged", "attribute_agreement", DRAW),
        *both("text from face", "attribute_match", TELL), *both("FID of faces", "fid", DRAW, 0), *KL])}

def records(scale, dataset, method):
    "The rows of all seeds of a method."
    paths = sorted((ROOT/"results"/scale/"runs").glob(f"{dataset}-{method}-[0-9]*-metrics.json"))
    return [r for p in paths for r in json.loads(p.read_text(encoding="utf-8"))["rows"]]

def cell(rows, metric, condition, digits):
    "A mean over the seeds, and by chance in brackets."
    found = [r for r in rows if (r["metric"], r["condition"]) == (metric, condition)]
    if not found: return "–"
    value = f"{mean(r['value'] for r in found):.{digits}f}"
    if metric == "fid" or "floor" not in found[0]: return value
    return f"{value} ({mean(r['floor'] for r in found):.{digits}f})"

def true_pairs(scale, dataset, rows, metric, condition, digits):
    "What true pictures and texts get from the judge; for FID other true ones."
    if metric == "fid": return f"{next(r['floor'] for r in rows if r['metric'] == 'fid'):.{max(digits, 1)}f}"
    path = ROOT/"results"/scale/"runs"/f"{dataset}-judges.json"
    judged = json.loads(path.read_text(encoding="utf-8"))["references"]
    found = judged.get(f"{metric}|{condition.split(',')[0].split('->')[-1]}")
    return f"{found['real']:.{digits}f}" if found else "–"

def table_of(name):
    "The table as Markdown, from the records."
    _, _, scale, dataset, heads, wanted = TABLES[name]
    rows = {h: records(scale, dataset, HEADS[h]) for h in heads}
    lines = ["| | " + " | ".join([*heads, "true pairs"]) + " |", "|---"*(len(heads) + 2) + "|"]
    for label, *what in wanted:
        cells = [cell(rows[h], *what) for h in heads] + [true_pairs(scale, dataset, rows["JMVAE student"], *what)]
        lines.append("| " + " | ".join([label, *cells]) + " |")
    return lines

@pytest.mark.parametrize("name", TABLES)
def test_what_is_typed_is_what_was_recorded(name):
    lesson, before, *_ = TABLES[name]
    text = (ROOT/"nbs"/"_py"/f"{lesson}.py").read_text(encoding="utf-8").partition(before)[2]
    typed = [line[2:] for line in re.search(r"(?:^# \|.*\n)+", text, re.M)[0].splitlines()]
    assert typed == table_of(name)
    assert sum(c.count("–") for c in typed) < len(typed)*len(HEADS)/2                # most cells are numbers

def test_the_losses_of_the_birds_jvae_are_those_of_its_records():
    paths = sorted((ROOT/"results/long/runs").glob("cub-jvae-[0-9].json"))
    runs = [json.loads(p.read_text(encoding="utf-8")) for p in paths]
    ends = [r["history"][-len(r["history"])//6:] for r in runs]
    seen = mean(mean(h["image"] for h in end) for end in ends)
    new = mean(r["validation_parts"]["image"] for r in runs)
    at = lambda r: next(h["validation"] for h in r["history"] if h["update"] >= 2*r["updates"]//3)
    fell = mean(100*(1 - r["validation_loss"]/at(r)) for r in runs)
    said = (ROOT/"nbs/_py/12_birds.py").read_text(encoding="utf-8")
    assert f"fell by {fell:.1f} % only, and at the end it was {new:,.0f} nats for their pictures" in said
    assert f"and {seen:,.0f} for those of training" in said

def ahead(dataset, metric, condition, sign=1):
    "The iterative students' lead over the JMVAE students at scale `long`: mean, low, high; by SciPy."
    of = lambda m: [r["value"] for r in records("long", dataset, m)
                    if (r["metric"], r["condition"]) == (metric, condition)]
    leads = [sign*(a - b) for a, b in zip(of("iterative_student"), of("jmvae_student"), strict=True)]
    return mean(leads), *stats.ttest_1samp(leads, 0).confidence_interval(.95)

def test_verdicts_beside_the_tables_are_those_of_a_t_test():
    birds, faces = ((ROOT/f"nbs/_py/{n}.py").read_text(encoding="utf-8") for n in ("12_birds", "13_faces"))
    said = "{:.3f} ({:.3f} to {:.3f})".format(*ahead("cub", "cosine_similarity", f"{TELL}, mean of z"))
    assert f"that is the iterative student, by {said}" in birds
    for metric, where in (("main_colour", DRAW), ("main_colour", TELL), ("cosine_similarity", TELL)):      # open
        lead, low, high = ahead("cub", metric, where)
        assert lead < 0 and low < 0 < high
    texts, fid = ahead("celeba", "attribute_match", TELL), ahead("celeba", "fid", DRAW, -1)
    assert texts[2] < 0 and fid[2] < 0 and f"Its texts are behind by {-texts[0]:.2f}" in faces
