/** One device on screen: its header, conversations, thread and composer around a `Client`. */

import { Composer } from "./composer.js";
import { Directory, PAGE } from "./directory.js";
import { Drafts } from "./drafts.js";
import { End } from "./end.js";
import { Here } from "./here.js";
import { List } from "./list.js";
import { Client, LocalStore } from "./lockstep.js";
import { Previews } from "./previews.js";
import { Backoff } from "./reconnect.js";
import { isForNow } from "./rest.js";
import { unread } from "./standing.js";
import { askFirst } from "./sure.js";
import { rows, thread } from "./thread.js";
import { listenToTools } from "./tools.js";
import { walkByKey } from "./walk.js";

const PHASES = {
  open: "Live",
  connecting: "Connecting",
  greeting: "Connecting",
  waiting: "Reconnecting",
  closed: "Cut off",
  stopped: "Signed out",
};
const LEFT = "You are not in this conversation any more";
const SIGNED_OUT = "This device is signed out";
const CONFLICT = "That message was changed elsewhere meanwhile. It is shown as it is now; change it again if you still want to.";

export class Pane {
  #drawing = false;
  #loaded = false;
  #again = null; // timer of what REST refused for now
  #trouble = ""; // what it said
  #backoff = new Backoff(Math.random);
  #looked = new Set(); // conversations shown on this connection
  #turned = {}; // {conversation, since}: what is on screen, and the newest change of it when it came there

  /** `record` is what the page keeps of the device: {key, token, user, username, name, isCut, selected}. */
  constructor(record, { templates, desk }) {
    Object.assign(this, { record, desk, isActive: false });
    this.element = templates.pane.content.firstElementChild.cloneNode(true);
    this.store = new LocalStore(record.key);
    this.client = new Client({ token: record.token, store: this.store });
    this.directory = new Directory(this.client, () => this.refresh());
    this.directory.names.set(record.user, record.username);
    this.composer = new Composer(this.element, {
      client: this.client,
      conversation: () => this.conversation,
      drafts: new Drafts(record.key),
      mostBytes: desk.mostBytes,
      template: templates.file,
      sent: () => this.end.go(),
      tell: (problem) => this.notice(problem),
    });
    this.composer.turn(record.selected);
    this.end = new End(this.part("thread"), { button: this.part("newer"), changed: () => this.refresh() });
    this.here = new Here(this.element);
    this.list = new List(this.part("list").querySelector("ul"));
    this.previews = new Previews(this.part("thread"), this.client);
    const preview = (button, file) => this.previews.watch(button, file);
    this.thread = thread(this.part("messages"), { template: templates.message, preview });
    this.#dress();
    this.#listen();
    if (!record.isCut) this.client.connect();
    this.refresh();
  }

  part(name) {
    return this.element.querySelector(`.${name}`);
  }

  get conversation() {
    return this.client.conversations.get(this.record.selected) ?? null;
  }

  /** The newest change this device has of its conversation, and the newest it has heard of. */
  get progress() {
    const { cursor, lastSeq } = this.conversation ?? {};
    return { conversation: this.record.selected, cursor: cursor ?? 0, last: Math.max(lastSeq ?? 0, cursor ?? 0) };
  }

  /** Draws once before the next frame, however much has changed. */
  refresh() {
    if (this.#drawing) return;
    this.#drawing = true;
    setTimeout(() => {
      this.#drawing = false;
      this.#draw();
    });
  }

  /** The pane in use marks as read what it shows while somebody is there, and speaks to screen readers; the others stay quiet. */
  activate(isActive) {
    this.isActive = isActive;
    this.element.classList.toggle("active", isActive);
    for (const name of ["thread", "typing"]) this.part(name).setAttribute("aria-live", isActive ? "polite" : "off");
    this.refresh();
  }

  /** Revokes the device and forgets it. Throws if the server can't be told; then the device stays. */
  async logout() {
    const { device } = this.client.session;
    const isKnown = device && this.client.phase !== "stopped";
    this.client.disconnect();
    try {
      if (isKnown) await this.client.request(`/devices/${device}`, { method: "DELETE" });
    } catch (error) {
      const isRevoked = error.status === 401; // by another device, and this one had not heard of it
      if (!isRevoked && !this.record.isCut) this.client.connect();
      if (!isRevoked) throw error;
    }
    this.forget();
  }

  /** Takes the device off the page, with everything that the browser has of it. */
  forget() {
    this.client.close();
    this.composer.forget();
    this.store.clear();
    this.element.remove();
  }

  select(id) {
    this.composer.turn(id);
    this.record.selected = id;
    this.desk.save(this);
    this.end.go();
    this.refresh();
  }

  notice = (text) => {
    this.part("notice").hidden = !text;
    this.part("notice").textContent = text;
  };

  warn() {
    this.notice("This browser's storage is full: what waits would be lost with the tab.");
  }

  // -- what the user does

  #dress() {
    const { username, name, key, isCut } = this.record;
    this.element.classList.add(`hue-${[...username].reduce((sum, letter) => sum + letter.codePointAt(0), 0) % 6}`);
    this.element.dataset.device = key;
    this.part("user").textContent = username;
    this.part("device").textContent = name;
    this.part("letter").textContent = [...username][0].toUpperCase();
    this.part("user").id = `user-${key}`;
    this.part("device").id = `device-${key}`;
    this.element.setAttribute("aria-labelledby", `user-${key} device-${key}`);
    this.part("label").textContent = `Connection of ${username}, ${name}`;
    this.part("switch").querySelector("input").checked = !isCut;
  }

  #listen() {
    const { client } = this;
    client.addEventListener("change", ({ detail }) => this.#changed(detail));
    client.addEventListener("refused", ({ detail }) => this.#refused(detail));
    client.addEventListener("problem", ({ detail }) => this.notice(detail.message));
    client.addEventListener("warning", () => this.warn());
    this.element.addEventListener("pointerdown", () => this.desk.activate(this), true);
    this.element.addEventListener("focusin", () => this.desk.activate(this));
    this.part("switch").addEventListener("change", ({ target }) => this.#connect(target.checked));
    this.part("avatar").addEventListener("click", () => this.desk.status.open(this));
    askFirst(this.part("logout"), { question: () => this.#leaveQuestion(), deed: () => this.desk.remove(this) });
    this.part("start").addEventListener("click", () => this.desk.talk(this));
    this.part("list").addEventListener("click", ({ target }) => {
      const button = target.closest("[data-conversation]");
      if (button) this.select(button.dataset.conversation);
    });
    this.part("earlier").addEventListener("click", () => this.#earlier());
    listenToTools(this.part("messages"), this);
    walkByKey(this.part("thread"), this.part("messages"));
  }

  #leaveQuestion() {
    const waiting = this.client.outbox.length + this.composer.going;
    return waiting ? `Drop ${waiting} waiting and log out?` : "Log out?";
  }

  #connect(isOn) {
    this.record.isCut = !isOn;
    this.desk.save(this);
    if (isOn) this.client.connect();
    else this.client.disconnect();
  }

  async #earlier() {
    const { conversation } = this;
    const thread = this.part("thread");
    await this.#ask(this.directory.loadEarlier(conversation));
    if (conversation !== this.conversation) return;
    const fromEnd = thread.scrollHeight - thread.scrollTop; // wherever the user is by now
    this.#draw();
    thread.scrollTop = thread.scrollHeight - fromEnd;
    if (this.part("earlier").hidden) thread.focus({ preventScroll: true }); // the button in use is gone
  }

  // -- what the client tells

  #changed(heardOf) {
    if (heardOf.has("welcome")) {
      this.#backoff.attempts = 0;
      this.#inform();
    }
    if (heardOf.has("conversation")) this.#ask(this.directory.load());
    this.refresh();
    this.desk.progressed();
  }

  /** Asks for what comes by REST; what else the screen needs is asked for when it is drawn. */
  async #inform() {
    this.#looked.clear();
    this.directory.restart();
    await this.#ask(this.directory.load().then(() => this.#heal()));
    this.#loaded = true;
    if (!this.conversation) this.select(this.#favourite());
  }

  /** The conversation with somebody, if there is one. */
  #favourite() {
    const all = [...this.client.conversations.values()];
    return (all.find(({ kind }) => kind === "direct") ?? all.find(({ kind }) => kind === "group") ?? all[0])?.id ?? null;
  }

  #refused({ entry, error }) {
    const known = this.client.conversations.get(entry.conversation);
    const where = known && known !== this.conversation ? `${this.directory.title(known)}: ` : "";
    this.composer.giveBack(entry, error);
    this.notice(where + (error.code === "conflict" ? CONFLICT : error.message));
  }

  /** Waits for a REST answer; the sentence of a refusal goes to the user, and what was refused for now is asked for again. */
  async #ask(answer) {
    try {
      return await answer;
    } catch (error) {
      if (this.client.phase !== "open") return; // the next session asks
      this.notice((this.#trouble = error.message));
      if (isForNow(error)) this.#again ??= setTimeout(() => this.#askAgain(), this.#backoff.wait({ reconnect_after: error.retryAfter }));
    }
  }

  #askAgain() {
    this.#again = null;
    if (this.client.phase === "open") this.#inform();
  }

  /** REST answers again: what it said in its trouble holds no more. */
  #heal() {
    if (this.part("notice").textContent === this.#trouble) this.notice("");
  }

  // -- drawing

  #draw() {
    const { conversation, client, directory } = this;
    this.#drawState();
    this.here.draw({ client, directory, conversation });
    this.desk.status.refresh(this);
    this.list.draw({ client, directory, selected: this.record.selected });
    this.#trim();
    if (conversation) {
      this.#drawThread(conversation);
      this.#look(conversation);
    }
    this.part("queue").textContent = client.outbox.length ? `${client.outbox.length} waiting` : "";
    this.drawCounter();
  }

  /** What nobody looks at is let go: a tab is open for days. */
  #trim() {
    for (const one of this.client.conversations.values()) if (one !== this.conversation || this.end.isInSight) one.trim();
  }

  #drawState() {
    const { phase, session } = this.client;
    const state = this.part("state");
    if (this.element.dataset.phase === phase) return;
    this.element.dataset.phase = phase;
    state.textContent = PHASES[phase];
    state.title = session.reason;
    if (phase === "stopped") this.notice(session.reason);
  }

  #drawThread(conversation) {
    const { directory, client } = this;
    if (this.#turned.conversation !== conversation) this.#turned = { conversation, since: conversation.cursor ?? 0 };
    const roster = directory.roster(conversation);
    const shown = rows({ ...this.#turned, outbox: client.outbox, session: client.session, roster, nameOf: directory.nameOf });
    this.thread.draw(shown);
    this.previews.look();
    this.part("nothing").hidden = shown.length > 0 || !this.#loaded;
    this.part("earlier").hidden = !(conversation.floor > 1) || !shown.length;
    this.#allow(conversation);
    this.end.follow();
    this.end.draw(unread(conversation, client.session.user));
  }

  /** What can't be sent any more stays in the field, to be copied. */
  #allow({ left }) {
    const why = this.client.phase === "stopped" ? SIGNED_OUT : left === null ? "" : LEFT;
    this.composer.allow(!why, why);
  }

  /** What follows from a conversation being on screen: it is read, and what else the screen needs is asked for. */
  #look(conversation) {
    const { client, directory } = this;
    const isUnread = conversation.left === null && conversation.read < (conversation.cursor ?? 0);
    const isSeen = this.isActive && this.end.isInSight && this.desk.attention.state === "online";
    if (isUnread && isSeen) client.read({ conversation: conversation.id });
    if (client.phase !== "open" || !this.#loaded || conversation.left !== null) return;
    const isFirst = !this.#looked.has(conversation.id);
    this.#looked.add(conversation.id);
    if (isFirst && conversation.floor !== 0 && conversation.visible().length < PAGE) this.#ask(directory.loadEarlier(conversation));
    if (isFirst || directory.hasStranger(conversation)) this.#ask(directory.loadRoster(conversation));
    this.#ask(directory.loadNames(conversation));
    this.#ask(directory.loadMembers(conversation));
  }

  /** Shows how far this device is; `newest` is the newest change that any device of the page has seen. */
  drawCounter() {
    const { cursor, conversation } = this.progress;
    const behind = Math.max(0, this.desk.newest(conversation) - cursor);
    this.element.classList.toggle("behind", behind > 0);
    const text = conversation ? `change ${cursor} of ${cursor + behind}${behind ? ` · ${behind} behind` : ""}` : "";
    if (this.part("counter").textContent !== text) this.part("counter").textContent = text;
  }
}
