"use strict";
// A click on a header sorts the table by its column; unknown values are last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const cell = row.cells[column];
    const key = cell.dataset.key;
    if (key === undefined) return cell.textContent;
    return key === "" ? null : Number(key);
  };
  const sort = (column) => {
    const before = heads[column].getAttribute("aria-sort");
    const rows = [...table.tBodies[0].rows];
    const words = typeof value(rows[0], column) === "string";
    // First click: numbers descending, words ascending. Second click: reversed.
    const up = before === null ? words : before === "descending";
    const sign = up ? 1 : -1;
    rows.sort((one, other) => {
      const [a, b] = [value(one, column), value(other, column)];
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (words ? a.localeCompare(b) : a - b);
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
}
