/** The element of index.html with this id. */
export function byId(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`expected an element with the id ${id}, got none`);
  return element;
}

/** Writes only what has changed, so that nothing is selected, announced or laid out again without need. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element: HTMLElement, name: string, value: string): void {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** A new element with these children. */
export function create(tag: string, className = '', ...children: (Node | string)[]): HTMLElement {
  const element = document.createElement(tag);
  if (className !== '') element.className = className;
  element.append(...children);
  return element;
}

/** Makes the rows of a table these, each a heading and its cells, without touching those that stay as they are. */
export function setRows(body: HTMLElement, rows: readonly (readonly string[])[]): void {
  while (body.children.length > rows.length) body.lastElementChild?.remove();
  while (body.children.length < rows.length) body.append(document.createElement('tr'));
  for (const [index, cells] of rows.entries()) {
    const row = body.children[index];
    if (row instanceof HTMLElement) setCells(row, cells);
  }
}

function setCells(row: HTMLElement, cells: readonly string[]): void {
  while (row.children.length < cells.length) row.append(document.createElement(row.children.length === 0 ? 'th' : 'td'));
  row.firstElementChild?.setAttribute('scope', 'row');
  for (const [index, text] of cells.entries()) {
    const cell = row.children[index];
    if (cell instanceof HTMLElement) setText(cell, text);
  }
}
