"use strict";
// Draws traces. All text comes in as text nodes: what a model writes is never read as HTML.

const SVG = "http://www.w3.org/2000/svg";
const MARKS = 6; // kinds of marks for drafters; further ones begin again
const SHORT = 600; // characters of a prompt that is shown at once
const BLINK = 450; // milliseconds of a step of the animation

function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function draw(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

const several = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
const milliseconds = (seconds) => `${(1000 * seconds).toFixed(seconds < 0.1 ? 2 : 0)} ms`;
const percent = (logarithm) => {
  const value = 100 * Math.exp(logarithm);
  return value === 0 || value >= 0.01 ? `${value.toFixed(2)} %` : `${value.toExponential(1)} %`;
};

// -- what a trace says ----------------------------------------------------------------------------

class Run {
  constructor(trace) {
    this.trace = trace;
    this.first = trace.prompt_tokens.length;
    this.came = new Map(); // place -> the step that wrote it last, and as which of its tokens
    this.remasked = new Set();
    this.revised = new Set();
    trace.steps.forEach((step, number) => {
      this.places(step).forEach((place, at) => this.came.set(place, { number, step, at }));
      step.remasked.forEach((place) => this.remasked.add(place));
      step.revised.forEach((place) => this.revised.add(place));
    });
    this.fills = trace.steps.some((step) => step.positions.length);
  }

  places(step) {
    return step.positions.length ? step.positions : step.committed.map((_, at) => step.position + at);
  }

  text(token) {
    return (this.trace.texts || {})[token] || `⟨${token}⟩`;
  }

  quoted(token) {
    return (this.trace.texts || {})[token] ? JSON.stringify(this.text(token)) : this.text(token);
  }

  // What stands on the page for a new token: its piece of the text, or a sign where it has none of its own.
  shown(at) {
    const piece = this.trace.pieces ? this.trace.pieces[at] : ` ${this.trace.tokens[at]}`;
    if (piece) return { text: piece, unseen: false };
    const own = this.text(this.trace.tokens[at]);
    return { text: own.includes("\ufffd") ? "·" : own, unseen: true }; // a part of a character, or a special token
  }

  // What brought a new token about: a kind, who, and in words.
  cause(at) {
    const came = this.came.get(this.first + at);
    if (!came) return { kind: "given", source: "", words: "given, not written by the model" };
    const { step } = came;
    const source = step.sources[came.at];
    if (source === "forced") return { kind: "forced", source, words: "forced: the constraint leaves no other token" };
    if (source) return { kind: "drafted", source, words: `drafted by ${source}, and accepted` };
    if (step.accepted.length) {
      return { kind: "bonus", source, words: "bonus: the model's choice behind accepted drafts, in the same round" };
    }
    if (step.drafted.length) return { kind: "own", source, words: "the model's choice, in place of what was drafted" };
    if (step.positions.length > 1) {
      return { kind: "own", source, words: `filled by the model, together with ${step.positions.length - 1} others` };
    }
    return { kind: "own", source, words: "the model's choice; nothing was drafted" };
  }

  // Why a drafted token was not taken; "" for one that was.
  why(step, node) {
    if (step.accepted.includes(node)) return "";
    const parent = step.parents[node];
    const depth = parent < 0 ? 0 : step.accepted.indexOf(parent) + 1;
    if (parent >= 0 && depth === 0) return "what it follows was rejected";
    const chosen = step.committed[depth];
    if (chosen === undefined) return "the answer had ended";
    if (chosen === step.drafted[node]) return "the same token was taken elsewhere";
    return `the model chose ${this.quoted(chosen)}`;
  }

  // What every position held after so many steps.
  canvas(steps) {
    const held = new Map();
    const last = { fresh: new Set(), taken: new Set() };
    this.trace.steps.slice(0, steps).forEach((step, number) => {
      const now = number === steps - 1;
      step.remasked.forEach((place) => {
        held.delete(place);
        if (now) last.taken.add(place);
      });
      step.revised.forEach((place) => {
        held.set(place, this.trace.tokens[place - this.first]);
        if (now) last.fresh.add(place);
      });
      this.places(step).forEach((place, at) => {
        held.set(place, step.committed[at]);
        if (now) last.fresh.add(place);
      });
    });
    return { held, ...last };
  }
}

// -- one run on the page --------------------------------------------------------------------------

class View {
  constructor(trace, marks, clock) {
    this.run = new Run(trace);
    this.marks = marks;
    this.at = -1; // the token that has the focus
    this.tokens = [];
    this.answer = make("div", { class: "answer", role: "listbox", "aria-label": `tokens, ${trace.method}` });
    this.detail = make("section", { class: "detail", "aria-live": "polite", "aria-label": "the token" });
    const { counters } = trace;
    const figures = [
      `${several(counters.new_tokens, "token")} in ${several(counters.rounds, "round")}`,
      counters.drafted ? `${counters.accepted} of ${counters.drafted} drafted accepted` : "nothing drafted",
      `${counters.token_forwards} positions computed`,
      `${milliseconds(counters.prompt_seconds)} for the prompt, ${milliseconds(counters.seconds)} for the answer`,
      `finish: ${trace.finish}`,
      `seed ${trace.seed}`,
    ];
    const left = make("div", {},
      make("h2", {}, trace.method || "a decode"),
      make("p", { class: "quiet figures" }, `${figures.join(" · ")}.`),
      make("p", { class: "quiet" }, trace.guarantee || ""),
      make("details", SHORT > (trace.prompt || "").length ? { open: "" } : {}, make("summary", {}, `the prompt, ${several(trace.prompt_tokens.length, "token")}`),
        make("div", { class: "prompt" }, trace.prompt === undefined ? trace.prompt_tokens.join(" ") : trace.prompt)),
      this.answer);
    if (trace.error) left.append(make("p", {}, trace.error));
    if (this.run.fills) left.append(this.animation());
    left.append(this.clock(clock), this.table());
    this.element = make("article", { class: "run" }, left, this.detail);
    this.fill();
  }

  fill() {
    this.run.trace.tokens.forEach((token, at) => {
      const { text, unseen } = this.run.shown(at);
      const cause = this.run.cause(at);
      const place = this.run.first + at;
      const classes = ["token", ...this.marks.classes(cause)];
      if (unseen) classes.push("unseen");
      if (this.run.remasked.has(place)) classes.push("remasked");
      if (this.run.revised.has(place)) classes.push("revised");
      const span = make("span", { class: classes.join(" "), role: "option", tabindex: at ? -1 : 0,
        "aria-selected": "false", "aria-label": `${text}: ${cause.words}`, "data-at": at }, text);
      this.tokens.push(span);
    });
    this.answer.append(...this.tokens);
    const found = (event) => event.target.closest(".token");
    this.answer.addEventListener("focusin", (event) => found(event) && this.select(Number(found(event).dataset.at)));
    this.answer.addEventListener("click", (event) => found(event) && found(event).focus());
    this.answer.addEventListener("mouseover", (event) => found(event) && this.show(Number(found(event).dataset.at)));
    this.answer.addEventListener("mouseleave", () => this.show(this.at));
    this.answer.addEventListener("keydown", (event) => this.key(event));
    this.show(-1);
  }

  key(event) {
    const last = this.tokens.length - 1;
    const goals = { ArrowRight: this.at + 1, ArrowLeft: this.at - 1, Home: 0, End: last,
      ArrowDown: this.other(1), ArrowUp: this.other(-1) };
    if (!(event.key in goals)) return;
    event.preventDefault();
    this.tokens[Math.max(0, Math.min(last, goals[event.key]))].focus();
  }

  // The next token, or the one before, that another round wrote.
  other(way) {
    const round = (at) => (this.run.came.get(this.run.first + at) || { number: -1 }).number;
    let at = this.at;
    while (at + way >= 0 && at + way < this.tokens.length && round(at + way) === round(this.at)) at += way;
    return at + way;
  }

  select(at) {
    if (this.at >= 0) {
      this.tokens[this.at].setAttribute("aria-selected", "false");
      this.tokens[this.at].tabIndex = -1;
    } else if (this.tokens.length) this.tokens[0].tabIndex = -1;
    this.at = at;
    this.tokens[at].setAttribute("aria-selected", "true");
    this.tokens[at].tabIndex = 0;
    this.show(at);
  }

  // -- about one token --------------------------------------------------------------------------

  show(at) {
    this.detail.classList.toggle("told", at >= 0);
    if (at < 0) {
      this.detail.replaceChildren(make("p", { class: "quiet" }, "Point at a token, or move to one with the keys."));
      this.light(-1);
      return;
    }
    const { run } = this;
    const cause = run.cause(at);
    const came = run.came.get(run.first + at);
    const lines = [
      make("h3", {}, "Token ", make("code", {}, run.quoted(run.trace.tokens[at]))),
      make("p", { class: "cause" }, make("span", { class: this.marks.classes(cause).join(" ") }, cause.words)),
      make("p", { class: "quiet" }, `id ${run.trace.tokens[at]}, number ${at + 1} of the answer, position ${run.first + at}`
        + (came ? `, round ${came.number + 1} of ${run.trace.steps.length}` : "")),
    ];
    if (run.remasked.has(run.first + at)) lines.push(make("p", {}, "↺ it was taken back once, and written anew"));
    if (run.revised.has(run.first + at)) lines.push(make("p", {}, "✎ it replaced another token"));
    const entry = run.trace.log_probabilities && run.trace.log_probabilities[at];
    if (entry) lines.push(...this.chances(entry));
    if (came && came.step.confidence.length) {
      lines.push(make("p", {}, `probability under the model as it was written: ${percent(Math.log(came.step.confidence[came.at]))}`));
    }
    if (came) lines.push(...this.round(came.step));
    this.detail.replaceChildren(...lines);
    this.light(came ? came.number : -1);
  }

  // How likely it was to the model, and after all steers, masks and cuts; and what these shut out.
  chances(entry) {
    const raw = new Map([...entry.top_raw, [entry.token, entry.raw]]);
    const steered = new Map([...entry.top_steered, [entry.token, entry.steered]]);
    const whole = (map) => Math.min(...map.values());
    const told = (map, token) => (map.has(token) ? percent(map.get(token)) : `< ${percent(whole(map))}`);
    const ids = [...new Set([entry.token, ...steered.keys(), ...raw.keys()])];
    const full = entry.top_steered.length >= entry.top_raw.length;
    const rows = ids.map((token) => {
      const gone = !steered.has(token) && !full;
      return make("tr", token === entry.token ? { class: "chosen" } : {},
        make("td", {}, make("code", {}, this.run.quoted(token)), token === entry.token ? " ←" : ""),
        make("td", { class: "number" }, told(raw, token)),
        make("td", { class: "number" }, gone ? "shut out" : told(steered, token)));
    });
    const head = make("tr", {}, make("th", {}, "token"), make("th", { class: "number" }, "the model's own"),
      make("th", { class: "number" }, "after steers and masks"));
    return [make("h3", {}, "Probability"), make("table", {}, head, ...rows)];
  }

  round(step) {
    const lines = [make("h3", {}, "Its round")];
    lines.push(make("p", { class: "cost" }, `${several(step.committed.length, "token")} in ${milliseconds(step.seconds)}`
      + (step.draft_seconds ? `, of which ${milliseconds(step.draft_seconds)} for drafting` : "")
      + (step.drafted.length ? `; ${step.accepted.length} of ${step.drafted.length} drafted accepted` : "; nothing drafted")));
    if (step.drafted.length) lines.push(this.tree(step));
    return lines;
  }

  // A chain is a flat list; where the draft parts, it goes inwards.
  tree(step) {
    const root = make("ul", { class: "tree", "aria-label": "what was drafted" });
    const lists = new Map([[-1, root]]); // node -> the list that what follows it stands in
    step.drafted.forEach((token, node) => {
      const why = this.run.why(step, node);
      const item = make("li", {}, make("span", { class: why ? "dropped" : "kept" },
        make("code", {}, this.run.quoted(token)), ` ${step.drafters[node]}`,
        make("span", { class: "quiet" }, why ? ` rejected: ${why}` : " accepted")));
      let list = lists.get(step.parents[node]);
      list.append(item);
      if (step.parents.filter((parent) => parent === node).length > 1) {
        list = make("ul");
        item.append(list);
      }
      lists.set(node, list);
    });
    return root;
  }

  // -- about the whole --------------------------------------------------------------------------

  clock({ seconds, tokens }) {
    const { trace } = this.run;
    const svg = draw("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img",
      "aria-label": `${several(trace.steps.length, "round")} against the clock` });
    const across = 1000 / (seconds || 1);
    let x = trace.counters.prompt_seconds * across;
    if (x) svg.append(draw("rect", { class: "reading", x: 0, y: 55, width: x, height: 45 }));
    this.rounds = trace.steps.map((step) => {
      const height = Math.max(3, (96 * step.committed.length) / tokens);
      const bar = draw("rect", { class: "round", x, y: 100 - height, width: step.seconds * across, height });
      svg.append(bar);
      if (step.draft_seconds) {
        svg.append(draw("rect", { class: "draft", x, y: 92, width: step.draft_seconds * across, height: 8 }));
      }
      x += step.seconds * across;
      return bar;
    });
    svg.addEventListener("click", (event) => {
      const number = this.rounds.findIndex((bar) => bar === event.target);
      const at = this.tokens.findIndex((_, each) => (this.run.came.get(this.run.first + each) || {}).number === number);
      if (number >= 0 && at >= 0) this.tokens[at].focus();
    });
    return make("section", { class: "clock" }, make("h3", {}, "Rounds against the clock"), svg,
      make("p", { class: "quiet" }, `Across: 0 to ${milliseconds(seconds)}; grey at the left is the prompt. A bar is a round, `
        + "as high as it gave tokens; at its foot the time that drafting took."));
  }

  light(number) {
    if (this.lit) this.lit.classList.remove("here");
    this.lit = this.rounds && this.rounds[number];
    if (this.lit) this.lit.classList.add("here");
  }

  animation() {
    const { run } = this;
    const steps = run.trace.steps.length;
    const last = Math.max(...run.came.keys());
    const cells = Array.from({ length: last - run.first + 1 }, () => make("span", { class: "cell" }));
    const slider = make("input", { type: "range", min: 0, max: steps, value: steps, "aria-label": "step" });
    const told = make("output", {});
    const button = make("button", { type: "button" }, "Play");
    const paint = () => {
      const { held, fresh, taken } = run.canvas(Number(slider.value));
      cells.forEach((cell, at) => {
        const place = run.first + at;
        const given = !run.came.has(place);
        const token = given ? run.trace.tokens[at] : held.get(place);
        cell.textContent = token === undefined ? "▒" : run.text(token).replace(/\n/g, "⏎");
        cell.className = ["cell", token === undefined ? "masked" : "", fresh.has(place) ? "fresh" : "",
          taken.has(place) ? "taken" : ""].join(" ").trim();
      });
      told.textContent = `step ${slider.value} of ${steps}`;
    };
    let timer = 0;
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      button.textContent = "Play";
    };
    button.addEventListener("click", () => {
      if (timer) {
        stop();
        return;
      }
      if (Number(slider.value) === steps) slider.value = 0;
      button.textContent = "Pause";
      paint();
      timer = setInterval(() => {
        slider.value = Number(slider.value) + 1;
        paint();
        if (Number(slider.value) >= steps) stop();
      }, BLINK);
    });
    slider.addEventListener("input", () => {
      stop();
      paint();
    });
    paint();
    return make("section", { class: "canvas" }, make("h3", {}, "The canvas, step by step"),
      make("div", { class: "steps" }, button, slider, told), make("div", { class: "cells" }, ...cells));
  }

  // For who does not see the marks; it is made when it is opened.
  table() {
    const { run } = this;
    const body = make("tbody");
    const heads = ["number", "token", "id", "round", "how it came about", "the model's own", "after steers and masks"];
    const table = make("table", {}, make("caption", { class: "quiet" }, `tokens of ${run.trace.method}`),
      make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))), body);
    const box = make("details", { class: "all" }, make("summary", {}, "all tokens as a table"),
      make("div", { class: "wide-table" }, table));
    box.addEventListener("toggle", () => {
      if (body.childElementCount) return;
      run.trace.tokens.forEach((token, at) => {
        const came = run.came.get(run.first + at);
        const entry = run.trace.log_probabilities && run.trace.log_probabilities[at];
        const cells = [at + 1, run.quoted(token), token, came ? came.number + 1 : "", run.cause(at).words,
          entry ? percent(entry.raw) : "", entry ? percent(entry.steered) : ""];
        body.append(make("tr", {}, ...cells.map((cell) => make("td", {}, String(cell)))));
      });
    });
    return box;
  }
}

// -- all runs -------------------------------------------------------------------------------------

class Marks {
  constructor() {
    this.sources = [];
    this.kinds = new Map(); // classes -> words
  }

  classes(cause) {
    if (cause.kind === "own") return [];
    if (cause.kind !== "drafted") {
      const words = { bonus: "bonus, behind accepted drafts", forced: "forced by the constraint", given: "given" };
      this.kinds.set(`mark ${cause.kind}`, words[cause.kind]);
      return ["mark", cause.kind];
    }
    if (!this.sources.includes(cause.source)) this.sources.push(cause.source);
    const own = `source${this.sources.indexOf(cause.source) % MARKS}`;
    this.kinds.set(`mark ${own}`, `drafted by ${cause.source}`);
    return ["mark", own];
  }

  legend(views) {
    const items = [["", "plain: the model's own choice"], ...this.kinds];
    if (views.some(({ run }) => run.remasked.size)) items.push(["remasked", "taken back once"]);
    if (views.some(({ run }) => run.revised.size)) items.push(["revised", "replaced another"]);
    return items.map(([classes, words]) => make("li", {}, make("span", { class: classes }, words)));
  }
}

function same(one, two) {
  const length = Math.min(one.tokens.length, two.tokens.length);
  let at = 0;
  while (at < length && one.tokens[at] === two.tokens[at]) at += 1;
  if (at === one.tokens.length && at === two.tokens.length) return `Both have the same ${several(at, "token")}.`;
  return `They differ from token ${at + 1} on.`;
}

function show(traces) {
  const marks = new Marks();
  const clock = {
    seconds: Math.max(...traces.map(({ counters, steps }) => counters.prompt_seconds
      + steps.reduce((sum, step) => sum + step.seconds, 0))),
    tokens: Math.max(1, ...traces.flatMap(({ steps }) => steps.map((step) => step.committed.length))),
  };
  const views = traces.map((trace) => new View(trace, marks, clock));
  const runs = document.getElementById("runs");
  runs.className = views.length > 1 ? "two" : "one";
  runs.replaceChildren(...views.map((view) => view.element));
  document.getElementById("legend").replaceChildren(...marks.legend(views));
  if (traces.length === 2) document.getElementById("status").textContent = same(...traces);
  return views;
}

const DATA = JSON.parse(document.getElementById("data").textContent);
if (DATA.traces.length) show(DATA.traces);
