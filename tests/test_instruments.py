"The instruments of the lessons in a real browser: their numbers are the package's, and everyone can use them."
import csv, json, re

import pytest, torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal
from torch.distributions import kl_divergence as kl_of

import instruments, site_table
from browser import CHROMIUM, Browser
from drawing_pen import PAPER, ROLES
from mmvae_nb.distributions import DiagonalGaussian, Mixture, product_of_experts
from mmvae_nb.iterative_inference import elbo_gradient, refine
from mmvae_nb.linear_gaussian import LinearGaussian, best_diagonal, gaps
from site_helpers import ROOT
from site_results import Results

if not CHROMIUM: pytest.skip("no Chromium (Debian: apt-get install chromium), so no instrument was moved",
                             allow_module_level=True)
NAMES = list(instruments.STILLS)
HEAD = '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>t</title>'
close = lambda a, b, atol=1e-4: torch.testing.assert_close(
    torch.as_tensor(a, dtype=torch.double), torch.as_tensor(b, dtype=torch.double), rtol=0, atol=atol)
double = lambda x: torch.tensor(x, dtype=torch.double)
gaussian = lambda mean, var: DiagonalGaussian(double([[mean]]), double([[var]]).log())


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "A small site: a page with all instruments, one with the table of numbers, one with neither; all in dark, too."
    out = tmp_path_factory.mktemp("site")
    (out/"deep").mkdir()
    places = "".join(f'<div class="instrument {n}"><p>still</p></div>' for n in NAMES)
    site_table.table_page(out/"proc", Results())
    said = (out/"proc"/"results"/"table.md").read_text(encoding="utf-8")
    table = re.search(r"```\{=html\}\n(.*)```", said, re.S)[1]
    for name, body in {"all": places, "deep/table": table, "plain": "<p>instrument</p>"}.items():
        css = '<link rel="stylesheet" href="{}site/site.css">'.format("../"*name.count("/"))
        (out/f"{name}.html").write_text(f"{HEAD}{css}<body><main>{body}</main></body></html>", encoding="utf-8")
    instruments.wire(out)
    (out/"site"/"site.css").write_text((ROOT/"site"/"site.css").read_text(encoding="utf-8"), encoding="utf-8")
    return out

@pytest.fixture(scope="module")
def tab(tmp_path_factory, site):
    b = Browser(tmp_path_factory.mktemp("profile"))
    yield b
    b.close()

@pytest.fixture
def page(tab, site):
    "The page with all instruments, from a file, as a reader without a server opens it."
    tab.size(1280)
    tab.go(f"file://{site}/all.html")
    return tab

def moved(page, name, **state):
    "The numbers of an instrument after its controls were moved as a reader moves them."
    for control, value in state.items():
        radio = f"input[name='{name}-{control}'][value='{value}']"
        page.js(f"""(() => {{
          const r = document.querySelector("{radio}"), s = document.getElementById('{name}-{control}');
          if (r) r.click(); else {{ s.value = {value}; s.dispatchEvent(new Event('input')); }} }})()""")
    return page.js(f"instruments.live['{name}'].values")

def told(page, name):
    "The numbers that a reader sees below the picture."
    got = page.js(f"[...document.querySelectorAll('.{name} dd')].map(e => e.textContent)")
    return [float(t.replace("\u2212", "-")) if "±" not in t else t for t in got]


# ---- its numbers are the package's

@pytest.mark.parametrize("mean, deviation", [(0, 1.1), (.85, .71), (2.7, .3), (-1, 1.5)])
def test_the_hill_is_that_of_the_exact_model(page, mean, deviation):
    got = moved(page, "elbo-hill", mean=mean, deviation=deviation)
    model, batch, q = LinearGaussian({"x": ([[1.]], [0.], 1.)}), {"x": double([[1.7]])}, gaussian(mean, deviation**2)
    exact = gaps(model, batch, q)
    close([got["elbo"], got["logp"], got["gap"]],
          [exact["elbo"].item(), exact["log_prob"].item(), (exact["approximation"] + exact["amortization"]).item()])
    close(got["recon"] - got["prior"], got["elbo"])
    close(got["prior"], q.kl().item())
    close(told(page, "elbo-hill"), [got["recon"], -got["prior"], got["elbo"], got["logp"], got["gap"]], .006)

@pytest.mark.parametrize("m1, s1, m2, s2", [(-1, .9, 1.2, .6), (1, .8, 1, .8), (1, 1.4, 1, 1.4), (-2, 1.5, 3, .4)])
def test_experts_multiply_and_mix_as_in_the_package(page, m1, s1, m2, s2):
    got = moved(page, "two-experts", m1=m1, s1=s1, m2=m2, s2=s2)
    both = [gaussian(m1, s1**2), gaussian(m2, s2**2)]
    for key, divide in [("product", False), ("divided", True)]:
        q = product_of_experts(both, divide_prior=divide)
        close(got[key], [q.mean.item(), q.var.item()])
    grid = torch.linspace(-20, 20, 40_001, dtype=torch.double)
    weight = Mixture(both).log_prob(grid[:, None, None]).exp()[:, 0]*(grid[1] - grid[0])
    mean = (weight*grid).sum()
    close(got["mixture"], [mean.item(), (weight*(grid - mean)**2).sum().item()])
    said = page.js("document.querySelector('.two-experts dl').textContent")
    assert ("wider than the prior" in said) == (max(s1, s2) > 1)

def bumps(apart, left):
    return MixtureSameFamily(Categorical(double([left, 1 - left])),
                             Normal(double([-apart/2, apart/2]), double([.6, .6])))

@pytest.mark.parametrize("mix, apart, left", [(0, 3.4, .6), (1, 3.4, .6), (.5, 2, .3), (1, 0, .5)])
def test_no_gaussian_is_better_than_the_one_shown(page, mix, apart, left):
    got = moved(page, "kl-direction", apart=apart, left=left, mix=mix)
    p, z = bumps(apart, left), torch.linspace(-16, 16, 8001, dtype=torch.double)
    def both(mean, deviation):
        q = Normal(mean, deviation)
        difference = (p.log_prob(z) - q.log_prob(z))*(z[1] - z[0])
        return (p.log_prob(z).exp()*difference).sum(), -(q.log_prob(z).exp()*difference).sum()
    mean, log = double(got["mean"]).requires_grad_(), double(got["deviation"]).log().requires_grad_()
    forward, reverse = both(mean, log.exp())
    close([got["forward"], got["reverse"]], [forward.item(), reverse.item()])
    slopes = torch.autograd.grad((1 - mix)*forward + mix*reverse, [mean, log])
    assert max(abs(s.item()) for s in slopes) < 2e-3
    if mix == 0: close([got["mean"], got["deviation"]**2], [p.mean.item(), p.variance.item()], 1e-3)   # moments
    others = [(m, s) for m in (-apart/2, 0, apart/2) for s in (.5, .6, .9, 1.5)]
    cost = lambda pair: ((1 - mix)*pair[0] + mix*pair[1]).item()
    assert cost((forward, reverse)) < min(cost(both(double(m), double(s))) for m, s in others) + 1e-4

def test_the_switch_covers_or_picks(page):
    press = "[...document.querySelectorAll('.kl-direction button')].find(b => b.textContent.includes('{}')).click()"
    page.js(press.format("pick one"))
    picked = moved(page, "kl-direction")
    page.js(press.format("cover"))
    covers = moved(page, "kl-direction")
    assert covers["deviation"] > 1.5 > .7 > picked["deviation"]
    assert covers["forward"] < picked["forward"] and picked["reverse"] < covers["reverse"]

THERMOMETERS = LinearGaussian({"x1": ([[1.]], [0.], 1.), "x2": ([[1.]], [0.], .4)})

def days():
    "Nodes and weights: means of quadratic functions of (x1, x2) under the model are exact."
    u = double([-3**.5, 0, 3**.5])
    w = double([1/6, 2/3, 1/6])
    root = torch.linalg.cholesky(double([[2, 1], [1, 1.16]]))
    return torch.cartesian_prod(u, u) @ root.T, torch.outer(w, w).flatten()

@pytest.mark.parametrize("place, alpha", [(0, 0), (4, .1), (7, 1), (10, 10)])
def test_no_teacher_and_no_student_can_do_better_at_this_alpha(page, place, alpha):
    got = moved(page, "jmvae-alpha", alpha=place)
    assert got["alpha"] == alpha
    x, weight = days()
    a, t, b, s = (double(got[k]).requires_grad_() for k in "atbs")
    posterior = THERMOMETERS.posterior({"x1": x[:, :1], "x2": x[:, 1:]})
    mean = (x @ a)[:, None]
    q = MultivariateNormal(mean, t.expand(9, 1, 1))
    lost = (weight*kl_of(q, posterior)).sum()
    apart = [(weight*kl_of(Normal(mean[:, 0], t.sqrt()), Normal(b[m]*x[:, m], s[m].sqrt()))).sum() for m in range(2)]
    says = (weight*kl_of(Normal(mean[:, 0], t.sqrt()), Normal(double(0.), double(1.)))).sum()
    close([got["lost"], *got["apart"], got["says"]], [v.item() for v in (lost, *apart, says)])
    if alpha:
        for slope in torch.autograd.grad(lost + alpha*sum(apart), [a, t, b, s]): close(slope, torch.zeros_like(slope))
    else: close(got["b"][0], THERMOMETERS.posterior({"x1": double([[1.]])}).mean.item())       # exact students

def test_a_stronger_pull_brings_them_together_and_costs(page):
    rows = [moved(page, "jmvae-alpha", alpha=i) for i in range(11)]
    falls = lambda values: all(b < a for a, b in zip(values, values[1:]))
    assert falls([r["says"] for r in rows]) and falls([sum(r["apart"]) for r in rows])
    assert falls([-r["lost"] for r in rows])

@pytest.mark.parametrize("start, t", [(0, 0), (0, 1), (1, 5), (2, 24)])
def test_the_path_follows_the_gradient_of_the_exact_elbo(page, start, t):
    got = moved(page, "refine-path", start=start, t=t)
    views = {"a": ([[1., .1]], [0.], .3), "b": ([[.7, .75]], [0.], .4), "c": ([[-.1, 1.]], [0.], .06**.5)}
    model, batch = LinearGaussian(views), {"a": double([[1.5]]), "b": double([[1.4]]), "c": double([[.65]])}
    name = "abc"[start]
    q = best_diagonal(model, {name: batch[name]})
    for _ in range(t):
        mean, logvar = q.mean.clone().requires_grad_(), q.logvar.clone().requires_grad_()
        value = model.elbo(batch, DiagonalGaussian(mean, logvar)).sum()
        g_mean, g_logvar = torch.autograd.grad(value, [mean, logvar])
        q = DiagonalGaussian(q.mean + q.std*torch.tanh(q.std*g_mean/3)/2, q.logvar + torch.tanh(2*g_logvar/3))
    exact = gaps(model, batch, q)
    close(got["mean"], q.mean[0]); close(got["v"], q.var[0])
    close([got["elbo"], got["logp"], got["approximation"]],
          [exact[k].item() for k in ("elbo", "log_prob", "approximation")])

UNITS, BOUNDED = 2, 3                              # climbers of `one-rate`, after the gradient and Adam

def by_hand(hill, climber, rate):
    "The mean and the log-variance of an item's posteriors, as the package and torch's own Adam climb."
    s, start = hill
    top, q = gaussian(0., s**2), gaussian(-4*s, start**2)
    elbo = lambda q: -q.kl(top)
    if climber == 1:
        parameters = [q.mean.clone(), q.logvar.clone()]
        adam, path = torch.optim.Adam(parameters, rate), [q]
        for _ in range(16):
            _, *gradients = elbo_gradient(elbo, DiagonalGaussian(*parameters))
            for p, g in zip(parameters, gradients): p.grad = -g
            adam.step()
            path.append(DiagonalGaussian(*(p.clone() for p in parameters)))
    else:
        bound = torch.tanh if climber == BOUNDED else lambda x: x
        def refiner(q, g_mean, g_logvar, memory):
            units = (q.std, 2) if climber >= UNITS else (1, 1)
            return DiagonalGaussian(q.mean + units[0]*bound(rate*units[0]*g_mean),
                                    q.logvar + bound(rate*units[1]*g_logvar)), memory
        path = refine(elbo, q, refiner, 16)
    return [[q.mean.item(), q.logvar.item()] for q in path], [q.kl(top).item() for q in path]

@pytest.mark.parametrize("climber", range(4))
@pytest.mark.parametrize("place, rate", [(0, .001), (4, .02), (7, .2), (8, .5)])
def test_steps_are_those_of_the_package_and_of_torchs_adam(page, climber, place, rate):
    got = moved(page, "one-rate", climber=climber, rate=place, t=5)
    assert got["rate"] == rate
    for hill, path, left in zip([(1, 2), (.1, .2), (.1, 1)], got["paths"], got["left"], strict=True):
        expected = by_hand(hill, climber, rate)
        torch.testing.assert_close(double(path), double(expected[0]), rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(double(left), double(expected[1]), rtol=1e-6, atol=1e-8)
    assert got["now"] == [left[5] for left in got["left"]]
    shows = page.js("[...document.querySelectorAll('.one-rate dd')].map(e => e.textContent)")
    assert shows == [f"{n:.2f}" if n < 1000 else "over 1000" for n in got["now"]] + \
        [f"{sum(n < .1 for n in got['now'])} of 3"]

def test_no_rate_is_good_for_all_but_in_units_and_with_a_bound(page):
    ends = [[moved(page, "one-rate", climber=c, rate=i)["now"] for i in range(9)] for c in range(4)]
    worst = [min(max(now) for now in rows) for rows in ends]       # at the rate that is best for the worst item
    assert [round(w, 1) for w in worst[:UNITS]] == [6.3, .8] and round(worst[UNITS], 1) == 1.4
    assert [max(now) < .1 for now in ends[BOUNDED]] == [False]*6 + [True]*3
    assert max(max(now) for now in ends[BOUNDED][6:]) < .03        # as lesson 08 says
    for rows in ends[UNITS:]: close([now[0] for now in rows], [now[1] for now in rows], 1e-9)


# ---- the talk's line says what the records say

def level(method, condition, seeds=(0,)):
    "A mean over seeds, read straight from the records of the runs."
    def one(seed):
        file = ROOT/"results"/"long"/"runs"/f"mnist_svhn_text-{method}-{seed}-metrics.json"
        rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
        return next((r["value"] for r in rows if (r["metric"], r["condition"]) == ("negative_elbo", condition)), None)
    found = [one(s) for s in seeds]
    return None if None in found else sum(found)/len(found)

def test_distances_on_the_line_are_those_of_the_records(page):
    data = instruments.line_data()
    at = lambda m, c: level(m, c, data["seeds"])
    joint = at("jvae", "all")
    oracle_items = at("jvae", "all, the oracle's items") or joint
    close(data["joint"], oracle_items - at("jvae", "oracle"), .006)
    for key, name in instruments.TITLES.items():
        for method, mine in [("refined_student", data["student"]), ("jmvae_student", data["jstudent"])]:
            close(mine[name] - data["joint"], at(method, key) - joint, .011)
        close(data["refined"][name][16] - data["joint"], at("refined", f"{key}, t=16") - joint, .011)
    got = moved(page, "talk-line", scene=10, start=2)
    assert got["start"] == "Text" and got["student"] == data["student"]["Text"] and got["joint"] == data["joint"]
    seen = page.js("document.querySelector('.talk-line svg').textContent")
    assert f"{data['student']['Text']:.0f} nats" in seen and f"{data['jstudent']['Text']:.0f} nats" in seen

def test_records_that_lack_a_posterior_leave_the_still_picture(tmp_path):
    (tmp_path/"results"/"long"/"runs").mkdir(parents=True)
    assert instruments.line_data(tmp_path) is None and instruments.records(tmp_path) == ""

def test_the_story_plays_pauses_and_steps(page):
    button = lambda said: page.js(f"""[...document.querySelectorAll('.talk-line button')]
                                      .find(b => b.textContent === '{said}').click()""")
    scene = lambda: page.js("instruments.live['talk-line'].state.scene")
    assert scene() == 10
    page.js("instruments.live['talk-line'].spec.plays.every = 30")
    button("Play")
    page.wait(lambda: 2 < scene() < 10)                     # from the beginning
    button("Pause")
    stopped = scene()
    assert page.js("new Promise(r => setTimeout(() => r(instruments.live['talk-line'].state.scene), 150))") == stopped
    button("Step"); assert scene() == stopped + 1
    button("Back"); button("Back"); assert scene() == stopped - 1


# ---- everyone can use them

def test_they_work_from_a_file_and_without_a_word_of_complaint(page):
    assert page.js("Object.keys(instruments.live)") == NAMES
    assert [e for e in page.errors() if "file://" not in e] == []
    assert page.js("document.body.textContent.includes('still')") is False

def test_every_control_has_a_name_and_answers_to_the_keyboard(page):
    names = page.js("""[...document.querySelectorAll('.instrument :is(input, select)')]
                       .map(e => e.labels.length && e.labels[0].textContent.trim())""")
    assert len(names) > 15 and all(names)
    page.js("document.getElementById('elbo-hill-mean').focus()")
    for kind in ("keyDown", "keyUp"):
        page.send("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39)
    assert page.wait(lambda: page.js("instruments.live['elbo-hill'].state.mean")) == .05
    assert page.js("document.getElementById('elbo-hill-mean').getAttribute('aria-valuetext')") == "0.05"

def test_a_finger_on_the_picture_moves_the_mean(page):
    box = page.js("""(() => { const s = document.querySelector('.elbo-hill svg'); s.scrollIntoView();
                      const b = s.getBoundingClientRect(); return [b.left, b.top, b.width] })()""")
    x = box[0] + box[2]*(12 + 456*(.85 + 2.5)/6)/480
    page.send("Input.dispatchMouseEvent", type="mousePressed", x=x, y=box[1] + 60, button="left", buttons=1,
              clickCount=1)
    assert page.js("instruments.live['elbo-hill'].state.mean") == .85

@pytest.mark.parametrize("name", NAMES)
def test_a_screen_reader_hears_the_numbers_where_it_stops(page, name):
    said = page.wait(lambda: page.js(f"document.querySelector('.{name} [aria-live=polite]').textContent"))
    picture = page.js(f"document.querySelector('.{name} svg[role=img]').getAttribute('aria-label')")
    assert re.search(r"\d", said) or name == "talk-line"
    assert said in picture

@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window_and_text_can_be_read(page, width):
    page.size(width)
    wide = page.js("""Math.max(...[...document.querySelectorAll('.instrument, .instrument *')]
                               .map(e => e.getBoundingClientRect().right))""")
    assert wide <= width and page.js("document.documentElement.scrollWidth") <= width
    moved(page, "elbo-hill", mean=2.7)          # a label follows the dot, here to the right end
    sizes = page.js("""[...document.querySelectorAll('.instrument svg text')]
                       .map(e => 14*e.ownerSVGElement.getBoundingClientRect().width/480)""")
    assert min(sizes) > 9.5
    reach = page.js("""[...document.querySelectorAll('.instrument svg text')].map(e => {
        const b = e.getBBox(); return [b.x, b.x + b.width, e.textContent] })""")
    assert [r for r in reach if r[0] < 0 or r[1] > 482] == []

def test_motion_is_left_out_where_a_reader_does_not_want_it(page):
    glides = """(t => (t.set({scene: 4}), t.set({scene: 6}), document.getAnimations().length))
                (instruments.live['talk-line'])"""
    assert page.js(glides) > 0
    page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    page.go(page.js("location.href"))
    assert page.js(glides) == 0
    page.send("Emulation.setEmulatedMedia", features=[])

def test_print_shows_the_picture_without_its_controls(page):
    page.send("Emulation.setEmulatedMedia", media="print")
    seen = page.js("""[...document.querySelectorAll('.instrument > *')]
                      .filter(e => e.offsetParent || e.tagName === 'svg').map(e => e.getAttribute('class'))""")
    page.send("Emulation.setEmulatedMedia", media="")
    assert "controls" not in seen and "buttons" not in seen and seen.count(None) >= 2*len(NAMES)

def test_colours_are_those_of_the_drawings_in_both_themes(page):
    assert page.js("instruments.ROLES") == {n: list(c) for n, c in {**ROLES, **PAPER}.items()}
    ground = "getComputedStyle(document.querySelector('.instrument')).backgroundColor"
    light = page.js(ground)
    page.js("document.documentElement.classList.add('quarto-dark')")
    assert light == "rgb(255, 255, 255)" and page.js(ground) == "rgb(32, 38, 46)"


# ---- what they cost, and what stands still

def test_a_page_without_one_is_not_touched(site):
    plain, deep = (site/"plain.html").read_text(), (site/"deep"/"table.html").read_text()
    assert "<script" not in plain and '<script src="../site/instruments.js">' in deep
    assert "instrument-line" not in deep and "instrument-line" in (site/"all.html").read_text()
    assert (site/"site"/"instruments.js").stat().st_size < 60_000

def test_stills_are_those_that_are_drawn(): assert instruments.main(["--check"]) == 0

def test_lessons_show_each_instrument_once_with_its_still():
    used = []
    for p in sorted((ROOT/"nbs"/"_py").glob("*.py")):
        text = p.read_text(encoding="utf-8")
        blocks = re.findall(r"(?ms)^# ::: \{\.instrument \.([\w-]+)\}\n"
                            r"# !\[([^\]]+)\]\(instruments/([\w-]+)\.svg\)\n.*?^# :::$", text)
        assert len(blocks) == text.count("{.instrument"), p.name
        assert all(name == still and len(alt) > 60 for name, alt, still in blocks), p.name
        used += [name for name, _, _ in blocks]
    assert sorted(used) == sorted(NAMES)


# ---- the table of all numbers

@pytest.fixture
def table(tab, site):
    tab.size(1280)
    tab.go(f"file://{site}/deep/table.html")
    return tab

SEEN = """[...document.querySelectorAll('.results-numbers tbody tr')].filter(r => !r.hidden)
          .map(r => [...r.cells].map(c => c.dataset.v || c.textContent))"""

def rows_of_the_records():
    for scale in ("long", "real", "quick"):
        with (ROOT/"results"/scale/"tables"/"talk.csv").open(encoding="utf-8") as f:
            yield from ((scale, r) for r in csv.DictReader(f))

def test_without_scripts_it_has_every_row(site):
    html = re.sub(r"<script.*?</script>", "", (site/"deep"/"table.html").read_text(encoding="utf-8"))
    kept = [r for _, r in rows_of_the_records() if r["value"] or r["talk_value"]]
    assert html.count("<tr") == len(kept) + 1 and " hidden" not in html

def test_it_shows_the_talk_beside_ours_and_sorts_by_the_keyboard(table):
    at_first = table.js(SEEN)
    assert len(at_first) == sum(bool(r["talk_value"]) for _, r in rows_of_the_records())
    ours = "document.querySelectorAll('.results-numbers th')[6]"
    table.js(f"{ours}.querySelector('button').focus()")
    for _ in range(2):
        for kind in ("keyDown", "keyUp"):
            table.send("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r",
                       windowsVirtualKeyCode=13)
        down = table.js(f"{ours}.getAttribute('aria-sort')") == "descending"
        values = [float(r[6]) for r in table.js(SEEN) if r[6]]
        assert values == sorted(values, reverse=down)
    assert down and table.js("document.querySelectorAll('[aria-sort=none]').length") == 11

def test_it_filters_by_method_data_and_metric(table):
    choose = """(([name, said]) => { const s = document.querySelector(`select[aria-label='${name}']`);
                s.value = [...s.options].find(o => o.text === said).value; s.dispatchEvent(new Event('change')); })"""
    table.js("document.querySelector('.filters input').click()")
    for pair in (["method", "MoPoE"], ["metric", "FID"], ["scale", "real"]): table.js(f"{choose}({json.dumps(pair)})")
    mine = [r["value"] for s, r in rows_of_the_records()
            if (s, r["method"], r["metric"]) == ("real", "mopoe", "fid") and (r["value"] or r["talk_value"])]
    assert sorted(r[6] for r in table.js(SEEN)) == sorted(mine) and len(mine) > 4
    assert table.js("document.querySelector('.count').textContent").startswith(f"{len(mine)} of ")
