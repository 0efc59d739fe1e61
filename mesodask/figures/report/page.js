"use strict";
(() => {
  const data = JSON.parse(document.getElementById("curves-data").textContent);
  const shown = data.sessions.map(() => true);
  const log = data.k.map(Math.log2);

  function svg(parent, name, attributes, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }

  function html(parent, name, attributes, text) {
    const node = document.createElement(name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }

  const inColor = session => `--light: ${data.sessions[session].color}; --dark: ${data.sessions[session].dark}`;

  // all panels have one scale, so that they can be compared
  const heights = data.targets.flatMap(t => [t.low, t.high, t.null_low, t.null_high, t.mean].flat(2)).filter(y => y !== null);
  const low = Math.min(0.5, ...heights), high = Math.max(0.5, ...heights);
  const bottom = low - 0.03 * (high - low || 1), top = high + 0.03 * (high - low || 1);
  const step = [0.01, 0.02, 0.05, 0.1, 0.2].find(s => (top - bottom) / s <= 7) || 0.5;

  class Panel {
    constructor(plot) {
      this.plot = plot;
      this.target = data.targets[Number(plot.dataset.target)];
      this.read = null;
      plot.tabIndex = 0;
      plot.setAttribute("role", "application");
      plot.setAttribute("aria-roledescription", "chart");
      plot.setAttribute("aria-label", `Curves of ${this.target.name}. Left and right: number of neurons; up and down: session. `
        + "The numbers are in the table below, too.");
      this.tip = html(plot, "div", {class: "tip", role: "status", "aria-live": "polite", hidden: ""});
      plot.addEventListener("pointermove", event => this.point(event));
      plot.addEventListener("pointerdown", event => this.point(event));
      plot.addEventListener("pointerleave", () => this.leave());
      plot.addEventListener("focus", () => { if (plot.matches(":focus-visible")) this.start(); });
      plot.addEventListener("blur", () => this.leave());
      plot.addEventListener("keydown", event => this.key(event));
      new ResizeObserver(() => { if (plot.clientWidth !== this.width) this.draw(); }).observe(plot);
      this.draw();
    }

    draw() {
      const width = this.width = this.plot.clientWidth;
      const height = Math.round(Math.min(360, Math.max(220, 0.62 * width)));
      const box = {left: 40, right: width - 16, top: 24, bottom: height - 42};
      const span = log[log.length - 1] - log[0];
      this.x = i => box.left + 10 + (span ? (log[i] - log[0]) / span : 0.5) * (box.right - box.left - 10);
      this.y = value => box.bottom - (value - bottom) / (top - bottom) * (box.bottom - box.top);
      if (this.svg) this.svg.remove();
      this.svg = svg(this.plot, "svg", {viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true"});
      this.axes(box);
      this.groups = data.sessions.map((_, session) => this.session(session));
      this.mark = svg(this.svg, "circle", {class: "mark", r: 6, visibility: "hidden"});
      this.show();
      if (this.read) this.tell(this.read.session, this.read.k);
    }

    axes(box) {
      for (let n = Math.ceil(bottom / step - 1e-9); n * step <= top; n++) {
        const y = this.y(n * step);
        svg(this.svg, "line", {class: "grid", x1: box.left, x2: box.right, y1: y, y2: y});
        svg(this.svg, "text", {x: box.left - 6, y: y + 4, "text-anchor": "end"}, (n * step).toFixed(step < 0.1 ? 2 : 1));
      }
      svg(this.svg, "line", {class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom});
      svg(this.svg, "line", {class: "chance", x1: box.left, x2: box.right, y1: this.y(0.5), y2: this.y(0.5)});
      svg(this.svg, "text", {x: 0, y: 12}, data.metric);
      svg(this.svg, "text", {x: (box.left + box.right) / 2, y: box.bottom + 36, "text-anchor": "middle"}, "number of neurons");
      let free = Infinity; // the largest number keeps its place, and those before it give way
      for (let i = data.k.length - 1; i >= 0; i--) {
        const half = 4 * String(data.k[i]).length + 3;
        svg(this.svg, "line", {class: "axis", x1: this.x(i), x2: this.x(i), y1: box.bottom, y2: box.bottom + 4});
        if (this.x(i) + half > free) continue;
        free = this.x(i) - half;
        svg(this.svg, "text", {x: this.x(i), y: box.bottom + 18, "text-anchor": "middle", class: "tick"}, data.k[i]);
      }
    }

    known(session, name = "mean") {
      return data.k.map((_, i) => i).filter(i => this.target[name][session][i] !== null);
    }

    line(indices, values) {
      return indices.map(i => `${this.x(i).toFixed(1)},${this.y(values[i]).toFixed(1)}`).join("L");
    }

    session(session) {
      const group = svg(this.svg, "g", {class: "session", style: inColor(session), "data-session": session});
      const values = name => this.target[name][session];
      for (const [name, from, to] of [["null", "null_low", "null_high"], ["band", "low", "high"]]) {
        const there = this.known(session, from);
        if (there.length) {
          const back = this.line([...there].reverse(), values(from));
          svg(group, "path", {class: name, d: `M${this.line(there, values(to))}L${back}Z`});
        }
      }
      const there = this.known(session);
      if (there.length) svg(group, "path", {class: "mean", d: `M${this.line(there, values("mean"))}`});
      for (const i of there) {
        const star = data.k[i] === this.target.k_star[session];
        svg(group, "circle", {class: star ? "star" : "point", r: star ? 5 : 2.5, cx: this.x(i), cy: this.y(values("mean")[i])});
      }
      return group;
    }

    show() {
      this.groups.forEach((group, session) => { group.style.display = shown[session] ? "" : "none"; });
    }

    readable() {
      return data.sessions.map((_, session) => session).filter(s => shown[s] && this.known(s).length);
    }

    point(event) {
      const place = this.svg.getBoundingClientRect();
      const x = event.clientX - place.left, y = event.clientY - place.top;
      let best = null;
      for (const session of this.readable()) {
        for (const k of this.known(session)) {
          // the number of neurons first: lines are followed from left to right
          const away = 3 * Math.abs(this.x(k) - x) + Math.abs(this.y(this.target.mean[session][k]) - y);
          if (best === null || away < best.away) best = {session, k, away};
        }
      }
      if (best) this.tell(best.session, best.k);
    }

    start() {
      const sessions = this.readable();
      if (sessions.length && !this.read) this.tell(sessions[0], this.known(sessions[0]).at(-1));
    }

    key(event) {
      const move = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
      if (event.key === "Escape") this.leave();
      if (!move) return;
      event.preventDefault();
      const sessions = this.readable();
      if (!sessions.length) return;
      if (!this.read || !sessions.includes(this.read.session)) { this.read = null; this.start(); return; }
      const beside = (list, value, by) => list[Math.min(list.length - 1, Math.max(0, list.indexOf(value) + by))];
      const session = beside(sessions, this.read.session, move[0]);
      const ks = this.known(session);
      this.tell(session, beside(ks, ks.includes(this.read.k) ? this.read.k : ks.at(-1), move[1]));
    }

    tell(session, k) {
      this.read = {session, k};
      const value = name => this.target[name][session][k];
      const number = name => value(name) === null ? "–" : value(name).toFixed(3);
      this.tip.replaceChildren();
      html(this.tip, "b", {style: inColor(session)}, data.sessions[session].label);
      const lines = [
        `${data.k[k]} neurons${data.k[k] === this.target.k_star[session] ? " (k*)" : ""}`,
        `${data.metric} ${number("mean")}`,
        `95 % of resamples ${number("low")} to ${number("high")}`,
      ];
      if (value("null_low") !== null) lines.push(`95 % of null means ${number("null_low")} to ${number("null_high")}`);
      if (value("p") !== null) lines.push(`p ${Number(value("p").toPrecision(2))}${this.target.valid ? "" : ", null not valid"}`);
      lines.push(`${value("n_resamples")} resamples`);
      for (const line of lines) html(this.tip, "span", {}, line);
      this.tip.hidden = false;
      const x = this.x(k), y = this.y(value("mean"));
      for (const [name, to] of [["cx", x], ["cy", y], ["visibility", "visible"]]) this.mark.setAttribute(name, to);
      const beyond = x + 14 + this.tip.offsetWidth > this.width;
      this.tip.style.left = `${Math.max(0, beyond ? x - 14 - this.tip.offsetWidth : x + 14)}px`;
      this.tip.style.top = `${y > this.tip.offsetHeight + 14 ? y - 14 - this.tip.offsetHeight : y + 14}px`;
      this.plot.classList.add("reading");
      this.groups.forEach((group, s) => group.classList.toggle("read", s === session));
    }

    leave() {
      this.read = null;
      this.tip.hidden = true;
      this.mark.setAttribute("visibility", "hidden");
      this.plot.classList.remove("reading");
    }
  }

  const plots = [...document.querySelectorAll(".plot")];
  if (plots.length === 1) plots[0].closest(".panels").classList.add("alone");
  const panels = plots.map(plot => new Panel(plot));

  const legend = document.getElementById("legend");
  const switches = data.sessions.map((session, i) => {
    const button = html(legend, "button", {type: "button", "aria-pressed": "true"});
    html(button, "span", {class: "swatch", style: inColor(i)});
    button.append(session.label);
    button.addEventListener("click", () => { shown[i] = !shown[i]; apply(); });
    return button;
  });
  function apply() {
    switches.forEach((button, i) => button.setAttribute("aria-pressed", shown[i]));
    for (const panel of panels) {
      if (panel.read && !shown[panel.read.session]) panel.leave();
      panel.show();
    }
  }
  if (switches.length > 1) {
    for (const [text, state] of [["all", true], ["none", false]]) {
      html(legend, "button", {type: "button", class: "all"}, text).addEventListener("click", () => { shown.fill(state); apply(); });
    }
  }

  // tables: by numbers where a column has numbers, what is missing always last
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const text = head.textContent;
      head.textContent = "";
      html(head, "button", {type: "button"}, text).addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach(other => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const numeric = head.classList.contains("number");
        const key = row => row.cells[column].dataset.key;
        const order = (a, b) => (numeric ? a - b : a.localeCompare(b, "en", {numeric: true})) * (down ? -1 : 1);
        const rows = [...table.tBodies[0].rows];
        const there = rows.filter(row => key(row) !== undefined).sort((a, b) => order(key(a), key(b)));
        table.tBodies[0].append(...there, ...rows.filter(row => key(row) === undefined));
      });
    });
  }
})();
