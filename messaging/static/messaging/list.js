/** The conversations of one device on screen: a strip of buttons, the one in use marked. */

import { dot, stateOf } from "./here.js";
import { unread } from "./standing.js";

const RANK = { direct: 0, group: 1, self: 2 };
const COUNTED = 99; // of many messages only the newest are here

export class List {
  #shows = "";

  constructor(list) {
    this.list = list;
  }

  draw({ client, directory, selected }) {
    const shows = sorted(client.conversations).map((one) => ({
      id: one.id,
      title: directory.title(one),
      state: one.left === null && directory.peer(one) ? stateOf(client.presence, directory.peer(one)) : null,
      unread: unread(one, client.session.user),
      isSelected: one.id === selected,
      isLeft: one.left !== null,
    }));
    if (this.#shows === JSON.stringify(shows)) return;
    this.#shows = JSON.stringify(shows);
    const { list } = this;
    const focused = list.contains(document.activeElement) && document.activeElement.dataset.conversation;
    list.replaceChildren(...shows.map(item));
    if (focused) list.querySelector(`[data-conversation="${focused}"]`)?.focus();
  }
}

function sorted(conversations) {
  const all = [...conversations.values()].filter(({ kind }) => kind);
  return all.sort((one, other) => RANK[one.kind] - RANK[other.kind] || one.id.localeCompare(other.id));
}

function item({ id, title, state, unread, isSelected, isLeft }) {
  const element = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.conversation = id;
  if (isSelected) button.setAttribute("aria-current", "true");
  button.classList.toggle("over", isLeft);
  if (state) button.append(dot(state));
  button.append(span("title", title));
  if (unread) button.append(span("badge", unread > COUNTED ? `${COUNTED}+` : String(unread)), span("hidden", " unread"));
  element.append(button);
  return element;
}

function span(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}
