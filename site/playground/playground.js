/* The playground: trained models of this package, run where the page is read. Everything it loads lies beside this
   file, in scripts, because a page opened as a file may load scripts and nothing else. What the models compute is in
   their graphs, the gradient of the ELBO too; here are only the pen, the buttons and the pictures. */
(() => {
"use strict";
const HOME = document.currentScript.src.replace(/[^/]*$/, "");
const $ = (tag, props = {}, ...children) => {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) {
    if (k in e && k !== "list") e[k] = v; else e.setAttribute(k, v);
  }
  e.append(...children.filter(c => c != null));
  return e;
};
const svg = (tag, props = {}, ...children) => {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [k, v] of Object.entries(props)) e.setAttribute(k, v);
  e.append(...children);
  return e;
};
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const pause = ms => new Promise(r => setTimeout(r, ms));

// ---- loading

const handed = {}, asked = {};
function script(name) {     // the content of a script beside this one
  return asked[name] ??= new Promise((done, failed) => {
    const s = $("script", {src: `${HOME}${name}.js`});
    s.onload = () => { s.remove(); done(handed[name]); };
    s.onerror = () => failed(new Error(`${name}.js is not beside playground.js`));
    document.head.append(s);
  });
}

function bytes(base64) {
  const s = atob(base64), out = new Uint8Array(s.length);
  for (let i = 0; i < s.length; i++) out[i] = s.charCodeAt(i);
  return out;
}

async function unpacked(text) {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

let engine = null;
function runtime() {        // onnxruntime-web, one thread, from memory
  return engine ??= (async () => {
    const [first, second] = await Promise.all([script("runtime-1"), script("runtime-2")]);
    const [code, wasm] = await Promise.all([unpacked(first.code), unpacked(first.wasm + second.wasm)]);
    const url = URL.createObjectURL(new Blob([code], {type: "text/javascript"}));
    const ort = await import(url);
    URL.revokeObjectURL(url);
    Object.assign(ort.env.wasm, {numThreads: 1, proxy: false, wasmBinary: wasm.buffer});
    return ort;
  })();
}

const weights = {};
function weightsOf(name) {  // all numbers of a script of weights, one after the other
  return weights[name] ??= (async () => {
    const pack = await script(name), raw = await unpacked(pack.weights);
    const count = pack.shapes.reduce((n, [r, c]) => n + r*c, 0), rows = pack.shapes.reduce((n, s) => n + s[0], 0);
    const levels = new Int8Array(raw.buffer, 0, count), scales = new Float32Array(raw.buffer.slice(count, count + 4*rows));
    const out = new Float32Array(count);
    let at = 0, row = 0;
    for (const [r, c] of pack.shapes)
      for (let i = 0; i < r; i++, row++)
        for (let j = 0, s = scales[row]; j < c; j++, at++) out[at] = s*levels[at];
    return new Uint8Array(out.buffer);
  })();
}

const sessions = {};
function session(name, graph) {
  return sessions[`${name}/${graph}`] ??= (async () => {
    const [ort, data, pack] = await Promise.all([runtime(), script("data"), script(name)]);
    const externalData = await Promise.all(data.uses[name].map(async n => ({path: n, data: await weightsOf(n)})));
    return ort.InferenceSession.create(await unpacked(pack.graphs[graph]),
      {executionProviders: ["wasm"], graphOptimizationLevel: "basic", externalData});
  })();
}

async function run(name, graph, inputs) {   // inputs: name -> numbers; outputs: name -> numbers
  const [ort, s] = [await runtime(), await session(name, graph)], feeds = {};
  for (const {name: n, type, shape} of s.inputMetadata) feeds[n] = new ort.Tensor(type, inputs[n], shape);
  const made = await s.run(feeds), out = {};
  for (const [n, t] of Object.entries(made)) { out[n] = t.data; t.dispose?.(); }
  return out;
}

// ---- what the models are asked

let data = null;            // what data.js says: modalities, methods, noise
const size = m => m.shape.reduce((a, b) => a*b, 1);
const blank = m => m.kind === "text" ? encoded(m, "") : new Float32Array(size(m));

function encoded(m, word) { // tokens of a word, filled up with spaces
  const tokens = [...word.padEnd(m.shape[0])].map(c => m.vocabulary.indexOf(c));
  const bad = tokens.findIndex(t => t < 0);
  if (bad >= 0) throw new Error(`“${word[bad]}” is not among the characters that the models know`);
  if (tokens.length > m.shape[0]) throw new Error(`at most ${m.shape[0]} characters`);
  return BigInt64Array.from(tokens, BigInt);
}

function asked_(given) {    // an item for every modality; what is not given is blank, and not looked at
  return Object.fromEntries(data.modalities.map(m => [m.name, given[m.name] ?? blank(m)]));
}
const rowOf = given => data.sets.findIndex(s => s.length === Object.keys(given).length && s.every(n => n in given));

function imagine(method, given, view = 0) {  // q given what is there, and all views at a sample of it
  return run(method, "imagine", {row: BigInt64Array.of(BigInt(rowOf(given))),
    noise: Float32Array.from(data.views[view]), ...asked_(given)});
}

const flat = rows => Float32Array.from(rows.flat());
class Refinement {          // of the teacher, from every modality that is given, side by side
  constructor(given) { this.given = given; this.done = []; }
  async at(t, view = 0) {   // what stands at step t, as the graph says it
    const known = this.done[t];
    if (known?.view === view) return known;
    const before = t ? await this.at(t - 1, this.done[t - 1]?.view ?? view) : await this.start();
    const M = data.modalities.length, L = data.latent;
    const out = await run(data.teacher.name, "step", {
      mean: before.next_mean, logvar: before.next_logvar, memory: before.next_memory,
      noise: flat(data.steps.slice(M*(t % data.teacher.steps), M*(t % data.teacher.steps + 1))),
      look: flat(data.looks), view: Float32Array.from(data.views[view]),
      on: Float32Array.from(data.modalities, m => +(m.name in this.given)), ...asked_(this.given)});
    const deviation = Float32Array.from(before.next_logvar, v => Math.exp(v/2));
    return this.done[t] = {...out, view, mean: before.next_mean, deviation};
  }
  async start() {
    const q = await run(data.teacher.name, "starts", asked_(this.given));
    const memory = new Float32Array(data.modalities.length*(2*data.latent + 1));
    return {next_mean: q.mean, next_logvar: q.logvar, next_memory: memory};
  }
}

// ---- pictures

function paint(canvas, m, x) {      // a picture (channels, height, width) of numbers in [0, 1]
  const [C, H, W] = m.shape, image = new ImageData(W, H);
  canvas.width = W; canvas.height = H;
  for (let i = 0; i < H*W; i++) {
    for (let c = 0; c < 3; c++) image.data[4*i + c] = 255*x[(C === 3 ? c*H*W : 0) + i];
    image.data[4*i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function show(box, m, x, sure) {    // an item or a generation in its box
  if (m.kind !== "text") return paint(box, m, x);
  const letters = Array.from(x, (t, i) => {
    const c = m.vocabulary[Number(t)];
    return $("span", {textContent: c === " " ? "·" : c, className: c === " " ? "pg-space" : "",
                      style: `opacity: ${sure ? (.25 + .75*sure[i]).toFixed(2) : 1}`, ariaHidden: "true"});
  });
  box.replaceChildren(...letters);
  box.setAttribute("aria-label", Array.from(x, t => m.vocabulary[Number(t)]).join("").trim() || "nothing");
}

const box = (m, label) => m.kind === "text"
  ? $("output", {className: "pg-word", ariaLabel: label, role: "img"})
  : $("canvas", {className: "pg-picture", role: "img", ariaLabel: label, width: m.shape[2], height: m.shape[1]});

// ---- the pen: strokes become a picture as the training digits are, in a box of 20 pixels, about their centre of mass

const PEN = 2.5, BOX = 20, FINE = 8;    // pixels of the picture; parts of a pixel that the pen is drawn with
function inked(strokes, side, scale, x0, y0) {
  const n = side*FINE, c = inked.canvas ??= $("canvas");
  c.width = c.height = n;
  const pen = c.getContext("2d", {willReadFrequently: true});
  pen.lineCap = pen.lineJoin = "round"; pen.lineWidth = PEN*FINE; pen.strokeStyle = "#fff";
  for (const s of strokes) {
    pen.beginPath();
    s.forEach(([x, y], i) => pen[i ? "lineTo" : "moveTo"]((x - x0)*scale*FINE + n/2, (y - y0)*scale*FINE + n/2));
    if (s.length === 1) pen.lineTo((s[0][0] - x0)*scale*FINE + n/2 + .01, (s[0][1] - y0)*scale*FINE + n/2);
    pen.stroke();
  }
  const alpha = pen.getImageData(0, 0, n, n).data, out = new Float32Array(side*side);
  for (let y = 0; y < n; y++) for (let x = 0; x < n; x++)
    out[(y/FINE | 0)*side + (x/FINE | 0)] += alpha[4*(y*n + x) + 3]/(255*FINE*FINE);
  return out;
}

function rasterised(strokes, side) {    // strokes: lists of [x, y] in any unit
  const points = strokes.flat(), xs = points.map(p => p[0]), ys = points.map(p => p[1]);
  const [left, right, top, low] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = (BOX - PEN)/Math.max(right - left, low - top, .12);
  let x0 = (left + right)/2, y0 = (top + low)/2, x = inked(strokes, side, scale, x0, y0);
  let mass = 0, mx = 0, my = 0;
  x.forEach((v, i) => { mass += v; mx += v*(i % side + .5); my += v*((i/side | 0) + .5); });
  x = inked(strokes, side, scale, x0 + (mx/mass - side/2)/scale, y0 + (my/mass - side/2)/scale);
  return x.map(v => Math.round(255*Math.min(1, v))/255);
}

// ---- the page

const state = {given: {}, on: new Set(), view: 1, t: 0, playing: false};
const given = () => Object.fromEntries([...state.on].filter(n => state.given[n]).map(n => [n, state.given[n]]));
const root = part => document.querySelector(`[data-playground="${part}"]`);
const say = text => { root("given").querySelector(".pg-says").textContent = text; };

let busy = false, again = false, note = "";      // note: what is wrong with what was typed
async function changed() {          // compute and show; what comes meanwhile is done once, afterwards
  if (busy) { again = true; return; }
  busy = true;
  try {
    do {
      again = false;
      const began = performance.now();
      await views();
      root("views").dataset.ms = (performance.now() - began).toFixed(1);
      await pause(0);
    } while (again);
  } catch (e) { failed(e); } finally { busy = false; }
}

function failed(e) {
  document.documentElement.dataset.playground = "failed";
  say(`The models can't be run here: ${e.message}`);
  console.warn(e);
}

const cells = {};                   // "method/modality" -> box
async function views() {
  const now = given();
  for (const m of data.modalities) {
    const cell = cells[`given/${m.name}`];
    cell.classList.toggle("pg-absent", !now[m.name]);
    show(cell, m, now[m.name] ?? blank(m));
  }
  const none = !Object.keys(now).length;
  root("views").classList.toggle("pg-none", none);
  say(note || (none ? "Give at least one view: draw, type or choose." : ""));
  if (none) return;
  for (const method of data.methods) {
    const made = await imagine(method.name, now, state.view);
    for (const m of data.modalities)
      show(cells[`${method.name}/${m.name}`], m, made[`new_${m.name}`], made[`new_${m.name}_sure`]);
  }
}

function setGiven(name, x, wrong = "") {    // an item of a modality, or null and what is wrong
  note = wrong;
  state.given[name] = x;
  state.on[x ? "add" : "delete"](name);
  const tick = root("given").querySelector(`[data-tick="${name}"]`);
  tick.checked = !!x; tick.disabled = !x;
  restart(); changed();
}

function thumbs(m, choose) {        // a row of items to choose from
  const raw = m.kind === "text" ? null : bytes(m.items), n = size(m);
  const item = i => m.kind === "text" ? encoded(m, m.items[i]) : Float32Array.from(raw.subarray(n*i, n*(i + 1)), v => v/255);
  const buttons = m.names.map((name, i) => {
    const face = m.kind === "text" ? m.items[i].trim() : box(m, "");
    const b = $("button", {type: "button", className: "pg-thumb", title: name, ariaPressed: "false"}, face);
    if (m.kind !== "text") { b.ariaLabel = `${m.title}: ${name}`; face.ariaHidden = "true"; paint(face, m, item(i)); }
    b.onclick = () => { buttons.forEach(o => { o.ariaPressed = String(o === b); }); choose(item(i), i); };
    return b;
  });
  return {row: $("div", {className: "pg-thumbs", role: "group", ariaLabel: `${m.title}: examples`}, ...buttons),
          forget: () => buttons.forEach(o => { o.ariaPressed = "false"; }), press: i => buttons[i].click(), item};
}

const ways = {
  draw(m) {
    const side = m.shape[1], pad = $("canvas", {className: "pg-pad", width: 280, height: 280, role: "img",
      ariaLabel: `${m.title}: a pad to draw on; the examples below it can be chosen by keyboard`});
    const seen = box(m, "what the models see"), pen = pad.getContext("2d");
    let strokes = [], drawing = false, due = false;
    const examples = thumbs(m, x => { wipe(); paint(seen, m, x); onPad(x); setGiven(m.name, x); });
    function onPad(x) {
      const small = $("canvas"); paint(small, m, x);
      pen.imageSmoothingEnabled = false; pen.drawImage(small, 0, 0, 280, 280);
    }
    function wipe() { strokes = []; pen.fillStyle = "#000"; pen.fillRect(0, 0, 280, 280); paint(seen, m, blank(m)); }
    function line() {
      pen.strokeStyle = "#fff"; pen.lineWidth = 22; pen.lineCap = pen.lineJoin = "round"; pen.beginPath();
      strokes.at(-1).slice(-2).forEach(([x, y], i) => pen[i ? "lineTo" : "moveTo"](280*x, 280*y));
      if (strokes.at(-1).length === 1) pen.lineTo(280*strokes.at(-1)[0][0] + .01, 280*strokes.at(-1)[0][1]);
      pen.stroke();
    }
    function tell() {
      if (due) return;
      due = true;
      requestAnimationFrame(() => {
        due = false;
        if (!strokes.length) return;
        const x = rasterised(strokes, side);
        paint(seen, m, x); setGiven(m.name, x);
      });
    }
    const at = e => { const r = pad.getBoundingClientRect(); return [(e.clientX - r.left)/r.width, (e.clientY - r.top)/r.height]; };
    pad.onpointerdown = e => {
      if (!strokes.length) wipe();
      examples.forget(); drawing = true; strokes.push([at(e)]); line(); tell();
      try { pad.setPointerCapture(e.pointerId); } catch { /* an event made by a script */ }
      e.preventDefault();
    };
    pad.onpointermove = e => { if (drawing) { strokes.at(-1).push(at(e)); line(); tell(); } };
    pad.onpointerup = pad.onpointercancel = () => { drawing = false; };
    const clear = $("button", {type: "button", textContent: "Clear"});
    clear.onclick = () => { wipe(); examples.forget(); setGiven(m.name, null); };
    wipe();
    return {inside: [$("div", {className: "pg-penned"}, pad, $("div", {}, clear, $("p", {textContent: "seen as"}), seen)),
                     examples.row], begin: i => examples.press(i)};
  },
  type(m) {
    const field = $("input", {type: "text", maxLength: m.shape[0], ariaLabel: m.title, autocomplete: "off", spellcheck: false});
    field.setAttribute("autocapitalize", "none");
    const examples = thumbs(m, (x, i) => { field.value = m.items[i].trim(); setGiven(m.name, x); });
    field.oninput = () => {
      examples.forget();
      try { setGiven(m.name, field.value.trim() ? encoded(m, field.value) : null); } catch (e) { setGiven(m.name, null, e.message); }
    };
    return {inside: [field, examples.row], begin: i => examples.press(i)};
  },
  choose(m) {
    const examples = thumbs(m, x => setGiven(m.name, x));
    return {inside: [examples.row], begin: i => examples.press(i)};
  },
};

function build() {                  // the page's controls and boxes
  const begins = {};
  const cards = data.modalities.map(m => {
    const way = ways[m.way](m), tick = $("input", {type: "checkbox", disabled: true, "data-tick": m.name});
    tick.onchange = () => { state.on[tick.checked ? "add" : "delete"](m.name); restart(); changed(); };
    begins[m.name] = way.begin;
    return $("fieldset", {className: `pg-card pg-${m.way}`},
             $("legend", {}, $("label", {}, tick, ` ${m.title} given`)), ...way.inside);
  });
  const says = $("p", {className: "pg-says", role: "status"});
  root("given").replaceChildren($("div", {className: "pg-cards"}, ...cards), says);
  buildViews(); if (data.teacher) buildRefine();
  return begins;
}

function slider(label, max, first, told, move) {
  const out = $("output", {textContent: told(first)}), input = $("input", {type: "range", min: 0, max, step: 1, value: first});
  input.oninput = () => { out.textContent = told(+input.value); input.setAttribute("aria-valuetext", told(+input.value)); move(+input.value); };
  input.setAttribute("aria-valuetext", told(first));
  return {input, out, row: $("label", {className: "pg-slider"}, $("span", {textContent: label}), input, out)};
}

function buildViews() {
  const head = $("tr", {}, $("th", {scope: "col", textContent: ""}), ...data.modalities.map(m => $("th", {scope: "col", textContent: m.title})));
  const row = (key, label, colour) => $("tr", {}, $("th", {scope: "row", style: colour ? `border-left-color: ${colour}` : ""}, label),
    ...data.modalities.map(m => $("td", {}, cells[`${key}/${m.name}`] = box(m, `${label}: ${m.title}`))));
  const body = [row("given", "given"), ...data.methods.map(k => row(k.name, k.label, k.colour))];
  body[0].className = "pg-given";
  const z = slider("sample of z", data.views.length - 1, state.view, v => v ? `no. ${v}` : "mean", v => { state.view = v; changed(); drawRefine(); });
  root("views").replaceChildren(z.row, $("table", {className: "pg-table"}, $("thead", {}, head), $("tbody", {}, ...body)),
    $("p", {className: "pg-about", textContent: about()}));
}

function about() {                  // what the pictures rest on
  const learnt = data.methods.map(k => `${k.label} ${k.updates.toLocaleString("en")} updates`).join(", ");
  const moved = Math.max(...data.methods.map(k => k.rounding));
  const from = data.modalities.map(m => `${m.title}: ${data.source[m.name] ?? data.source}`).join("; ");
  return `${learnt}. Trained on ${from}. The rounding of the weights moves the mean of q by at most ${moved} ` +
         "standard deviations (median over items and coordinates, the worst method).";
}

// ---- the refinement

let refinement = null, controls = null, refining = null;
const starts = () => data.modalities.map((m, i) => [m, i]).filter(([m]) => given()[m.name]);
const DASHES = ["", "6 3", "2 3"];

function buildRefine() {
  const button = (text, fn) => { const b = $("button", {type: "button", textContent: text}); b.onclick = fn; return b; };
  const t = slider("step t", data.teacher.steps, 0, v => String(v), v => { stop(); state.t = v; drawRefine(); });
  const play = button("Play", () => state.playing ? stop() : playAll());
  const step = button("Step", () => { stop(); setT(Math.min(state.t + 1, data.teacher.steps)); });
  const back = button("Restart", () => { stop(); setT(0); });
  controls = {t, play, chart: svg("svg", {class: "pg-chart", viewBox: "0 0 420 150", role: "img"}), rows: $("div", {className: "pg-rows"})};
  root("refine").style.setProperty("--pg-teacher", data.teacher.colour);
  root("refine").replaceChildren($("div", {className: "pg-controls"}, play, step, back, t.row), controls.chart, controls.rows);
}

function setT(t) { state.t = t; controls.t.input.value = t; controls.t.out.textContent = t; return drawRefine(); }
function stop() { state.playing = false; if (controls) controls.play.textContent = "Play"; }
async function playAll() {
  state.playing = true; controls.play.textContent = "Pause";
  if (state.t === data.teacher.steps) await setT(0);
  if (calm.matches) await setT(data.teacher.steps);
  while (state.playing && state.t < data.teacher.steps) { await setT(state.t + 1); await pause(450); }
  stop();
}

function restart() {                // other things are given
  refinement = null; stop();
  if (controls) { state.t = 0; controls.t.input.value = 0; controls.t.out.textContent = "0"; drawRefine(); }
}

function drawRefine() {
  if (!controls || !playground.started) return Promise.resolve();
  return refining = (refining ?? Promise.resolve()).then(async () => {
    const now = given(), began = performance.now();
    if (!Object.keys(now).length) return controls.rows.replaceChildren();
    refinement ??= new Refinement(now);
    const mine = refinement, t = state.t;
    for (let i = 0; i <= t; i++) await mine.at(i, i === t ? state.view : mine.done[i]?.view ?? state.view);
    if (mine !== refinement) return;
    rowsOf(mine.done[t]); chartOf(mine.done.slice(0, t + 1));
    root("refine").dataset.ms = (performance.now() - began).toFixed(1);
  }).catch(failed);
}

function rowsOf(now) {
  const L = data.latent;
  const rows = starts().map(([m, i], k) => {
    const made = data.modalities.map(o => {
      const b = box(o, `from the ${m.title}: ${o.title}`), n = o.kind === "text" ? o.shape[0] : size(o);
      const part = x => x?.subarray(n*i, n*(i + 1));
      show(b, o, part(now[`new_${o.name}`]), part(now[`new_${o.name}_sure`]));
      return b;
    });
    const nelbo = $("span", {className: "pg-nelbo", textContent: `${now.nelbo[i].toFixed(0)} nats`});
    const key = svg("svg", {class: "pg-key", viewBox: "0 0 30 8", "aria-hidden": "true"},
                    svg("path", {d: "M0 4H30", "stroke-dasharray": DASHES[k % 3]}));
    return $("div", {className: "pg-row"}, $("div", {className: "pg-from"}, key, `from the ${m.title}`, nelbo),
             bars(now.mean.subarray(L*i, L*(i + 1)), now.deviation.subarray(L*i, L*(i + 1)), m.title), ...made);
  });
  const head = ["start", `q at t = ${state.t}`, ...data.modalities.map(m => m.title)].map(s => $("span", {textContent: s}));
  controls.rows.replaceChildren($("div", {className: "pg-row pg-head"}, ...head), ...rows);
}

function bars(mean, deviation, title) {  // each coordinate of q: a tick at its mean, a bar of one deviation to each side
  const W = 9, H = 60, RANGE = 3.5, y = v => H/2 - Math.max(-RANGE, Math.min(RANGE, v))*H/2/RANGE;
  const parts = Array.from(mean, (m, i) => {
    const [top, low] = [y(m + deviation[i]), y(m - deviation[i])];
    return [svg("rect", {x: W*i + 1, y: top, width: W - 2, height: Math.max(low - top, .8), class: "pg-spread"}),
            svg("path", {d: `M${W*i + 1} ${y(m)}h${W - 2}`, class: "pg-mean"})];
  });
  return svg("svg", {class: "pg-bars", viewBox: `0 0 ${W*mean.length} ${H}`, role: "img", preserveAspectRatio: "none",
    "aria-label": `q from the ${title}: means and deviations of ${mean.length} coordinates`},
    svg("path", {d: `M0 ${H/2}H${W*mean.length}`, class: "pg-zero"}), ...parts.flat());
}

function chartOf(done) {             // the negative ELBO at t = 0, 1, ...
  const T = data.teacher.steps, rows = starts(), all = done.flatMap(d => rows.map(([, i]) => d.nelbo[i]));
  const low = Math.min(...all), high = Math.max(...all, low + 1), x = t => 52 + t*350/T, y = v => 112 - (v - low)*92/(high - low);
  const text = (s, at) => { const e = svg("text", at); e.textContent = s; return e; };
  const marks = Array.from({length: T + 1}, (_, t) => text(t, {x: x(t), y: 134, "text-anchor": "middle"}));
  const lines = rows.map(([, i], k) => [
    svg("polyline", {points: done.map((d, t) => `${x(t)},${y(d.nelbo[i])}`).join(" "), "stroke-dasharray": DASHES[k % 3]}),
    ...done.map((d, t) => svg("circle", {cx: x(t), cy: y(d.nelbo[i]), r: 2.6}))]).flat();
  controls.chart.replaceChildren(...marks, text("t", {x: 414, y: 134}), text("negative ELBO, nats", {x: 6, y: 10}),
    text(high.toFixed(0), {x: 44, y: y(high) + 4, "text-anchor": "end"}), text(low.toFixed(0), {x: 44, y: y(low) + 4, "text-anchor": "end"}),
    svg("path", {d: "M48 20V116H410", class: "pg-axis"}), ...lines);
  controls.chart.setAttribute("aria-label", `negative ELBO from t = 0 to ${done.length - 1}: ` +
    rows.map(([m, i]) => `from the ${m.title} ${done.map(d => d.nelbo[i].toFixed(0)).join(", ")}`).join("; "));
}

// ---- the start

async function begin() {
  document.head.append($("link", {rel: "stylesheet", href: `${HOME}playground.css`}));
  data = await script("data");
  const begins = build();
  say("Loading the models …");
  await Promise.all(data.methods.map(m => session(m.name, "imagine")));
  for (const m of data.modalities.filter(m => m.way !== "choose")) begins[m.name]?.(3);
  while (busy) await pause(5);
  if (document.documentElement.dataset.playground === "failed") return;
  document.documentElement.dataset.playground = "ready";
  document.documentElement.dataset.playgroundMs = performance.now().toFixed(0);
  playground.started = true;
  if (data.teacher) {
    await session(data.teacher.name, "step");
    await drawRefine();
  }
  document.documentElement.dataset.playground = "all";
}

window.playground = {put: (name, content) => { handed[name] = content; }, imagine, Refinement, rasterised, state, given,
                     setT, get data() { return data; }, started: false};
const go = () => root("given") && begin().catch(failed);
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", go); else go();
})();
