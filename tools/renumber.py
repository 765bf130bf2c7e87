"""Give lessons other numbers: files, links, prose and sidebar at once.

    python tools/renumber.py 05_vae=02_vae 02_data=05a_data [--apply] [--root .]
    python tools/renumber.py                               only look for wrong numbers; exit 1

Without --apply nothing is written: each line that would change is shown. A range ("lessons 02 to
15") is never changed but listed, since what lies between its ends may have moved. Afterwards:
`tools/notebooks.py sync`, which exports the modules anew, and `make execute NB=nbs/index.ipynb`.
"""
import argparse, re, subprocess, sys
from pathlib import Path

from notebooks import ROOT

TEXT = {".py", ".ipynb", ".md", ".yml", ".j2", ".toml", ".cff", ".csv", ".smk", ".sh"}
NUMBER = r"\d\d[a-z]?(?!\w|\.\d)"
# "lesson 07", "Lessons 02, 02g and 09", also where a line of a mirror or a notebook ends in between
GAP = r'(?:\s|#|\\n",?|")+'
SAID = re.compile(rf"(?P<word>\b[Ll]essons?){GAP}(?P<list>{NUMBER}(?:(?:, | and | or ){NUMBER})*)")
RANGE = re.compile(rf"\b[Ll]essons?{GAP}{NUMBER}(?: to |-|–){NUMBER}")
LINK = re.compile(r"\[(?P<text>(?P<number>\d\d[a-z]?)(?: [^\]]*)?)\]\((?P<stem>\d\d[a-z]?_\w+)\.")
ENTRY = re.compile(r'text: "(?P<number>\d\d[a-z]?) [^"]*", href: (?P<stem>\d\d[a-z]?_\w+)\.')


def number_of(stem): return stem.split("_")[0]

def files(root):
    "The text files that a commit holds or would hold, but for results, data and vendored ones."
    said = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=root,
                          capture_output=True, text=True, check=True).stdout
    kept = [root/f for f in said.split("\0") if f and not f.startswith(("results/", "site/katex"))]
    ours = lambda p: p.suffix in TEXT or p.name in ("Makefile", "Snakefile")
    return [p for p in kept if p.is_file() and ours(p)]

def stems(root):
    "The lessons there are: the stems of numbered notebooks."
    return {p.stem for p in (root/"nbs").glob("[0-9][0-9]*_*.ipynb")}


# ---- what is to be changed

def checked(pairs, root):
    "The mapping from old stem to new; one line if it can't be meant."
    wrong = lambda said: SystemExit(f"renumber: {said}")
    bad = [p for p in pairs if not re.fullmatch(r"\d\d[a-z]?_\w+=\d\d[a-z]?_\w+", p)]
    if bad: raise wrong(f"got {bad[0]!r}, allowed: 05_vae=02_vae")
    new, there = dict(p.split("=") for p in pairs), stems(root)
    if len(new) < len(pairs): raise wrong("a lesson is named twice")
    if missing := sorted(set(new) - there): raise wrong(f"no such lesson: {', '.join(missing)}")
    after = [new.get(s, s) for s in sorted(there)]
    numbers = [number_of(s) for s in after]
    twice = sorted({n for n in numbers if numbers.count(n) > 1})
    if twice: raise wrong(f"two lessons would have the number {', '.join(twice)}")
    return new

def rewritten(text, new):
    "`text` with all that names the lessons in `new` (old stem -> new) changed at once."
    numbers = {number_of(a): number_of(b) for a, b in new.items()}
    ranges = [m.span() for m in RANGE.finditer(text)]
    def prose(m):
        if any(a <= m.start() < b for a, b in ranges): return m[0]
        moved = re.sub(NUMBER, lambda n: numbers.get(n[0], n[0]), m["list"])
        return text[m.start():m.start("list")] + moved
    def label(m):
        if m["stem"] not in new: return m[0]
        at, number = m.start("number") - m.start(), number_of(m["stem"])
        if m["number"] != number: return m[0]          # wrong before: left to `wrong`
        return m[0][:at] + numbers[number] + m[0][at + len(number):]
    # the stem in a link is still the old one, so labels come before stems
    text = SAID.sub(prose, text)
    for pattern in (LINK, ENTRY): text = pattern.sub(label, text)
    names = "|".join(sorted(new, key=len, reverse=True))
    return re.sub(rf"(?<![\w-])({names})(?!\w)", lambda m: new[m[1]], text)

def renamed(path, new):
    "Where a file goes whose name is a lesson's: its notebook, its mirror."
    return path.with_name(new[path.stem] + path.suffix) if path.stem in new else path

def apply(new, root):
    "Rewrite and rename; all is read before anything is written, and moved by way of other names."
    found = {p: p.read_text(encoding="utf-8") for p in files(root)}
    for p, text in found.items():
        if (said := rewritten(text, new)) != text: p.write_text(said, encoding="utf-8")
    moves = [(p, renamed(p, new)) for p in found if "nbs" in p.relative_to(root).parts]
    moves = [(p, to) for p, to in moves if p != to]
    for p, _ in moves: p.rename(p.with_name(p.name + ".moving"))
    for p, to in moves: p.with_name(p.name + ".moving").rename(to)


# ---- what is wrong, and what needs a reader

def wrong(root):
    "A line for each number that is not that of the lesson it leads to, or of no lesson at all."
    there, said = stems(root), []
    known = set(map(number_of, there))
    for p in files(root):
        if p.suffix == ".ipynb" or "tests" in p.parts: continue   # mirrors stand for them
        text = p.read_text(encoding="utf-8")
        name = p.relative_to(root)
        where = lambda at, name=name, text=text: f"{name}:{text[:at].count(chr(10)) + 1}: "
        for m in [*LINK.finditer(text), *ENTRY.finditer(text)]:
            if m["stem"] not in there: said.append(f"{where(m.start())}no lesson {m['stem']}")
            elif m["number"] != number_of(m["stem"]):
                said.append(f"{where(m.start())}{m['number']} leads to {m['stem']}")
        for m in SAID.finditer(text):
            lost = [n for n in re.findall(NUMBER, m["list"]) if n not in known]
            said += [f"{where(m.start())}there is no lesson {n}" for n in lost]
    return said

def shown(new, root):
    "The lines that would change, and the ranges, which a reader has to look at."
    for p in files(root):
        if p.suffix == ".ipynb": continue
        text = p.read_text(encoding="utf-8")
        pairs = zip(text.splitlines(), rewritten(text, new).splitlines())
        for i, (a, b) in enumerate(pairs, 1):
            if a != b: yield f"{p.relative_to(root)}:{i}: {b.strip()[:110]}"
        for m in RANGE.finditer(text):
            at = text.count("\n", 0, m.start()) + 1
            yield f"{p.relative_to(root)}:{at}: a range, left as it is: {' '.join(m[0].split())}"

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("moves", nargs="*", metavar="OLD=NEW", help="stems of notebooks")
    p.add_argument("--apply", action="store_true", help="write and rename; else only show")
    p.add_argument("--root", type=Path, default=ROOT)
    args = p.parse_args(argv)
    root = args.root.resolve()
    new = checked(args.moves, root)
    if new: print(*shown(new, root), sep="\n")
    if new and args.apply: apply(new, root)
    left = [] if new and not args.apply else wrong(root)
    for line in left: print(line)
    return int(bool(left))


if __name__ == "__main__": sys.exit(main())
