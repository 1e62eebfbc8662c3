// SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
// SPDX-License-Identifier: GPL-3.0-or-later

// Asks the agent again and again, and shows what it says. Each time the whole page is described
// anew, and only what differs is changed, so that focus, scrolling and what was unfolded stay.
"use strict";

const PAUSE = 2000; // milliseconds from one answer to the next question
const SHARE = 20; // nor does the agent spend more than this part of its time on one page
const PATIENCE = 15000;
const MANY = 16; // of a service or of all: so many backends are shown without being asked for
const byId = (id) => document.getElementById(id);

// Elements. Text only ever becomes text.

const SVG = "http://www.w3.org/2000/svg";

function element(space, name, attributes, children) {
  const made = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {}))
    if (value !== null && value !== undefined) made.setAttribute(key, value);
  made.append(...children.flat().filter((child) => child !== null));
  return made;
}

const h = (name, attributes, ...children) => element(null, name, attributes, children);
const s = (name, attributes, ...children) => element(SVG, name, attributes, children);

/** Makes what there is like what is wanted. Whether a <details> is open is the reader's choice. */
function become(is, wanted) {
  for (const { name } of [...is.attributes])
    if (!wanted.hasAttribute(name) && name !== "open") is.removeAttribute(name);
  for (const { name, value } of wanted.attributes)
    if (name !== "open" && is.getAttribute(name) !== value) is.setAttribute(name, value);
  fill(is, [...wanted.childNodes]);
}

function fill(parent, wanted) {
  const named = new Map();
  for (const child of parent.children) if (child.dataset.key) named.set(child.dataset.key, child);
  let at = parent.firstChild;
  for (const child of wanted) {
    const key = child.dataset && child.dataset.key;
    const found = key ? named.get(key) : at && at.dataset && at.dataset.key ? null : at;
    if (found && found.nodeName === child.nodeName) {
      if (found !== at) parent.insertBefore(found, at);
      if (child.nodeType === Node.TEXT_NODE) {
        if (found.data !== child.data) found.data = child.data;
      } else become(found, child);
      at = found.nextSibling;
    } else parent.insertBefore(child, at);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

// Words

/** What cannot be seen as what it is, such as a line's end or what turns text around, by number. */
const plain = (text) =>
  String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}]/gu, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);

function scaled(number) {
  if (number === null || number === undefined) return "–";
  const units = ["", "k", "M", "G", "T", "P", "E"];
  let value = number;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = value < 10 && (unit > 0 || !Number.isInteger(value)) ? 1 : 0;
  return `${value.toFixed(digits)}${unit ? `\u202f${units[unit]}` : ""}`;
}

const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");
const count = (number, one, many) => `${number} ${number === 1 ? one : many}`;

function ago(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 100) return `${whole} s`;
  if (whole < 6000) return `${Math.round(whole / 60)} min`;
  if (whole < 172800) return `${Math.round(whole / 3600)} h`;
  return `${Math.round(whole / 86400)} days`;
}

function since(moment, now) {
  const then = new Date(moment * 1000);
  const time = then.toLocaleTimeString("en-GB");
  const day = now - moment < 43200 ? "" : `${then.toLocaleDateString("en-CA")} `;
  return h("time", { datetime: then.toISOString() }, `${day}${time} (${ago(now - moment)} ago)`);
}

const MARKS = { good: "✓", warn: "▲", bad: "✕", unknown: "–" };
const badge = (mood, text) =>
  h("span", { class: "badge", "data-mood": mood }, h("span", { "aria-hidden": "true" }, `${MARKS[mood]} `), text);
const inWords = (mood, text) => h("span", { "data-mood": mood }, h("span", { "aria-hidden": "true" }, `${MARKS[mood]} `), text);

// Pictures

function chart(title, unit, points, seconds) {
  const known = points.filter((point) => point !== null);
  const most = Math.max(...known, 0);
  const now = known.length ? points[points.length - 1] : null;
  const top = most || 1;
  const step = 600 / (points.length - 1);
  let line = "";
  let area = "";
  let start = null;
  const x = (place) => (place * step).toFixed(1);
  points.forEach((point, place) => {
    if (point === null) return;
    const y = (58 - (54 * point) / top).toFixed(1);
    if (place === 0 || points[place - 1] === null) {
      start = x(place);
      line += `M${start} ${y}`;
      area += `M${start} 60V${y}`;
    }
    line += `L${x(place)} ${y}`;
    area += `L${x(place)} ${y}`;
    if (place === points.length - 1 || points[place + 1] === null) area += `L${x(place)} 60Z`;
  });
  const span = ago(points.length * seconds);
  const label = `${title} of the last ${span}: now ${scaled(now)}${unit}, peak ${scaled(known.length ? most : null)}${unit}`;
  return h(
    "figure",
    {},
    h(
      "figcaption",
      {},
      h("strong", {}, scaled(now)),
      h("span", {}, title),
      h("span", { class: "faint most" }, `peak ${scaled(known.length ? most : null)}`),
    ),
    s(
      "svg",
      { class: "chart", viewBox: "0 0 600 60", preserveAspectRatio: "none", role: "img", "aria-label": label },
      s("path", { d: area || "M0 60", fill: "currentColor", "fill-opacity": "0.15" }),
      s("path", {
        d: line || "M0 60",
        fill: "none",
        stroke: "currentColor",
        "stroke-width": "1.5",
        "vector-effect": "non-scaling-stroke",
      }),
    ),
    h("div", { class: "ends faint", "aria-hidden": "true" }, h("span", {}, `${span} ago`), h("span", {}, "now")),
  );
}

function share(part) {
  return s(
    "svg",
    { class: "share", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: "all", width: "100", height: "10", fill: "currentColor" }),
    s("rect", { width: (100 * part).toFixed(1), height: "10", fill: "currentColor" }),
  );
}

// Tables. Roles are given, as a phone's layout would take them away.

function table(caption, columns, rows, kind) {
  return h(
    "table",
    { role: "table", "aria-label": caption, class: kind },
    h(
      "thead",
      { role: "rowgroup" },
      h("tr", { role: "row" }, columns.map(([name, kind]) => h("th", { role: "columnheader", scope: "col", class: kind }, name))),
    ),
    h(
      "tbody",
      { role: "rowgroup" },
      rows.map(([key, ...cells]) =>
        h(
          "tr",
          { role: "row", "data-key": key },
          cells.map((cell, place) =>
            place
              ? h("td", { role: "cell", class: columns[place][1], "data-label": columns[place][0] }, cell)
              : h("th", { role: "rowheader", scope: "row" }, cell),
          ),
        ),
      ),
    ),
  );
}

function folded(key, title, isOpen, content) {
  if (!unfolded.has(key)) unfolded.set(key, isOpen);
  const open = unfolded.get(key);
  return h("details", { "data-key": key, open: open ? "" : null }, h("summary", {}, title), open ? content() : null);
}

const unfolded = new Map();

// A service

function healthOf(service, backend) {
  if (!service.check) return ["unknown", "not checked"];
  if (!backend.healthy) return ["bad", "unhealthy"];
  if (backend.share_percent) return ["warn", `healthy, with ${backend.share_percent} % of its share`];
  return ["good", "healthy"];
}

function moodOf(service) {
  const bad = service.backends.filter((one) => one.healthy === false).length;
  const all = service.backends.length;
  const open = service.backends.filter((one) => one.state === "enabled" && one.weight > 0).length;
  if (!open) return ["bad", "no backend takes new flows"];
  if (service.fails_open) return ["bad", `${bad} of ${all} unhealthy: too few are left, so all are used`];
  if (bad === all) return ["bad", "all backends unhealthy"];
  if (bad) return ["warn", `${bad} of ${all} unhealthy`];
  if (!service.check) return ["unknown", `${count(all, "backend", "backends")}, not checked`];
  return ["good", `${count(all, "backend", "backends")} healthy`];
}

function endpoint(service) {
  const port = service.port || "every port";
  const address = service.address.includes(":") ? `[${service.address}]` : service.address;
  return `${service.protocol} ${address}${service.port ? ":" : ", "}${port}`;
}

function backendRow(service, backend, now, total) {
  const [mood, health] = healthOf(service, backend);
  const weight = backend.configured_weight === undefined ? `${backend.weight}` : `${backend.weight}, held; else ${backend.configured_weight}`;
  const rate = backend.packets_per_second;
  return [
    backend.address,
    h("span", { class: "code" }, plain(backend.address)),
    h(
      "span",
      {},
      inWords(mood, health),
      backend.healthy === false
        ? h("span", { class: "reason" }, plain(backend.reason), backend.unhealthy_since ? [", since ", since(backend.unhealthy_since, now)] : [])
        : null,
    ),
    `${backend.state}${backend.held ? ", held" : ""}${backend.backup ? ", backup" : ""}`,
    weight,
    h("span", {}, share(total ? (rate || 0) / total : 0), h("span", { class: "amount" }, scaled(rate))),
    scaled(backend.bits_per_second),
    grouped(backend.packets),
  ];
}

function serviceCard(name, service, answer) {
  const [mood, words] = moodOf(service);
  const key = `${name}/${service.name}`;
  const seconds = answer.history.seconds;
  const total = service.backends.reduce((sum, one) => sum + (one.packets_per_second || 0), 0);
  const bad = (one) => (one.healthy === false ? 0 : 1);
  const rows = () => [...service.backends].sort((one, other) => bad(one) - bad(other)).map((one) => backendRow(service, one, answer.now, total));
  const columns = [
    ["Backend"],
    ["Health", "words"],
    ["State"],
    ["Weight"],
    ["Packets/s", "number"],
    ["Bits/s", "number"],
    ["Packets", "number"],
  ];
  const isOpen = few(answer) || (["warn", "bad"].includes(mood) && service.backends.length <= MANY);
  const title = plain(service.name);
  const traits = [service.scheduler, service.encapsulation, service.check ? `check: ${service.check}, at least ${service.min_healthy} healthy` : null];
  return h(
    "article",
    { class: "card", "data-key": key, "aria-label": `Service ${title}` },
    h(
      "div",
      { class: "title" },
      h("h3", {}, h("span", {}, title)),
      h("span", { class: "code" }, plain(endpoint(service))),
      badge(mood, words),
    ),
    h("p", { class: "faint" }, plain(traits.filter((one) => one).join(" · "))),
    h(
      "div",
      { class: "now" },
      chart("packets/s", " packets/s", service.history.packets_per_second, seconds),
      chart("bits/s", " bits/s", service.history.bits_per_second, seconds),
    ),
    service.backends.length
      ? folded(`${key}/backends`, count(service.backends.length, "backend", "backends"), isOpen, () =>
          table(`Backends of ${title}`, columns, rows(), "backends"),
        )
      : null,
  );
}

function few(answer) {
  const services = Object.values(answer.balancers).flatMap((one) => one.services);
  return services.reduce((sum, one) => sum + one.backends.length, 0) <= MANY;
}

// A balancer

function counted(title, what, key, counts, meanings, history, { seconds, points }) {
  const names = Object.keys(counts);
  const there = names.filter((name) => counts[name]);
  const columns = [[what], ["Packets", "number"]];
  if (history) columns.push([`Last ${ago(seconds * points)}`, "number"], ["Packets/s", "number"]);
  columns.push(["What it means, and what to do", "words"]);
  const ofLate = (name) => (history[name] || []).reduce((sum, one) => sum + (one || 0) * seconds, 0);
  const latest = (name) => (history[name] || [null]).slice(-1)[0];
  const row = (name) => [
    name,
    h("span", { class: "code" }, name),
    grouped(counts[name]),
    ...(history ? [grouped(Math.round(ofLate(name))), scaled(latest(name))] : []),
    meanings[name] || "",
  ];
  const others = names.filter((name) => !counts[name]);
  const rest = there.length ? `${count(others.length, "other", "others")}, of which there were none` : `none of ${names.length} kinds`;
  return [
    h("h3", { class: "part" }, title),
    there.length ? table(title, columns, there.map(row), "counted") : null,
    others.length
      ? folded(key, rest, false, () =>
          h("dl", { class: "facts" }, others.flatMap((name) => [h("dt", { class: "code" }, name), h("dd", {}, meanings[name] || "")])),
        )
      : null,
  ];
}

function dropsCard(name, balancer, answer) {
  return h(
    "section",
    { class: "card", "data-key": `${name}/drops`, "aria-label": `What else became of packets on ${plain(name)}` },
    counted("Dropped", "Reason", `${name}/none/drops`, balancer.drops, answer.meanings.drops, balancer.drops_history, answer.history),
    counted("Answered by the balancer", "Answer", `${name}/none/answers`, balancer.answers, answer.meanings.answers, null, answer.history),
    counted("Flow table", "Event", `${name}/none/flows`, balancer.flow_table, answer.meanings.flow_table, null, answer.history),
  );
}

function hopsCard(name, hops) {
  const gone = hops.unresolved + hops.without_route.count;
  const words = gone ? `${count(hops.unresolved, "does", "do")} not answer` : `all ${hops.count} answer`;
  const rows = () =>
    hops.list.map((hop) => [
      `${hop.interface} ${hop.address}`,
      h("span", { class: "code" }, plain(hop.address)),
      plain(hop.interface),
      hop.mac ? h("span", {}, inWords("good", "answers: "), h("span", { class: "code" }, hop.mac)) : inWords("bad", "does not answer"),
    ]);
  const left = hops.count - hops.list.length;
  return [
    hops.without_route.count
      ? h("p", {}, inWords("bad", `${count(hops.without_route.count, "backend has", "backends have")} no route: ${hops.without_route.list.join(", ")}`))
      : null,
    folded(`${name}/hops`, `${count(hops.count, "next hop", "next hops")}: ${words}`, gone > 0, () => [
      table(`Next hops of ${plain(name)}`, [["Next hop"], ["Interface"], ["MAC address"]], rows()),
      left > 0 ? h("p", { class: "faint" }, `${left} more.`) : null,
    ].filter((one) => one)),
  ];
}

function hostCard(name, balancer, now) {
  const kept = balancer.upkeep;
  const facts = [["Configuration", h("span", {}, h("span", { class: "code" }, balancer.digest), `, generation ${balancer.generation}`)]];
  for (const [vip, { announced, reason }] of Object.entries(balancer.announcement)) {
    const told = announced ? inWords("good", "announced") : inWords("warn", plain(`not announced: ${reason}`));
    facts.push([h("span", { class: "code" }, vip), told]);
  }
  if (kept) {
    const last = kept.last ? [", last ", since(kept.last.at, now), `: ${plain(kept.last.done)}`] : [];
    facts.push(["Repairs", h("span", {}, `${kept.repairs} since `, since(kept.since, now), ...last)]);
  }
  if (balancer.native_refused) facts.push(["Mode generic", `native was refused: ${plain(balancer.native_refused)}`]);
  return h(
    "section",
    { class: "card", "data-key": `${name}/host`, "aria-label": `The host, as far as ${plain(name)} needs it` },
    h("h3", { class: "part" }, "Host"),
    h("dl", { class: "facts" }, facts.flatMap(([label, value]) => [h("dt", {}, label), h("dd", {}, value)])),
    hopsCard(name, balancer.next_hops),
  );
}

function attachment(balancer, now) {
  if (balancer.problem) return badge("bad", "cannot be read");
  if (balancer.paused_since !== null) return badge("warn", h("span", {}, "paused since ", since(balancer.paused_since, now)));
  if (!balancer.attached) return badge("bad", "not attached");
  if (!balancer.link_up) return badge("bad", "interface is down");
  if (balancer.native_refused) return badge("warn", `attached, mode ${balancer.mode}`);
  return badge("good", `attached, mode ${balancer.mode}`);
}

function balancerSection(name, balancer, answer) {
  return h(
    "section",
    { class: "balancer", "data-key": name, "aria-label": `Balancer of ${plain(name)}` },
    h("div", { class: "title" }, h("h2", {}, plain(name)), attachment(balancer, answer.now)),
    balancer.services.map((service) => serviceCard(name, service, answer)),
    balancer.problem ? null : dropsCard(name, balancer, answer),
    balancer.problem ? null : hostCard(name, balancer, answer.now),
  );
}

// The whole

/** What is wrong, each with how bad that is. */
function troublesOf(answer) {
  const found = new Map(answer.troubles.map((one) => [`${one.trouble}: ${one.reason}`, "bad"]));
  for (const [name, balancer] of Object.entries(answer.balancers)) {
    if (balancer.problem) found.set(balancer.problem, "bad");
    if (balancer.paused_since) found.set(`${name} is paused; l4lb resume ${name} ends that`, "warn");
    else if (balancer.attached === false) found.set(`${name} is not attached; l4lb restore brings it back`, "bad");
    if (balancer.link_up === false) found.set(`${name} is set down`, "bad");
    for (const service of balancer.services) {
      const [mood, words] = moodOf(service);
      if (mood === "bad" || mood === "warn") found.set(`${service.name} on ${name}: ${words}`, mood);
    }
    for (const [vip, { announced, reason }] of Object.entries(balancer.announcement || {}))
      if (!announced) found.set(`${vip} is not announced: ${reason}`, "warn");
    const hops = balancer.next_hops;
    if (hops && hops.without_route.count) found.set(`${name}: ${count(hops.without_route.count, "backend has", "backends have")} no route`, "bad");
    if (hops && hops.unresolved) found.set(`${name}: ${count(hops.unresolved, "next hop does", "next hops do")} not answer`, "warn");
  }
  return [...found];
}

function show(answer) {
  const names = Object.keys(answer.balancers);
  const services = Object.values(answer.balancers).flatMap((one) => one.services);
  const backends = services.reduce((sum, one) => sum + one.backends.length, 0);
  const troubles = troublesOf(answer);
  const worst = troubles.some(([, mood]) => mood === "bad") ? "bad" : "warn";
  const all = `${count(services.length, "service", "services")}, ${count(backends, "backend", "backends")}`;
  if (!names.length) say("unknown", "This host does not balance.");
  else if (troubles.length) say(worst, `${count(troubles.length, "problem", "problems")}; ${all}`);
  else say("good", `All is well; ${all}`);
  document.title = `${troubles.length ? `${MARKS[worst]} ${troubles.length}` : MARKS.good} ${plain(answer.host)}`;
  fill(byId("host"), [document.createTextNode(plain(answer.host))]);
  const list = troubles.map(([text, mood]) => h("li", { "data-key": text, "data-mood": mood }, plain(text)));
  fill(byId("troubles"), troubles.length ? [h("ul", { class: "troubles", "aria-label": "Problems" }, list)] : []);
  fill(byId("balancers"), names.map((name) => balancerSection(name, answer.balancers[name], answer)));
}

/** Said aloud by a screen reader when it changes, and only then. */
function say(mood, text) {
  const place = byId("summary");
  place.dataset.mood = mood;
  const told = `${MARKS[mood]} ${text}`;
  if (place.textContent !== told) place.textContent = told;
}

// Asking

let last = null; // { answer, at }: the last answer, and when it came
let silent = null; // since when there is none
let timer = null;
let paused = false;

async function ask() {
  timer = null;
  const began = performance.now();
  try {
    const got = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!got.ok) throw new Error(`status ${got.status}`);
    last = { answer: await got.json(), at: new Date() };
    silent = null;
  } catch {
    silent = silent || new Date();
  }
  if (silent) say("bad", `The agent does not answer since ${silent.toLocaleTimeString("en-GB")}${last ? "; below is what it said last" : ""}.`);
  else show(last.answer);
  for (const id of ["troubles", "balancers"]) byId(id).classList.toggle("stale", Boolean(silent));
  if (silent) document.title = `${MARKS.bad} no answer`;
  tell();
  later(Math.max(PAUSE, SHARE * (performance.now() - began)));
}

function later(pause) {
  clearTimeout(timer);
  timer = paused || document.hidden ? null : setTimeout(ask, pause);
}

function tell() {
  const text = last ? `As of ${last.at.toLocaleTimeString("en-GB")}${paused ? ", paused" : ""}` : "";
  byId("updated").textContent = text;
}

byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  later(0);
  tell();
});
document.addEventListener("visibilitychange", () => later(0));
document.addEventListener(
  "toggle",
  ({ target }) => {
    const key = target.dataset.key;
    if (unfolded.get(key) === target.open) return;
    unfolded.set(key, target.open);
    if (last && !silent) show(last.answer);
  },
  true, // it does not bubble
);
ask();
