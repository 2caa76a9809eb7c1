/**
 * What a device knows from REST about the people of its conversations: names, and the devices a message is for.
 *
 * Everything here is a convenience for the screen; messages and marks come through the socket.
 */

import { announced } from "./announcements.js";

const ROSTER_MS = 3_000; // a roster is asked again no sooner than this
export const PAGE = 50; // messages of one page back

export class Directory {
  #rosters = new Map(); // conversation -> {devices: Map(device -> user), considered: Set(device), asked}
  #members = new Map(); // conversation -> {users, seq}: who was in it at its change `seq`
  #asked = new Set(); // authors whose names were asked for

  constructor(client, changed) {
    Object.assign(this, { client, changed, names: new Map() });
    for (const known of client.conversations.values()) this.#meet(known);
  }

  /** The name of a user; a message that no device sent (an import, plain SQL) has none. */
  nameOf = (user) => (user ? (this.names.get(user) ?? "somebody") : "written on the server");

  /** The name of a conversation for its user. */
  title({ title, kind, peer }) {
    if (title) return title;
    return kind === "self" ? "Notes to self" : (peer?.username ?? "Conversation");
  }

  /** The other user of a direct conversation, or null. */
  peer({ peer }) {
    return peer?.user ?? null;
  }

  #meet({ peer }) {
    if (peer) this.names.set(peer.user, peer.username);
  }

  /** The first 200 users of a conversation, by the last answer; null before the first. */
  members({ id }) {
    return this.#members.get(id)?.users ?? null;
  }

  /** What was asked for and did not come may be asked for again. */
  restart() {
    this.#asked.clear();
    for (const known of this.#members.values()) known.seq = -1;
  }

  /** Loads the user's conversations. */
  async load() {
    for (let after = ""; after !== null; ) {
      const page = await this.client.request(`/conversations${after && `?after=${after}`}`);
      for (const one of page.conversations) this.#put(one);
      after = page.after;
    }
    this.changed();
  }

  #put({ conversation, kind, title, read, peer }) {
    this.client.merge({ id: conversation, kind, title, read, peer });
    this.#meet({ peer });
  }

  /** Asks for the names of a conversation's members if an author of its messages has none; who has left is named where that is announced. */
  async loadNames(conversation) {
    const messages = conversation.visible();
    const authors = messages.map(({ user }) => user);
    for (const { user, name } of messages.map(announced)) if (name && authors.includes(user)) this.#name(user, name);
    const unknown = authors.filter((user) => user && !this.names.has(user) && !this.#asked.has(user));
    if (!unknown.length) return;
    for (const user of unknown) this.#asked.add(user);
    await this.#askMembers(conversation);
  }

  /** Asks who is in a group, unless nobody has come or gone since the last time. */
  async loadMembers(conversation) {
    const seq = conversation.visible().findLast(({ kind }) => kind === "system")?.seq ?? 0;
    if (conversation.kind !== "group" || this.#members.get(conversation.id)?.seq >= seq) return;
    this.#members.set(conversation.id, { users: this.members(conversation), seq });
    await this.#askMembers(conversation);
  }

  #name(user, name) {
    if (this.names.has(user)) return;
    this.names.set(user, name);
    this.changed();
  }

  async #askMembers({ id }) {
    const { members } = await this.client.request(`/conversations/${id}/members`);
    for (const { user, username } of members) this.names.set(user, username);
    this.#members.set(id, { seq: 0, ...this.#members.get(id), users: members.map(({ user }) => user) });
    this.changed();
  }

  /** Loads the page of messages before the oldest one shown; if that was let go of meanwhile, the page is none of its neighbours. */
  async loadEarlier(conversation) {
    const { id, floor } = conversation;
    const from = floor > 0 ? `&before=${floor}` : "";
    const { messages, before = 0 } = await this.client.request(`/conversations/${id}/messages?limit=${PAGE}${from}`);
    if (conversation.floor <= (floor ?? Infinity)) this.client.merge({ id, messages, floor: before });
  }

  /** Devices of a conversation's members (device -> user), by the last answer; null before the first. */
  roster({ id }) {
    return this.#rosters.get(id)?.devices ?? null;
  }

  /** Whether the marks name a device that the last answer could not have known. */
  hasStranger({ id, marks }) {
    const { considered = new Set() } = this.#rosters.get(id) ?? {};
    return [...marks.keys()].some((device) => !considered.has(device));
  }

  /** Asks for a conversation's devices unless that was just asked. */
  async loadRoster(conversation) {
    const known = this.#rosters.get(conversation.id);
    const message = this.#witness(conversation);
    if (!message || performance.now() - (known?.asked ?? -Infinity) < ROSTER_MS) return;
    this.#rosters.set(conversation.id, { ...known, asked: performance.now() });
    await this.receipts(conversation, message);
  }

  /** The message whose receipts name every device: nobody's or this device's own, for the sender's is left out. A tombstone may be gone for real. */
  #witness(conversation) {
    const messages = conversation.visible().filter(({ deleted }) => !deleted);
    return messages.findLast(({ device }) => !device || device === this.client.session.device) ?? messages.at(-1);
  }

  /** Who has a message: {summary, marks: [{device, user, delivered, read, …}] or null above 100 devices}. */
  async receipts({ id, marks }, message) {
    const considered = new Set(marks.keys());
    const answer = await this.client.request(`/messages/${message.id}/receipts`);
    const devices = new Map((answer.marks ?? []).map(({ device, user }) => [device, user]));
    if (marks.has(message.device)) devices.set(message.device, message.user);
    this.#rosters.set(id, { devices, considered, asked: performance.now() });
    this.changed();
    return answer;
  }

  /** People whose name contains the text: [{user, username}]. */
  async people(search) {
    if (!search.trim()) return [];
    return (await this.client.request(`/users?search=${encodeURIComponent(search.trim())}`)).users;
  }

  /** Opens the conversation with one other user and returns its id. */
  async open(user) {
    const body = { kind: "direct", members: [{ user }] };
    const { conversation } = await this.client.request("/conversations", { method: "POST", body });
    await this.load();
    return conversation;
  }
}
