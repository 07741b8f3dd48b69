"use strict";
const table = document.getElementById("all");
const rows = [...table.tBodies[0].rows];
const find = (selector, inside = document) => [...inside.querySelectorAll(selector)];

// ---- Sorting: a click on a header; unknown values stay last.
const heads = [...table.tHead.rows[0].cells];
const keyOf = (row, column) => {
  const { key } = row.cells[column].dataset;
  if (key === undefined) return row.cells[column].textContent;
  return key === "" ? null : Number(key);
};
const sort = (column) => {
  const before = heads[column].getAttribute("aria-sort");
  const isResult = column > 1 && !heads[column].classList.contains("need");
  // First click: results descending, the rest ascending. Second click: reversed.
  const up = before === null ? !isResult : before === "descending";
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
  rows.sort((one, other) => {
    const [a, b] = [keyOf(one, column), keyOf(other, column)];
    if (a === null || b === null) return (a === null) - (b === null);
    return (up ? 1 : -1) * compare(a, b);
  });
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
  table.tBodies[0].append(...rows);
};
heads.forEach((head, column) => {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  button.addEventListener("click", () => sort(column));
  head.append(button);
});

// ---- Filters
const filter = document.getElementById("filter");
const selects = find("select[data-need]", filter);
const better = document.getElementById("better");
const wordsOf = (row) => find("td.need", row).map((cell) => cell.dataset.word);
const passes = (word, wanted) =>
  wanted === "" || (wanted === "not yes" ? word !== "yes" : word === wanted);
const show = () => {
  for (const row of rows) {
    const words = wordsOf(row);
    const fits = selects.every((one) => passes(words[Number(one.dataset.need)], one.value));
    row.hidden = !fits || (better.checked && row.dataset.better !== "yes");
  }
  const shown = rows.filter((row) => !row.hidden).length;
  document.getElementById("count").textContent = `${shown} of ${rows.length} rules shown`;
};
filter.addEventListener("change", show);
filter.addEventListener("submit", (event) => event.preventDefault());
filter.addEventListener("reset", () => setTimeout(show));
for (const button of find("button[data-preset]", filter)) {
  button.addEventListener("click", () => {
    const wanted = new Map(button.dataset.preset.split(";").map((each) => each.split("=")));
    for (const one of selects) one.value = wanted.get(one.dataset.name) ?? "";
    better.checked = false;
    show();
  });
}
filter.hidden = false;
show();

// ---- Credences
const percent = (value) => `${Math.round(100 * value)} %`;
const outputs = (input, text) => {
  document.querySelector(`output[for="${input.id}"]`).textContent = text;
  input.setAttribute("aria-valuetext", text);
};
const sauce = document.getElementById("sauce");
const weigh = () => {
  const weights = find("input[data-place]", sauce);
  const given = find("input[data-given]", sauce);
  const sum = weights.reduce((total, one) => total + Number(one.value), 0);
  let needed = 0;
  weights.forEach((one, i) => {
    const weight = sum ? Number(one.value) / sum : NaN;
    const credence = Number(given[i].value) / 100;
    needed += weight * credence;
    outputs(one, sum ? percent(weight) : "–");
    outputs(given[i], percent(credence));
  });
  document.getElementById("sauce-result").textContent = sum
    ? `With these numbers, your credence that a new learning algorithm is needed is ${percent(needed)}.`
    : "All four weights are 0: give at least one place some weight.";
};
const most = 6; // names of rules in a sentence that is read aloud
const listed = (names) =>
  names.length <= most
    ? names.join(", ")
    : `${names.slice(0, most).join(", ")} and ${names.length - most} more`;
const abilities = document.getElementById("abilities");
const judge = () => {
  const inputs = find("input[data-ability]", abilities);
  const able = inputs.map((one) => Number(one.value) / 100);
  inputs.forEach((one, i) => outputs(one, percent(able[i])));
  const found = rows
    .filter((row) => row.cells[1].textContent !== "control")
    .map((row) => {
      const words = wordsOf(row);
      // What only a network with a loop can need counts where it was found.
      const counts = (i) =>
        words[i] === "yes" || (words[i] !== "no" && !("ofLoops" in inputs[i].dataset));
      const least = able.reduce((all, one, i) => (counts(i) ? all * one : all), 1);
      const hardest = Math.min(1, ...able.filter((_, i) => words[i] === "yes"));
      return { name: row.cells[0].textContent, least, most: hardest, better: row.dataset.better === "yes" };
    })
    .sort((a, b) => b.most - a.most || b.least - a.least || a.name.localeCompare(b.name));
  const body = document.getElementById("abilities-rows");
  body.replaceChildren(
    ...found.map(({ name, least, most }) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name;
      row.append(head);
      for (const value of [least, most]) {
        const cell = document.createElement("td");
        cell.textContent = (100 * value).toFixed(value < 0.1 ? 1 : 0);
        row.append(cell);
      }
      return row;
    }),
  );
  const taught = found.filter((one) => one.better);
  const best = taught.length ? Math.max(...taught.map((one) => one.most)) : 0;
  const names = taught.filter((one) => one.most === best).map((one) => one.name);
  document.getElementById("abilities-result").textContent = taught.length
    ? `Of the rules shown to be above the control, your credence is highest, at most ${percent(best)}, for: ${listed(names)}.`
    : "No rule was shown to be above the control on this task.";
};
// Texts follow the sliders at rest, so that a screen reader is not flooded.
for (const [form, update] of [[sauce, weigh], [abilities, judge]]) {
  let waiting = 0;
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(update, 120);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  update();
}
document.getElementById("credences").hidden = false;
