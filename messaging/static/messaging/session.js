/**
 * The rules of one device's session: frames, verbs and moments in; frames, saves and one command out.
 *
 * No socket, no clock, no timer, no storage: those are `lockstep.js` and `store.js`.
 * Laws: an `events` frame is applied only where its range meets the cursor. What the app sends stays in the outbox until
 * the server names its place, and each repeat carries the same client_id. Marks never go back.
 */

import { Feeds } from "./feeds.js";
import { Outbox } from "./outbox.js";
import { Others, Wishes } from "./presence.js";
import { Backoff, mayReturn, repeatMs } from "./reconnect.js";
import { Typists } from "./typists.js";

/** How long (ms) to wait for a word of the server before a ping asks for one, and for the answer to that. */
const PATIENCE = {
  silence: 20_000, // nothing heard at all
  answer: 2_000, // nothing heard since a request went out
  pong: 8_000, // nothing heard since the ping: the connection is dead
};
const KEY = /^[^\0\p{Surrogate}]{1,64}$/u; // what the server takes as a client_id: it can't name another in its refusal
const BODY_BYTES = 65_536; // of a text in UTF-8: what the server stores
const WELCOME_MS = 10_000; // a connection that has not said welcome by then is given up
const ANOTHER_USER = "What is stored here is another user's; give each user a store of their own.";
const ANOTHER_DEVICE = "What is stored here is another device's; give each device a store of its own.";

/** A new idempotency key: 128 random bits. (randomUUID exists on secure origins only.) */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Throws RangeError for a text that no server stores: above a frame's limit it would end every session anew. */
function checkBody(body) {
  if (/[\0\p{Surrogate}]/u.test(body)) throw new RangeError("A message can't hold a NUL character or a lone surrogate; remove it.");
  const size = new TextEncoder().encode(body).length;
  if (size > BODY_BYTES) throw new RangeError(`A message takes ${BODY_BYTES} bytes and this one has ${size}; shorten it.`);
}

/**
 * The rules of one device. Call a verb or an input, then `take()` what came of it, then sleep until `deadline`.
 * All moments are milliseconds of one monotonic clock.
 */
export class Session {
  constructor({ token = null, saved = {}, random = Math.random, makeId = newId, patience = {} } = {}) {
    Object.assign(this, { token, random, makeId, patience: { ...PATIENCE, ...patience } });
    this.phase = "closed"; // closed | connecting | greeting | open | waiting | stopped
    this.reason = ""; // why it is waiting or stopped, for people
    this.device = saved.device ?? null;
    this.user = saved.user ?? null;
    this.epoch = saved.epoch ?? null;
    this.timers = new Map(); // name -> moment
    this.feeds = new Feeds(saved, { timers: this.timers, random, say: (frame) => this.#frame(frame) });
    this.outbox = new Outbox(saved.outbox);
    Object.assign(this, { presence: new Others(), wishes: new Wishes(), typists: new Typists() });
    this.backoff = new Backoff(random);
    this.#startConnection();
    this.#clear();
  }

  get conversations() {
    return this.feeds.all;
  }

  /** Conversations whose marks the server may not have. */
  get unsettled() {
    return this.feeds.unsettled;
  }

  // -- what the app asks

  /** Appends a message to the outbox and returns its client_id. It goes out as soon as a session is open. Throws RangeError if no server takes it. */
  send({ conversation, body, kind = "text", replyTo = null, attachments = [], clientId = this.makeId() }, now = 0) {
    const frame = { type: "send", conversation, client_id: clientId, body };
    if (kind !== "text") frame.kind = kind;
    if (replyTo) frame.reply_to = replyTo;
    if (attachments.length) frame.attachments = attachments.map((file) => file.id ?? file);
    return this.#enqueue(conversation, frame, now, attachments.filter(({ id }) => id));
  }

  /** Replaces the body of a message if it is still as this device (or the caller, who names all three) knows it. */
  edit({ message, body, clientId = this.makeId(), ...known }, now = 0) {
    const { conversation, baseVersion } = known.conversation && known.baseVersion ? known : this.feeds.find(message);
    return this.#enqueue(conversation, { type: "edit", message, base_version: baseVersion, client_id: clientId, body }, now);
  }

  /** Turns a message into a tombstone if it is still as this device (or the caller, who names all three) knows it. */
  remove({ message, clientId = this.makeId(), ...known }, now = 0) {
    const { conversation, baseVersion } = known.conversation && known.baseVersion ? known : this.feeds.find(message);
    return this.#enqueue(conversation, { type: "delete", message, base_version: baseVersion, client_id: clientId }, now);
  }

  /** Takes over requests that another tab of the device has stored: whoever sends them, each is done once. */
  adopt(entries, now = 0) {
    this.outbox.adopt(entries);
    this.#pump(now);
  }

  /** Says that the user has seen everything up to `upto`; never beyond what has arrived, never back. */
  read(mark, now = 0) {
    this.feeds.read(mark, now);
  }

  /** Asks for a conversation's changes and marks now; also the answer to a hole in the feed. */
  sync({ conversation }) {
    this.feeds.sync(conversation);
  }

  /** Adds what came over REST {id, kind?, title?, peer?, messages?, floor?, read?}: the newest state of each message wins, the cursor stays. */
  merge(conversation) {
    this.feeds.merge(conversation);
  }

  /** Says how the user is here {state?, text?, until?, invisible?}, in every session to come; what is left out stays as it is. */
  setPresence(fields, now = 0) {
    this.wishes.set(fields);
    this.#pump(now);
  }

  /** Watches exactly these {users}, in every session to come, besides those whom the server shows anyway. */
  watch({ users }, now = 0) {
    this.wishes.watch(users);
    this.#pump(now);
  }

  /** The user pressed a key in a conversation, or gave the draft up {conversation, typing?}. Few of them are sent. */
  typing({ conversation, typing = true }, now = 0) {
    if (this.phase !== "open") return;
    this.typists.say(conversation, typing);
    this.#sayTyping(now);
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
    const hello = { type: "hello", cursors: this.feeds.cursors, purged: this.feeds.purged };
    if (this.token !== null) hello.token = this.token;
    if (this.epoch !== null) hello.epoch = this.epoch;
    this.#frame(hello);
  }

  /** One WebSocket message came: a frame, or an array of frames; `bytes` is its length on the wire. */
  received(message, now, bytes = 0) {
    if (this.phase !== "open" && this.phase !== "greeting") return; // still on its way when the app hung up
    if (this.phase === "open") this.timers.set("ping", now + this.patience.silence);
    this.timers.delete("pong");
    this.feeds.acks.count({ bytes });
    for (const frame of Array.isArray(message) ? message : [message]) {
      const rule = this.#rules[frame.type];
      if (!rule) continue;
      rule(frame, now);
      if (this.phase === "stopped") return;
      this.heardOf.add(frame.type);
    }
    this.#sayTyping(now);
    this.feeds.pace(now);
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

  /** Asks for a word of the server now: the connection may have died while nobody looked. */
  probe(now) {
    if (this.timers.has("ping")) this.timers.set("ping", now);
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
      if (name === "ack") this.feeds.acknowledge(now);
      else if (name === "connect") this.connect(now);
      else if (name === "ping") this.#ping(now);
      else if (name === "pong" || name === "welcome") this.#lost(now);
      else if (name === "typing") this.#sayTyping(now);
      else if (name.startsWith("sync ")) this.feeds.askAgain(name.slice(5));
      else this.#pump(now); // the end of a hold
    }
  }

  /** What came of the calls since the last take: save first, then send the frames, then obey the command. */
  take() {
    const { saves, frames, settled, problems, command, heardOf } = this;
    this.#clear();
    return { saves, frames, settled, problems, command, heardOf };
  }

  // -- frames of the server

  #rules = {
    welcome: (frame, now) => this.#welcome(frame, now),
    ok: (frame) => this.#ok(frame),
    error: (frame, now) => this.#error(frame, now),
    events: (frame) => this.#events(frame),
    receipts: (frame) => this.feeds.mark(frame, this.device),
    conversation: (frame) => {
      this.feeds.list(frame);
      this.saves.session = true; // at once: a feed whose cursor is not stored goes on at what was acknowledged
    },
    left: (frame) => this.#left(frame),
    reset: ({ conversation, purged }) => this.#forget(conversation, purged),
    presence: (frame) => this.#presence(frame),
    typing: (frame, now) => this.typists.heard(frame, now),
    pong: () => {},
    goodbye: (frame) => (this.farewell = frame),
  };

  #welcome(frame, now) {
    const { device, user, epoch } = frame;
    if (this.user !== null && this.user !== user) return this.#leaveToOthers(ANOTHER_USER);
    if (this.device !== null && this.device !== device && this.epoch === epoch) return this.#leaveToOthers(ANOTHER_DEVICE);
    // The epoch and the cursors change in one step, or a lost connection would leave old cursors under the new epoch.
    if (this.epoch !== null && this.epoch !== epoch) for (const id of this.conversations.keys()) this.#forget(id);
    Object.assign(this, { device, user, epoch, limits: frame.limits, phase: "open", reason: "" });
    this.backoff.attempts = 0;
    this.saves.session = true;
    this.timers.delete("welcome");
    this.timers.set("ping", now + this.patience.silence);
    this.feeds.start(frame.window, frame.conversations ?? []);
    this.presence.restart();
    this.wishes.restart();
  }

  /** One user would speak with another's words; what one device had stored, and heard no answer to, another would post again. */
  #leaveToOthers(why) {
    this.disconnect();
    this.#stop(why);
  }

  #forget(conversation, purged) {
    this.feeds.forget(conversation, purged);
    this.typists.leave(conversation);
  }

  #left(frame) {
    this.feeds.leave(frame);
    this.typists.leave(frame.conversation);
  }

  #events(frame) {
    for (const message of this.feeds.advance(frame)) {
      this.typists.stopped(frame.conversation, message.user);
      this.#confirm(message);
    }
  }

  /** A `presence` may be the answer to a watch list, too. */
  #presence(frame) {
    this.presence.heard(frame);
    this.wishes.answered(frame.ref);
  }

  /** Forgets who has typed long ago, says what is due, and sleeps until there is more. */
  #sayTyping(now) {
    this.typists.over(now);
    for (const frame of this.typists.due(now)) this.#frame(frame);
    if (this.typists.deadline === null) this.timers.delete("typing");
    else this.timers.set("typing", this.typists.deadline);
  }

  /** An own message that the feed brings was taken, even if `ok` was lost. */
  #confirm(message) {
    if (message.device !== this.device) return;
    const entry = this.outbox.find(message.client_id);
    if (entry?.frame.type === "send") this.#settle(entry);
  }

  #ok({ ref, client_id, ...place }) {
    const entry = this.outbox.find(client_id);
    if (!entry) return this.wishes.answered(ref);
    this.#settle(entry);
    if (place.message) this.feeds.change(entry.conversation).place(entry, place, this);
  }

  #error({ ref, client_id, retry_after, current, ...error }, now) {
    this.feeds.refused(ref, retry_after, now);
    const entry = this.outbox.find(client_id);
    if (!entry) return this.#wishRefused(ref, error, retry_after, now);
    if (retry_after != null) return this.#hold(entry, retry_after, now);
    if (current) this.feeds.change(entry.conversation).put(current);
    this.#settle(entry, error);
  }

  #wishRefused(ref, error, retryAfter, now) {
    const until = now + repeatMs(retryAfter ?? 0, 0, this.random);
    if (retryAfter == null && this.wishes.answered(ref)) this.problems.push(error);
    if (retryAfter != null && this.wishes.hold(ref, until)) this.timers.set(`wish ${ref}`, until);
  }

  // -- outbox

  #enqueue(conversation, frame, now, files = []) {
    if (!KEY.test(frame.client_id)) throw new RangeError("client_id must have 1 to 64 characters, and no NUL or lone surrogate");
    checkBody(frame.body ?? "");
    this.saves.added.push(this.outbox.add(conversation, frame, { asked: Date.now(), files }));
    this.#pump(now);
    return frame.client_id;
  }

  #pump(now) {
    if (this.phase !== "open") return;
    for (const frame of this.outbox.due(now, this.limits)) {
      if (frame.type === "send") this.typists.sent(frame.conversation);
      this.#frame(frame);
      this.#await(now);
    }
    for (const frame of this.wishes.due(now)) this.#frame(frame);
  }

  #hold(entry, retryAfter, now) {
    const until = now + repeatMs(retryAfter, this.outbox.refusals.get(entry.conversation) ?? 0, this.random);
    this.outbox.hold(entry, until);
    this.timers.set(`lane ${entry.conversation}`, this.outbox.holds.get(entry.conversation));
  }

  /** The request is answered for good: taken, or refused with an error. */
  #settle(entry, error = null) {
    this.outbox.remove(entry);
    this.saves.removed.push(entry);
    this.settled.push({ entry, error });
  }

  // -- the connection's own state

  #startConnection() {
    Object.assign(this, { farewell: null, limits: null });
    this.feeds.stop();
    this.presence.lose();
    this.typists.lose();
    this.outbox.restart();
  }

  /** A request went out; while a ping is unanswered there is no timer for the next. */
  #await(now) {
    const ping = this.timers.get("ping");
    if (ping !== undefined) this.timers.set("ping", Math.min(ping, now + this.patience.answer));
  }

  #ping(now) {
    this.#frame({ type: "ping" });
    this.timers.set("pong", now + this.patience.pong);
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
    Object.assign(this, { frames: [], settled: [], problems: [], command: null, heardOf: new Set() });
    this.feeds.changed = new Set();
    this.saves = { session: false, conversations: this.feeds.changed, added: [], removed: [] };
  }
}
