/** The files that go with what is being written: chosen, dropped or pasted; how far each is, and what hinders it. */

import { bytes } from "./bytes.js";

export class Tray {
  #elements = new Map(); // item -> its element

  /** `uploads` takes the files; `changed` is called when the user removed one, or had it tried again. */
  constructor(list, { uploads, template, changed }) {
    Object.assign(this, { list, uploads, template, changed, items: [] });
  }

  /** Shows these items instead of the others. */
  put(items) {
    this.items = items;
    this.draw();
  }

  /** Takes Files, and begins to upload them. */
  add(files) {
    this.put([...this.items, ...files.map((file) => this.uploads.add(file))]);
  }

  draw() {
    this.list.hidden = !this.items.length;
    for (const [item, element] of this.#elements) if (!this.items.includes(item)) this.#forget(item, element);
    for (const item of this.items) fill(this.#element(item), item);
  }

  #element(item) {
    let element = this.#elements.get(item);
    if (!element) {
      element = this.template.content.firstElementChild.cloneNode(true);
      name(element, item);
      element.querySelector(".again").addEventListener("click", () => this.#repeat(item));
      element.querySelector(".drop").addEventListener("click", () => this.#drop(item));
      this.#elements.set(item, element);
      this.list.append(element);
    }
    return element;
  }

  #repeat(item) {
    this.uploads.repeat(item);
    this.changed(); // the button in use is gone
  }

  #drop(item) {
    this.uploads.remove(item);
    this.put(this.items.filter((one) => one !== item));
    this.changed();
  }

  #forget(item, element) {
    this.#elements.delete(item);
    element.remove();
  }
}

/** Hands the files that are dropped on `card`, pasted into `text` or chosen by `button` to `attach`. */
export function takeFiles({ card, text, button, chooser }, attach) {
  button.addEventListener("click", () => chooser.click());
  chooser.addEventListener("change", () => {
    attach([...chooser.files]);
    chooser.value = ""; // or the same file could not be chosen again
  });
  text.addEventListener("paste", (event) => {
    const { files, types } = event.clipboardData;
    if (!files.length || types.includes("text/plain")) return; // a copied table is a text, and a picture of it
    event.preventDefault();
    attach([...files]);
  });
  card.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    card.classList.add("dropping");
  });
  card.addEventListener("dragleave", ({ relatedTarget }) => card.classList.toggle("dropping", card.contains(relatedTarget)));
  card.addEventListener("drop", (event) => {
    card.classList.remove("dropping");
    if (!hasFiles(event)) return;
    event.preventDefault();
    attach([...event.dataTransfer.files]);
  });
}

/** Whether files are being dragged, and not a text. */
export function hasFiles({ dataTransfer }) {
  return dataTransfer.types.includes("Files");
}

function name(element, item) {
  element.querySelector(".name").textContent = item.name;
  element.querySelector(".name").title = item.name;
  element.querySelector("progress").setAttribute("aria-label", `${item.name}, uploaded`);
  element.querySelector(".again .hidden").textContent = `Try ${item.name} again`;
  element.querySelector(".drop .hidden").textContent = `Remove ${item.name}`;
}

function fill(element, { state, share, size, problem, canGo }) {
  const part = (selector) => element.querySelector(selector);
  element.dataset.state = state;
  part(".size").textContent = state === "waiting" && !problem ? `${bytes(size)}, waits` : bytes(size);
  part("progress").hidden = state !== "going";
  part("progress").value = share;
  part(".again").hidden = !problem || !canGo;
  if (part(".why").textContent !== problem) part(".why").textContent = problem;
}
