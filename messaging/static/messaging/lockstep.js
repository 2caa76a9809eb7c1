/**
 * Lockstep's client for browsers, without dependencies.
 *
 * `Session` decides: frames, verbs and moments in; frames, saves and one command out. It has no socket, clock or timer.
 * `Client` waits: it pumps a Session between a WebSocket, the clock and a store. `Store` and `MemoryStore` remember.
 *
 * Laws: an `events` frame is applied only where its range meets the cursor. What the app sends is saved before it goes out and
 * stays in the outbox until the server names its place; each repeat carries the same client_id. Marks never go back.
 */

export const PROTOCOL = "lockstep.v1.json";

const ACK_MS = 50; // acks are coalesced: at most one in this time unless half the window is used
const SILENCE_MS = 20_000; // nothing heard for this long: ask with a ping
const PONG_MS = 10_000; // and this long after the ping: the connection is dead
const WELCOME_MS = 10_000; // a connection that has not said welcome by then is given up
const BACKOFF_MS = 100; // first upper limit of the wait before a reconnect; it doubles
const BACKOFF_MAX_MS = 10_000; // and stops doubling here
const KEPT_MESSAGES = 200; // newest messages of a conversation that a store keeps; older ones come over REST

/** A new idempotency key: 128 random bits. (randomUUID exists on secure origins only.) */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Whether a close code says: come back. 1008, 1009 and 4500-4999 say: do not. */
function isReconnectable(code) {
  return code !== 1008 && code !== 1009 && !(code >= 4500 && code < 5000);
}

/** One conversation as this device has it. `cursor` is null until a feed has started. */
export class Conversation {
  constructor(id, saved = {}) {
    this.id = id;
    this.kind = saved.kind ?? "";
    this.title = saved.title ?? "";
    this.cursor = saved.cursor ?? null;
    this.lastSeq = saved.lastSeq ?? 0;
    this.read = saved.read ?? 0;
    this.left = saved.left ?? null;
    this.messages = new Map((saved.messages ?? []).map((message) => [message.id, message]));
    this.marks = new Map((saved.marks ?? []).map((mark) => [mark.device, mark]));
    this.summary = saved.summary ?? null;
    this.syncing = null; // ref of the unanswered sync
    this.wanted = 0; // greatest upto seen beyond a hole
  }

  /** Messages in screen order. */
  ordered() {
    return [...this.messages.values()].sort((one, other) => one.position - other.position);
  }

  /** Keeps the newest state of a message; the feed wins over an equal `seq`. */
  put(message) {
    const known = this.messages.get(message.id);
    if (!known || known.seq <= message.seq) this.messages.set(message.id, message);
  }

  /** Newest mark of a device: each number is the greatest seen. */
  putMark(mark) {
    const known = this.marks.get(mark.device);
    const newer = !known || mark.delivered > (known.delivered ?? 0) || mark.read > (known.read ?? 0);
    this.marks.set(mark.device, {
      ...known,
      ...(newer ? mark : {}),
      delivered: Math.max(mark.delivered ?? 0, known?.delivered ?? 0),
      read: Math.max(mark.read ?? 0, known?.read ?? 0),
    });
  }

  forget() {
    this.messages.clear();
    this.marks.clear();
    Object.assign(this, { cursor: 0, read: 0, left: null, summary: null, syncing: null, wanted: 0 });
  }

  /** What a store keeps; cursor and messages lie in one value, so one never runs ahead of the other. */
  saved() {
    const { kind, title, cursor, lastSeq, read, left, summary } = this;
    const messages = this.ordered().slice(-KEPT_MESSAGES);
    return { kind, title, cursor, lastSeq, read, left, summary, messages, marks: [...this.marks.values()] };
  }
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
    this.outbox = (saved.outbox ?? []).map((entry) => ({ ...entry, sent: false }));
    this.unsettled = new Set(saved.unsettled ?? []); // conversations whose marks the server may not have
    this.attempts = 0;
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

  /** Replaces the body of a message if it is still as this device (or the caller) knows it. */
  edit({ message, body, baseVersion, clientId = this.makeId() }, now = 0) {
    const { conversation, version } = this.#knows(message);
    const frame = { type: "edit", message, base_version: baseVersion ?? version, client_id: clientId, body };
    return this.#enqueue(conversation, frame, now);
  }

  /** Turns a message into a tombstone if it is still as this device (or the caller) knows it. */
  remove({ message, baseVersion, clientId = this.makeId() }, now = 0) {
    const { conversation, version } = this.#knows(message);
    const frame = { type: "delete", message, base_version: baseVersion ?? version, client_id: clientId };
    return this.#enqueue(conversation, frame, now);
  }

  /** Says that the user has seen everything up to `upto`; never beyond what has arrived, never back. */
  read({ conversation, upto = Infinity }, now = 0) {
    const known = this.conversations.get(conversation);
    const mark = Math.min(upto, known?.cursor ?? 0);
    if (!known || known.left !== null || mark <= known.read) return;
    known.read = mark;
    this.#owe(known);
    this.#settle(now);
  }

  /** Asks for a conversation's changes and marks now; also the answer to a hole in the feed. */
  sync({ conversation }) {
    const known = this.conversations.get(conversation);
    if (this.phase !== "open" || !known || known.syncing !== null) return;
    known.syncing = `sync-${(this.refs += 1)}`;
    this.#frame({ type: "sync", conversation, since: known.cursor ?? 0, ref: known.syncing });
  }

  // -- what the connection tells

  /** The shell is to open a socket. */
  connect(now) {
    if (this.phase === "open" || this.phase === "connecting" || this.phase === "greeting") return;
    this.phase = "connecting";
    this.timers.clear();
    this.timers.set("welcome", now + WELCOME_MS);
    this.command = { name: "connect" };
  }

  /** The socket is open: say hello. */
  opened(now) {
    this.phase = "greeting";
    this.heard = now;
    const cursors = {};
    for (const { id, cursor } of this.conversations.values()) if (cursor !== null) cursors[id] = cursor;
    const hello = { type: "hello", cursors };
    if (this.token !== null) hello.token = this.token;
    if (this.epoch !== null) hello.epoch = this.epoch;
    this.#frame(hello);
  }

  /** One WebSocket message came: a frame, or an array of frames; `bytes` is its length on the wire. */
  received(message, now, bytes = 0) {
    this.heard = now;
    if (this.phase === "open") this.timers.set("ping", now + SILENCE_MS);
    this.timers.delete("pong");
    this.used.bytes += bytes;
    for (const frame of Array.isArray(message) ? message : [message]) {
      const rule = this.#rules[frame.type];
      if (rule) rule(frame, now);
      if (rule) this.heardOf.add(frame.type);
    }
    this.#settle(now);
    this.#pump(now);
  }

  /** The socket is gone; code 1006 when the connection was lost without a word. */
  closed(code, now) {
    if (this.phase === "stopped" || this.phase === "closed") return;
    const farewell = this.farewell;
    this.#startConnection();
    this.timers.clear();
    if (!isReconnectable(code)) return this.#stop(farewell?.message ?? `The server closed with ${code}.`);
    this.phase = "waiting";
    this.reason = farewell?.message ?? "The connection was lost.";
    const limit = Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** this.attempts);
    this.attempts += 1;
    this.timers.set("connect", now + (farewell?.reconnect_after ?? 0) + this.random() * limit);
  }

  /** The app wants to be offline (until `connect`). */
  disconnect() {
    if (this.phase === "stopped") return;
    this.#startConnection();
    this.timers.clear();
    this.phase = "closed";
    this.command = { name: "close" };
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
      else this.#pump(now); // the end of a lane's hold
    }
  }

  /** What came of the calls since the last take: save first, then send the frames, then obey the command. */
  take() {
    const { frames, failed, command, heardOf } = this;
    const saves = this.saves;
    this.#clear();
    return { saves, frames, failed, command, heardOf };
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
    reset: ({ conversation }) => this.#change(conversation).forget(),
    pong: () => {},
    goodbye: (frame) => (this.farewell = frame),
  };

  #welcome(frame, now) {
    const { device, user, epoch } = frame;
    // The epoch and the cursors change in one step, or a lost connection would leave old cursors under the new epoch.
    if (this.epoch !== null && this.epoch !== epoch) for (const id of this.conversations.keys()) this.#change(id).forget();
    Object.assign(this, { device, user, epoch, window: frame.window, limits: frame.limits });
    Object.assign(this, { phase: "open", reason: "", attempts: 0 });
    this.saves.session = true;
    this.timers.delete("welcome");
    this.timers.set("ping", now + SILENCE_MS);
    for (const conversation of frame.conversations ?? []) this.#listed(conversation);
    for (const id of this.unsettled) this.owed.add(id);
  }

  #listed({ conversation, kind, title = "", since, last_seq }) {
    const known = this.#change(conversation);
    Object.assign(known, { kind, title, left: null, lastSeq: last_seq });
    if (known.cursor === null) known.cursor = since;
  }

  #left(conversation, upto) {
    const known = this.#change(conversation);
    known.left = upto;
    this.owed.delete(conversation);
    this.unsettled.delete(conversation);
  }

  #events({ conversation, since, upto, messages = [], ref }) {
    const known = this.#change(conversation);
    if (ref !== undefined && ref === known.syncing) known.syncing = null;
    if (known.cursor === null) known.cursor = since;
    this.used.messages += messages.length;
    if (since > known.cursor) {
      known.wanted = Math.max(known.wanted, upto);
    } else if (upto > known.cursor) {
      for (const message of messages) if (message.seq > known.cursor) this.#apply(known, message);
      known.cursor = upto;
      known.lastSeq = Math.max(known.lastSeq, upto);
    }
    if (known.wanted > known.cursor) this.sync({ conversation });
    if (upto <= known.cursor) this.#owe(known);
  }

  #apply(known, message) {
    known.put(message);
    if (message.device === this.device) this.#settleEntry(message.client_id, (entry) => entry.frame.type === "send");
  }

  #ok({ client_id, message, seq, position, version, created, ref }) {
    if (ref === "marks") this.#marksConfirmed();
    const entry = client_id && this.#settleEntry(client_id, () => true);
    const known = entry && this.conversations.get(entry.conversation);
    if (!known || !message) return;
    const { type, body, kind = "text", reply_to = null } = entry.frame;
    const before = known.messages.get(message);
    this.saves.conversations.add(known.id);
    // A repeat of an old send may name a later version, whose body only the feed knows.
    if (type === "send" && version === 1)
      known.put({ id: message, seq, position, version, created, kind, body, reply_to, client_id, device: this.device, user: this.user });
    if (type === "edit" && before && before.version < version)
      known.put({ ...before, seq, version, body, edited: before.edited ?? Date.now() });
    if (type === "delete" && before && before.version < version)
      known.put({ ...before, seq, version, body: "", deleted: before.deleted ?? Date.now() });
  }

  #error(frame, now) {
    const syncing = [...this.conversations.values()].find((known) => frame.ref !== undefined && known.syncing === frame.ref);
    if (syncing) syncing.syncing = null;
    const entry = this.outbox.find((one) => one.frame.client_id === frame.client_id);
    if (!entry) return;
    if (frame.retry_after != null) return this.#hold(entry, frame.retry_after, now);
    this.#settleEntry(frame.client_id, () => true);
    if (frame.current) this.#change(entry.conversation).put(frame.current);
    this.failed.push({ entry, error: frame });
  }

  #receipts({ conversation, marks = [], summary }) {
    const known = this.#change(conversation);
    for (const mark of marks) known.putMark(mark);
    if (summary) known.summary = summary;
    const own = known.marks.get(this.device);
    if (own && own.delivered >= (known.cursor ?? 0) && own.read >= known.read) this.#markSettled(conversation);
  }

  // -- outbox: one lane per conversation, strictly in order

  #enqueue(conversation, frame, now) {
    const entry = { id: frame.client_id, conversation, frame, asked: Date.now(), sent: false };
    this.outbox.push(entry);
    this.saves.added.push(entry);
    this.#pump(now);
    return frame.client_id;
  }

  /** Sends what may go: lanes that are not held, up to the server's limit of unanswered requests. */
  #pump(now) {
    if (this.phase !== "open") return;
    let room = (this.limits?.requests || Infinity) - this.outbox.filter((entry) => entry.sent).length;
    for (const entry of this.outbox) {
      if (room <= 0) return;
      if (entry.sent || this.#isHeld(entry.conversation, now)) continue;
      entry.sent = true;
      room -= 1;
      this.#frame(entry.frame);
    }
  }

  /** A lane is held until its wait is over and nothing of it is in flight: else a later send could overtake a refused one. */
  #isHeld(conversation, now) {
    const until = this.holds.get(conversation);
    if (until === undefined) return false;
    if (until > now || this.outbox.some((entry) => entry.conversation === conversation && entry.sent)) return true;
    return !this.holds.delete(conversation);
  }

  #hold(entry, retryAfter, now) {
    entry.sent = false;
    if (this.holds.has(entry.conversation)) return;
    const until = now + retryAfter * (1 + this.random() / 2);
    this.holds.set(entry.conversation, until);
    this.timers.set(`hold ${entry.conversation}`, until);
  }

  #settleEntry(clientId, matches) {
    const entry = this.outbox.find((one) => one.frame.client_id === clientId && matches(one));
    if (!entry) return null;
    this.outbox.splice(this.outbox.indexOf(entry), 1);
    this.saves.removed.push(entry);
    return entry;
  }

  // -- marks

  #owe(known) {
    this.owed.add(known.id);
    this.unsettled.add(known.id);
    this.saves.conversations.add(known.id);
  }

  #settle(now) {
    if (this.phase !== "open" || !this.owed.size) return;
    const { messages = Infinity, bytes = Infinity } = this.window ?? {};
    const half = this.used.messages * 2 >= messages || this.used.bytes * 2 >= bytes;
    if (half || this.acked === null || now - this.acked >= ACK_MS) this.#acknowledge(now);
    else this.timers.set("ack", this.acked + ACK_MS);
  }

  #acknowledge(now) {
    const marks = [...this.owed].map((id) => this.conversations.get(id)).map(({ id, cursor, read }) => ({
      conversation: id, delivered: cursor ?? 0, ...(read ? { read } : {}),
    }));
    this.owed.clear();
    this.timers.delete("ack");
    Object.assign(this, { acked: now, used: { messages: 0, bytes: 0 } });
    if (marks.length) this.#frame({ type: "receipt", marks });
  }

  #markSettled(conversation) {
    if (!this.owed.has(conversation)) this.unsettled.delete(conversation);
  }

  #marksConfirmed() {
    for (const id of [...this.unsettled]) this.#markSettled(id);
  }

  // -- the connection's own state

  #startConnection() {
    Object.assign(this, { farewell: null, heard: 0, refs: 0, acked: null, window: null, limits: null });
    this.used = { messages: 0, bytes: 0 }; // since the last ack
    this.owed = new Set(); // conversations whose marks are to be sent
    this.holds = new Map(); // conversation -> moment until which its lane waits
    for (const entry of this.outbox) entry.sent = false;
    for (const known of this.conversations.values()) Object.assign(known, { syncing: null, wanted: 0 });
  }

  #ping(now) {
    this.#frame({ type: "ping" });
    this.timers.set("pong", now + PONG_MS);
  }

  #lost(now) {
    this.closed(1006, now);
    this.command = { name: "close" };
  }

  #stop(reason) {
    Object.assign(this, { phase: "stopped", reason });
  }

  #frame(frame) {
    this.frames.push(frame);
  }

  #clear() {
    Object.assign(this, { frames: [], failed: [], command: null, heardOf: new Set() });
    this.saves = { session: false, conversations: new Set(), added: [], removed: [] };
  }

  #change(id) {
    if (!this.conversations.has(id)) this.conversations.set(id, new Conversation(id));
    this.saves.conversations.add(id);
    return this.conversations.get(id);
  }

  #knows(id) {
    for (const known of this.conversations.values()) {
      const message = known.messages.get(id);
      if (message) return { conversation: known.id, version: message.version ?? 1 };
    }
    throw new Error(`This device has no message ${id}; load it before you change it.`);
  }
}
