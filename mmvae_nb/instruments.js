// The small instruments of the lessons: pictures that answer to sliders, and a table that sorts and filters.
// A page of the site that has a `::: {.instrument .name}` loads this file, no other page does; it asks for nothing else.
// In a notebook `Instrument` (mmvae_nb.plotting) puts it into a frame.
// All they show is computed here, from closed forms or on a grid; tests compare it with the package.
(() => {
"use strict";

// ---- Gaussians, as [mean, variance]; nats

const LOG_2PI = Math.log(2*Math.PI), sum = xs => xs.reduce((a, b) => a + b, 0);
const logBell = ([m, v], z) => -(LOG_2PI + Math.log(v) + (z - m)**2/v)/2;
const bell = (q, z) => Math.exp(logBell(q, z));
const kl = ([m, v], [n, w] = [0, 1]) => (v/w - 1 - Math.log(v/w) + (m - n)**2/w)/2;
const roof = (least, ...qs) => 1.08*Math.max(least, ...qs.map(q => bell(q, q[0])));   // of a panel with these bells
const range = (n, from = 0, to = n - 1) => Array.from({length: n}, (_, i) => from + (to - from)*i/Math.max(1, n - 1));

// ---- writing numbers and SVG

const shown = (x, digits = 2) => {
  const text = x.toFixed(digits);
  return (+text === 0 ? text.replace("-", "") : text).replace("-", "\u2212");
};
const at = x => String(+x.toFixed(1) || 0);                     // a coordinate; never -0
const SUB = "₀₁₂₃₄₅₆₇₈₉";
const sub = n => String(n).replace(/\d/g, d => SUB[d]);
const WIDTH = 480;                                              // of every picture, in its own units

const tag = (name, css, more) =>
  `<${name} class="${css}"${Object.entries(more).map(([k, v]) => ` ${k}="${v}"`).join("")}/>`;
const text = (x, y, said, {css = "f-ink", size = 14, anchor = "start", weight = 400} = {}) =>
  `<text class="${css}" x="${at(x)}" y="${at(y)}" font-size="${size}" font-weight="${weight}" ` +
  `text-anchor="${anchor}">${said}</text>`;
const line = (points, css, width = 2) => {
  const d = "M" + points.map(([x, y]) => `${at(x)} ${at(y)}`).join("L");
  return tag("path", `no ${css}`, {d, "stroke-width": width});
};
const dot = (x, y, css, r = 5, moves) =>                        // `moves`: a name, for what glides to its new place
  tag("circle", css, {cx: at(x), cy: at(y), r, ...(moves ? {"data-moves": moves} : {})});
const ellipse = (cx, cy, rx, ry, css, width = 2, turn = 0) =>
  tag("ellipse", `no ${css}`, {cx: at(cx), cy: at(cy), rx: at(rx), ry: at(ry), "stroke-width": width,
                               ...(turn ? {transform: `rotate(${at(turn)} ${at(cx)} ${at(cy)})`} : {})});

class Panel {
  // A box of the picture with its own units; what lies outside is drawn at its edge, and a curve ends at its floor
  constructor(x, y, w, h, [x0, x1], [y0, y1]) { Object.assign(this, {x, y, w, h, x0, x1, y0, y1}); }
  px(u) { return this.x + this.w*Math.min(1, Math.max(0, (u - this.x0)/(this.x1 - this.x0))); }
  py(v) { return this.y + this.h*(1 - Math.min(1, Math.max(0, (v - this.y0)/(this.y1 - this.y0)))); }
  curve(f, css, width, n = 141) {
    const inside = range(n, this.x0, this.x1).filter(u => f(u) >= this.y0);
    return inside.length ? line(inside.map(u => [this.px(u), this.py(f(u))]), css, width) : "";
  }
  area(f, css, n = 141) {
    const top = range(n, this.x0, this.x1).map(u => [this.px(u), this.py(f(u))]);
    const all = [[this.x, this.y + this.h], ...top, [this.x + this.w, this.y + this.h]];
    return tag("path", css, {d: "M" + all.map(([x, y]) => `${at(x)} ${at(y)}`).join("L") + "Z"});
  }
  axis(ticks, label, show = t => shown(t, 0)) {
    const y = this.y + this.h;
    const marks = ticks.map((t, i) => line([[this.px(t), y], [this.px(t), y + 4]], "s-soft", 1) +
                                      text(this.px(t), y + 18, show(t, i), {css: "f-soft", anchor: "middle"}));
    const name = text(this.x + this.w, y + (label === "z" ? 18 : 35), label, {css: "f-soft", anchor: "end"});
    return line([[this.x, y], [this.x + this.w, y]], "s-soft", 1) + marks.join("") + name;
  }
}

// A legend in one or more rows: [colour's class, what it is]; `at` is its first base line
const legend = (entries, y = 18, x = 12) => entries.map(([css, said, width]) => {
  const drawn = line([[x, y - 5], [x + 22, y - 5]], css, 2.5) + text(x + 28, y, said);
  x += width;
  return drawn;
}).join("");

// ---- 1. mean and deviation on the ELBO's hill: p(z) = N(0, 1), p(x | z) = N(z, 1)

const HILL = {x: 1.7, noise: 1};
const hill = ({mean, deviation}) => {
  const {x, noise: v} = HILL, q = [mean, deviation**2], post = [x/(1 + v), v/(1 + v)];
  const recon = -(LOG_2PI + Math.log(v) + ((x - mean)**2 + q[1])/v)/2, prior = kl(q);
  return {recon, prior, elbo: recon - prior, logp: logBell([0, 1 + v], x), gap: kl(q, post), post, q};
};

const elboHill = {
  title: "Mean and deviation of q on the ELBO's hill",
  controls: [
    {id: "mean", label: "mean of q", min: -1, max: 2.7, step: .05, value: 0},
    {id: "deviation", label: "standard deviation of q", min: .3, max: 1.5, step: .01, value: 1.1}],
  drag: {id: "mean", from: 12, to: 468, low: -2.5, high: 3.5},
  view(state) {
    const r = hill(state), low = r.logp - 4.5;
    const top = new Panel(12, 34, 456, 120, [-2.5, 3.5], [0, roof(.66, r.q)]);
    const bottom = new Panel(12, 206, 456, 130, [-2.5, 3.5], [low, r.logp + .4]);
    const elbo = mean => hill({...state, mean}).elbo, x = bottom.px(state.mean);
    const ceiling = bottom.py(r.logp), here = bottom.py(r.elbo);
    const shapes = [
      legend([["s-soft dots", "prior", 78], ["s-ink dash", "true posterior", 148], ["s-teacher", "q(z)", 80],
              ["s-data", "x", 50]]),
      top.curve(z => bell([0, 1], z), "s-soft dots", 1.6), top.curve(z => bell(r.post, z), "s-ink dash", 1.8),
      top.area(z => bell(r.q, z), "f-teacher pale"), top.curve(z => bell(r.q, z), "s-teacher", 2.6),
      line([[top.px(HILL.x), top.y + 6], [top.px(HILL.x), top.y + top.h]], "s-data", 2.2),
      top.axis([-2, -1, 0, 1, 2, 3], "z"),
      line([[12, ceiling], [468, ceiling]], "s-ink dash", 1.6),
      text(14, ceiling - 6, "log p(x): the ceiling"),
      bottom.curve(elbo, "s-teacher", 2.2),
      line([[x, ceiling], [x, here]], "s-ink", 3), dot(x, here, "f-teacher", 6),
      text(state.mean < r.post[0] ? x - 9 : Math.min(x + 9, 410), (ceiling + here)/2 + 6, `${shown(r.gap)} nats`,   // off the hill
           {css: "f-ink", weight: 600, anchor: state.mean < r.post[0] ? "end" : "start"}),
      bottom.axis([-2, -1, 0, 1, 2, 3], "ELBO of q (nats), against its mean")];
    return {height: 378, shapes, values: r,
            numbers: [["reconstruction", r.recon], ["\u2212 KL(q ‖ prior)", -r.prior], ["= ELBO", r.elbo],
                      ["log p(x)", r.logp], ["gap, KL(q ‖ posterior)", r.gap]],
            said: `ELBO ${shown(r.elbo)} nats, ${shown(r.gap)} below log p(x).`};
  }
};

// ---- 2. two experts

const experts = ({m1, s1, m2, s2}) => {
  const both = [[m1, s1**2], [m2, s2**2]], precisions = both.map(e => 1/e[1]);
  const whole = sum(precisions), weighted = sum(both.map(e => e[0]/e[1])), loudest = Math.max(...precisions);
  const exact = whole - 1, improper = exact < loudest && Math.min(...precisions) < 1;
  const precision = Math.max(exact, loudest);      // as `product_of_experts(..., divide_prior=True)`
  const inside = m => Math.min(Math.max(m1, m2), Math.max(Math.min(m1, m2), m));
  const mean = weighted/precision, centre = (m1 + m2)/2;
  return {both, improper, product: [weighted/whole, 1/whole],
          divided: [improper ? inside(mean) : mean, 1/precision],
          mixture: [centre, (s1**2 + s2**2)/2 + ((m1 - m2)/2)**2],
          density: z => (bell(both[0], z) + bell(both[1], z))/2};
};

const twoExperts = {
  title: "Two experts: their product and their mixture",
  controls: [
    {id: "m1", label: "mean of expert 1", min: -3, max: 3, step: .1, value: -1},
    {id: "s1", label: "its standard deviation", min: .3, max: 1.6, step: .05, value: .9},
    {id: "m2", label: "mean of expert 2", min: -3, max: 3, step: .1, value: 1.2},
    {id: "s2", label: "its standard deviation", min: .3, max: 1.6, step: .05, value: .6}],
  view(state) {
    const r = experts(state), p = new Panel(12, 56, 456, 180, [-4.5, 4.5], [0, roof(.85, ...r.both, r.product)]);
    const pair = q => `${shown(q[0])} ± ${shown(Math.sqrt(q[1]))}`;
    const shapes = [
      legend([["s-data dash", "experts", 100], ["s-teacher", "product: and", 132], ["s-ink", "mixture: or", 130]]),
      legend([["s-gradient dots", "product, surplus prior divided out", 300]], 40),
      p.area(r.density, "f-ink pale"), p.curve(r.density, "s-ink", 2),
      ...r.both.map(e => p.curve(z => bell(e, z), "s-data dash", 2)),
      p.area(z => bell(r.product, z), "f-teacher pale"), p.curve(z => bell(r.product, z), "s-teacher", 2.8),
      p.curve(z => bell(r.divided, z), "s-gradient dots", 2.6),
      p.axis([-4, -2, 0, 2, 4], "z")];
    const wide = r.improper ? ", no quotient: an expert is wider than the prior" : "";
    return {height: 264, shapes, values: r,
            numbers: [["product, mean ± deviation", pair(r.product)], ["mixture", pair(r.mixture)],
                      ["prior divided out" + wide, pair(r.divided)]],
            said: `Product ${pair(r.product)}, mixture ${pair(r.mixture)}, prior divided out ${pair(r.divided)}${wide}.`};
  }
};

// ---- 3. the direction of the KL: a Gaussian for a density with two bumps

const NODES = range(101, -5, 5), TOTAL = sum(NODES.map(u => Math.exp(-u*u/2)));
const WEIGHTS = NODES.map(u => Math.exp(-u*u/2)/TOTAL);
const BUMP = .6;                                                // deviation of either bump

const bumps = ({apart, left}) => {
  const both = [[-apart/2, BUMP**2], [apart/2, BUMP**2]];
  const density = z => left*bell(both[0], z) + (1 - left)*bell(both[1], z);
  const far = apart/2, start = -(LOG_2PI + Math.log(BUMP**2) + (far/BUMP)**2)/2, lean = Math.log(left/(1 - left))/2;
  const logs = z => {                                           // equal variances: the two differ by what is linear in z
    const tilt = Math.abs(lean - far*z/BUMP**2);
    return start + Math.log(left*(1 - left))/2 - (z/BUMP)**2/2 + tilt + Math.log1p(Math.exp(-2*tilt));
  };
  const mean = left*both[0][0] + (1 - left)*both[1][0];
  const variance = BUMP**2 + left*(1 - left)*apart**2;
  const under = (q, f) => sum(NODES.map((u, i) => WEIGHTS[i]*f(q[0] + Math.sqrt(q[1])*u)));
  const entropy = -(left*under(both[0], logs) + (1 - left)*under(both[1], logs));
  return {density, forward: q => -entropy + (LOG_2PI + Math.log(q[1]) + (variance + (mean - q[0])**2)/q[1])/2,
          reverse: q => -(1 + LOG_2PI + Math.log(q[1]))/2 - under(q, logs)};
};

const best = cost => {
  // The mean and the log deviation with the least cost: a coarse grid, then finer ones around the best
  let [m, l, wide, tall] = [0, 0, 4, 1.6], [n, k] = [25, 13];
  for (let level = 0; level < 10; level++) {
    let least = Infinity, [bm, bl] = [m, l];
    for (const a of range(n, m - wide, m + wide)) for (const b of range(k, l - tall, l + tall)) {
      const c = cost([a, Math.exp(2*b)]);
      if (c < least - 1e-12) [least, bm, bl] = [c, a, b];
    }
    [m, l, wide, tall, n, k] = [bm, bl, 3*wide/(n - 1), 3*tall/(k - 1), 9, 9];
  }
  return [m, Math.exp(2*l)];
};

const fitted = state => {
  const p = bumps(state), mix = state.mix;
  const q = best(q => (mix < 1 ? (1 - mix)*p.forward(q) : 0) + (mix > 0 ? mix*p.reverse(q) : 0));
  return {q, mean: q[0], deviation: Math.sqrt(q[1]), forward: p.forward(q), reverse: p.reverse(q), density: p.density};
};

const klDirection = {
  title: "The best Gaussian for two bumps, by either direction of the KL",
  controls: [
    {id: "mix", label: "direction", min: 0, max: 1, step: .01, value: 0,
     show: v => v === 0 ? "KL(p ‖ q)" : v === 1 ? "KL(q ‖ p)" : `${shown(100*v, 0)} % of the way`},
    {id: "apart", label: "distance of the bumps", min: 0, max: 5, step: .1, value: 3.4},
    {id: "left", label: "weight of the left one", min: .1, max: .9, step: .05, value: .6}],
  buttons: [["KL(p ‖ q): cover", {mix: 0}], ["KL(q ‖ p): pick one", {mix: 1}]],
  view(state) {
    const r = fitted(state), high = Math.max(...[-.5, 0, .5].map(u => r.density(u*state.apart)));
    const p = new Panel(12, 36, 456, 150, [-5, 5], [0, roof(high, r.q)]);
    const shapes = [
      legend([["s-teacher", "p: two bumps", 140], ["s-student", "q: the best Gaussian", 200]]),
      p.area(r.density, "f-teacher pale"), p.curve(r.density, "s-teacher", 2.2),
      p.curve(z => bell(r.q, z), "s-student", 3), p.axis([-4, -2, 0, 2, 4], "z")];
    return {height: 214, shapes, values: r,
            numbers: [["mean of q", r.mean], ["deviation of q", r.deviation], ["KL(p ‖ q), nats", r.forward],
                      ["KL(q ‖ p), nats", r.reverse]],
            said: `q: mean ${shown(r.mean)}, deviation ${shown(r.deviation)}; KL(p‖q) ${shown(r.forward)}, ` +
                  `KL(q‖p) ${shown(r.reverse)} nats.`};
  }
};

// ---- 4. alpha of JMVAE-kl: z ~ N(0, 1), two thermometers x_m = z + noise

const NOISE = [1, .16], ALPHAS = [0, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10];

const settled = alpha => {
  // Teacher N(a1 x1 + a2 x2, t) and students N(b_m x_m, s_m), each the best answer to the others
  const P = 1 + 1/NOISE[0] + 1/NOISE[1], exact = NOISE.map(v => 1/v/P);
  const C = (i, j) => 1 + (i === j ? NOISE[i] : 0), rest = NOISE.map((_, m) => C(1 - m, 1 - m) - 1/C(m, m));
  const squared = a => a[0]*a[0]*C(0, 0) + 2*a[0]*a[1] + a[1]*a[1]*C(1, 1);
  let a = exact, t = 1/P, b, s;
  for (let i = 0, moved = 1; i < 20000 && moved > 1e-13; i++) {
    b = a.map((_, m) => a[m] + a[1 - m]/C(m, m));
    s = a.map((_, m) => t + a[1 - m]**2*rest[m]);
    const next = (1 + 2*alpha)/(P + alpha*(1/s[0] + 1/s[1]));
    const slope = a.map((_, m) => next*(1/NOISE[m] + alpha*b[m]/s[m])/(1 + 2*alpha));
    moved = Math.abs(next - t) + Math.abs(slope[0] - a[0]) + Math.abs(slope[1] - a[1]);
    [a, t] = [slope, next];
  }
  const off = a.map((x, m) => x - exact[m]);
  return {a, t, b, s, exact, P, lost: (t*P - 1 - Math.log(t*P) + P*squared(off))/2,
          apart: s.map(v => Math.log(v/t)/2), says: (t - 1 - Math.log(t) + squared(a))/2};
};
let everyAlpha;                                                 // computed when first drawn

const jmvaeAlpha = {
  title: "What alpha does to teacher and students",
  controls: [
    {id: "alpha", label: "alpha", min: 0, max: ALPHAS.length - 1, step: 1, value: 4, show: i => String(ALPHAS[i])},
    {id: "x2", label: "the good thermometer says", min: -1, max: 2.4, step: .1, value: 1.6, digits: 1}],
  view(state) {
    everyAlpha = everyAlpha || ALPHAS.map(settled);
    const r = everyAlpha[state.alpha], x = [1, state.x2], dotted = w => w[0]*x[0] + w[1]*x[1];
    const top = new Panel(12, 64, 456, 130, [-2, 3.2], [0, 1.2]);
    const bottom = new Panel(12, 264, 456, 120, [0, ALPHAS.length - 1], [0, 1.6]);
    const over = f => line(everyAlpha.map((e, i) => [bottom.px(i), bottom.py(f(e))]), f.css, 2.2);
    const here = bottom.px(state.alpha), drawn = [
      Object.assign(e => e.says, {css: "s-teacher"}), Object.assign(e => sum(e.apart), {css: "s-student"}),
      Object.assign(e => e.lost, {css: "s-gradient"})];
    const shapes = [
      legend([["s-ink dash", "posterior", 120], ["s-teacher", "teacher", 100]]),
      legend([["s-student", "student of x\u2081 = 1", 170], ["s-student dash", "student of x\u2082", 150]], 40),
      top.curve(z => bell([dotted(r.exact), 1/r.P], z), "s-ink dash", 1.8),
      top.area(z => bell([dotted(r.a), r.t], z), "f-teacher pale"),
      top.curve(z => bell([dotted(r.a), r.t], z), "s-teacher", 2.6),
      ...r.b.map((slope, m) => top.curve(z => bell([slope*x[m], r.s[m]], z), m ? "s-student dash" : "s-student", 2.2)),
      top.axis([-2, -1, 0, 1, 2, 3], "z"),
      legend([["s-teacher", "says", 72], ["s-student", "students' KL", 122], ["s-gradient", "ELBO lost (all in nats)", 190]], 246),
      line([[here, bottom.y], [here, bottom.y + bottom.h]], "s-line", 6),
      ...drawn.map(over), ...drawn.map(f => dot(here, bottom.py(f(r)), f.css.replace("s-", "f-"), 5)),
      bottom.axis([0, 4, 7, 10], "alpha", i => String(ALPHAS[i]))];
    return {height: 426, shapes, values: {...r, alpha: ALPHAS[state.alpha], teacher: [dotted(r.a), r.t]},
            numbers: [["teacher says, KL to the prior", r.says], ["ELBO lost", r.lost],
                      ["KL(teacher ‖ student of x\u2081)", r.apart[0]], ["KL(teacher ‖ student of x\u2082)", r.apart[1]]],
            said: `alpha ${ALPHAS[state.alpha]}: the teacher says ${shown(r.says)} nats, loses ${shown(r.lost)} of the ELBO, ` +
                  `and its students are ${shown(r.apart[0])} and ${shown(r.apart[1])} away.`};
  }
};

// ---- 5. one rate for three items: q = N(mean, e^log variance) climbs to the posterior N(0, s^2) of an item

const HILLS = [{name: "wide", s: 1, from: 2, css: ""}, {name: "narrow", s: .1, from: .2, css: " dash"},
               {name: "narrow, q₀ wide", s: .1, from: 1, css: " dots"}];       // from: the deviation of q₀
const AWAY = 4, GOAL = .1, T_MAX = 16;                          // deviations from the top; nats
const RATES = [.001, .002, .005, .01, .02, .05, .1, .2, .5];    // 1 would be Newton's step: only an exact bell allows it
const LOGVAR = [-12, 6];                                        // as in the package: LOGVAR_RANGE

// Each makes a step [in the mean, in log variance] of the variance v and the gradient g in both
const CLIMBERS = [
  {name: "gradient", role: "gradient", rule: "Mean and log σ² both move by rate × gradient.",
   step: rate => (v, g) => g.map(x => rate*x)},
  {name: "Adam", role: "gradient", rule: "Each moves by about the rate, because Adam divides a gradient by its usual size.",
   step: rate => {
     let t = 0, m = [0, 0], w = [0, 0];
     return (v, g) => {
       t += 1; m = m.map((x, i) => .9*x + .1*g[i]); w = w.map((x, i) => .999*x + .001*g[i]**2);
       return m.map((x, i) => rate*x/(1 - .9**t)/(Math.sqrt(w[i]/(1 - .999**t)) + 1e-8));
     };
   }},
  {name: "in units", role: "teacher", rule: "The mean moves by rate × (σ × gradient) deviations σ, log σ² by rate × 2 × gradient.",
   step: rate => (v, g) => [rate*v*g[0], rate*2*g[1]]},
  {name: "in units, bounded", role: "teacher", rule: "The same, but the mean moves by one σ at most, log σ² by 1 at most.",
   step: rate => (v, g) => [Math.sqrt(v)*Math.tanh(rate*Math.sqrt(v)*g[0]), Math.tanh(rate*2*g[1])]}];

const below = ({s}, [m, l]) => kl([m, Math.exp(l)], [0, s*s]);
const climbed = (hill, climber, rate) => {
  const step = climber.step(rate), path = [[-AWAY*hill.s, 2*Math.log(hill.from)]];
  for (let t = 0; t < T_MAX; t++) {
    const [m, l] = path[t], v = Math.exp(l), move = step(v, [-m/hill.s**2, (1 - v/hill.s**2)/2]);
    path.push([m + move[0], Math.min(LOGVAR[1], Math.max(LOGVAR[0], l + move[1]))]);
  }
  return path;
};
const contour = (k, low) => {                                   // where KL = k²/2: [mean/s, log(v/s²)], not below `low`
  const room = y => k*k - (Math.exp(y) - 1 - y);
  const end = outside => range(40).reduce(([a, b]) => room((a + b)/2) > 0 ? [(a + b)/2, b] : [a, (a + b)/2], [0, outside])[0];
  const [from, to] = [end(low), end(6)];
  const right = range(21).map(i => from + (to - from)*(1 - Math.cos(Math.PI*i/20))/2).map(y => [Math.sqrt(Math.max(0, room(y))), y]);
  return [...right.map(([x, y]) => [-x, y]), ...right.reverse()];
};

const oneRate = {
  title: "One rate for three items",
  controls: [
    {id: "climber", label: "step", value: 0, choices: CLIMBERS.map((c, i) => [i, c.name])},
    {id: "rate", label: "rate", min: 0, max: RATES.length - 1, step: 1, value: 4, show: i => String(RATES[i])},
    {id: "t", label: "steps t", min: 0, max: T_MAX, step: 1, value: T_MAX, digits: 0}],
  plays: {id: "t", every: 450},
  view(state) {
    const climber = CLIMBERS[state.climber], rate = RATES[state.rate], {t} = state, {role} = climber;
    const paths = HILLS.map(h => climbed(h, climber, rate)), left = HILLS.map((h, i) => paths[i].map(q => below(h, q)));
    const shapes = HILLS.map((h, i) => {
      const p = new Panel(12 + 157*i, 28, 142, 150, [-6.6, 6.6], [-2.6, 5.4]), far = ([x, y]) => Math.abs(x) > 6.6 || y < -2.6;
      const own = paths[i].slice(0, t + 1).map(([m, l]) => [m/h.s, l - 2*Math.log(h.s)]), spots = own.map(([x, y]) => [p.px(x), p.py(y)]);
      return legend([[`s-${role}${h.css}`, h.name, 0]], 18, p.x) +
        [1, 2, 3, 4, 5].map(k => line(contour(k, -2.6).map(([x, y]) => [p.px(x), p.py(y)]), "s-soft thin", 1)).join("") +
        text(p.px(0), p.py(0) + 5, "★", {anchor: "middle"}) +
        (t ? line(spots, `s-${role}`, 1.4) : "") + spots.slice(0, -1).map(([x, y]) => dot(x, y, `f-${role}`, 2.5)).join("") +
        dot(...spots[t], `f-${role}`, 5) +
        (far(own[t]) ? text(p.px(0), 172, "off the map", {css: `f-${role}`, anchor: "middle", weight: 600}) : "") +
        p.axis([-5, 0, 5], i ? "" : "mean of q", u => shown(u*h.s, u && h.s < 1 ? 1 : 0)) +
        (i ? "" : text(p.x, 44, "log σ²", {css: "f-soft"}));
    });
    const p = new Panel(44, 252, 424, 116, [0, T_MAX], [-3, 3]), Y = nats => p.py(Math.log10(Math.max(1e-9, nats)));
    shapes.push(
      tag("rect", "f-ink pale", {x: p.x, y: at(Y(GOAL)), width: p.w, height: at(p.y + p.h - Y(GOAL))}),
      text(p.x + 6, p.y + p.h - 8, `goal: below ${GOAL}`, {css: "f-soft"}),
      ...[1000, 10, GOAL].map(n => text(38, Y(n) + 5, n, {css: "f-soft", anchor: "end"}) + line([[p.x, Y(n)], [p.x + p.w, Y(n)]], "s-line", 1)),
      text(12, 240, "nats below the top, at each step", {css: "f-soft"}),
      ...HILLS.map((h, i) => (t ? line(left[i].slice(0, t + 1).map((n, u) => [p.px(u), Y(n)]), `s-${role}${h.css}`, 2.2) : "") +
                             dot(p.px(t), Y(left[i][t]), `f-${role}`, 4)),
      p.axis([0, 4, 8, 12, 16], "steps t"));
    const now = left.map(l => l[t]), said = now.map(n => n < 1000 ? shown(n) : "over 1000");
    return {height: 410, shapes, caption: climber.rule, values: {paths, left, rate, now},
            numbers: [...HILLS.map((h, i) => [`${h.name}: nats to go`, said[i]]),
                      [`items within ${GOAL} nats`, `${now.filter(n => n < GOAL).length} of ${HILLS.length}`]],
            said: `${climber.name}, rate ${rate}, after ${t} steps: ` +
                  HILLS.map((h, i) => `${h.name} ${said[i]}`).join("; ") + " nats below the top."};
  }
};

// ---- 6. T and the start: a two-dimensional z, three views x_m = w_m z + noise

const VIEWS = [{w: [1, .1], v: .09, x: 1.5}, {w: [.7, .75], v: .16, x: 1.4}, {w: [-.1, 1], v: .06, x: .65}];
const LAST = 24;
const along = ([a, b], [c, d]) => a*c + b*d;

const solve = views => {
  // Mean and precision [p00, p01, p11] of p(z | these views)
  const p = [1 + sum(views.map(o => o.w[0]**2/o.v)), sum(views.map(o => o.w[0]*o.w[1]/o.v)), 1 + sum(views.map(o => o.w[1]**2/o.v))];
  const h = [0, 1].map(i => sum(views.map(o => o.w[i]*o.x/o.v))), det = p[0]*p[2] - p[1]**2;
  return {mean: [(p[2]*h[0] - p[1]*h[1])/det, (p[0]*h[1] - p[1]*h[0])/det], p, det};
};
const elboOf = ({mean, v}) => {
  const reads = VIEWS.map(o => -(LOG_2PI + Math.log(o.v) + ((o.x - along(o.w, mean))**2 + along(o.w.map(w => w*w), v))/o.v)/2);
  return sum(reads) - kl([mean[0], v[0]]) - kl([mean[1], v[1]]);
};
const everything = (() => {
  const full = solve(VIEWS), top = {mean: full.mean, v: [1/full.p[0], 1/full.p[2]]};
  const gap = Math.log(full.p[0]*full.p[2]/full.det)/2;         // a diagonal Gaussian can't be tilted
  return {...full, top, approximation: gap, logp: elboOf(top) + gap};
})();
const refined = (start, steps) => {
  const from = solve([VIEWS[start]]), path = [{mean: from.mean, v: [1/from.p[0], 1/from.p[2]]}];
  for (let t = 0; t < steps; t++) {
    const {mean, v} = path[t], P = [everything.p[0], everything.p[2]];
    const slope = [0, 1].map(i => sum(VIEWS.map(o => o.w[i]*(o.x - along(o.w, mean))/o.v)) - mean[i]);
    // Bounded, in the posterior's own units, as in the picture of lesson 09: nothing is learnt here
    path.push({mean: mean.map((m, i) => m + Math.sqrt(v[i])*Math.tanh(Math.sqrt(v[i])*slope[i]/3)/2),
               v: v.map((s, i) => s*Math.exp(Math.tanh((1 - s*P[i])/3)))});
  }
  return path;
};

const refinePath = {
  title: "T and the start: a posterior on its way, and what it generates",
  controls: [
    {id: "start", label: "start from", value: 0, choices: VIEWS.map((_, m) => [m, `x${sub(m + 1)}`])},
    {id: "t", label: "steps t", min: 0, max: LAST, step: 1, value: 0, digits: 0}],
  plays: {id: "t", every: 450},
  view({start, t}) {
    const paths = VIEWS.map((_, m) => refined(m, LAST)), q = paths[start][t], elbo = elboOf(q);
    const scale = 78, cx = 92, cy = 204, X = u => cx + scale*u, Y = u => cy - scale*u;
    const ring = (o, css, width) => ellipse(X(o.mean[0]), Y(o.mean[1]), scale*Math.sqrt(o.v[0]), scale*Math.sqrt(o.v[1]), css, width);
    const {p, det, mean} = everything, cov = [p[2]/det, -p[1]/det, p[0]/det];
    const half = Math.atan2(2*cov[1], cov[0] - cov[2])/2, mid = (cov[0] + cov[2])/2;
    const far = Math.hypot((cov[0] - cov[2])/2, cov[1]), axes = [mid + far, mid - far].map(v => scale*Math.sqrt(v));
    const trail = paths[start].slice(0, t + 1).map(o => [X(o.mean[0]), Y(o.mean[1])]);
    const pairs = [0, 1, 2].flatMap(a => [0, 1, 2].filter(b => b !== a).map(b => [a, b]));
    const rows = pairs.map(([a, b], i) => {
      const y = 66 + 34*i, o = VIEWS[b], r = paths[a][t], P = new Panel(344, y, 124, 0, [-1.5, 3], [0, 1]);
      const said = along(o.w, r.mean), sd = Math.sqrt(along(o.w.map(w => w*w), r.v) + o.v);
      const on = a === start ? "" : " faint";
      return text(288, y + 5, `x${sub(a + 1)} → x${sub(b + 1)}`, {css: `f-ink${on}`}) +
             line([[344, y], [468, y]], `s-line${on}`, 1.5) +
             line([[P.px(said - sd), y], [P.px(said + sd), y]], `s-teacher${on}`, 7) + dot(P.px(said), y, `f-paper${on}`, 2.5) +
             line([[P.px(o.x), y - 10], [P.px(o.x), y + 10]], `s-data${on}`, 2.5);
    });
    const shapes = [
      legend([["s-ink dash", "posterior of all", 156], ["s-teacher", `q${sub(t)}`, 62], ["s-data", "data", 70]]),
      text(288, 44, "start → generated", {css: "f-soft"}),
      line([[12, cy], [270, cy]], "s-line", 1.5), line([[cx, 46], [cx, 282]], "s-line", 1.5),
      text(268, cy + 18, "z\u2081", {css: "f-soft", anchor: "end"}), text(cx - 8, 60, "z\u2082", {css: "f-soft", anchor: "end"}),
      ellipse(X(mean[0]), Y(mean[1]), axes[0], axes[1], "s-ink dash", 2, -half*180/Math.PI),
      ...paths[start].slice(0, t).map(o => ring(o, "s-teacher faint", 1)),
      ...(t ? [line(trail, "s-teacher", 1.6)] : []), ...trail.slice(0, -1).map(([x, y]) => dot(x, y, "f-teacher", 2.5)),
      ring(q, "s-teacher", 3), dot(...trail[t], "f-teacher", 4.5), ...rows];
    const behind = everything.logp - elbo;
    return {height: 292, shapes, values: {...q, elbo, logp: everything.logp, behind, approximation: everything.approximation},
            numbers: [["ELBO of all views (nats)", elbo], ["log p(x)", everything.logp], ["KL(q ‖ posterior)", behind],
                      ["of which no diagonal q can close", everything.approximation]],
            said: `From x${start + 1}, after ${t} steps: ELBO ${shown(elbo)} nats, ${shown(behind)} below log p(x).`};
  }
};

// ---- 7. the talk's line, with what was measured: data = {starts, joint, refined, student, jstudent, T, seeds}

const near = d => Math.asinh(Math.max(0, d)/8);                 // nats: linear near zero, logarithmic far away
const nats = d => d === undefined ? "not measured" : `${shown(d, d < 20 ? 1 : 0)} nats`;

const scenes = (d, start) => {
  const r = d.refined[start], steps = Object.keys(r).map(Number).filter(t => t).sort((a, b) => a - b);
  const kept = [1, 4, 16].filter(t => steps.includes(t)), last = kept[kept.length - 1], end = r[last];
  const ahead = end < d.joint ? `ahead of the joint encoder by ${nats(d.joint - end)}` : `still ${nats(end - d.joint)} behind the joint encoder`;
  const found = [
    [{}, "Each posterior of an item is a dot: the further right, the larger its ELBO. At the end is q*, the best Gaussian for each item."],
    [{joint: 1}, `The joint encoder sees everything. It is ${nats(d.joint)} from q*: its amortization gap.`],
    [{joint: 1, t: 0}, `With ${start} alone a posterior is ${nats(r[0])} from q*. This is the missing-modality problem.`],
    [{joint: 1, t: 0, whole: 1}, "The talk's thesis: both are distances to the same q*, so the problem is a part of the gap, and what closes the gap helps."],
    ...kept.map(t => [{joint: 1, t}, `Start from ${start}, follow the gradient of the ELBO of all: after ${t} step${t > 1 ? "s" : ""} ${nats(r[t])} are left` +
                                     (t === last ? `, ${ahead}.` : ".")]),
    [{joint: 1, t: last, grey: 1}, "But that gradient needs every modality, also those that are to be missing."],
    [{joint: 1, t: d.T, student: 1}, `So a student that sees ${start} only imitates the refined posterior (after ${d.T} steps). It lands ${nats(d.student[start])} from q*.`],
    [{joint: 1, t: d.T, student: 1, jstudent: 1}, `The talk's JMVAE student imitates the joint encoder instead: ${nats(d.jstudent[start])}.`],
    [{joint: 1, t: last, student: 1, jstudent: 1}, "The talk draws the students beside their teachers. Measured by the ELBO of everything they are far from them, " +
       "and have to be: a student is broad where its modality leaves things open. What it generates is judged by other numbers."]];
  return found;
};

const talkLine = {
  title: "The talk's line, with measured distances",
  needs: "line",
  controls: d => [
    {id: "start", label: "the modality that is there", value: 0, choices: d.starts.map((n, i) => [i, n])},
    {id: "scene", label: "step of the story", min: 0, max: scenes(d, d.starts[0]).length - 1, step: 1, value: scenes(d, d.starts[0]).length - 1,
     show: v => `${v + 1} of ${scenes(d, d.starts[0]).length}`}],
  plays: {id: "scene", every: 3500},
  moves: true,
  view(state, d) {
    const start = d.starts[state.start], all = scenes(d, start), [now, said] = all[state.scene];
    const r = d.refined[start], far = 1.1*Math.max(...d.starts.flatMap(n => [d.refined[n][0], d.student[n] || 0, d.jstudent[n] || 0]));
    const p = new Panel(164, 30, 296, 214, [near(far), 0], [0, 1]), X = v => p.px(near(v));
    const rows = [["q*, the best Gaussian", 0, "f-ink", 1], ["joint encoder", d.joint, "f-teacher", now.joint],
                  [now.t ? `refined, ${now.t} step${now.t > 1 ? "s" : ""}` : `from ${start} alone`, r[now.t], "f-teacher", now.t !== undefined],
                  ["student of refined", d.student[start], "f-student", now.student],
                  ["student of the joint", d.jstudent[start], "f-student", now.jstudent]];
    const shapes = [line([[X(0), 14], [X(0), p.y + p.h]], "s-ink dash", 1.5)];
    rows.forEach(([name, v, css, there], i) => {
      const y = 34 + 46*i, faint = now.grey && i === 2 ? " faint" : "";
      if (!there || v === undefined) return;
      shapes.push(text(12, y + 5, name), line([[X(v), y], [X(0), y]], css.replace("f-", "s-") + " thin" + faint, 2));
      if (i === 2 && now.t) shapes.push(...Object.entries(r).filter(([t]) => +t <= now.t).map(([, w]) => dot(X(w), y, css + " faint", 3)));
      shapes.push(dot(X(v), y, css + faint, 7, `row${i}`));
      if (i) shapes.push(text(Math.min(X(v), X(0) - 66) + 2, y - 12, nats(v), {css, weight: 600}));
    });
    if (now.whole) shapes.push(line([[X(r[0]), 146], [X(r[0]), 154], [X(0), 154], [X(0), 146]], "s-ink", 2.2),
                               text((X(r[0]) + X(0))/2, 172, "one gap", {css: "f-ink", weight: 600, anchor: "middle"}));
    const ticks = [1000, 100, 30, 10, 0].filter(t => t < far);
    shapes.push(p.axis(ticks.map(near), `nats below q*, per item (seed${d.seeds.length > 1 ? "s" : ""} ${d.seeds.join(", ")})`, (_, i) => String(ticks[i])));
    return {height: 288, shapes, values: {start, scene: state.scene, joint: d.joint, left: r[now.t], student: d.student[start],
                                          jstudent: d.jstudent[start]},
            numbers: [], said, caption: said};
  }
};

const INSTRUMENTS = {"elbo-hill": elboHill, "two-experts": twoExperts, "kl-direction": klDirection,
                     "jmvae-alpha": jmvaeAlpha, "one-rate": oneRate, "refine-path": refinePath,
                     "talk-line": talkLine};

// ---- a live instrument: picture, controls, numbers

const CALM = matchMedia("(prefers-reduced-motion: reduce)");
const ROLES = {data: ["#0072b2", "#5db8f0"], teacher: ["#c94f00", "#ff9a55"], student: ["#00805d", "#35d0a2"],
               gradient: ["#a8487f", "#ea9cc9"], paper: ["#ffffff", "#20262e"], ink: ["#1f2733", "#e8ecf1"],
               soft: ["#566070", "#aab4c1"], line: ["#c9d0d9", "#4a5563"]};
const side = i => Object.entries(ROLES).map(([n, c]) => `--${n}:${c[i]}`).join(";");
const LOOK = `
.instrument{${side(0)};color:var(--ink);background:var(--paper);border:1px solid var(--line);border-radius:.4rem;
 padding:.7rem .9rem;margin:1.2rem auto;max-width:40rem}
html.quarto-dark .instrument,body.quarto-dark .instrument{${side(1)};color-scheme:dark}
${Object.keys(ROLES).map(n => `.instrument .f-${n}{fill:var(--${n})}.instrument .s-${n}{stroke:var(--${n})}`).join("")}
.instrument .no{fill:none}.instrument .dash{stroke-dasharray:6 4}.instrument .dots{stroke-dasharray:2 4}
.instrument .pale{fill-opacity:.16}.instrument .faint{opacity:.4}.instrument .thin{opacity:.35}
.instrument svg{display:block;width:100%;height:auto;overflow:visible;stroke-linejoin:round;stroke-linecap:round}
.instrument svg text{font-family:inherit}
.instrument .title{font-weight:600;margin:0 0 .4rem}
.instrument .controls{display:grid;grid-template-columns:repeat(auto-fit,minmax(14rem,1fr));gap:.3rem 1.2rem;margin:.5rem 0}
.instrument label,.instrument legend{font-size:.88rem;color:var(--ink)}
.instrument label{display:flex;justify-content:space-between;gap:.5rem}
.instrument output{font-variant-numeric:tabular-nums;font-weight:600}
.instrument input[type=range]{width:100%;height:1.9rem;margin:0;accent-color:var(--teacher);cursor:pointer}
.instrument fieldset{grid-column:1/-1;border:0;padding:0;margin:0;min-width:0;display:flex;flex-wrap:wrap;align-items:center;gap:.1rem 1rem}
.instrument legend{float:left;width:auto;padding:0;margin:0}
.instrument fieldset label{justify-content:start;align-items:center;gap:.35rem;min-height:1.9rem;cursor:pointer}
.instrument fieldset input{width:1.1rem;height:1.1rem;accent-color:var(--teacher)}
.instrument .buttons{display:flex;flex-wrap:wrap;gap:.4rem;margin:.3rem 0}
.instrument button{font:inherit;font-size:.88rem;min-height:2.1rem;padding:.15rem .8rem;border:1px solid var(--soft);
 border-radius:.35rem;background:var(--paper);color:var(--ink);cursor:pointer}
.instrument button:hover{border-color:var(--teacher)}
.instrument :is(button,input,select):focus-visible{outline:3px solid var(--data);outline-offset:2px}
.instrument button:disabled{opacity:.45;cursor:default}
.instrument dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr));gap:.15rem 1.4rem;margin:.5rem 0 0;font-size:.88rem}
.instrument dl div{display:flex;justify-content:space-between;gap:.6rem;border-bottom:1px solid var(--line);align-items:baseline}
.instrument dt{font-weight:400;color:var(--soft);margin:0}
.instrument dd{margin:0;font-weight:600;font-variant-numeric:tabular-nums;white-space:nowrap}
.instrument .caption{min-height:4.6em;margin:.3rem 0 0;max-width:none!important}
.instrument.one-rate .caption{min-height:3.1em}
.instrument .heard{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.instrument.results-numbers{max-width:none}
.instrument .filters{display:flex;flex-wrap:wrap;gap:.4rem 1rem;align-items:end}
.instrument .filters label{flex-direction:column;gap:0}
.instrument .filters label:last-child{flex-direction:row;align-items:center;gap:.4rem;min-height:2.1rem}
.instrument select{font:inherit;font-size:.88rem;min-height:2.1rem;max-width:15rem;border:1px solid var(--soft);border-radius:.35rem;
 background:var(--paper);color:var(--ink)}
.instrument .count{font-size:.88rem;margin:.4rem 0;color:var(--soft)}
.instrument th button{border:0;background:none;padding:0;min-height:1.6rem;font-weight:600;white-space:nowrap}
.instrument th[aria-sort=ascending] button::after{content:" \\25B2"}
.instrument th[aria-sort=descending] button::after{content:" \\25BC"}
.instrument :is(th,td){padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:baseline}
.instrument :is(td,th):is(:nth-child(n+6):nth-child(-n+10),:nth-child(12)){text-align:right}
.instrument .long thead th{background:var(--paper)}
@media (max-width:575.98px){.instrument{padding:.6rem .5rem}}
@media print{.instrument{break-inside:avoid}.instrument.results-numbers{break-inside:auto}.instrument .long{max-height:none}
 .instrument :is(.controls,.buttons,.filters){display:none}}`;

const make = (name, attributes = {}, ...children) => {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attributes)) {
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v); else if (v !== undefined) e.setAttribute(k, v);
  }
  e.append(...children);
  return e;
};

class Live {
  constructor(place, name, data) {
    Object.assign(this, {place, name, data, spec: INSTRUMENTS[name], fields: {}});
    const {spec} = this, controls = spec.controls;
    this.controls = typeof controls === "function" ? controls(data) : controls;
    this.state = Object.fromEntries(this.controls.map(c => [c.id, c.value]));
    this.first = {...this.state};
    this.svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.svg.setAttribute("role", "img");
    this.numbers = make("dl"); this.caption = make("p", {class: "caption"});
    this.heard = make("p", {class: "heard", role: "status", "aria-live": "polite"});
    const head = make("p", {class: "title"}, spec.title);
    place.replaceChildren(head, this.svg, this.caption, make("div", {class: "controls"}, ...this.controls.map(c => this.control(c))),
                          this.buttons(), this.numbers, this.heard);
    place.setAttribute("role", "group"); place.setAttribute("aria-label", spec.title);
    this.svg.style.touchAction = "pan-y";
    if (spec.drag) for (const kind of ["pointerdown", "pointermove"]) this.svg.addEventListener(kind, e => this.dragged(e));
    this.draw();
  }

  control(c) {
    if (c.choices) {
      const radios = c.choices.map(([value, said]) => {
        const input = make("input", {type: "radio", name: `${this.name}-${c.id}`, value, onchange: () => this.set({[c.id]: value})});
        input.checked = value === c.value;
        return [input, make("label", {}, input, said)];
      });
      this.fields[c.id] = v => radios.forEach(([input], i) => { input.checked = c.choices[i][0] === v; });
      return make("fieldset", {}, make("legend", {}, c.label + ":"), ...radios.map(r => r[1]));
    }
    const id = `${this.name}-${c.id}`, out = make("output", {for: id});
    const {min, max, step} = c, input = make("input", {id, type: "range", min, max, step, value: c.value});
    input.addEventListener("input", () => this.set({[c.id]: +input.value}));
    this.fields[c.id] = v => {
      const said = c.show ? c.show(v) : shown(v, c.digits === undefined ? 2 : c.digits);
      input.value = v; out.textContent = said; input.setAttribute("aria-valuetext", said);
    };
    return make("div", {}, make("label", {for: id}, c.label, out), input);
  }

  buttons() {
    const {spec} = this, row = [];
    if (spec.plays) {
      const c = this.controls.find(c => c.id === spec.plays.id), go = by => { this.stop(); this.set({[c.id]: this.state[c.id] + by}); };
      this.back = make("button", {type: "button", onclick: () => go(-1)}, "Back");
      this.play = make("button", {type: "button", onclick: () => this.timer ? this.stop() : this.start(c)}, "Play");
      this.step = make("button", {type: "button", onclick: () => go(1)}, "Step");
      this.played = c;
      row.push(this.back, this.play, this.step);
    }
    for (const [said, change] of spec.buttons || []) row.push(make("button", {type: "button", onclick: () => this.set(change)}, said));
    row.push(make("button", {type: "button", onclick: () => { this.stop(); this.set(this.first); }}, "Reset"));
    return make("div", {class: "buttons"}, ...row);
  }

  start(c) {
    if (this.state[c.id] === c.max) this.set({[c.id]: c.min});
    this.play.textContent = "Pause";
    this.timer = setInterval(() => {
      this.set({[c.id]: this.state[c.id] + 1});
      if (this.state[c.id] === c.max) this.stop();
    }, this.spec.plays.every*(CALM.matches ? 2 : 1));
  }

  stop() {
    clearInterval(this.timer);
    this.timer = undefined;
    if (this.play) this.play.textContent = "Play";
  }

  dragged(e) {
    if (e.type === "pointermove" && !(e.buttons & 1)) return;
    const {id, from, to, low, high} = this.spec.drag, box = this.svg.getBoundingClientRect();
    const x = (e.clientX - box.left)*WIDTH/box.width;
    this.set({[id]: low + (high - low)*(x - from)/(to - from)});
  }

  set(change) {
    for (const c of this.controls.filter(c => c.id in change && !c.choices)) {
      const steps = Math.round((Math.min(c.max, Math.max(c.min, change[c.id])) - c.min)/c.step);
      change = {...change, [c.id]: +(c.min + steps*c.step).toFixed(6)};
    }
    Object.assign(this.state, change);
    this.draw();
  }

  draw() {
    const {spec, state} = this, v = spec.view(state, this.data), before = this.places();
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${v.height}`);
    this.svg.setAttribute("aria-label", `${spec.title}. ${v.said}`);
    this.svg.innerHTML = v.shapes.join("");
    this.glide(before);
    this.values = v.values;
    this.numbers.replaceChildren(...v.numbers.map(([name, x]) => make("div", {}, make("dt", {}, name),
      make("dd", {}, typeof x === "number" ? shown(x) : x))));
    this.caption.textContent = v.caption || "";
    this.caption.hidden = !v.caption;
    for (const c of this.controls) this.fields[c.id](state[c.id]);
    if (this.played) {
      this.back.disabled = state[this.played.id] === this.played.min;
      this.step.disabled = state[this.played.id] === this.played.max;
    }
    clearTimeout(this.saying);                                  // a screen reader hears where it stops, not every step
    this.saying = setTimeout(() => { this.heard.textContent = v.said; }, 400);
  }

  places() {
    return Object.fromEntries([...this.svg.querySelectorAll("[data-moves]")].map(e => [e.dataset.moves, +e.getAttribute("cx")]));
  }

  glide(before) {
    if (CALM.matches || !this.spec.moves) return;
    for (const e of this.svg.querySelectorAll("[data-moves]")) {
      const by = before[e.dataset.moves] - e.getAttribute("cx");
      if (by) e.animate([{transform: `translateX(${by}px)`}, {transform: "none"}], {duration: 600, easing: "ease-in-out"});
    }
  }
}

// ---- a table that sorts and filters: the one of `.results-numbers`

const FILTERS = ["scale", "data set", "metric", "method"];

class Numbers {
  constructor(place) {
    Object.assign(this, {place, table: place.querySelector("table"), chosen: {}, talk: true, key: -1, down: false});
    this.heads = [...this.table.tHead.rows[0].cells];
    this.rows = [...this.table.tBodies[0].rows].map((tr, order) => {
      const values = [...tr.cells].map(td => td.dataset.v || td.textContent);
      return {tr, order, values, talk: tr.classList.contains("talk")};
    });
    this.columns = Object.fromEntries(this.heads.map((th, i) => [th.textContent, i]));
    this.heads.forEach((th, i) => {
      th.replaceChildren(make("button", {type: "button", onclick: () => this.sort(i)}, th.textContent));
      th.setAttribute("aria-sort", "none");
    });
    this.count = make("p", {class: "count", role: "status", "aria-live": "polite"});
    place.prepend(this.bar(), this.count);
    this.show();
  }

  bar() {
    const boxes = FILTERS.map(name => {
      const i = this.columns[name], found = [...new Set(this.rows.map(r => r.values[i]))];
      const box = make("select", {"aria-label": name, onchange: () => { this.chosen[name] = box.value; this.show(); }},
                       make("option", {value: ""}, "all"), ...found.map(v => make("option", {value: v}, v)));
      return make("label", {}, name, box);
    });
    const talk = make("input", {type: "checkbox", onchange: () => { this.talk = talk.checked; this.show(); }});
    talk.checked = this.talk;
    return make("div", {class: "filters"}, ...boxes, make("label", {}, talk, "only what the talk has"));
  }

  sort(i) {
    [this.down, this.key] = [this.key === i && !this.down, i];
    this.heads.forEach((th, j) => th.setAttribute("aria-sort", j !== i ? "none" : this.down ? "descending" : "ascending"));
    const number = this.heads[i].classList.contains("number"), sign = this.down ? -1 : 1;
    const order = (a, b) => {
      const [x, y] = [a.values[i], b.values[i]];
      if (!x || !y) return (x ? -1 : 0) + (y ? 1 : 0) || a.order - b.order;           // what is empty comes last
      return sign*(number ? x - y : x.localeCompare(y, "en", {numeric: true})) || a.order - b.order;
    };
    this.rows.sort(order);
    this.table.tBodies[0].append(...this.rows.map(r => r.tr));
  }

  show() {
    let n = 0;
    for (const r of this.rows) {
      const kept = (!this.talk || r.talk) && FILTERS.every(f => !this.chosen[f] || r.values[this.columns[f]] === this.chosen[f]);
      r.tr.hidden = !kept;
      n += kept;
    }
    this.count.textContent = `${n} of ${this.rows.length} rows`;
  }
}

// ---- the page

const data = name => {
  const e = document.getElementById(`instrument-${name}`);      // written into the page when the site is built
  return e && JSON.parse(e.textContent);
};

const wake = () => {
  const live = {};
  document.head.append(make("style", {}, LOOK));
  for (const place of document.querySelectorAll(".instrument")) {
    const name = [...place.classList].find(c => c in INSTRUMENTS), spec = INSTRUMENTS[name];
    if (place.classList.contains("results-numbers")) live["results-numbers"] = new Numbers(place);
    if (!spec || live[name]) continue;
    const given = spec.needs ? data(spec.needs) : undefined;
    if (!spec.needs || given) live[name] = new Live(place, name, given);     // else the still picture stays
  }
  return live;
};

// In a notebook the page is the frame of an output cell: it gets as high as what it shows, and dark where the text around
// it is light. The text's colour is asked, not the ground's, as it is handed down everywhere (VS Code's ground is clear).

const isLight = colour => {
  const [r, g, b] = colour.match(/[\d.]+/g).map(c => c/(colour.startsWith("rgb") ? 255 : 1));
  return .2126*r + .7152*g + .0722*b > .5;
};

const settle = frame => {
  const fit = () => { frame.style.height = `${document.body.offsetHeight}px`; };
  const look = () => document.documentElement.classList.toggle("quarto-dark",
    isLight(frame.ownerDocument.defaultView.getComputedStyle(frame.parentElement).color));
  fit(); look();
  new ResizeObserver(fit).observe(document.body);
  setInterval(look, 1000);                                      // no notebook tells when its theme is changed
};

window.instruments = {live: wake(), ROLES};
if (frameElement && frameElement.matches("[data-instrument]")) settle(frameElement);
})();
