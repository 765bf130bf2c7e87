"The reference: a page for each module, each symbol with a link to the lesson that defines it."
import functools, itertools, re, textwrap
from types import FunctionType

from notebooks import ROOT, lessons, module_of, modules
from site_pages import definitions, title_of

SIGNATURE = re.compile(r"(?m)^(###? (?:class )?([\w.]+) \{.*\}\n\n)(\[source\]\([^)]*\)).*$")
PARAMETERS = re.compile(r"(?m)^\| Parameter \|.*\n(?:\|.*\n?)+")


def lesson_of(root=ROOT):
    "Module -> the lesson that exports it, in the order of the lessons."
    return {m: p for p in lessons(root) if (m := module_of(p))}

def split_row(line):
    "The cells of a row of a Markdown table."
    return [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]

def lean_table(m):
    "A table of parameters without what the signature says; nothing if no parameter is described."
    head, line, *rows = map(split_row, m[0].strip().splitlines())
    plain = lambda kind, default: (kind, default) == ("None", "`None`")
    body = [[name, "" if plain(kind, default) else kind, default, said]
            for name, kind, default, said in rows]
    if not any(said for *_, said in body): return ""
    keep = [i for i in range(4) if any(row[i] for row in body)]
    lines = ["| " + " | ".join(row[i] for i in keep) + " |" for row in (head, line, *body)]
    return "\n".join(lines) + "\n"

def lean(text):
    "A page of the reference without what is said twice; long signatures on several lines."
    def signature(m):
        line = m[1].replace(" = ", "=")
        indent = " "*(line.find("(") + 1)
        filled = textwrap.fill(line, 92, subsequent_indent=indent, break_long_words=False,
                               break_on_hyphens=False)
        return f"```python\n{filled}\n```"
    return re.sub(r"```python\n(.+)\n```", signature, PARAMETERS.sub(lean_table, text))

def at_line(link, name, root=ROOT):
    "A link to a symbol's source; that of a namedtuple, whose line smalldocs does not know, mended."
    if not (m := re.match(r".*/(mmvae_nb/[\w/]+\.py)#L0\)", link)): return link
    lines = (root/m[1]).read_text(encoding="utf-8").splitlines()
    at = next((i for i, line in enumerate(lines, 1) if line.startswith(f"{name} = ")), None)
    return link.replace("#L0)", f"#L{at})" if at else ")")

def to_lessons(text, symbols, root=ROOT):
    "A page of the reference with a link beside each symbol to the lesson that defines it."
    def links(m):
        name, place = symbols.get(m[2], (None, None))
        more = f" · [lesson](../{name}#{place})" if name else ""
        return f"{m[1]}::: {{.source-links}}\n{at_line(m[3], m[2], root)}{more}\n:::"
    return SIGNATURE.sub(links, text)

def introduced(text, lesson):
    "A page of the reference that begins with a link to its lesson."
    said = f"The module of lesson [{title_of(lesson)}](../{lesson.name}).\n\n"
    text = re.sub(r"(?m)^## ", lambda m: said + m[0], text, count=1)
    # A subtitle with maths is the page's description, where maths is not set
    plain = lambda m: re.sub(r"\$([^$]+)\$", lambda t: t[1].replace("\\", ""), m[0])
    return re.sub(r"(?m)^description: .*$", plain, text, count=1)

def under(name, method):
    "A method as one of the class `name`."
    new = FunctionType(method.__code__, method.__globals__, method.__name__, method.__defaults__,
                       method.__closure__)
    functools.update_wrapper(new, method)
    del new.__wrapped__
    new.__kwdefaults__, new.__qualname__ = method.__kwdefaults__, f"{name}.{method.__name__}"
    return new

def with_private_bases(methods):
    "smalldocs' list of a class's methods, with those of the private classes it was cut into."
    def listed(klass, private=False):
        mine = lambda k: k.__module__ == klass.__module__ and k.__name__.startswith("_")
        pieces = [*itertools.takewhile(mine, klass.__mro__[1:])]    # to the next public class
        found = {m.__name__: under(klass.__name__, m)
                 for k in reversed(pieces) for m in methods(k, private)}
        return list((found | {m.__name__: m for m in methods(klass, private)}).values())
    listed.of_pieces = True
    return listed

def pages_of(proc, config, root=ROOT):
    """Have smalldocs write the pages: module -> page.

    smalldocs names a page by the last part of the module, or by all of it where two have the same;
    here it is always the module without the package's name, so that no new module moves a page.
    """
    from smalldocs import api
    from smalldocs.config import load
    if not hasattr(api.methods, "of_pieces"): api.methods = with_private_bases(api.methods)
    made, found = {p.stem: p for p in api.build_from_config(load(proc))}, {}
    symbols = proc/"_symbols.json"
    index = symbols.read_text(encoding="utf-8")
    for module in sorted(modules(root)):
        old = made.get(f"mmvae_nb.{module}") or made.get(module.rpartition(".")[2])
        if not old: continue
        found[module] = old.rename(old.with_name(f"{module}.qmd"))
        index = index.replace(f"/{old.name}#", f"/{module}.qmd#")
    symbols.write_text(index, encoding="utf-8")
    return found

def grouped(hrefs):
    "Sections of the sidebar: the package's own modules, then each sub-package."
    packages = {}
    for module, href in hrefs.items():
        package, _, name = module.rpartition(".")
        packages.setdefault(package or "mmvae_nb", []).append({"text": name, "href": href})
    return [{"section": p, "contents": entries} for p, entries in packages.items()]

def reference(proc, config, root=ROOT):
    "Write the pages of the reference; module -> page, in the order of the lessons."
    lesson, symbols = lesson_of(root), definitions(root)
    made = pages_of(proc, config, root)
    for module, path in made.items():
        text = to_lessons(lean(path.read_text(encoding="utf-8")), symbols, root)
        if module in lesson: text = introduced(text, lesson[module])
        path.write_text(text, encoding="utf-8")
    order = [*(m for m in lesson if m in made), *sorted(made.keys() - lesson.keys())]
    return {m: made[m].relative_to(proc).as_posix() for m in order}
