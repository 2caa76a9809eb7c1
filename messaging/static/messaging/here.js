/** Who is here, on one device's card: dots, the line about the others, who is typing, and the own status. */

const MEMBERS = 50; // the server shows co-members of conversations up to this size without being asked

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const date = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

/** Draws the presence of one card. */
export class Here {
  constructor(card) {
    this.card = card;
  }

  draw({ client, directory, conversation }) {
    const { presence, session } = client;
    this.card.classList.toggle("stale", presence.stale);
    paint(this.#part("avatar .dot"), stateOf(presence, session.user));
    put(this.#part("mine"), mine(presence.users.get(session.user)));
    this.#drawAbout(conversation?.left === null ? company(conversation, client, directory) : null, presence.stale);
    const typists = conversation ? client.typists(conversation.id) : [];
    put(this.#part("typing"), typing(typists.map(directory.nameOf)));
  }

  #drawAbout(shows, isStale) {
    this.#part("about").hidden = !shows;
    if (!shows) return;
    paint(this.#part("about .dot"), shows.state);
    put(this.#part("words"), isStale ? `${shows.words}, when last heard of` : shows.words);
    put(this.#part("says"), shows.says);
  }

  #part(name) {
    return this.card.querySelector(`.${name}`);
  }
}

/** How a user is here; who is unknown is offline. */
export function stateOf(presence, user) {
  return presence.users.get(user)?.state ?? "offline";
}

/** A state as a dot: a shape of its own for each, with the word for who can't see it. */
export function dot(state) {
  const element = document.createElement("span");
  element.className = "dot";
  element.setAttribute("role", "img");
  paint(element, state);
  return element;
}

/** Shows a state by a dot that there is. */
export function paint(element, state) {
  if (element.dataset.state === state) return;
  element.dataset.state = state;
  element.title = state;
  element.setAttribute("aria-label", state);
}

/** Sets a text only if it is another: a live region would speak again. */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** What to say of a conversation's other people: {state, words, says}, or null if there is nothing. */
function company(conversation, { presence, session }, directory) {
  const peer = directory.peer(conversation);
  if (peer) return person(presence.users.get(peer));
  const others = (directory.members(conversation) ?? []).filter((user) => user !== session.user);
  if (!others.length || others.length >= MEMBERS) return null;
  const here = others.filter((user) => stateOf(presence, user) !== "offline");
  const names = here.slice(0, 3).map(directory.nameOf).join(", ");
  return { state: crowd(here, presence), words: `${here.length} of ${others.length} here`, says: names + (here.length > 3 ? " …" : "") };
}

function crowd(here, presence) {
  if (here.some((user) => stateOf(presence, user) === "online")) return "online";
  return here.length ? "away" : "offline";
}

function person({ state, text = "", last_seen: lastSeen } = { state: "offline" }) {
  return { state, words: state === "offline" && lastSeen ? `last seen ${moment(lastSeen)}` : state, says: text };
}

function moment(at) {
  const isToday = new Date(at).toDateString() === new Date().toDateString();
  return isToday ? `at ${clock.format(at)}` : date.format(at);
}

function typing(names) {
  if (names.length > 2) return "Several people are typing…";
  if (names.length === 2) return `${names[0]} and ${names[1]} are typing…`;
  return names.length ? `${names[0]} is typing…` : "";
}

/** What the user has told the others, for their own eyes. */
function mine({ text = "", invisible = false } = {}) {
  return [invisible && "invisible", text].filter(Boolean).join(" · ");
}
