/**
 * The rules of one device's session: frames, verbs and moments in; frames, saves and one command out.
 *
 * No socket, no clock, no timer, no storage: those are `lockstep.js` and `store.js`.
 * Laws: an `events` frame is applied only where its range meets the cursor. What the app sends stays in the outbox until
 * the server names its place, and each repeat carries the same client_id. Marks never go back.
 */

import { Acks } from "./acks.js";
import { Conversation } from "./conversation.js";
import { Outbox } from "./outbox.js";
import { Backoff, mayReturn } from "./reconnect.js";

const SILENCE_MS = 20_000; // nothing heard for this long: ask with a ping
const PONG_MS = 10_000; // and this long after the ping: the connection is dead
const KEY = /^[^\0\p{Surrogate}]{1,64}$/u; // what the server takes as a client_id: it can't name another in its refusal
const WELCOME_MS = 10_000; // a connection that has not said welcome by then is given up

/** A new idempotency key: 128 random bits. (randomUUID exists on secure origins only.) */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * The rules of one device. Call a verb or an input, then `take()` what came of it, then sleep until `deadline`.
 * All moments are milliseconds of one monotonic clock.
 */
export class Session {
  constructor({ token = null, saved = {}, random = Math.random, makeId = newId } = {}) {
    Object.assign(this, { token, random, makeId });
    this.phase = "closed"; // closed | connecting | greeting | open | waiting | stopped
    this.reason = ""; // why it is waiting or stopped, for people
    this.device = saved.device ?? null;
    this.user = saved.user ?? null;
    this.epoch = saved.epoch ?? null;
    this.conversations = new Map(
      Object.entries(saved.conversations ?? {}).map(([id, value]) => [id, new Conversation(id, value)]),
    );
    this.outbox = new Outbox(saved.outbox);
    this.unsettled = new Set(saved.unsettled ?? []); // conversations whose marks the server may not have
    this.acks = new Acks();
    this.backoff = new Backoff(random);
    this.timers = new Map();
    this.#startConnection();
    this.#clear();
  }

  // -- what the app asks

  /** Appends a message to the outbox and returns its client_id. It goes out as soon as a session is open. */
  send({ conversation, body, kind = "text", replyTo = null, clientId = this.makeId() }, now = 0) {
    const frame = { type: "send", conversation, client_id: clientId, body };
    if (kind !== "text") frame.kind = kind;
    if (replyTo) frame.reply_to = replyTo;
    return this.#enqueue(conversation, frame, now);
  }

  /** Replaces the body of a message if it is still as this device (or the caller, who names all three) knows it. */
  edit({ message, body, clientId = this.makeId(), ...known }, now = 0) {
    const { conversation, baseVersion } = { ...this.#knows(message, known), ...known };
    return this.#enqueue(conversation, { type: "edit", message, base_version: baseVersion, client_id: clientId, body }, now);
  }

  /** Turns a message into a tombstone if it is still as this device (or the caller, who names all three) knows it. */
  remove({ message, clientId = this.makeId(), ...known }, now = 0) {
    const { conversation, baseVersion } = { ...this.#knows(message, known), ...known };
    return this.#enqueue(conversation, { type: "delete", message, base_version: baseVersion, client_id: clientId }, now);
  }

  /** Says that the user has seen everything up to `upto`; never beyond what has arrived, never back. */
  read({ conversation, upto = Infinity }, now = 0) {
    const known = this.conversations.get(conversation);
    const mark = Math.min(upto, known?.cursor ?? 0);
    if (!known || known.left !== null || mark <= known.read) return;
    known.read = mark;
    this.#owe(known);
    this.#pace(now);
  }

  /** Asks for a conversation's changes and marks now; also the answer to a hole in the feed. */
  sync({ conversation }) {
    const known = this.conversations.get(conversation);
    if (this.phase !== "open" || !known || known.syncing !== null) return;
    known.syncing = `sync-${(this.refs += 1)}`;
    this.#frame({ type: "sync", conversation, since: known.cursor ?? 0, ref: known.syncing });
  }

  /** Adds what came over REST {id, kind?, title?, messages?, floor?, read?}: the newest state of each message wins, the cursor stays. */
  merge({ id, kind, title, messages = [], floor, read = 0 }) {
    const known = this.#change(id);
    Object.assign(known, { kind: kind ?? known.kind, title: title ?? known.title });
    known.readElsewhere = Math.max(known.readElsewhere, read);
    for (const message of messages) known.put(message);
    if (floor !== undefined) known.floor = Math.min(floor, known.floor ?? floor);
  }

  // -- what the connection tells

  /** The shell is to open a socket. */
  connect(now) {
    if (this.phase === "open" || this.phase === "connecting" || this.phase === "greeting") return;
    this.phase = "connecting";
    this.timers.clear();
    this.timers.set("welcome", now + WELCOME_MS);
    this.command = "connect";
  }

  /** The socket is open: say hello, or hang up if the app has changed its mind meanwhile. */
  opened() {
    if (this.phase !== "connecting") {
      this.command = "close";
      return;
    }
    this.phase = "greeting";
    const cursors = {};
    for (const { id, cursor } of this.conversations.values()) if (cursor !== null) cursors[id] = cursor;
    const hello = { type: "hello", cursors };
    if (this.token !== null) hello.token = this.token;
    if (this.epoch !== null) hello.epoch = this.epoch;
    this.#frame(hello);
  }

  /** One WebSocket message came: a frame, or an array of frames; `bytes` is its length on the wire. */
  received(message, now, bytes = 0) {
    if (this.phase !== "open" && this.phase !== "greeting") return; // still on its way when the app hung up
    if (this.phase === "open") this.timers.set("ping", now + SILENCE_MS);
    this.timers.delete("pong");
    this.acks.count({ bytes });
    for (const frame of Array.isArray(message) ? message : [message]) {
      const rule = this.#rules[frame.type];
      if (rule) rule(frame, now);
      if (rule) this.heardOf.add(frame.type);
    }
    this.#pace(now);
    this.#pump(now);
  }

  /** The socket is gone; code 1006 when the connection was lost without a word. */
  closed(code, now) {
    if (this.phase === "stopped" || this.phase === "closed") return;
    const farewell = this.farewell;
    this.#startConnection();
    this.timers.clear();
    if (!mayReturn(code)) return this.#stop(farewell?.message ?? `The server closed with ${code}.`);
    this.phase = "waiting";
    this.reason = farewell?.message ?? "The connection was lost.";
    this.timers.set("connect", now + this.backoff.wait(farewell));
  }

  /** The app wants to be offline (until `connect`). */
  disconnect() {
    if (this.phase === "stopped") return;
    this.#startConnection();
    this.timers.clear();
    this.phase = "closed";
    this.command = "close";
  }

  /** The moment of the next `tick`, or null. */
  get deadline() {
    return this.timers.size ? Math.min(...this.timers.values()) : null;
  }

  /** Does what is due. */
  tick(now) {
    for (const [name, moment] of [...this.timers]) {
      if (moment > now || !this.timers.delete(name)) continue;
      if (name === "ack") this.#acknowledge(now);
      else if (name === "connect") this.connect(now);
      else if (name === "ping") this.#ping(now);
      else if (name === "pong" || name === "welcome") this.#lost(now);
      else if (name.startsWith("sync ")) this.#syncLater(name.slice(5));
      else this.#pump(now); // the end of a lane's hold
    }
  }

  /** What came of the calls since the last take: save first, then send the frames, then obey the command. */
  take() {
    const { saves, frames, settled, command, heardOf } = this;
    this.#clear();
    return { saves, frames, settled, command, heardOf };
  }

  // -- frames of the server

  #rules = {
    welcome: (frame, now) => this.#welcome(frame, now),
    ok: (frame) => this.#ok(frame),
    error: (frame, now) => this.#error(frame, now),
    events: (frame) => this.#events(frame),
    receipts: (frame) => this.#receipts(frame),
    conversation: (frame) => this.#listed(frame),
    left: ({ conversation, upto }) => this.#left(conversation, upto),
    reset: ({ conversation }) => this.#forget(conversation),
    pong: () => {},
    goodbye: (frame) => (this.farewell = frame),
  };

  #welcome(frame, now) {
    const { device, user, epoch } = frame;
    // The epoch and the cursors change in one step, or a lost connection would leave old cursors under the new epoch.
    if (this.epoch !== null && this.epoch !== epoch) for (const id of this.conversations.keys()) this.#forget(id);
    Object.assign(this, { device, user, epoch, limits: frame.limits });
    this.acks.restart(frame.window);
    Object.assign(this, { phase: "open", reason: "" });
    this.backoff.attempts = 0;
    this.saves.session = true;
    this.timers.delete("welcome");
    this.timers.set("ping", now + SILENCE_MS);
    for (const conversation of frame.conversations ?? []) this.#listed(conversation);
    for (const id of this.unsettled) this.acks.owed.add(id);
  }

  #listed({ conversation, kind, title = "", since, last_seq }) {
    const known = this.#change(conversation);
    Object.assign(known, { kind, title, left: null, lastSeq: last_seq });
    known.begin(since);
  }

  #forget(conversation) {
    this.#change(conversation).forget();
    this.acks.owed.delete(conversation);
    this.unsettled.delete(conversation);
  }

  #left(conversation, upto) {
    const known = this.#change(conversation);
    known.left = upto;
    this.acks.owed.delete(conversation);
    this.unsettled.delete(conversation);
  }

  #events({ conversation, since, upto, messages = [], ref }) {
    const known = this.#change(conversation);
    if (ref !== undefined && ref === known.syncing) known.syncing = null;
    this.acks.count({ messages: messages.length });
    for (const message of known.advance({ since, upto, messages })) this.#confirm(message);
    if (known.wanted > known.cursor) this.sync({ conversation });
    if (upto <= known.cursor) this.#owe(known);
  }

  /** An own message that the feed brings was taken, even if `ok` was lost. */
  #confirm(message) {
    if (message.device !== this.device) return;
    const entry = this.outbox.find(message.client_id);
    if (entry?.frame.type === "send") this.#settle(entry);
  }

  #ok({ client_id, ...place }) {
    const entry = this.outbox.find(client_id);
    if (!entry) return;
    this.#settle(entry);
    if (place.message) this.#change(entry.conversation).place(entry.frame, place, this);
  }

  #error({ ref, client_id, retry_after, current, ...error }, now) {
    for (const known of this.conversations.values())
      if (ref !== undefined && known.syncing === ref) this.#syncRefused(known, retry_after, now);
    const entry = this.outbox.find(client_id);
    if (!entry) return;
    if (retry_after != null) return this.#hold(entry, retry_after, now);
    if (current) this.#change(entry.conversation).put(current);
    this.#settle(entry, error);
  }

  #syncRefused(known, retryAfter, now) {
    if (retryAfter == null) return known.endSync();
    known.syncing = "later";
    this.timers.set(`sync ${known.id}`, now + retryAfter * (1 + this.random() / 2));
  }

  #syncLater(conversation) {
    const known = this.conversations.get(conversation);
    known.syncing = null;
    if (known.wanted > known.cursor) this.sync({ conversation });
  }

  #receipts({ conversation, marks = [], summary }) {
    const known = this.#change(conversation);
    for (const mark of marks) known.putMark(mark);
    if (summary) known.summary = summary;
    const own = known.marks.get(this.device);
    if (own && own.delivered >= (known.cursor ?? 0) && own.read >= known.read) this.unsettled.delete(conversation);
  }

  // -- outbox

  #enqueue(conversation, frame, now) {
    if (!KEY.test(frame.client_id)) throw new RangeError("client_id must have 1 to 64 characters, and no NUL or lone surrogate");
    this.saves.added.push(this.outbox.add(conversation, frame, Date.now()));
    this.#pump(now);
    return frame.client_id;
  }

  #pump(now) {
    if (this.phase !== "open") return;
    for (const frame of this.outbox.due(now, this.limits?.requests || Infinity)) this.#frame(frame);
  }

  #hold(entry, retryAfter, now) {
    const until = now + retryAfter * (1 + this.random() / 2);
    this.outbox.hold(entry, until);
    this.timers.set(`lane ${entry.conversation}`, this.outbox.holds.get(entry.conversation));
  }

  /** The request is answered for good: taken, or refused with an error. */
  #settle(entry, error = null) {
    this.outbox.remove(entry);
    this.saves.removed.push(entry);
    this.settled.push({ entry, error });
  }

  // -- marks

  #owe(known) {
    this.acks.owed.add(known.id);
    this.unsettled.add(known.id);
    this.saves.conversations.add(known.id);
  }

  /** Sends the marks that are owed, now or when their time comes. */
  #pace(now) {
    if (this.phase !== "open") return;
    const due = this.acks.due(now);
    if (due === now) this.#acknowledge(now);
    else if (due !== null) this.timers.set("ack", due);
  }

  #acknowledge(now) {
    const known = this.acks.take(now).map((id) => this.conversations.get(id));
    const marks = known.map(({ id, cursor, read }) => ({ conversation: id, delivered: cursor ?? 0, ...(read && { read }) }));
    this.timers.delete("ack");
    if (marks.length) this.#frame({ type: "receipt", marks });
  }

  // -- the connection's own state

  #startConnection() {
    Object.assign(this, { farewell: null, refs: 0, limits: null });
    this.acks.restart();
    this.outbox.restart();
    for (const known of this.conversations.values()) known.endSync();
  }

  #ping(now) {
    this.#frame({ type: "ping" });
    this.timers.set("pong", now + PONG_MS);
  }

  #lost(now) {
    this.closed(1006, now);
    this.command = "close";
  }

  #stop(reason) {
    Object.assign(this, { phase: "stopped", reason });
  }

  #frame(frame) {
    this.frames.push(frame);
  }

  #clear() {
    Object.assign(this, { frames: [], settled: [], command: null, heardOf: new Set() });
    this.saves = { session: false, conversations: new Set(), added: [], removed: [] };
  }

  #change(id) {
    if (!this.conversations.has(id)) this.conversations.set(id, new Conversation(id));
    this.saves.conversations.add(id);
    return this.conversations.get(id);
  }

  #knows(message, { conversation, baseVersion }) {
    for (const { id, messages } of this.conversations.values())
      if (messages.has(message)) return { conversation: id, baseVersion: messages.get(message).version };
    if (conversation && baseVersion) return {};
    throw new Error(`This device has no message ${message}; load it before you change it.`);
  }
}
