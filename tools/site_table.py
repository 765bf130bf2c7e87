"""All numbers of all scales in one table, beside the talk's. It is a plain table, which
`site/instruments.js` lets a reader sort and filter."""
import csv, html

from mmvae_nb.experiments.table import show_names
from mmvae_nb.plotting import method_name

from site_results import short

HEADS = [("scale", ""), ("data set", ""), ("metric", ""), ("condition", ""), ("method", ""),
         ("talk", "number"), ("ours", "number"), ("± std", "number"), ("seeds", "number"),
         ("floor", "number"), ("data", ""), ("slide", "number")]
TITLES = {"mnist_svhn_text": "MNIST\u2011SVHN\u2011Text", "cub": "CUB", "celeba": "CelebA",
          "fid": "FID"}
FIELDS = ["dataset", "metric", "condition", "method", "talk_value", "value", "std", "n_seeds",
          "floor", "data", "slide"]
SAID = """---
title: All numbers
---

::: {{.lead}}
Every number of every run, beside the talk's where it has one.
:::

{rows} rows from {files}. *Talk*: what the talk reports. *Ours*: a mean over the seeds; *± std* is
their standard deviation. *Floor*: what real data reaches against real data with as many items.
*Data*: photographs and scans (real), or pictures that a program draws (rendered). Numbers of
different data or scales are not to be compared. [Lesson 03a](../03a_metrics.ipynb) says what the
metrics mean.

With scripts on, a click on a column's head sorts, and the boxes above the table filter. At first it
shows the rows that the talk has too.

```{{=html}}
{table}
```
"""

def named(row):
    "A row of talk.csv as readers see it: names for keys, numbers with four digits."
    metric, where = row["metric"], row["condition"].replace("->", "\u00a0→\u00a0")
    return row | {"method": method_name(row["method"]), "condition": where,
                  "dataset": TITLES.get(row["dataset"], row["dataset"]),
                  "metric": TITLES.get(metric, metric.replace("_", " "))}

def tr(scale, row):
    """A row of the table; a number is there in full for sorting. HTML lets the closing tags be
    left out, and with thousands of rows they are a quarter of a megabyte."""
    def td(value):
        full = "" if short(value) == value else f" data-v={value}"
        return f"<td{full}>{html.escape(short(value))}"
    talk, told = ' class="talk"' if row["talk_value"] else "", named(row)
    return f"<tr{talk}><td>{scale}" + "".join(td(told[k]) for k in FIELDS)

def table_page(proc, pages):
    "Write the page of all numbers; its entry in the sidebar, or none where nothing was run."
    show_names()
    body, files = [], []
    for scale in pages.shown:
        path = pages.root/"results"/scale/"tables"/"talk.csv"
        if not path.exists(): continue
        with path.open(encoding="utf-8") as f: rows = list(csv.DictReader(f))
        body += [tr(scale, r) for r in rows if r["value"] or r["talk_value"]]
        files.append(f"[{scale}/tables/talk.csv]({scale}/tables/talk.csv)")
    if not body: return []
    head = "".join(f'<th scope="col" class="{kind}">{said}</th>' if kind else
                   f'<th scope="col">{said}</th>' for said, kind in HEADS)
    rows = "\n".join(body)
    table = ('<div class="instrument results-numbers"><div class="long">\n<table>\n<thead>'
             f"<tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</div></div>")
    said = SAID.format(rows=f"{len(body):,}", files=" and ".join(files), table=table)
    (proc/"results").mkdir(parents=True, exist_ok=True)
    (proc/"results"/"table.md").write_text(said, encoding="utf-8")
    return [{"text": "All numbers: sort and filter", "href": "results/table.md"}]
