/**
 * Lockstep's client for browsers, without dependencies: log in, register the device, then
 *
 *     const client = new Client({ token, store: new LocalStore(`my-app ${user}`) });
 *     client.addEventListener("change", () => draw(client.conversations));
 *     client.connect();
 *     client.send({ conversation, body: "hello" });   // also while offline
 *     client.setPresence({ state: "away", text: "at lunch" });   // and client.presence.users for the others
 *
 * `Client` waits and never decides: it pumps a `Session` (session.js) between a WebSocket, the clock and a store (store.js).
 */

import { check, request, upload } from "./rest.js";
import { Session } from "./session.js";
import { MemoryStore } from "./store.js";

export { Conversation } from "./conversation.js";
export { ApiError, request } from "./rest.js";
export { Session, newId } from "./session.js";
export { LocalStore, MemoryStore } from "./store.js";

export const PROTOCOL = "lockstep.v1.json";

const utf8 = new TextEncoder();

/** Logs in and registers this installation; returns {device, token, user}. The token is shown once: keep it. */
export async function register({ username, password, installation, name, platform = "web" }) {
  const { login } = await request("/login", { method: "POST", body: { username, password } });
  const body = { installation, name, platform };
  return request("/devices", { method: "POST", body, authorization: `Login ${login}` });
}

/**
 * One device, connected. Events: `change` after anything moved (detail: the types of frames heard), `confirmed` for a request
 * that the server took (detail: {entry}), `refused` for one it never will (detail: {entry, error}), `problem` when it refused
 * presence or a watch list for good (detail: the error), `warning` when the store can't keep something (detail: the error).
 */
export class Client extends EventTarget {
  #socket = null;
  #timer = null;

  constructor({ token, url = "/ws/", store = new MemoryStore(), patience = {} }) {
    super();
    this.url = new URL(url, globalThis.location?.href);
    this.url.protocol = this.url.protocol.replace("http", "ws");
    this.token = token;
    this.store = store;
    this.session = new Session({ token, saved: store.load() ?? {}, patience });
    globalThis.addEventListener?.("online", this.#hurry);
    globalThis.document?.addEventListener("visibilitychange", this.#hurry);
  }

  get phase() {
    return this.session.phase;
  }

  /** By their ids; each holds all messages that came until its `trim` is called. */
  get conversations() {
    return this.session.conversations;
  }

  get outbox() {
    return this.session.outbox.entries;
  }

  /** How users are: {users: Map(user -> {state, text?, until?, last_seen?, …}), stale}. Who is not in it is offline, as far as one can know. */
  get presence() {
    return this.session.presence;
  }

  /** The other users who are typing in a conversation. */
  typists(conversation) {
    return this.session.typists.of(conversation);
  }

  connect() {
    this.#do((session, now) => session.connect(now));
  }

  disconnect() {
    this.#do((session) => session.disconnect());
  }

  /** Ends for good: closes the socket and lets go of the page. What is stored stays. */
  close() {
    this.disconnect();
    globalThis.removeEventListener?.("online", this.#hurry);
    globalThis.document?.removeEventListener("visibilitychange", this.#hurry);
    this.#keep(() => this.store.flush());
  }

  /** Queues a message {conversation, body, kind?, replyTo?, attachments?: what `upload` gave, or ids}; returns its client_id. */
  send(message) {
    return this.#do((session, now) => session.send(message, now));
  }

  /**
   * Queues an edit {message, body}, of the message as it is known now or, by {conversation, baseVersion}, as it was when the user
   * began; returns its client_id. Throws if this device does not have the message.
   */
  edit(change) {
    return this.#do((session, now) => session.edit(change, now));
  }

  /** Queues a deletion {message}; returns its client_id. Throws if this device does not have the message. */
  remove(change) {
    return this.#do((session, now) => session.remove(change, now));
  }

  /** Marks a conversation as read {conversation, upto?}. */
  read(mark) {
    this.#do((session, now) => session.read(mark, now));
  }

  /** Says how the user is here {state?, text?, until?, invisible?}; kept over reconnects. Throws RangeError if the text can't be stored. */
  setPresence(fields) {
    this.#do((session, now) => session.setPresence(fields, now));
  }

  /** Watches exactly these users (ids), besides those whom the server shows anyway; kept over reconnects. */
  watch(users) {
    this.#do((session, now) => session.watch({ users }, now));
  }

  /** Says that the user pressed a key in a conversation, or gave the draft up {conversation, typing?}. Call it for every key. */
  typing(about) {
    this.#do((session, now) => session.typing(about, now));
  }

  /** Asks for the newest changes and marks of a conversation. */
  sync(conversation) {
    this.#do((session) => session.sync({ conversation }));
  }

  /** Adds older messages or a conversation that came over REST: the newest state of each wins. */
  merge(conversation) {
    this.#do((session) => session.merge(conversation));
  }

  /**
   * Uploads a File or Blob; returns {id, name, size, type, sha256}, for `attachments` of one message within a day. `progress` is told
   * the share that has left, from 0 to 1; an AbortSignal ends it. A repeat is another file: what no message takes, goes.
   */
  upload(file, { name, progress, signal } = {}) {
    return upload(file, { name, progress, signal, authorization: this.#authorization });
  }

  /** Fetches a file of a message, by itself or by its id; returns a Blob, whose digest was checked if it is known. */
  async download(file) {
    const { id, sha256 } = typeof file === "string" ? { id: file } : file;
    const content = await this.request(`/files/${id}`, { as: "blob" });
    await check(content, sha256);
    return content;
  }

  /** Calls the REST API as this device. */
  request(path, options = {}) {
    return request(path, { ...options, authorization: this.#authorization });
  }

  get #authorization() {
    return `Bearer ${this.token}`;
  }

  /** The network is back, or the page is looked at again, which slept perhaps: its timers did, too. */
  #hurry = () => {
    this.#adopt();
    if (this.phase === "waiting") this.connect();
    else this.#do((session, now) => session.probe(now));
  };

  #do(work) {
    const result = work(this.session, performance.now());
    this.#pump();
    return result;
  }

  #pump() {
    const { saves, frames, settled, problems, command, heardOf } = this.session.take();
    this.#keep(() => this.store.save(saves, this.session));
    for (const frame of frames) this.#socket?.send(JSON.stringify(frame));
    if (command === "connect") this.#open();
    if (command === "close") this.#drop();
    this.#sleep();
    for (const { entry, error } of settled) this.#tell(error ? "refused" : "confirmed", { entry, error });
    for (const error of problems) this.#tell("problem", error);
    this.#tell("change", heardOf);
    if (heardOf.has("welcome")) this.#adopt();
  }

  /** What another tab of the device has asked for, and perhaps did not live to send, is sent by this one. */
  #adopt() {
    const found = this.store.others?.(this.outbox) ?? [];
    if (found.length) this.#do((session, now) => session.adopt(found, now));
  }

  /** Without room in the store the device goes on: what waits is in memory then, and the app is warned. */
  #keep(store) {
    try {
      store();
    } catch (error) {
      this.#tell("warning", error);
    }
  }

  #sleep() {
    clearTimeout(this.#timer);
    const { deadline } = this.session;
    if (deadline === null) return;
    this.#timer = setTimeout(() => this.#do((session, now) => session.tick(now)), Math.max(0, deadline - performance.now()));
  }

  #open() {
    const socket = new WebSocket(this.url, PROTOCOL);
    this.#socket = socket;
    const current = (work) => (event) => this.#socket === socket && this.#do((session, now) => work(session, now, event));
    socket.onopen = current((session) => session.opened());
    socket.onmessage = current((session, now, { data }) => session.received(JSON.parse(data), now, utf8.encode(data).length));
    socket.onclose = current((session, now, { code }) => {
      this.#socket = null;
      session.closed(code, now);
    });
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
