/**
 * The conversations of one device and what moves them: the feed, questions about its holes, marks and their pace.
 *
 * It sends by `say`, and wants to be woken by `timers` (name -> moment); `session.js` owns both.
 */

import { Acks } from "./acks.js";
import { Conversation } from "./conversation.js";

export class Feeds {
  #refs = 0;

  constructor({ conversations = {}, unsettled = [] }, { timers, random, say }) {
    Object.assign(this, { timers, random, say, isOpen: false });
    this.all = new Map(Object.entries(conversations).map(([id, value]) => [id, new Conversation(id, value)]));
    this.unsettled = new Set(unsettled); // conversations whose marks the server may not have
    this.acks = new Acks();
    this.changed = new Set(); // conversations to be saved
  }

  /** The connection is lost, or given up. */
  stop() {
    this.isOpen = false;
    this.acks.restart();
    for (const known of this.all.values()) known.endSync();
  }

  /** A session is open: the server may not have our last marks. */
  start(window, listed) {
    this.isOpen = true;
    this.acks.restart(window);
    for (const conversation of listed) this.list(conversation);
    for (const id of this.unsettled) this.acks.owed.add(id);
  }

  /** How far this device is, by conversation. */
  get cursors() {
    const started = [...this.all.values()].filter(({ cursor }) => cursor !== null);
    return Object.fromEntries(started.map(({ id, cursor }) => [id, cursor]));
  }

  /** What was gone for real where a feed began anew that has not passed it since, by conversation. */
  get purged() {
    const behind = [...this.all.values()].filter(({ cursor, purged }) => cursor < purged);
    return Object.fromEntries(behind.map(({ id, purged }) => [id, purged]));
  }

  /** A conversation that is about to change, and to be saved; a new one if it is unknown. */
  change(id) {
    if (!this.all.has(id)) this.all.set(id, new Conversation(id));
    this.changed.add(id);
    return this.all.get(id);
  }

  /** Where a message is, and its version: what a change of it is based on. Throws if no conversation has it. */
  find(message) {
    for (const { id, messages } of this.all.values())
      if (messages.has(message)) return { conversation: id, baseVersion: messages.get(message).version };
    throw new Error(`This device has no message ${message}; load it before you change it.`);
  }

  merge({ id, kind, title, peer, messages = [], floor, read = 0 }) {
    const known = this.change(id);
    Object.assign(known, { kind: kind ?? known.kind, title: title ?? known.title, peer: peer === undefined ? known.peer : peer });
    known.readElsewhere = Math.max(known.readElsewhere, read);
    for (const message of messages) known.put(message);
    if (floor !== undefined) known.floor = Math.min(floor, known.floor ?? floor);
  }

  // -- what the server says

  list({ conversation, kind, title = "", since, last_seq }) {
    const known = this.change(conversation);
    Object.assign(known, { kind, title, left: null, lastSeq: last_seq });
    known.begin(since);
  }

  forget(conversation, purged = 0) {
    this.change(conversation).forget(purged);
    this.#settle(conversation);
  }

  leave({ conversation, upto }) {
    this.change(conversation).left = upto;
    this.#settle(conversation);
  }

  /** Takes a stretch of the feed; returns the messages that were news. */
  advance({ conversation, since, upto, messages = [], ref }) {
    const known = this.change(conversation);
    if (ref !== undefined && ref === known.syncing) known.syncing = null;
    this.acks.count({ messages: messages.length });
    const news = known.advance({ since, upto, messages });
    if (known.wanted > known.cursor) this.sync(conversation);
    if (upto <= known.cursor) this.#owe(known);
    return news;
  }

  /** Takes marks; those of `device` are this device's own. */
  mark({ conversation, marks = [], summary }, device) {
    const known = this.change(conversation);
    for (const mark of marks) known.putMark(mark);
    known.summary = summary ?? null; // marks come again when few devices are left
    const own = known.marks.get(device);
    if (own && own.delivered >= (known.cursor ?? 0) && own.read >= known.read) this.unsettled.delete(conversation);
  }

  // -- questions

  sync(conversation) {
    const known = this.all.get(conversation);
    if (!this.isOpen || !known || known.syncing !== null) return;
    known.syncing = `sync-${(this.#refs += 1)}`;
    this.say({ type: "sync", conversation, since: known.cursor ?? 0, ref: known.syncing });
  }

  /** A question was refused, for a while or for good, if the answer with this ref is for one. */
  refused(ref, retryAfter, now) {
    const known = ref !== undefined && [...this.all.values()].find(({ syncing }) => syncing === ref);
    if (!known) return;
    if (retryAfter == null) return known.endSync();
    known.syncing = "later";
    this.timers.set(`sync ${known.id}`, now + retryAfter * (1 + this.random() / 2));
  }

  /** The wait of a refused question is over. */
  askAgain(conversation) {
    const known = this.all.get(conversation);
    known.syncing = null;
    if (known.wanted > known.cursor) this.sync(conversation);
  }

  // -- own marks

  read({ conversation, upto = Infinity }, now) {
    const known = this.all.get(conversation);
    const mark = Math.min(upto, known?.cursor ?? 0);
    if (!known || known.left !== null || mark <= known.read) return;
    known.read = mark;
    this.#owe(known);
    this.pace(now);
  }

  /** Sends the marks that are owed, now or when their time comes. */
  pace(now) {
    if (!this.isOpen) return;
    const due = this.acks.due(now);
    if (due === now) this.acknowledge(now);
    else if (due !== null) this.timers.set("ack", due);
  }

  acknowledge(now) {
    const known = this.acks.take(now).map((id) => this.all.get(id));
    const marks = known.map(({ id, cursor, read }) => ({ conversation: id, delivered: cursor ?? 0, ...(read && { read }) }));
    this.timers.delete("ack");
    if (marks.length) this.say({ type: "receipt", marks });
  }

  #owe({ id }) {
    this.acks.owed.add(id);
    this.unsettled.add(id);
    this.changed.add(id);
  }

  #settle(id) {
    this.acks.owed.delete(id);
    this.unsettled.delete(id);
  }
}
