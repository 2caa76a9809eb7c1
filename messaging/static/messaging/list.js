/** The conversations of one device on screen: a strip of buttons, the one in use marked. */

import { dot, paint, stateOf } from "./here.js";
import { Items } from "./items.js";
import { unread } from "./standing.js";

const RANK = { direct: 0, group: 1, self: 2 };
const COUNTED = 99; // of many messages only the newest are here

export class List {
  #shown = null; // the conversation in use that was brought into sight

  constructor(list) {
    this.list = list;
    this.items = new Items(list, { make, fill });
  }

  draw({ client, directory, selected }) {
    const rows = sorted(client.conversations).map((one) => ({
      key: one.id,
      title: directory.title(one),
      state: one.left === null && directory.peer(one) ? stateOf(client.presence, directory.peer(one)) : null,
      unread: unread(one, client.session.user),
      isSelected: one.id === selected,
      isLeft: one.left !== null,
    }));
    this.items.draw(rows);
    if (this.#shown !== selected && this.#bring()) this.#shown = selected;
  }

  /** Scrolls the strip, and nothing else, to the conversation in use. Returns whether that is there. */
  #bring() {
    const button = this.list.querySelector("[aria-current]");
    if (!button) return false;
    const [box, spot] = [this.list, button].map((one) => one.getBoundingClientRect());
    this.list.scrollLeft += Math.min(0, spot.left - box.left) + Math.max(0, spot.right - box.right);
    return true;
  }
}

function sorted(conversations) {
  const all = [...conversations.values()].filter(({ kind }) => kind);
  return all.sort((one, other) => RANK[one.kind] - RANK[other.kind] || one.id.localeCompare(other.id));
}

function make({ key }) {
  const element = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.conversation = key;
  button.append(span("title"), span("badge"), span("hidden", " unread"));
  element.append(button);
  return element;
}

function fill({ firstElementChild: button }, { title, state, unread, isSelected, isLeft }) {
  const part = (name) => button.querySelector(`.${name}`);
  button.ariaCurrent = isSelected ? "true" : null;
  button.classList.toggle("over", isLeft);
  if (!state) part("dot")?.remove();
  else if (part("dot")) paint(part("dot"), state);
  else button.prepend(dot(state));
  part("title").textContent = title;
  part("badge").textContent = !unread ? "" : unread > COUNTED ? `${COUNTED}+` : unread;
  for (const name of ["badge", "hidden"]) part(name).hidden = !unread;
}

function span(className, text = "") {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}
