-- The journal's transaction body as in 0009. A repeat of a change is found before anybody asks whether its author
-- is still in the conversation, as a repeat of a send is: what was done is done.
CREATE OR REPLACE FUNCTION messaging_append(
    conversations uuid[], messages uuid[], devices uuid[], operations json, skip_locked boolean,
    files uuid[] DEFAULT '{}')
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    locked uuid[];
    answer json;
BEGIN
    conversations := conversations
        || ARRAY(SELECT t.conversation_id FROM messaging_message t WHERE t.id = ANY (messages));
    IF skip_locked THEN
        locked := ARRAY(SELECT c.id FROM messaging_conversation c WHERE c.id = ANY (conversations)
                        ORDER BY c.id FOR NO KEY UPDATE SKIP LOCKED);
    ELSE
        locked := ARRAY(SELECT c.id FROM messaging_conversation c WHERE c.id = ANY (conversations)
                        ORDER BY c.id FOR NO KEY UPDATE);
    END IF;

    -- They must not be deleted before we commit; revoking them needs no waiting.
    PERFORM 1 FROM presence_device x WHERE x.id = ANY (devices) ORDER BY x.id FOR KEY SHARE;

    -- No other message may take them before we commit.
    IF files <> '{}' THEN
        PERFORM 1 FROM messaging_attachment x WHERE x.id = ANY (files) ORDER BY x.id FOR NO KEY UPDATE;
    END IF;

    WITH op AS MATERIALIZED (
        SELECT o.*, d.user_id, d.active IS NOT TRUE AS revoked,
               coalesce(o.conversation, t.conversation_id) AS place,
               t.id IS NOT NULL AS found, t.version AS version, t.kind = 'system' AS fixed, t.kind AS old_kind,
               t.deleted IS NOT NULL AS gone, t.change_id AS change_id, t.seq AS old_seq,
               t.position AS old_position, t.created AS old_created, author.user_id AS author,
               CASE WHEN o.attachments IS NOT NULL
                    THEN messaging_attachment_taken(o.attachments::uuid[], d.user_id) END AS taken
          FROM json_to_recordset(operations) AS o (
                   n integer, verb text, device uuid, conversation uuid, client_id text, kind text, body text,
                   reply_to uuid, fingerprint text, message uuid, base_version integer, attachments text)
          LEFT JOIN LATERAL (SELECT x.user_id, x.revoked IS NULL AND u.is_active AS active
                               FROM presence_device x JOIN presence_user u ON u.id = x.user_id
                              WHERE x.id = o.device LIMIT 1) d ON true
          LEFT JOIN LATERAL (SELECT x.* FROM messaging_message x WHERE x.id = o.message LIMIT 1) t
                 ON o.message IS NOT NULL
          LEFT JOIN presence_device author ON author.id = t.device_id
    ), judged AS MATERIALIZED (
        SELECT op.*, c.last_seq, e.id AS earlier, e.seq AS earlier_seq, e.position AS earlier_position,
               e.version AS earlier_version, e.created AS earlier_created,
               CASE
                 WHEN op.revoked THEN 'revoked'
                 WHEN op.verb = 'append' AND e.id IS NOT NULL THEN
                     CASE WHEN e.fingerprint = decode(op.fingerprint, 'hex') THEN 'repeated' ELSE 'client_id_reused' END
                 WHEN op.verb <> 'append' AND op.change_id = op.device || ':' || op.client_id THEN 'repeated'
                 WHEN op.verb <> 'append' AND (NOT op.found OR m.id IS NULL) THEN 'no_such_message'
                 WHEN c.id IS NULL OR m.id IS NULL THEN 'no_such_conversation'
                 WHEN NOT op.place = ANY (locked) THEN 'locked'
                 WHEN op.verb = 'append' THEN
                     CASE WHEN op.reply_to IS NOT NULL AND r.place IS DISTINCT FROM op.place THEN 'no_such_message'
                          WHEN op.attachments IS NOT NULL AND op.taken IS NULL THEN 'no_such_attachment'
                          ELSE 'accepted' END
                 WHEN c.history = 'since_joined' AND op.old_position < m.joined_seq THEN 'no_such_message'
                 WHEN op.fixed THEN 'forbidden'
                 WHEN op.author IS DISTINCT FROM op.user_id AND NOT (op.verb = 'remove' AND m.role = 'admin')
                     THEN 'forbidden'
                 WHEN op.gone OR op.version <> op.base_version THEN 'conflict'
                 WHEN op.verb = 'amend' AND op.old_kind = 'data' AND NOT messaging_is_json(op.body) THEN 'invalid_body'
                 ELSE 'accepted'
               END AS verdict
          FROM op
          LEFT JOIN messaging_conversation c ON c.id = op.place
          LEFT JOIN LATERAL (SELECT x.id, x.role, x.joined_seq FROM messaging_membership x
                              WHERE x.conversation_id = op.place AND x.user_id = op.user_id
                                AND x.left_seq IS NULL LIMIT 1) m ON true
          LEFT JOIN LATERAL (SELECT x.id, x.seq, x.position, x.version, x.created, x.fingerprint
                               FROM messaging_message x
                              WHERE x.device_id = op.device AND x.client_id = op.client_id LIMIT 1) e
                 ON op.verb = 'append'
          -- By id alone: with the conversation in the condition, a planner without statistics takes the
          -- index of the conversation and reads all of it, for every message.
          LEFT JOIN LATERAL (SELECT x.conversation_id AS place FROM messaging_message x
                              WHERE x.id = op.reply_to LIMIT 1) r ON op.reply_to IS NOT NULL
    ), numbered AS MATERIALIZED (
        SELECT judged.*, last_seq + row_number() OVER (PARTITION BY place ORDER BY n) AS next
          FROM judged WHERE verdict = 'accepted'
    ), appended AS (
        INSERT INTO messaging_message
               (conversation_id, seq, position, device_id, client_id, kind, body, reply_to_id, fingerprint, attachments)
        SELECT place, next, next, device, client_id, kind, body, reply_to, decode(fingerprint, 'hex'), taken
          FROM numbered WHERE verb = 'append' ORDER BY n
        RETURNING id, conversation_id, seq, created
    ), changed AS (
        UPDATE messaging_message t
           SET seq = x.next, version = t.version + 1, change_id = x.device || ':' || x.client_id,
               body = CASE x.verb WHEN 'amend' THEN x.body ELSE '' END,
               attachments = CASE x.verb WHEN 'amend' THEN t.attachments END,
               edited = CASE x.verb WHEN 'amend' THEN now() ELSE t.edited END,
               deleted = CASE x.verb WHEN 'remove' THEN now() END
          FROM numbered x
         WHERE x.verb <> 'append' AND t.id = x.message
        RETURNING t.*, x.n
    ), advanced AS (
        UPDATE messaging_conversation c SET last_seq = top.seq
          FROM (SELECT place, max(next) AS seq FROM numbered GROUP BY place) top
         WHERE c.id = top.place
    ), outcome AS (
        SELECT j.n, j.verdict,
               coalesce(a.id, j.earlier, j.message) AS message,
               coalesce(a.seq, k.seq, j.earlier_seq, j.old_seq) AS seq,
               coalesce(a.seq, j.earlier_position, j.old_position) AS position,
               coalesce(k.version, j.earlier_version, j.version, 1) AS version,
               coalesce(a.created, j.earlier_created, j.old_created) AS created,
               j.place, j.user_id,
               CASE WHEN k.id IS NOT NULL THEN messaging_wire(k.id, k.seq, k.position, k.kind, k.body, k.version,
                        k.created, k.device_id, j.author, k.client_id, k.reply_to_id, k.edited, k.deleted, k.attachments)::json
                    WHEN j.verdict = 'conflict' OR (j.verdict = 'repeated' AND j.verb <> 'append') THEN (SELECT messaging_wire(t.id, t.seq, t.position, t.kind, t.body,
                        t.version, t.created, t.device_id, j.author, t.client_id, t.reply_to_id, t.edited, t.deleted, t.attachments)::json
                        FROM messaging_message t WHERE t.id = j.message)
               END AS row
          FROM judged j
          LEFT JOIN numbered x ON x.n = j.n
          LEFT JOIN appended a ON j.verb = 'append' AND a.conversation_id = x.place AND a.seq = x.next
          LEFT JOIN changed k ON k.n = j.n
    )
    SELECT coalesce(json_agg(json_build_array(n, verdict, message, seq, position, version,
                             (extract(epoch FROM created) * 1000)::bigint, place, user_id, row) ORDER BY n), '[]')
      INTO answer FROM outcome;

    IF files <> '{}' THEN
        answer := messaging_attachment_link(operations, answer);
    END IF;
    RETURN answer;
END $$;
