/**
 * Where a message is written or edited: the text field of one device, its files, its keys, and what they mean.
 *
 * Law: what somebody wrote or chose is not lost. What the field has no room for waits in its conversation: a draft while the
 * user is elsewhere or edits, what was refused, and what goes out by itself as soon as its files are uploaded. Its texts are kept
 * over a reload (drafts.js).
 */

import { Tray, takeFiles } from "./tray.js";
import { Uploads } from "./uploads.js";

const MOST_FILES = 10; // of a message, as the server takes them
const IN_USE = 229; // code of a key that an input method takes (UI Events, section 7.3.1)

export class Composer {
  #editing = null; // {message, version}: what is being changed, as it was when that began
  #isGoing = false; // what is in the field goes out as soon as its files are there
  #isAllowed = true;
  #shown = null; // the conversation whose text is in the field
  #waiting; // conversation -> what comes into its field next: [{body, message, version, files, isGoing}]
  #sent = new Map(); // client_id -> the files of a message that is not answered yet

  /** `conversation` gives the one on screen, or null; `sent` is called after a message or an edit went out, `tell` with what hinders it, or "". */
  constructor(card, { client, conversation, drafts, mostBytes, template, sent, tell }) {
    this.element = card.querySelector(".composer");
    Object.assign(this, { client, conversation, drafts, sent, tell });
    this.#waiting = drafts.load();
    const find = (selector) => this.element.querySelector(selector);
    this.text = find("textarea");
    this.uploads = new Uploads(client, { most: mostBytes, changed: () => this.#moved() });
    this.tray = new Tray(find(".tray"), { uploads: this.uploads, template, changed: () => this.#decided() });
    takeFiles({ card, text: this.text, button: find(".attach"), chooser: find(".chooser") }, (files) => this.#attach(files));
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    find(".send").addEventListener("click", (event) => {
      if (event.detail > 1) event.preventDefault(); // of a double click: the next draft may be in the field by now
      this.text.focus(); // or the keyboard of a phone would fold away
    });
    find(".cancel").addEventListener("click", () => this.#stop());
    this.text.addEventListener("input", () => this.#typed());
    this.text.addEventListener("keydown", (event) => this.#pressed(event));
    client.addEventListener("confirmed", ({ detail }) => this.#taken(detail.entry));
  }

  /** Messages that go out as soon as their files are there. */
  get going() {
    const waiting = [...this.#waiting.values()].flat().filter(({ isGoing }) => isGoing);
    return waiting.length + (this.#isGoing ? 1 : 0);
  }

  /** Whether files are here that no message has yet: they would be gone with the tab. */
  get hasFiles() {
    return this.tray.items.length > 0 || [...this.#waiting.values()].flat().some(({ files = [] }) => files.length);
  }

  /** The user turns to this conversation: what is in the field waits in the other one. Call it before the screen does. */
  turn(conversation) {
    if (conversation === this.#shown) return;
    if (this.text.value) this.#say(false);
    if (this.#shown) this.#putBy();
    const isKept = this.#shown === null && !this.#isEmpty; // it was written before there was a conversation
    this.#shown = conversation;
    if (!isKept) this.#next();
  }

  /** The device is logged out: nothing that was begun on it is kept. */
  forget() {
    this.#shown = null;
    this.drafts.clear();
  }

  /** Whether the user may write in the conversation on screen; `why` not, if not. */
  allow(isAllowed, why = "") {
    this.#isAllowed = isAllowed;
    this.text.placeholder = isAllowed ? "Message" : why;
    this.#lock();
  }

  /** Puts a message's text into the field, to be changed. */
  edit(message) {
    const { body, version } = this.#known(message);
    this.#putBy();
    this.#put({ body, message, version });
    this.text.focus();
  }

  /** Gives what was refused, a text with its files or the change of a message, back to its conversation. */
  giveBack({ id, conversation, frame: { body, message } }, { code }) {
    const files = this.#sent.get(id) ?? [];
    this.#sent.delete(id);
    if (!body && !files.length) return;
    if (code === "no_such_attachment") for (const item of files) this.uploads.repeat(item);
    this.#waiting.set(conversation, [...(this.#waiting.get(conversation) ?? []), { body, message, files }]);
    if (conversation === this.#shown && this.#isEmpty && !this.#editing) this.#next();
    this.#keepTexts();
  }

  get #isEmpty() {
    return !this.text.value && !this.tray.items.length;
  }

  #pressed(event) {
    if (event.isComposing || event.keyCode === IN_USE) return; // Safari tells of the end before the key that brought it
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      if (!event.repeat) this.#submit(); // the next draft may be in the field by now
    }
    if (event.key === "Escape") this.#stop();
    if (event.key === "ArrowUp" && !this.text.value) this.#editNewest(event);
  }

  #typed() {
    this.#grow();
    this.#keepTexts();
    if (!this.#editing) this.#say(this.text.value !== "");
  }

  #say(typing) {
    const conversation = this.conversation();
    if (conversation) this.client.typing({ conversation: conversation.id, typing });
  }

  /** Lets a message be that waits for its files, or one that is being edited. */
  #stop() {
    if (this.#isGoing) this.#go(false);
    else if (this.#editing) this.#next();
    this.text.focus();
  }

  // -- sending

  #submit() {
    const draft = { ...this.#editing, body: this.text.value, files: this.tray.items };
    if (this.text.readOnly || !this.conversation() || !(draft.body.trim() || draft.files.length)) return;
    const refused = draft.files.find(({ state }) => state === "refused");
    this.tell(refused ? `Nothing was sent: remove ${refused.name}, or try it again.` : "");
    if (refused) return;
    if (!draft.files.every(isThere)) return this.#go(true);
    if (!this.#send(this.#shown, draft)) return;
    this.#next();
    this.sent();
  }

  #decided() {
    this.#moved();
    this.text.focus();
  }

  /** Hands a draft to the client. Returns whether that took it; if not, the user is told why. */
  #send(conversation, { body: text, message, version, files }) {
    const body = text.trim();
    try {
      if (message) this.client.edit({ conversation, message, baseVersion: version, body });
      else this.#keep(this.client.send({ conversation, body, attachments: files.map(({ stored }) => stored) }), files);
      return true;
    } catch (error) {
      this.tell(error.message); // the text stays where it is
      return false;
    }
  }

  /** The files of a message are here until it is answered, to be sent anew if it is refused. */
  #keep(id, files) {
    if (files.length) this.#sent.set(id, files);
  }

  #taken({ id }) {
    for (const item of this.#sent.get(id) ?? []) this.uploads.remove(item);
    this.#sent.delete(id);
  }

  /** Whether what is in the field goes out by itself; nobody changes it meanwhile. */
  #go(isGoing) {
    this.#isGoing = isGoing;
    this.#lock();
    this.#drawLine();
  }

  #lock() {
    this.text.readOnly = !this.#isAllowed || this.#isGoing;
    this.element.classList.toggle("going", this.#isGoing);
    for (const button of this.element.querySelectorAll(".send, .attach")) button.disabled = this.text.readOnly;
  }

  // -- files

  #attach(files) {
    if (!files.length) return;
    if (this.#isGoing) return this.tell("Another message waits for its files; cancel it, or wait until it is out.");
    if (!this.#isAllowed) return this.tell(`${this.text.placeholder}.`);
    if (this.#editing) return this.tell("An edit takes no files; save or cancel it first.");
    const room = MOST_FILES - this.tray.items.length;
    this.tell(files.length > room ? `A message takes ${MOST_FILES} files; send the others with the next one.` : "");
    this.tray.add(files.slice(0, room));
    this.text.focus();
  }

  /** Files have got on: what waited for them goes out, or stays as a draft if one was refused. */
  #moved() {
    this.tray.draw();
    for (const [conversation, drafts] of this.#waiting)
      this.#waiting.set(conversation, drafts.filter((draft) => !this.#goesOut(conversation, draft)));
    this.#keepTexts();
    if (!this.#isGoing || !isDecided(this.tray.items)) return;
    this.#go(false);
    this.#submit();
  }

  #goesOut(conversation, draft) {
    if (!draft.isGoing || !isDecided(draft.files)) return false;
    draft.isGoing = false;
    if (draft.files.every(isThere)) return this.#send(conversation, draft);
    this.tell(draft.files.find(({ state }) => state === "refused").problem);
    return false;
  }

  // -- what is in the field, and what waits for it

  #editNewest(event) {
    const { outbox, session } = this.client;
    const isChanging = (id) => outbox.some(({ frame }) => frame.message === id);
    const isMine = ({ id, user, deleted, kind = "text" }) => user === session.user && !deleted && kind === "text" && !isChanging(id);
    const newest = !this.text.readOnly && this.conversation()?.visible().findLast(isMine);
    if (!newest) return;
    event.preventDefault();
    this.edit(newest.id);
  }

  /** What is in the field waits until it is empty again. */
  #putBy() {
    this.#waiting = this.#begun();
  }

  #keepTexts() {
    if (this.#shown) this.drafts.save(this.#begun());
  }

  /** What waits, and before it what is in the field; of that an edit only if it has changed anything. */
  #begun() {
    const draft = { ...this.#editing, body: this.text.value, files: this.tray.items, isGoing: this.#isGoing };
    const isBegun = draft.files.length || (draft.body.trim() && draft.body !== this.#known(draft.message)?.body);
    const waiting = this.#waiting.get(this.#shown) ?? [];
    return isBegun ? new Map(this.#waiting).set(this.#shown, [draft, ...waiting]) : this.#waiting;
  }

  /** Empties the field for what waits. */
  #next() {
    const [next = { body: "" }, ...rest] = this.#waiting.get(this.#shown) ?? [];
    this.#waiting.set(this.#shown, rest);
    this.#put(next);
  }

  /** What changes a message that is gone by now is a text of its own; what was refused is about the message as it is now. */
  #put({ body, message, version, files = [], isGoing = false }) {
    const known = this.#known(message);
    const base = version ?? known?.version;
    this.#editing = base && !known?.deleted ? { message, version: base } : null;
    this.text.value = body;
    this.tray.put(files);
    this.#go(isGoing);
    this.#grow();
    this.#keepTexts();
  }

  #drawLine() {
    const line = this.element.querySelector(".doing");
    line.hidden = !this.#editing && !this.#isGoing;
    line.querySelector("span").textContent = this.#isGoing ? "Goes out when its files are uploaded" : "Editing a message";
  }

  #known(message) {
    return this.client.conversations.get(this.#shown)?.messages.get(message);
  }

  #grow() {
    const { text } = this;
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight + text.offsetHeight - text.clientHeight}px`;
  }
}

function isThere({ state }) {
  return state === "there";
}

/** Whether every file is there, or was refused. */
function isDecided(files) {
  return files.every(({ state }) => state === "there" || state === "refused");
}
