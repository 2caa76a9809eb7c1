/** The desk: which devices this window has, who is in use, the dialogs they share. Each device is a `Pane`. */

import { Attention } from "./attention.js";
import { newId, register } from "./lockstep.js";
import { Pane } from "./pane.js";
import { Status } from "./status.js";
import { hasFiles } from "./tray.js";

const KEPT = "lockstep.devices"; // localStorage: the devices of this window, with their tokens
const DEMO_PASSWORD = "lockstep"; // of the demo logins, which exist in development only
const DEVICE_NAMES = ["Laptop", "Phone", "Tablet", "Desktop", "Watch"];

const find = (selector) => document.querySelector(selector);
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });

class Desk {
  constructor() {
    this.element = find(".desk");
    this.templates = { pane: find("#pane"), message: find("#message"), file: find("#file") };
    this.mostBytes = Number(document.body.dataset.fileBytes);
    this.panes = [];
    this.status = new Status(find("#status"));
    this.attention = new Attention();
    this.attention.addEventListener("change", () => {
      this.#attend(this.panes);
      this.active?.refresh();
    });
  }

  /** Brings back the devices of the last visit; on the first visit opens one for each demo login. */
  async open() {
    if (isStorageBlocked()) {
      find(".blocked").hidden = false;
      return;
    }
    const isFirst = localStorage.getItem(KEPT) === null;
    for (const record of kept()) this.#place(record);
    if (!isFirst || !demoUsers().length) return this.#arranged();
    for (const username of demoUsers()) await this.addDemo(username);
    if (this.panes.length > 1) await this.#meet(...this.panes);
  }

  /** Puts two devices into the conversation of their users. */
  async #meet(one, other) {
    const conversation = await one.directory.open(other.record.user);
    await other.directory.load();
    for (const pane of [one, other]) pane.select(conversation);
  }

  /** Registers a device for a demo login. */
  addDemo(username) {
    const count = this.panes.filter(({ record }) => record.username === username).length;
    const name = DEVICE_NAMES[count] ?? `Device ${count + 1}`;
    return this.add({ username, password: DEMO_PASSWORD, name }).catch((error) => this.login(error.message));
  }

  /** Logs in, registers a new device and places it. Throws what the server refuses. */
  async add({ username, password, name }) {
    const key = newId();
    const { token, user } = await register({ username, password, installation: key, name, platform: "web" });
    const record = { key, token, user, username, name, isCut: false, selected: null };
    this.#place(record);
    this.#keep([...kept(), record]);
    this.#arranged();
  }

  async remove(pane) {
    await pane.logout().catch((error) => pane.notice(error.message));
    if (pane.element.isConnected) return;
    this.panes = this.panes.filter((one) => one !== pane); // it may have been removed twice, by a key that was held
    this.#keep(kept().filter(({ key }) => key !== pane.record.key));
    this.#arranged();
  }

  /** The pane in use. */
  activate(pane) {
    if (this.active === pane) return;
    this.active?.activate(false);
    this.active = pane;
    pane.activate(true);
  }

  /** Keeps what has changed of a device, unless another tab has logged it out. */
  save({ record }) {
    const isThis = ({ key }) => key === record.key;
    if (kept().some(isThis)) this.#keep(kept().map((one) => (isThis(one) ? record : one)));
  }

  /** Another tab has logged devices out: this one has nothing of them any more, either. */
  drop(gone) {
    for (const pane of this.panes.filter(({ record }) => gone.has(record.key))) {
      pane.forget();
      this.panes.splice(this.panes.indexOf(pane), 1);
    }
    this.#arranged();
  }

  /** The list is that of all tabs: whoever changes it reads it first. */
  #keep(records) {
    try {
      localStorage.setItem(KEPT, JSON.stringify(records));
    } catch {
      for (const pane of this.panes) pane.warn();
    }
  }

  /** The newest change of a conversation that any device of this window knows of. */
  newest(conversation) {
    const heard = this.panes.map(({ client }) => client.conversations.get(conversation));
    return Math.max(0, ...heard.map((known) => Math.max(known?.cursor ?? 0, known?.lastSeq ?? 0)));
  }

  progressed() {
    for (const pane of this.panes) pane.drawCounter();
  }

  // -- dialogs

  login(problem = "") {
    const dialog = find("#login");
    tell(dialog, problem);
    if (!dialog.open) dialog.showModal();
  }

  async submitLogin(form) {
    const submit = form.querySelector("[type=submit]");
    submit.disabled = true; // or a second click would add a second device
    try {
      await this.add(Object.fromEntries(new FormData(form)));
      form.reset();
      find("#login").close();
    } catch (error) {
      tell(find("#login"), error.message);
    } finally {
      submit.disabled = false;
    }
  }

  talk(pane) {
    this.talker = pane;
    tell(find("#talk"), "");
    find("#talk").showModal();
    find("#talk form").reset();
    this.search("");
  }

  async search(text) {
    const pane = this.talker;
    const answer = await pane.directory.people(text).catch(({ message: problem }) => ({ problem }));
    if (text !== find("#talk input").value) return; // an older answer
    tell(find("#talk"), answer.problem);
    const others = (answer.problem ? [] : answer).filter(({ user }) => user !== pane.client.session.user);
    find("#talk .found").replaceChildren(...others.map(({ user, username }) => this.#person(user, username)));
    find("#talk .nobody").textContent = text.trim() && !answer.problem && !others.length ? "Nobody else has such a name." : "";
  }

  #person(user, username) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = username;
    button.addEventListener("click", () => this.#start(user));
    item.append(button);
    return item;
  }

  async #start(user) {
    try {
      this.talker.select(await this.talker.directory.open(user));
      find("#talk").close();
    } catch (error) {
      tell(find("#talk"), error.message);
    }
  }

  /** Says beside the ticks who has a message; once that is answered nobody may want to know it any more. */
  async showReceipts(pane, message, button) {
    const answer = pane.directory.receipts(pane.conversation, message);
    this.asked = answer;
    this.#showReceipts(pane, { summary: "Asking…" }, button);
    const told = await answer.catch(({ message: summary }) => ({ summary }));
    if (this.asked === answer && find("#receipts").matches(":popover-open")) this.#showReceipts(pane, told, button);
  }

  #showReceipts({ directory }, { summary, marks }, button) {
    const box = find("#receipts");
    const heading = document.createElement("p");
    heading.textContent = summary;
    const list = document.createElement("ul");
    list.append(...(marks ?? []).map((mark) => receipt(mark, `${directory.nameOf(mark.user)}, ${this.deviceName(mark)}`)));
    box.replaceChildren(heading, list);
    box.togglePopover(true);
    place(box, button);
  }

  /** A device by the name it has in this window, or by the end of its id. */
  deviceName({ device }) {
    const here = this.panes.find(({ client }) => client.session.device === device);
    return here?.record.name ?? `device …${device.slice(-4)}`;
  }

  /** Says on these devices whether somebody is at the window. */
  #attend(panes) {
    for (const { client } of panes) client.setPresence({ state: this.attention.state });
  }

  #place(record) {
    const pane = new Pane(record, { templates: this.templates, desk: this });
    if (this.attention.state === "away") this.#attend([pane]);
    this.panes.push(pane);
    this.element.append(pane.element);
  }

  #arranged() {
    this.element.dataset.count = this.panes.length;
    find(".empty").hidden = this.panes.length > 0;
  }
}

/** The devices of this browser, those of its other tabs among them. */
function kept() {
  return JSON.parse(localStorage.getItem(KEPT) ?? "[]");
}

function keys(records) {
  return new Set(JSON.parse(records ?? "[]").map(({ key }) => key));
}

function isStorageBlocked() {
  try {
    return !localStorage;
  } catch {
    return true; // by the browser's settings: even to look is refused
  }
}

function demoUsers() {
  return document.body.dataset.demo.split(" ").filter(Boolean);
}

function tell(dialog, problem) {
  dialog.querySelector(".problem").hidden = !problem;
  dialog.querySelector(".problem").textContent = problem;
}

function receipt({ delivered, read, delivered_at, read_at }, who) {
  const item = document.createElement("li");
  const at = read ? read_at : delivered_at;
  item.dataset.ticks = read ? "read" : delivered ? "delivered" : "stored";
  item.textContent = `${who}: ${read ? "read" : delivered ? "delivered" : "on its way"}${at ? ` by ${clock.format(at)}` : ""}`;
  return item;
}

/** Puts a box above a button, inside the window. */
function place(box, button) {
  const spot = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = box;
  const above = spot.top - height - 8;
  box.style.left = `${Math.max(8, Math.min(spot.right - width, innerWidth - width - 8))}px`;
  box.style.top = `${above > 8 ? above : spot.bottom + 8}px`;
}

const desk = new Desk();

for (const button of document.querySelectorAll("[data-add]"))
  button.addEventListener("click", () => desk.addDemo(button.dataset.add));
for (const button of document.querySelectorAll("[data-login]")) button.addEventListener("click", () => desk.login());
for (const button of document.querySelectorAll("[data-close]"))
  button.addEventListener("click", () => button.closest("dialog").close());
find("#login form").addEventListener("submit", (event) => {
  event.preventDefault();
  desk.submitLogin(event.target);
});
find("#talk input").addEventListener("input", ({ target }) => desk.search(target.value));
find("#talk form").addEventListener("submit", (event) => event.preventDefault());
addEventListener("storage", ({ key, oldValue, newValue }) => {
  if (key === KEPT) desk.drop(keys(oldValue).difference(keys(newValue)));
});
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => hasFiles(event) && event.preventDefault()); // beside a card it would take the page's place
addEventListener("beforeunload", (event) => desk.panes.some(({ composer }) => composer.hasFiles) && event.preventDefault());

desk.open();
