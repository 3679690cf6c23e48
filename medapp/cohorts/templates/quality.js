"use strict";
const table = document.querySelector("table");
const body = table.tBodies[0];
const rows = [...body.rows];
const key = `medapp quality ${table.dataset.dataset}`;

function readKept() { // a browser may forbid a local page to keep anything
  try { return JSON.parse(localStorage.getItem(key)) || {}; } catch { return {}; }
}

function readMarks() {
  return Object.fromEntries(rows.map((row) => [row.dataset.case, row.dataset.mark]));
}

function keep() {
  try { localStorage.setItem(key, JSON.stringify({ written, marks: readMarks() })); } catch { /* lost with the page */ }
}

function count() {
  const of = (mark) => rows.filter((row) => row.dataset.mark === mark).length;
  document.getElementById("count").textContent =
    `${rows.length} cases: ${of("pass")} pass, ${of("fail")} fail, ${of("")} without a mark.`;
}

function mark(row, value) {
  row.dataset.mark = value;
  for (const box of row.querySelectorAll("input")) box.checked = box.value === value;
}

function sortBy(header) {
  const falling = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const value = (row) => {
    const cell = row.cells[header.cellIndex];
    return cell.classList.contains("mark") ? row.dataset.mark : cell.dataset.value;
  };
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === ""); // what is missing comes last
    const order = x.localeCompare(y, undefined, { numeric: true });
    const sign = falling ? -1 : 1;
    return sign * (isNaN(x) || isNaN(y) ? order : x - y);
  };
  rows.sort(compare);
  body.append(...rows);
}

function download() {
  const lines = rows.filter((row) => row.dataset.mark).map((row) => `${row.dataset.case}\t${row.dataset.mark}\n`);
  const file = new Blob(["case\tmark\n", ...lines.sort()], { type: "text/tab-separated-values" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = table.dataset.file;
  link.click();
  URL.revokeObjectURL(link.href);
}

const written = readMarks(); // in the file; what was marked on this page goes before, until the file says otherwise
const kept = readKept();
for (const row of rows) {
  const name = row.dataset.case;
  mark(row, kept.written?.[name] === written[name] ? kept.marks[name] : written[name]);
}
count();
table.tHead.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) sortBy(button.closest("th"));
});
body.addEventListener("change", (event) => {
  mark(event.target.closest("tr"), event.target.value);
  keep();
  count();
});
body.addEventListener("click", (event) => {
  if (event.target.matches("img")) event.target.classList.toggle("large");
});
body.addEventListener("keydown", (event) => {
  const row = event.target.closest("tr");
  const value = { p: "pass", f: "fail" }[event.key.toLowerCase()];
  const next = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
  if (event.target !== row || event.ctrlKey || event.metaKey || event.altKey) return;
  if (value && row.querySelector("input")) {
    mark(row, row.dataset.mark === value ? "" : value);
    keep();
    count();
  } else if (next) {
    event.preventDefault();
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  }
});
document.getElementById("save").addEventListener("click", download);
